"""tracepath, traceroute and mtr over a way that the test has made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Parsed, Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.way import MTU, PROHIBITED, ROUTER, SERVER, SWALLOWED, UNREACHABLE, Way


def parsed(tool: str, text: str) -> Parsed:
    parse = find(tool).command(("x",), Options(), False).parse
    assert parse is not None
    return parse(Text(("x",), text, lines=list))


def rows(tool: str, text: str, number: int = 0) -> list[dict[str, object]]:
    table, found = parsed(tool, text).tables[number]
    return table.frame(found).to_dict("records")


def said(ways: Way, word: str, tool: str, *arguments: str) -> None:
    """Run a tool until the router says that it cannot go on, which it may do once a second (route/error_cost)."""

    def heard() -> bool:
        frame = podtracer_nb.run(tool, arguments, pid=ways.client.pid)
        column = frame.error if tool == "tracepath" else frame.annotation
        return frame[column == word].address.tolist() == [ROUTER]

    until(heard, 20)


@needs("netns", "iproute2", "tracepath")
class TestTracepath:
    def test_the_hops_and_the_mtu_behind_the_router(self, ways: Way) -> None:
        frame = podtracer_nb.run("tracepath", ["-n", SERVER], pid=ways.client.pid)
        answered = frame[frame.rtt.notna() & frame.pmtu.isna()]
        assert answered.hop.unique().tolist() == [1, 2]
        assert answered.address.unique().tolist() == [ROUTER, SERVER]
        assert frame.reached.tolist() == [False] * (len(frame) - 1) + [True]
        assert frame.attrs["podtracer"]["facts"] == {"pmtu": MTU, "hops": 2, "back": 2}

    def test_what_cannot_be_reached(self, ways: Way) -> None:
        said(ways, "!H", "tracepath", "-n", UNREACHABLE)
        frame = podtracer_nb.run("tracepath", ["-n", "-m", "1", SWALLOWED], pid=ways.client.pid)
        assert frame.error.iloc[-1] == "no reply" and frame.attrs["podtracer"]["facts"]["too_many_hops"]


@needs("netns", "iproute2", "traceroute")
class TestTraceroute:
    def test_the_hops_and_each_probe(self, ways: Way) -> None:
        frame = podtracer_nb.run("traceroute", ["-n", "-q", "2", SERVER], pid=ways.client.pid)
        assert frame.address.tolist() == [ROUTER, SERVER] and frame.sent.tolist() == [2, 2]
        probes = frame.podtrace.table("probes")
        assert len(probes) == 4 and probes.probe.tolist() == [1, 2, 1, 2]
        for hop, of in probes.groupby("hop"):
            row = frame[frame.hop == hop].iloc[0]
            answered = of.rtt.dropna()
            assert row.rtt == of.rtt.astype(object).where(of.rtt.notna(), None).tolist()
            assert (row.best, row.worst) == (answered.min(), answered.max())
            assert row.loss == pytest.approx(100 * of.rtt.isna().mean())

    def test_what_cannot_be_reached_and_who_says_so(self, ways: Way) -> None:
        said(ways, "!X", "traceroute", "-n", "-q", "1", "-m", "1", "-w", "0.5", PROHIBITED)
        frame = podtracer_nb.run(
            "traceroute", ["-n", "-q", "2", "-m", "1", "-w", "0.1", SWALLOWED], pid=ways.client.pid
        )
        assert frame.address.isna().all() and frame.loss.tolist() == [100.0] and frame.rtt[0] == [None, None]

    @needs("busybox")
    @pytest.mark.usefixtures("busybox")
    def test_busybox_s_own(self, ways: Way) -> None:
        frame = podtracer_nb.run("traceroute", ["-n", SERVER], pid=ways.client.pid)
        assert frame.address.tolist() == [ROUTER, SERVER] and frame.sent.tolist() == [3, 3]
        said(ways, "!H", "traceroute", "-n", "-q", "1", "-m", "1", "-w", "1", UNREACHABLE)


# As traceroute.c prints where routers differ within a hop, with names, scopes, MPLS labels and autonomous systems.
SEVERAL = """traceroute to example.org (192.0.2.9), 30 hops max, 60 byte packets
 1  gw.demo (10.0.0.1) [AS64500]  1.001 ms  0.9 ms *
 2  10.0.1.1 (10.0.1.1) <MPLS:L=16,E=0,S=1,T=1>  2.0 ms a.demo (10.0.1.2)  3.0 ms !N 10.0.1.1 (10.0.1.1)  4 ms
 3  fe80::1%eth0 (fe80::1%eth0)  5.0 ms !H  5.1 ms !F-1400  5.2 ms !<13>
 4  * * *
"""


def test_several_routers_of_one_hop_are_told_apart() -> None:
    hops, probes = rows("traceroute", SEVERAL), rows("traceroute", SEVERAL, 1)
    assert [each["address"] for each in hops[:3]] == ["10.0.0.1", "10.0.1.1", "fe80::1%eth0"]
    assert hops[1]["addresses"] == ["10.0.1.1", "10.0.1.2"]
    assert [each["address"] for each in probes if each["hop"] == 2] == ["10.0.1.1", "10.0.1.2", "10.0.1.1"]
    assert [each["annotation"] for each in probes if each["hop"] == 3] == ["!H", "!F-1400", "!<13>"]
    assert [each["loss"] for each in hops] == [pytest.approx(100 / 3), 0, 0, 100]
    assert "[AS64500]" in str(hops[0]["annotation"]) and "<MPLS" in str(hops[1]["annotation"])


# Names, as tracepath of 20180629 and after prints them; a way back of another length; an answer to a later question.
NAMED = """ 1?: [LOCALHOST]                      pmtu 1500
 1:  gw.demo (10.0.0.1)                                    0.3ms
 1:  ??? (10.0.0.1)                                        0.287ms asymm  2
 2:  web.demo                                              0.7ms reached
 3:  fe80::1%eth0                                          1.0ms !A
 4:  send failed
     Resume: pmtu 1500 hops 2 back 3
"""


def test_tracepath_s_names_and_asymmetry() -> None:
    found = rows("tracepath", NAMED)
    assert [str(each["host"]) for each in found[1:4]] == ["gw.demo", "nan", "web.demo"]
    assert [str(each["address"]) for each in found[1:5]] == ["10.0.0.1", "10.0.0.1", "nan", "fe80::1%eth0"]
    assert found[2]["asymmetric"] == 2 and found[4]["error"] == "!A" and found[5]["error"] == "send failed"
    assert parsed("tracepath", NAMED).facts == {"pmtu": 1500, "hops": 2, "back": 3}


@needs("netns", "iproute2", "mtr")
class TestMtr:
    def test_the_hops_with_their_loss(self, ways: Way) -> None:
        frame = podtracer_nb.run("mtr", ["-n", "-G", "1", "-c", "2", "-i", "0.2", SERVER], pid=ways.client.pid)
        assert frame.host.tolist() == [ROUTER, SERVER] and frame.hop.tolist() == [1, 2]
        assert frame.loss.tolist() == [0, 0] and frame.sent.tolist() == [2, 2]
        assert ((frame.best <= frame.avg) & (frame.avg <= frame.worst)).all()
        assert frame.attrs["podtracer"]["facts"]["dst"] == SERVER

    def test_other_fields_by_their_letters(self, ways: Way) -> None:
        frame = podtracer_nb.run("mtr", ["-n", "-G", "1", "-c", "1", "-o", "SRDJ", SERVER], pid=ways.client.pid)
        assert frame.received.tolist() == [1, 1] and frame.dropped.tolist() == [0, 0] and "jitter" in frame

    def test_a_report_that_was_asked_for_is_json_all_the_same(self, ways: Way) -> None:
        frame = podtracer_nb.run("mtr", ["-r", "-n", "-G", "1", "-c", "1", SERVER], pid=ways.client.pid)
        assert frame.host.tolist() == [ROUTER, SERVER]

    def test_raw_and_csv_stay_lines(self, ways: Way) -> None:
        frame = podtracer_nb.run("mtr", ["--csv", "-n", "-G", "1", "-c", "1", SERVER], pid=ways.client.pid)
        assert "line" in frame and frame.line.str.contains(ROUTER).any()


# mtr 0.92, whose numbers are text in JSON, with -b and a router that keeps silent.
OLDER = """{
  "report": {
    "mtr": {"src": "here", "dst": "example.org", "tos": "0x0", "psize": "64", "bitpattern": "0x00", "tests": "3"},
    "hubs": [
      {"count": "1", "host": "gw.demo (10.0.0.1)", "Loss%": 33.33, "Snt": 3, "Last": 1.0, "Avg": 1.1, "Best": 0.9,
       "Wrst": 1.4, "StDev": 0.2},
      {"count": "2", "host": "???", "Loss%": 100.00, "Snt": 3, "Last": 0, "Avg": 0, "Best": 0, "Wrst": 0, "StDev": 0,
       "New": "kept"}
    ]
  }
}
"""


def test_an_older_mtr_s_numbers_are_numbers_and_a_newer_one_s_fields_are_kept() -> None:
    found = rows("mtr", OLDER)
    assert [each["hop"] for each in found] == [1, 2]
    assert (found[0]["host"], found[0]["address"], found[0]["loss"]) == ("gw.demo", "10.0.0.1", 33.33)
    assert str(found[1]["host"]) == "nan" and found[1]["New"] == "kept"


def test_two_destinations_are_told_apart() -> None:
    found = rows("mtr", OLDER + OLDER.replace("example.org", "example.net"))
    assert [each["destination"] for each in found] == ["example.org"] * 2 + ["example.net"] * 2


@pytest.mark.parametrize("tool", ["tracepath", "traceroute", "mtr"])
def test_a_changed_form_is_no_table(tool: str) -> None:
    with pytest.raises(Unreadable):
        parsed(tool, "hop one is 10.0.0.1, after 3 ms\n")


@pytest.mark.parametrize(("tool", "text"), [("tracepath", NAMED), ("traceroute", SEVERAL), ("mtr", OLDER)])
@settings(deadline=None, database=None, max_examples=60, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.floats(0, 1), st.integers(0, 40))
def test_whatever_stands_there_it_is_a_table_or_unreadable(
    tool: str, text: str, junk: str, where: float, length: int
) -> None:
    at = int(where * len(text))
    try:
        found = parsed(tool, text[:at] + junk + text[at + length :])
        for table, rows_of in found.tables:
            table.frame(rows_of)
    except Unreadable:
        pass
