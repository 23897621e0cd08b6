"""A pin: open descriptors of a target's namespaces, verified to be that target's, kept for a whole run.

What is opened is verified where it is opened (`opening`). From then on only the descriptors count: a container that
restarts inside its sandbox keeps the namespace, and so do we.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from podtracer_nb.errors import InputError, PrivilegeError, TargetError, TargetGone
from podtracer_nb.targets import container, procfs
from podtracer_nb.targets.capabilities import launcher, missing_capabilities
from podtracer_nb.targets.linux import need_linux
from podtracer_nb.targets.opening import Opened, Refused, Wanted, open_namespaces, open_through
from podtracer_nb.targets.target import Target

__all__ = ["KINDS", "Pin", "pin"]

#: The namespaces that can be asked for, in the order in which they are opened.
KINDS = ("net", "uts", "ipc", "pid", "mnt")

# Bytes of a resolv.conf that are read: it becomes one word of a command line, of which Linux takes 128 KiB.
_RESOLVER = 1 << 15

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
    process
        The process of a cluster's pod that was found on this node; None for any other target.
    notices
        What the user should know of it, a line each: that the target has this machine's own network, for instance.
    launcher
        Words before a program that is to enter: those that give it the capabilities, where we have not got them.
    resolver
        The text of the target's own /etc/resolv.conf; of a network namespace by name, that of ip-netns(8). None where
        there is none that can be read.
    """

    def __init__(
        self, target: Target, kinds: tuple[str, ...], fds: dict[str, int], process: procfs.Process | None = None
    ) -> None:
        self.target = target
        self.process = process
        self.kinds = kinds
        self.fds = fds
        self.identity = {kind: _identity(fd) for kind, fd in fds.items()}
        self.entered = tuple(kind for kind in fds if self.identity[kind] != procfs.own_namespace(kind))
        self.launcher = launcher() if self.entered and "user" not in self.entered else ()
        self.notices: tuple[str, ...] = ()
        self.resolver: str | None = None

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
    ...     print(held.kinds, held.notices)
    ('net',) ("pid ... is in this machine's own network namespace: what runs there sees all of this machine's traffic",)
    """
    wanted = _checked_kinds(kinds)
    need_linux(f"entering {target.label} from here")
    process: procfs.Process | None = None
    notices: tuple[str, ...] = ()
    with ExitStack() as opened:
        if target.netns_path is not None:
            if wanted != ("net",):
                raise InputError(
                    f"{target.label} is a network namespace and has no {', '.join(set(wanted) - {'net'}) or 'other'}: "
                    "leave --ns out, or name a process of it with --pid"
                )
            found = Opened({"net": _open_file(target, target.netns_path)}, resolver=_of_netns(target.netns_path))
        elif target.source == "kubernetes":
            place = container.locate(target, wanted)
            notices = place.notes
            process = procfs.Process(place.pid, place.start_time, str(place.proc))
            found = _open_process(
                target,
                Wanted(
                    place.pid, place.start_time, wanted, str(place.proc), place.container,
                    target.cgroup_uids, place.sandbox,
                ),
            )  # fmt: skip
        else:
            if target.pid is None:
                raise TargetError(f"{target.label} has no process on this machine: is it running?")
            found = _open_process(target, Wanted(target.pid, target.start_time, wanted))
        fds = found.fds
        for kind in fds:
            opened.callback(os.close, fds[kind])
        resolver = _text(found.resolver)
        for kind in wanted:
            if procfs.namespace_type(fds[kind]) != kind:
                raise TargetError(
                    f"{target.label}: what was opened as its {kind} namespace is none: name another target"
                )
        _add_user_namespace(target, fds, opened)
        held = Pin(target, wanted, fds, process)
        held.resolver = resolver
        held.notices = (*_network_notices(held, found.node_net), *notices)
        opened.pop_all()
        return held


def _network_notices(held: Pin, node_net: tuple[int, int] | None) -> tuple[str, ...]:
    """Refuse a network namespace that cannot be the pod's; say so where the pod shares the node's, or ours."""
    target = held.target
    if "net" not in held.kinds:
        return ()
    ours, nodes = (held.identity["net"] == other for other in (procfs.own_namespace("net"), node_net))
    if target.source == "demo" and ours:
        raise TargetError(
            f"pod {target.label} is in this machine's own network namespace, which is not the pod's: "
            "start the demo anew with `podtracer demo down` and `podtracer demo up`"
        )
    if target.source != "kubernetes":
        return (
            (
                f"{target.label} is in this machine's own network namespace: "
                "what runs there sees all of this machine's traffic",
            )
            if ours
            else ()
        )
    if target.host_network:
        return (
            f"pod {target.label} uses its node's own network (hostNetwork): "
            "what runs there sees all of the node's traffic",
        )
    # The notebook's own pod is named by its host name, which Kubernetes sets to the pod's: no other may share ours.
    if nodes or (ours and target.pod != socket.gethostname()):
        raise TargetError(
            f"pod {target.label} should have a network of its own, and what was found is "
            f"{'the node' if nodes else 'this notebook'}'s: not entered; list the pods again"
        )
    return (f"pod {target.label} is this notebook's own",) if ours else ()


def _of_netns(path: Path) -> int | None:
    """Open the resolv.conf that `ip netns exec` would put in place: ip-netns(8)."""
    with contextlib.suppress(OSError):
        return os.open(f"/etc/netns/{path.name}/resolv.conf", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return None


def _text(descriptor: int | None) -> str | None:
    """Read a resolv.conf to its end, as far as any is long, and close it."""
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(_RESOLVER)
        except OSError:
            return None
    return data.replace(b"\0", b"").decode("utf-8", errors="replace")


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


def _open_process(target: Target, wanted: Wanted) -> Opened:
    try:
        try:
            return open_namespaces(wanted)
        except Refused as refusal:
            if refusal.reason != "privilege" or not launcher():
                raise
            return open_through(launcher(), wanted)
    except Refused as refusal:
        if refusal.reason == "gone":
            raise TargetGone(
                f"{target.label}: its process {wanted.pid} is gone: is the pod still running? list it again"
            ) from None
        if refusal.reason == "another":
            raise TargetGone(f"{target.label}: process {wanted.pid} is another one now: list the pods again") from None
        missing = " and ".join(missing_capabilities("CAP_SYS_PTRACE", "CAP_SYS_ADMIN"))
        why = (
            f"{missing} is missing: run as root or as the process's owner; in a container add SYS_PTRACE and SYS_ADMIN"
            if missing
            else "though no capability is missing: a security module refuses, or the process is guarded; name another"
        )
        raise PrivilegeError(
            f"the namespaces of process {wanted.pid} ({target.label}) may not be opened, {why}"
        ) from None


def _add_user_namespace(target: Target, fds: dict[str, int], opened: ExitStack) -> None:
    """Add the user namespace to be entered first, where we have not the right to enter the others from here.

    setns(2) asks for CAP_SYS_ADMIN both in our own user namespace and in the one that owns the namespace. Root has
    both. An ordinary user has neither here, but all capabilities in user namespaces that they made: user_namespaces(7).
    """
    foreign = [kind for kind, fd in fds.items() if _identity(fd) != procfs.own_namespace(kind)]
    needed = ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT") if "mnt" in foreign else ("CAP_SYS_ADMIN",)
    missing = missing_capabilities(*needed)
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
