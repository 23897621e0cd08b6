"""The cluster's daemons: started with a record of who they are, and stopped without ever hitting anyone else's process.

A record holds the process's start time beside its number, since the kernel gives numbers to others again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tests.cluster.commands import SEARCH
from tests.cluster.layout import DATA, LOGS, MARK, PROGRAMS, RUN, ClusterError

_RECORDS = RUN / "processes"


def start_time(pid: int) -> int | None:
    """Return when `pid` began, in clock ticks since boot; None if it is gone, or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): the name in parentheses may hold anything; state is the first field after it, starttime the 20th.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def start(name: str, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Start a daemon in a session of its own, its output in the log of its name."""
    _RECORDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    # Nothing of whoever calls: no proxies, no user's configuration files, no credentials.
    clean = {"PATH": f"{PROGRAMS}{os.pathsep}{SEARCH}", "HOME": str(DATA), MARK[0]: MARK[1], **(environment or {})}
    with log(name).open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=clean,
            start_new_session=True,
        )
    record = {"pid": process.pid, "started": start_time(process.pid)}
    (_RECORDS / f"{name}.json").write_text(json.dumps(record))


def log(name: str) -> Path:
    """Return where the output of `name` goes."""
    return LOGS / f"{name}.log"


def tail(name: str, lines: int = 15) -> str:
    """Return the end of the log of `name`."""
    try:
        return "\n".join(log(name).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def pid(name: str) -> int | None:
    """Return the process of `name`, None if it does not run."""
    try:
        record = json.loads((_RECORDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    now = start_time(record["pid"])
    return record["pid"] if now is not None and now == record["started"] else None


def names() -> list[str]:
    """Return the names of all daemons that were started here."""
    return sorted(record.stem for record in _RECORDS.glob("*.json"))


def dead() -> list[str]:
    """Return the daemons that were started and no longer run."""
    return [name for name in names() if pid(name) is None]


def wait_for(what: str, name: str, condition: Callable[[], bool], timeout: float = 60) -> None:
    """Wait until `condition` holds; when `name` dies first, or time runs out, fail with the end of its log."""
    deadline = time.monotonic() + timeout
    while not condition():
        gone = pid(name) is None
        if gone or time.monotonic() > deadline:
            why = f"{name} has ended" if gone else f"not after {timeout:.0f} s"
            raise ClusterError(f"{what}: {why}; the end of {log(name)}:\n{tail(name)}")
        time.sleep(0.05)


def _end(pids: Iterable[int], number: signal.Signals, timeout: float) -> None:
    """Signal processes and wait until they are gone, each told apart from a later one of the same number."""
    waiting = {each: started for each in pids if (started := start_time(each)) is not None}
    for each in waiting:
        try:
            os.kill(each, number)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        _reap()
        waiting = {each: started for each, started in waiting.items() if start_time(each) == started}
        time.sleep(0.02)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def stop(*which: str, timeout: float = 10) -> None:
    """End these daemons: SIGTERM, and SIGKILL for one that takes longer than `timeout`."""
    pids = [each for name in which if (each := pid(name)) is not None]
    _end(pids, signal.SIGTERM, timeout)
    kill(pids)


def kill(pids: Iterable[int]) -> None:
    """End these processes at once."""
    _end(pids, signal.SIGKILL, 10)


def marked() -> list[int]:
    """Return every process that was started by the cluster, found by the variable that all of them inherit."""
    mark = f"{MARK[0]}={MARK[1]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in environment and start_time(int(folder.name)) is not None:
            found.append(int(folder.name))
    return found
