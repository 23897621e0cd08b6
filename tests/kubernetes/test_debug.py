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
from tests.machine import needs

__all__ = ["environment", "kubeconfig", "outside"]  # fixtures

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]


NAMESPACE = "debugged"
# It talks to itself, so that there is something to capture.
_TALKING = "python3 -m http.server 8080 & while :; do curl -so /dev/null http://127.0.0.1:8080/; sleep 0.2; done"


@pytest.fixture(scope="module")
def address(shop: Kubectl, kubeconfig: Path, image: str) -> Iterator[str]:
    """A pod named web in a namespace that forbids little, and the right that the component gives; its address."""
    with free_namespace(shop, NAMESPACE):
        shop("create", "namespace", NAMESPACE)
        role = (DEPLOY / "components/debug/role.yaml").read_text().replace("namespace: shop", f"namespace: {NAMESPACE}")
        shop("apply", "--filename", "-", stdin=role)
        shop("--namespace", NAMESPACE, "run", "web", f"--image={image}", "--command", "--", "sh", "-c", _TALKING)
        shop("--namespace", NAMESPACE, "wait", "--for=condition=Ready", "pod/web", "--timeout=180s")
        yield shop.json("--namespace", NAMESPACE, "get", "pod", "web")["status"]["podIP"]
        execution.delete_tracers()


def containers(kubectl: Kubectl) -> dict[str, Any]:
    """Return the state of each ephemeral container of the pod."""
    pod = kubectl.json("--namespace", NAMESPACE, "get", "pod", "web")
    return {each["name"]: each["state"] for each in pod["status"].get("ephemeralContainerStatuses", ())}


def test_a_capture_and_a_table_come_out_of_one_container_which_then_ends(outside: Kubectl, address: str) -> None:
    before = set(containers(outside))
    frame = podtracer_nb.run(
        "tcpdump", pod="web", namespace=NAMESPACE, via="debug", interface="lo", filter="tcp port 8080", count=20
    )
    assert len(frame) == 20
    assert set(frame.sport) | set(frame.dport) > {8080}
    (made,) = set(containers(outside)) - before
    assert any(f"the ephemeral container {made}" in note for note in frame.podtrace.meta["notes"])
    table = podtracer_nb.run("ip", ["-4", "addr", "show", "eth0"], pod="web", namespace=NAMESPACE, via="debug")
    assert table.address.tolist() == [address]
    assert set(containers(outside)) - before == {made}, "the second run is in the same"
    execution.delete_tracers()
    wait_for("the container's end", lambda: "terminated" in containers(outside)[made])
    assert containers(outside)[made]["terminated"]["exitCode"] == 0


@pytest.mark.usefixtures("address")
def test_an_interrupt_keeps_what_came_and_ends_the_container(outside: Kubectl, tmp_path: Path) -> None:
    before = set(containers(outside))
    file = tmp_path / "x.pcap"
    words = ["run", "tcpdump", "--pod", "web", "-n", NAMESPACE, "--via", "debug", "--interface", "lo", "-f", str(file)]
    with subprocess.Popen(
        [sys.executable, "-m", "podtracer_nb.cli", *words], stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            wait_for("a packet", lambda: file.exists() and file.stat().st_size > 24)
        finally:
            program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert "interrupted" in said
    assert "was changed" in said
    assert len(podtracer_nb.read_pcap(file)) > 0
    (made,) = set(containers(outside)) - before
    wait_for("the container's end", lambda: "terminated" in containers(outside)[made])


def test_without_the_right_it_says_which(outside: Kubectl) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(PrivilegeError, match="may not patch pods/ephemeralcontainers in namespace shop"):
        podtracer_nb.run("ss", pod=name, namespace="shop", via="debug")


def test_pod_security_is_told_with_its_rule(outside: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    # The administrator may, and the namespace is restricted.
    monkeypatch.setenv("KUBECONFIG", outside.environment["KUBECONFIG"])
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(PrivilegeError, match=r"namespace shop's PodSecurity level forbids .*NET_RAW"):
        podtracer_nb.run("ss", pod=name, namespace="shop", via="debug")


@pytest.mark.parametrize(
    ("more", "why"), [({"ns": ["net", "pid"]}, "leave --ns out"), ({"allow_change": True}, "no right to change")]
)
def test_what_it_cannot_do_is_refused(outside: Kubectl, more: dict[str, Any], why: str) -> None:
    name = web_pods(outside)[0]["metadata"]["name"]
    with pytest.raises(InputError, match=why):
        podtracer_nb.run("ip", ["link"], pod=name, namespace="shop", via="debug", **more)
