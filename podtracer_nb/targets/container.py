"""From a cluster's pod to one process of this node: by the container runtime, and without one."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podtracer_nb.errors import ClusterError, PodtracerError, PrivilegeError, TargetError, TargetGone
from podtracer_nb.targets import cri, procfs
from podtracer_nb.targets.capabilities import missing_capabilities
from podtracer_nb.targets.kubernetes import node_name
from podtracer_nb.targets.target import Target

__all__ = ["Located", "elsewhere", "locate", "untraceable"]


@dataclass(frozen=True)
class Located:
    """A container's first process, as the proc file system at `proc` counts, and who said so.

    Attributes
    ----------
    pid, start_time
        The process; its start in clock ticks since boot.
    proc
        Where the node's processes are to be seen.
    sandbox
        The pod's network namespace as the runtime names it, a path on the node; empty where nobody said.
    notes
        What the user should know: a runtime that did not answer, a sandbox with a kernel of its own.
    """

    pid: int
    start_time: int
    proc: Path
    sandbox: str = ""
    notes: tuple[str, ...] = ()


def elsewhere(target: Target) -> str:
    """Return why a pod is none of this node's, as far as names tell; empty where they do not say so."""
    ours = node_name()
    if ours and target.node and target.node != ours:
        return f"is on node {target.node}, and we are on {ours}"
    return ""


def untraceable(pods: Sequence[Target]) -> list[str]:
    """Return, for each pod, why no tool can run in it from here; empty where one can.

    The node's processes are looked through once, however many pods there are.
    """
    seen: frozenset[str] | None = None
    missing = missing_capabilities("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")
    reasons = []
    for pod in pods:
        reason = pod.untraceable or elsewhere(pod)
        if pod.source == "kubernetes" and not reason:
            seen = procfs.containers(procfs.host_proc()) if seen is None else seen
            if missing:
                reason = f"needs {' and '.join(missing)} here"
            elif not seen.intersection(pod.container_ids.values()):
                reason = f"no process of it is to be seen here: is {pod.node} another node?"
        reasons.append(reason)
    return reasons


def locate(target: Target, container: str | None = None) -> Located:
    """Find the process of a pod's container on this node.

    The runtime is asked where its socket may be opened; otherwise, and where it does not answer, the node's processes
    are searched by control group, for which no runtime and no right beyond reading ``/proc`` is needed.

    Raises
    ------
    TargetError
        The pod is on another node, or its processes are not to be seen from here.
    TargetGone
        The container has ended.
    """
    if why := elsewhere(target):
        raise TargetError(f"pod {target.label} {why}: run podtracer on {target.node}")
    if target.untraceable:
        raise TargetError(f"pod {target.label} {target.untraceable}")
    identity = target.container_ids.get(container or target.container, "")
    if not identity:
        state = target.states.get(target.container, "unknown")
        raise TargetError(f"container {target.container} of pod {target.label} is not running ({state})")
    proc = procfs.host_proc()
    notes: list[str] = []
    sandbox, pid = "", 0
    for path in cri.sockets(target.runtime):
        if not os.access(path, os.W_OK):
            continue  # not ours to ask
        try:
            asked = cri.locate(path, identity)
        except (ClusterError, PrivilegeError) as error:
            notes.append(f"{error}; the process was found without it")
            continue
        except TargetGone:
            continue  # another runtime's container, or it has just ended: the processes tell
        sandbox, pid = asked.network, asked.pid
        break
    started = procfs.start_time(pid, proc) if pid else None
    if started is None or not _belongs(pid, proc, identity, target):
        found = procfs.find_container(identity, target.cgroup_uids, proc)
        if found is None:
            raise _unseen(target, proc)
        pid, started = found
    return Located(pid, started, proc, sandbox, (*notes, *_sandboxed(target)))


def _belongs(pid: int, proc: Path, identity: str, target: Target) -> bool:
    """Tell whether the pid that the runtime named means that process here too: in its own namespace it may not."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return procfs.in_container(groups, identity, target.cgroup_uids)


def _unseen(target: Target, proc: Path) -> PodtracerError:
    here = node_name() or socket.gethostname()
    if "kata" in target.runtime_class:
        return TargetError(
            f"pod {target.label} runs in a virtual machine (RuntimeClass {target.runtime_class}): its processes are "
            "not this node's to enter"
        )
    if not node_name() and target.node != here:
        return TargetError(
            f"pod {target.label} is on node {target.node}, and none of its processes is on this machine ({here}): "
            f"run podtracer on {target.node}"
        )
    if not procfs.containers(proc):
        return PrivilegeError(
            f"pod {target.label}: no container's process is to be seen in {proc}: give this pod hostPID: true, or the "
            "node's /proc at /host/proc; `podtracer doctor` says how"
        )
    return TargetGone(
        f"pod {target.label}: container {target.container} has no process on this node any more: list the pods again"
    )


def _sandboxed(target: Target) -> tuple[str, ...]:
    """Say what a RuntimeClass with a kernel of its own hides: its name is all that the API tells of it."""
    name = target.runtime_class
    if "kata" in name:
        return (
            f"RuntimeClass {name}: the pod is a virtual machine; what its interface carries is seen, not its sockets",
        )
    if "gvisor" in name or "runsc" in name:
        return (f"RuntimeClass {name}: loopback and sockets are inside gVisor; the frames on eth0 are seen",)
    return ()
