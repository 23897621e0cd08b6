"""A pod as the API describes it, read as a target."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from podtracer_nb.targets.pod import target_of

ID, SIDE = "1a" * 32, "2b" * 32

# The shape of `kubectl get pod -o json`, shortened.
WEB: dict[str, Any] = {
    "metadata": {
        "name": "web-7d9f8c6b5-x2x4q",
        "namespace": "shop",
        "uid": "0b8a3d9e-1c2f-4f6a-9a53-2f0e9a6c7d11",
        "labels": {"app": "web", "pod-template-hash": "7d9f8c6b5"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d9f8c6b5", "controller": True}],
    },
    "spec": {
        "nodeName": "node-a",
        "containers": [{"name": "server"}, {"name": "sidecar"}],
        "initContainers": [{"name": "setup"}],
    },
    "status": {
        "phase": "Running",
        "podIPs": [{"ip": "10.77.1.9"}, {"ip": "fd00::9"}],
        "containerStatuses": [
            {"name": "server", "containerID": f"containerd://{ID}", "state": {"running": {}}},
            {"name": "sidecar", "containerID": f"containerd://{SIDE}", "state": {"running": {}}},
        ],
        "initContainerStatuses": [
            {"name": "setup", "containerID": "containerd://3c", "state": {"terminated": {"reason": "Completed"}}}
        ],
    },
}  # fmt: skip


def web(**changes: Any) -> dict[str, Any]:
    """Return the pod with parts of its metadata, spec and status replaced."""
    pod = copy.deepcopy(WEB)
    for part, words in changes.items():
        pod[part].update(words)
    return pod


def test_what_the_api_says_is_what_the_target_holds() -> None:
    target = target_of(WEB)
    assert (target.label, target.node, target.uid) == ("shop/web-7d9f8c6b5-x2x4q", "node-a", WEB["metadata"]["uid"])
    assert target.ip == ("10.77.1.9", "fd00::9")
    assert target.containers == ("server", "sidecar", "setup")
    assert target.container_ids == {"server": ID, "sidecar": SIDE}
    assert (target.container, target.runtime, target.phase, target.untraceable) == (
        "server",
        "containerd",
        "Running",
        "",
    )
    assert target.states["setup"] == "Completed"
    assert not target.host_network and target.cgroup_uids == (target.uid,)


def test_the_owner_is_the_deployment_whose_replicaset_it_is() -> None:
    assert target_of(WEB).owner == "Deployment/web"
    bare = [{"kind": "ReplicaSet", "name": "web-other", "controller": True}]
    assert target_of(web(metadata={"ownerReferences": bare})).owner == "ReplicaSet/web-other"
    assert target_of(web(metadata={"ownerReferences": []})).owner == ""
    assert (
        target_of(web(metadata={"ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]})).owner
        == "StatefulSet/db"
    )


def test_the_default_container_is_the_annotated_one_if_it_runs() -> None:
    annotated = {"annotations": {"kubectl.kubernetes.io/default-container": "sidecar"}}
    assert target_of(web(metadata=annotated)).container == "sidecar"
    assert (
        target_of(web(metadata={"annotations": {"kubectl.kubernetes.io/default-container": "gone"}})).container
        == "server"
    )


def test_any_running_container_serves_for_the_network() -> None:
    statuses = copy.deepcopy(WEB["status"]["containerStatuses"])
    statuses[0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    target = target_of(web(status={"containerStatuses": statuses}))
    assert (target.container, target.untraceable) == ("sidecar", "")
    assert target.states["server"] == "CrashLoopBackOff"


def test_ephemeral_and_sidecar_init_containers_serve_too() -> None:
    debug = {"name": "debug", "containerID": f"cri-o://{ID}", "state": {"running": {}}}
    status = {"containerStatuses": [], "initContainerStatuses": [], "ephemeralContainerStatuses": [debug]}
    target = target_of(web(spec={"ephemeralContainers": [{"name": "debug"}]}, status=status))
    assert (target.container, target.runtime, target.container_ids) == ("debug", "cri-o", {"debug": ID})


@pytest.mark.parametrize(
    ("spec", "status", "words"),
    [
        ({}, {"phase": "Succeeded", "containerStatuses": []}, "has finished (Succeeded)"),
        ({}, {"phase": "Failed", "containerStatuses": []}, "has finished (Failed)"),
        ({"os": {"name": "windows"}}, {}, "Windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, {}, "Windows"),
        (
            {"nodeName": None},
            {"phase": "Pending", "containerStatuses": [], "initContainerStatuses": [],
             "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]},
            "is Pending (Unschedulable)",
        ),
    ],
)  # fmt: skip
def test_why_a_pod_cannot_be_traced(spec: dict[str, Any], status: dict[str, Any], words: str) -> None:
    assert words in target_of(web(spec=spec, status=status)).untraceable


@pytest.mark.parametrize(("phase", "why"), [("Running", "CrashLoopBackOff"), ("Pending", "ErrImageNeverPull")])
def test_a_pod_that_waits_may_have_its_sandbox(phase: str, why: str) -> None:
    waiting = {"name": "server", "state": {"waiting": {"reason": why}}}
    target = target_of(web(status={"phase": phase, "initContainerStatuses": [], "containerStatuses": [waiting]}))
    assert (target.untraceable, target.container_ids, target.states["server"]) == ("", {}, why)


def test_a_pod_that_is_being_deleted_says_so_and_can_be_traced_while_it_runs() -> None:
    target = target_of(web(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert (target.phase, target.untraceable) == ("Terminating", "")


def test_a_static_pod_has_the_uid_of_its_configuration_too() -> None:
    target = target_of(web(metadata={"annotations": {"kubernetes.io/config.hash": "d41d8cd9"}}))
    assert target.cgroup_uids == (WEB["metadata"]["uid"], "d41d8cd9")


def test_multus_interfaces_are_listed() -> None:
    status = '[{"name": "cbr0", "interface": "eth0", "ips": ["10.1.1.2"]}, {"name": "storage", "interface": "net1"}]'
    annotations = {"k8s.v1.cni.cncf.io/network-status": status}
    assert target_of(web(metadata={"annotations": annotations})).interfaces == ("eth0", "net1")
    for broken in ("no json", '{"a": 1}', "[1]", ""):
        assert target_of(web(metadata={"annotations": {"k8s.v1.cni.cncf.io/network-status": broken}})).interfaces == ()


def test_an_id_that_is_none_is_not_used() -> None:
    statuses = [{"name": "server", "containerID": "containerd://../../etc", "state": {"running": {}}}]
    assert target_of(web(status={"containerStatuses": statuses})).container_ids == {}
