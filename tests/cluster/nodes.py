"""A node: its runtime and its kubelet, each with a configuration that shares nothing with the other node's."""

from __future__ import annotations

import json
import os
import shutil
import string
from pathlib import Path

from tests.cluster import cgroups, processes, teardown
from tests.cluster.certificates import AUTHORITY, certificate, key, kubeconfig
from tests.cluster.commands import SEARCH, say
from tests.cluster.images import PAUSE
from tests.cluster.layout import DATA, HERE, MARK, NODES, PROGRAMS, RUN, Node

_KUBELET_PORT = 20250


def _program(name: str) -> str:
    return shutil.which(name, path=SEARCH) or name


def _fill(template: str, node: Node, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    words = {
        "data": node.data,
        "run": RUN,
        "socket": node.socket,
        "cni": node.cni,
        "pause": PAUSE,
        "programs": PROGRAMS,
        "mark": "=".join(MARK),
        "conmon": _program("conmon"),
        "runc": _program("runc"),
    }
    target.write_text(string.Template((HERE / template).read_text()).substitute(words))
    return target


def start_containerd(node: Node) -> None:
    """Start node-a's runtime."""
    settings = _fill("containerd.toml", node, RUN / "containerd" / "config.toml")
    processes.start("containerd", ["containerd", "--config", settings])


def start_crio(node: Node) -> None:
    """Start node-b's runtime."""
    folder = RUN / "crio"
    settings = _fill("crio.conf", node, folder / "crio.conf")
    # Its own policy and store: the machine's may be anything, or missing.
    (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "no-mounts").touch()
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{node.data / "containers"}"\nrunroot = "{folder / "containers"}"\n'
    )
    environment = {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
    }
    argv = [PROGRAMS / "crio", "--config", settings, "--config-dir", folder / "no-drop-ins"]
    processes.start("crio", argv, environment)


def wait_for_runtime(node: Node) -> None:
    """Wait until the runtime's socket is there, and give it the standard name too where that is free."""
    processes.wait_for(f"{node.runtime} listens", node.runtime, node.socket.is_socket)
    standard = node.standard_socket
    if standard.exists():
        say(f"{standard} is someone else's: only {node.socket} is node {node.name}'s")
        return
    # A second name of the same socket, not a symbolic link: a pod that mounts the folder must find it there.
    standard.parent.mkdir(parents=True, exist_ok=True)
    standard.unlink(missing_ok=True)
    os.link(node.socket, standard)
    teardown.remember_socket(standard)


def start_kubelet(node: Node) -> None:
    """Start the node's kubelet."""
    number = NODES.index(node)
    cgroups.make(node)
    manifests = RUN / node.name / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "port": _KUBELET_PORT + number,
        "healthzPort": 0,
        "tlsCertFile": str(certificate(node.name)),
        "tlsPrivateKeyFile": str(key(node.name)),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(AUTHORITY)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "staticPodPath": str(manifests),
        "podLogsDir": str(node.data / "pods"),
        "volumePluginDir": str(DATA / "volume-plugins"),
        "makeIPTablesUtilChains": False,
        # Two kubelets on one hierarchy would each take the other's pods for orphans and kill them.
        "cgroupRoot": node.cgroup,
        "cgroupDriver": "cgroupfs",
        "enforceNodeAllocatable": ["none"],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "oomScoreAdj": 0,
        # Images cannot be pulled again, and a full disk is no reason to end a test's pods.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {name: "0%" for name in ("memory.available", "nodefs.available", "nodefs.inodesFree")},
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
    }
    path = RUN / node.name / "kubelet.json"
    path.write_text(json.dumps(settings, indent=1) + "\n")
    processes.start(
        f"kubelet-{node.name}",
        [
            PROGRAMS / "kubelet",
            f"--config={path}",
            f"--kubeconfig={kubeconfig(node.name)}",
            f"--root-dir={node.data / 'kubelet'}",
            f"--cert-dir={RUN / node.name / 'certificates'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ],
    )
