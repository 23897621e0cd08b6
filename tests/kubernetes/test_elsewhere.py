"""Pods of other nodes, from outside the cluster: tracer pods, their streams, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import execution
from podtracer_nb.errors import ClusterError, InputError, PrivilegeError, TargetError, ToolNotFound
from tests.cluster.fixtures import Kubectl, wait_for, web_pods
from tests.execution.other_system import on
from tests.kubernetes.outside import NAMESPACE, environment, kubeconfig, none_left, outside, tracer_pods
from tests.kubernetes.test_tracing import pod, talk
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]

__all__ = ["environment", "kubeconfig", "outside"]


def test_one_line_captures_on_two_nodes_and_shows_one_exchange_leave_and_arrive(
    outside: Kubectl, nodes: list[str]
) -> None:
    served = web_pods(outside)[0]["status"]["podIP"]
    select = ("--namespace", "shop", "get", "pods", "--selector=app=client")
    wait_for("the old client's end", lambda: len(outside.json(*select)["items"]) == 1)
    frame = podtracer_nb.run(
        "tcpdump", pod=["deploy/web", "deploy/client"], namespace="shop", via="job", filter="tcp port 8080", timer=8
    )
    assert set(frame.node) <= set(nodes)
    exchange = frame[frame.dst.eq(served) & frame.tcp_flags.eq("S")]
    seen = exchange.groupby(["tcp_seq", "sport"], observed=True).target.nunique()
    assert (seen == 2).any(), "the same segment in the pod that sent it and in the one that took it"
    assert any(name.startswith("shop/client-") for name in exchange.target)
    assert frame.time.is_monotonic_increasing
    assert len(tracer_pods(outside)) == len(nodes), "one a node, kept for the next run"


def test_a_table_comes_the_same_way(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    frame = podtracer_nb.run("ip", ["-4", "addr", "show", "eth0"], pod=name, namespace="shop", via="job")
    assert frame.address.tolist() == [web_pods(outside)[0]["status"]["podIP"]]
    sampled = podtracer_nb.run("ip", ["-4", "addr"], pod=name, namespace="shop", via="job", every=0.05, count=3)
    assert sampled.sample_time.nunique() == 3


def test_a_warm_tracer_is_used_again(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    podtracer_nb.run("echo", ["1"], pod=name, namespace="shop", via="job")
    before = podtracer_nb.tracers()
    frame = podtracer_nb.run("echo", ["2"], pod=name, namespace="shop", via="job")
    assert frame.line.tolist() == ["2"]
    assert podtracer_nb.tracers().pod.tolist() == before.pod.tolist()
    assert before.alive.all()


def test_what_the_other_node_refuses_is_told_as_here(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(ToolNotFound, match="no-such-tool is not installed"):
        podtracer_nb.run("no-such-tool", pod=name, namespace="shop", via="job")
    with pytest.raises(InputError, match="the filter is not one"):
        podtracer_nb.run("tcpdump", pod=name, namespace="shop", via="job", filter="tcp prot 80")
    with pytest.raises(TargetError, match="no interface nope0"):
        podtracer_nb.run("tcpdump", ["-i", "nope0"], pod=name, namespace="shop", via="job")


def test_a_connection_that_breaks_is_made_again_and_nothing_is_missing(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    count = 300_000
    session = podtracer_nb.tools.opening.open_session([("seq", [str(count)])], pod=name, namespace="shop", via="job")
    with session:
        feed = session.jobs[0].run._feed
        broken = threading.Event()

        def cut() -> None:
            while feed._stream is None or not feed._sizes[1]:
                time.sleep(0.001)
            feed._stream._socket.sock.close()
            broken.set()

        threading.Thread(target=cut).start()
        status = session.jobs[0].run.wait(60)
    lines = session.jobs[0].recording.read_text().splitlines()
    assert broken.is_set()
    assert (len(lines), lines[-1], status.exit_code) == (count, str(count), 0)


def test_an_interrupted_run_keeps_a_whole_capture_and_leaves_no_tracer(outside: Kubectl, tmp_path: Path) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    words = ["run", "tcpdump", "--pod", name, "-n", "shop", "--via", "job", "-f", str(tmp_path / "x.pcap")]
    execution.delete_tracers()
    wait_for("the tracers' end", lambda: none_left(outside))
    program = subprocess.Popen([sys.executable, "-m", "podtracer_nb.cli", *words], stderr=subprocess.PIPE, text=True)
    wait_for("a capture", lambda: (tmp_path / "x.pcap").exists() and (tmp_path / "x.pcap").stat().st_size > 0)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=60)
    assert "interrupted" in said
    assert podtracer_nb.read_pcap(tmp_path / "x.pcap").attrs["podtracer"]["capture"]["damage"] is None
    wait_for("the tracers' end", lambda: none_left(outside))


def test_after_the_end_the_cluster_holds_nothing_of_ours(outside: Kubectl) -> None:
    execution.delete_tracers()
    assert podtracer_nb.tracers().empty
    wait_for("the tracers' end", lambda: none_left(outside))


def test_without_the_right_to_make_jobs_the_line_says_which(outside: Kubectl, tmp_path: Path) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(PrivilegeError, match="may not create jobs in namespace shop"):
        podtracer_nb.run("echo", pod=name, namespace="shop", via="job", tracer_namespace="shop")


def test_an_image_that_is_not_there_is_told(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(ClusterError, match=r"does not start \((ErrImagePull|ImagePullBackOff|ErrImageNeverPull)"):
        podtracer_nb.run("echo", pod=name, namespace="shop", via="job", image="localhost/nowhere/none:1")
    wait_for("the tracers' end", lambda: none_left(outside))


def test_podsecurity_that_forbids_it_is_told_with_its_remedy(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    label = "pod-security.kubernetes.io/enforce"
    outside("label", "namespace", NAMESPACE, f"{label}=baseline", "--overwrite")
    try:
        with pytest.raises(PrivilegeError, match=rf"PodSecurity.*kubectl label namespace {NAMESPACE}"):
            podtracer_nb.run("echo", pod=name, namespace="shop", via="job")
    finally:
        outside("label", "namespace", NAMESPACE, f"{label}=privileged", "--overwrite")


def test_a_pod_that_is_deleted_ends_its_run_and_what_came_is_kept(outside: Kubectl, nodes: list[str]) -> None:
    with pod(outside, "doomed", nodes[0]) as name:
        session = podtracer_nb.tools.opening.open_session([("tcpdump", ["-i", "lo", "-U"])], pod=name, via="job")
        with session:
            run = session.jobs[0].run
            talk(outside, "doomed", 3)
            wait_for("packets", lambda: run.path.stat().st_size > 24)
            outside("delete", "pod", "doomed", "--grace-period=0", "--force", "--wait=false")
            status = run.wait(60)
        assert status.bytes > 24
        assert len(podtracer_nb.read_pcap(run.path)) >= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="the nodes of the tests' cluster are root's")
def test_taints_keep_no_tracer_away(outside: Kubectl, nodes: list[str]) -> None:
    execution.delete_tracers()
    (name,) = [each["metadata"]["name"] for each in web_pods(outside) if each["spec"]["nodeName"] == nodes[0]]
    outside("taint", "node", nodes[0], "test=yes:NoSchedule", "--overwrite")
    try:
        assert podtracer_nb.run("echo", ["1"], pod=name, namespace="shop", via="job").line.tolist() == ["1"]
    finally:
        outside("taint", "node", nodes[0], "test-")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_nothing_on_this_side_needs_linux(system: str, outside: Kubectl) -> None:
    execution.delete_tracers()
    wait_for("the end of this process's own tracers", lambda: none_left(outside))
    code = (
        "import json, podtracer_nb\n"
        "df = podtracer_nb.run('tcpdump', pod='deploy/web', namespace='shop', timer=4)\n"
        "ss = podtracer_nb.run('ss', ['-tan'], pod='deploy/web', namespace='shop')\n"
        "meta = df.podtrace.meta\n"
        "told = [len(df), list(df.proto.dropna().unique()), len(ss), meta['targets'][0]['pod'], meta['sha256']]\n"
        "print(json.dumps(told))"
    )
    packets, protocols, sockets, target, digest = json.loads(on(system, code).splitlines()[-1])
    assert packets > 0
    assert "TCP" in protocols
    assert sockets > 0
    assert target.startswith("web-")
    assert digest
    wait_for("the tracers' end", lambda: none_left(outside))
