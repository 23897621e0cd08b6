"""nc -z: whether ports are open, as the test has opened them."""

from __future__ import annotations

import contextlib
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.tools import servers
from tests.tools.way import SERVER, SWALLOWED, Way, listening

PORT = 8082


@needs("netns", "iproute2", "nc")
class TestOfOpenBsd:
    def test_each_port_is_a_row(self, ways: Way) -> None:
        with ways.server.running(sys.executable, servers.__file__, "http", str(PORT)):
            listening(ways.server, PORT)
            words = ["-z", "-n", SERVER, f"{PORT - 1}-{PORT + 1}"]
            frame = podtracer_nb.run("nc", words, pid=ways.client.pid)
        assert frame.port.tolist() == [PORT - 1, PORT, PORT + 1]
        assert frame.open.tolist() == [False, True, False]
        assert frame.error.fillna("").tolist() == ["Connection refused", "", "Connection refused"]
        assert frame.host.unique().tolist() == [SERVER] and frame.protocol.unique().tolist() == ["tcp"]

    def test_more_ports_than_standard_error_is_kept_of(self, ways: Way) -> None:
        frame = podtracer_nb.run("nc", ["-z", "-n", "127.0.0.1", "1-3000"], pid=ways.server.pid)
        assert frame.port.tolist() == list(range(1, 3001)) and not frame.open.any()

    def test_no_answer_is_told_from_a_refusal(self, ways: Way) -> None:
        frame = podtracer_nb.run("nc", ["-zv", "-w", "1", SWALLOWED, "80"], pid=ways.client.pid)
        assert (frame.open[0], frame.error[0]) == (False, "timed out")
        frame = podtracer_nb.run("nc", ["-z", "nosuch.invalid", "80"], pid=ways.client.pid)
        assert frame.host.tolist() == ["nosuch.invalid"] and not frame.open[0] and frame.error.notna().all()

    def test_anything_else_is_lines(self, ways: Way) -> None:
        with ways.server.running("sh", "-c", f"echo hello | nc -l -N {SERVER} {PORT}"):
            listening(ways.server, PORT)
            frame = podtracer_nb.run("nc", ["-w", "5", SERVER, str(PORT)], pid=ways.client.pid)
        assert frame.line.tolist() == ["hello"]


@needs("netns", "iproute2", "busybox")
@pytest.mark.usefixtures("busybox")
def test_busybox_s_knows_no_z_and_says_so_in_lines(ways: Way) -> None:
    frame = podtracer_nb.run("nc", ["-z", SERVER, "80"], pid=ways.client.pid)
    assert frame.line.str.contains("invalid option|Usage").any()


def read(text: str, *arguments: str) -> pd.DataFrame:
    parse = find("nc").command(("-z", *arguments), Options(), False).parse
    assert parse is not None
    (table, rows), *_ = parse(Text(("-z", *arguments), "", text, lines=list)).tables
    return table.frame(rows)


# netcat-openbsd 1.105 and 1.217, and the traditional netcat, each as its source has it.
VERSIONS = """Connection to web 80 port [tcp/http] succeeded!
Connection to web (10.0.0.1) 53 port [udp/domain] succeeded!
nc: connect to web port 81 (tcp) failed: Connection refused
nc: connect to web (fd00::1) port 82 (tcp) failed: No route to host
web [10.0.0.1] 80 (http) open
(UNKNOWN) [10.0.0.1] 83 (?) : Connection refused
"""


def test_the_words_of_several_versions() -> None:
    frame = read(VERSIONS, "web", "80")
    assert frame.port.tolist() == [80, 53, 81, 82, 80, 83]
    assert frame.open.tolist() == [True, True, False, False, True, False]
    assert frame.address.fillna("").tolist() == ["", "10.0.0.1", "", "fd00::1", "10.0.0.1", "10.0.0.1"]
    assert frame.protocol.tolist() == ["tcp", "udp", "tcp", "tcp", "tcp", "tcp"]


def test_other_words_are_no_table() -> None:
    with pytest.raises(Unreadable):
        read("Ncat: Connection refused.\n")


@settings(deadline=None, database=None, max_examples=60, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(0, len(VERSIONS)), st.integers(0, 40))
def test_whatever_stands_there_it_is_a_table_or_unreadable(junk: str, at: int, length: int) -> None:
    with contextlib.suppress(Unreadable):
        read(VERSIONS[:at] + junk + VERSIONS[at + length :])
