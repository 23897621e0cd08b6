"""A target: what the user named, resolved to one process or one namespace of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Source", "Target"]

Source = Literal["demo", "netns", "pid"]


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

    @property
    def label(self) -> str:
        """The target in the words that the user could have typed."""
        if self.source == "netns":
            return f"netns {self.pod}"
        if self.source == "pid":
            return f"pid {self.pid}"
        return f"{self.namespace}/{self.pod}" if self.namespace else self.pod
