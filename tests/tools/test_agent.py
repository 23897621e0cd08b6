"""The agent that a tracer pod runs, as it is: only the exec of the API server is two pipes here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podtracer_nb import targets
from podtracer_nb.execution import remote, supervisor, tracer
from tests.machine import needs

pytestmark = needs("iproute2")


class Connection:
    """One connection, as `ExecStream` has it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", tracer._program()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )

    def say(self, **words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()

    def entry(self) -> tuple[int, int, bytes]:
        """The next entry: when, what, its bytes."""
        assert self.process.stdout is not None
        head = self.process.stdout.read(supervisor.JOURNAL_ENTRY)
        assert len(head) == supervisor.JOURNAL_ENTRY, "the agent closed the connection"
        when, kind, length = (int.from_bytes(head[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 20)))
        return when, kind, self.process.stdout.read(length)

    def event(self) -> dict[str, Any]:
        """The next event, output passed over."""
        while True:
            _, kind, data = self.entry()
            if kind == remote.EVENT:
                return dict(json.loads(data))

    def break_off(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait()


class Pod:
    """The agent's process."""

    def __init__(self, folder: Path, lease: float, idle: float) -> None:
        self.environment = {
            **os.environ,
            "PODTRACER_AGENT_SOCKET": str(folder / "agent.sock"),
            "PODTRACER_RECORDINGS": str(folder / "recordings"),
        }
        self.recordings = folder / "recordings"
        self.connections: list[Connection] = []
        words = ["serve", f"--lease={lease}", f"--idle={idle}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podtracer_nb.tools.agent", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "agent ready\n"

    def connect(self) -> Connection:
        self.connections.append(Connection(self.environment))
        return self.connections[-1]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts an agent with a lease and idle seconds."""
    started: list[Pod] = []

    def start(lease: float = 60, idle: float = 60) -> Pod:
        started.append(Pod(tmp_path, lease, idle))
        return started[-1]

    yield start
    for each in started:
        for connection in each.connections:
            connection.break_off()
        each.process.kill()
        each.process.communicate()


def order(tool: str, *arguments: str) -> dict[str, Any]:
    (own,) = targets.resolve(pid=os.getpid())
    return {
        "tool": tool,
        "arguments": list(arguments),
        "options": {},
        "every": None,
        "seconds": None,
        "bytes": None,
        "allow_change": False,
        "hold": None,
        "kinds": ["net"],
        "target": remote._words(own),
    }


def wait_for(what: str, ask: Any) -> None:
    until = time.monotonic() + 60
    while not ask():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return all(process.pid != pid for process in supervisor.processes())


def test_a_silent_run_whose_other_side_is_gone_ends_with_its_lease_and_the_agent_with_its_idle_time(pods: Any) -> None:
    pod = pods(lease=1, idle=1)
    connection = pod.connect()
    connection.say(run="one", have={}, start=order("sleep", "1000"))
    pid = connection.event()["started"]["pid"]
    connection.break_off()
    wait_for("the run's end", lambda: gone(pid))
    assert pod.process.wait(60) == 0
    assert not list(pod.recordings.iterdir()), "nobody will come for it"


def test_a_run_outlives_its_connection_and_goes_on_where_the_other_side_is(pods: Any) -> None:
    pod = pods()
    script = "echo first; sleep 1; echo second"
    connection = pod.connect()
    connection.say(run="one", have={}, start=order("sh", "-c", script))
    assert "started" in connection.event()
    assert connection.entry()[1:] == (supervisor.STDOUT, b"first\n")
    connection.break_off()
    again = pod.connect()
    again.say(run="one", have={"stdout": 6, "stderr": 0})
    assert "started" in again.event()
    assert again.entry()[1:] == (supervisor.STDOUT, b"second\n")
    status = again.event()["status"]
    assert (status["bytes"], status["exit_code"], status["reason"]) == (13, 0, "exit")
    again.say(order="done")
    wait_for("the recording's end", lambda: not list(pod.recordings.iterdir()))


def test_a_pod_that_is_ended_ends_its_runs_whole_and_tells_the_other_side(pods: Any) -> None:
    pod = pods()
    connection = pod.connect()
    connection.say(run="one", have={}, start=order("sh", "-c", "trap 'echo flushed; exit 0' INT; echo ready; sleep 99"))
    connection.event()
    assert connection.entry()[2] == b"ready\n"
    pod.process.send_signal(signal.SIGTERM)
    assert connection.entry()[2] == b"flushed\n"
    assert connection.event()["status"]["reason"] == "stopped"
    connection.say(order="done")
    assert pod.process.wait(60) == 0


def test_the_time_is_told_before_during_and_beside_a_run(pods: Any) -> None:
    connection = pods().connect()
    for _ in range(3):
        sent = time.time_ns()
        connection.say(ping=sent)
        answered, _, data = connection.entry()
        told = json.loads(data)
        assert told["pong"] == sent
        assert sent <= told["heard"] <= answered <= time.time_ns()
    connection.say(run="one", have={}, start=order("sleep", "1000"))
    assert "started" in connection.event()
    connection.say(ping=7)
    assert connection.event()["pong"] == 7
    connection.say(order="stop")
    assert connection.event()["status"]["reason"] == "stopped"


def test_what_is_refused_is_told_and_a_run_that_nobody_knows(pods: Any) -> None:
    pod = pods()
    connection = pod.connect()
    connection.say(run="one", have={}, start=order("no-such-tool"))
    refused = connection.event()
    assert refused["error"] == "ToolNotFound" and "no-such-tool is not installed" in refused["message"]
    other = pod.connect()
    other.say(run="never", have={})
    assert "does not know this run any more" in other.event()["message"]


def test_asked_for_twice_while_it_starts_it_is_started_once(pods: Any, tmp_path: Path) -> None:
    pod = pods()
    started = tmp_path / "started"
    script = f"echo once >> {started}; sleep 1000"
    first, second = pod.connect(), pod.connect()
    for each in (first, second):
        each.say(run="one", have={}, start=order("sh", "-c", script))
    pids = {each.event()["started"]["pid"] for each in (first, second)}
    assert len(pids) == 1
    wait_for("the tool's work", started.exists)
    assert started.read_text() == "once\n"
    first.say(order="stop")
    assert second.event()["status"]["reason"] == "stopped"
