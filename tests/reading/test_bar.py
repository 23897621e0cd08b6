"""How far a large capture is: nothing for what is quick, a bar for who looks, plain lines for who does not."""

from __future__ import annotations

import io
import sys

import pytest

from podtracer_nb.packets.parquet import Progress
from podtracer_nb.reading import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_it_is_a_plain_line_every_ten_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = bar.Bar("x.pcap")
    for _ in range(25):
        clock[0] += 1
        shown(Progress(1000, int((clock[0] - 100) * 1e8), 5_000_000_000))
    shown.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "x.pcap: 1,000 packets, 1,000 MB of 5,000 MB, 100 MB/s, 40 s left",
        "x.pcap: 1,000 packets, 2,000 MB of 5,000 MB, 100 MB/s, 30 s left",
    ]


def test_a_total_that_is_not_known_is_not_invented() -> None:
    assert bar.plain("the capture", Progress(5, 3_000_000, None), 2.0) == "the capture: 5 packets, 3 MB, 2 MB/s"


def test_in_a_terminal_it_is_a_bar_with_rate_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = bar.Bar("x.pcap")
    shown(Progress(10, 100, 1000))
    assert terminal.getvalue() == "", "what is quick shows nothing"
    shown._began -= 5
    shown(Progress(1234, 500_000_000, 1_000_000_000))
    shown.close()
    drawn = terminal.getvalue()
    assert "x.pcap" in drawn and "1,234 packets" in drawn and "1.00G" in drawn and "B/s" in drawn


def test_without_tqdm_a_terminal_has_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = bar.Bar("x.pcap")
    shown._began -= 20
    shown._last -= 20
    shown(Progress(10, 100, 1000))
    assert "10 packets" in terminal.getvalue() and terminal.getvalue().endswith("\n")
