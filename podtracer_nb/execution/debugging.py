"""An ephemeral container in the target's own pod: the way in where no tracer pod may be, and into a pod's own machine.

It is asked for and never chosen for the user: unlike all else it changes the pod, in whose specification it stays until
the pod ends. What runs in it is the tracer's agent, in the pod's network as a container of that pod has it, so that no
namespace is entered and NET_RAW is enough to capture. It ends when nobody has come for a minute.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

from podtracer_nb.errors import ClusterError, TargetError
from podtracer_nb.execution.stream import ExecStream
from podtracer_nb.execution.tracer import HOPELESS, Placement, Tracer, image_of, kept
from podtracer_nb.targets import Target

__all__ = ["debugger_in"]

_IDLE_SECONDS = 60
_LEASE_SECONDS = 30
_START_SECONDS = 120.0
_POLL_SECONDS = 0.15


@dataclass(frozen=True)
class _Debugger(Tracer):
    """An ephemeral container with the agent in it; `job` is its name."""

    def connect(self) -> ExecStream:
        return self._connected(self.job)

    def alive(self) -> bool:
        return "running" in _state(self._read(), self.job)

    def delete(self) -> None:
        """End its program; the container itself stays listed in the pod."""
        if self.alive():
            with self.connect() as stream:
                stream.send(b'{"order": "end"}\n')
                for _ in stream.messages():
                    pass

    def _read(self) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}"
        return self.cluster.read(path, "pods", self.namespace) or {}


def debugger_in(target: Target, placement: Placement) -> Tracer:
    """Return an ephemeral container of ours in a pod: the one that is there and runs, or a new one.

    Raises
    ------
    PrivilegeError
        We may not add one, or PodSecurity forbids what it needs: which rule.
    ClusterError
        It did not start: why.
    """
    cluster: Any = target.cluster

    def start() -> Tracer:
        namespace = target.namespace
        image = placement.image or image_of(cluster, placement.namespace or "podtracer")
        name = f"podtracer-{secrets.token_hex(3)}"
        path = f"/api/v1/namespaces/{namespace}/pods/{target.pod}/ephemeralcontainers"
        body = {"spec": {"ephemeralContainers": [_container(name, image, target.node)]}}
        if cluster.patch(path, "pods/ephemeralcontainers", namespace, body) is None:
            raise TargetError(f"pod {target.label} is gone: list the pods again")
        made = _Debugger(cluster, namespace, name, target.pod, target.node, image, time.time())
        _await(made, target)
        return made

    return kept((cluster.host, f"{target.namespace}/{target.pod}", target.uid), start)


def _container(name: str, image: str, node: str) -> dict[str, Any]:
    agent = [
        "python3",
        "-m",
        "podtracer_nb.tools.agent",
        "serve",
        f"--idle={_IDLE_SECONDS}",
        f"--lease={_LEASE_SECONDS}",
        "--own",
    ]
    environment = {
        "HOME": "/tmp",  # noqa: S108  the container's own
        "PODTRACER_RECORDINGS": "/tmp/recordings",  # noqa: S108
        "PODTRACER_AGENT_SOCKET": "/tmp/agent.sock",  # noqa: S108
        "PODTRACER_NODE_NAME": node,
    }
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": agent,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "securityContext": {
            # Root of this container alone: to an ordinary user's program a capability comes by a file only.
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _state(pod: dict[str, Any], name: str) -> dict[str, Any]:
    listed = pod.get("status", {}).get("ephemeralContainerStatuses", ())
    found: dict[str, Any] = next((each.get("state", {}) for each in listed if each["name"] == name), {})
    return found


def _await(made: _Debugger, target: Target) -> None:
    """Wait until it runs, or until it cannot."""
    until, pause, why = time.monotonic() + _START_SECONDS, threading.Event(), "nothing is known of it yet"
    while time.monotonic() < until:
        state = _state(made._read(), made.job)
        if "running" in state:
            return
        for each in state.values():
            why = f"{each.get('reason', '')}: {each.get('message', '')}".strip(": ")[:300] or why
        if "terminated" in state or any(word in why for word in HOPELESS):
            break
        pause.wait(_POLL_SECONDS)
    raise ClusterError(f"the ephemeral container in pod {target.label} does not start ({why}): image {made.image}")
