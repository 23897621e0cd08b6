"""What breaks between us and a tool on another node, and what is left of its capture: all that came.

Named to be the last: it restarts the API server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import execution, targets
from podtracer_nb.errors import PrivilegeError
from podtracer_nb.tools import Session, Task
from tests.cluster import api, layout, processes
from tests.cluster.fixtures import Kubectl, wait_for, web_pods
from tests.kubernetes.outside import NAMESPACE, environment, kubeconfig, none_left, outside, own_tracers, tracer_pods
from tests.kubernetes.test_tracing import pod
from tests.machine import needs

__all__ = ["environment", "kubeconfig", "outside", "own_tracers"]

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]

TALK = "while true; do wget -q -O - http://127.0.0.1:9/; sleep 0.1; done"


@contextmanager
def talking(kubectl: Kubectl, node: str) -> Iterator[str]:
    """A pod with packets on its loopback all the time; its name and namespace as one word."""
    with pod(kubectl, "talking", node) as name:
        words = [kubectl.program, "exec", "talking", "--", "sh", "-c", TALK]
        talk = subprocess.Popen(words, env=kubectl.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield name
        finally:
            talk.kill()
            talk.wait()


def capture(name: str, **options: object) -> Session[object]:
    """Capture a pod's loopback from elsewhere, until it is stopped."""
    session = podtracer_nb.tools.opening.open_session([("tcpdump", ["-i", "lo", "-U"])], pod=name, via="job", **options)
    run = session.jobs[0].run
    wait_for("packets", lambda: run.path.stat().st_size > 500)
    return session


def whole(session: Session[object]) -> int:
    """How many packets are in a capture that is whole."""
    frame = podtracer_nb.read_pcap(session.jobs[0].recording)
    assert frame.attrs["podtracer"]["capture"]["damage"] is None
    return len(frame)


def placed(tool: str, arguments: tuple[str, ...], name: str, placement: execution.Placement) -> Session[object]:
    chosen = targets.resolve(pods=(name,))
    return Session([Task(tool, arguments)], chosen, via="job", placement=placement)


def test_a_tracer_that_is_deleted_ends_its_capture_whole(outside: Kubectl, nodes: list[str]) -> None:
    with talking(outside, nodes[1]) as name, capture(name) as session:
        (tracer,) = tracer_pods(outside)
        outside("--namespace", NAMESPACE, "delete", "pod", tracer["metadata"]["name"], "--wait=false")
        status = session.jobs[0].run.wait(60)
        assert status.reason == "tracer-gone"
        assert whole(session) > 0


def test_a_tracer_that_is_evicted_ends_its_capture_whole_and_the_next_run_has_another(
    outside: Kubectl, nodes: list[str]
) -> None:
    with talking(outside, nodes[0]) as name, capture(name) as session:
        evicted = tracer_pods(outside)[0]["metadata"]["name"]
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": evicted, "namespace": NAMESPACE}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{evicted}/eviction"
        outside("create", "--raw", path, "--filename=-", stdin=json.dumps(asked))
        assert session.jobs[0].run.wait(60).reason == "tracer-gone"
        assert whole(session) > 0
        frame = podtracer_nb.run("tcpdump", ["-i", "lo"], pod=name, via="job", count=2)
        assert len(frame) == 2
        assert podtracer_nb.tracers().pod.tolist() != [evicted]


def test_a_tracer_that_is_killed_leaves_what_came_and_says_so(outside: Kubectl, nodes: list[str]) -> None:
    with talking(outside, nodes[1]) as name, capture(name) as session:
        (tracer,) = tracer_pods(outside)
        gone = ("delete", "pod", tracer["metadata"]["name"], "--grace-period=0", "--force")
        outside("--namespace", NAMESPACE, *gone)
        (frame,) = session.each(podtracer_nb.tools.frames.read_job)
        assert len(frame) > 0
        assert frame.attrs["podtracer"]["reason"] == "tracer-gone"
        assert any("tracer pod" in note for note in frame.attrs["podtracer"]["notes"])


def test_a_kernel_that_is_killed_leaves_no_capture_beyond_its_lease_and_no_job(
    outside: Kubectl, nodes: list[str], tmp_path: Path
) -> None:
    with pod(outside, "silent", nodes[1]) as name:
        # No packet is there to be sent: only the pings tell that somebody is.
        program = f"""
import threading
from podtracer_nb import execution, targets
from podtracer_nb.tools import Session, Task
placement = execution.Placement(lease=5, idle=5)
chosen = targets.resolve(pods=({name!r},))
with Session([Task("tcpdump", ("-i", "lo", "-U"))], chosen, via="job", placement=placement) as session:
    print("captures", flush=True)
    threading.Event().wait()
"""
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as kernel:
            assert kernel.stdout is not None
            assert kernel.stdout.readline() == "captures\n"
            (tracer,) = tracer_pods(outside)
            inside = ("--namespace", NAMESPACE, "exec", tracer["metadata"]["name"], "--")
            assert "tcpdump" in captured(outside, inside)
            kernel.kill()
        wait_for("the capture's end", lambda: "tcpdump" not in captured(outside, inside), 60)
        # The agent's idle seconds, then the Job's own minute.
        wait_for("the tracers' end", lambda: none_left(outside), 180)


def captured(kubectl: Kubectl, inside: tuple[str, ...]) -> str:
    """The programs that run in a tracer pod; empty where it has ended."""
    return kubectl.run(*inside, "sh", "-c", "cat /proc/[0-9]*/comm").stdout


def test_a_spool_that_is_full_ends_the_run_with_all_that_had_room(outside: Kubectl) -> None:
    name = f"shop/{web_pods(outside)[0]['metadata']['name']}"
    placement = execution.Placement(spool="4Mi", in_memory=True)
    with placed("head", ("-c", "64M", "/dev/urandom"), name, placement) as session:
        status = session.jobs[0].run.wait(120)
    assert status.reason == "disk"
    assert 1 << 20 < status.bytes <= 4 << 20
    assert session.jobs[0].recording.stat().st_size == status.bytes


def test_a_quota_that_forbids_it_is_told_with_its_remedy(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    outside("--namespace", NAMESPACE, "create", "quota", "none", "--hard=pods=0")
    try:
        with pytest.raises(PrivilegeError, match=r"exceeded quota: none.*raise the quota, or .*--tracer-namespace"):
            podtracer_nb.run("echo", pod=name, namespace="shop", via="job")
    finally:
        outside("--namespace", NAMESPACE, "delete", "quota", "none")
    wait_for("the tracers' end", lambda: none_left(outside))


@pytest.mark.skipif(os.geteuid() != 0, reason="the API server of the tests' cluster is root's")
def test_an_api_server_that_is_restarted_costs_a_capture_nothing(outside: Kubectl, nodes: list[str]) -> None:
    if outside.environment["KUBECONFIG"] != str(layout.KUBECONFIG) or processes.pid("kube-apiserver") is None:
        pytest.skip("the cluster is not the tests' own: its API server is not ours to restart")
    count = 400_000
    name = f"shop/{web_pods(outside)[0]['metadata']['name']}"
    # Slow enough for the restart to fall into its midst, quick enough for that to cut through a line.
    script = f"import time\nfor at in range({count}):\n print(at)\n if at % 1000 == 0: time.sleep(0.05)"
    words = ("-c", script)
    with placed("python3", words, name, execution.Placement()) as session:
        run = session.jobs[0].run
        wait_for("output", lambda: run.path.stat().st_size > 0)
        argv = Path(f"/proc/{processes.pid('kube-apiserver')}/cmdline").read_text().split("\0")[:-1]
        processes.stop("kube-apiserver")
        cut = run.path.stat().st_size
        assert run.running
        # As a daemon of nobody: it outlives these tests.
        start = f"from tests.cluster import processes; processes.start('kube-apiserver', {argv!r})"
        subprocess.run([sys.executable, "-c", start], check=True)
        processes.wait_for("the API server is ready", "kube-apiserver", lambda: api.get("/readyz") == "ok")
        status = run.wait(120)
    assert status.exit_code == 0
    assert run._feed.connections > 1
    lines = session.jobs[0].recording.read_text().splitlines()
    assert lines == [str(at) for at in range(count)]
    assert cut < status.bytes, "the restart fell into the midst of the output"
