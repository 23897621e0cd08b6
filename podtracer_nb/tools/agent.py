"""What a tracer pod runs: tools in the pods of its own node, for a podtracer elsewhere.

``python -m podtracer_nb.tools.agent serve`` is the pod's only long process. What exec starts for each connection
(``execution/connect.py``) hands its own standard streams over to it and waits. So a run outlives its connection: its
bytes are in the recording on this node's disk, and are sent from where the other side has them.

Orders come as lines of JSON: `start` a task, or go on with a run, then orders of the supervisor's and pings. What goes
back is in entries, as in the supervisor's journal: time in ns, kind, length (20 bytes), then so many bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from podtracer_nb import errors, execution, targets
from podtracer_nb.execution.remote import EVENT, entry
from podtracer_nb.tools.job import Task
from podtracer_nb.tools.session import Session
from podtracer_nb.tools.tool import Change, Options

__all__ = ["main"]

_SOCKET = Path(os.environ.get("PODTRACER_AGENT_SOCKET", "/tmp/podtracer-agent.sock"))  # noqa: S108  the pod's own
_SILENT = 40.0  # seconds without a line, pings and all, after which a connection is taken for dead
_LAST_SECONDS = 4.0  # of those that a pod which is deleted is given
_KINDS = {"stdout": 1, "stderr": 2}


class _Run:
    """A run, and when somebody was last there for it."""

    def __init__(self, session: Session[object]) -> None:
        self.session = session
        self.job = session.jobs[0]
        self.started = datetime.datetime.now(datetime.UTC)
        self.attached = 0
        self.seen = time.monotonic()

    def close(self) -> None:
        """End it, and leave nothing of it: the other side has it, or will never come for it."""
        self.session.close()
        for path in (self.job.recording, Path(f"{self.job.recording}.json")):
            path.unlink(missing_ok=True)


class _Answers:
    """What goes back over one connection, from several threads, until it breaks or is closed."""

    def __init__(self, taken: int) -> None:
        self._taken = taken
        self._lock = threading.Lock()
        self._closed = False

    def entry(self, time_ns: int | None, kind: int, data: bytes) -> None:
        """Write one entry, with the time now where none is given; raise OSError where nobody is there any more."""
        with self._lock:
            if self._closed:
                raise BrokenPipeError
            view = memoryview(entry(time.time_ns() if time_ns is None else time_ns, kind, data))
            while view:
                view = view[os.write(self._taken, view) :]

    def event(self, **words: Any) -> None:
        self.entry(None, EVENT, json.dumps(words).encode())

    def error(self, error: errors.PodtracerError) -> None:
        self.event(error=type(error).__name__, message=str(error))

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._taken)


class Agent:
    """Serves until nobody has come for `idle` seconds; ends a run that nobody has asked for during `lease` seconds.

    Somebody is there as long as lines come from the other side, pings at least: a silent capture writes nothing, so
    only these tell that its kernel is gone. SIGTERM, which an eviction and a deletion send, ends every run, flushed.
    What a run holds is taken back at its end, whichever that is.
    """

    def __init__(self, idle: float, lease: float, *, own: bool = False) -> None:
        self._idle, self._lease, self._own = idle, lease, own
        self._runs: dict[str, _Run] = {}
        self._starting: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._seen = time.monotonic()
        self._connections = 0
        self._ending = threading.Event()
        self._starts = 0  # under way

    def serve(self) -> None:
        """Take connections until it is time to end; every run is ended before."""
        signal.signal(signal.SIGTERM, lambda *_: self._ending.set())
        _SOCKET.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(_SOCKET))
            listening.listen(256)
            listening.settimeout(0.25)
            print("agent ready", flush=True)
            while not self._over() and not self._ending.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listening.accept()
                    threading.Thread(target=self._connection, args=(connection,), daemon=True).start()
        until = time.monotonic() + _LAST_SECONDS
        while self._starts and time.monotonic() < until:  # what it changes has to be taken back
            threading.Event().wait(0.05)
        with self._lock:
            left = list(self._runs.values())
        for each in left:
            each.session.stop()
        while self._runs and time.monotonic() < until:  # until the other sides have their ends
            threading.Event().wait(0.05)
        for each in left:
            each.close()

    def _over(self) -> bool:
        now = time.monotonic()
        with self._lock:
            for name, each in list(self._runs.items()):
                if each.attached:
                    each.seen = now
                elif now - each.seen > self._lease:
                    del self._runs[name]
                    self._starting.pop(name, None)
                    threading.Thread(target=each.close).start()
            if self._connections or self._runs:
                self._seen = now
            return now - self._seen > self._idle

    def _connection(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections += 1
        try:
            _, fds, _, _ = socket.recv_fds(connection, 16, 3)
            for each in fds[2:]:
                os.close(each)
            answers = _Answers(fds[1])
            try:
                self._serve(fds[0], answers)
            finally:
                os.close(fds[0])
                # Whoever writes may be held up by a reader that is gone: it ends with its pipe.
                threading.Thread(target=answers.close, daemon=True).start()
        finally:
            connection.close()
            with self._lock:
                self._connections -= 1

    def _serve(self, given: int, answers: _Answers) -> None:
        """Serve one connection until the other side's lines end: it has what it wants, or is gone."""
        name = ""
        asked: Future[_Run | None] | None = None
        for order in _lines(given):
            if order.get("order") == "end":
                self._ending.set()
                return
            if "ping" in order:
                with contextlib.suppress(OSError):
                    answers.event(pong=order["ping"], heard=order["heard"])
            elif asked is None:
                # In a thread of its own: pings are answered while it starts.
                name, asked = str(order["run"]), Future()
                threading.Thread(target=self._begin, args=(name, order, answers, asked), daemon=True).start()
            elif (run := asked.result()) is None:
                continue
            elif order.get("order") == "report":
                run.job.run.report()
            elif order.get("order") in ("stop", "gone"):
                run.job.run.stop(target_gone=order["order"] == "gone")
            elif order.get("order") == "done":
                with self._lock:
                    self._runs.pop(name, None)
                    self._starting.pop(name, None)
                run.close()
                return
        if asked is not None and (run := asked.result()) is not None:
            with self._lock:
                run.attached -= 1
                run.seen = time.monotonic()

    def _begin(self, name: str, order: dict[str, Any], answers: _Answers, asked: Future[_Run | None]) -> None:
        """Find or start a run, and give its output until its end or the connection's."""
        run = None
        try:
            with self._lock:
                # Whoever asks for it again while it starts waits for that, and starts no second one.
                starting = self._starting.setdefault(name, threading.Lock())
            with starting:
                run = self._found(name, order)
        except errors.PodtracerError as error:
            with contextlib.suppress(OSError):
                answers.error(error)
        except Exception as error:  # an order of another version: the other side would wait for ever
            with contextlib.suppress(OSError):
                answers.error(
                    errors.ExecutionError(f"the tracer cannot start it ({error!r}): is its image of our version?")
                )
            raise
        finally:
            asked.set_result(run)
        if run is not None:
            self._give(run, order.get("have", {}), answers)

    def _found(self, name: str, order: dict[str, Any]) -> _Run:
        """Return the run that is asked for, attached to; started where it is new."""
        with self._lock:
            run = self._runs.get(name)
            if run is not None:
                run.attached += 1
                return run
        if self._ending.is_set():
            raise errors.ExecutionError("the tracer pod is being ended: run it again")
        if "start" not in order:
            raise errors.ExecutionError("the tracer does not know this run any more: its lease is over; run it again")
        with self._lock:
            self._starts += 1
        try:
            run = _Run(_session(order["start"], own=self._own))
            with self._lock:
                self._runs[name] = run
                run.attached += 1
        finally:
            with self._lock:
                self._starts -= 1
        return run

    def _give(self, run: _Run, have: dict[str, int], answers: _Answers) -> None:
        job = run.job
        started = {
            "pid": job.run.pid,
            "argv": list(job.command.argv),
            "notices": [] if self._own else list(job.pin.notices),
            "started": run.started.isoformat(),
        }
        try:
            answers.event(started=started)
            skip = {"stdout": have.get("stdout", 0), "stderr": have.get("stderr", 0)}
            for output in job.run.events():
                data = output.data
                if skip[output.stream]:
                    passed = min(skip[output.stream], len(data))
                    skip[output.stream] -= passed
                    data = data[passed:]
                if data:
                    answers.entry(output.time_ns, _KINDS[output.stream], data)
            try:
                status = job.run.wait()
            except errors.PodtracerError as error:
                answers.error(error)
                return
            words = {**asdict(status), "started": status.started.isoformat(), "ended": status.ended.isoformat()}
            answers.event(status=words)
        except OSError:
            pass  # the connection broke: the run goes on, and is asked for again


def _session(order: dict[str, Any], *, own: bool) -> Session[object]:
    words = dict(order["target"])
    for name in ("containers", "ip", "services", "cgroup_uids", "interfaces"):
        words[name] = tuple(words.get(name, ()))
    # In the target's own pod its network is ours, and nothing has to be entered.
    target = targets.resolve(pid=os.getpid())[0] if own else targets.Target(**words)
    # A change that is held: whoever asked looked what was there, and knows what takes it back; what holds it is here.
    hold = order["hold"]
    change = hold and Change(**{**hold["change"], "undo": tuple(hold["change"]["undo"])})
    task = Task(order["tool"], tuple(order["arguments"]), Options(**order["options"]), order["every"], change)
    return Session(
        [task],
        (target,),
        kinds=tuple(order["kinds"]),
        limits=execution.Limits(seconds=order["seconds"], bytes=order["bytes"]),
        allow_change=bool(order["allow_change"] or hold),
        hold=hold and (math.inf if hold["seconds"] is None else hold["seconds"]),
    )


def _lines(descriptor: int) -> Iterator[dict[str, Any]]:
    """Give the orders of one connection, until it ends or has been silent for too long."""
    data = b""
    while select.select([descriptor], [], [], _SILENT)[0]:
        more = os.read(descriptor, 1 << 16)
        heard = time.time_ns()
        if not more:
            return
        *lines, data = (data + more).split(b"\n")
        for line in lines:
            yield {**json.loads(line), "heard": heard}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("what", choices=["serve"])
    parser.add_argument("--idle", type=float, default=300.0)
    parser.add_argument("--lease", type=float, default=60.0)
    parser.add_argument("--own", action="store_true", help="in the target's own pod")
    asked = parser.parse_args()
    Agent(asked.idle, asked.lease, own=asked.own).serve()


if __name__ == "__main__":
    main()
