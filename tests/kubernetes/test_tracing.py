"""From a pod's name to a DataFrame on a real cluster, on each of its runtimes, from the node itself."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import podtracer_nb
from podtracer_nb import targets
from podtracer_nb.errors import PrivilegeError, TargetError, TargetNotFound, ToolFailed
from podtracer_nb.targets import cri, opening, procfs
from tests.cluster import layout
from tests.cluster.fixtures import BUSYBOX, Kubectl, wait_for, web_pods
from tests.kubernetes.conftest import Podtracer
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]


def web_on(kubectl: Kubectl, node: str) -> dict[str, Any]:
    """Return the sample's web pod on a node."""
    (pod,) = [each for each in web_pods(kubectl) if each["spec"]["nodeName"] == node]
    return dict(pod)


@contextlib.contextmanager
def pod(kubectl: Kubectl, name: str, node: str, namespace: str = "default", **spec: Any) -> Iterator[str]:
    """Run a pod of its own for a test: busybox that sleeps; its name and namespace as one word."""
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "3600"], "imagePullPolicy": "IfNotPresent"}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }
    where = ("--namespace", namespace)
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(manifest))
    try:
        kubectl(*where, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        yield f"{namespace}/{name}"
    finally:
        kubectl(*where, "delete", "pod", name, "--ignore-not-found", "--wait=true", "--grace-period=0", "--force")


def talk(kubectl: Kubectl, name: str, times: int) -> None:
    """Make two packets on a pod's loopback, some times: a connection that nobody takes. (CRI-O lets no pod ping.)"""
    ask = f"for i in $(seq {times}); do wget -q -O - http://127.0.0.1:9/; done; true"
    kubectl("exec", name, "--", "sh", "-c", ask)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """A thread of its own for a run that something happens to."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


# -- which pods --------------------------------------------------------------------------------------------------------


def test_the_list_says_what_can_be_traced_from_here(shop: Kubectl, nodes: list[str]) -> None:
    pods = podtracer_nb.pods("shop").set_index("pod")
    web = pods[pods["owner"].eq("Deployment/web")]
    assert web["traceable"].all() and web["reason"].eq("").all() and web["phase"].eq("Running").all()
    assert sorted(web["node"]) == sorted(nodes)
    assert web["services"].eq("web").all() and web["containers"].eq("web").all() and not web["host_network"].any()
    real = {each["metadata"]["name"]: each["status"]["podIP"] for each in web_pods(shop)}
    assert web["ip"].to_dict() == real


def test_the_list_says_why_a_pod_is_out_of_reach(
    shop: Kubectl, nodes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODTRACER_NODE_NAME", nodes[0])
    pods = podtracer_nb.pods("shop", selector="app=web")
    assert pods["traceable"].eq(pods["node"].eq(nodes[0])).all()
    assert all(f"on node {node}, and we are on {nodes[0]}" in reason
               for node, reason in zip(pods["node"], pods["reason"], strict=True) if node != nodes[0])  # fmt: skip


def test_every_way_to_name_pods(shop: Kubectl) -> None:
    def names(*pods: str, **words: Any) -> set[str]:
        return {target.pod for target in targets.resolve(pods=pods, namespace="shop", **words)}

    web = {each["metadata"]["name"] for each in web_pods(shop)}
    assert names("deploy/web") == names("svc/web") == names("web-*") == names(selector="app=web") == web
    assert names(min(web)) == {min(web)}
    assert {target.pod for target in targets.resolve(pods=[f"shop/{min(web)}"])} == {min(web)}
    with pytest.raises(TargetNotFound, match="namespace shop has it: use -n"):
        targets.resolve(pods=min(web), namespace="default")
    with pytest.raises(TargetNotFound, match=r"no namespace shpo.*shop"):
        targets.resolve(pods="web", namespace="shpo")
    with pytest.raises(TargetNotFound, match=r"no pod of deployment wbe.*web"):
        names("deploy/wbe")


# -- which process, which namespace ------------------------------------------------------------------------------------


def test_the_runtime_and_the_control_groups_name_the_same_namespace(
    shop: Kubectl, node: layout.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = targets.resolve(pods=web_on(shop, node.name)["metadata"]["name"], namespace="shop")
    monkeypatch.setenv("PODTRACER_RUNTIME_SOCKET", str(node.socket))
    assert cri.version(node.socket).name == {"containerd": "containerd", "crio": "cri-o"}[node.runtime]
    asked = cri.locate(node.socket, target.container_ids[target.container])
    assert procfs.find_container(target.container_ids[target.container], target.cgroup_uids, Path("/proc")) == (
        asked.pid, procfs.start_time(asked.pid),
    )  # fmt: skip
    assert asked.network.startswith("/")
    with targets.pin(target) as by_runtime:
        monkeypatch.setenv("PODTRACER_RUNTIME_SOCKET", "/nowhere.sock")
        with targets.pin(target) as by_group:
            assert by_runtime.identity["net"] == by_group.identity["net"] != procfs.own_namespace("net")
            assert by_group.process is not None and by_group.process.pid == asked.pid


def test_a_runtime_that_hangs_is_gone_round(shop: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    (target,) = targets.resolve(pods=web_pods(shop)[0]["metadata"]["name"], namespace="shop")
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        monkeypatch.setenv("PODTRACER_RUNTIME_SOCKET", str(path))
        monkeypatch.setattr(cri, "_SECONDS", 0.5)
        with targets.pin(target) as held:
            assert any("the process was found without it" in notice for notice in held.notices)


def test_a_process_that_is_another_one_now_is_refused(shop: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    (target,) = targets.resolve(pods=web_pods(shop)[0]["metadata"]["name"], namespace="shop")
    found = procfs.find_container(target.container_ids[target.container], target.cgroup_uids, Path("/proc"))
    assert found is not None
    monkeypatch.setenv("PODTRACER_RUNTIME_SOCKET", "/nowhere.sock")
    # The number has gone to a process of ours, as after a wrap-around of process ids.
    own = (os.getpid(), procfs.start_time(os.getpid()))
    monkeypatch.setattr(procfs, "find_container", lambda *_: own)
    with pytest.raises(TargetError, match="is another one now"):
        targets.pin(target)
    monkeypatch.setattr(procfs, "find_container", lambda *_: (found[0], found[1] + 1))
    with pytest.raises(TargetError, match="is another one now"):
        targets.pin(target)


def test_a_pod_on_its_node_s_own_network_is_named_as_such(kubectl: Kubectl, node: layout.Node) -> None:
    with pod(kubectl, f"host-{node.letter}-test", node.name, hostNetwork=True) as name:
        frame = podtracer_nb.run("ip", ["-br", "link"], pod=name)
        assert any("hostNetwork" in note for note in frame.attrs["podtracer"]["notes"])
        assert bool(podtracer_nb.pods("default").set_index("pod").loc[name.split("/")[1], "host_network"])


def test_a_namespace_that_is_the_node_s_is_refused_where_the_pod_has_its_own(
    shop: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = targets.resolve(pods=web_pods(shop)[0]["metadata"]["name"], namespace="shop")
    module = importlib.import_module("podtracer_nb.targets.pin")  # its function has its name in the package
    monkeypatch.setattr(module, "open_namespaces", lambda _: opening.Opened(
        {"net": os.open("/proc/self/ns/net", os.O_RDONLY)}, procfs.own_namespace("net")))  # fmt: skip
    with pytest.raises(TargetError, match="should have a network of its own"):
        targets.pin(target)


# -- captures ----------------------------------------------------------------------------------------------------------


def test_the_original_form_leaves_the_exchange_in_the_file(
    shop: Kubectl, node: layout.Node, podtracer: Podtracer, tmp_path: Path
) -> None:
    web = web_on(shop, node.name)
    file = tmp_path / "test.pcap"
    done = podtracer(
        "run", "tcpdump", "-a", f"-i eth0 -c 10 -w {file} tcp port 8080",
        "--pod", web["metadata"]["name"], "-n", "shop",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frame = podtracer_nb.read_pcap(file)
    assert len(frame) == 10
    to_server = frame[frame["dport"].eq(8080)]
    assert set(to_server["dst"].astype(str)) == {web["status"]["podIP"]}
    assert {"S", "SA"} & set(frame["tcp_flags"].astype(str)) and frame["error"].isna().all()


def test_the_http_exchange_of_two_pods_is_a_table(shop: Kubectl) -> None:
    server = web_pods(shop)[0]
    clients = shop.json("--namespace", "shop", "get", "pods", "--selector=app=client")["items"]
    (client,) = [each for each in clients if "deletionTimestamp" not in each["metadata"]]
    frame = podtracer_nb.run(
        "tcpdump", ["-i", "eth0", "-c", "50", "port", "8080"], pod=server["metadata"]["name"], namespace="shop"
    )
    assert len(frame) == 50
    ends = (client["status"]["podIP"], server["status"]["podIP"])
    asked = frame[frame["src"].eq(ends[0]) & frame["dst"].eq(ends[1]) & frame["payload_length"].gt(0)]
    answered = frame[frame["src"].eq(ends[1]) & frame["dst"].eq(ends[0]) & frame["payload_length"].gt(0)]
    assert len(asked) and len(answered)
    assert bytes(frame.podtrace.packet(asked.index[0])["TCP"].payload).startswith(b"GET /index.html HTTP/1.0\r\n")
    meta = frame.attrs["podtracer"]
    assert (
        meta["targets"][0]["pod"] == server["metadata"]["name"]
        and meta["targets"][0]["uid"] == server["metadata"]["uid"]
    )
    assert meta["targets"][0]["node"] == server["spec"]["nodeName"]


def test_pods_of_both_nodes_at_once(shop: Kubectl, nodes: list[str]) -> None:
    frame = podtracer_nb.run("tcpdump", ["-i", "eth0"], pod="deploy/web", namespace="shop", timer=6)
    assert set(frame["node"].astype(str)) == set(nodes)
    assert set(frame["target"].astype(str)) == {f"shop/{each['metadata']['name']}" for each in web_pods(shop)}
    assert frame["time"].is_monotonic_increasing


def test_a_pod_that_is_deleted_ends_its_recording(
    kubectl: Kubectl, node: layout.Node, background: ThreadPoolExecutor
) -> None:
    with pod(kubectl, f"short-{node.letter}", node.name) as name:
        # Some packets first: it asks for something from inside.
        run = background.submit(lambda: podtracer_nb.run("tcpdump", ["-i", "any"], pod=name, timer=90))
        wait_for("the capture runs", lambda: any(
            job.name == "podtracer-watch" for job in threading.enumerate()))  # fmt: skip
        talk(kubectl, f"short-{node.letter}", 3)
        kubectl("delete", "pod", f"short-{node.letter}", "--grace-period=0", "--force")
        frame = run.result(30)
    meta = frame.attrs["podtracer"]
    assert len(frame) >= 6
    assert any("was deleted" in note for note in meta["notes"])
    assert meta["reason"] in ("target-gone", "exit") and not meta["interrupted"]
    sidecar = json.loads(Path(f"{meta['recordings'][0]}.json").read_text())
    assert sidecar["reason"] == meta["reason"]


def test_a_container_that_restarts_keeps_its_network_and_the_capture(
    kubectl: Kubectl, node: layout.Node, background: ThreadPoolExecutor
) -> None:
    with pod(kubectl, f"again-{node.letter}", node.name) as name:
        (target,) = targets.resolve(pods=name)
        found = procfs.find_container(target.container_ids["main"], target.cgroup_uids, Path("/proc"))
        assert found is not None
        run = background.submit(lambda: podtracer_nb.run("tcpdump", ["-i", "lo"], pod=name, timer=12))
        wait_for("the capture runs", lambda: any(
            job.name == "podtracer-watch" for job in threading.enumerate()))  # fmt: skip
        os.kill(found[0], signal.SIGKILL)  # a process of the pod that this test made

        def again() -> bool:
            (now,) = targets.resolve(pods=name)
            return now.container_ids.get("main") not in (None, target.container_ids["main"])

        wait_for("the container runs again", again, 10)
        talk(kubectl, f"again-{node.letter}", 2)
        frame = run.result(30)
    assert frame.attrs["podtracer"]["reason"] == "timer" and frame.attrs["podtracer"]["notes"] == []
    assert len(frame) >= 4


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_an_account_without_rights_is_told_the_right_that_is_missing(
    shop: Kubectl, podtracer: Podtracer, tmp_path: Path
) -> None:
    shop("--namespace", "shop", "create", "serviceaccount", "nobody")
    token = shop("--namespace", "shop", "create", "token", "nobody").strip()
    config = json.loads(shop("config", "view", "--raw", "--output=json"))
    config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
    path = tmp_path / "nobody.kubeconfig"
    path.write_text(json.dumps(config))
    name = web_pods(shop)[0]["metadata"]["name"]
    for words in (("run", "tcpdump", "--pod", name, "-n", "shop", "--", "-c", "1"), ("pods", "-n", "shop")):
        done = podtracer(*words, "--kubeconfig", str(path)) if words[0] == "pods" else podtracer(
            *words[:1], "--kubeconfig", str(path), *words[1:])  # fmt: skip
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        verb = "get" if words[0] == "run" else "list"
        assert f"system:serviceaccount:shop:nobody may not {verb} pods in namespace shop" in line
        assert f"a Role has to allow {verb} on pods" in line
    path.write_text(json.dumps(config).replace(token, token[:-8] + "AAAAAAAA"))
    done = podtracer("pods", "-n", "shop", "--kubeconfig", str(path))
    assert done.returncode == 1 and "does not know us (401)" in done.stderr


def test_a_pod_on_another_node_is_refused_with_the_node_s_name(
    shop: Kubectl, nodes: list[str], podtracer: Podtracer
) -> None:
    if len(nodes) < 2:
        pytest.skip("the cluster has one node")
    web = web_on(shop, nodes[1])["metadata"]["name"]
    done = podtracer("run", "ip", "--pod", web, "-n", "shop", "--via", "here", PODTRACER_NODE_NAME=nodes[0])
    assert done.returncode == 1
    assert f"is on node {nodes[1]}, and we are on {nodes[0]}" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_pod_whose_container_crashes_is_entered_by_its_sandbox(kubectl: Kubectl) -> None:
    """As containerd has it; CRI-O keeps no process for a sandbox by default, and then there is nothing to enter."""
    manifest = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "crashing", "namespace": "default"},
        "spec": {"nodeName": layout.NODES[0].name, "containers": [
            {"name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["false"]}]},
    }  # fmt: skip
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(manifest))
    try:
        wait_for("it crashes", lambda: "CrashLoopBackOff" in kubectl("get", "pod", "crashing"))
        frame = podtracer_nb.run("ip", ["addr"], pod="default/crashing")
        address = kubectl.json("get", "pod", "crashing")["status"]["podIP"]
        assert frame["address"].eq(address).any()
        assert any("this is its sandbox" in note for note in frame.attrs["podtracer"]["notes"])
        with pytest.raises(TargetError, match="no mnt of a container"):
            podtracer_nb.run("ls", pod="default/crashing", ns=("net", "mnt"))
    finally:
        kubectl("delete", "pod", "crashing", "--grace-period=0", "--force")


def test_pods_that_have_no_process(kubectl: Kubectl) -> None:
    manifest = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nowhere", "namespace": "default"},
        "spec": {"nodeSelector": {"no": "such-node"}, "containers": [{"name": "main", "image": BUSYBOX}]},
    }  # fmt: skip
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump(manifest))
    try:
        with pytest.raises(TargetError, match=r"is Pending \(.*\): no node has it yet"):
            podtracer_nb.run("ip", pod="default/nowhere")
    finally:
        kubectl("delete", "pod", "nowhere", "--grace-period=0", "--force")
    with pytest.raises(TargetNotFound):
        podtracer_nb.run("ip", pod="default/nowhere")


def test_a_container_of_the_pod_is_chosen_and_a_wrong_one_named(shop: Kubectl) -> None:
    web = web_pods(shop)[0]["metadata"]["name"]
    assert len(podtracer_nb.run("ip", ["-br", "link"], pod=f"shop/{web}", container="web")) >= 2
    with pytest.raises(TargetNotFound, match=r"no container wbe.*web"):
        podtracer_nb.run("ip", pod=f"shop/{web}", container="wbe")


def test_no_such_interface_and_no_such_filter(shop: Kubectl) -> None:
    web = f"shop/{web_pods(shop)[0]['metadata']['name']}"
    with pytest.raises(TargetError, match="no interface eth9"):
        podtracer_nb.run("tcpdump", ["-i", "eth9", "-c", "1"], pod=web)
    with pytest.raises((ToolFailed, ValueError), match="filter"):
        podtracer_nb.run("tcpdump", pod=web, interface="eth0", filter="not a filter", count=1)


# -- nothing is left ---------------------------------------------------------------------------------------------------


def held() -> dict[str, int]:
    """Count what this process holds and what it started."""
    descriptors = list(Path("/proc/self/fd").iterdir())
    sockets = [each for each in descriptors if _link(each).startswith("socket:")]
    tasks = Path("/proc/self/task").iterdir()
    children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    return {
        "descriptors": len(descriptors),
        "sockets": len(sockets),
        "threads": threading.active_count(),
        "children": len(children),
        "namespaces": len({_link(each / "ns/net") for each in Path("/proc").glob("[0-9]*")}),
    }


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def test_two_hundred_captures_leave_nothing_behind(shop: Kubectl) -> None:
    names = [f"shop/{each['metadata']['name']}" for each in web_pods(shop)]

    def capture(number: int) -> None:
        frame = podtracer_nb.run(
            "tcpdump", ["--immediate-mode", "-i", "lo"], pod=names[number % len(names)], timer=0.01
        )
        assert frame.attrs["podtracer"]["reason"] == "timer"

    for number in range(4):
        capture(number)
    before = held()
    for number in range(200):
        capture(number)
    after = held()
    assert after == before


@pytest.mark.usefixtures("shop")
def test_refusals_leave_nothing_behind() -> None:
    def refuse() -> None:
        with pytest.raises((TargetError, PrivilegeError)):
            podtracer_nb.run("ip", pod="shop/no-such-pod")

    refuse()
    before = held()
    for _ in range(50):
        refuse()
    assert held() == before


def test_a_run_that_is_killed_leaves_no_key_on_the_disk(shop: Kubectl, tmp_path: Path) -> None:
    web = f"shop/{web_pods(shop)[0]['metadata']['name']}"
    words = ["run", "tcpdump", "--pod", web, "-f", str(tmp_path / "killed.pcap"), "--", "-i", "eth0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "podtracer_nb.cli", *words], env=environment) as process:
        told = tmp_path / "killed.pcap.json"
        wait_for("it captures", lambda: told.exists() and (tmp_path / "killed.pcap").stat().st_size > 0)
        process.kill()
    wait_for("the recording says how it ended", lambda: '"reason"' in told.read_text())
    assert {path.name for path in tmp_path.iterdir()} - {"state", "recordings"} == {"killed.pcap", "killed.pcap.json"}
