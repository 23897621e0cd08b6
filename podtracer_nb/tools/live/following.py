"""Reads one target's capture while it grows: a thread that gives a chunk at most ten times a second.

Reading the run's file late never holds the capture up. Between two chunks the packets are dissected without a frame
being made, and the thread holds no lock of Python's for most of that.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from podtracer_nb import packets
from podtracer_nb.errors import PodtracerError, ToolFailed
from podtracer_nb.execution import Tail
from podtracer_nb.tools import frames
from podtracer_nb.tools.job import Job
from podtracer_nb.tools.live.parts import Parts, Spool
from podtracer_nb.tools.live.window import Window

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["PAUSE", "Follower"]

PAUSE = 0.1  # seconds between two chunks
_RATE_SECONDS = 2.0  # over which rates are told
_REPORT = 1.0  # seconds between two questions for the kernel's drop counter


class _Later(Exception):
    """There is no more to be read for now; what was read is whole."""


class _Now(io.RawIOBase):
    """What is there of a growing file; beyond it, or after its time, it raises `_Later`."""

    def __init__(self, tail: Tail) -> None:
        super().__init__()
        self._tail = tail
        self.until = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._tail.readinto_now(buffer) if time.monotonic() < self.until else None
        if count is None:
            raise _Later
        return count


@dataclass(frozen=True)
class _Moment:
    at: float
    packets: int
    bytes: int


class Follower:
    """One job of a live capture, read in a thread of its own until it has ended.

    Attributes
    ----------
    window
        The last packets.
    packets, bytes
        What was seen and is in the window, or was skipped: never ahead of either, whoever looks and whenever.
    lag
        Seconds between the oldest packet of the last chunk being captured and its being in the window.
    skipped
        Packets that came while the capture was paused.
    provenance
        What the run was, when it is over.
    error
        Why it failed, or None.
    """

    def __init__(  # noqa: PLR0917 - one caller
        self,
        job: Job,
        columns: Sequence[str] | None,
        layers: Sequence[str] | None,
        make_window: Callable[[pd.DataFrame], Window],
        deliver: Callable[[Follower, pd.DataFrame], None],
        ended: Callable[[], None],
    ) -> None:
        self.job = job
        self._now = _Now(job.run.stdout)
        self._hidden = _hidden(columns)
        wanted = [*columns, *self._hidden] if columns is not None else None
        self.reader = packets.Reader(self._now, columns=wanted, layers=layers)
        job.count = self.reader
        self.empty = self._shown(packets.read(frames.EMPTY, columns=wanted, layers=layers))
        self.window = make_window(self.empty)
        self.parts: Parts | None = None
        self.spool: Spool | None = None
        self.paused = False
        self.lag: float | None = None
        self.packets = self.bytes = 0
        self.skipped = 0
        self.version = 0
        self.provenance: dict[str, Any] | None = None
        self.error: PodtracerError | None = None
        self._deliver, self._ended = deliver, ended
        self._moments: deque[_Moment] = deque()
        self._report_at = 0.0
        self.thread = threading.Thread(target=self._run, name="podtracer-live", daemon=True)

    def leave_parts_only(self) -> None:
        """Remove the run's own file: all of it is in the parts, and what describes it goes beside the last one."""
        recording, parts = self.job.recording, self.parts
        if parts is None or self.error is not None or not parts.paths:
            return
        sidecar = recording.with_name(f"{recording.name}.json")
        recording.unlink(missing_ok=True)
        if sidecar.exists():
            sidecar.replace(parts.paths[0].with_name(f"{parts.paths[-1].name}.json"))

    @property
    def rates(self) -> tuple[float, float]:
        """Packets and bytes a second, over the last two seconds."""
        moments = list(self._moments)
        if len(moments) < 2:  # noqa: PLR2004
            return 0.0, 0.0
        first, last = moments[0], moments[-1]
        seconds = max(last.at - first.at, PAUSE)
        return (last.packets - first.packets) / seconds, (last.bytes - first.bytes) / seconds

    @property
    def drops(self) -> int | None:
        """Packets that the kernel dropped, as far as it was asked."""
        return self.job.tool.summary(self.job.run.stderr).get("dropped_by_kernel")

    def _run(self) -> None:
        try:
            self._follow()
            self.provenance = frames.settle(self.job)
        except PodtracerError as error:
            self.error = error
        except packets.FormatError as error:
            self.error = self._no_capture(error)
        except OSError as error:
            # The capture itself goes on into its file, but nobody would see it.
            self.error = ToolFailed(f"the live capture cannot be followed: {error.strerror or error}")
            self.job.run.stop()
        finally:
            self.job.ended = True
            if self.parts is not None:
                self.parts.close()
            if self.spool is not None:
                self.spool.close()
            self._ended()

    def _no_capture(self, error: packets.FormatError) -> PodtracerError | None:
        try:
            self.provenance = frames.settle(self.job)
        except PodtracerError as failure:
            return failure
        if self.provenance["bytes"]:
            return ToolFailed(f"{self.job.tool.name} wrote what is no capture: {error}")
        return None  # it ended before its first byte

    def _follow(self) -> None:
        tail = self.job.run.stdout
        ended = False
        while not ended:
            began = time.monotonic()
            self._now.until = began + PAUSE
            try:
                self.reader.read_all()
                ended = True
            except _Later:
                pass
            self._hand_over()
            self._count(time.monotonic())
            if not ended:
                # Not sooner than a pause after the last one, however much there is.
                self._ask()
                rest = began + PAUSE - time.monotonic()
                if rest > 0:
                    self.job.run.wait_ended(rest)
                tail.wait_for_more(_REPORT)
        if self.parts is not None:
            self.parts.end()

    def _hand_over(self) -> None:
        reader = self.reader
        if reader.fresh and self.paused and self.parts is None:
            self.skipped += reader.fresh
            reader.drop()
        elif reader.fresh:
            chunk = reader.take()
            if self.parts is not None:
                self.parts.copy(chunk, reader.bytes)
                if self.parts.complete:
                    self.job.run.stop()
            if self.paused:
                self.skipped += len(chunk)
            else:
                self._show(chunk)
        elif self.parts is not None:
            self.parts.copy(None, reader.bytes)
        if self.spool is not None:
            self.spool.forget(reader.bytes)

    def _show(self, chunk: pd.DataFrame) -> None:
        oldest = chunk["time"].array.asi8[0] if "time" in chunk else None
        chunk = self._shown(chunk)
        self.window.add(chunk)
        self.version += 1
        if oldest is not None:
            self.lag = max(0.0, time.time() - int(oldest) / 1e9)
        self._deliver(self, chunk)

    def _shown(self, chunk: pd.DataFrame) -> pd.DataFrame:
        return chunk.drop(columns=self._hidden) if self._hidden else chunk

    def _count(self, now: float) -> None:
        self.packets, self.bytes = self.reader.walked, self.reader.bytes
        self._moments.append(_Moment(now, self.packets, self.bytes))
        while now - self._moments[0].at > _RATE_SECONDS:
            self._moments.popleft()

    def _ask(self) -> None:
        """Ask the tool for its counters; each answer is some bytes of standard error."""
        now = time.monotonic()
        job = self.job
        if now >= self._report_at and job.tool.reports_after and job.tool.reports_after in job.run.stderr:
            self._report_at = now + _REPORT
            job.run.report()


def _hidden(columns: Sequence[str] | None) -> list[str]:
    """Return the columns that are needed here though nobody asked for them."""
    return [] if columns is None else [each for each in ("time", "offset", "caplen") if each not in columns]
