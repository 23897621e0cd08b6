"""What becomes of a run when its surroundings come to harm: nothing captured is lost, nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from podtracer_nb import targets
from podtracer_nb.errors import ExecutionError
from podtracer_nb.execution import Limits, start
from tests.execution.test_run import TCPDUMP, packets
from tests.machine import needs
from tests.targets.namespaces import Holder, alive, children, until

pytestmark = needs("netns", "iproute2")

Program = Callable[..., "subprocess.Popen[str]"]

RUN_FOR_EVER = """
pin = pinned(sys.argv[1])
run = execution.start(pin, sys.argv[3:], recording=pathlib.Path(sys.argv[2]), keep=not os.environ.get("TEMPORARY"))
print(run.pid, flush=True)
run.wait()
"""


def started(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.strip().isdigit(), line + process.stdout.read()
    return int(line)


@needs("tcpdump", "ping")
def test_when_its_parent_is_killed_a_capture_ends_whole_within_a_second(
    pin: targets.Pin, inside: Holder, recording: Path, program: Program
) -> None:
    with start(pin, ["ping", "-i", "0.01", "127.0.0.1"], recording=recording.with_name("ping")):
        parent = program(RUN_FOR_EVER, inside.pid, recording, *TCPDUMP, "-U")
        tool = started(parent)
        until(lambda: recording.stat().st_size > 2000)
        parent.kill()
        assert until(lambda: not alive(tool)) < 1.0
    described = Path(f"{recording}.json")
    until(lambda: "reason" in json.loads(described.read_text()))
    told = json.loads(described.read_text())
    assert (told["reason"], told["interrupted"], told["exit_code"]) == ("parent-gone", True, 0)
    assert told["bytes"] == recording.stat().st_size
    assert "packets captured" in told["stderr"]
    assert packets(recording) > 3


def test_when_its_parent_is_killed_even_an_unwilling_tool_is_gone_within_a_second(
    inside: Holder, recording: Path, program: Program
) -> None:
    parent = program(
        RUN_FOR_EVER, inside.pid, recording, "sh", "-c", "trap '' INT TERM; echo up; while :; do sleep 9; done"
    )
    tool = started(parent)
    until(lambda: recording.read_bytes() == b"up\n")
    parent.kill()
    assert until(lambda: not alive(tool)) < 1.0


def test_a_forked_child_that_holds_the_parent_s_pipes_does_not_keep_the_tool_alive(
    inside: Holder, recording: Path, program: Program
) -> None:
    forking = RUN_FOR_EVER.replace(
        "run.wait()", "child = os.fork() or time.sleep(20)\nprint(child, flush=True)\nrun.wait()"
    )
    parent = program(forking, inside.pid, recording, "sleep", "1000")
    tool = started(parent)
    child = started(parent)
    try:
        parent.kill()
        assert until(lambda: not alive(tool)) < 1.0
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_temporary_recording_goes_with_its_parent(
    inside: Holder, recording: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORARY", "1")
    parent = program(RUN_FOR_EVER, inside.pid, recording, "sleep", "1000")
    started(parent)
    parent.kill()
    until(lambda: not list(recording.parent.iterdir()))


def test_a_parent_that_is_stopped_does_not_stop_the_recording(
    inside: Holder, recording: Path, program: Program
) -> None:
    parent = program(RUN_FOR_EVER, inside.pid, recording, "yes")
    tool = started(parent)
    parent.send_signal(signal.SIGSTOP)
    size = recording.stat().st_size
    until(lambda: recording.stat().st_size > size + 100_000_000, 30)
    parent.kill()
    assert until(lambda: not alive(tool)) < 1.0
    recording.unlink()


def test_a_parent_that_ignores_interrupts_still_interrupts_its_tools(
    inside: Holder, recording: Path, program: Program
) -> None:
    source = RUN_FOR_EVER.replace("run.wait()", "run.stop(); print(run.wait().signal, flush=True)")
    words = ("sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh")
    parent = program(source, inside.pid, recording, "sleep", "1000", words=words)
    started(parent)
    assert started(parent) == signal.SIGINT


def test_when_the_supervisor_is_killed_the_tool_ends_and_the_recording_is_named(
    pin: targets.Pin, recording: Path
) -> None:
    with start(pin, ["sh", "-c", "echo kept; exec sleep 1000"], recording=recording) as run:
        assert run.stdout.read(5) == b"kept\n"
        assert run.pid is not None
        (supervisor,) = (pid for pid in children(os.getpid()) if run.pid in children(pid))
        os.kill(supervisor, signal.SIGKILL)
        assert run.stdout.read() == b""
        with pytest.raises(ExecutionError, match=f"5 bytes are in {recording}"):
            run.wait()
        assert not alive(run.pid)
    assert json.loads(Path(f"{recording}.json").read_text())["reason"] == "lost"


TAKES_BACK = """
import os, pathlib, signal, subprocess, sys, time
told = pathlib.Path(sys.argv[1])
struck = "import pathlib, signal, sys; signal.signal(signal.SIGINT, lambda *_: pathlib.Path(sys.argv[1]).touch());"
inner = subprocess.Popen([sys.executable, "-c", struck + "print(flush=True)\\nwhile True: signal.pause()",
                          str(told / "struck")], stdout=subprocess.PIPE)
inner.stdout.readline()
def end(*_):
    time.sleep(0.5)
    inner.kill()
    (told / "asked").touch()
    os._exit(0)
signal.signal(signal.SIGINT, end)
os.write(1, b"begun\\n")
while True: signal.pause()
"""


def test_what_takes_back_is_asked_and_the_program_it_does_that_with_is_not(
    pin: targets.Pin, recording: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", TAKES_BACK, str(tmp_path)]
    with start(pin, words, recording=recording, limits=Limits(patience=10)) as run:
        assert run.stdout.read(6) == b"begun\n"
        assert run.pid is not None
        (supervisor,) = (pid for pid in children(os.getpid()) if run.pid in children(pid))
        os.kill(supervisor, signal.SIGKILL)
        with pytest.raises(ExecutionError):
            run.wait()
    assert (tmp_path / "asked").exists()
    assert not (tmp_path / "struck").exists()


FILL_THE_DISK = """
disk = pathlib.Path(sys.argv[1])
with pinned(os.getpid()) as pin:
    with execution.start(pin, ["yes"], recording=disk / "recording", metadata={"tool": "yes"}) as run:
        status = run.wait(timeout=20)
        print(status.reason, status.bytes == (disk / "recording").stat().st_size > 100_000, status.note)
        read = run.stdout.read()
        print(len(read) == status.bytes, (disk / "recording.json").read_text().replace("\\n", ""))
"""


def test_a_full_disk_ends_the_capture_and_keeps_what_there_is(tmp_path: Path, program: Program) -> None:
    mount = 'mount -t tmpfs -o size=400k none "$0" && exec "$@"'
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    words = ("unshare", "--mount", *user, "sh", "-c", mount, str(tmp_path))
    process = program(FILL_THE_DISK, tmp_path, words=words)
    told, _ = process.communicate(timeout=30)
    first, second = told.splitlines()
    assert first == "disk True recording stopped: No space left on device"
    whole, _, described = second.partition(" ")
    assert whole == "True"
    assert json.loads(described)["reason"] == "disk"
    assert json.loads(described)["tool"] == "yes"


FILL_AT_THE_END = """
disk = pathlib.Path(sys.argv[1])
words = ["sh", "-c", "trap 'head -c 900000 /dev/zero; exit 0' INT; echo begun; while :; do sleep 0.05; done"]
limits = execution.Limits(seconds=0.5)
with pinned(os.getpid()) as pin:
    with execution.start(pin, words, recording=disk / "recording", limits=limits, metadata={"tool": "sh"}) as run:
        status = run.wait(timeout=20)
        print(status.reason, status.note)
"""


def test_a_disk_that_fills_after_the_timer_is_told_too(tmp_path: Path, program: Program) -> None:
    mount = 'mount -t tmpfs -o size=400k none "$0" && exec "$@"'
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    words = ("unshare", "--mount", *user, "sh", "-c", mount, str(tmp_path))
    told, _ = program(FILL_AT_THE_END, tmp_path, words=words).communicate(timeout=30)
    assert told.strip() == "disk recording stopped: No space left on device"


PIN = """
try:
    pinned(sys.argv[1])
except errors.PrivilegeError as error:
    print(error)
"""


def test_without_privilege_the_line_says_what_is_missing(inside: Holder, program: Program) -> None:
    # Root without capabilities, or an ordinary user before root's process: the kernel refuses both.
    words, pid = (("setpriv", "--bounding-set=-all"), inside.pid) if os.geteuid() == 0 else ((), 1)
    told, _ = program(PIN, pid, words=words).communicate(timeout=20)
    assert len(told.splitlines()) == 1
    assert "CAP_SYS_PTRACE and CAP_SYS_ADMIN is missing" in told
    assert "run as root" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has one capability without the other")
def test_a_namespace_that_can_be_seen_but_not_entered_is_refused_before_anything_starts(
    inside: Holder, program: Program
) -> None:
    told, _ = program(PIN, inside.pid, words=("setpriv", "--bounding-set=-sys_admin")).communicate(timeout=20)
    assert told.startswith(
        f"the net namespace of pid {inside.pid} may not be entered, CAP_SYS_ADMIN is missing: run as root"
    )
