"""What a tracer pod runs: tools in the pods of its own node, for a podtracer elsewhere.

``python -m podtracer_nb.tools.agent serve`` is the pod's only long process. ``… agent connect`` is what exec starts for
each connection: it hands its own standard streams over to the first and waits. So a run outlives its connection: its
bytes are in the recording on this node's disk, and are sent from where the other side has them.

Orders come as lines of JSON: `start` a task, or go on with a run, then orders of the supervisor's and pings. What goes
back is in entries, as in the supervisor's journal: time in ns, kind, length (20 bytes), then so many bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from podtracer_nb import errors, execution, targets
from podtracer_nb.execution.remote import EVENT, entry
from podtracer_nb.tools.session import Session, Task
from podtracer_nb.tools.tool import Options

__all__ = ["main"]

_SOCKET = Path(os.environ.get("PODTRACER_AGENT_SOCKET", "/tmp/podtracer-agent.sock"))  # noqa: S108  the pod's own
_SILENT = 40.0  # seconds without a line, pings and all, after which a connection is taken for dead
_KINDS = {"stdout": 1, "stderr": 2}


class _Run:
    """A run, and when somebody was last there for it."""

    def __init__(self, session: Session[object]) -> None:
        self.session = session
        self.job = session.jobs[0]
        self.attached = 0
        self.taken = threading.Event()
        self.seen = time.monotonic()


class Agent:
    """Serves until nobody has come for `idle` seconds; ends a run that nobody has asked for during `lease` seconds."""

    def __init__(self, idle: float, lease: float) -> None:
        self._idle, self._lease = idle, lease
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._seen = time.monotonic()
        self._connections = 0

    def serve(self) -> None:
        """Take connections until it is time to end; every run is ended before."""
        _SOCKET.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
            listening.bind(str(_SOCKET))
            listening.listen(64)
            listening.settimeout(1.0)
            print("agent ready", flush=True)
            while not self._over():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listening.accept()
                    threading.Thread(target=self._connection, args=(connection,), daemon=True).start()
        for each in self._runs.values():
            each.session.__exit__(None, None, None)

    def _over(self) -> bool:
        now = time.monotonic()
        with self._lock:
            for name, each in list(self._runs.items()):
                if each.attached:
                    each.seen = now
                elif now - each.seen > self._lease:
                    del self._runs[name]
                    threading.Thread(target=each.session.__exit__, args=(None, None, None)).start()
            if self._connections or self._runs:
                self._seen = now
            return now - self._seen > self._idle

    def _connection(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections += 1
        try:
            _, fds, _, _ = socket.recv_fds(connection, 16, 3)
            with os.fdopen(fds[0], "rb") as given, os.fdopen(fds[1], "wb", buffering=0) as taken:
                for each in fds[2:]:
                    os.close(each)
                self._serve(given.fileno(), taken)
        finally:
            connection.close()
            with self._lock:
                self._connections -= 1

    def _serve(self, given: int, taken: Any) -> None:
        lines = _lines(given)
        order = next(lines, None)
        if order is None:
            return
        try:
            name, run = self._found(order)
        except errors.PodtracerError as error:
            failed = {"error": type(error).__name__, "message": str(error)}
            taken.write(entry(time.time_ns(), EVENT, json.dumps(failed).encode()))
            return
        with self._lock:
            run.attached += 1
        threading.Thread(target=self._hear, args=(lines, run), daemon=True).start()
        try:
            self._give(run, order.get("have", {}), taken)
            if not run.taken.wait(self._lease):
                return  # its end may not have arrived: it is asked for again, or its lease ends
            with self._lock:
                self._runs.pop(name, None)
            run.session.__exit__(None, None, None)
            _remove(run.job.recording)
        except (BrokenPipeError, OSError):
            pass  # the connection broke: the run goes on, and is asked for again
        finally:
            with self._lock:
                run.attached -= 1
                run.seen = time.monotonic()

    def _found(self, order: dict[str, Any]) -> tuple[str, _Run]:
        name = str(order["run"])
        with self._lock:
            run = self._runs.get(name)
        if run is not None:
            return name, run
        if "start" not in order:
            raise errors.ExecutionError("the tracer does not know this run any more: its lease is over; run it again")
        run = _Run(_session(order["start"]))
        with self._lock:
            self._runs[name] = run
        return name, run

    def _hear(self, lines: Iterator[dict[str, Any]], run: _Run) -> None:
        for order in lines:
            if order.get("order") == "report":
                run.job.run.report()
            elif order.get("order") == "done":
                run.taken.set()
            elif order.get("order") in ("stop", "gone"):
                run.job.run.stop(target_gone=order["order"] == "gone")

    def _give(self, run: _Run, have: dict[str, int], taken: Any) -> None:
        job = run.job
        started = {"pid": job.run.pid, "argv": list(job.command.argv), "notices": list(job.pin.notices)}
        taken.write(entry(time.time_ns(), EVENT, json.dumps({"started": started, "clock_ns": time.time_ns()}).encode()))
        skip = {"stdout": have.get("stdout", 0), "stderr": have.get("stderr", 0)}
        for output in job.run.events():
            data = output.data
            if skip[output.stream]:
                passed = min(skip[output.stream], len(data))
                skip[output.stream] -= passed
                data = data[passed:]
            if data:
                _write(taken, entry(output.time_ns, _KINDS[output.stream], data))
        try:
            status = job.run.wait()
        except errors.PodtracerError as error:
            failed = {"error": type(error).__name__, "message": str(error)}
            taken.write(entry(time.time_ns(), EVENT, json.dumps(failed).encode()))
            return
        words = {**asdict(status), "started": status.started.isoformat(), "ended": status.ended.isoformat()}
        taken.write(entry(time.time_ns(), EVENT, json.dumps({"status": words}).encode()))


def _session(order: dict[str, Any]) -> Session[object]:
    words = dict(order["target"])
    for name in ("containers", "ip", "services", "cgroup_uids", "interfaces"):
        words[name] = tuple(words.get(name, ()))
    target = targets.Target(**words)
    task = Task(order["tool"], tuple(order["arguments"]), Options(**order["options"]), order["every"])
    return Session(
        [task],
        (target,),
        kinds=tuple(order["kinds"]),
        limits=execution.Limits(seconds=order["seconds"], bytes=order["bytes"]),
        allow_change=bool(order["allow_change"]),
    )


def _write(taken: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[taken.write(view) :]


def _remove(recording: Path) -> None:
    """Remove a recording that the other side has, verified."""
    for path in (recording, Path(f"{recording}.json")):
        path.unlink(missing_ok=True)


def _lines(descriptor: int) -> Iterator[dict[str, Any]]:
    """Give the orders of one connection, until it ends or has been silent for too long."""
    data = b""
    while select.select([descriptor], [], [], _SILENT)[0]:
        more = os.read(descriptor, 1 << 16)
        if not more:
            return
        *lines, data = (data + more).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "ping" not in order:
                yield order


def _connect() -> None:
    """Hand our standard streams to the agent, and wait until it is done with them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(_SOCKET))
        socket.send_fds(connection, [b"x"], [0, 1, 2])
        # Ours must be closed, so that the other side sees the end when the agent closes its own.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(null, descriptor)
        connection.recv(1)


def main() -> None:
    """Serve, or connect."""
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("what", choices=["serve", "connect"])
    parser.add_argument("--idle", type=float, default=300.0)
    parser.add_argument("--lease", type=float, default=60.0)
    asked = parser.parse_args()
    if asked.what == "connect":
        try:
            _connect()
        except OSError as error:
            sys.exit(f"the tracer's agent does not answer: {error.strerror}")
    else:
        Agent(asked.idle, asked.lease).serve()


if __name__ == "__main__":
    main()
