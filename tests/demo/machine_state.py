"""What a demo has on this machine, and what this machine has: for tests that say that nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from podtracer_nb import targets
from podtracer_nb.tools.inside import allow_setgroups

SETGROUPS = Path(allow_setgroups.__file__)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def processes_of(state: Path) -> list[int]:
    """Return every living process that was started for the demo with this state file."""
    marker = f"PODTRACER_DEMO={state}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or is another user's
                if marker in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
    return found


def network_namespaces() -> set[str]:
    """Return the network namespace of every process that we may look at."""
    found = set()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                found.add(str((directory / "ns" / "net").readlink()))
    return found


def own_links_and_mounts() -> tuple[list[str], list[str]]:
    """Return this process' own links and mounts: a demo touches neither.

    Without those that come and go with the pods of a Kubernetes on this machine.
    """
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    return tuple(
        sorted(line for line in text.splitlines() if not re.search(pods, line))
        for text, pods in (
            (links, r"^veth|^podtracer-"),
            (mounts, r"kubelet|/netns/|podtracer-cluster|containers/storage"),
        )
    )  # type: ignore[return-value]


def inside(pod: str, argv: Sequence[str], kinds: tuple[str, ...] = ("net",)) -> subprocess.CompletedProcess[str]:
    """Run a program in namespaces of a pod of the running demo."""
    (target,) = targets.resolve(pods=[pod], namespace="demo")
    with targets.pin(target, kinds) as pin:
        return subprocess.run(
            [*pin.nsenter, *argv], pass_fds=pin.pass_fds, capture_output=True, text=True, check=False, timeout=30
        )


def see(pod: str, wanted: Sequence[str], *arguments: str, seconds: float = 20.0) -> dict[str, str]:
    """Run tcpdump in a pod until each of the texts was in one of its lines; return the lines."""
    (target,) = targets.resolve(pods=[pod], namespace="demo")
    launcher = [] if os.geteuid() == 0 else [sys.executable, "-I", "-S", str(SETGROUPS)]
    seen: dict[str, str] = {}
    with targets.pin(target) as pin:
        argv = [*pin.nsenter, "timeout", str(seconds), *launcher, "tcpdump", "-Z", "root", "-nn", "-l", "-i", "eth0"]
        with subprocess.Popen(
            [*argv, *arguments], pass_fds=pin.pass_fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as tcpdump:
            assert tcpdump.stdout is not None and tcpdump.stderr is not None
            for line in tcpdump.stdout:
                seen.update({text: line for text in wanted if text in line and text not in seen})
                if len(seen) == len(wanted):
                    break
            tcpdump.terminate()
            complaint = tcpdump.stderr.read()
    assert set(wanted) == set(seen), f"never seen: {set(wanted) - set(seen)}; tcpdump said: {complaint}"
    return seen
