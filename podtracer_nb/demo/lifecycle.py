"""Start the demo pods, and end them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from podtracer_nb.demo import pods
from podtracer_nb.demo.report import DemoStatus, status
from podtracer_nb.errors import DemoError
from podtracer_nb.targets import local, need_linux

__all__ = ["down", "up"]

# What the keeper may need beyond the pods' own time before it answers: to give up, and to clear up.
_GRACE_SECONDS = 10.0


def up(*, timeout: float = 20.0) -> DemoStatus:
    """Start the demo pods and return when all of them serve; say so when they already do.

    Parameters
    ----------
    timeout
        How long to wait for them, in seconds.

    Returns
    -------
    DemoStatus
        `changed` is False when the demo was up before.

    Raises
    ------
    DemoError
        A program is missing, the kernel refused, or a pod did not come up in time. Nothing is left then.

    Examples
    --------
    >>> from podtracer_nb import demo
    >>> [pod.name for pod in demo.up().pods]
    ['dns', 'api', 'web', 'client']
    >>> demo.down().running
    False
    """
    need_linux("the demo")
    programs = pods.find_programs()
    with _alone():
        found = status()
        if found.running:
            return found
        try:
            _start(pods.plan(programs, timeout=timeout), timeout + _GRACE_SECONDS)
        except BaseException:
            local.remove_demo()
            raise
        return replace(status(), changed=True)


def _start(plan: dict[str, Any], timeout: float) -> None:
    """Start the keeper. Until it has been told to keep the demo, the end of our pipe is its order to end."""
    state = local.demo_file().absolute()  # the keeper's working directory is not ours
    warden = subprocess.Popen(
        [sys.executable, "-P", str(pods.INSIDE / "keeper.py"), "warden", str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        env=os.environ | {"PODTRACER_DEMO": str(state)},
        start_new_session=True,
        bufsize=0,
    )
    with warden, cast(IO[bytes], warden.stdout) as answers:  # a pipe's end is opened and closed with the process
        try:
            with cast(IO[bytes], warden.stdin) as orders:
                with contextlib.suppress(BrokenPipeError):  # it has ended already; what it said is read below
                    orders.write(json.dumps(plan).encode() + b"\n")
                if not select.select([answers], [], [], timeout)[0]:
                    raise DemoError(
                        f"the demo pods gave no sign within {timeout:.0f} s: try again on a less busy machine"
                    )
                answer = json.loads(answers.readline() or b'{"error": "their keeper ended without a word"}')
                if "ready" not in answer:
                    raise DemoError(f"the demo pods did not start: {answer['error']}{_advice(answer['error'])}")
                ready = answer["ready"]
                records = tuple(pods.record(pod, ready["pods"][pod.name]) for pod in pods.PODS)
                local.write_demo(local.DemoState(local.Process(**ready["keeper"]), pods.NODE, records))
                orders.write(b"keep\n")
        finally:
            # Ends when the warden has let go of us: told to keep the demo, or when it has cleared everything up.
            answers.read()


def _advice(why: str) -> str:
    """Return what to do about a refusal of the kernel's that has a common cause."""
    if not why.startswith("unshare"):
        return ""
    if os.geteuid() == 0:
        return "; namespaces need CAP_SYS_ADMIN: start the container with --privileged"
    return (
        "; user namespaces are switched off for ordinary users: as root, set sysctl kernel.unprivileged_userns_clone=1 "
        "or kernel.apparmor_restrict_unprivileged_userns=0, or run the demo as root"
    )


def down(*, timeout: float = 10.0) -> DemoStatus:
    """End the demo and return when nothing of it is left.

    Parameters
    ----------
    timeout
        How long to wait for the end of its processes, in seconds.

    Returns
    -------
    DemoStatus
        `changed` is False when there was no demo.

    Raises
    ------
    DemoError
        Its processes could not be ended, or not in time.

    Examples
    --------
    >>> from podtracer_nb import demo
    >>> demo.down().changed
    False
    """
    if not local.state_directory().is_dir():
        return DemoStatus(running=False)
    with _alone():
        try:
            state = local.read_demo()
        except DemoError:
            # Not readable, so nobody can tell its pids. A keeper whose state file is gone ends by itself.
            local.remove_demo()
            return DemoStatus(running=False, changed=True)
        changed = state is not None and _end(state.keeper, time.monotonic() + timeout)
        local.remove_demo()
    return DemoStatus(running=False, changed=changed)


def _end(keeper: local.Process, deadline: float) -> bool:
    """Kill the keeper if it still is the one that was started; its end is that of every process of the demo.

    The kernel lets process 1 of a pid namespace end only after all others in it (pid_namespaces(7)). The warden, which
    leads the keeper's session and sits outside, ends next.
    """
    with contextlib.ExitStack() as opened:

        def handle(pid: int) -> int:
            descriptor = os.pidfd_open(pid)
            opened.callback(os.close, descriptor)
            return descriptor

        try:
            handles = [handle(keeper.pid), handle(os.getsid(keeper.pid))]
        except ProcessLookupError:
            return False
        if not keeper.alive:  # looked at after its handle was opened: from here on it can be no other process
            return False
        try:
            signal.pidfd_send_signal(handles[0], signal.SIGKILL)
        except PermissionError:
            raise DemoError(
                f"the demo (process {keeper.pid}) is another user's: end it as that user, or as root"
            ) from None
        for descriptor in handles:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise DemoError("the demo's processes did not end in time: run `podtracer demo down` again")
    return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of our state directory: the directory itself, so that no lock file stays behind."""
    import fcntl

    while True:
        directory = local.state_directory()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise DemoError(
                f"{directory} cannot be used ({error.strerror}): set PODTRACER_STATE to a directory of yours"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever had the lock before may have removed the directory with the last file in it.
            if _same(directory, handle):
                yield
                return
        finally:
            os.close(handle)


def _same(directory: Path, handle: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
