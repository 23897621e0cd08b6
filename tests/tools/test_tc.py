"""tc, really run in namespaces of the tests: queues with drops that are known beforehand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import InputError, ToolFailed
from podtracer_nb.tools import Options, Text
from podtracer_nb.tools.known.tc import TOOLS
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.places import Place, neighbour, place, watching

(TC,) = TOOLS

HTB = """
ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; ip addr add 10.1.0.1/24 dev v0
tc qdisc add dev v0 root handle 1: htb default 20
tc class add dev v0 parent 1: classid 1:1 htb rate 10mbit ceil 20mbit
tc class add dev v0 parent 1:1 classid 1:20 htb rate 5mbit
tc qdisc add dev v0 parent 1:20 handle 20: pfifo limit 3
tc filter add dev v0 parent 1: protocol ip prio 7 u32 match ip dst 10.1.0.9/32 flowid 1:20
tc qdisc add dev lo root tbf rate 1mbit burst 10kb latency 50ms
tc qdisc add dev v1 clsact
"""

# IPv6 sends of its own accord.
QUIET = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"

# Sends datagrams to a neighbour that is known, as fast as they are taken.
SEND = """
import socket, sys
sender = socket.socket(type=socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    sender.sendto(bytes(int(sys.argv[2])), ("10.1.0.2", 9))
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    with place(HTB) as made:
        yield made


@needs("netns", "iproute2")
@pytest.mark.parametrize("words", [("qdisc",), ("q",), ("-s", "q", "s"), ("-d", "qdisc", "show")])
def test_queues_and_their_options(home: Place, words: tuple[str, ...]) -> None:
    frame = podtracer_nb.run("tc", list(words), pid=home.pid)
    of = frame.set_index("kind")
    assert (of.interface["tbf"], of.parent["tbf"], of.rate["tbf"]) == ("lo", "root", 1_000_000)
    assert (of.handle["htb"], of.handle["pfifo"], of.parent["pfifo"], of.limit["pfifo"]) == ("1:", "20:", "1:20", 3)
    assert of.lat["tbf"] == 50_000 and str(frame.drops.dtype) == "UInt64"
    assert frame.attrs["podtracer"]["units"]["rate"] == "bit/s"


@needs("netns", "iproute2")
def test_classes_have_no_json_and_are_read_all_the_same(home: Place) -> None:
    frame = podtracer_nb.run("tc", ["class", "show", "dev", "v0"], pid=home.pid).set_index("handle")
    assert frame.rate.to_dict() == {"1:1": 10_000_000, "1:20": 5_000_000}
    assert frame.ceil["1:1"] == 20_000_000 and frame.parent.to_dict() == {"1:1": "root", "1:20": "1:1"}
    assert frame.leaf["1:20"] == "20:" and set(frame.interface) == {"v0"}
    assert frame.lended.notna().all() and frame.tokens.notna().all()


@needs("netns", "iproute2")
def test_filters(home: Place) -> None:
    frame = podtracer_nb.run("tc", ["f", "show", "dev", "v0"], pid=home.pid)
    row = frame[frame.flowid.notna()].iloc[0]
    assert (row.kind, row.pref, row.protocol, row.parent, row.flowid) == ("u32", 7, "ip", "1:", "1:20")
    assert row.interface == "v0" and row.match_mask == "ffffffff" and row.match_off == 16


@needs("netns", "iproute2")
def test_the_drops_of_a_queue_that_never_sends_are_what_was_sent_beyond_its_limit() -> None:
    """A class of 8 bit/s sends one packet of its burst; of 50 behind a limit of 10 the rest is dropped."""
    with place(QUIET) as home, neighbour(home):
        home.script(
            "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 nud permanent dev v0; "
            "tc qdisc add dev v0 root handle 1: htb default 1; "
            "tc class add dev v0 parent 1: classid 1:1 htb rate 8bit burst 1 cburst 1; "
            "tc qdisc add dev v0 parent 1:1 handle 10: pfifo limit 10"
        )
        home.do("python3", "-c", SEND, "50", "958")
        frame = podtracer_nb.run("tc", ["-s", "qdisc", "show", "dev", "v0"], pid=home.pid).set_index("kind")
        row = frame.loc["pfifo"]
        assert row.packets <= 3 and row.qlen == 10 and row.backlog == 10 * 1000
        assert row.drops == 50 - row.packets - row.qlen
        classes = podtracer_nb.run("tc", ["class", "show", "dev", "v0"], pid=home.pid).iloc[0]
        assert classes.drops == row.drops == frame.drops["htb"] and classes.qlen == 10
        assert frame.overlimits["htb"] > 0


@needs("netns", "iproute2")
def test_the_drops_of_a_token_bucket_are_what_it_did_not_send() -> None:
    with place(QUIET) as home, neighbour(home) as other:
        home.script(
            "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 nud permanent dev v0; "
            "tc qdisc add dev v0 root tbf rate 8kbit burst 2kb limit 4kb"
        )
        before = podtracer_nb.run("ip", ["-s", "link", "show", "v1"], pid=other.pid).iloc[0]
        home.do("python3", "-c", SEND, "200", "958")
        row = podtracer_nb.run("tc", ["qdisc", "show", "dev", "v0"], pid=home.pid).iloc[0]
        after = podtracer_nb.run("ip", ["-s", "link", "show", "v1"], pid=other.pid).iloc[0]
        assert row.drops + row.packets + row.qlen == 200 and row.drops >= 190
        assert after.rx_packets - before.rx_packets >= row.packets > 0


@needs("netns", "iproute2")
def test_a_monitor_tells_of_queues() -> None:
    with place(HTB) as home, watching(home, "tc", "monitor") as watched:
        limit = iter(range(1, 999))

        def heard() -> bool:
            home.do("tc", "qdisc", "replace", "dev", "v1", "root", "pfifo", "limit", str(next(limit)))
            return b"pfifo" in watched.heard()

        until(heard)
        home.do("tc", "qdisc", "del", "dev", "v1", "root")
        until(lambda: b"deleted qdisc pfifo" in watched.heard())
        frame = watched.stopped()
    assert set(frame.object) == {"qdisc"} and set(frame.interface) == {"v1"}
    assert frame[frame.deleted].text.iloc[-1].startswith("deleted qdisc pfifo")
    assert abs((frame.time.iloc[-1] - pd.Timestamp.now("UTC")).total_seconds()) < 60


@needs("netns", "iproute2")
def test_a_kernel_without_the_queue_is_one_line(home: Place) -> None:
    """What the kernel lacks differs from machine to machine; no kernel has this one."""
    words = ["qdisc", "add", "dev", "v1", "root", "frobq"]
    with pytest.raises(ToolFailed, match="this node's kernel lacks frobq"):
        podtracer_nb.run("tc", words, pid=home.pid, allow_change=True)
    said = TC.command(("qdisc", "add", "dev", "v1", "root", "netem", "delay", "1ms"), Options(), False)
    assert said.diagnose is not None
    error = said.diagnose("Error: Specified qdisc kind is unknown.\n")
    assert str(error) == "this node's kernel lacks netem (module sch_netem): modprobe sch_netem on the node"
    old = said.diagnose("RTNETLINK answers: No such file or directory\n")
    assert str(old) == str(error)


@needs("netns", "iproute2")
def test_a_filter_that_the_kernel_lacks_is_one_line(home: Place) -> None:
    words = ("filter", "add", "dev", "v0", "parent", "1:", "protocol", "ip", "prio", "3", "matchall", "action", "drop")
    told = TC.command(words, Options(), False).diagnose
    assert told is not None
    said = str(told("Error: TC classifier not found.\nWe have an error talking to the kernel\n"))
    assert said == "this node's kernel lacks matchall (module cls_matchall): modprobe cls_matchall on the node"
    frame = podtracer_nb.run("tc", ["qdisc", "show", "dev", "nix"], pid=home.pid)
    assert 'exit status 1: Cannot find device "nix"' in frame.attrs["podtracer"]["notes"][0]


@needs("netns", "iproute2")
@pytest.mark.parametrize("line", ["-g class show dev v0", "-V", "qdisc help"])
def test_what_is_for_people_stays_lines(home: Place, line: str) -> None:
    assert podtracer_nb.run("tc", line.split(), pid=home.pid).columns.tolist() == ["time", "stream", "line"]


def parsed(words: tuple[str, ...], stdout: str) -> pd.DataFrame:
    command = TC.command(words, Options(), False)
    assert command.parse is not None
    ((table, rows),) = command.parse(Text(words, stdout)).tables
    return table.frame(rows)


# What later versions write: classes as JSON (tc/tc_class.c after 6.1), netem's and fq_codel's members.
def test_classes_of_a_later_version() -> None:
    said = [
        {"class": "htb", "handle": "1:20", "parent": "1:1", "leaf": "0x20", "prio": 0, "rate": 625000, "ceil": 625000,
         "stats": {"bytes": 552, "packets": 8, "drops": 1, "overlimits": 2, "requeues": 0, "backlog": 0, "qlen": 0,
                   "lended": 8, "borrowed": 0, "giants": 0, "tokens": 38950}},
        {"class": "htb", "handle": "1:1", "root": True, "rate": 1250000, "ceil": 2500000},
    ]  # fmt: skip
    frame = parsed(("class", "show", "dev", "v0"), json.dumps(said))
    assert frame.rate.tolist() == [5e6, 1e7] and frame.drops[0] == 1
    assert frame.leaf[0] == "20:" and frame.parent.tolist() == ["1:1", "root"] and frame.lended[0] == 8


def test_netem_and_fq_codel() -> None:
    said = [
        {"kind": "netem", "handle": "8001:", "dev": "eth0", "root": True, "refcnt": 2,
         "options": {"limit": 1000, "delay": {"delay": 0.05, "jitter": 0.01, "correlation": 0},
                     "loss-random": {"loss": 0.01, "correlation": 0},
                     "rate": {"rate": 125000, "packetoverhead": 0}, "ecn": False, "gap": 0},
         "bytes": 84, "packets": 1, "drops": 0, "overlimits": 0, "requeues": 0, "backlog": 0, "qlen": 0},
        {"kind": "fq_codel", "handle": "0:", "dev": "eth1", "root": True,
         "options": {"limit": 10240, "flows": 1024, "target": 4999, "ecn": True}, "drop_overlimit": 3},
    ]  # fmt: skip
    frame = parsed(("qdisc",), json.dumps(said))
    row = frame.iloc[0]
    assert (row.delay_delay, row.loss_random_loss, row.limit, row.rate_rate) == (0.05, 0.01, 1000, 1e6)
    assert frame.iloc[1].flows == 1024 and frame.iloc[1].drop_overlimit == 3


def test_the_counters_of_a_filters_actions() -> None:
    said = [
        {"parent": "ffff:fff2", "protocol": "all", "pref": 1, "kind": "matchall", "chain": 0,
         "options": {"handle": 1, "actions": [
             {"order": 1, "kind": "gact", "control_action": {"type": "drop"},
              "stats": {"bytes": 168, "packets": 2, "drops": 2, "overlimits": 0}}]}},
    ]  # fmt: skip
    row = parsed(("filter", "show", "dev", "v0", "ingress"), json.dumps(said)).iloc[0]
    assert (row.packets, row.bytes, row.drops, row.interface) == (2, 168, 2, "v0")
    assert json.loads(row.actions)[0]["kind"] == "gact"


# tc of iproute2 4.9, without JSON.
OLD = """\
qdisc noqueue 0: dev lo root refcnt 2
 Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
qdisc tbf 8004: dev eth0 root refcnt 2 rate 1500Kbit burst 10Kb lat 50.0ms
 Sent 420 bytes 5 pkt (dropped 3, overlimits 9 requeues 1)
 backlog 12Kb 9p requeues 1
qdisc fq_codel 0: dev eth1 root refcnt 2 limit 10240p flows 1024 quantum 1514 target 5.0ms interval 100.0ms ecn
 Sent 1 bytes 1 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
  maxpacket 0 drop_overlimit 0 new_flow_count 0 ecn_mark 0
"""


def test_the_text_of_an_old_tc() -> None:
    frame = parsed(("qdisc",), OLD)
    row = frame.iloc[1]
    assert (row.interface, row.parent, row.rate, row.drops, row.backlog, row.qlen) == (
        "eth0",
        "root",
        1.5e6,
        3,
        12288,
        9,
    )
    assert frame.limit[2] == 10240 and frame.more[2].startswith("maxpacket")


@pytest.mark.parametrize("said", ["Usage: tc\n", "[1]", "[{", "class htb 1:1 root rate alot\n"])
def test_what_is_no_output_of_tc_is_never_a_table(said: str) -> None:
    for kind in ("class", "qdisc", "filter"):
        with pytest.raises(Unreadable):
            parsed((kind, "show"), said)


@settings(deadline=None)
@given(
    st.sampled_from(["class", "qdisc"]),
    st.text(st.sampled_from("qdisc las htb 1: root rate 5Mbit\n Sent()0b"), max_size=90),
)
@example("qdisc", OLD)
def test_any_text_is_a_table_or_said_to_be_none(kind: str, said: str) -> None:
    with contextlib.suppress(Unreadable):
        parsed((kind, "show"), said)


@settings(deadline=None)
@given(st.sampled_from(["class", "qdisc", "filter", "chain"]), st.dictionaries(
    st.sampled_from(["kind", "options", "stats", "root", "dev", "handle", "rate", "actions", "fh"]),
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["actions", "rate", "stats"]), st.none() | st.integers() | st.just([{}])),
    max_size=5,
))  # fmt: skip
def test_any_json_is_a_table_or_said_to_be_none(kind: str, value: object) -> None:
    with contextlib.suppress(Unreadable):
        parsed((kind, "show"), json.dumps([value]))


@pytest.mark.parametrize(
    "line", ["", "qdisc", "q s", "-s class show dev x", "filter get x", "monitor", "f s", "q help"]
)
def test_what_only_looks_is_no_change(line: str) -> None:
    assert TC.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "line", ["q a dev x root pfifo", "qdisc d dev x root", "c ch dev x", "f r dev x", "chain add", "q x"]
)
def test_what_alters_is_a_change(line: str) -> None:
    assert TC.change(tuple(line.split())) is not None


def test_what_cannot_be_judged_is_refused() -> None:
    for words in (("-b", "file"), ("exec", "bpf")):
        with pytest.raises(InputError):
            TC.change(words)


@needs("netns", "iproute2")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("qdisc add dev v1 root pfifo limit 9", "qdisc show dev v1"),
        ("qdisc replace dev v1 root tbf rate 1mbit burst 10kb latency 5ms", "qdisc show dev v1"),
        ("qdisc add dev lo clsact", "qdisc show dev lo"),
        ("qdisc add dev lo ingress", "qdisc show dev lo"),
        ("class add dev v0 parent 1: classid 1:30 htb rate 1mbit", "class show dev v0"),
        (
            "filter add dev v0 parent 1: protocol ip prio 9 u32 match ip dst 10.1.0.8/32 flowid 1:20",
            "filter show dev v0",
        ),
    ],
)
def test_an_undo_takes_what_was_added_away(line: str, shown: str) -> None:
    with place(HTB) as home:
        change = TC.change(tuple(line.split()))
        assert change is not None
        undo = change.undo
        if change.before is not None:
            assert change.undo_from is not None
            undo = change.undo_from(home.do(*change.before))
        assert undo is not None
        before = home.do("tc", *shown.split())
        frame = podtracer_nb.run("tc", line.split(), pid=home.pid, allow_change=True)
        assert frame.attrs["podtracer"]["exit_code"] == 0, frame.attrs["podtracer"]["stderr"]
        assert home.do("tc", *shown.split()) != before
        home.do(*undo)
        assert home.do("tc", *shown.split()) == before


@needs("netns", "iproute2")
@pytest.mark.parametrize(
    "line", ["qdisc replace dev v0 root pfifo", "filter add dev v0 parent 1: prio 7 u32 match u8 0 0"]
)
def test_there_is_no_undo_where_something_was_there(home: Place, line: str) -> None:
    change = TC.change(tuple(line.split()))
    assert change is not None and change.before is not None and change.undo_from is not None
    assert change.undo_from(home.do(*change.before)) is None
