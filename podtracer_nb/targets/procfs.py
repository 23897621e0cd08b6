"""What the kernel says about processes, capabilities and namespaces: proc(5), capabilities(7), ioctl_ns(2).

Namespaces are looked at, never entered: nothing in this package calls setns(2).
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CAPABILITIES",
    "NAMESPACES",
    "Process",
    "capabilities",
    "capability_names",
    "container_ids",
    "containers",
    "find_container",
    "host_proc",
    "in_container",
    "missing_capabilities",
    "namespace_type",
    "no_new_privileges",
    "on_node",
    "own_namespace",
    "owner_uid",
    "owning_user_namespace",
    "parent_user_namespace",
    "read_at",
    "start_time",
    "start_time_at",
]

#: The kinds of namespace that can be entered, with the clone(2) flag that NS_GET_NSTYPE reports for each.
NAMESPACES = {
    "net": 0x40000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "mnt": 0x00020000,
    "user": 0x10000000,
}

#: The capabilities that a network tool can need, with their numbers (linux/capability.h).
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}

# ioctl_ns(2): _IO(0xb7, 1) to _IO(0xb7, 4).
_NS_GET_USERNS, _NS_GET_PARENT, _NS_GET_NSTYPE, _NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB703, 0xB704


def host_proc() -> Path:
    """Return where the node's own processes are to be seen.

    ``$PODTRACER_HOST_ROOT/proc`` (``/host/proc`` by default) where that is a proc file system; else ``/proc``, which
    shows them outside of a container and in a pod with ``hostPID: true``.
    """
    mounted = Path(os.environ.get("PODTRACER_HOST_ROOT") or "/host", "proc")
    return mounted if (mounted / "1" / "stat").exists() else Path("/proc")


def _status(word: str) -> str:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(word + ":"):
            return line.split()[1]
    return "0"


def capabilities(which: str = "CapEff") -> int:
    """Return one of this process's capability sets, as it stands in ``/proc/self/status``: a bit set."""
    return int(_status(which), 16)


def capability_names(held: int) -> tuple[str, ...]:
    """Return the names of those in a bit set that we know."""
    return tuple(name for name, number in CAPABILITIES.items() if held >> number & 1)


def missing_capabilities(*names: str) -> tuple[str, ...]:
    """Return those of the capabilities `names` that this process lacks."""
    held = capability_names(capabilities())
    return tuple(name for name in names if name not in held)


def no_new_privileges() -> bool:
    """Tell whether exec can give this process nothing (``allowPrivilegeEscalation: false``): prctl(2)."""
    return _status("NoNewPrivs") == "1"


def read_at(directory: int, name: str) -> bytes:
    """Return the file `name` of an open ``/proc/PID`` directory, which can be no other process's."""
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _start_time_in(stat: bytes) -> int:
    # The command's name (field 2) is in parentheses and may hold anything, parentheses and spaces too: proc(5).
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def start_time_at(directory: int) -> int:
    """Return field 22 of ``stat`` in an open ``/proc/PID`` directory: clock ticks since boot."""
    return _start_time_in(read_at(directory, "stat"))


def start_time(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return when process `pid` was started, in clock ticks since boot, or None where there is no such process."""
    try:
        return _start_time_in((proc / str(pid) / "stat").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return None


@dataclass(frozen=True)
class Process:
    """A process that is told from a later one with the same number by its start time (clock ticks since boot)."""

    pid: int
    start_time: int
    proc: str = "/proc"

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; one that only waits to be reaped has no namespaces any more."""
        try:
            stat = Path(self.proc, str(self.pid), "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        # proc(5): the command in parentheses may itself hold parentheses; the state follows it.
        state = stat.rpartition(b")")[2].split()[0]
        return _start_time_in(stat) == self.start_time and state not in (b"Z", b"X")


def namespace_type(descriptor: int) -> str | None:
    """Return the kind of namespace behind a descriptor, or None where it is no namespace that we know."""
    import fcntl

    try:
        flag = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return None
        raise
    return next((kind for kind, value in NAMESPACES.items() if value == flag), None)


def owning_user_namespace(descriptor: int) -> int | None:
    """Return a new descriptor of the user namespace that owns a namespace.

    Returns None where the kernel refuses because the owner is outside our own user namespace.
    """
    return _related(descriptor, _NS_GET_USERNS)


def parent_user_namespace(descriptor: int) -> int | None:
    """Return a new descriptor of a user namespace's parent, or None where that is outside our own."""
    return _related(descriptor, _NS_GET_PARENT)


def _related(descriptor: int, request: int) -> int | None:
    import fcntl

    try:
        return fcntl.ioctl(descriptor, request)
    except PermissionError:
        return None


def owner_uid(descriptor: int) -> int:
    """Return the user id, as our user namespace counts, that made the user namespace behind a descriptor."""
    import fcntl

    uid = array.array("I", [0])
    fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, uid, True)
    return uid[0]


def own_namespace(kind: str) -> tuple[int, int]:
    """Return (st_dev, st_ino) of this process's own namespace of a kind, which identify it: namespaces(7)."""
    status = Path(f"/proc/self/ns/{kind}").stat()
    return status.st_dev, status.st_ino


# What a runtime's control group is called after: 64 hexadecimal digits in every runtime that speaks CRI.
_CONTAINER_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")


# A pod's: its uid (RFC 9562), for systemd with "_"; a static pod's is a configuration's hash.
_POD_UID = re.compile(r"pod([0-9a-f]{32}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?![0-9a-f])")


def in_container(groups: str, container: str | None, pods: Iterable[str] = ()) -> bool:
    """Tell whether a process belongs to a container of a pod, by the text of its ``cgroup`` file: cgroups(7).

    Parameters
    ----------
    groups
        The text. Version 1, version 2 and both; cgroupfs (``…/pod<uid>/<id>``) and systemd
        (``…-pod<uid with _>.slice/cri-containerd-<id>.scope``, ``crio-<id>.scope``, ``docker-<id>.scope``), with
        whatever groups the container made below; as another control group namespace shows it (``/../../…``).
    container
        The container's id; None for whichever of the pod, its sandbox too.
    pods
        The pod's uid, or uids: one of them has to stand in the same path. None: the container's id is enough.

    Examples
    --------
    >>> in_container("0::/kubepods/besteffort/pod1-2/" + 64 * "a", 64 * "a", ["1-2"])
    True
    """
    known = [re.compile(rf"pod{re.escape(pod).replace(re.escape('-'), '[-_]')}(?![0-9A-Za-z])") for pod in pods]
    # conmon watches over a container from outside, in the node's own namespaces: its group is crio-conmon-<id>.
    identity = "[0-9a-f]{64}" if container is None else re.escape(container)
    mine = re.compile(rf"(?<![0-9a-f])(?<!conmon-){identity}(?![0-9a-f])")
    paths = [line.split(":", 2)[2] for line in groups.splitlines() if line.count(":") > 1]
    return any(mine.search(path) and (not known or any(pod.search(path) for pod in known)) for path in paths)


def _groups(proc: Path) -> Iterator[tuple[int, str]]:
    """Give the pid of every process that is in a container, with the text of its ``cgroup`` file."""
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"{proc}/{entry.name}/cgroup", "rb") as file:  # noqa: PTH123  hot
                text = file.read().decode("utf-8", errors="replace")
                if _CONTAINER_ID.search(text):
                    yield int(entry.name), text


def find_container(container: str | None, pods: Sequence[str], proc: Path) -> tuple[int, int] | None:
    """Find a container's first process by the control groups alone, without any runtime; of None, the pod's first.

    Returns
    -------
    tuple of int, or None
        (pid, start time) of the one that was started first, as `proc` counts; None where there is none.
    """
    found: list[tuple[int, int]] = []
    for pid, groups in _groups(proc):
        if in_container(groups, container, pods):
            started = start_time(pid, proc)
            if started is not None:
                found.append((started, pid))
    return (min(found)[1], min(found)[0]) if found else None


def container_ids(groups: str) -> list[str]:
    """Return what the text of a ``cgroup`` file holds of containers' ids, the outermost first."""
    return list(dict.fromkeys(_CONTAINER_ID.findall(groups)))


def containers(proc: Path) -> frozenset[str]:
    """Return the id of every container, and the uid of every pod, that has a process here."""
    found = [groups for _, groups in _groups(proc) if "conmon-" not in groups]
    uids = (uid.replace("_", "-") for groups in found for uid in _POD_UID.findall(groups))
    return frozenset([*(each for groups in found for each in _CONTAINER_ID.findall(groups)), *uids])


def on_node(proc: str, path: str) -> str:
    """Return how a path of the node is reached from here, through the root of its first process.

    A link on the way would be followed from our own root: ``/var/run``, which is one on most systems, is taken for
    ``/run``.
    """
    return f"{proc}/1/root{path.replace('/var/run/', '/run/', 1) if path.startswith('/var/run/') else path}"
