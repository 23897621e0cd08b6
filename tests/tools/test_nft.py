"""nft, really run in namespaces of the tests: its tables say what the ruleset is and what its counters counted."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import InputError, ToolFailed
from podtracer_nb.tools import Options, Text
from podtracer_nb.tools.known.nft import TOOLS, ruleset
from podtracer_nb.tools.parsing import jc_rows
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.places import Place, place, watching

(NFT,) = TOOLS

RULESET = """
table inet t {
  counter c1 { packets 0 bytes 0
  }
  quota q1 { over 25 mbytes
  }
  set s { type ipv4_addr; flags interval,timeout; elements = { 10.0.0.0/8, 192.168.1.1 timeout 1h comment "a, b" }
  }
  set many { type inet_service; elements = { NUMBERS }
  }
  map m { type inet_service : verdict; elements = { 80 : accept, 443 : drop }
  }
  chain input { type filter hook input priority filter; policy accept;
    ip protocol icmp counter accept comment "known { ones } # handle 3 counter packets 9 bytes 9"
    tcp dport { 22, 80 } counter name "c1" accept
    ip saddr @s counter drop
    tcp dport vmap @m
    iifname "lo" jump other
    ip saddr 1.2.3.4 jump {
      tcp dport 5 accept
    }
  }
  chain other { log prefix "a}{b" group 3 return
  }
}
table ip nat { chain post { type nat hook postrouting priority srcnat - 5; policy accept;
  ip saddr 10.0.0.0/8 masquerade
  }
}
table netdev nd { chain ing { type filter hook ingress device lo priority -500; policy accept;
  }
}
table arp asleep { flags dormant;
}
""".replace("NUMBERS", ", ".join(map(str, range(1, 31))))


def load(home: Place, text: str) -> None:
    home.script(
        f"nft -f - <<'X'\n{text.replace('counter c1 { }', 'counter c1 { packets 0 bytes 0' + chr(10) + ' }')}X\n"
    )


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    with place() as made:
        load(made, RULESET)
        made.do("ping", "-c", "3", "-i", "0.01", "127.0.0.1")
        yield made


def run(at: Place, line: str) -> pd.DataFrame:
    return podtracer_nb.run("nft", line.split(), pid=at.pid)


@needs("netns", "iproute2", "nftables", "iptables", "ping")
class TestReally:
    @pytest.mark.parametrize("line", ["list ruleset", "-a list ruleset", "-n list ruleset inet", "list table inet t"])
    def test_rules_with_their_counters(self, home: Place, line: str) -> None:
        frame = run(home, line)
        rules = frame[frame.table.eq("t") & frame.chain.eq("input")].reset_index(drop=True)
        # Three requests and three answers of 84 bytes, over loopback.
        assert (rules.packets[0], rules.bytes[0]) == (6, 6 * 84)
        assert rules.comment[0] == "known { ones } # handle 3 counter packets 9 bytes 9"
        assert rules.rule[1] == 'tcp dport { 22, 80 } counter name "c1" accept' and pd.isna(rules.packets[1])
        assert rules.rule[4] == 'iifname "lo" jump other'
        assert re.fullmatch(r"ip saddr 1\.2\.3\.4 jump \{ tcp dport 5 accept \}", rules.rule[5])
        assert set(rules.hook) == {"input"} and set(rules.priority) == {0} and rules.handle.notna().all()
        assert set(rules.policy) == {"accept"}
        key = frame.attrs["podtracer"]["table"]["key"]
        assert not frame.duplicated(key).any()

    def test_every_handle_is_the_kernels(self, home: Place) -> None:
        frame = run(home, "list ruleset")
        said = home.do("nft", "-j", "list", "table", "inet", "t")
        known = [each["rule"]["handle"] for each in json.loads(said)["nftables"] if "rule" in each]
        assert frame[frame.table.eq("t")].handle.tolist() == known

    def test_jc_finds_the_same_rules_and_elements(self, home: Place) -> None:
        said = home.do("nft", "-a", "-y", "list", "ruleset")
        frame = run(home, "list ruleset")
        theirs = [rule for table in jc_rows("nftables", said) for chain in table["chains"] for rule in chain["rules"]]
        assert frame.rule.tolist() == [each["rule"] for each in theirs]
        assert frame.handle.tolist() == [each["handle"] for each in theirs]
        counted = [each["counter_packets"] for each in theirs]
        assert [None if pd.isna(each) else each for each in frame.packets] == counted
        sets = frame.podtrace.table("sets").elements.tolist()
        kept = [len(one["elements"]) for table in jc_rows("nftables", said) for kind in ("sets", "maps")
                for one in table[kind]]  # fmt: skip
        assert sorted(sets) == sorted(kept)

    def test_chains_sets_elements_and_objects(self, home: Place) -> None:
        frame = run(home, "list ruleset")
        chains = frame.podtrace.table("chains").set_index("chain")
        assert (chains.hook["post"], chains.priority["post"], chains.policy["post"]) == ("postrouting", 95, "accept")
        assert (chains.device["ing"], chains.priority["ing"]) == ("lo", -500)
        assert pd.isna(chains.hook["other"]) and chains.rules["input"] == 6
        sets = frame.podtrace.table("sets").set_index("set")
        assert sets.elements.to_dict() == {"s": 2, "many": 30, "m": 2} and sets.kind["m"] == "map"
        assert sets.type["s"] == "ipv4_addr" and sets["flags"]["s"] == "interval,timeout"
        elements = frame.podtrace.table("elements")
        assert elements[elements.set.eq("many")].element.tolist() == [str(each) for each in range(1, 31)]
        assert elements[elements.set.eq("m")].set_index("element").value.to_dict() == {"80": "accept", "443": "drop"}
        timed = elements[elements.element.eq("192.168.1.1")].iloc[0]
        assert timed.more.startswith("timeout 1h expires") and timed.more.endswith('comment "a, b"')
        objects = frame.podtrace.table("objects").set_index("name")
        assert objects.kind.to_dict() == {"c1": "counter", "q1": "quota"} and objects.packets["c1"] == 0
        tables = frame.podtrace.table("tables").set_index("table")
        assert tables.chains.to_dict() == {"t": 2, "nat": 1, "nd": 1, "asleep": 0}
        assert tables["flags"]["asleep"] == "dormant"

    @pytest.mark.parametrize(
        ("line", "table", "rows"),
        [("list chains", "chains", 4), ("list tables", "tables", 4), ("list sets", "sets", 2), ("list maps", "sets", 1),
         ("list counters", "objects", 1), ("list quotas", "objects", 1), ("list chain inet t input", "rules", 6),
         ("list set inet t many", "sets", 1), ("list counter inet t c1", "objects", 1),
         ("list flowtables", "objects", 0)],
    )  # fmt: skip
    def test_what_is_listed_is_the_first_table(self, home: Place, line: str, table: str, rows: int) -> None:
        frame = run(home, line)
        assert frame.attrs["podtracer"]["table"]["name"] == table and len(frame) == rows
        assert not frame.attrs["podtracer"]["notes"]

    def test_one_word_is_taken_apart_as_nft_does(self, home: Place) -> None:
        assert len(podtracer_nb.run("nft", ["list table inet t"], pid=home.pid)) == 7

    def test_its_json_is_read_where_it_is_asked_for(self, home: Place) -> None:
        frame = run(home, "-j list table inet t")
        assert frame.packets[0] == 6 and frame.hook[0] == "input" and json.loads(frame.rule[0])[-1] == {"accept": None}
        assert frame.podtrace.table("sets").set_index("set").elements["many"] == 30

    def test_json_that_nft_breaks_off_is_said_to_be_none(self, home: Place) -> None:
        """nft 1.0.6 ends its JSON at a dormant table; one that has that mended gives the whole."""
        frame = run(home, "-j list ruleset")
        broken = any("no form that we know" in note for note in frame.attrs["podtracer"]["notes"])
        assert broken or "rule" in frame.columns

    def test_what_iptables_made_is_in_words(self) -> None:
        with place("iptables-nft -A INPUT -p tcp --dport 8080 -m comment --comment 'a b' -j ACCEPT") as made:
            assert "8080" in run(made, "list ruleset").rule[0]

    def test_no_such_table_is_one_line(self, home: Place) -> None:
        with pytest.raises(ToolFailed, match="No such file or directory"):
            run(home, "list table inet nix")

    def test_a_monitor_tells_of_changes_and_who_made_them(self) -> None:
        with place("nft add table inet t") as made, watching(made, "nft", "monitor") as watched:
            number = iter(range(1000))

            def heard() -> bool:
                made.do("nft", "add", "chain", "inet", "t", f"c{next(number)}")
                return b"add chain" in watched.heard()

            until(heard)
            made.script("nft add chain inet t last; nft add rule inet t last counter drop; nft delete table inet t")
            until(lambda: b"delete table" in watched.heard())
            frame = watched.stopped()
        rule = frame[frame.action.eq("add") & frame.kind.eq("rule")].iloc[0]
        assert (rule.family, rule.table) == ("inet", "t") and "counter" in rule.text
        assert re.fullmatch(r"\d+ nft", rule.process) and rule.generation > 1
        assert frame.time.notna().all() and "delete" in set(frame.action)

    @pytest.mark.parametrize(
        "line",
        ["add rule inet t input tcp dport 99 accept comment \"x # handle 4\"", "insert rule inet t other counter",
         "add rule ip nat post ip saddr 1.1.1.1 masquerade"],
    )  # fmt: skip
    def test_a_rule_is_deleted_again_by_the_handle_that_was_told(self, line: str) -> None:
        with place() as made:
            load(made, RULESET)
            change = NFT.change((line,))
            assert change is not None and change.undo is not None and change.told
            before = made.do("nft", "-a", "-s", "list", "ruleset")
            frame = podtracer_nb.run("nft", [line], pid=made.pid, allow_change=True)
            assert frame.attrs["podtracer"]["exit_code"] == 0
            told = re.search(change.told, "\n".join(frame.line))
            assert told is not None
            made.do(*(word.format(**told.groupdict()) if "{handle}" in word else word for word in change.undo))
            after = made.do("nft", "-a", "-s", "list", "ruleset")
            times = r"expires \w+"
            assert re.sub(times, "", after) == re.sub(times, "", before)

    @pytest.mark.parametrize(
        "line", ["create table inet u", "create chain inet t fresh", "create set inet t u { type ipv4_addr; }",
                 "create element inet t many { 99 }", "create counter inet t c2"]
    )  # fmt: skip
    def test_what_is_created_was_not_there_and_is_deleted(self, line: str) -> None:
        with place() as made:
            load(made, RULESET)
            change = NFT.change(tuple(line.split()))
            assert change is not None and change.undo is not None
            before = re.sub(r"expires \w+", "", made.do("nft", "-s", "list", "ruleset"))
            frame = podtracer_nb.run("nft", line.split(), pid=made.pid, allow_change=True)
            assert frame.attrs["podtracer"]["exit_code"] == 0, frame.attrs["podtracer"]["stderr"]
            made.do(*change.undo)
            assert re.sub(r"expires \w+", "", made.do("nft", "-s", "list", "ruleset")) == before


@pytest.mark.parametrize(
    "line", ["list ruleset", "-a -n list tables", "-nn list ruleset", "monitor", "describe tcp dport", "-v", "-h",
             "-c add table x", "-c -f file", "list ruleset; list tables", "-j list ruleset", "monitor trace", ""],
)  # fmt: skip
def test_what_only_looks_is_no_change(line: str) -> None:
    assert NFT.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "words",
    [("flush", "ruleset"), ("add table x",), ("list ruleset; flush ruleset",), ("list ruleset\nflush ruleset",),
     ("list", "ruleset", ";", "flush", "ruleset"), ("-f", "file"), ("-ffile",), ("--file=x",), ("-af", "x"),
     ("--fi", "x"),
     ("reset", "counters"), ("delete", "table", "x"), ("replace rule x",), ("include \"x\"",),
     ("-e", "add", "table", "x"),
     ("list ruleset };flush ruleset",), ("destroy table x",), ("rename chain x y z",), ("-I", "d", "flush", "ruleset")],
)  # fmt: skip
def test_what_alters_is_a_change(words: tuple[str, ...]) -> None:
    assert NFT.change(words) is not None


def test_a_terminal_is_refused() -> None:
    for words in (("-i",), ("--interactive",), ("-ai",)):
        with pytest.raises(InputError, match="terminal"):
            NFT.change(words)


def test_two_changes_have_no_undo() -> None:
    change = NFT.change(("add rule inet t c accept; add rule inet t c drop",))
    assert change is not None and change.undo is None


def parsed(line: str, stdout: str) -> list[pd.DataFrame]:
    words = tuple(line.split())
    command = NFT.command(words, Options(), False)
    assert command.parse is not None
    return [table.frame(rows) for table, rows in command.parse(Text(words, stdout)).tables]


LISTING = """\
# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter { # handle 1
\tcomment "of others"

\tflowtable ft { # handle 5
\t\thook ingress priority 0
\t\tdevices = { eth0 }
\t}

\tset dyn { # handle 9
\t\ttypeof ip saddr . tcp dport
\t\tsize 65535
\t\tflags dynamic,timeout
\t\telements = { 10.0.0.1 . 80 counter packets 5 bytes 300 timeout 1m expires 3s,
\t\t\t     10.0.0.2 . 443 }
\t}

\tchain INPUT { # handle 1
\t\tcomment "a chain"
\t\ttype filter hook ingress devices = { "eth0", "eth1" } priority 0; policy drop;
\t\txt match "comment" counter packets 1 bytes 2 xt target "REJECT" # handle 2
\t}
}
"""


def test_what_this_kernel_has_not() -> None:
    rules, chains, sets, elements, objects, tables = parsed("list ruleset", LISTING)
    assert rules.packets.tolist() == [1] and rules.policy.tolist() == ["drop"]
    assert chains.device[0] == "{ eth0, eth1 }" and chains.comment[0] == "a chain"
    assert sets.typeof[0] == "ip saddr . tcp dport" and sets.elements[0] == 2
    assert elements.element.tolist() == ["10.0.0.1 . 80", "10.0.0.2 . 443"] and elements.packets[0] == 5
    assert objects.kind.tolist() == ["flowtable"] and "devices = { eth0 }" in objects.text[0]
    assert tables.comment[0] == '"of others"'


def test_without_handles_and_counters() -> None:
    said = "table ip x {\n\tchain y {\n\t\tcounter accept\n\t}\n}\n"
    rules, *_ = parsed("-s list ruleset", said)
    assert rules.rule.tolist() == ["counter accept"] and rules.packets.isna().all() and rules.handle.isna().all()


@pytest.mark.parametrize("said", ["Usage: nft\n", "table ip x {\n", "[1]", "{", "table ip x {\n}}\n", "\x00\n"])
def test_what_is_no_output_of_nft_is_never_a_table(said: str) -> None:
    for line in ("list ruleset", "list tables"):
        with pytest.raises(Unreadable):
            parsed(line, said)


@settings(deadline=None)
@given(st.sampled_from(["list ruleset", "list sets", "monitor"]), st.lists(st.sampled_from([
    "table ip x {", "table ip y", "chain c {", "}", "{", "elements = { 1, 2", "set s {", "counter # handle 5", '"', "#",
    "type filter hook input priority 0; policy accept;", "type filter hook input priority filter;", "\t",
    "add rule ip x c",
    "# new generation 5", "counter packets 1 bytes 99999999999999999999999",
]), max_size=9))  # fmt: skip
@example("list ruleset", LISTING.splitlines())
def test_any_lines_are_a_table_or_said_to_be_none(line: str, said: list[str]) -> None:
    with contextlib.suppress(Unreadable):
        parsed(line, "\n".join(said) + "\n")


@settings(deadline=None)
@given(st.integers(0, len(LISTING) - 3))
def test_a_cut_listing_is_never_a_table(cut: int) -> None:
    said = LISTING[:cut]
    if not said.strip() or (said.startswith("#") and "\n" not in said.strip()):
        return
    with pytest.raises(Unreadable):
        parsed("list ruleset", said)


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rule", "chain", "family", "table", "name", "expr", "counter", "elem"]), inner
        )
    ),
    max_leaves=9,
)


@settings(deadline=None)
@given(_VALUES)
def test_any_json_is_a_table_or_said_to_be_none(value: object) -> None:
    with contextlib.suppress(Unreadable):
        parsed("-j list ruleset", json.dumps({"nftables": value}))


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(blacklist_characters='"{},\n', min_codepoint=33, max_codepoint=126), min_size=1),
        max_size=5,
    )
)
def test_elements_are_taken_apart_and_nothing_else(each: list[str]) -> None:
    assert list(ruleset.elements_of("{ " + ", ".join(each) + " }")) == each
