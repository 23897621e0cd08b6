"""iptables and ip6tables of both makes, really run in namespaces of the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools import Options, Text, Tool
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.tools.places import Place, place

IPTABLES = find("iptables")
MAKES = ("iptables", "iptables-nft", "iptables-legacy")

SETUP = """
ip addr add 10.0.0.1/32 dev lo
{make} -N mine
{make} -A INPUT -p icmp -m comment --comment '-c 7 7 "quoted" -j DROP' -j ACCEPT
{make} -A INPUT -i lo -j mine
{make} -A INPUT -s 10.0.0.0/8 ! -p tcp
{make} -A mine ! -i eth0 -p tcp -m tcp --dport 8080 -j DROP
{make} -P FORWARD DROP
{make} -t nat -A POSTROUTING -s 10.0.0.0/8 -j SNAT --to-source 192.0.2.1
ping -c 2 -i 0.01 127.0.0.1
"""


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an ordinary user have a lock file that is not root's; iptables-legacy waits for it."""
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))


@pytest.fixture(params=MAKES)
def made(request: pytest.FixtureRequest, lock: None) -> Iterator[tuple[str, Place]]:
    with place(SETUP.format(make=request.param)) as home:
        yield request.param, home


def run(make: str, at: Place, line: str) -> pd.DataFrame:
    return podtracer_nb.run(make, line.split(), pid=at.pid)


@needs("netns", "iproute2", "iptables", "ping")
class TestReally:
    @pytest.mark.parametrize("line", ["-L", "-nvL", "-L -n", "--list -v --line-numbers", "-t filter -L INPUT"])
    def test_rules_with_their_counters(self, made: tuple[str, Place], line: str) -> None:
        frame = run(*made, line)
        assert not frame.attrs["podtracer"]["notes"], frame
        rules = frame[frame.chain.eq("INPUT")].reset_index(drop=True)
        assert rules.num.tolist() == [1, 2, 3] and set(rules.table) == {"filter"}
        # Two requests and two answers of 84 bytes, over loopback.
        assert (rules.packets[0], rules.bytes[0], rules.target[0], rules.protocol[0]) == (4, 336, "ACCEPT", "icmp")
        assert (rules["in"][1], rules.target[1], rules.protocol[1]) == ("lo", "mine", "all")
        assert pd.isna(rules.target[2]) and rules.source[2] == "10.0.0.0/8" and rules.protocol[2] == "!tcp"
        if "INPUT" not in line:
            mine = frame[frame.chain.eq("mine")].iloc[0]
            assert (mine.target, mine["in"], mine.destination) == ("DROP", "!eth0", "0.0.0.0/0")
            assert mine.extra == "tcp dpt:8080"

    def test_chains_with_their_policies(self, made: tuple[str, Place]) -> None:
        chains = run(*made, "-L").podtrace.table("chains").set_index("chain")
        assert chains.policy["FORWARD"] == "DROP" and pd.isna(chains.policy["mine"]) and chains.references["mine"] == 1
        assert chains.packets["OUTPUT"] in (0, 4)  # the nft make counts no policies

    def test_the_words_that_make_the_rules(self, made: tuple[str, Place]) -> None:
        frame = run(*made, "-S")
        rules = frame[frame.chain.eq("INPUT")].reset_index(drop=True)
        assert (rules.packets[0], rules.bytes[0], rules.target[0]) == (4, 336, "ACCEPT")
        assert rules.rule[0] == '-p icmp -m comment --comment "-c 7 7 \\"quoted\\" -j DROP" -j ACCEPT'
        assert rules.rule[1] == "-i lo -j mine" and pd.isna(rules.target[2])
        chains = frame.podtrace.table("chains").set_index("chain")
        assert chains.policy["FORWARD"] == "DROP" and "mine" in chains.index

    def test_one_rule_and_another_table(self, made: tuple[str, Place]) -> None:
        assert run(*made, "-L INPUT 2").chain.tolist() == ["INPUT"]
        nat = run(*made, "-t nat -L")
        assert nat.table.tolist() == ["nat"] and nat.target.tolist() == ["SNAT"] and nat.extra[0] == "to:192.0.2.1"

    def test_no_such_chain_is_one_line(self, made: tuple[str, Place]) -> None:
        (note,) = run(*made, "-L nix").attrs["podtracer"]["notes"]
        assert "exit status" in note

    @pytest.mark.parametrize(
        "line",
        ["-A INPUT -p udp --dport 53 -j ACCEPT", "-I INPUT 2 -i lo -j DROP", "-I INPUT -s 192.0.2.0/24 -j mine",
         "-N fresh",
         "-t nat -A PREROUTING -i lo -j ACCEPT", "--append INPUT -j ACCEPT"],
    )  # fmt: skip
    def test_an_undo_takes_away_what_was_added(self, made: tuple[str, Place], line: str) -> None:
        make, home = made
        change = find(make).change(tuple(line.split()))
        assert change is not None and change.undo is not None

        def state() -> str:
            return home.do(make, "-S") + home.do(make, "-t", "nat", "-S")

        before = state()
        frame = podtracer_nb.run(make, line.split(), pid=home.pid, allow_change=True)
        assert frame.attrs["podtracer"]["exit_code"] == 0, frame.attrs["podtracer"]["stderr"]
        assert state() != before
        home.do(*change.undo)
        assert state() == before

    @pytest.mark.parametrize("make", ["ip6tables", "ip6tables-nft", "ip6tables-legacy"])
    def test_ipv6(self, make: str) -> None:
        script = f"{make} -A FORWARD -s fd00::/8 ! -i lo -p tcp -m tcp --dport 80 -j REJECT; {make} -A INPUT -p 58"
        with place(script) as home:
            frame = run(make, home, "-L")
            assert not frame.attrs["podtracer"]["notes"]
            rules = frame.set_index("chain")
            row = rules.loc["FORWARD"]
            assert (row.source, row.destination, row["in"], row.target) == ("fd00::/8", "::/0", "!lo", "REJECT")
            assert rules.protocol["INPUT"] == "ipv6-icmp" and pd.isna(rules.target["INPUT"])
            assert run(make, home, "-S").rule[1].startswith("-s fd00::/8 ! -i lo -p tcp")


def parsed(line: str, stdout: str, tool: Tool = IPTABLES) -> list[pd.DataFrame]:
    words = tuple(line.split())
    command = tool.command(words, Options(), False)
    assert command.parse is not None
    return [table.frame(rows) for table, rows in command.parse(Text(words, stdout)).tables]


# ip6tables of 1.8.7 and before has nothing in the column `opt` (iptables/ip6tables.c), and names of protocols.
OLD = """\
Chain INPUT (policy ACCEPT 12 packets, 34567890123 bytes)
num      pkts      bytes target     prot opt in     out     source               destination         
1      123456789 12345678901234 KUBE-FWD  all      *      *       ::/0                 ::/0                 /* a  b */
2           0        0            tcp      lo     *       fd00::/8             ::/0                 tcp dpt:80

Chain KUBE-FWD (1 references)
num      pkts      bytes target     prot opt in     out     source               destination         
1           7      588 ACCEPT     icmpv6    *      *       ::/0                 ::/0                [goto] 
"""  # noqa: W291


def test_an_old_ip6tables() -> None:
    rules, chains = parsed("-L", OLD)
    assert rules.target.fillna("").tolist() == ["KUBE-FWD", "", "ACCEPT"]
    assert rules.protocol.tolist() == ["all", "tcp", "icmpv6"] and rules.opt.isna().all()
    assert rules.bytes[0] == 12345678901234 and rules.extra[0] == "/* a  b */" and rules.extra[2] == "[goto]"
    assert chains.bytes[0] == 34567890123 and chains.references[1] == 1


def test_the_other_makes_warning_is_no_rule() -> None:
    said = "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n-P INPUT ACCEPT -c 1 2\n"
    rules, chains = parsed("-S", said)
    assert rules.empty and chains.packets.tolist() == [1]


@pytest.mark.parametrize("said", ["Usage: iptables\n", "1 2 3\n", "-X y\n", "\x00\n", "{}\n", "num  pkts\n"])
@pytest.mark.parametrize("line", ["-L", "-S"])
def test_what_is_no_output_of_iptables_is_never_a_table(line: str, said: str) -> None:
    with pytest.raises(Unreadable):
        parsed(line, said)


@settings(deadline=None)
@given(
    st.sampled_from(["-L", "-S", "-L INPUT"]),
    st.text(st.sampled_from('Chain INPUT (policy AC 0)\n-A\\"c1*'), max_size=90),
)
@example("-L", OLD)
def test_any_text_is_a_table_or_said_to_be_none(line: str, said: str) -> None:
    with contextlib.suppress(Unreadable):
        parsed(line, said)


@pytest.mark.parametrize(
    "line",
    [
        "-L",
        "-S",
        "-nvL",
        "-t nat -L",
        "--list",
        "--list-rules INPUT",
        "-C INPUT -j ACCEPT",
        "-V",
        "--version",
        "-h",
        "",
    ],
)
def test_what_only_looks_is_no_change(line: str) -> None:
    assert IPTABLES.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "line",
    ["-A x", "-D x 1", "-I x", "-R x 1", "-F", "-Z", "-N x", "-X", "-E x y", "-P INPUT DROP", "-L -Z", "-vL -Z", "-ZL",
     "--flush",
     "--fl", "--app x", "-t nat -F", "-tnat -F", "-LZ", "-w -F", "-j ACCEPT"],
)  # fmt: skip
def test_what_alters_is_a_change(line: str) -> None:
    change = IPTABLES.change(tuple(line.split()))
    # `-LZ` lists a chain called Z: taken for more than it is, which does no harm.
    assert change is not None


@pytest.mark.parametrize("line", ["-D x 1", "-F", "-P INPUT DROP", "-A x -Z", "--app x -j ACCEPT"])
def test_what_cannot_be_taken_back_has_no_undo(line: str) -> None:
    change = IPTABLES.change(tuple(line.split()))
    assert change is not None and change.undo is None
