"""`--via debug`: an ephemeral container in the pod itself, only when asked for, and told."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import podtracer_nb
from podtracer_nb import execution
from podtracer_nb.errors import InputError, PrivilegeError
from tests.cluster.fixtures import DEPLOY, Kubectl, free_namespace, wait_for, web_pods
from tests.kubernetes.test_elsewhere import environment, kubeconfig, outside
from tests.machine import cluster_kubeconfig, needs

__all__ = ["environment", "kubeconfig", "outside"]  # fixtures

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]


@pytest.fixture
def allowed(outside: Kubectl) -> Iterator[None]:
    """Give the account of deploy/ the right that the component gives."""
    role = str(DEPLOY / "components/debug/role.yaml")
    outside("apply", "--filename", role)
    yield
    execution.delete_tracers()
    outside("delete", "--filename", role)


def containers(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """Return the state of each ephemeral container of a pod of the shop."""
    pod = kubectl.json("--namespace", "shop", "get", "pod", name)
    return {each["name"]: each["state"] for each in pod["status"].get("ephemeralContainerStatuses", ())}


@pytest.mark.usefixtures("allowed")
def test_a_capture_and_a_table_come_out_of_one_container_which_then_ends(outside: Kubectl) -> None:
    pod = web_pods(outside)[0]
    name = pod["metadata"]["name"]
    before = set(containers(outside, name))
    frame = podtracer_nb.run("tcpdump", pod=name, namespace="shop", via="debug", filter="tcp port 8080", count=20)
    assert len(frame) == 20
    assert pod["status"]["podIP"] in {*frame.src, *frame.dst}
    (made,) = set(containers(outside, name)) - before
    assert any(f"the ephemeral container {made}" in note for note in frame.podtrace.meta["notes"])
    table = podtracer_nb.run("ip", ["-4", "addr", "show", "eth0"], pod=name, namespace="shop", via="debug")
    assert table.address.tolist() == [pod["status"]["podIP"]]
    assert set(containers(outside, name)) - before == {made}, "the second run is in the same"
    execution.delete_tracers()
    wait_for("the container's end", lambda: "terminated" in containers(outside, name)[made])
    assert containers(outside, name)[made]["terminated"]["exitCode"] == 0


@pytest.mark.usefixtures("allowed")
def test_an_interrupt_keeps_what_came_and_ends_the_container(outside: Kubectl, tmp_path: Path) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    before = set(containers(outside, name))
    file = tmp_path / "x.pcap"
    words = ["run", "tcpdump", "--pod", name, "-n", "shop", "--via", "debug", "-f", str(file)]
    program = subprocess.Popen([sys.executable, "-m", "podtracer_nb.cli", *words], stderr=subprocess.PIPE, text=True)
    wait_for("a packet", lambda: file.exists() and file.stat().st_size > 24)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=60)
    assert "interrupted" in said
    assert "was changed" in said
    assert len(podtracer_nb.read_pcap(file)) > 0
    (made,) = set(containers(outside, name)) - before
    wait_for("the container's end", lambda: "terminated" in containers(outside, name)[made])


def test_without_the_right_it_says_which(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(PrivilegeError, match="may not patch pods/ephemeralcontainers in namespace shop"):
        podtracer_nb.run("ss", pod=name, namespace="shop", via="debug")


def test_pod_security_is_told_with_its_rule(outside: Kubectl, monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster_kubeconfig())
    with free_namespace(outside, "guarded"):
        outside("create", "namespace", "guarded")
        outside("label", "namespace", "guarded", "pod-security.kubernetes.io/enforce=baseline")
        outside("--namespace", "guarded", "run", "web", f"--image={image}", "--command", "--", "sleep", "600")
        outside("--namespace", "guarded", "wait", "--for=condition=Ready", "pod/web", "--timeout=120s")
        with pytest.raises(PrivilegeError, match=r"PodSecurity.*NET_RAW"):
            podtracer_nb.run("ss", pod="web", namespace="guarded", via="debug")


@pytest.mark.parametrize(
    ("more", "why"), [({"ns": ["net", "pid"]}, "leave --ns out"), ({"allow_change": True}, "no right to change")]
)
def test_what_it_cannot_do_is_refused(outside: Kubectl, more: dict[str, Any], why: str) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(InputError, match=why):
        podtracer_nb.run("ip", ["link"], pod=name, namespace="shop", via="debug", **more)
