"""The cluster of bare processes: the order in which its parts come up."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.cluster import api, build, certificates, cgroups, controlplane, images, network, nodes, packages, processes
from tests.cluster import teardown
from tests.cluster.commands import say
from tests.cluster.layout import DATA, LOGS, NODES, PROGRAMS, READY, RUN, ClusterError, Node


def _ready() -> dict[str, Any]:
    try:
        return dict(json.loads(READY.read_text()))
    except (OSError, ValueError):
        return {}


def is_up() -> bool:
    """Tell whether `up` went to its end, and everything that it started still runs."""
    return bool(_ready()) and not processes.dead() and api.get("/readyz") == "ok"


def nodes_up() -> dict[str, str]:
    """Return the nodes that the API server knows, and what each of them says of itself."""
    listed = api.get("/api/v1/nodes") if certificates.AUTHORITY.exists() else None
    found = {}
    for node in (listed or {}).get("items", []):
        ready = next(each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready")
        information = node["status"]["nodeInfo"]
        state = "Ready" if ready == "True" else "not Ready"
        runtime, kubelet = information["containerRuntimeVersion"], information["kubeletVersion"]
        found[node["metadata"]["name"]] = f"{state}, {runtime}, kubelet {kubelet}"
    return found


def _link_programs(*folders: Any) -> None:
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for program in folder.iterdir():
            (PROGRAMS / program.name).symlink_to(program)


def _bring_up(node: Node, archives: Future[list[Any]]) -> None:
    """Bring a node's runtime up, with the images in it."""
    if node.runtime == "containerd":
        nodes.start_containerd(node)
    else:
        nodes.start_crio(node)
    nodes.wait_for_runtime(node)
    load = images.load_containerd if node.runtime == "containerd" else images.load_crio
    for archive in archives.result():
        load(archive)


def up(count: int) -> None:
    """Bring `count` nodes up, and return when each is Ready and a pod would be admitted."""
    wanted = NODES[:count]
    if is_up() and len(_ready()["nodes"]) >= count:
        say(f"up already: {', '.join(_ready()['nodes'])}")
        return
    packages.install(packages.RUNNING, packages.RUNNING_CRIO if count > 1 else {})
    folders = [build.kubernetes(), *([build.crio()] if count > 1 else [])]
    build.pause()
    if RUN.exists() or teardown.leftovers():
        say("taking down what an earlier run left")
        if left := teardown.down():
            raise ClusterError("an earlier cluster cannot be taken down:\n" + "\n".join(left))
    for folder in (RUN, DATA, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    RUN.chmod(0o755)
    teardown.remember()
    network.save_sysctls()
    _link_programs(*folders)
    with ThreadPoolExecutor() as pool:
        archives = pool.submit(images.make_own)
        certificates.make(wanted)
        controlplane.start_etcd()
        network.up(wanted)
        if count > 1:
            cgroups.mount_hugetlb()
        for node in wanted:
            network.write_cni(node)
        runtimes = [pool.submit(_bring_up, node, archives) for node in wanted]
        controlplane.start_apiserver()
        say("the API server is ready")
        controlplane.start_controllers()
        for runtime in runtimes:
            runtime.result()
        say("the runtimes have their images")
        for node in wanted:
            nodes.start_kubelet(node)
        controlplane.make_volumes()
        controlplane.wait_for_account()
        for node in wanted:
            controlplane.wait_for_node(node.name)
    READY.write_text(json.dumps({"nodes": [node.name for node in wanted]}))
    for name, what in nodes_up().items():
        say(f"{name}: {what}")
