"""What alters a target: only with leave, and taken back whatever becomes of whoever asked for it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import podtracer_nb
from podtracer_nb import execution, targets
from podtracer_nb.errors import ExecutionError, InputError, PrivilegeError, TargetError, ToolFailed
from podtracer_nb.tools import Change, undo_all
from podtracer_nb.tools.frames import settle
from podtracer_nb.tools.held import Held, hold_session
from podtracer_nb.tools.impairment import words
from podtracer_nb.tools.opening import open_session
from tests.machine import needs
from tests.targets.namespaces import alive, children, holder, until

pytestmark = needs("netns", "iproute2")

ADDRESS = "192.0.2.7/24"
ADD = ("address", "add", ADDRESS, "dev", "eth0")
# Seconds for 200 kB over loopback.
TRANSFER = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
began = time.monotonic()
sender = socket.create_connection(listener.getsockname())
threading.Thread(target=lambda: (sender.sendall(bytes(200_000)), sender.shutdown(socket.SHUT_WR))).start()
receiver, _ = listener.accept()
while receiver.recv(65536):
    pass
print(time.monotonic() - began)
"""
ALLOWED = {"allow_change": True}
Program = Callable[..., "subprocess.Popen[str]"]


class Place:
    """A network namespace with an interface eth0, and its eyes."""

    def __init__(self, pid: int, pin: targets.Pin) -> None:
        self.pid, self._pin = pid, pin
        self._others = set(children(os.getpid()))
        self.do("ip", "link", "add", "name", "eth0", "type", "veth", "peer", "name", "far")
        self.do("ip", "link", "set", "eth0", "up")
        self.do("ip", "link", "set", "far", "up")

    def do(self, *argv: str) -> str:
        done = execution.ask(self._pin, argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def started(self) -> set[int]:
        """Return which of our children are new: supervisors."""
        return set(children(os.getpid())) - self._others

    def has_address(self) -> bool:
        return ADDRESS in self.do("ip", "address", "show", "dev", "eth0")

    def root(self) -> str:
        return self.do("tc", "qdisc", "show", "dev", "eth0").split()[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Make it; afterwards nothing is held, and nothing that was started is left."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))
    with holder("net") as held, targets.pin(targets.resolve(pid=held.pid)[0]) as pin:
        made = Place(held.pid, pin)
        yield made
        left = podtracer_nb.changes()
        undo_all()
        assert left.empty
        assert not made.started()


@pytest.fixture
def program() -> Iterator[Program]:
    """Start `podtracer`, or a Python program that uses the package."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        root = Path(podtracer_nb.__file__).parents[1]
        started.append(
            subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def held(change: Change, *argv: str, pid: int, seconds: float = math.inf) -> Held:
    session = open_session([(argv[0], argv[1:])], pid=pid, hold=seconds, change=change, **ALLOWED)
    return hold_session(session, seconds)


def description(of: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{of['recording']}.json").read_text())
    return found


class TestLeave:
    @pytest.mark.parametrize(
        "line",
        [
            "ip address add 192.0.2.7/24 dev eth0",
            "ip link set eth0 down",
            "tc qdisc add dev eth0 root pfifo",
            "nft add table inet t",
            "sysctl -w net.ipv4.ip_forward=1",
            "conntrack -D",
        ],
    )
    def test_what_alters_the_target_is_refused_without_it(self, place, line):
        tool, *arguments = line.split()
        with pytest.raises(InputError, match=r"this .* in the target: .*; add --allow-change if that is what you want"):
            podtracer_nb.run(tool, arguments, pid=place.pid)

    def test_to_hold_a_change_asks_for_the_same_leave(self, place):
        with pytest.raises(InputError, match="add --allow-change"):
            podtracer_nb.hold("ip", ADD, pid=place.pid)
        assert not place.has_address()

    def test_with_it_the_change_is_made_and_recorded_with_its_undo(self, place):
        frame = podtracer_nb.run("ip", ADD, pid=place.pid, **ALLOWED)
        assert place.has_address()
        change = frame.attrs["podtracer"]["change"]
        assert (change["made"], change["held"], change["undone"]) == (True, False, False)
        assert description({"recording": frame.attrs["podtracer"]["recordings"][0]})["change"] == change
        podtracer_nb.run(change["undo"][0], change["undo"][1:], pid=place.pid, **ALLOWED)
        assert not place.has_address()

    def test_of_a_tool_that_was_killed_nobody_knows_whether_it_made_it(self, place):
        session = open_session([("sleep", ["60"])], pid=place.pid, change=Change("sleeps"), timer=0.3, **ALLOWED)
        with session:
            [told] = session.each(settle)
        assert told["change"]["made"] is None
        assert description(told)["change"]["made"] is None

    def test_nor_where_its_supervisor_was_killed(self, place):
        with open_session([("sleep", ["60"])], pid=place.pid, change=Change("sleeps"), **ALLOWED) as session:
            [supervisor] = place.started()
            os.kill(supervisor, signal.SIGKILL)
            [error] = session.each(settle)
            assert isinstance(error, ExecutionError)
        assert description({"recording": session.jobs[0].recording})["change"]["made"] is None

    def test_what_alters_nothing_is_not_held(self, place):
        with pytest.raises(InputError, match=r"nothing is known that ip addr alters.*leave --for out"):
            podtracer_nb.hold("ip", ["addr"], pid=place.pid, **ALLOWED)

    def test_what_nothing_takes_back_is_not_held(self, place):
        with pytest.raises(InputError, match=r"this flushes in the target, and nothing takes that back: .*--for"):
            held(Change("flushes"), "ip", "neigh", "flush", "all", pid=place.pid)

    @pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "30s", True])
    def test_how_long_is_a_number_of_seconds(self, place, value):
        with pytest.raises(InputError, match="has to be a number of seconds"):
            podtracer_nb.hold("ip", ADD, pid=place.pid, for_=value, **ALLOWED)


class TestUndone:
    def test_on_leaving_the_block(self, place):
        with podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED) as change:
            assert place.has_address()
            assert change.held
        assert not place.has_address()
        assert not change.held

    def test_on_an_error_in_the_block(self, place):
        with pytest.raises(ZeroDivisionError), podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED):
            assert place.has_address()
            raise ZeroDivisionError
        assert not place.has_address()

    def test_by_its_time(self, place):
        change = podtracer_nb.hold("ip", ADD, pid=place.pid, for_=0.4, **ALLOWED)
        assert place.has_address()
        change.wait()
        assert not place.has_address()
        assert change.provenance()[0]["change"]["why"] == "its time is over"

    def test_once_however_often_it_is_asked_for(self, place, tmp_path):
        count = tmp_path / "count"
        undo = ("sh", "-c", f"echo once >> {count}; ip address del {ADDRESS} dev eth0")
        change = held(Change("adds", undo), "ip", *ADD, pid=place.pid)
        for _ in range(3):
            change.undo()
        assert count.read_text() == "once\n"

    def test_once_however_many_signals_come(self, place, tmp_path):
        count, go = tmp_path / "count", tmp_path / "go"
        undo = ("sh", "-c", f"echo once >> {count}; while [ ! -e {go} ]; do sleep 0.02; done")
        change = held(Change("nothing", undo), "true", pid=place.pid)
        [supervisor] = place.started()
        [holding] = children(supervisor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(holding, number)
        until(count.exists)
        os.kill(holding, signal.SIGTERM)
        go.touch()
        change.wait()
        assert count.read_text() == "once\n"

    def test_also_when_the_order_comes_while_the_change_is_being_made(self, place, tmp_path):
        begun, go = tmp_path / "begun", tmp_path / "go"
        script = f"touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done; ip address add {ADDRESS} dev eth0"
        change = Change("adds", ("ip", "address", "del", ADDRESS, "dev", "eth0"))
        with open_session([("sh", ("-c", script))], pid=place.pid, hold=math.inf, change=change, **ALLOWED) as session:
            until(begun.exists)
            session.stop()
            go.touch()
            session.jobs[0].run.wait()
            told = session.jobs[0].changed()
        assert (told["made"], told["undone"], told["why"]) == (True, True, "ordered")
        assert not place.has_address()

    def test_also_when_the_change_then_never_ends(self, place, tmp_path):
        begun = tmp_path / "begun"
        script = f"ip address add {ADDRESS} dev eth0; touch {begun}; exec sleep 1000"
        change = Change("adds", ("ip", "address", "del", ADDRESS, "dev", "eth0"))
        with open_session([("sh", ("-c", script))], pid=place.pid, hold=math.inf, change=change, **ALLOWED) as session:
            until(begun.exists)
            session.stop()
            session.jobs[0].run.wait()
        assert not place.has_address()

    def test_everything_with_one_word(self, place):
        podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED)
        podtracer_nb.impair(pid=place.pid, rate="1mbit")
        assert len(podtracer_nb.changes()) == 2
        assert undo_all() == 2
        assert not place.has_address()
        assert place.root() == "noqueue"


class TestState:
    """What was there before is what the undo brings back."""

    def test_the_undo_may_come_from_what_was_there(self, place):
        name = "net.ipv4.conf.eth0.forwarding"
        path = "/proc/sys/" + name.replace(".", "/")

        def back(old: str) -> tuple[str, ...]:
            return ("sh", "-c", f"echo {old.strip()} > {path}")

        change = Change("sets", before=("cat", path), undo_from=back, restores=True)
        with held(change, "sh", "-c", f"echo 1 > {path}", pid=place.pid) as made:
            assert place.do("cat", path) == "1\n"
        assert place.do("cat", path) == "0\n"
        assert made.provenance()[0]["change"]["undo"] == ["sh", "-c", f"echo 0 > {path}"]

    def test_it_brings_back_what_a_failed_change_made_in_part(self, place):
        path = "/proc/sys/net/ipv4/conf/eth0/forwarding"
        change = Change(
            "sets", before=("cat", path), undo_from=lambda _: ("sh", "-c", f"echo 0 > {path}"), restores=True
        )
        with pytest.raises(ToolFailed, match="the second is no name"):
            held(change, "sh", "-c", f"echo 1 > {path}; echo the second is no name >&2; exit 255", pid=place.pid)
        assert place.do("cat", path) == "0\n"

    def test_what_is_there_may_forbid_it(self, place):
        def refuse(old: str) -> None:
            raise InputError(f"there is {old.strip()}")

        with pytest.raises(InputError, match=f"^pid {place.pid}: there is something$"):
            held(Change("sets", before=("echo", "something"), undo_from=refuse), "true", pid=place.pid)

    def test_the_undo_may_come_from_what_the_change_wrote(self, place):
        change = Change("adds", ("ip", "address", "del", "{address}", "dev", "eth0"), told=r"added (?P<address>\S+)\n")
        script = f"ip address add {ADDRESS} dev eth0; echo added {ADDRESS}"
        with held(change, "sh", "-c", script, pid=place.pid) as made:
            assert place.has_address()
            assert podtracer_nb.changes().undo.tolist() == [f"ip address del {ADDRESS} dev eth0"]
        assert not place.has_address()
        assert made.provenance()[0]["change"]["undo"][3] == ADDRESS

    def test_where_it_does_not_say_that_the_change_stays_and_is_told(self, place):
        change = Change("adds", ("ip", "address", "del", "{address}", "dev", "eth0"), told=r"added (?P<address>\S+)\n")
        with pytest.raises(ToolFailed, match=r"ip address add .* was done in .* and stays: .*; undo it by hand"):
            held(change, "ip", *ADD, pid=place.pid)
        assert place.has_address()


class TestKilled:
    """Whoever is killed, the change does not outlive it."""

    ENDLESS = "import sys, podtracer_nb as p; h = p.hold('ip', sys.argv[2:], pid=int(sys.argv[1]), allow_change=True)\n"

    @staticmethod
    def cli(place: Place, *options: str) -> tuple[object, ...]:
        return ("-m", "podtracer_nb.cli", "run", "ip", "--pid", place.pid, "--allow-change", *options, "--", *ADD)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_an_interrupt_ends_what_the_command_line_holds(self, place, program, number):
        process = program(*self.cli(place, "--for", "1h"))
        assert process.stdout is not None
        assert process.stdout.readline().endswith("· held for 3600 s, or until Ctrl+C\n")
        assert place.has_address()
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert (out, process.returncode) == (f"pid {place.pid}: undone\n", 0)
        assert not place.has_address()

    def test_the_command_line_waits_for_its_time(self, place, program):
        process = program(*self.cli(place, "--for", "300ms"))
        out, _ = process.communicate(timeout=20)
        assert out.splitlines()[-1] == f"pid {place.pid}: undone"
        assert process.returncode == 0
        assert not place.has_address()

    def test_the_end_of_the_program_takes_all_back(self, place, program):
        process = program("-c", self.ENDLESS + "pass", place.pid, *ADD)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0, out
        assert not place.has_address()

    def test_what_it_could_not_take_back_is_a_line_at_its_end(self, place, program):
        waits = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        source = waits + self.ENDLESS + "print('held'); signal.sigwait({signal.SIGUSR1})"
        process = program("-c", source, place.pid, *ADD)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        place.do("ip", "link", "del", "eth0")
        process.send_signal(signal.SIGUSR1)
        out, _ = process.communicate(timeout=20)
        [line] = out.splitlines()
        assert line.startswith(f"podtracer: ip address add {ADDRESS} dev eth0 in pid {place.pid} is not taken back: ")
        assert 'Cannot find device "eth0"' in line
        assert line.endswith(f"by hand: ip address del {ADDRESS} dev eth0")

    def waiting(self, place: Place, program: Program) -> tuple[subprocess.Popen[str], int, int]:
        """Start a program that holds an address for ever: it, its supervisor, and what holds."""
        process = program("-c", self.ENDLESS + "print('held'); h.wait()", place.pid, *ADD)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert place.has_address()
        [supervisor] = children(process.pid)
        [holding] = children(supervisor)
        return process, supervisor, holding

    @staticmethod
    def described() -> dict[str, Any]:
        [file] = Path(os.environ["PODTRACER_RECORDINGS"]).glob("*.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def test_the_python_process(self, place, program):
        process, supervisor, holding = self.waiting(place, program)
        process.kill()
        until(lambda: not place.has_address(), 5)
        until(lambda: not alive(holding) and not alive(supervisor))
        told = self.described()
        assert told["reason"] == "parent-gone"
        assert (told["change"]["undone"], told["change"]["why"]) == (True, "ordered")

    @pytest.mark.parametrize("first", ["python", "supervisor"])
    def test_the_python_process_and_its_supervisor_together(self, place, program, first):
        process, supervisor, holding = self.waiting(place, program)
        # Neither gets a turn between the two signals.
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGSTOP)
        for pid in (process.pid, supervisor) if first == "python" else (supervisor, process.pid):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not place.has_address(), 5)
        until(lambda: not alive(holding))
        told = self.described()
        assert told["reason"] == "lost"
        assert (told["change"]["undone"], told["change"]["why"]) == (True, "the supervisor is gone")

    def test_the_supervisor_alone(self, place):
        change = podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED)
        [supervisor] = place.started()
        [holding] = children(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: not place.has_address(), 5)
        change.wait()  # nothing to complain of: it was taken back
        assert not alive(holding)
        [told] = change.provenance()
        assert told["change"]["undone"]
        assert "the supervisor was killed" in told["notes"][0]
        assert description(told)["change"]["undone"]

    def test_what_holds_it_and_then_it_is_told(self, place):
        change = podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED)
        [supervisor] = place.started()
        [holding] = children(supervisor)
        os.kill(holding, signal.SIGKILL)
        with pytest.raises(ToolFailed, match="is not taken back: what held it was killed; by hand: ip address del"):
            change.wait()
        assert place.has_address()


class TestFailures:
    def test_a_change_that_fails_is_one_line_and_holds_nothing(self, place):
        place.do("ip", *ADD)
        with pytest.raises(ToolFailed, match=rf"^ip failed in pid {place.pid}: .*(already|exists)"):
            podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED)
        assert place.has_address()  # that was there before

    def test_an_undo_that_fails_is_one_line(self, place):
        change = podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED)
        place.do("ip", "link", "del", "eth0")
        with pytest.raises(ToolFailed) as refused:
            change.undo()
        assert str(refused.value) == (
            f"ip address add {ADDRESS} dev eth0 in pid {place.pid} is not taken back: "
            f'Cannot find device "eth0"; by hand: ip address del {ADDRESS} dev eth0'
        )
        change.undo()  # told once
        [told] = change.provenance()
        assert (told["change"]["made"], told["change"]["undone"]) == (True, False)
        assert description(told)["change"]["error"] == 'Cannot find device "eth0"'

    def test_what_failed_in_the_background_stays_in_the_list_until_it_is_told(self, place):
        change = podtracer_nb.hold("ip", ADD, pid=place.pid, for_=0.5, **ALLOWED)
        place.do("ip", "link", "del", "eth0")
        until(lambda: not change.held)
        [state] = podtracer_nb.changes().state
        assert "is not taken back" in state
        with pytest.raises(ToolFailed, match="is not taken back"):
            undo_all()

    def test_an_undo_that_never_ends_is_ended(self, place):
        change = held(Change("nothing", ("sleep", "1000")), "true", pid=place.pid)
        with pytest.raises(ToolFailed, match="it did not end within 5 s"):
            change.undo()

    def test_where_one_of_several_targets_fails_the_others_are_as_before(self, place):
        with holder("net") as other:  # which has no eth0
            session = open_session(
                [("ip", ADD)],
                pid=place.pid,
                hold=math.inf,
                **ALLOWED,
            )
            with open_session([("ip", ADD)], pid=other.pid, hold=math.inf, **ALLOWED) as lacking:
                session.jobs += lacking.jobs
                with pytest.raises(ToolFailed, match='Cannot find device "eth0"'):
                    hold_session(session, math.inf)
        assert not place.has_address()

    def test_a_program_that_is_not_there_is_told_as_in_any_run(self, place):
        with pytest.raises(podtracer_nb.ToolNotFound, match="not installed"):
            held(Change("nothing", ("true",)), "no-such-program", pid=place.pid)


class TestRegister:
    def test_it_has_what_is_held_now(self, place):
        before = time.time()
        with podtracer_nb.hold("ip", ADD, pid=place.pid, for_=3600, **ALLOWED):
            frame = podtracer_nb.changes()
            [row] = frame.to_dict("records")
            assert row["target"] == f"pid {place.pid}"
            assert row["argv"] == f"ip address add {ADDRESS} dev eth0"
            assert row["undo"] == f"ip address del {ADDRESS} dev eth0"
            assert row["state"] == "held"
            assert before - 1 < row["since"].timestamp() < time.time() + 1
            assert (row["until"] - row["since"]).total_seconds() == 3600
        assert podtracer_nb.changes().empty
        assert frame.dtypes.equals(podtracer_nb.changes().dtypes)

    def test_a_result_says_under_which_change_it_was_made(self, place):
        with podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED):
            frame = podtracer_nb.run("cat", ["/proc/net/dev"], pid=place.pid)
        note = f"while this was held there: ip address add {ADDRESS} dev eth0"
        assert frame.attrs["podtracer"]["notes"] == [note]
        assert podtracer_nb.run("cat", ["/proc/net/dev"], pid=place.pid).attrs["podtracer"]["notes"] == []

    def test_this_machine_s_own_network_is_told(self):
        with held(Change("nothing", ("true",)), "true", pid=os.getpid()) as change:
            assert "this machine's own network namespace" in change.notices[0]

    def test_what_is_over_is_not_in_it(self, place):
        podtracer_nb.hold("ip", ADD, pid=place.pid, for_=0.2, **ALLOWED)
        until(lambda: podtracer_nb.changes().empty)
        assert not place.has_address()

    def test_a_change_is_shown_in_one_line(self, place):
        with podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED) as change:
            assert repr(change) == (
                f"<ip address add {ADDRESS} dev eth0 in pid {place.pid}: held until undo() is called>"
            )
        assert repr(change).endswith(": over>")

    def test_a_forked_child_leaves_it_alone(self, place):
        with podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED):
            child = os.fork()
            if not child:
                os._exit(undo_all())
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert place.has_address()

    def test_the_recording_tells_when_it_was_made_and_taken_back(self, place):
        with podtracer_nb.hold("ip", ADD, pid=place.pid, **ALLOWED) as change:
            pass
        [told] = change.provenance()
        made, undone = map(json.loads, Path(told["recording"]).read_text().splitlines())
        assert (made["made"], made["undone"]) == (True, False)
        assert (undone["made"], undone["undone"]) == (True, True)
        assert made["at"] < undone["at"]
        described = description(told)
        assert described["argv"] == ["ip", *ADD]
        assert described["change"]["undone"] is True


class TestImpair:
    def test_a_rate_alone_is_a_token_bucket_until_the_block_is_left(self, place):
        with podtracer_nb.impair(pid=place.pid, rate="1mbit"):
            assert place.root() == "tbf"
        assert place.root() == "noqueue"

    def test_without_a_block_it_lasts_until_undo_or_its_time(self, place):
        podtracer_nb.impair(pid=place.pid, rate="1mbit").undo()
        assert place.root() == "noqueue"
        podtracer_nb.impair(pid=place.pid, rate="1mbit", for_=0.3).wait()
        assert place.root() == "noqueue"

    def test_packets_wait_for_their_turn(self, place):
        def seconds() -> float:
            return float(place.do(sys.executable, "-c", TRANSFER))

        assert seconds() < 0.4
        with podtracer_nb.impair(pid=place.pid, rate="1mbit", interface="lo"):
            # The bucket lets 80 kB through without a delay; 120 kB at 125 kB/s are 0.96 s.
            assert seconds() > 0.8
        assert seconds() < 0.4

    def test_two_on_one_interface_are_refused(self, place):
        with podtracer_nb.impair(pid=place.pid, rate="1mbit"):
            with pytest.raises(InputError, match=rf"^pid {place.pid}: eth0 is impaired already \(tbf .*1Mbit"):
                podtracer_nb.impair(pid=place.pid, rate="2mbit")
            assert place.root() == "tbf"
        assert place.root() == "noqueue"

    def test_two_at_once_do_not_undo_each_other(self, place):
        """The look before is not atomic; the kernel refuses the second then."""
        change = Change("makes a link bad", ("tc", "qdisc", "del", "dev", "eth0", "root", "handle", "70d:"))
        argv = ("tc", "qdisc", "add", "dev", "eth0", "root", "handle", "70d:", *words(rate="2mbit"))
        with podtracer_nb.impair(pid=place.pid, rate="1mbit"):
            with pytest.raises(ToolFailed):
                held(change, *argv, pid=place.pid)
            assert "1Mbit" in place.do("tc", "qdisc", "show", "dev", "eth0")

    def test_a_discipline_that_somebody_chose_is_left_alone(self, place):
        place.do("tc", "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "10")
        with pytest.raises(InputError, match="eth0 has a queueing discipline at its root already, pfifo 8"):
            podtracer_nb.impair(pid=place.pid, rate="1mbit")
        assert place.root() == "pfifo"

    def test_what_took_its_place_is_not_taken_away(self, place):
        change = podtracer_nb.impair(pid=place.pid, rate="1mbit")
        place.do("tc", "qdisc", "replace", "dev", "eth0", "root", "pfifo", "limit", "10")
        with pytest.raises(ToolFailed, match="is not taken back"):
            change.undo()
        assert place.root() == "pfifo"

    def test_no_such_interface(self, place):
        with pytest.raises(TargetError, match=rf"^no interface eth7 in pid {place.pid}: "):
            podtracer_nb.impair(pid=place.pid, rate="1mbit", interface="eth7")

    def test_netem_or_one_line_where_the_kernel_has_none(self, place):
        try:
            with podtracer_nb.impair(pid=place.pid, delay="50ms"):
                assert place.root() == "netem"
        except ToolFailed as error:
            assert str(error) == (
                f"this node's kernel lacks netem (sch_netem): pid {place.pid} is not impaired; "
                "modprobe sch_netem on the node, or give a rate alone, which needs none"
            )
        assert place.root() == "noqueue"

    def test_the_command_line_ends_it_at_an_interrupt(self, place, program):
        process = program("-m", "podtracer_nb.cli", "impair", "--pid", place.pid, "--rate", "1mbit")
        assert process.stdout is not None
        assert process.stdout.readline().endswith("· held until Ctrl+C\n")
        assert place.root() == "tbf"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
        assert (out, process.returncode) == (f"pid {place.pid}: undone\n", 0)
        assert place.root() == "noqueue"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to lack")
    def test_without_net_admin_it_says_what_gives_it(self, place):
        process = subprocess.run(
            [
                "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--",
                sys.executable, "-m", "podtracer_nb.cli", "impair", "--pid", str(place.pid), "--rate", "1mbit",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 1
        [line] = process.stderr.splitlines()
        assert line.startswith(f"podtracer: tc may not do this in pid {place.pid} (")
        assert "CAP_NET_ADMIN is missing: run as root; in a cluster deploy/overlays/privileged has it" in line

    def test_with_it_a_refusal_has_another_reason(self, place):
        change = Change("nothing", ("true",))
        with pytest.raises(PrivilegeError, match="though CAP_NET_ADMIN is there"):
            held(change, "sh", "-c", "echo 'sysctl: setting key: Permission denied' >&2; exit 1", pid=place.pid)


class TestWords:
    @pytest.mark.parametrize(
        ("given", "argv"),
        [
            ({"delay": "50ms"}, "netem limit 100000 delay 50ms"),
            ({"delay": "50ms", "jitter": "10ms"}, "netem limit 100000 delay 50ms 10ms"),
            ({"loss": "1%"}, "netem limit 100000 loss 1%"),
            ({"loss": "0.1%", "duplicate": "2%", "corrupt": "3%"},
             "netem limit 100000 loss 0.1% duplicate 2% corrupt 3%"),
            ({"delay": "1.5s", "reorder": "25%"}, "netem limit 100000 delay 1.5s reorder 25%"),
            ({"delay": "200us", "rate": "10Mbit"}, "netem limit 100000 delay 200us rate 10mbit"),
            ({"rate": "1mbit"}, "tbf rate 1mbit burst 16000b latency 400ms"),
            ({"rate": "1gbit"}, "tbf rate 1gbit burst 500000b latency 400ms"),
            ({"rate": "64kbit", "interface": "lo"}, "tbf rate 64kbit burst 80000b latency 400ms"),
        ],
    )  # fmt: skip
    def test_of_tc(self, given, argv):
        assert " ".join(words(**given)) == argv

    @pytest.mark.parametrize(
        ("given", "line"),
        [
            ({}, "no impairment given: name a delay, loss"),
            ({"delay": "50"}, "delay='50' cannot be read: write 50ms, 200us or 1.5s"),
            ({"delay": "50 ms"}, "cannot be read"),
            ({"delay": 50}, "delay=50 cannot be read"),
            ({"delay": "0ms"}, "has to be more than 0 and at most 600s"),
            ({"delay": "11m"}, "cannot be read"),
            ({"delay": "601s"}, "at most 600s"),
            ({"delay": "-5ms"}, "cannot be read"),
            ({"delay": "5ms loss 100%"}, "cannot be read"),
            ({"delay": "५ms"}, "cannot be read"),
            ({"loss": "1"}, "loss='1' cannot be read: write 1% or 0.1%"),
            ({"loss": "101%"}, "at most 100%"),
            ({"loss": "0%"}, "more than 0%"),
            ({"loss": "--help"}, "cannot be read"),
            ({"rate": "10mbps"}, "write 10mbit, 500kbit or 1gbit"),
            ({"rate": "1bit"}, "at least 1kbit"),
            ({"rate": "9999gbit"}, "at most 1000gbit"),
            ({"jitter": "10ms"}, "give a delay"),
            ({"reorder": "10%"}, "give a delay"),
            ({"rate": "1mbit", "interface": "-batch"}, "'-batch' is not an interface name"),
            ({"rate": "1mbit", "interface": "a b"}, "is not an interface name"),
        ],
    )
    def test_what_cannot_be_right_is_refused(self, given, line):
        with pytest.raises(InputError) as refused:
            words(**given)
        assert line in str(refused.value)


def test_a_run_that_lost_its_supervisor_still_says_so(place):
    """What holds a change is patient; any other run is ended as before."""
    with open_session([("sleep", ("1000",))], pid=place.pid) as session:
        [supervisor] = place.started()
        os.kill(supervisor, signal.SIGKILL)
        with pytest.raises(ExecutionError, match="the supervisor was killed"):
            session.jobs[0].run.wait()
