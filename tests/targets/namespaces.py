"""Real namespaces for tests, as root and as an ordinary user: a process that sits in them until the test is over."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process in namespaces of its own, with its loopback up."""

    pid: int


@contextlib.contextmanager
def holder(*kinds: str) -> Iterator[Holder]:
    """Make namespaces ("net", "uts", "ipc", "mount", "pid") that live as long as the block."""
    words = ["unshare", *(f"--{kind}" for kind in kinds)]
    if os.geteuid() != 0:
        words += ["--user", "--map-root-user"]
    if "pid" in kinds:
        words += ["--fork", "--kill-child", "--mount-proc"]
    loopback = "ip link set lo up; " if "net" in kinds else ""
    shell = ["sh", "-c", f"{loopback}echo ready; exec cat"]
    with subprocess.Popen([*words, *shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline().endswith(b"ready\n")
            yield Holder(children(process.pid)[0] if "pid" in kinds else process.pid)
        finally:
            process.stdin.close()  # the end of its input ends cat
            process.wait(10)


def _stat(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if int(_stat(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return _stat(pid)[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for a condition, and return how long that took; fail when it never comes."""
    began, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - began < seconds, "the condition never came"
        pause.wait(0.005)
    return time.monotonic() - began
