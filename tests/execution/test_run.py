"""A run: what a tool wrote is on disk, whole, with a true account of how it ended."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, ToolFailed, ToolNotFound
from podtracer_nb.execution import Limits, start
from podtracer_nb.tools.inside import allow_setgroups
from tests.machine import needs
from tests.targets.namespaces import alive, children, holder, until

pytestmark = needs("netns", "iproute2")

# tcpdump as uid 0 ends when setgroups(2) fails, as it does in an ordinary user's user namespace: user_namespaces(7).
LAUNCHER = [sys.executable, "-I", "-S", allow_setgroups.__file__]
# Without immediate mode, packets that wait in the kernel's ring for up to a second are lost at the end: pcap(3).
TCPDUMP = [*LAUNCHER, "tcpdump", "--immediate-mode", "-i", "lo", "-w", "-", "-Z", "root"]


def packets(capture: Path) -> int:
    """Count a capture's packets with tcpdump, which complains when the last one is cut."""
    done = subprocess.run(["tcpdump", "-n", "-r", capture], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "truncated" not in done.stderr, done.stderr
    return len(done.stdout.splitlines())


def test_output_is_recorded_read_and_accounted_for(pin: targets.Pin, recording: Path) -> None:
    before = datetime.datetime.now(datetime.UTC)
    with start(pin, ["sh", "-c", "ip -o link; echo no >&2; exit 3"], recording=recording) as run:
        output = run.stdout.read()
        status = run.wait()
    assert output is not None and output.startswith(b"1: lo:") and output == recording.read_bytes()
    assert (status.exit_code, status.signal, status.reason, status.interrupted) == (3, None, "exit", False)
    assert status.bytes == len(output)
    assert status.sha256 == hashlib.sha256(output).hexdigest()
    assert before <= status.started <= status.ended <= datetime.datetime.now(datetime.UTC)
    assert run.stderr == "no\n"
    assert not run.running


def test_beside_the_recording_stands_what_it_is(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "echo no >&2"], recording=recording, metadata={"tool_version": "4.99"}) as run:
        status = run.wait()
    told = json.loads(Path(f"{recording}.json").read_text())
    assert told["argv"] == ["sh", "-c", "echo no >&2"]
    assert told["target"] == pin.target.label
    assert told["tool_version"] == "4.99"
    assert (told["exit_code"], told["reason"], told["interrupted"]) == (0, "exit", False)
    assert (told["sha256"], told["stderr"]) == (status.sha256, "no\n")
    assert datetime.datetime.fromisoformat(told["started"]) == status.started
    assert {path.name for path in recording.parent.iterdir()} == {"recording", "recording.json"}
    assert recording.stat().st_mode & 0o777 == 0o600


def test_a_tool_s_own_death_by_signal_is_told(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "kill -USR1 $$"], recording=recording) as run:
        status = run.wait()
    assert (status.exit_code, status.signal, status.reason) == (None, signal.SIGUSR1, "exit")


def test_binary_output_arrives_unchanged(pin: targets.Pin, recording: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(5_000_000))
    with start(pin, ["cat", str(source)], recording=recording) as run:
        read = b"".join(iter(lambda: run.stdout.read(70_000) or b"", b""))
        assert run.wait().sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert read == source.read_bytes() == recording.read_bytes()


def test_output_can_be_read_while_the_tool_runs(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "echo one; exec sleep 1000"], recording=recording) as run:
        assert run.stdout.read(4) == b"one\n"
        assert run.running
        with pytest.raises(TimeoutError):
            run.wait(timeout=0.01)
        run.stop()
        assert run.stdout.read() == b""
        assert run.wait().signal == signal.SIGINT


def test_a_slow_reader_does_not_hold_the_tool_up(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["head", "-c", "20000000", "/dev/zero"], recording=recording) as run:
        assert run.wait(timeout=20).bytes == 20_000_000
        assert run.stdout.read() == bytes(20_000_000)


def test_what_was_captured_can_be_read_after_the_run_was_left(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["echo", "late"], recording=recording) as run:
        run.wait()
    assert run.stdout.read() == b"late\n"
    assert [output.data for output in run.events()] == [b"late\n"]


def test_lines_of_both_streams_come_in_the_order_of_their_arrival(pin: targets.Pin, recording: Path) -> None:
    # Each line is written when the one before has been seen: the order is the tool's, not the scheduler's.
    gates = [recording.with_name(f"gate-{number}") for number in range(3)]
    for gate in gates:
        os.mkfifo(gate)
    script = 'echo 0; read _ <"$1"; echo 1 >&2; read _ <"$2"; echo 2; read _ <"$3"; echo 3 >&2'
    with start(pin, ["sh", "-c", script, "sh", *map(str, gates)], recording=recording) as run:
        seen = []
        for output in run.events():
            seen.append(output)
            if gates:
                gates.pop(0).write_text("\n")
    assert [(output.stream, output.data) for output in seen] == [
        ("stdout", b"0\n"), ("stderr", b"1\n"), ("stdout", b"2\n"), ("stderr", b"3\n"),
    ]  # fmt: skip
    times = [output.time_ns for output in seen]
    assert times == sorted(times)
    assert run.wait().started.timestamp() <= times[0] / 1e9 <= times[-1] / 1e9 <= run.wait().ended.timestamp()


@needs("tcpdump", "ping")
def test_the_timer_ends_a_capture_whole(pin: targets.Pin, recording: Path) -> None:
    ping = ["ping", "-i", "0.01", "127.0.0.1"]
    with (
        start(pin, ping, recording=recording.with_name("ping")),
        start(pin, TCPDUMP, recording=recording, limits=Limits(seconds=0.5)) as run,
    ):
        status = run.wait(timeout=5)
    assert (status.reason, status.exit_code, status.interrupted) == ("timer", 0, False)
    assert 0.5 <= (status.ended - status.started).total_seconds() < 2
    assert packets(recording) > 5
    assert "packets captured" in run.stderr


@needs("tcpdump", "ping")
def test_the_byte_limit_never_cuts_a_packet(pin: targets.Pin, recording: Path) -> None:
    ping = ["ping", "-i", "0.002", "-s", "1000", "127.0.0.1"]
    with (
        start(pin, ping, recording=recording.with_name("ping")),
        start(pin, TCPDUMP, recording=recording, limits=Limits(bytes=20_001)) as run,
    ):
        status = run.wait(timeout=10)
    assert (status.reason, status.exit_code) == ("bytes", 0)
    assert 20_001 <= status.bytes < 2_000_000
    assert packets(recording) > 10


def test_endless_output_on_both_streams_neither_blocks_nor_piles_up(pin: targets.Pin, recording: Path) -> None:
    script = "yes error >&2 & exec yes output"
    with start(pin, ["sh", "-c", script], recording=recording, limits=Limits(bytes=30_000_000)) as run:
        status = run.wait(timeout=30)
    assert status.reason == "bytes"
    assert 30_000_000 <= status.bytes < 60_000_000
    assert len(run.stderr) < 70_000 and "bytes left out" in run.stderr


def test_a_tool_that_writes_on_beyond_the_limit_is_killed(pin: targets.Pin, recording: Path) -> None:
    script = "trap '' INT TERM; exec yes"
    with start(pin, ["sh", "-c", script], recording=recording, limits=Limits(bytes=1000)) as run:
        status = run.wait(timeout=20)
    assert (status.reason, status.signal) == ("bytes", signal.SIGKILL)
    assert status.bytes < 40_000_000


@needs("tcpdump", "ping")
def test_an_interrupt_while_reading_leaves_the_run_to_be_stopped_and_read_to_its_end(
    pin: targets.Pin, recording: Path
) -> None:
    ping = ["ping", "-i", "0.01", "127.0.0.1"]
    read = bytearray()
    with (
        start(pin, ping, recording=recording.with_name("ping")),
        start(pin, [*TCPDUMP, "-U"], recording=recording) as run,
    ):

        def interrupt() -> None:
            until(lambda: len(read) > 500)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            while data := run.stdout.read(64):
                read += data
        run.stop()
        read += run.stdout.read() or b""
        status = run.wait()
    assert (status.reason, status.interrupted, status.exit_code) == ("stopped", True, 0)
    # An interrupt between a read and its keeping may cost the reader, never the recording, that one read.
    assert recording.stat().st_size - 64 <= len(read) <= recording.stat().st_size
    assert packets(recording) > 3


@pytest.mark.parametrize("waiting", [lambda run: run.wait(), lambda run: run.stdout.read(1)], ids=["end", "output"])
def test_an_interrupt_that_does_not_wake_the_waiting_thread_ends_its_wait_too(
    pin: targets.Pin, recording: Path, waiting: Callable[[execution.Run], object]
) -> None:
    # As one that comes in the moment before the thread sleeps: the handler is due, and the thread is asleep.
    def given_to_another_thread() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    with start(pin, ["sleep", "15"], recording=recording) as run:
        began = time.monotonic()
        threading.Thread(target=given_to_another_thread).start()
        with pytest.raises(KeyboardInterrupt):
            waiting(run)
        assert time.monotonic() - began < 10
        assert run.running


def test_whatever_ignores_the_order_to_stop_is_killed(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "trap '' INT TERM; echo up; sleep 1000; sleep 1000"], recording=recording) as run:
        assert run.stdout.read(3) == b"up\n"
        run.stop()
        status = run.wait(timeout=10)
    assert (status.reason, status.signal) == ("stopped", signal.SIGKILL)


def test_nothing_that_a_tool_left_behind_outlives_it(pin: targets.Pin, recording: Path) -> None:
    script = "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; nohup sleep 1000 >/dev/null & echo $!; exit 0"
    with start(pin, ["sh", "-c", script], recording=recording) as run:
        status = run.wait(timeout=10)
        left = [int(word) for word in (run.stdout.read() or b"").split()]
    assert (status.reason, status.exit_code) == ("exit", 0)
    assert len(left) == 3 and not any(map(alive, left))


def test_a_member_of_a_pid_namespace_is_stopped_and_its_end_is_told(recording: Path) -> None:
    with holder("net", "pid", "mount") as container:
        (target,) = targets.resolve(pid=container.pid)
        with targets.pin(target, ("net", "pid", "mnt")) as pin:
            script = "trap 'echo flushed; exit 7' INT; readlink /proc/self; while :; do sleep 0.05; done"
            with start(pin, ["sh", "-c", script], recording=recording) as run:
                assert int((run.stdout.read(3) or b"").split()[0]) < 100  # its number in there
                assert run.pid is not None
                (member,) = children(run.pid)
                run.stop()
                assert (run.stdout.read() or b"").endswith(b"flushed\n")
                assert run.wait().exit_code == 7
            assert not alive(member)


def test_a_tool_missing_in_the_container_is_told_from_one_missing_here(pin: targets.Pin, recording: Path) -> None:
    with pytest.raises(ToolNotFound, match="not installed on this machine"):
        start(pin, ["no-such-tool"], recording=recording)
    assert not recording.exists()
    with holder("net", "mount") as container:
        (target,) = targets.resolve(pid=container.pid)
        with (
            targets.pin(target, ("net", "mnt")) as held,
            start(held, ["no-such-tool"], recording=recording) as run,
            pytest.raises(ToolNotFound, match=r"in the container .*leave mnt out"),
        ):
            run.wait()


def test_a_tool_that_cannot_be_executed_says_why(recording: Path, tmp_path: Path) -> None:
    with holder("net", "mount") as container:
        (target,) = targets.resolve(pid=container.pid)
        with (
            targets.pin(target, ("net", "mnt")) as held,
            start(held, [str(tmp_path)], recording=recording) as run,
            pytest.raises(ToolFailed, match="Permission denied"),
        ):
            run.wait()


def test_a_tool_s_own_127_is_its_own(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "echo 'sh: nonsense' >&2; exit 127"], recording=recording) as run:
        assert run.wait().exit_code == 127


def test_words_reach_the_tool_as_they_are(pin: targets.Pin, recording: Path) -> None:
    words = ["$(id)", "a b", "*", "--", "-z", "é\n", ""]
    with start(pin, ["printf", "%s|", *words], recording=recording) as run:
        assert (run.stdout.read() or b"").decode() == "|".join(words) + "|"


@pytest.mark.parametrize("argv", [[], [""], ["--help"], ["-z"], ["echo", "a\0b"], "echo"])
def test_an_argv_that_cannot_be_run_is_refused(pin: targets.Pin, recording: Path, argv: list[str]) -> None:
    with pytest.raises(InputError):
        start(pin, argv, recording=recording)
    assert not recording.exists()


@pytest.mark.parametrize("limit", [{"seconds": 0}, {"seconds": -1.0}, {"seconds": float("nan")}, {"bytes": 0}])
def test_limits_that_cannot_be_kept_are_refused(limit: dict[str, float]) -> None:
    with pytest.raises(InputError, match="positive"):
        Limits(**limit)  # type: ignore[arg-type]


def test_a_recording_that_is_not_to_be_kept_is_gone_with_its_run(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["echo", "x"], recording=recording, keep=False) as run:
        assert run.stdout.read() == b"x\n"
        assert recording.exists()
    assert list(recording.parent.iterdir()) == []


def test_a_run_that_nobody_holds_any_more_is_stopped(pin: targets.Pin, recording: Path) -> None:
    run = start(pin, ["sleep", "1000"], recording=recording)
    pid = run.pid
    assert pid is not None
    del run
    until(lambda: not alive(pid))


def test_the_tool_gets_no_descriptors_of_ours(pin: targets.Pin, recording: Path) -> None:
    with start(pin, ["sh", "-c", "ls -l /proc/$$/fd"], recording=recording) as run:
        listed = (run.stdout.read() or b"").decode()
    links = [line.partition("-> ")[2] for line in listed.splitlines() if "->" in line]
    namespaces = [link for link in links if link.startswith(("net:", "user:"))]  # what nsenter was given by number
    assert len(links) - len(namespaces) == 3, listed


def test_two_hundred_runs_leave_no_descriptor_process_or_thread(pin: targets.Pin, recording: Path) -> None:
    def state() -> tuple[list[str], list[int], int]:
        return (
            sorted(path.name for path in Path("/proc/self/fd").iterdir()),
            children(os.getpid()),
            threading.active_count(),
        )

    before = state()
    for _ in range(200):
        with execution.start(pin, ["true"], recording=recording) as run:
            assert run.wait().exit_code == 0
    del run
    until(lambda: state() == before)
