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
from podtracer_nb.targets.kubeconfig import node_name
from podtracer_nb.targets.linux import is_linux
from podtracer_nb.targets.target import Target

__all__ = ["Located", "elsewhere", "here", "locate", "untraceable"]


@dataclass(frozen=True)
class Located:
    """A container's first process, as the proc file system at `proc` counts, and who said so.

    Attributes
    ----------
    pid, start_time
        The process; its start in clock ticks since boot.
    proc
        Where the node's processes are to be seen.
    container
        The id that its control group names: the container's, or the sandbox's.
    sandbox
        The pod's network namespace as the runtime names it, a path on the node; empty where nobody said.
    notes
        What the user should know: a runtime that did not answer, a sandbox with a kernel of its own.
    """

    pid: int
    start_time: int
    proc: Path
    container: str
    sandbox: str = ""
    notes: tuple[str, ...] = ()


def elsewhere(target: Target) -> str:
    """Return why a pod is none of this node's, as far as names tell; empty where they do not say so."""
    ours = node_name()
    if ours and target.node and target.node != ours:
        return f"is on node {target.node}, and we are on {ours}"
    return ""


def here(target: Target) -> bool:
    """Tell whether a target is on this machine, by the nodes' names or, without ours, by its processes."""
    if target.source != "kubernetes":
        return True
    if not is_linux():
        return False
    if node_name():
        return not elsewhere(target)
    seen = procfs.containers(procfs.host_proc())
    return bool(seen.intersection([*target.container_ids.values(), *target.cgroup_uids]))


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
            elif not seen.intersection([*pod.container_ids.values(), *pod.cgroup_uids]):
                reason = (
                    f"no process of it is to be seen here: is {pod.node} another node?"
                    if pod.container_ids
                    else f"is {pod.phase} ({_why(pod)}): it has no process to enter"
                )
        reasons.append(reason)
    return reasons


def locate(target: Target, kinds: Sequence[str] = ("net",)) -> Located:
    """Find the process of a pod's container on this node; of a pod none of whose containers runs, its sandbox's.

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
    proc = procfs.host_proc()
    identity = target.container_ids.get(target.container, "")
    if not identity:
        return _sandbox_of(target, proc, kinds)
    asked, notes = _asked(target, identity)
    pid = asked.pid if asked else 0
    started = procfs.start_time(pid, proc) if pid else None
    if started is None or not procfs.in_container(_groups(pid, proc), identity, target.cgroup_uids):
        # Nobody to ask; or the runtime counts in another PID namespace than the processes that are to be seen here.
        found = procfs.find_container(identity, target.cgroup_uids, proc)
        if found is None:
            raise _unseen(target, proc)
        pid, started = found
    return Located(pid, started, proc, identity, asked.network if asked else "", (*notes, *_sandboxed(target)))


def _asked(target: Target, identity: str) -> tuple[cri.Located | None, list[str]]:
    """Ask the runtime, if there is one that may be asked; what it did not answer becomes a note."""
    notes: list[str] = []
    for path in cri.sockets(target.runtime):
        if not os.access(path, os.W_OK):
            continue  # not ours to ask
        try:
            return cri.locate(path, identity), notes
        except (ClusterError, PrivilegeError) as error:
            notes.append(f"{error}; the process was found without it")
        except TargetGone:
            continue  # another runtime's container, or it has just ended: the processes tell
    return None, notes


def _sandbox_of(target: Target, proc: Path, kinds: Sequence[str]) -> Located:
    """Find the process that holds a pod's namespaces while no container runs: one that crashes, or is being started."""
    state = _why(target)
    if "running" in target.states.values():
        raise TargetError(f"container {target.container} of pod {target.label} is not running ({state})")
    found = procfs.find_container(None, target.cgroup_uids, proc)
    if found is None:
        raise TargetError(f"pod {target.label} is {target.phase} ({state}): it has no process to enter")
    alone = [kind for kind in kinds if kind not in ("net", "uts", "ipc")]
    if alone:
        raise TargetError(
            f"no container of pod {target.label} runs ({state}): its sandbox has net, uts and ipc, "
            f"and no {' or '.join(alone)} of a container"
        )
    identity = procfs.container_ids(_groups(found[0], proc))
    note = f"no container of pod {target.label} runs ({state}): this is its sandbox"
    return Located(*found, proc, identity[0] if identity else "", notes=(note,))


def _why(target: Target) -> str:
    """Return what the API says of a container that does not run."""
    return target.states.get(target.container) or "no container yet"


def _groups(pid: int, proc: Path) -> str:
    """Return the text of a process's ``cgroup`` file; empty where it has ended."""
    try:
        return (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


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
