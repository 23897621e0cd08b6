"""What a supervisor tells, as its parent sees it: one thread listens, any number of readers wait on its condition.

The thread is never interrupted: Python raises KeyboardInterrupt in the main thread only. So an interrupt while a reader
waits leaves nothing half read.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import json
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from podtracer_nb.execution import supervisor
from podtracer_nb.execution.clock import Clock
from podtracer_nb.execution.waiting import wait

__all__ = ["Failure", "Feed", "Reason", "Status", "SupervisedFeed"]

Reason = Literal["exit", "timer", "bytes", "stopped", "target-gone", "parent-gone", "disk", "tracer-gone"]

_PATIENCE = 1.0  # seconds between SIGINT and SIGKILL for a tool that lost its supervisor
_RECHECK = 0.02


@dataclass(frozen=True)
class Status:
    """How a run ended.

    Attributes
    ----------
    exit_code, signal
        The tool's exit status, or the number of the signal that ended it; the other is None.
    reason
        Why it ended: by itself ("exit"), at a limit ("timer", "bytes"), on our order ("stopped"), because its target
        was gone ("target-gone"), because whoever started it was gone ("parent-gone"), because the recording could not
        grow ("disk"), or because the tracer pod on its node was ended or lost ("tracer-gone").
    started, ended
        When, in UTC.
    bytes, sha256
        The recording's size, and its digest in hexadecimal.
    pid
        The tool's process id; of nsenter, where that had to fork for a PID namespace.
    note
        What else there is to know: the disk's error, a process that could not be ended.
    """

    exit_code: int | None
    signal: int | None
    reason: Reason
    started: datetime.datetime
    ended: datetime.datetime
    bytes: int
    sha256: str
    pid: int
    note: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the run was ended from outside before its time."""
        return self.reason in ("stopped", "parent-gone")


@dataclass(frozen=True)
class Failure:
    """Why there was no run: an errno and a message; without errno, the supervisor was lost."""

    errno: int | None
    message: str


class Feed(abc.ABC):
    """The state of one run; who keeps it current sets it under `changed` and notifies."""

    def __init__(self, fds: dict[str, int], path: Path, metadata: dict[str, Any]) -> None:
        self.changed = threading.Condition()
        self.path = path
        self.metadata = metadata
        self.pid: int | None = None
        self.journal_bytes = 0
        self.clock: Clock | None = None
        self.status: Status | None = None
        self.failure: Failure | None = None
        self.recording, self.journal = fds["recording"], fds["journal"]
        for descriptor in (self.recording, self.journal):
            weakref.finalize(self, os.close, descriptor)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status is not None or self.failure is not None

    def wait_for(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until a condition on this feed holds, and tell whether it does."""
        with self.changed:
            return wait(lambda seconds: self.changed.wait_for(condition, seconds), timeout)

    def stop(self, *, target_gone: bool = False) -> None:
        """Give the order to stop, once or often."""
        self.order(supervisor.GONE if target_gone else supervisor.STOP)

    @abc.abstractmethod
    def order(self, order: bytes) -> None:
        """Give an order of the supervisor's."""

    @abc.abstractmethod
    def stderr_text(self) -> str:
        """Return standard error so far, its middle left out where it is long."""


class SupervisedFeed(Feed):
    """A run on this machine, kept current by a thread until its supervisor is gone."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        fds: dict[str, int],
        path: Path,
        metadata: dict[str, Any],
        keep: bool,
        *,
        patience: float | None = None,
    ) -> None:
        super().__init__(fds, path, metadata)
        self._complaints, self._stderr = fds["complaints"], fds["stderr"]
        for descriptor in (self._complaints, self._stderr):
            weakref.finalize(self, os.close, descriptor)
        self._control: int | None = fds["control"]
        self._process, self._keep = process, keep
        self._patience = _PATIENCE if patience is None else patience
        self._takes_back = patience is not None
        threading.Thread(target=self._listen, args=(fds["events"],), name="podtracer-run", daemon=True).start()

    def order(self, order: bytes) -> None:
        """Give the supervisor an order."""
        with self.changed:
            if self._control is not None:
                # Gone: its end is on its way through the other pipe. Full: there are orders enough in it.
                with contextlib.suppress(BrokenPipeError, BlockingIOError):
                    os.write(self._control, order)

    def stderr_text(self) -> str:
        """Return standard error so far, its middle left out where it is long."""
        return supervisor.stderr_text(self._stderr)

    def _listen(self, events: int) -> None:
        last: dict[str, Any] | None = None
        with os.fdopen(events, "rb") as lines:
            for line in lines:
                event = json.loads(line)
                if "reason" in event or "failed" in event:
                    last = event
                    break
                with self.changed:
                    self.pid = event.get("started", self.pid)
                    self.journal_bytes = event.get("journal", self.journal_bytes)
                    self.changed.notify_all()
        # The end of the supervisor itself is waited for, so that whoever sees the end finds nothing of the run left.
        self._process.wait()
        if last is None:
            self._sweep()
        with self.changed:
            if self._control is not None:
                os.close(self._control)
                self._control = None
            self._conclude(last)
            self.changed.notify_all()

    def _conclude(self, last: dict[str, Any] | None) -> None:
        if last is None:
            size = os.fstat(self.recording).st_size
            complaint = os.pread(self._complaints, 1 << 16, 0).decode("utf-8", errors="replace").strip()
            why = f" ({complaint.splitlines()[-1]})" if complaint else ""
            self.failure = Failure(None, f"the supervisor was killed or failed{why}; {size} bytes are in {self.path}")
            if self._keep:
                with contextlib.suppress(OSError):  # the same full or vanished disk: the message says it all
                    supervisor.Sidecar(str(self.path)).write(
                        {**self.metadata, **self._change(), "reason": "lost", "bytes": size}
                    )
        elif "failed" in last:
            self.failure = Failure(last["failed"], last["message"])
        else:
            self.journal_bytes = last.pop("journal")
            last.pop("interrupted")
            started, ended = (datetime.datetime.fromisoformat(last.pop(word)) for word in ("started", "ended"))
            self.status = Status(started=started, ended=ended, **last)

    def _change(self) -> dict[str, Any]:
        """Return what ``inside/hold.py``, which outlives its supervisor, wrote of its change into the description."""
        try:
            change = json.loads(Path(f"{self.path}.json").read_bytes())["change"]
        except (OSError, ValueError, KeyError):  # there is none
            return {}
        return {"change": change if change["held"] else {**change, "made": None}}

    def _sweep(self) -> None:
        """End a tool that lost its supervisor: the only case in which we signal it ourselves."""
        pause = threading.Event()
        waited = 0.0
        while self.pid is not None and waited < 2 * self._patience:
            # The group alone could be another's by now; in the session of our supervisor there is only the tool.
            left = [process.pid for process in supervisor.processes() if process.session == self._process.pid]
            if not left:
                return
            late = waited >= self._patience
            if self._takes_back and not late:
                left = [pid for pid in left if pid == self.pid]  # and not the program with which it takes back
            for pid in left if waited == 0.0 or late else ():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGINT)
            pause.wait(_RECHECK)
            waited += _RECHECK
