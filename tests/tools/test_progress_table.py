"""The table of targets on a terminal."""

from __future__ import annotations

import io
import re

import pytest

from podtracer_nb.tools.progress import Lines, Progress, TargetProgress, lines


def progress(count: int, failed: int = 0, *, done: bool = False, elapsed: float = 5.0) -> Progress:
    each = [TargetProgress(f"shop/web-{at}", "node-a", 10 * at, 1000 * at, 0, "running") for at in range(count)]
    each += [TargetProgress(f"shop/bad-{at}", "node-b", None, 0, None, "has no network") for at in range(failed)]
    packets = sum(one.packets or 0 for one in each)
    return Progress(elapsed, packets, sum(one.bytes for one in each), 0, count, done=done, each=tuple(each))


@pytest.mark.parametrize("count", [1, 2, 20, 200])
def test_it_fits_the_terminal_and_ends_with_the_sum(count: int) -> None:
    text = lines(progress(count), 24, 100)
    assert len(text) <= 24 and all(len(line) <= 100 for line in text)
    total = sum(10 * at for at in range(count))
    assert re.match(rf"all +{total:,} ", text[-1]) and f"{count} running" in text[-1]


def test_what_has_no_room_is_counted() -> None:
    text = lines(progress(200), 24, 100)
    shown = sum(line.startswith("shop/") for line in text)
    assert text[-2] == f"… {200 - shown} more: {200 - shown} running"


def test_what_failed_comes_first() -> None:
    text = lines(progress(200, failed=3), 24, 100)
    assert all("has no network" in line for line in text[1:4])
    assert "has no network" not in "".join(text[4:])


def test_it_is_written_over_itself_and_taken_away() -> None:
    screen = io.StringIO()
    table = Lines(screen)
    table(progress(2, elapsed=0.5))
    assert not screen.getvalue(), "a run that is over at once shows none"
    table(progress(2))
    written = screen.getvalue().count("\n")
    table(progress(2, done=True))
    assert screen.getvalue().endswith(f"\x1b[{written}F\x1b[J")
