"""A capture that runs while one thinks: `LiveCapture`."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pandas as pd

from podtracer_nb import execution
from podtracer_nb.errors import InputError
from podtracer_nb.execution.waiting import wait
from podtracer_nb.reading import read_pcap
from podtracer_nb.tools import frames
from podtracer_nb.tools.job import ENDINGS
from podtracer_nb.tools.live import showing
from podtracer_nb.tools.live.following import Follower
from podtracer_nb.tools.live.listeners import Listeners
from podtracer_nb.tools.live.parts import Parts, Rotation, Spool
from podtracer_nb.tools.live.stats import LiveStats
from podtracer_nb.tools.live.window import Extent, Window
from podtracer_nb.tools.session import Session

__all__ = ["LiveCapture"]

Function = TypeVar("Function", bound=Callable[[pd.DataFrame], object])

_CALLBACKS = 2.0  # seconds that the end waits for callbacks
_STOPPED = 15.0  # seconds in which a stopped tool has ended: the supervisor kills it after four


class LiveCapture:
    """A capture in the background; `podtracer_nb.capture` starts it.

    Iterating it with ``async for`` gives each chunk as it comes. Leaving its ``with`` block stops it.

    Attributes
    ----------
    engine
        What captures: ring or tcpdump.
    notes
        What the user should know about it, a line each.
    """

    def __init__(
        self,
        session: Session[object],
        *,
        engine: str,
        extent: Extent,
        columns: Sequence[str] | None,
        layers: Sequence[str] | None,
        keep: bool,
        rotation: Rotation | None,
        file: Path | None,
        notes: Sequence[str] = (),
        at_end: Callable[[LiveCapture], None] = lambda _: None,
        again: Callable[[], LiveCapture] | None = None,
    ) -> None:
        self.engine = engine
        self.notes = list(notes)
        self._session = session
        self._extent, self._keep, self._rotation = extent, keep, rotation
        self._columns, self._layers = columns, layers
        self._listeners = Listeners()
        self._began = time.monotonic()
        self._began_at = datetime.now(UTC)
        self._seconds: float | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._at_end, self._again = at_end, again
        self._cached: tuple[tuple[int, ...], pd.DataFrame] | None = None
        self._followers = [
            Follower(job, columns, layers, self._window, self._deliver, self._one_ended) for job in session.jobs
        ]
        self._running = len(self._followers)
        for each in self._followers:
            job = each.job
            if rotation is not None:
                named = rotation.base(job.recording, file, job.target.pod if self.several else "")
                each.parts = Parts(job.recording, named, rotation)
            if rotation is not None or not keep:
                each.spool = Spool(job.recording)

    @property
    def several(self) -> bool:
        """Whether there are several targets."""
        return len(self._session.jobs) > 1

    def _window(self, empty: pd.DataFrame) -> Window:
        return Window(self._extent, empty)

    def start(self) -> None:
        """Begin to follow what is captured already."""
        for each in self._followers:
            each.thread.start()

    # ------------------------------------------------------------------------------------------- what it has

    @property
    def df(self) -> pd.DataFrame:
        """The last packets, as the window was asked for: a frame of the user's own, with a capture's columns.

        Several targets: with `target` and `node`, in the order of time. The same object as long as nothing new came is
        not promised, and changing it changes nothing here.
        """
        return self.frame()

    def frame(self) -> pd.DataFrame:
        """Return what the window holds; see `df`."""
        versions = (*(each.version for each in self._followers), self._running)
        cached = self._cached
        if cached is None or cached[0] != versions:
            parts = []
            for each in self._followers:
                part = each.window.frame()
                part.attrs["podtracer"] = self._provenance(each)
                parts.append(part)
            merged = frames.merge(parts, self._session.jobs)
            if len(parts) > 1:
                merged = merged.iloc[-self._extent.rows :]
            merged.attrs["podtracer"]["notes"] += self.all_notes()
            cached = self._cached = versions, merged
        shown = cached[1].copy(deep=False)
        shown.attrs["podtracer"] = {**cached[1].attrs["podtracer"], "live": self._short_stats()}
        return shown

    def read(self, **options: Any) -> pd.DataFrame:
        """Read everything captured so far from the file, or the parts that there are.

        Parameters
        ----------
        options
            As `podtracer_nb.read_pcap` has them; columns and layers are the capture's unless given here.

        Raises
        ------
        InputError
            The capture keeps no file.
        """
        if not self._keep:
            raise InputError("this capture keeps no file (keep=False): its window is all that there is")
        if not {"columns", "layers"} & set(options):
            options = {**options, "columns": self._columns, "layers": self._layers}
        parts = []
        for each in self._followers:
            paths: list[Path] = each.parts.paths if each.parts is not None else [each.job.recording]
            provenance = self._provenance(each)
            # While it grows the file may end within a packet: what was read as whole is whole.
            whole = each.provenance is not None or each.parts is not None
            limit = {} if whole or "count" in options else {"count": max(1, each.reader.walked)}
            found = [path for path in paths if path.exists() and path.stat().st_size]
            nothing = not found or not each.reader.walked
            part = each.empty.copy() if nothing else read_pcap([*found], **limit, **options)  # type: ignore[arg-type]
            part.attrs["podtracer"] = {**provenance, **part.attrs.get("podtracer", {})}
            parts.append(part)
        return frames.merge(parts, self._session.jobs)

    @property
    def stats(self) -> LiveStats:
        """How it is getting on, now."""
        followers = self._followers
        rates = [each.rates for each in followers] if not self._over.is_set() else []
        drops = [each.drops for each in followers]
        known = [each for each in drops if each is not None]
        lags = [each.lag for each in followers if each.lag is not None]
        return LiveStats(
            state=self.state,
            seconds=self._seconds if self._seconds is not None else time.monotonic() - self._began,
            packets=sum(each.packets for each in followers),
            bytes=sum(each.bytes for each in followers),
            rate=sum(rate for rate, _ in rates),
            byte_rate=sum(rate for _, rate in rates),
            dropped_by_kernel=sum(known) if known else None,
            dropped_by_us=self._listeners.dropped,
            skipped=sum(each.skipped for each in followers),
            lag=max(lags) if lags else None,
            window=min(sum(len(each.window) for each in followers), self._extent.rows),
            targets=self._running,
        )

    @property
    def state(self) -> str:
        """running, paused or ended."""
        if self._over.is_set():
            return "ended"
        return "paused" if self._followers[0].paused else "running"

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._over.is_set()

    @property
    def files(self) -> list[Path]:
        """Where the bytes are: a file a target, or its parts from the oldest on; empty where nothing is kept."""
        if not self._keep:
            return []
        return [
            path
            for each in self._followers
            for path in (each.parts.paths if each.parts is not None else [each.job.recording])
        ]

    @property
    def targets(self) -> list[str]:
        """What is captured, in the words that name it."""
        return [job.target.label for job in self._session.jobs]

    @property
    def started(self) -> datetime:
        """When it began, in UTC."""
        return self._began_at

    @property
    def errors(self) -> list[Exception]:
        """What went wrong: with targets, and the first error of each callback."""
        return [each.error for each in self._followers if each.error is not None] + self._listeners.errors

    # -------------------------------------------------------------------------------------------- steering it

    def pause(self) -> Self:
        """Let the window, callbacks and loops stand still; the capture goes on, into its file."""
        for each in self._followers:
            each.paused = True
        return self

    def resume(self) -> Self:
        """Go on with what comes now."""
        for each in self._followers:
            each.paused = False
        return self

    def again(self) -> LiveCapture:
        """Start another capture of the same words, once this one has ended.

        Raises
        ------
        InputError
            This one still runs, or the other would write over its file.
        PodtracerError
            As `podtracer_nb.capture`.
        """
        if self.running:
            raise InputError("it still runs: stop it before it is started again")
        if self._again is None:
            raise InputError("what this capture was started with is not known: start another one in a cell")
        return self._again()

    def order_stop(self) -> None:
        """Order the capture to end, and do not wait for that."""
        self._session.stop()

    def stop(self) -> Self:
        """End the capture, and wait until all of it is in the window and in the file.

        Called from a callback it only gives the order.
        """
        self.order_stop()
        if not self._ours():
            self._over.wait(_STOPPED)
            self._listeners.join(_CALLBACKS)
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it ends: at its count, its timer, its limit of bytes, with its target, or stopped by another.

        An interrupt ends the waiting, not the capture.

        Raises
        ------
        TimeoutError
            It has not ended after so many seconds; it goes on.
        PodtracerError
            No target could be captured: the first one's error.
        """
        if not wait(self._over.wait, timeout):
            raise TimeoutError(f"the capture of {', '.join(self.targets)} still runs after {timeout} s")
        self._listeners.join(_CALLBACKS)
        failed = [each.error for each in self._followers if each.error is not None]
        if len(failed) == len(self._followers) and failed:
            raise failed[0]
        return self

    def on_chunk(self, function: Function, *, at_end: Callable[[], object] | None = None) -> Function:
        """Call a function with each chunk, about ten times a second: a frame as `df` has it, of one target's packets.

        It runs in a thread of its own. What it raises is kept in `errors` and told once; it is called again all the
        same. A slow one misses chunks (`stats.dropped_by_us`). `at_end` is called there when the capture has ended,
        after the last chunk.

        Examples
        --------
        >>> @live.on_chunk  # doctest: +SKIP
        ... def tell(chunk):
        ...     print(len(chunk))
        """
        if not callable(function):
            raise InputError(f"on_chunk takes a function of one frame, not {function!r}")
        self._listeners.call(function, at_end)
        return function

    def off_chunk(self, function: Callable[[pd.DataFrame], object]) -> None:
        """Call a function of `on_chunk` no more."""
        self._listeners.leave(function)

    def __aiter__(self) -> AsyncIterator[pd.DataFrame]:
        """Give each chunk as it comes, until the end; a slow loop misses chunks (`stats.dropped_by_us`)."""
        return self._listeners.chunks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        """Return how it is getting on, in a line."""
        return f"<LiveCapture: {' · '.join(showing.words(self))}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Return how it was getting on when it was shown: as a table, and as a line."""
        return {"text/html": showing.as_html(self), "text/plain": repr(self)}

    # ------------------------------------------------------------------------------------------------- inside

    def _ours(self) -> bool:
        return threading.current_thread().name in ("podtracer-chunks", "podtracer-live")

    def _deliver(self, follower: Follower, chunk: pd.DataFrame) -> None:
        if not self._listeners.any:
            return
        if self.several:
            jobs = self._session.jobs
            chunk = chunk.copy(deep=False)
            labels, nodes = [job.target.label for job in jobs], [job.target.node for job in jobs]
            chunk.insert(0, "target", frames.constant(follower.job.target.label, labels, len(chunk)))
            chunk.insert(1, "node", frames.constant(follower.job.target.node, nodes, len(chunk)))
        self._listeners.put(chunk)

    def _one_ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running:
                return
        try:
            # The last of the threads that read: nothing of the session is in use any more.
            self._session.close()
            for each in self._followers:
                each.leave_parts_only()
        finally:
            self._seconds = time.monotonic() - self._began
            self._over.set()
            self._listeners.close()
            self._at_end(self)

    @property
    def ending(self) -> str:
        """Why it ended, in words; "ended" where nothing more is known, and while it runs."""
        reasons = [each.provenance["reason"] for each in self._followers if each.provenance is not None]
        return next((ENDINGS[reason] for reason in reasons if reason in ENDINGS), "ended")

    def all_notes(self) -> list[str]:
        """Return what the user should know about it, and about what becomes of its bytes."""
        spooled = [each.spool.note for each in self._followers if each.spool is not None and each.spool.note]
        return [*self.notes, *dict.fromkeys(spooled)]

    def _short_stats(self) -> dict[str, Any]:
        stats = self.stats
        return {"state": stats.state, "packets": stats.packets, "skipped": stats.skipped, "window": stats.window}

    def _provenance(self, follower: Follower) -> dict[str, Any]:
        """Return what the run was, or is so far."""
        job = follower.job
        found = follower.provenance
        if found is None:
            now = datetime.now(UTC)
            so_far = execution.Status(None, None, "exit", self._began_at, now, follower.reader.bytes, "", 0)
            found = {**job.provenance(so_far), "reason": "failed" if follower.error is not None else "running"}
        info = follower.reader.capture_info()
        # With parts, a packet's offset is not one in any of them.
        info["path"] = str(job.recording) if self._keep and follower.parts is None else None
        written = follower.parts.paths if follower.parts is not None else [job.recording]
        return {
            **found,
            "capture": info,
            "engine": self.engine,
            "recording": str(written[-1]) if self._keep and written else "",
            "notes": list(found["notes"]),
        }
