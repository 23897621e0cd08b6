"""Two threads that dissect one capture into one table.

They take blocks of the capture in turns. Where a block's first record starts is known only from the block before it, so
a baton goes from block to block: whoever has it looks at the record headers of the block that it has read meanwhile,
reserves the rows, and passes the baton on. Reading and dissecting, which is nearly all of the time, need no baton and
no lock of Python's.

Each thread has dictionaries of its own, copies of the reader's, so that neither waits for the other's addresses. What
they learned is put together afterwards in the order of the blocks, as one thread alone would have met it, and the rows'
codes are exchanged where they differ: the table is the same in all of its bytes.

Anything unusual ends it: damage, a pcapng block without a packet, a table that needs wider codes, no more rows. The
reader goes on from there alone. Nothing is changed in what the reader has before all is well.
"""

from __future__ import annotations

import functools
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from podtracer_nb.packets.columns import ColumnMemory
from podtracer_nb.packets.dictionaries import Dictionaries
from podtracer_nb.packets.source import aligned

__all__ = ["Done", "TwoThreads", "idle_processors", "touch"]

_BLOCK = 1 << 19
_BLOCKS = 1024  # then both stop for a moment: for interrupts, and to learn what the other has learned
_HEADROOM = 1 << 18  # a block's last record may go beyond it by so much
_IN_MEMORY = -1
_HUGE_PAGE = 1 << 21


@dataclass(frozen=True)
class Done:
    """What two threads did.

    Attributes
    ----------
    comments
        Options of packets with comments, by the row after them.
    ended
        Whether something unusual is next, or nothing at all; False where only rows are missing, or it was a while.
    """

    comments: dict[int, bytes]
    ended: bool


class TwoThreads:
    """Two dissectors that work for a reader's.

    Parameters
    ----------
    engine
        The module `_dissect`, compiled.
    dissector, dictionaries, memory
        The reader's.
    """

    def __init__(self, engine: ModuleType, dissector: Any, dictionaries: Dictionaries, memory: ColumnMemory) -> None:
        self._engine = engine
        self._dissector = dissector
        self._dictionaries = dictionaries
        self._memory = memory
        self._buffers: list[memoryview] = []

    def run(self, at: int, descriptor: int | None, seek: Callable[[int], object] | None) -> Done:
        """Dissect from byte `at` of the capture, where a record starts, as far as it goes; the reader's rows go on.

        An interrupt loses nothing of what was dissected before.

        Parameters
        ----------
        at
            A position in the capture.
        descriptor, seek
            The file's, and what lets the reader go on from a position in it; None where all bytes are in memory.
        """
        first = int(self._dissector.row)
        dirty = self._memory.lend(first)
        turns = self._engine.Turns(
            _IN_MEMORY if descriptor is None else descriptor, at, _BLOCK, _BLOCKS, first, self._memory.capacity, dirty
        )
        if descriptor is not None and not self._buffers:
            self._buffers = [aligned(_BLOCK + _HEADROOM) for _ in range(2)]
        buffers = (None, None) if descriptor is None else self._buffers
        try:
            halves = [self._half(turns, side, buffer) for side, buffer in enumerate(buffers)]
            interrupt = _both(halves, turns)
            done = self._put_together(halves, turns, seek)
        except BaseException:
            self._memory.take_back(first, self._memory.capacity)
            raise
        if interrupt is not None:
            raise interrupt
        return done

    def _half(self, turns: Any, side: int, buffer: memoryview | None) -> _Half:
        dictionaries = self._dictionaries.copy()
        dissector = self._engine.Dissector(dictionaries)
        dissector.resume(self._dissector)
        self._memory.give(dissector)
        done = np.zeros((_BLOCKS, 3 + len(dictionaries.counts())), np.int64)
        dissector.take_turns(turns, side, buffer, done.data)
        return _Half(self._engine, turns, dissector, dictionaries, done)

    def _put_together(self, halves: list[_Half], turns: Any, seek: Callable[[int], object] | None) -> Done:
        """Take over what both have done, up to the first block that was given up."""
        given_up = [(half.dissector.block, half) for half in halves if half.dissector.block >= 0]
        row, at, end = int(turns.row), int(turns.at), _BLOCKS
        if given_up:
            end, half = min(given_up, key=lambda each: each[0])
            row, at = int(half.dissector.block_row), int(half.dissector.block_at)
        before = self._dictionaries.counts()
        blocks = [half.done[: half.dissector.done] for half in halves]
        blocks = [done[done[:, 0] < end] for done in blocks]
        learned: list[list[int]] = []
        for which, done in enumerate(blocks):
            counts = np.vstack(([before], done[:, 3:]))
            step, place = np.nonzero(np.diff(counts, axis=0))
            sides = np.full(step.size, which)
            found = (done[step, 0], sides, place, counts[step, place], counts[step + 1, place])
            learned += np.column_stack(found).tolist()
        learned.sort()
        changed = self._dictionaries.absorb([half.dictionaries for half in halves], [each[1:] for each in learned])
        self._memory.take_back(row, max(row, int(turns.row)))
        self._memory.widen()
        works = [
            functools.partial(self._memory.recode, self._engine, codes, np.ascontiguousarray(done[:, 1:3]))
            for codes, done in zip(changed, blocks, strict=True)
            if codes
        ]
        if works:
            _together(works)
        self._dissector.go_on(seek, at, row)
        comments = {number: text for half in halves for number, text in half.comments.items() if number <= row}
        return Done(comments, bool(given_up) or (turns.ended and row < self._memory.capacity))


class _Half:
    """One of the two."""

    def __init__(
        self, engine: ModuleType, turns: Any, dissector: Any, dictionaries: Dictionaries, done: np.ndarray[Any, Any]
    ) -> None:
        self._reasons: dict[str, int] = engine.REASONS
        self._turns = turns
        self.dissector = dissector
        self.dictionaries = dictionaries
        self.done = done
        self.comments: dict[int, bytes] = {}
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Take turns until there are none, or give the block at hand up."""
        try:
            while True:
                reason = self.dissector.turn()
                if reason == self._reasons["options"]:
                    self.comments[int(self.dissector.row)] = self.dissector.options()
                elif reason != self._reasons["tables"] or not self._make_room():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where all is put together
            self.failure = error
        finally:
            if self.dissector.block >= 0:
                self._turns.end()

    def _make_room(self) -> bool:
        """Make room in tables; return False where codes would have to be wider, which concerns the other one too."""
        wide = len(self.dictionaries.wide)
        self.dictionaries.make_room()
        return len(self.dictionaries.wide) == wide


def _both(halves: list[_Half], turns: Any) -> BaseException | None:
    """Let both run, one of them here; return what interrupted them."""
    try:
        _together([half.run for half in halves], turns.end)
    except BaseException as error:  # noqa: BLE001 - raised again where all is put together
        return error
    return halves[0].failure or halves[1].failure


def _together(works: Sequence[Callable[[], object]], stop: Callable[[], object] | None = None) -> None:
    """Do the first of them here and the others in a thread each; an error or interrupt is raised when all are done.

    `stop` is called to make that be soon: they write into the table.
    """
    errors: list[BaseException] = []

    def there(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [
        threading.Thread(target=there, args=(work,), name="podtracer-dissect", daemon=True) for work in works[1:]
    ]
    for thread in threads:
        thread.start()
    there(works[0])
    while any(thread.is_alive() for thread in threads):
        try:
            for thread in threads:
                thread.join()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
            if stop is not None:
                stop()
    if errors:
        raise errors[-1]


def touch(engine: ModuleType, mapping: mmap.mmap, size: int) -> None:
    """Have the first pages of memory there, made by two threads: where both need one at once, both would clear it."""
    middle = size // 2 // _HUGE_PAGE * _HUGE_PAGE
    _together(
        [
            functools.partial(engine.touch, mapping, 0, middle),
            functools.partial(engine.touch, mapping, middle, size // _HUGE_PAGE * _HUGE_PAGE),
        ]
    )


def idle_processors() -> int:
    """Return how many processors may be used, 1 where there is more to do already than they can."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if hasattr(os, "getloadavg") and os.getloadavg()[0] < usable else 1
