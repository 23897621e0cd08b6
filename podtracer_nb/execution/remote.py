"""A run in a pod of another node: the same as one here, fed by a tracer pod's agent in place of a supervisor.

What the agent sends goes to a recording on this machine as it comes, with the times of the other node. A connection
that breaks is made again, and goes on behind the last byte that arrived; at the end size and digest are compared.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from podtracer_nb import errors
from podtracer_nb.errors import ClusterError, ExecutionError, PodtracerError, PrivilegeError
from podtracer_nb.execution import files, supervisor
from podtracer_nb.execution.clock import measured
from podtracer_nb.execution.feed import Failure, Feed, Status
from podtracer_nb.execution.recording import new_journal, open_recording, remove_recording
from podtracer_nb.execution.run import Run
from podtracer_nb.execution.stream import STDOUT, ExecStream
from podtracer_nb.targets import Target

__all__ = ["EVENT", "Elsewhere", "RemoteFeed", "entry", "start_remote"]

#: An entry that is neither standard output nor standard error: an event, as JSON.
EVENT = 3
_PING_SECONDS = 5.0
_SILENT_SECONDS = 30.0  # without an answer to a ping, or anything else, after which a connection is taken for dead
_PATIENCE = 90.0  # seconds without a connection after which the run is given up: beyond the agent's own lease
_QUESTIONS = 5  # after the time, at the beginning
_ORDERS = {supervisor.STOP: "stop", supervisor.GONE: "gone", supervisor.REPORT: "report"}


def entry(time_ns: int, kind: int, data: bytes) -> bytes:
    """Return one entry of the stream, laid out as those of the supervisor's journal."""
    return time_ns.to_bytes(8, "little") + kind.to_bytes(4, "little") + len(data).to_bytes(8, "little") + data


class RemoteFeed(Feed):
    """The state of one run on another node, kept current by a thread until it has ended.

    Parameters
    ----------
    connect
        Makes a connection to the agent.
    alive
        Asks the cluster whether the agent's pod is there.
    order
        What is to be run there.
    path, metadata
        The recording on this machine, and what is to be known of it.
    """

    def __init__(  # noqa: PLR0917 - one caller, below
        self,
        connect: Callable[[], ExecStream],
        alive: Callable[[], bool],
        order: dict[str, Any],
        path: Path,
        metadata: dict[str, Any],
        fds: dict[str, int],
        written: int,
    ) -> None:
        self._connect, self._order = connect, order
        self._run = secrets.token_hex(16)
        self._written_to = written
        self._digest = hashlib.sha256()
        self._sizes = {supervisor.STDOUT: 0, supervisor.STDERR: 0}
        self._errors = _Stderr()
        self._sidecar = supervisor.Sidecar(str(path))
        self._stream: ExecStream | None = None
        self._stopping: list[bytes] = []
        self.started: dict[str, Any] | None = None
        self.connections = 0
        self._heard = 0.0
        self._alive = alive
        self._questions = _QUESTIONS
        self.error: PodtracerError | None = None
        super().__init__(fds, path, metadata)
        self._sidecar.write({**metadata, "state": "running"})
        threading.Thread(target=self._follow, name="podtracer-remote", daemon=True).start()

    def stderr_text(self) -> str:
        """Return standard error so far, its middle left out where it is long."""
        return self._errors.text()

    def order(self, order: bytes) -> None:
        """Hand an order on; one that cannot be sent now is sent with the next connection."""
        with self.changed:
            if order != supervisor.REPORT:
                self._stopping.append(order)
            stream = self._stream
        if stream is not None and not self.ended:
            self._say(stream, {"order": _ORDERS[order]})

    @staticmethod
    def _say(stream: ExecStream, words: dict[str, Any]) -> None:
        with contextlib.suppress(ClusterError):  # whoever reads from it sees the same, and connects again
            stream.send(json.dumps(words).encode() + b"\n")

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Keep this feed current until its end, whatever comes: whoever waits for this thread waits for ever."""
        status: dict[str, Any] | None = None
        problem: PodtracerError | None = None
        try:
            status = self._last_words()
        except PodtracerError as error:
            problem = error
        except OSError as error:
            problem = ExecutionError(f"{self.path} cannot grow ({error.strerror}): what came is in it; make room")
        except Exception as error:  # noqa: BLE001 - of any kind: the other side may be of another version
            problem = self._not_understood(error)
        os.close(self._written_to)
        with self.changed:
            try:
                self._end(status, problem)
            except Exception as error:  # noqa: BLE001 - the same
                self._end(None, self._not_understood(error))
            self.changed.notify_all()

    def _not_understood(self, error: Exception) -> PodtracerError:
        node = self.metadata["node"]
        return ExecutionError(f"the tracer on {node} is not understood ({error!r}): is it of our version?")

    def _last_words(self) -> dict[str, Any]:
        """Connect until one connection brings the status; return it."""
        last, pause = time.monotonic(), 0.1
        while True:
            before = sum(self._sizes.values())
            try:
                if (status := self._connection()) is not None:
                    return status
                raise ClusterError("the tracer's end of the connection closed before the run's end")
            except ClusterError as error:
                if sum(self._sizes.values()) > before:
                    last, pause = time.monotonic(), 0.1
                gone = self._gone()
                if gone or time.monotonic() - last > _PATIENCE:
                    why = gone or f"no connection to it for {_PATIENCE:.0f} s ({error})"
                    return self._lost(why)
                threading.Event().wait(pause)
                pause = min(pause * 2, 5.0)

    def _gone(self) -> str:
        """Return why the tracer pod will never answer; empty where it may, or the cluster cannot be asked."""
        try:
            return "" if self._alive() else "it was deleted or evicted"
        except PodtracerError:
            return ""

    def _lost(self, why: str) -> dict[str, Any]:
        """Return the status of a run whose end nobody told, with what came of it."""
        started = self.started
        if started is None:
            raise ExecutionError(f"the tracer pod on {self.metadata['node']} is gone ({why}): run it again")
        now = datetime.datetime.now(datetime.UTC)
        return {
            "exit_code": None,
            "signal": None,
            "reason": "tracer-gone",
            "started": started["started"],
            "ended": now.isoformat(),
            "bytes": self._sizes[1],
            "sha256": self._digest.hexdigest(),
            "pid": started["pid"],
            "note": f"the tracer pod on {self.metadata['node']} is gone ({why}): what came until then is here",
        }

    def _connection(self) -> dict[str, Any] | None:
        """Serve one connection; return the status, or None where it ended before there was one."""
        with self._reached() as stream:
            self.connections += 1
            if self._questions > 0:
                self._ask_the_time(stream)  # before anything keeps the other side busy
            else:
                self._attach(stream)
            pinging = threading.Event()
            threading.Thread(target=self._ping, args=(stream, pinging), daemon=True).start()
            try:
                return self._read(stream)
            finally:
                pinging.set()
                with self.changed:
                    self._stream = None

    def _attach(self, stream: ExecStream) -> None:
        """Have the run started, or go on behind what is here of it."""
        have = {"stdout": self._sizes[1], "stderr": self._sizes[2]}
        first: dict[str, Any] = {"run": self._run, "have": have}
        # It is asked to start until we know that it did: an answer may be lost with its connection.
        self._say(stream, first if self.started else {**first, "start": self._order})
        with self.changed:
            self._stream = stream
            for order in self._stopping:
                self._say(stream, {"order": _ORDERS[order]})

    def _ask_the_time(self, stream: ExecStream) -> None:
        self._say(stream, {"ping": time.time_ns()})

    def _reached(self) -> ExecStream:
        try:
            return self._connect()
        except PrivilegeError as error:
            if self.started is None:
                raise
            # We had the right: an API server that has just been started knows nobody's for a moment.
            raise ClusterError(str(error)) from error

    def _ping(self, stream: ExecStream, done: threading.Event) -> None:
        # The API server may keep a connection open whose other end, with its pod, is no more.
        self._heard = time.monotonic()
        while not done.wait(_PING_SECONDS):
            silent = time.monotonic() - self._heard
            if silent > _SILENT_SECONDS or (silent > _PING_SECONDS and self._gone()):
                stream.abort()
                return
            self._say(stream, {"ping": time.time_ns()})

    def _read(self, stream: ExecStream) -> dict[str, Any] | None:
        said = b""
        entries = _Entries()
        for channel, data in stream.messages():
            self._heard = time.monotonic()
            if channel != STDOUT:
                said = (said + bytes(data))[-2000:]
                continue
            for time_ns, kind, part, whole in entries.add(data):
                if kind == EVENT:
                    if whole is not None and (status := self._event(json.loads(whole), time_ns, stream)) is not None:
                        self._say(stream, {"order": "done"})
                        return status
                else:
                    self._output(time_ns, kind, part)
        if said or stream.failure:
            raise ClusterError(f"the tracer's agent ended: {(said.decode(errors='replace') or stream.failure).strip()}")
        return None

    def _event(self, event: dict[str, Any], time_ns: int, stream: ExecStream) -> dict[str, Any] | None:
        if "error" in event:
            kind: Any = getattr(errors, event["error"], ExecutionError)
            raise (kind if issubclass(kind, PodtracerError) else ExecutionError)(event["message"])
        if "pong" in event:
            with self.changed:
                self.clock = measured(event["pong"], event["heard"], time_ns, time.time_ns(), self.clock)
            self._questions -= 1  # below 0, they are those that keep the connection awake
            if self._questions > 0:
                self._ask_the_time(stream)
            elif self._questions == 0:
                self._attach(stream)
        if "started" in event:
            with self.changed:
                self.started = event["started"]
                self.pid = self.started["pid"] if self.started else None
                self.changed.notify_all()
        return event.get("status")

    def _output(self, time_ns: int, kind: int, data: memoryview) -> None:
        if kind == supervisor.STDOUT:
            self._record(data)
            self._digest.update(data)
            head = entry(time_ns, kind, b"")[:12] + len(data).to_bytes(8, "little")
            files.write_at(self.journal, head, self.journal_bytes)
            grown = len(head)
        else:
            self._errors.add(bytes(data))
            whole = entry(time_ns, kind, bytes(data))
            files.write_at(self.journal, whole, self.journal_bytes)
            grown = len(whole)
        self._sizes[kind] += len(data)
        with self.changed:
            self.journal_bytes += grown
            self.changed.notify_all()

    def _record(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._written_to, data) :]

    def _end(self, status: dict[str, Any] | None, problem: PodtracerError | None) -> None:
        size, digest = self._sizes[1], self._digest.hexdigest()
        if status is not None and (status["bytes"], status["sha256"]) != (size, digest):
            problem = ExecutionError(
                f"{size} bytes arrived, and the tool wrote {status['bytes']} others: {self.path} is not to be trusted"
            )
        if problem is not None or status is None:
            self.error = problem or ExecutionError("the run was lost")
            self.failure = Failure(None, str(self.error))
            changed = self._changed(None, size)
            with contextlib.suppress(OSError):  # the disk that is full, or gone
                self._sidecar.write({**self.metadata, **changed, "reason": "lost", "bytes": size, "sha256": digest})
            return
        started, ended = (datetime.datetime.fromisoformat(status.pop(word)) for word in ("started", "ended"))
        if status["reason"] == "stopped" and not self._stopping:
            status["reason"] = "tracer-gone"  # nobody here asked for it
            status["note"] = f"the tracer pod on {self.metadata['node']} was ended, and its runs with it"
        found = Status(started=started, ended=ended, **status)
        words = {**status, "started": started, "ended": ended, "stderr": self.stderr_text()[-4000:]}
        words |= self._changed(status["exit_code"], size)
        with contextlib.suppress(OSError):  # the same full or vanished disk: the status says it all
            self._sidecar.write({**self.metadata, **words, "clock": asdict(self.clock) if self.clock else None})
        self.status = found

    def _changed(self, exit_code: int | None, size: int) -> dict[str, Any]:
        change = self.metadata.get("change")
        held = isinstance(change, dict) and change.get("held")
        recorded = files.read_at(self.recording, size, 0) if held else b""
        return supervisor.changed(self.metadata, exit_code, recorded)


class _Stderr:
    """The head and the tail of standard error."""

    def __init__(self) -> None:
        self._head = self._tail = b""
        self._cut = 0

    def add(self, data: bytes) -> None:
        room = supervisor.STDERR_HEAD - len(self._head)
        self._head += data[:room]
        tail = self._tail + data[room:]
        kept = tail[-supervisor.STDERR_TAIL :]
        # Told last: whoever reads meanwhile misses some of it, and has none of it twice.
        self._tail, self._cut = kept, self._cut + len(tail) - len(kept)

    def text(self) -> str:
        cut = b"\n[... %d bytes left out ...]\n" % self._cut if self._cut else b""
        return (self._head + cut + self._tail).decode("utf-8", errors="replace")


class _Entries:
    """Entries out of a stream of bytes; the data of output is given as it comes, an event when it is whole."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = self._left = self._time = 0
        self._event = b""

    def add(self, data: memoryview) -> Any:
        while data:
            if not self._left:
                take = supervisor.JOURNAL_ENTRY - len(self._head)
                self._head += bytes(data[:take])
                data = data[take:]
                if len(self._head) < supervisor.JOURNAL_ENTRY:
                    return
                self._time, self._kind, self._left = (
                    int.from_bytes(self._head[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 20))
                )
                self._head = b""
                if self._kind not in (supervisor.STDOUT, supervisor.STDERR, EVENT):
                    raise ClusterError("what came from the tracer is none of its entries: is its image of our version?")
                continue
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            if self._kind == EVENT:
                self._event += bytes(part)
                if not self._left:
                    whole, self._event = self._event, b""
                    yield self._time, self._kind, part, whole
            else:
                yield self._time, self._kind, part, None


@dataclass
class Elsewhere:
    """A target on another node, and the tracer pod there; what a `Pin` is for a target here.

    Attributes
    ----------
    target
        The target.
    kinds
        The namespaces to enter.
    connect
        Makes a connection to the tracer's agent.
    alive
        Asks the cluster whether the tracer pod is there.
    notices
        What the user should know of it; what the other node says comes when a run has started.
    """

    target: Target
    kinds: tuple[str, ...]
    connect: Callable[[], ExecStream]
    alive: Callable[[], bool]
    notices: tuple[str, ...] = ()


def start_remote(
    place: Elsewhere, order: Mapping[str, Any], argv: tuple[str, ...], *, recording: Path, metadata: Mapping[str, Any]
) -> Run:
    """Start a tool by a tracer's agent, and return it as a run that is here.

    Raises
    ------
    PodtracerError
        What the agent says against it; nothing was started.
    """
    path = Path(recording).absolute()
    with ExitStack() as ours:
        written = open_recording(path)
        ours.callback(os.close, written)
        fds = {"recording": os.open(path, os.O_RDONLY | files.OPEN)}
        fds["journal"] = new_journal(path)
        target = place.target
        described = {
            "argv": list(argv),
            "target": target.label,
            "node": target.node,
            "recording": path.name,
            **metadata,
        }
        whole = {**order, "kinds": list(place.kinds), "target": _words(target)}
        feed = RemoteFeed(place.connect, place.alive, whole, path, described, fds, written)
        ours.pop_all()
    run = Run(feed, argv, target.label)
    try:
        feed.wait_for(lambda: feed.ended or feed.started is not None)
    except BaseException:
        run.close()
        raise
    if feed.started is None and feed.error is not None:
        remove_recording(path)
        raise feed.error
    if feed.started is not None:
        place.notices = tuple(dict.fromkeys((*place.notices, *feed.started["notices"])))
        run.argv = tuple(feed.started["argv"])
    return run


def _words(target: Target) -> dict[str, Any]:
    """Return the target as JSON can have it; the agent there needs no API."""
    words = {
        each.name: getattr(target, each.name) for each in fields(target) if each.name not in ("cluster", "netns_path")
    }
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in words.items()}
