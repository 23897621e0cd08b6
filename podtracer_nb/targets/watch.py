"""Watches the pods that tools run in: a pinned namespace outlives its pod, and then nobody speaks in it any more.

A process of this machine that was named takes its target with it when it ends, as the demo's pods do.

A pod that is deleted loses its processes. So the process that was pinned is looked at twice a second, which costs the
API nothing; only when it is gone the API is asked. A container that restarts inside its sandbox keeps the namespace; a
new sandbox, or another pod of the same name, has another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from podtracer_nb.errors import ClusterError, PodtracerError, PrivilegeError, TargetError
from podtracer_nb.targets import procfs
from podtracer_nb.targets.pin import Pin, pin
from podtracer_nb.targets.procfs import Process
from podtracer_nb.targets.target import Target

__all__ = ["Watch", "departed"]

_INTERVAL = 0.5  # seconds
_ASKED_AGAIN = 2.0  # seconds between two questions to the API while a container does not run


class _Watched:
    """One pin, and the process that stands for its pod now."""

    def __init__(self, held: Pin) -> None:
        self.pin = held
        self.process = held.process or _of_this_machine(held)
        self.rest = 0.0

    def gone(self) -> str:
        """Return why the pinned namespace is no longer its pod's; empty while it is, or while nobody can tell."""
        if self.process is None or self.process.alive:
            return ""
        target, now = self.pin.target, None
        if target.cluster is None:
            if self.pin.process is None:
                return f"{target.label}: its process {target.pid} has ended"
            return self._without_api()
        try:
            now = target.cluster.pod(target.namespace, target.pod)
        except (ClusterError, PrivilegeError):  # asked again later
            return ""
        if why := _departure(target, now):
            return why
        # Where its container does not run, it waits for its restart.
        return self._restarted(now) if now is not None and target.container in now.container_ids else ""

    def _without_api(self) -> str:
        """Tell by the node's processes alone: a tracer's agent has no API to ask."""
        target = self.pin.target
        proc = procfs.host_proc()
        found = procfs.find_container(None, target.cgroup_uids, proc)
        if found is None:
            return f"pod {target.label} has no process on its node any more: the recording ends there"
        self.process = Process(found[0], found[1], str(proc))
        return ""

    def _restarted(self, now: Target) -> str:
        """Take the new process for the old one if it is in the pinned namespace; otherwise return why it is not."""
        try:
            with pin(replace(now, container=self.pin.target.container), ("net",)) as again:
                if again.identity["net"] != self.pin.identity["net"]:
                    return f"pod {now.label} has a new sandbox: its new network is not in the recording"
                self.process = again.process
        except TargetError:  # it went away again in between
            pass
        except PodtracerError:
            self.process = None  # nobody can tell any more
        return ""


def _of_this_machine(held: Pin) -> Process | None:
    target = held.target
    return Process(target.pid, target.start_time) if target.pid and target.start_time else None


def _departure(target: Target, now: Target | None) -> str:
    """Return why a pod is no longer the one that was pinned, by what the API says now."""
    if now is None:
        return f"pod {target.label} was deleted: the recording ends there"
    if now.uid != target.uid:
        return f"pod {target.label} was deleted, and another of the same name is not in the recording"
    if now.phase in ("Succeeded", "Failed"):
        return f"pod {target.label} has finished ({now.phase}): the recording ends there"
    return ""


class Watch:
    """Follows cluster pods in a thread of its own until it is closed.

    Parameters
    ----------
    pins
        What is watched; pins without a network or a process (a named namespace) are passed over.
    gone
        Called once for a pin whose pod is gone, with the pin and a line that says why.
    """

    def __init__(self, pins: Sequence[Pin], gone: Callable[[Pin, str], None]) -> None:
        watched = [_Watched(held) for held in pins if "net" in held.kinds]
        self._watched = [each for each in watched if each.process is not None]
        self._gone = gone
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if self._watched:
            self._thread = threading.Thread(target=self._follow, name="podtracer-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> None:
        while self._watched and not self._closed.wait(_INTERVAL):
            for each in list(self._watched):
                each.rest -= _INTERVAL
                if each.rest > 0:
                    continue
                if why := each.gone():
                    self._watched.remove(each)
                    self._gone(each.pin, why)
                elif each.process is not None and not each.process.alive:
                    each.rest = _ASKED_AGAIN


def departed(held: Pin) -> str:
    """Return why a pin's pod is gone, asked now; empty where it is not, or is no cluster's."""
    return _Watched(held).gone()
