"""The manifests of runs that nobody waits for: a Job on a node, or a CronJob that makes such Jobs in its time.

A Job's pod is a tracer pod that runs `podtracer run …` in place of an agent. A CronJob's pod has no privilege: it finds
out where the targets are by then, and makes a Job on each of their nodes.
"""

from __future__ import annotations

import copy
import itertools
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podtracer_nb.errors import PodtracerError, PrivilegeError
from podtracer_nb.execution.tracer import POLL_SECONDS, Placement, forbidden, node_job

__all__ = ["MOUNTED", "Destination", "cron_job_manifest", "job_manifest", "outlook"]

#: Where a Job's pod has the claim that its output goes to.
MOUNTED = "/output"
_TRUST = "/etc/podtracer/collector"
_LABEL = "app.kubernetes.io/name"
_NAME = "podtracer-run"
_ACCOUNT, _SCHEDULER = "podtracer-job", "podtracer-schedule"
_LONGEST = 24 * 3600  # seconds, where no timer says otherwise
_START = 300  # seconds for the image's pull and the pod's start, beyond the timer
_GRACE = 60  # seconds to flush and to send the rest, when the Job is ended
_KEPT = 24 * 3600  # seconds that an ended Job, and its log, can be looked at
# A Secret of type kubernetes.io/tls as cert-manager makes it has these three; the token is ours.
_FILES = {"CA": "ca.crt", "CERTIFICATE": "tls.crt", "KEY": "tls.key"}


@dataclass(frozen=True)
class Destination:
    """Where a Job's output goes; with neither claim nor Secret nothing is to be mounted for it.

    Attributes
    ----------
    claim
        The PersistentVolumeClaim, mounted at `MOUNTED`.
    variables
        A Secret whose keys become environment variables: a bucket's AWS_ACCESS_KEY_ID and so on.
    trust
        A Secret with the files that a collector asks for: ca.crt, tls.crt, tls.key and token, perhaps a server-name.
    """

    claim: str | None = None
    variables: str | None = None
    trust: str | None = None


def _named(tool: str, words: Sequence[str]) -> dict[str, Any]:
    plain = re.sub(r"[^a-z0-9]+", "-", tool.rsplit("/", 1)[-1].lower()).strip("-")[:20] or "tool"
    return {
        "name": f"podtracer-{plain}-{secrets.token_hex(4)}",
        "labels": {_LABEL: _NAME, "app.kubernetes.io/managed-by": "podtracer-nb", "podtracer.io/tool": plain},
        "annotations": {"podtracer.io/words": " ".join(words)},
    }


def job_manifest(
    tool: str,
    words: Sequence[str],
    *,
    node: str,
    namespace: str,
    image: str,
    timer: float | None,
    destination: Destination,
) -> dict[str, Any]:
    """Return a Job that carries out `podtracer WORDS` on a node.

    Parameters
    ----------
    tool
        Its name becomes part of the Job's.
    words
        `run`, and so on.
    node, namespace, image
        Where, and of which image.
    timer
        Seconds that the run takes at the most; the Job's deadline is after that.
    destination
        What is mounted for its output.

    Examples
    --------
    >>> job_manifest("tcpdump", ["run", "tcpdump"], node="a", namespace="podtracer", image="podtracer-nb:1", timer=60.0,
    ...              destination=Destination())["spec"]["activeDeadlineSeconds"]
    360
    """
    named = _named(tool, words)
    ours = itertools.takewhile(lambda word: word != "--", words)  # what follows is the tool's
    job = copy.deepcopy(node_job(node, namespace, image, Placement(changes="--allow-change" in ours)))
    job["metadata"] = {**named, "namespace": namespace}  # nobody's: it outlives the notebook
    spec = job["spec"]
    spec["activeDeadlineSeconds"] = int(timer or _LONGEST) + _START
    spec["ttlSecondsAfterFinished"] = _KEPT
    spec["template"]["metadata"] = {"labels": named["labels"]}
    pod = spec["template"]["spec"]
    # By the scheduler all the same, unlike a tracer: a claim that waits for its first consumer is bound by that alone.
    del pod["nodeName"]
    there = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"nodeSelectorTerms": [there]}
    pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    pod["serviceAccountName"], pod["automountServiceAccountToken"] = _ACCOUNT, True
    pod["terminationGracePeriodSeconds"] = _GRACE
    (container,) = pod["containers"]
    container["name"] = "run"
    container["command"] = ["tini", "--", "podtracer", *words]
    container["env"] = [each for each in container["env"] if each["name"] != "PODTRACER_AGENT_SOCKET"]
    _mount(pod, container, destination)
    return job


def _mount(pod: dict[str, Any], container: dict[str, Any], destination: Destination) -> None:
    if destination.claim is not None:
        pod["volumes"].append({"name": "output", "persistentVolumeClaim": {"claimName": destination.claim}})
        container["volumeMounts"].append({"name": "output", "mountPath": MOUNTED})
    if destination.variables is not None:
        container["envFrom"] = [{"secretRef": {"name": destination.variables}}]
    if destination.trust is not None:
        pod["volumes"].append({"name": "trust", "secret": {"secretName": destination.trust, "defaultMode": 0o440}})
        container["volumeMounts"].append({"name": "trust", "mountPath": _TRUST, "readOnly": True})
        names = {**_FILES, "TOKEN_FILE": "token"}
        container["env"] += [
            {"name": f"PODTRACER_COLLECTOR_{name}", "value": f"{_TRUST}/{file}"} for name, file in names.items()
        ]
        # Where the host that is dialled is not the name in the collector's certificate: an address.
        named = {"name": destination.trust, "key": "server-name", "optional": True}
        container["env"].append({"name": "PODTRACER_COLLECTOR_SERVER_NAME", "valueFrom": {"secretKeyRef": named}})


def cron_job_manifest(tool: str, words: Sequence[str], *, schedule: str, namespace: str, image: str) -> dict[str, Any]:
    """Return a CronJob that carries out `podtracer WORDS`, which make Jobs, whenever its schedule says so.

    Examples
    --------
    >>> cron_job_manifest("ss", ["run", "ss", "--job"], schedule="*/5 * * * *", namespace="podtracer",
    ...                   image="podtracer-nb:1")["kind"]
    'CronJob'
    """
    named = _named(tool, words)
    container = {
        "name": "schedule",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["tini", "--", "podtracer", *words],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PODTRACER_RECORDINGS", "value": "/tmp/recordings"}],  # noqa: S108
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  the pod's own
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": _SCHEDULER,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }  # fmt: skip
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _START,
        "template": {"metadata": {"labels": named["labels"]}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {**named, "namespace": namespace},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 60,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": named["labels"]}, "spec": job},
        },
    }


def outlook(cluster: Any, job: Mapping[str, Any], until: float) -> PrivilegeError | str:
    """Look what becomes of a Job that has just been made, until a moment of the monotonic clock at the latest.

    Parameters
    ----------
    cluster
        Where it is.
    job
        As the API server returned it.
    until
        It is over before: when the pod has its node, or cannot have one now, or may not be made.

    Returns
    -------
    PrivilegeError or str
        Why its pod will never be made; or what it waits for, empty where its pod is on a node.
    """
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    if job["spec"].get("suspend"):
        return "it is suspended, by whatever admits Jobs here: kubectl get workloads, where that is Kueue"
    pause = threading.Event()
    try:
        while True:
            path = f"/api/v1/namespaces/{namespace}/pods"
            pods = (cluster.read(path, "pods", namespace, f"job-name={name}") or {}).get("items", ())
            for pod in pods:
                if pod["spec"].get("nodeName"):
                    return ""
                for each in pod.get("status", {}).get("conditions", ()):
                    if each["type"] == "PodScheduled" and each["status"] == "False":
                        return f"no node can take its pod now ({each.get('message', '')[:300]})"
            if not pods and (error := forbidden(cluster, namespace, name, f"the pod of job {name}")):
                return error
            if time.monotonic() >= until:
                return "its pod is not scheduled yet" if pods else "it has no pod yet"
            pause.wait(POLL_SECONDS)
    except PodtracerError as error:  # it is made all the same
        return f"nobody knows what: {error}"
