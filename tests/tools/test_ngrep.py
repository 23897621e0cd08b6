"""ngrep: what the test has sent, as rows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools import Progress
from podtracer_nb.tools.known.ngrep import PACKETS
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.tools import servers
from tests.tools.way import CLIENT, SERVER, Way, listening

PORT = 8083
UDP = "import socket,sys\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'ping pong', (sys.argv[1], 9))"


def meanwhile(send: Callable[[], object]) -> Callable[[Progress], None]:
    """Return a progress that has something sent again and again: a tool need not say when it listens."""
    running: list[threading.Thread] = []

    def progress(report: Progress) -> None:
        if not report.done and not any(each.is_alive() for each in running):
            running.append(threading.Thread(target=send))
            running[-1].start()
        elif report.done and running:
            running[-1].join()  # whom it is sent to ends next

    return progress


@needs("netns", "iproute2", "ngrep")
class TestInANamespace:
    @needs("curl")
    def test_requests_and_answers_by_their_text(self, ways: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Kathmandu")  # five hours and three quarters, and no matter
        before = pd.Timestamp.now("UTC")
        with ways.server.running(sys.executable, servers.__file__, "http", str(PORT)):
            listening(ways.server, PORT)
            url = f"http://{SERVER}:{PORT}/hello"
            words = ["-d", "eth0", "-n", "2", "HTTP/1.1", "port", str(PORT)]
            frame = podtracer_nb.run(
                "ngrep", words, pid=ways.client.pid, timer=20,
                progress=meanwhile(lambda: ways.client.run("curl", "-s", "-o", "/dev/null", url)),
            )  # fmt: skip
        assert frame.proto.tolist() == ["TCP", "TCP"] and frame.tcp_flags.tolist() == ["AP", "AP"]
        frame = frame.sort_values("src", ignore_index=True)  # it may have begun with an answer
        assert frame.src.tolist() == [CLIENT, SERVER] and frame.dport[0] == frame.sport[1] == PORT
        assert frame.payload[0].startswith("GET /hello HTTP/1.1..Host: ")
        assert frame.time.between(before, pd.Timestamp.now("UTC")).all()
        assert "port 8083" in frame.attrs["podtracer"]["facts"]["filter"]

    def test_datagrams_and_what_icmp_says_of_them(self, ways: Way) -> None:
        def send() -> None:
            ways.client.run(sys.executable, "-c", UDP, SERVER)

        words = ["-d", "eth0", "-n", "2", "", "udp", "or", "icmp"]
        frame = podtracer_nb.run("ngrep", words, pid=ways.client.pid, timer=20, progress=meanwhile(send))
        datagram = frame[frame.proto == "UDP"].iloc[0]
        assert (datagram.src, datagram.dst, datagram.dport, datagram.payload) == (CLIENT, SERVER, 9, "ping pong")
        said = frame[frame.proto == "ICMP"].iloc[0]
        assert (said.src, said.icmp_type, said.icmp_code) == (SERVER, 3, 3) and pd.isna(said.sport)

    def test_its_own_lines_come_at_once(self, ways: Way) -> None:
        words = ["-d", "eth0", "-n", "1", "-q", "-x", "pong", "udp"]
        frame = podtracer_nb.run(
            "ngrep", words, pid=ways.client.pid, timer=20,
            progress=meanwhile(lambda: ways.client.run(sys.executable, "-c", UDP, SERVER)),
        )  # fmt: skip
        assert frame.line.str.contains("70 69 6e 67").any()

    def test_a_filter_that_is_none_is_a_line(self, ways: Way) -> None:
        frame = podtracer_nb.run("ngrep", ["-d", "eth0", "x", "port port"], pid=ways.client.pid)
        assert frame.attrs["podtracer"]["exit_code"] != 0
        assert any("ngrep ended with exit status" in note for note in frame.attrs["podtracer"]["notes"])


SAMPLE = """interface: eth0 (10.0.0.0/255.255.255.0)
filter: ( tcp ) and ((ip || ip6) || (vlan && (ip || ip6)))
match (JIT): GET

T 2026/11/25 13:21:32.110509 10.0.0.1:57100 -> 10.0.0.2:8000 [AP] GET / HTTP/1.1..

T 2026/11/25 13:21:32.110510 fd00::1:57100 -> fd00::2:8000 [S]

U 2026/11/25 13:21:32.110511 10.0.0.1:53 -> 10.0.0.2:45759 +1a2b@0:1456 part
I 2026/11/25 13:21:32.143654 10.0.0.1 -> 10.0.0.2 8:0 abc
? 2026/11/25 13:21:32.143655 10.0.0.1 -> 10.0.0.2 zzz
exit
4 received, 4 matched
"""


def read(text: str) -> pd.DataFrame:
    parse = find("ngrep").command(("x",), Options(), False).parse
    assert parse is not None
    (table, rows), *_ = parse(Text(("x",), text)).tables
    return table.frame(rows)


def test_each_kind_of_line() -> None:
    frame = read(SAMPLE)
    assert frame.proto.tolist() == ["TCP", "TCP", "UDP", "ICMP", "?"]
    assert frame.src.tolist() == ["10.0.0.1", "fd00::1", "10.0.0.1", "10.0.0.1", "10.0.0.1"]
    assert frame.sport.fillna(0).tolist() == [57100, 57100, 53, 0, 0]
    assert frame.payload.tolist() == ["GET / HTTP/1.1..", "", "part", "abc", "zzz"]
    assert frame.fragment[2] == "1a2b@0:1456" and frame.icmp_type[3] == 8
    assert frame.time[0] == datetime(2026, 11, 25, 13, 21, 32, 110509, tzinfo=UTC)


def test_other_words_are_no_table() -> None:
    with pytest.raises(Unreadable):
        read("packet from 10.0.0.1\n")


@settings(deadline=None, database=None, max_examples=60, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(0, len(SAMPLE)), st.integers(0, 40))
def test_whatever_stands_there_it_is_a_table_or_unreadable(junk: str, at: int, length: int) -> None:
    try:
        frame = read(SAMPLE[:at] + junk + SAMPLE[at + length :])
    except Unreadable:
        return
    assert set(frame.columns) >= {each.name for each in PACKETS.columns if not each.optional}


def test_it_keeps_its_user_where_there_is_no_other() -> None:
    assert "-R" in find("ngrep").command(("x",), Options(), True).argv
    assert "-R" not in find("ngrep").command(("x",), Options(), False).argv
