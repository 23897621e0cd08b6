"""Tracer pods: one on each node whose pods are traced from elsewhere, in our own namespace, gone when we are.

A Job makes it, so that its deadline and its end are the cluster's to keep: pinned to the node, whatever its taints,
with the rights of deploy/overlays/capabilities and no more, but for NET_ADMIN where a run may alter its target. It is
kept for the next run on its node, and ends by itself when nobody has come for some minutes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podtracer_nb.errors import ClusterError, InputError, PodtracerError, PrivilegeError
from podtracer_nb.execution import connect
from podtracer_nb.execution.stream import ExecStream

__all__ = [
    "HOPELESS",
    "POLL_SECONDS",
    "Placement",
    "Tracer",
    "delete_tracers",
    "forbidden",
    "image_of",
    "kept",
    "tracer_on",
    "tracers",
]

_LABEL = "app.kubernetes.io/name"
_NAME = "podtracer-tracer"
_OWNER = "podtracer.io/owner"
_CONTAINER = "tracer"
_CAPABILITIES = ("SYS_ADMIN", "SYS_PTRACE", "NET_RAW", "SETUID", "SETGID")
_GRACE_SECONDS = (
    20  # to take back what is held there (PATIENCE of tools/inside/hold.py) and to tell it; else it ends at once
)
_START_SECONDS = 120.0
_DEADLINE_SECONDS = 24 * 3600
POLL_SECONDS = 0.15
HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
             "CreateContainerError", "RunContainerError", "CrashLoopBackOff")  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """How tracer pods are made.

    Attributes
    ----------
    namespace
        Where; by default the notebook's own namespace, or `podtracer`.
    image
        Of which image; by default the notebook's own, or PODTRACER_IMAGE.
    lease
        Seconds after which a run is ended that nobody is there for any more.
    idle
        Seconds after which a tracer pod ends that nobody has used.
    spool
        The most that its recordings may take on its node, as Kubernetes has quantities.
    in_memory
        Whether they are kept in the node's memory, as part of the pod's own limit, not on its disk.
    changes
        Whether what runs there may alter its target, which takes one capability more.
    """

    namespace: str | None = None
    image: str | None = None
    lease: float = 60
    idle: float = 300
    spool: str = "10Gi"
    in_memory: bool = False
    changes: bool = False


@dataclass(frozen=True)
class Tracer:
    """One tracer pod that runs."""

    cluster: Any
    namespace: str
    job: str
    pod: str
    node: str
    image: str
    since: float

    def connect(self) -> ExecStream:
        """Connect to its agent."""
        return self._connected(_CONTAINER)

    def _connected(self, container: str) -> ExecStream:
        argv = ["python3", "-I", "-S", "-c", _program()]
        return ExecStream(self.cluster, self.namespace, self.pod, container, argv)

    def alive(self) -> bool:
        """Ask the cluster whether it still runs."""
        found = self.cluster.read(f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}", "pods", self.namespace)
        return (
            bool(found) and found["status"].get("phase") == "Running" and not found["metadata"].get("deletionTimestamp")
        )

    def delete(self) -> None:
        """Delete it, with all that runs in it."""
        self.cluster.delete(f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{self.job}", "jobs", self.namespace)


@functools.cache
def _program() -> str:
    """Return the program that a connection starts, its first words to people left out: it travels in a URL."""
    text = Path(connect.__file__).read_text(encoding="utf-8")
    return text[text.index("import os") :]


_tracers: dict[tuple[str, ...], Tracer] = {}
_lock = threading.Lock()
_starting: dict[tuple[str, ...], threading.Lock] = {}
_owner = f"{re.sub(r'[^a-z0-9-]', '-', socket.gethostname().lower())[:30]}-{os.getpid()}-{secrets.token_hex(3)}"


def tracers() -> list[Tracer]:
    """Return the tracer pods of this process that are kept."""
    with _lock:
        return list(_tracers.values())


def delete_tracers() -> int:
    """Delete the tracer pods of this process, and return how many there were."""
    with _lock:
        mine = list(_tracers.values())
        _tracers.clear()
    for each in mine:
        each.delete()
    return len(mine)


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(PodtracerError):  # they end by themselves when nobody comes
        delete_tracers()


def tracer_on(cluster: Any, node: str, placement: Placement) -> Tracer:
    """Return a tracer pod on a node: the one that is there, or a new one.

    Raises
    ------
    PrivilegeError
        We may not make Jobs, or PodSecurity or a quota forbids the pod: which, and what to do.
    ClusterError
        It did not start: why.
    """
    namespace = placement.namespace or os.environ.get("PODTRACER_POD_NAMESPACE") or "podtracer"
    image = placement.image or image_of(cluster, namespace)
    key = (cluster.host, node, namespace, *(("changes",) if placement.changes else ()))
    return kept(key, lambda: _start(cluster, node, namespace, image, placement))


def kept(key: tuple[str, ...], start: Callable[[], Tracer]) -> Tracer:
    """Return the one that is kept under this key and lives, or a new one, which is kept then."""
    with _lock:
        starting = _starting.setdefault(key, threading.Lock())
    with starting:
        found = _tracers.get(key)
        if found is not None and found.alive():
            return found
        if found is not None:
            found.delete()  # its Job stays for a while where its pod was evicted or killed
        made = start()
        with _lock:
            _tracers[key] = made
        return made


def image_of(cluster: Any, namespace: str) -> str:
    """Return the image that tracers have: the one named, our own pod's, or that of the notebook in the namespace."""
    if named := os.environ.get("PODTRACER_IMAGE"):
        return named
    own = os.environ.get("PODTRACER_POD_NAME")
    found = cluster.read(f"/api/v1/namespaces/{namespace}/pods/{own}", "pods", namespace) if own else None
    if found is None:
        listed = cluster.read(f"/api/v1/namespaces/{namespace}/pods", "pods", namespace, f"{_LABEL}=podtracer-nb")
        found = next(iter((listed or {}).get("items", ())), None)
    if found is None:
        raise InputError(
            f"no image is known for tracer pods, and no notebook runs in namespace {namespace}: give --image, or "
            "PODTRACER_IMAGE"
        )
    return str(found["spec"]["containers"][0]["image"])


def node_job(node: str, namespace: str, image: str, placement: Placement) -> dict[str, Any]:
    """Return the Job whose pod runs an agent on a node, with all that a tool there needs."""
    labels = {_LABEL: _NAME, "app.kubernetes.io/managed-by": "podtracer-nb", _OWNER: _owner}
    metadata: dict[str, Any] = {"generateName": "podtracer-tracer-", "namespace": namespace, "labels": labels}
    if os.environ.get("PODTRACER_POD_UID") and os.environ.get("PODTRACER_POD_NAMESPACE") == namespace:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Pod", "name": os.environ["PODTRACER_POD_NAME"],
             "uid": os.environ["PODTRACER_POD_UID"]}
        ]  # fmt: skip
    agent = [
        "python3",
        "-m",
        "podtracer_nb.tools.agent",
        "serve",
        f"--idle={placement.idle:g}",
        f"--lease={placement.lease:g}",
    ]
    spool = {"sizeLimit": placement.spool, **({"medium": "Memory"} if placement.in_memory else {})}
    environment = {
        "PODTRACER_HOST_ROOT": "/host",
        "PODTRACER_NODE_NAME": node,
        "PODTRACER_RECORDINGS": "/spool/recordings",
        "PODTRACER_AGENT_SOCKET": "/spool/agent.sock",
        "HOME": "/spool",
    }
    container = {
        "name": _CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": agent,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "securityContext": {
            "allowPrivilegeEscalation": True,  # for the launcher's file capabilities: deploy/overlays/capabilities
            "readOnlyRootFilesystem": True,
            "capabilities": {
                "drop": ["ALL"],
                "add": [*_CAPABILITIES, *(["NET_ADMIN"] if placement.changes else [])],
            },
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "proc", "mountPath": "/host/proc", "readOnly": True},
            {"name": "spool", "mountPath": "/spool"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  the pod's own
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "nodeName": node,  # no scheduler is asked: it is this node or none
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Unconfined"},
        },
        "containers": [container],
        "volumes": [
            {"name": "proc", "hostPath": {"path": "/proc", "type": "Directory"}},
            {"name": "spool", "emptyDir": spool},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _start(cluster: Any, node: str, namespace: str, image: str, placement: Placement) -> Tracer:
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    body = node_job(node, namespace, image, placement)
    job = cluster.create(jobs, "jobs", namespace, body)["metadata"]["name"]
    try:
        pod = _running(cluster, namespace, job, node, image)
    except BaseException:
        cluster.delete(f"{jobs}/{job}", "jobs", namespace)
        raise
    return Tracer(cluster, namespace, job, pod, node, image, time.time())


def _running(cluster: Any, namespace: str, job: str, node: str, image: str) -> str:
    """Wait until the Job's pod runs, or until it cannot."""
    until = time.monotonic() + _START_SECONDS
    pause = threading.Event()
    why = "nothing is known of it yet"
    while time.monotonic() < until:
        listed = cluster.read(f"/api/v1/namespaces/{namespace}/pods", "pods", namespace, f"job-name={job}")
        for pod in (listed or {}).get("items", ()):
            status = pod.get("status", {})
            if status.get("phase") == "Running" and all(each.get("ready") for each in status["containerStatuses"]):
                return str(pod["metadata"]["name"])
            why = _why(status) or why
            if status.get("phase") == "Failed" or any(word in why for word in HOPELESS):
                raise ClusterError(f"the tracer pod on {node} does not start ({why}): image {image}")
        if not (listed or {}).get("items") and (error := forbidden(cluster, namespace, job, "the tracer pod")):
            raise error
        pause.wait(POLL_SECONDS)
    raise ClusterError(f"the tracer pod on {node} did not start in {_START_SECONDS:.0f} s ({why}): image {image}")


def _why(status: dict[str, Any]) -> str:
    for each in status.get("containerStatuses", ()):
        for state in each.get("state", {}).values():
            if state.get("reason"):
                return f"{state['reason']}: {state.get('message', '')}".strip(": ")[:300]
    return f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")[:300]


def forbidden(cluster: Any, namespace: str, job: str, what: str) -> PrivilegeError | None:
    """Return why a Job's pod is not even made, and what to do; None where the Job's events say nothing of it.

    PodSecurity or a quota forbids it, or the account that it is to run as is not there. `what` names the pod.
    """
    listed = cluster.read(f"/api/v1/namespaces/{namespace}/events", "events", namespace)
    for event in (listed or {}).get("items", ()):
        if event.get("involvedObject", {}).get("name") == job and event.get("reason") == "FailedCreate":
            said = str(event.get("message", ""))[:300]
            if "PodSecurity" in said:
                hint = f"kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite"
            elif "quota" in said:
                hint = "raise the quota, or name another namespace with --tracer-namespace"
            elif "service account" in said:
                hint = "deploy/base/serviceaccount.yaml and rbac.yaml have it: apply them"
            else:
                hint = "look at the namespace's policies"
            return PrivilegeError(f"{what} may not be made in namespace {namespace} ({said}): {hint}")
    return None
