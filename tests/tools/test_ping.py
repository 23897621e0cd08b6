"""ping, of iputils and of busybox: replies, errors and silence as rows."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools.known import ping
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.tools.way import CLIENT, ROUTER, SERVER, SWALLOWED, Way


def facts(frame: pd.DataFrame) -> dict[str, object]:
    found: dict[str, object] = frame.attrs["podtracer"]["facts"]
    return found


def read(text: str, *arguments: str) -> tuple[pd.DataFrame, dict[str, object]]:
    parse = find("ping").command(arguments, Options(foreign=True), False).parse
    assert parse is not None
    parsed = parse(Text(arguments, text, lines=list))
    (table, rows), *_ = parsed.tables
    return table.frame(rows), dict(parsed.facts)


@needs("netns", "iproute2", "ping")
class TestOfIputils:
    def test_each_reply_is_a_row(self, ways: Way) -> None:
        before = pd.Timestamp.now("UTC")
        frame = podtracer_nb.run("ping", ["-n", "-c", "3", "-i", "0.01", "-s", "100", SERVER], pid=ways.client.pid)
        assert frame.seq.tolist() == [1, 2, 3]
        assert frame.address.unique().tolist() == [SERVER]
        assert frame.ttl.unique().tolist() == [63]  # one router took one off 64
        assert frame.bytes.unique().tolist() == [108]
        assert not frame.duplicate.any() and frame.error.isna().all()
        assert ((frame.rtt > 0) & (frame.rtt < 1000)).all()
        assert frame.time.is_monotonic_increasing and before <= frame.time[0] <= pd.Timestamp.now("UTC")
        assert frame.dtypes.astype(str).to_dict() == {
            "time": "datetime64[ns, UTC]", "seq": "Int64", "rtt": "Float64", "ttl": "Int64", "bytes": "Int64",
            "address": "str", "duplicate": "boolean", "error": "str",
        }  # fmt: skip
        assert frame.attrs["podtracer"]["units"]["rtt"] == "ms"
        told = facts(frame)
        assert (told["transmitted"], told["received"], told["loss_percent"]) == (3, 3, 0.0)
        assert told["rtt_min_ms"] == pytest.approx(float(frame.rtt.min()), abs=1e-3)
        assert told["rtt_max_ms"] == pytest.approx(float(frame.rtt.max()), abs=1e-3)

    def test_over_ipv6_and_to_a_neighbour_with_its_scope(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-6", "-n", "-c", "1", "fd02::2"], pid=ways.client.pid)
        assert (frame.address[0], frame.ttl[0]) == ("fd02::2", 63)
        links = json.loads(ways.router.run("ip", "-j", "-6", "address", "show", "dev", "r1", "scope", "link"))
        (address,) = (each["local"] for link in links for each in link.get("addr_info", ()) if each)
        neighbour = f"{address}%eth0"
        frame = podtracer_nb.run("ping", ["-n", "-c", "1", neighbour], pid=ways.client.pid)
        assert (frame.address[0], frame.ttl[0]) == (neighbour, 64)

    def test_what_a_router_says_is_a_row_with_its_address(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-n", "-c", "1", "-W", "1", "-t", "1", SERVER], pid=ways.client.pid)
        assert (frame.address[0], frame.error[0]) == (ROUTER, "Time to live exceeded")
        assert frame.rtt.isna().all()
        assert facts(frame)["errors"] == 1 and frame.attrs["podtracer"]["exit_code"] == 1

    def test_silence_is_a_row_once_the_next_request_leaves(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-n", "-c", "3", "-i", "0.05", "-W", "0.1", SWALLOWED], pid=ways.client.pid)
        assert frame.error.unique().tolist() == ["no answer"] and set(frame.seq) >= {1, 2}
        assert facts(frame)["loss_percent"] == 100.0

    def test_an_own_address_that_nobody_has_is_unreachable(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-n", "-c", "1", "10.1.0.77"], pid=ways.client.pid)
        assert (frame.address[0], frame.error[0]) == (CLIENT, "Destination Host Unreachable")

    def test_it_is_stopped_and_keeps_what_it_had_and_its_summary(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-n", "-i", "0.01", SERVER], pid=ways.client.pid, timer=0.3)
        assert frame.attrs["podtracer"]["reason"] == "timer"
        assert len(frame) > 1 and facts(frame)["received"] >= len(frame) - 1

    def test_quiet_gives_no_rows_but_the_facts(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-q", "-n", "-c", "2", "-i", "0.01", SERVER], pid=ways.client.pid)
        assert frame.empty and facts(frame)["received"] == 2

    def test_a_failure_is_a_line_and_an_empty_table(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-c", "1", "192.0.2.1"], pid=ways.router.pid)
        assert frame.empty and "error" in frame
        assert frame.attrs["podtracer"]["notes"][-1].endswith("ping: connect: Network is unreachable")


@needs("netns", "iproute2", "busybox")
@pytest.mark.usefixtures("busybox")
class TestOfBusybox:
    def test_its_replies_are_the_same_rows(self, ways: Way) -> None:
        before = pd.Timestamp.now("UTC")
        frame = podtracer_nb.run("ping", ["-c", "2", "-i", "0.1", SERVER], pid=ways.client.pid)
        assert frame.attrs["podtracer"]["argv"] == ["ping", "-c", "2", "-i", "0.1", SERVER]
        assert frame.seq.tolist() == [0, 1] and frame.ttl.tolist() == [63, 63]
        assert frame.address.unique().tolist() == [SERVER]
        # It prints no time: it is that of the line's arrival.
        assert before <= frame.time[0] < frame.time[1] <= pd.Timestamp.now("UTC")
        told = facts(frame)
        assert (told["transmitted"], told["received"], told["loss_percent"]) == (2, 2, 0.0)
        assert "rtt_avg_ms" in told and "rtt_mdev_ms" not in told

    def test_over_ipv6(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-6", "-c", "1", "fd02::2"], pid=ways.client.pid)
        assert frame.address.tolist() == ["fd02::2"]

    def test_nobody_answers(self, ways: Way) -> None:
        frame = podtracer_nb.run("ping", ["-c", "1", "-W", "1", SWALLOWED], pid=ways.client.pid)
        assert frame.empty and facts(frame)["loss_percent"] == 100


# As ping.c and ping_common.c of iputils print them, of versions other than the distribution's, and of inetutils.
OTHERS = """PING web (10.0.0.1) 56(84) bytes of data.
[1700000000.000001] 64 bytes from web.demo (10.0.0.1): icmp_seq=1 ttl=64 time=0.031 ms
[1700000001.000001] 64 bytes from web.demo (10.0.0.1): icmp_seq=1 ttl=64 time=0.050 ms (DUP!)
[1700000002.000002] no answer yet for icmp_seq=2
[1700000003.500000] 64 bytes from web.demo (10.0.0.1): icmp_seq=2 ttl=64 time=1499 ms
[1700000003.600000] no answer yet for icmp_seq=3
[1700000003.700000] From gw.demo (10.0.0.254): icmp_seq=4 Redirect Host(New nexthop: 10.0.0.2)
[1700000003.800000] From 10.0.0.254 icmp_seq=5 Frag needed and DF set (mtu = 1400)
[1700000003.900000] 16 bytes from 10.0.0.1: icmp_seq=6 ttl=64
[1700000003.900000] 64 bytes from 10.0.0.1: icmp_seq=7 ttl=64 time=2.0 ms (BAD CHECKSUM!)

--- web ping statistics ---
7 packets transmitted, 4 received, +1 duplicates, +2 errors, 42.857% packet loss, time 3003ms
rtt min/avg/max/mdev = 0.031/300.000/1499.000/500.000 ms, pipe 2
"""
INETUTILS = """PING 127.0.0.1 (127.0.0.1): 56 data bytes
64 bytes from 127.0.0.1: icmp_seq=0 ttl=64 time=0.040 ms
--- 127.0.0.1 ping statistics ---
1 packets transmitted, 1 packets received, 0% packet loss
round-trip min/avg/max/stddev = 0.040/0.040/0.040/0.000 ms
"""


def test_duplicates_late_answers_and_errors_each_have_their_row() -> None:
    frame, told = read(OTHERS)
    assert frame.seq.tolist() == [1, 1, 2, 3, 4, 5, 6, 7]
    assert frame.duplicate.tolist() == [False, True, *[False] * 6]
    assert frame.rtt[2] == 1499.0  # the row that said that it had not come is gone
    assert frame.error.fillna("").tolist() == [
        "", "", "", "no answer", "Redirect Host(New nexthop: 10.0.0.2)", "Frag needed and DF set (mtu = 1400)", "",
        "bad checksum",
    ]  # fmt: skip
    assert frame.host.fillna("").tolist()[:5] == ["web.demo"] * 3 + ["", "gw.demo"]
    assert frame.time[0].value == 1700000000000001000
    assert (told["duplicates"], told["errors"], told["loss_percent"]) == (1, 2, 42.857)


def test_inetutils_is_read_too() -> None:
    frame, told = read(INETUTILS)
    assert (frame.seq[0], frame.rtt[0], told["rtt_mdev_ms"]) == (0, 0.04, 0.0)


@pytest.mark.parametrize("text", ["64 octets from 10.0.0.1, seq=1 in 3 ms\n", "nothing of ping's\n"])
def test_a_changed_form_is_no_table(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(
    ("words", "endless"),
    [(["web"], True), (["-c3", "web"], False), (["-w", "5", "web"], False), (["-nc", "1", "web"], False)],
)
def test_it_runs_until_it_is_stopped_unless_it_is_told_when_to_end(words: list[str], endless: bool) -> None:
    assert find("ping").command(tuple(words), Options(), False).endless is endless


@settings(deadline=None, database=None, max_examples=100, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=40), st.integers(0, len(OTHERS)), st.integers(0, 60))
def test_whatever_stands_there_it_is_a_table_or_unreadable(junk: str, at: int, length: int) -> None:
    with pytest.MonkeyPatch.context():
        try:
            frame, _ = read(OTHERS[:at] + junk + OTHERS[at + length :])
        except Unreadable:
            return
    assert set(frame.columns) >= {each.name for each in ping.REPLIES.columns if not each.optional}
