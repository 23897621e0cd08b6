"""Changes that a tracer's agent holds: taken back there, whatever becomes of the connection, of us, or of the agent.

All of it is real but for the exec of the API server, two pipes here, and for the cluster that makes the tracer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

import podtracer_nb
from podtracer_nb import execution, targets
from podtracer_nb.errors import ClusterError, ExecutionError, InputError, PodtracerError, ToolFailed
from podtracer_nb.execution import remote, tracer
from podtracer_nb.execution.stream import STDOUT
from podtracer_nb.tools import Change, placing, undo_all
from tests.machine import needs
from tests.targets.namespaces import holder, until
from tests.tools import test_agent
from tests.tools.test_agent import Pod
from tests.tools.test_changes import ADD, ADDRESS, ALLOWED, Place, held

pytestmark = needs("netns", "iproute2")

pods = test_agent.pods


class Stream:
    """A connection to the agent, as `ExecStream` is one."""

    failure = ""

    def __init__(self, pod: Pod) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            program = [sys.executable, "-I", "-S", "-c", tracer._program()]
            self._process = subprocess.Popen(program, stdin=theirs, stdout=theirs, env=pod.environment)

    def send(self, data: bytes) -> None:
        try:
            self._ours.sendall(data)
        except OSError as error:
            raise ClusterError("the connection broke") from error

    def messages(self) -> Iterator[tuple[int, memoryview]]:
        with contextlib.suppress(ConnectionResetError):  # what we sent was never read
            while data := self._ours.recv(1 << 16):
                yield STDOUT, memoryview(data)
        raise ClusterError("the connection broke")

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        self._ours.close()
        self._process.kill()
        self._process.wait()


class Node:
    """Another node: its agent, the way there, and a pod of it."""

    def __init__(self, pod: Pod, place: Place) -> None:
        self.pod, self.place, self.pid = pod, place, place.pid
        self.reachable = True
        self.connections: list[Stream] = []

    def connect(self) -> Stream:
        if not self.reachable:
            raise ClusterError("no way there")
        self.connections.append(Stream(self.pod))
        return self.connections[-1]

    def cut(self) -> None:
        """Break every connection; there is no other before `reachable` is set again."""
        self.reachable = False
        for each in self.connections:
            each.abort()


@pytest.fixture
def far(pods: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that makes another node, with a lease: every target is there then."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "here"))
    with holder("net") as process, targets.pin(targets.resolve(pid=process.pid)[0]) as pin:

        def make(lease: float = 60) -> Node:
            node = Node(pods(lease=lease), Place(process.pid, pin))

            def reach(starting: Any) -> list[execution.Elsewhere]:
                kinds = starting.wanted.kinds
                return [execution.Elsewhere(each, kinds, node.connect, lambda: True) for each in starting.wanted.chosen]

            monkeypatch.setattr(placing._Starting, "reach", reach)
            return node

        yield make
        assert podtracer_nb.changes().empty
        undo_all()


def test_it_is_made_there_listed_here_and_taken_back_on_leaving_the_block(far: Any) -> None:
    node = far()
    with podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED) as change:
        assert node.place.has_address()
        (row,) = podtracer_nb.changes().to_dict("records")
        assert (row["state"], row["undo"]) == ("held", f"ip address del {ADDRESS} dev eth0")
    assert not node.place.has_address()
    (told,) = change.provenance()
    assert (told["change"]["made"], told["change"]["undone"], told["change"]["why"]) == (True, True, "ordered")
    described = json.loads(Path(f"{told['recording']}.json").read_text())
    assert described["change"]["undone"] is True
    assert not list(node.pod.recordings.iterdir()), "nothing is left there"


def test_by_its_time(far: Any) -> None:
    node = far()
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, for_=0.4, **ALLOWED)
    assert node.place.has_address()
    change.wait()
    assert not node.place.has_address()
    assert change.provenance()[0]["change"]["why"] == "its time is over"


def test_with_all_others_by_one_word(far: Any) -> None:
    node = far()
    podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    podtracer_nb.impair(pid=node.pid, rate="1mbit")
    assert (node.place.has_address(), node.place.root()) == (True, "tbf")
    assert undo_all() == 2
    assert (node.place.has_address(), node.place.root()) == (False, "noqueue")


def test_it_outlives_a_connection_that_comes_back_in_time(far: Any) -> None:
    node = far()
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    before = len(node.connections)
    node.cut()
    node.reachable = True
    until(lambda: len(node.connections) > before)
    assert node.place.has_address()
    change.undo()
    assert not node.place.has_address()


def test_an_undo_that_finds_no_connection_is_carried_out_when_there_is_one(far: Any) -> None:
    node = far()
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    node.cut()
    change._session.stop()
    node.reachable = True
    change.undo()
    assert not node.place.has_address()
    assert change.provenance()[0]["change"]["why"] == "ordered"


def test_a_connection_that_is_broken_for_longer_than_the_lease_takes_it_back(far: Any) -> None:
    node = far(lease=1)
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    node.cut()
    until(lambda: not node.place.has_address())
    until(lambda: not list(node.pod.recordings.iterdir()))
    node.reachable = True
    with pytest.raises(ToolFailed, match=r"it is not known whether ip address add .* is taken back: its tracer pod .*"):
        change.wait()


def test_where_there_is_no_connection_any_more_it_says_who_takes_it_back(
    far: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = far(lease=1)
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)
    node.cut()
    with pytest.raises(ToolFailed, match=rf"it is not known .*; by hand: ip address del {ADDRESS} dev eth0"):
        change.wait()
    until(lambda: not node.place.has_address())


def test_a_tracer_that_is_ended_takes_it_back_and_tells(far: Any) -> None:
    node = far()
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    node.pod.process.send_signal(signal.SIGTERM)
    change.wait()
    assert not node.place.has_address()
    (told,) = change.provenance()
    assert (told["reason"], told["change"]["undone"]) == ("tracer-gone", True)
    assert node.pod.process.wait(60) == 0


@pytest.mark.parametrize("after", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_tracer_that_is_ended_while_it_starts_one_leaves_none(
    far: Any, monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    node = far()
    monkeypatch.setattr(remote, "_PATIENCE", 0.0)
    ending = threading.Timer(after, node.pod.process.send_signal, [signal.SIGTERM])
    ending.start()
    with contextlib.suppress(PodtracerError):
        podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED).wait()
    ending.join()
    assert node.pod.process.wait(60) == 0
    assert not node.place.has_address()


STATUS = {
    "exit_code": 0,
    "signal": None,
    "reason": "exit",
    "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:00:01+00:00",
    "bytes": 0,
    "sha256": hashlib.sha256().hexdigest(),
    "pid": 1,
}
STARTED = {"started": {"pid": 1, "argv": ["ip"], "notices": [], "started": "2026-01-01T00:00:00+00:00"}}


@pytest.mark.parametrize(
    "events",
    [[[]], [STARTED, {"status": {"reason": "exit"}}], [STARTED, {"status": {**STATUS, "new": 1}}]],
    ids=["words", "status", "more of it"],
)
def test_nobody_waits_for_an_agent_that_is_not_understood(
    far: Any, monkeypatch: pytest.MonkeyPatch, events: list[Any]
) -> None:
    node = far()
    words = memoryview(b"".join(remote.entry(0, remote.EVENT, json.dumps(each).encode()) for each in events))
    monkeypatch.setattr(Stream, "messages", lambda _: iter([(STDOUT, words)]))
    with pytest.raises(ExecutionError, match=r"is not understood .*: is it of our version"):
        podtracer_nb.run("ip", ["addr"], pid=node.pid)


def test_an_undo_that_fails_there_is_one_line_here(far: Any) -> None:
    node = far()
    change = podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    node.place.do("ip", "link", "del", "eth0")
    with pytest.raises(ToolFailed, match='is not taken back: Cannot find device "eth0"; by hand: ip address del'):
        change.undo()


def test_a_change_that_fails_is_one_line_and_holds_nothing(far: Any) -> None:
    node = far()
    node.place.do("ip", *ADD)
    with pytest.raises(ToolFailed, match=rf"^ip failed in pid {node.pid}: .*(already|exists)"):
        podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED)
    assert node.place.has_address()  # that was there before


def test_what_was_there_before_is_asked_there_and_brought_back(far: Any) -> None:
    node = far()
    path = "/proc/sys/net/ipv4/conf/eth0/forwarding"

    def back(old: str) -> tuple[str, ...]:
        return ("sh", "-c", f"echo {old.strip()} > {path}")

    change = Change("sets", before=("cat", path), undo_from=back, restores=True)
    with held(change, "sh", "-c", f"echo 1 > {path}", pid=node.pid) as made:
        assert node.place.do("cat", path) == "1\n"
    assert node.place.do("cat", path) == "0\n"
    assert made.provenance()[0]["change"]["undo"] == ["sh", "-c", f"echo 0 > {path}"]


def test_what_is_there_may_forbid_it(far: Any) -> None:
    node = far()
    with podtracer_nb.impair(pid=node.pid, rate="1mbit"):
        with pytest.raises(InputError, match=rf"^pid {node.pid}: eth0 is impaired already \(tbf .*1Mbit"):
            podtracer_nb.impair(pid=node.pid, rate="2mbit")
        assert node.place.root() == "tbf"
    assert node.place.root() == "noqueue"


def test_what_cannot_be_asked_there_is_told_and_nothing_is_made(far: Any) -> None:
    node = far()
    change = Change("sets", before=("no-such-program",), undo_from=lambda _: ("true",))
    with pytest.raises(ToolFailed, match=r"^no-such-program failed in pid .*No such file"):
        held(change, "ip", *ADD, pid=node.pid)
    assert not node.place.has_address()


def test_a_result_from_there_says_under_which_change_it_was_made(far: Any) -> None:
    node = far()
    with podtracer_nb.hold("ip", ADD, pid=node.pid, **ALLOWED):
        frame = podtracer_nb.run("cat", ["/proc/net/dev"], pid=node.pid)
    note = f"while this was held there: ip address add {ADDRESS} dev eth0"
    assert frame.attrs["podtracer"]["notes"] == [note]
    assert podtracer_nb.run("cat", ["/proc/net/dev"], pid=node.pid).attrs["podtracer"]["notes"] == []
