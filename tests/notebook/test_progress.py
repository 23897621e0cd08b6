"""The line of progress where nothing can be changed once it is written, and in a terminal."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import pytest

from podtracer_nb.notebook import display
from podtracer_nb.notebook.progress import ProgressLine
from podtracer_nb.notebook.targets_table import TargetsTable


@dataclass(frozen=True)
class State:
    """What a run reports, as `podtracer_nb.tools.Progress` has it."""

    elapsed: float
    packets: int | None = 1200
    bytes: int = 45_200
    drops: int | None = 0
    targets: int = 1
    done: bool = False
    each: tuple[object, ...] = ()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("podtracer_nb.notebook.progress.time.monotonic", lambda: now[0])

    def advance(line: ProgressLine, until: float, step: float = 0.25) -> None:
        for tick in range(int(until / step) + 1):
            now[0] = 100.0 + tick * step
            line(State(tick * step))

    return advance


def test_a_terminal_has_one_line_that_is_gone_at_the_end(shell, clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine(shell, "tcpdump", bounded=True)
    clock(line, 3)
    *_, last = terminal.getvalue().split("\r\x1b[2K")
    assert last == "tcpdump · 3.0 s · 1,200 packets · 45.2 kB · 0 dropped"
    line.close()
    assert terminal.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in terminal.getvalue()


def test_a_file_is_not_flooded(shell, clock, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    clock(ProgressLine(shell, "tcpdump", bounded=True), 60)
    assert len(written.getvalue().splitlines()) == 7


def test_a_short_run_shows_its_banner_only(shell, clock, capsys):
    line = ProgressLine(shell, "ss", bounded=False)
    clock(line, 0.9)
    line.close(display.Banner((display.Part("demo/web"),)))
    assert capsys.readouterr() == ("demo/web\n", "")


def test_drops_are_loud_and_a_run_without_an_end_says_how_it_ends():
    text = repr(display.of_progress(State(75, drops=3, targets=2), "tcpdump", bounded=False))
    assert text == (
        "tcpdump · 1 min 15 s · 1,200 packets · 45.2 kB · ⚠ 3 dropped · 2 targets"
        " · interrupt to stop and keep the result"
    )


def test_many_targets_are_one_table_with_what_went_wrong_first() -> None:
    from podtracer_nb.tools import Progress, TargetProgress

    each = [TargetProgress(f"shop/web-{at}", "node-a", at, 1000 * at, 0, "running") for at in range(199)]
    each.append(TargetProgress("shop/<bad>", "node-b", None, 0, None, "has no network & no node"))
    progress = Progress(5.0, 1, 2, 0, 199, each=tuple(each))
    table = TargetsTable(display.of_progress(progress, "tcpdump", bounded=False), progress)
    page = table._repr_mimebundle_()["text/html"]
    assert page.count("<tr>") == 1 + 200
    first = page[page.index("<tbody>") :].split("</tr>")[0]
    assert "shop/&lt;bad&gt;" in first and "has no network &amp; no node" in first and "font-weight:600" in first
    assert "font-weight:600" not in page.split("</tr>", 2)[2]
    assert repr(table) == repr(table.line), "as text it is one line"


def test_a_terminal_has_the_table_of_many_targets_and_it_is_gone_at_the_end(shell, clock, monkeypatch):
    from podtracer_nb.tools import Progress, TargetProgress

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine(shell, "tcpdump", bounded=True)
    each = tuple(TargetProgress(f"shop/web-{at}", "node-a", at, 1000, 0, "running") for at in range(2))
    line(Progress(5.0, 1, 2000, 0, 2, each=each))
    assert "shop/web-1" in terminal.getvalue()
    line.close()
    assert terminal.getvalue().endswith("\x1b[J")
