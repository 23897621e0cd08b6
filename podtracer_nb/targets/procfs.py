"""What the kernel says about processes, capabilities and namespaces: proc(5), capabilities(7), ioctl_ns(2).

Namespaces are looked at, never entered: nothing in this package calls setns(2).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
from pathlib import Path

__all__ = [
    "CAPABILITIES",
    "NAMESPACES",
    "effective_capabilities",
    "missing_capabilities",
    "namespace_type",
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

#: The capabilities that entering a namespace can need, with their numbers (linux/capability.h).
CAPABILITIES = {"CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}

# ioctl_ns(2): _IO(0xb7, 1) to _IO(0xb7, 4).
_NS_GET_USERNS, _NS_GET_PARENT, _NS_GET_NSTYPE, _NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB703, 0xB704


def effective_capabilities() -> int:
    """Return this process's effective capabilities as the bit set of ``CapEff`` in ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(*names: str) -> tuple[str, ...]:
    """Return those of the capabilities `names` that this process lacks."""
    held = effective_capabilities()
    return tuple(name for name in names if not held >> CAPABILITIES[name] & 1)


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


def start_time(pid: int) -> int | None:
    """Return when process `pid` was started, in clock ticks since boot, or None where there is no such process."""
    try:
        return _start_time_in(Path(f"/proc/{pid}/stat").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return None


def namespace_type(descriptor: int) -> str | None:
    """Return the kind of namespace behind a descriptor, or None where it is no namespace that we know."""
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
    try:
        return fcntl.ioctl(descriptor, request)
    except PermissionError:
        return None


def owner_uid(descriptor: int) -> int:
    """Return the user id, as our user namespace counts, that made the user namespace behind a descriptor."""
    uid = array.array("I", [0])
    fcntl.ioctl(descriptor, _NS_GET_OWNER_UID, uid, True)
    return uid[0]


def own_namespace(kind: str) -> tuple[int, int]:
    """Return (st_dev, st_ino) of this process's own namespace of a kind, which identify it: namespaces(7)."""
    status = Path(f"/proc/self/ns/{kind}").stat()
    return status.st_dev, status.st_ino
