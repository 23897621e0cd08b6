"""Who is told of each chunk of a live capture: callbacks and loops, each with a bounded queue of its own.

Nobody who listens can hold the capture up: a queue that is full loses its oldest chunk, and counts its packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from podtracer_nb.execution.waiting import wait

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Listener", "Listeners"]

_MOST_CHUNKS = 64
_MOST_ROWS = 500_000


class Listener:
    """One queue of chunks.

    Attributes
    ----------
    dropped
        Packets that it lost because it was slow.
    """

    def __init__(self, woken: Callable[[], None] = lambda: None) -> None:
        self.dropped = 0
        self._chunks: deque[pd.DataFrame] = deque()
        self._rows = 0
        self._closed = False
        self._changed = threading.Condition()
        self._woken = woken

    def put(self, chunk: pd.DataFrame) -> None:
        """Hand a chunk over, and lose the oldest ones where there is no room."""
        with self._changed:
            self._chunks.append(chunk)
            self._rows += len(chunk)
            while len(self._chunks) > 1 and (len(self._chunks) > _MOST_CHUNKS or self._rows > _MOST_ROWS):
                lost = len(self._chunks.popleft())
                self._rows -= lost
                self.dropped += lost
            self._changed.notify_all()
        self._woken()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._woken()

    def take(self) -> tuple[pd.DataFrame | None, bool]:
        """Return the next chunk, if there is one, and whether nothing more will come."""
        with self._changed:
            chunk = self._chunks.popleft() if self._chunks else None
            self._rows -= len(chunk) if chunk is not None else 0
            return chunk, self._closed

    def wait(self) -> pd.DataFrame | None:
        """Return the next chunk as soon as there is one; None at the end."""
        with self._changed:
            wait(lambda seconds: bool(self._changed.wait_for(lambda: self._chunks or self._closed, seconds)))
        return self.take()[0]


class Listeners:
    """All who listen to one capture.

    Attributes
    ----------
    errors
        What callbacks raised, the first of each.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self._listeners: list[Listener] = []
        self._threads: list[threading.Thread] = []
        self._of: list[tuple[Callable[[pd.DataFrame], object], Listener]] = []
        self._lost = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def dropped(self) -> int:
        """Packets that slow listeners lost."""
        with self._lock:
            return self._lost + sum(each.dropped for each in self._listeners)

    @property
    def any(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def put(self, chunk: pd.DataFrame) -> None:
        """Tell all."""
        with self._lock:
            listeners = list(self._listeners)
        for each in listeners:
            # pandas copies on write: what one of them does to its frame the others do not see.
            each.put(chunk.copy(deep=False))

    def close(self) -> None:
        """Tell all that nothing more will come."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners)
        for each in listeners:
            each.close()

    def join(self, seconds: float) -> None:
        """Wait for the callbacks to have had all, but not for the one that we are called from."""
        for each in self._threads:
            if each is not threading.current_thread():
                each.join(seconds)

    def _add(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)
            closed = self._closed
        if closed:
            listener.close()

    def _remove(self, listener: Listener) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
                self._lost += listener.dropped

    def call(self, function: Callable[[pd.DataFrame], object], at_end: Callable[[], object] | None = None) -> None:
        """Call a function with every chunk, in a thread of its own, and another one there after the last of them."""
        listener = Listener()
        self._add(listener)
        words = listener, function, at_end
        thread = threading.Thread(target=self._serve, args=words, name="podtracer-chunks", daemon=True)
        self._threads.append(thread)
        self._of.append((function, listener))
        thread.start()

    def leave(self, function: Callable[[pd.DataFrame], object]) -> None:
        """Call a function no more."""
        for each in [each for each in self._of if each[0] == function]:
            self._of.remove(each)
            self._remove(each[1])
            each[1].close()

    def _serve(
        self,
        listener: Listener,
        function: Callable[[pd.DataFrame], object],
        at_end: Callable[[], object] | None,
    ) -> None:
        told = False
        while (chunk := listener.wait()) is not None:
            try:
                function(chunk)
            except Exception as error:  # noqa: BLE001 - it is kept, told, and must not end the capture
                if not told:
                    told = True
                    self._failed(function, error, "on a chunk")
        if at_end is not None and self._closed:
            try:
                at_end()
            except Exception as error:  # noqa: BLE001 - the same
                self._failed(at_end, error, "at the end")

    def _failed(self, function: object, error: Exception, where: str) -> None:
        self.errors.append(error)
        name = getattr(function, "__name__", repr(function))
        said = f"{type(error).__name__}: {error}"
        print(f"podtracer: {name} failed {where} of a live capture: {said}", file=sys.stderr)

    async def chunks(self) -> AsyncIterator[pd.DataFrame]:
        """Give every chunk to the running event loop, until the end."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(arrived.set)

        listener = Listener(wake)
        self._add(listener)
        try:
            while True:
                arrived.clear()
                chunk, closed = listener.take()
                if chunk is not None:
                    yield chunk
                elif closed:
                    return
                else:
                    await arrived.wait()
        finally:
            self._remove(listener)
