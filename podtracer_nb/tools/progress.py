"""How far a session is: as a whole, and target by target."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Lines", "Progress", "TargetProgress", "cells", "lines", "ordered", "rest"]

_WELL = ("running", "stopping", "ended")
_COLUMNS = ("target", "node", "packets", "bytes", "dropped", "state")


@dataclass(frozen=True)
class TargetProgress:
    """How far one tool in one target is.

    Attributes
    ----------
    target, node
        Where.
    packets
        Packets read so far, or None for a tool that gives lines.
    bytes
        Bytes of output so far.
    drops
        Packets that the kernel dropped, or None while that is not known.
    state
        "running", "stopping", how it ended, or why it failed.
    """

    target: str
    node: str
    packets: int | None
    bytes: int
    drops: int | None
    state: str


@dataclass(frozen=True)
class Progress:
    """How far a session is.

    Attributes
    ----------
    elapsed
        Seconds since the first tool was started.
    packets
        Packets read so far, or None for a tool that gives lines.
    bytes
        Bytes of output so far.
    drops
        Packets that the kernel dropped, or None while that is not known.
    targets
        How many targets are still running.
    done
        True in the last report.
    each
        The same of every target.
    """

    elapsed: float
    packets: int | None
    bytes: int
    drops: int | None
    targets: int
    done: bool = False
    each: tuple[TargetProgress, ...] = ()


def ordered(progress: Progress) -> list[TargetProgress]:
    """Return the targets, those first that did not go well."""
    return sorted(progress.each, key=lambda one: one.state in _WELL)


def rest(hidden: list[TargetProgress]) -> str:
    """Return what is said of targets that there is no room for; empty where there is for all."""
    states = Counter(one.state if one.state in _WELL else "failed" for one in hidden)
    return f"… {len(hidden)} more: " + ", ".join(f"{n} {state}" for state, n in states.items()) if hidden else ""


def cells(one: TargetProgress) -> tuple[str, ...]:
    """Return one target's row as it is shown: target, node, packets, bytes, dropped, state."""
    packets, dropped = ("" if count is None else f"{count:,}" for count in (one.packets, one.drops))
    return one.target, one.node, packets, f"{one.bytes:,}", dropped, one.state


def lines(progress: Progress, rows: int, columns: int) -> list[str]:
    """Return a table of targets in so many rows and columns of a terminal, its last row the sum of all.

    Examples
    --------
    >>> one = TargetProgress("shop/web", "node-a", 12, 3400, 0, "running")
    >>> for line in lines(Progress(2.0, 12, 3400, 0, 1, each=(one,)), 10, 80):
    ...     print(line)
    target    node    packets  bytes  dropped  state
    shop/web  node-a       12  3,400        0  running
    all                    12  3,400        0  2 s, 1 running
    """
    every = ordered(progress)
    room = max(rows - 3, 1)
    shown = every if len(every) <= room + 1 else every[:room]
    total = TargetProgress(
        "all", "", progress.packets, progress.bytes, progress.drops,
        f"{progress.elapsed:.0f} s, {progress.targets} running",
    )  # fmt: skip
    table = [_COLUMNS, *map(cells, shown), cells(total)]
    widths = [max(len(row[at]) for row in table) for at in range(len(_COLUMNS) - 1)]
    text = [
        "  ".join(
            [*(row[at].ljust(width) if at < 2 else row[at].rjust(width) for at, width in enumerate(widths)), row[-1]]  # noqa: PLR2004
        )[:columns]
        for row in table
    ]
    if more := rest(every[len(shown) :]):
        text.insert(-1, more[:columns])
    return text


class Lines:
    """A table of targets on a terminal, written over itself until all is done and then taken away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._written = 0

    def __call__(self, progress: Progress) -> None:
        """Show the state; nothing of a run that is over in a second."""
        self.clear()
        if not progress.done and progress.elapsed > 1:
            size = shutil.get_terminal_size()
            text = lines(progress, size.lines - 1, size.columns - 1)
            self._stream.write("".join(f"{line}\n" for line in text))
            self._written = len(text)
        self._stream.flush()

    def clear(self) -> None:
        """Take the table away."""
        if self._written:
            self._stream.write(f"\x1b[{self._written}F\x1b[J")
            self._written = 0
