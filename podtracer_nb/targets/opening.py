"""Opens the namespaces of one process, verified to be the one that was meant.

Process ids are used again. So ``/proc/PID`` is opened once as a directory, and everything is read through that
descriptor, which never turns into another process's: its start time, and for a pod's process its control group, which
must name the container and the pod, before the namespaces are opened and after. Its /etc/resolv.conf is opened with
them, because a tool that runs with our files can look names up as the pod does only when it is given that.

Opening another's namespace needs CAP_SYS_PTRACE (ptrace(2), PTRACE_MODE_READ_FSCREDS). Where this process lacks it,
`open_through` has the same done by a process that the launcher starts, which hands the descriptors over (unix(7),
SCM_RIGHTS).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from podtracer_nb.targets import procfs

__all__ = ["Opened", "Refused", "Wanted", "open_namespaces", "open_through"]

_LARGEST = 1 << 16
_SECONDS = 10.0
_LINKS = 40  # MAXSYMLINKS of the kernel
# The package's own folder first, and nothing of the user's: the program holds capabilities.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from podtracer_nb.targets import opening; opening.serve()"


Reason = Literal["gone", "another", "privilege"]


@dataclass(frozen=True)
class Wanted:
    """Which process, how it is known, and which of its namespaces.

    Attributes
    ----------
    pid, start_time
        Its number, and when it was started in clock ticks since boot where that is known.
    kinds
        The namespaces to open.
    proc
        The proc file system that counts so.
    container, pods
        Its container's id and its pod's uid (a static pod has two), which its control group must name; or nothing.
    sandbox
        The pod's network namespace, as the runtime named it: a path on the node, or nothing. It takes the place of
        the process's own where it can be reached.
    """

    pid: int
    start_time: int | None
    kinds: tuple[str, ...]
    proc: str = "/proc"
    container: str = ""
    pods: tuple[str, ...] = ()
    sandbox: str = ""


@dataclass(frozen=True)
class Opened:
    """Open descriptors by kind; the node's own network, as (st_dev, st_ino), where it may be looked at.

    `resolver` is an open descriptor of the process's /etc/resolv.conf, None where that cannot be opened.
    """

    fds: dict[str, int]
    node_net: tuple[int, int] | None = None
    resolver: int | None = None


class Refused(Exception):
    """Why nothing was opened: it is `gone`, it is `another` process, or the kernel gives no leave (`privilege`)."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def open_namespaces(wanted: Wanted) -> Opened:
    """Open what is wanted, in this process.

    Raises
    ------
    Refused
        The process is not the one that was meant, or may not be looked at.

    Examples
    --------
    >>> opened = open_namespaces(Wanted(os.getpid(), None, ("net",)))
    >>> os.close(opened.fds["net"])
    >>> opened.resolver is None or os.close(opened.resolver)
    """
    resolver = None
    with ExitStack() as opened:
        try:
            directory = os.open(f"{wanted.proc}/{wanted.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                before = _verified(directory, wanted)
                fds: dict[str, int] = {}
                for kind in wanted.kinds:
                    fds[kind] = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
                    opened.callback(os.close, fds[kind])
                resolver = _open_resolver(directory)
                if resolver is not None:
                    opened.callback(os.close, resolver)
                _verified(directory, replace(wanted, start_time=before))
            finally:
                os.close(directory)
            if "net" in fds and wanted.sandbox:
                _use_sandbox(fds, wanted, opened)
        except (FileNotFoundError, ProcessLookupError):
            raise Refused("gone") from None
        except PermissionError:
            raise Refused("privilege") from None
        opened.pop_all()
    return Opened(fds, _node_net(wanted.proc), resolver)


def _verified(directory: int, wanted: Wanted) -> int:
    """Return the start time of the process behind an open directory, when it is the one that is wanted."""
    started = procfs.start_time_at(directory)
    if wanted.start_time is not None and started != wanted.start_time:
        raise Refused("another")
    if wanted.container:
        groups = procfs.read_at(directory, "cgroup").decode("utf-8", errors="replace")
        if not procfs.in_container(groups, wanted.container, wanted.pods):
            raise Refused("another")
    return started


def _open_resolver(directory: int) -> int | None:
    """Open the resolv.conf of the process behind an open directory; None where there is none, or none for us."""
    try:
        with ExitStack() as opened:
            root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            opened.callback(os.close, root)
            found = _open_below(root, "etc/resolv.conf")
            if not stat.S_ISREG(os.fstat(found).st_mode):
                os.close(found)
                return None
            return found
    except OSError:
        return None


def _open_below(root: int, path: str) -> int:
    """Open a file of another root, links in it followed there and never here: path_resolution(7).

    The kernel would follow an absolute link from our own root, and so would show a pod's tools any file of ours that
    the pod makes a link to. openat2(2) with RESOLVE_IN_ROOT does this as well, from Linux 5.6 on.
    """
    names, line, links = path.split("/"), [os.dup(root)], 0
    try:
        while names:
            name = names.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                if len(line) > 1:
                    os.close(line.pop())
                continue
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=line[-1])
            line.append(entry)
            if stat.S_ISLNK(os.fstat(entry).st_mode):
                target = os.readlink(b"", dir_fd=entry).decode("utf-8", errors="surrogateescape")
                os.close(line.pop())
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                while target.startswith("/") and len(line) > 1:
                    os.close(line.pop())
                names = [*target.split("/"), *names]
            elif not names:
                # What a path names may be made another before it is opened; without a link to follow it stays inside.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                return os.open(name, flags, dir_fd=line[-2])
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    finally:
        for each in line:
            os.close(each)


def _use_sandbox(fds: dict[str, int], wanted: Wanted, opened: ExitStack) -> None:
    """Take the sandbox's namespace for the process's own, which it may have left (a runtime in a container)."""
    try:
        descriptor = os.open(procfs.on_node(wanted.proc, wanted.sandbox), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # not to be reached from here: then the process's own, which was verified
        return
    opened.callback(os.close, descriptor)
    if procfs.namespace_type(descriptor) == "net":
        os.dup2(descriptor, fds["net"], inheritable=False)


def _node_net(proc: str) -> tuple[int, int] | None:
    """Return the network of the node's first process; where that is guarded, of the kernel's own threads.

    kthreadd, process 2 of the initial PID namespace, never leaves the initial namespaces.
    """
    for pid, name in ((1, ""), (2, "kthreadd")):
        with contextlib.suppress(OSError):
            status = Path(proc, f"{pid}/ns/net").stat()
            if not name or Path(proc, f"{pid}/comm").read_text(encoding="utf-8").strip() == name:
                return status.st_dev, status.st_ino
    return None


def open_through(launcher: Sequence[str], wanted: Wanted) -> Opened:
    """Open what is wanted in a process that the launcher gives the capabilities to; the descriptors become ours.

    Raises
    ------
    Refused
        As `open_namespaces` does there; also where the launcher could not be run.
    """
    ours, theirs = socket.socketpair()
    root = str(Path(__file__).resolve().parents[2])
    with ours:
        with theirs:
            process = subprocess.Popen(
                [*launcher, sys.executable, "-I", "-S", "-c", _PROGRAM, root, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            ours.settimeout(_SECONDS)
            ours.sendall(json.dumps(asdict(wanted)).encode())
            ours.shutdown(socket.SHUT_WR)
            data, fds, _, _ = socket.recv_fds(ours, _LARGEST, len(wanted.kinds) + 1)
        except (BrokenPipeError, ConnectionError, TimeoutError):
            data, fds = b"", []
        finally:
            process.kill()
            process.wait()
    answer: dict[str, Any] = json.loads(data) if data else {"refused": "privilege"}
    if "refused" in answer:
        raise Refused(answer["refused"])
    for descriptor in fds:
        os.set_inheritable(descriptor, False)
    node = answer["node_net"]
    resolver = fds.pop() if answer["resolver"] else None
    return Opened(dict(zip(answer["kinds"], fds, strict=True)), (node[0], node[1]) if node else None, resolver)


def serve() -> None:
    """Answer one request on the socket that the command line names: the program that the launcher starts."""
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        request = b"".join(iter(lambda: connection.recv(_LARGEST), b""))
        words = json.loads(request)
        wanted = Wanted(**{**words, "kinds": tuple(words["kinds"]), "pods": tuple(words["pods"])})
        try:
            opened = open_namespaces(wanted)
        except Refused as refusal:
            connection.sendall(json.dumps({"refused": refusal.reason}).encode())
            return
        last = [] if opened.resolver is None else [opened.resolver]
        answer = {"kinds": list(opened.fds), "node_net": opened.node_net, "resolver": bool(last)}
        socket.send_fds(connection, [json.dumps(answer).encode()], [*opened.fds.values(), *last])
        connection.recv(1)  # until they are taken: the other end closes
