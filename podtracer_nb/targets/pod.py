"""A pod as the Kubernetes API describes it, read as a target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from podtracer_nb.targets.target import Lookup, Target

__all__ = ["target_of"]

# It becomes part of what is looked for in control groups, and of what a runtime is asked.
_ID = re.compile(r"[0-9a-f]{64}")


def target_of(pod: Mapping[str, Any], cluster: Lookup | None = None) -> Target:
    """Return a pod, as the API describes it (v1.Pod as JSON), as a target.

    Its container is the one that ``kubectl.kubernetes.io/default-container`` names, if it runs; else the first that
    runs, since any serves for the pod's network; else the first.

    Examples
    --------
    >>> target_of({"metadata": {"name": "web", "namespace": "shop"}, "spec": {}, "status": {"phase": "Pending"}}).label
    'shop/web'
    """
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    annotations = metadata.get("annotations") or {}
    names = [each["name"] for word in ("containers", "initContainers", "ephemeralContainers")
             for each in spec.get(word) or ()]  # fmt: skip
    states = {
        each["name"]: each
        for word in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        for each in status.get(word) or ()
    }
    words = {name: _state(states.get(name, {})) for name in names}
    running = [name for name in names if words[name] == "running"]
    named = annotations.get("kubectl.kubernetes.io/default-container")
    chosen = str(named) if named in running else (running or names or [""])[0]
    ids = {name: str(states[name].get("containerID") or "").partition("://") for name in running}
    uid = str(metadata.get("uid", ""))
    return Target(
        pod=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=uid,
        container=chosen,
        containers=tuple(names),
        node=spec.get("nodeName", ""),
        runtime=ids[chosen][0] if chosen in ids else "",
        ip=tuple(each["ip"] for each in status.get("podIPs") or () if each.get("ip")),
        labels=metadata.get("labels") or {},
        owner=_owner(metadata),
        # As kubectl has it: a pod that is being deleted keeps its phase to the end.
        phase="Terminating" if metadata.get("deletionTimestamp") else status.get("phase", ""),
        source="kubernetes",
        container_ids={name: identity for name, (_, _, identity) in ids.items() if _ID.fullmatch(identity)},
        states=words,
        # The kubelet names the group of a static pod after its configuration; the API has a mirror with another uid.
        cgroup_uids=tuple(
            dict.fromkeys(each for each in (uid, annotations.get("kubernetes.io/config.hash", "")) if each)
        ),
        host_network=bool(spec.get("hostNetwork")),
        interfaces=_interfaces(annotations),
        runtime_class=spec.get("runtimeClassName") or "",
        untraceable=_untraceable(spec, status),
        cluster=cluster,
    )


def _owner(metadata: Mapping[str, Any]) -> str:
    """Return ``Kind/name`` of the controller; of a ReplicaSet that a Deployment made, the Deployment.

    The Deployment controller names a ReplicaSet after itself and the pod template's hash, which the pods carry as a
    label: no further call is needed to know it.
    """
    owners = metadata.get("ownerReferences") or ()
    owner = next((each for each in owners if each.get("controller")), None)
    if owner is None:
        return ""
    kind, name = owner["kind"], owner["name"]
    template = (metadata.get("labels") or {}).get("pod-template-hash")
    if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
        return f"Deployment/{name.removesuffix(f'-{template}')}"
    return f"{kind}/{name}"


def _interfaces(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return the interfaces that Multus attached, from the network-status annotation; none where it says nothing."""
    try:
        networks = json.loads(annotations.get("k8s.v1.cni.cncf.io/network-status") or "[]")
    except ValueError:
        return ()
    if not isinstance(networks, list):
        return ()
    return tuple(str(each["interface"]) for each in networks if isinstance(each, dict) and each.get("interface"))


def _state(status: Mapping[str, Any]) -> str:
    """Return ``running``, or the reason why a container waits or has ended."""
    state = status.get("state") or {}
    if "running" in state:
        return "running"
    why = state.get("waiting") or state.get("terminated") or {}
    return str(why.get("reason") or "not started")


def _untraceable(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return why the API's own words exclude a run; empty where they do not."""
    system = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    phase = status.get("phase") or "Unknown"
    if system == "windows":
        return "runs on a Windows node, which has no network namespaces"
    if phase in ("Succeeded", "Failed"):
        return f"has finished ({phase}): its namespaces are gone"
    conditions: Any = status.get("conditions") or ()
    for each in conditions:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return f"is {phase} ({each.get('reason') or 'not scheduled'}): no node has it yet"
    return ""
