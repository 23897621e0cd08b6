"""A target: what the user named, resolved to one pod, process or namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Lookup", "Source", "Target"]

Source = Literal["demo", "kubernetes", "netns", "pid"]


class Lookup(Protocol):
    """Where a pod was found, and can be asked for again."""

    def pod(self, namespace: str, name: str) -> Target | None:
        """Return the pod as it is now, or None where there is none of this name."""


@dataclass(frozen=True)
class Target:
    """A pod, a process or a network namespace that tools can be run in.

    Attributes
    ----------
    pod
        The pod's name; for a bare process ``pid-123``, for a namespace its name.
    namespace
        The pod's Kubernetes namespace; empty for a bare process or network namespace.
    uid
        The pod's unique id, empty where there is none.
    container
        The container whose process is used; empty for a bare process or network namespace.
    containers
        Every container of the pod.
    node
        The node that the pod runs on.
    runtime
        The container runtime, or what stands in for it.
    ip
        The pod's addresses, as text.
    labels
        The pod's labels.
    owner
        ``Kind/name`` of what owns the pod, such as ``Deployment/web``.
    services
        Names of the services that send traffic to the pod.
    phase
        The pod's phase, such as ``Running``.
    pid
        A process inside the target, as this machine counts; None for a namespace named by its file.
    start_time
        When `pid` was started, in clock ticks since boot (field 22 of ``/proc/PID/stat``); tells a process from
        another one that got the same number later.
    source
        What the target was found with.
    netns_path
        The network namespace's file, where that is what the user named.
    container_ids
        The id in its runtime of each of a cluster pod's containers that run.
    states
        Of each of a cluster pod's containers ``running``, or the reason why it does not.
    cgroup_uids
        What the pod's control group may be called after: its uid, and for a static pod its configuration's hash.
    host_network
        Whether the pod uses its node's own network.
    interfaces
        The pod's network interfaces, as far as they are known (Multus says so in an annotation).
    runtime_class
        The name of the pod's RuntimeClass; empty for the node's default.
    untraceable
        Why no tool can run in the pod now, by what the API says of it; empty where nothing speaks against it.
    cluster
        The connection to the API that the pod was found through.

    Examples
    --------
    >>> Target(pod="web-0", namespace="demo", source="demo").label
    'demo/web-0'
    """

    pod: str
    namespace: str = ""
    uid: str = ""
    container: str = ""
    containers: tuple[str, ...] = ()
    node: str = ""
    runtime: str = ""
    ip: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    services: tuple[str, ...] = ()
    phase: str = "Running"
    pid: int | None = None
    start_time: int | None = None
    source: Source = "pid"
    netns_path: Path | None = None
    container_ids: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    cgroup_uids: tuple[str, ...] = ()
    host_network: bool = False
    interfaces: tuple[str, ...] = ()
    runtime_class: str = ""
    untraceable: str = ""
    cluster: Lookup | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The target in the words that the user could have typed."""
        if self.source == "netns":
            return f"netns {self.pod}"
        if self.source == "pid":
            return f"pid {self.pid}"
        return f"{self.namespace}/{self.pod}" if self.namespace else self.pod
