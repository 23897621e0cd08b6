"""A pin: open descriptors of a target's namespaces, verified to be that target's, kept for a whole run.

Process ids are used again. So the target's ``/proc/PID`` is opened once as a directory, and everything is read through
that descriptor, which never turns into another process's; its start time is compared before and after. From then on
only the descriptors count: a container that restarts inside its sandbox keeps the namespace, and so do we.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from podtracer_nb.errors import InputError, PrivilegeError, TargetError, TargetGone
from podtracer_nb.targets import procfs
from podtracer_nb.targets.target import Target

__all__ = ["KINDS", "Pin", "pin"]

#: The namespaces that can be asked for, in the order in which they are opened.
KINDS = ("net", "uts", "ipc", "pid", "mnt")

# nsenter(1)'s own words for the kinds.
_OPTIONS = {"user": "--user", "net": "--net", "uts": "--uts", "ipc": "--ipc", "pid": "--pid", "mnt": "--mount"}


class Pin:
    """Open namespaces of one target; made by `pin`, closed by ``with`` or `close`.

    Attributes
    ----------
    target
        The target, with the process's start time filled in.
    kinds
        The namespaces that were asked for.
    fds
        Descriptor of each; also ``user`` where the target's user namespace has to be entered first.
    identity
        (st_dev, st_ino) of each, by which a namespace is told from any other: namespaces(7).
    entered
        The kinds that `nsenter` enters: those that are not this process's own already.
    notice
        One line for the user where the target has this machine's own network, else None.
    """

    def __init__(self, target: Target, kinds: tuple[str, ...], fds: dict[str, int]) -> None:
        self.target = target
        self.kinds = kinds
        self.fds = fds
        self.identity = {kind: _identity(fd) for kind, fd in fds.items()}
        self.entered = tuple(kind for kind in fds if self.identity[kind] != procfs.own_namespace(kind))
        self.notice: str | None = None

    @property
    def nsenter(self) -> list[str]:
        """The words to put before a tool's argv; they need `pass_fds` to be passed on under the same numbers."""
        words = ["nsenter", *(f"{_OPTIONS[kind]}=/proc/self/fd/{self.fds[kind]}" for kind in self.entered)]
        if "user" in self.entered:
            # nsenter would call setgroups(2), which a user namespace made by an ordinary user denies
            # (user_namespaces(7)); entering it has already made us root there.
            words.append("--preserve-credentials")
        return [*words, "--"]

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """The descriptors that `nsenter` names."""
        return tuple(self.fds[kind] for kind in self.entered)

    @property
    def forks(self) -> bool:
        """Whether nsenter runs the tool as its child, as it must to make it a member of a PID namespace."""
        return "pid" in self.entered

    def close(self) -> None:
        """Close the descriptors. Runs that were started keep their own."""
        while self.fds:
            os.close(self.fds.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Pin of {self.target.label}: {', '.join(self.fds) or 'closed'}>"


def pin(target: Target, kinds: Iterable[str] = ("net",)) -> Pin:
    """Open a target's namespaces, verified.

    Parameters
    ----------
    target
        What `resolve` found.
    kinds
        Which namespaces: any of net, uts, ipc, pid, mnt.

    Returns
    -------
    Pin
        To be closed, best by ``with``.

    Raises
    ------
    InputError
        An unknown kind, or one that a namespace file cannot give.
    TargetGone
        The process ended, or its number is another process's now.
    TargetError
        The pod turned out to be in this machine's own network namespace.
    PrivilegeError
        The kernel refuses, or would refuse to let us in.

    Examples
    --------
    >>> import os
    >>> from podtracer_nb import targets
    >>> (own,) = targets.resolve(pid=os.getpid())
    >>> with targets.pin(own) as held:
    ...     print(held.kinds, held.notice)
    ('net',) pid ... is in this machine's own network namespace: what runs there sees all of this machine's traffic
    """
    wanted = _checked_kinds(kinds)
    with ExitStack() as opened:
        if target.netns_path is not None:
            if wanted != ("net",):
                raise InputError(
                    f"{target.label} is a network namespace and has no {', '.join(set(wanted) - {'net'}) or 'other'}: "
                    "leave --ns out, or name a process of it with --pid"
                )
            fds = {"net": _open_file(target, target.netns_path)}
            opened.callback(os.close, fds["net"])
        else:
            fds = _open_process(target, wanted, opened)
        for kind in wanted:
            if procfs.namespace_type(fds[kind]) != kind:
                raise TargetError(
                    f"{target.label}: what was opened as its {kind} namespace is none: name another target"
                )
        _add_user_namespace(target, fds, opened)
        held = Pin(target, wanted, fds)
        if "net" in wanted and held.identity["net"] == procfs.own_namespace("net"):
            if target.source == "demo":
                raise TargetError(
                    f"pod {target.label} is in this machine's own network namespace, which is not the pod's: "
                    "start the demo anew with `podtracer demo down` and `podtracer demo up`"
                )
            held.notice = (
                f"{target.label} is in this machine's own network namespace: "
                "what runs there sees all of this machine's traffic"
            )
        opened.pop_all()
        return held


def _checked_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    asked = tuple(kinds)
    unknown = [kind for kind in asked if kind not in KINDS]
    if unknown or not asked:
        raise InputError(
            f"no namespace kind {', '.join(map(repr, unknown)) or 'given'}: choose from {', '.join(KINDS)}"
        )
    return tuple(kind for kind in KINDS if kind in asked)


def _open_file(target: Target, path: Path) -> int:
    try:
        # O_NONBLOCK: a FIFO in place of a namespace must not hold us up.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise TargetGone(f"{target.label}: {path} is gone: make it anew, or name another") from None
    except PermissionError as error:
        raise PrivilegeError(
            f"{target.label}: {path} cannot be opened ({error.strerror}): run as its owner or as root"
        ) from None
    except OSError as error:
        raise TargetError(f"{target.label}: {path} cannot be opened ({error.strerror}): name another file") from None


def _open_process(target: Target, kinds: tuple[str, ...], opened: ExitStack) -> dict[str, int]:
    if target.pid is None:
        raise TargetError(f"{target.label} has no process on this machine: is it running?")
    gone = TargetGone(f"{target.label}: its process {target.pid} is gone: is the pod still running? list it again")
    try:
        directory = os.open(f"/proc/{target.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise gone from None
    try:
        before = procfs.start_time_at(directory)
        if target.start_time is not None and before != target.start_time:
            raise TargetGone(f"{target.label}: process {target.pid} is another one now: list the pods again")
        fds: dict[str, int] = {}
        for kind in kinds:
            fds[kind] = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            opened.callback(os.close, fds[kind])
        if procfs.start_time_at(directory) != before:
            raise gone
    except (FileNotFoundError, ProcessLookupError):
        raise gone from None
    except PermissionError:
        missing = (
            " and ".join(procfs.missing_capabilities("CAP_SYS_PTRACE", "CAP_SYS_ADMIN")) or "a security module's leave"
        )
        raise PrivilegeError(
            f"the namespaces of process {target.pid} ({target.label}) may not be opened, {missing} is missing: "
            "run as root or as the process's owner; in a container add SYS_PTRACE and SYS_ADMIN"
        ) from None
    finally:
        os.close(directory)
    return fds


def _add_user_namespace(target: Target, fds: dict[str, int], opened: ExitStack) -> None:
    """Add the user namespace to be entered first, where we have not the right to enter the others from here.

    setns(2) asks for CAP_SYS_ADMIN both in our own user namespace and in the one that owns the namespace. Root has
    both. An ordinary user has neither here, but all capabilities in user namespaces that they made: user_namespaces(7).
    """
    foreign = [kind for kind, fd in fds.items() if _identity(fd) != procfs.own_namespace(kind)]
    needed = ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT") if "mnt" in foreign else ("CAP_SYS_ADMIN",)
    missing = procfs.missing_capabilities(*needed)
    if not foreign or not missing:
        return
    refusal = PrivilegeError(
        f"the {', '.join(foreign)} namespace of {target.label} may not be entered, {' and '.join(missing)} is missing: "
        "run as root; in a container add SYS_ADMIN and SYS_PTRACE"
    )
    with ExitStack() as looked_at:
        owners = []
        for kind in foreign:
            owner = procfs.owning_user_namespace(fds[kind])
            if owner is None:
                raise refusal
            looked_at.callback(os.close, owner)
            owners.append(owner)
        # All owners must be within reach of the one that is entered, so it is the outermost; depth counts from our own.
        outermost = min(owners, key=_depth)
        if _identity(outermost) == procfs.own_namespace("user"):
            raise refusal
        maker = _maker(outermost)
        if maker != os.geteuid():
            raise PrivilegeError(
                f"{target.label} is in a user namespace made by user id {maker}, and we are {os.geteuid()}: "
                "run as that user or as root"
            )
        user = os.dup(outermost)
    opened.callback(os.close, user)
    others = dict(fds)
    fds.clear()
    fds.update({"user": user, **others})


def _ancestors(user_namespace: int) -> list[int]:
    """Return new descriptors of a user namespace and its parents, up to but without our own."""
    own = procfs.own_namespace("user")
    line: list[int] = []
    current: int | None = os.dup(user_namespace)
    while current is not None and _identity(current) != own:
        line.append(current)
        current = procfs.parent_user_namespace(current)
    if current is not None:
        os.close(current)
    return line


def _depth(user_namespace: int) -> int:
    line = _ancestors(user_namespace)
    for descriptor in line:
        os.close(descriptor)
    return len(line)


def _maker(user_namespace: int) -> int:
    """Return who made the ancestor that is our own user namespace's child: who has all rights below it."""
    line = _ancestors(user_namespace)
    try:
        return procfs.owner_uid(line[-1])
    finally:
        for descriptor in line:
            os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
