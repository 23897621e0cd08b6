"""Twenty pods on two nodes at once, from outside the cluster: together, by one clock, each for itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

import podtracer_nb
from podtracer_nb import execution
from podtracer_nb.errors import TargetError
from tests.cluster.fixtures import BUSYBOX, Kubectl, free_namespace, wait_for
from tests.kubernetes.outside import environment, kubeconfig, none_left, outside, tracer_pods
from tests.machine import needs

__all__ = ["environment", "kubeconfig", "outside"]

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]

PODS = 20
SPACE = "many"
# A connection that nobody takes, five times a second: two packets on the pod's loopback.
TALK = "while true; do wget -q -O - http://127.0.0.1:9/; sleep 0.2; done"
LOOPBACK = ["-i", "lo", "-U"]


def deployment(name: str, replicas: int, **pod: object) -> str:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"name": name}},
    }
    container = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", TALK]}
    return yaml.safe_dump(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": SPACE},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"name": name}},
                "template": {
                    "metadata": {"labels": {"app": "many", "name": name}},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [container],
                        "topologySpreadConstraints": [spread],
                        **pod,
                    },
                },
            },
        }
    )


@pytest.fixture(scope="module", autouse=True)
def many(shop: Kubectl) -> Iterator[None]:
    """Twenty pods that talk to themselves."""
    with free_namespace(shop, SPACE):
        shop("create", "namespace", SPACE)
        shop("apply", "--filename=-", stdin=deployment("talking", PODS))
        shop("--namespace", SPACE, "rollout", "status", "deployment/talking", "--timeout=180s")
        yield


def test_all_start_together_and_their_packets_are_one_frame_by_time(nodes: list[str]) -> None:
    frame = podtracer_nb.run("tcpdump", LOOPBACK, pod="deploy/talking", namespace=SPACE, via="job", timer=5)
    told = frame.attrs["podtracer"]
    assert frame.target.nunique() == len(told["recordings"]) == PODS
    assert set(frame.node) == set(nodes)
    assert frame.time.is_monotonic_increasing
    # Each target's own file is whole.
    own = [len(podtracer_nb.read_pcap(path)) for path in told["recordings"]]
    assert sum(own) == len(frame) and min(own) > 0
    assert "failed" not in told
    assert 0 < told["start"]["skew_seconds"] < 60
    assert 0 < told["start"]["uncertainty_seconds"] < 60


def test_each_nodes_clock_is_measured_and_times_stay_as_recorded(nodes: list[str]) -> None:
    told = podtracer_nb.run("tcpdump", LOOPBACK, pod="deploy/talking", namespace=SPACE, via="job", count=2).attrs
    clocks = told["podtracer"]["clocks"]
    assert set(clocks) == set(nodes)
    for clock in clocks.values():
        # Both nodes are on the machine of these tests: what is measured has to be nothing, within what it is sure of.
        assert abs(clock["offset_seconds"]) <= clock["uncertainty_seconds"]
        assert not clock["applied"]


def test_times_are_brought_to_our_clock_where_that_is_asked_for() -> None:
    frame = podtracer_nb.run(
        "tcpdump", LOOPBACK, pod="deploy/talking", namespace=SPACE, via="job", count=2, align_clocks=True
    )
    told = frame.attrs["podtracer"]
    assert all(clock["applied"] for clock in told["clocks"].values())
    for path, target in zip(told["recordings"], told["targets"], strict=True):
        recorded = podtracer_nb.read_pcap(path).time
        mine = frame[frame.target == f"{SPACE}/{target['pod']}"].time
        moved = (recorded - mine).dt.total_seconds()
        assert moved.nunique() == 1
        assert abs(moved.iloc[0]) < 1


def test_three_that_fail_stop_none_of_the_others(outside: Kubectl) -> None:
    nowhere = {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}
    outside("apply", "--filename=-", stdin=deployment("lacking", 3, **nowhere))
    try:
        select = ("--namespace", SPACE, "get", "pods", "--selector=name=lacking")
        wait_for("the pods that no node takes", lambda: len(outside.json(*select)["items"]) == 3)
        frame = podtracer_nb.run("tcpdump", LOOPBACK, selector="app=many", namespace=SPACE, via="job", count=2)
        lacking = {each["metadata"]["name"] for each in outside.json(*select)["items"]}
        told = frame.attrs["podtracer"]
        assert frame.target.nunique() == PODS
        assert {each["pod"] for each in told["failed"]} == lacking
        assert sum("failed: pod" in note for note in told["notes"]) == 3, "one line each"
        with pytest.raises(TargetError, match="lacking"):
            podtracer_nb.run("tcpdump", LOOPBACK, selector="name=lacking", namespace=SPACE, via="job", count=2)
    finally:
        outside("--namespace", SPACE, "delete", "deployment", "lacking", "--wait=true")


def test_the_limit_of_all_together_stops_all() -> None:
    frame = podtracer_nb.run(
        "tcpdump", LOOPBACK, pod="deploy/talking", namespace=SPACE, via="job", max_total=20_000, timer=120
    )
    told = frame.attrs["podtracer"]
    assert told["bytes"] >= 20_000
    assert told["seconds"] < 100
    assert any("all targets together have written 20,000 bytes" in note for note in told["notes"])


def test_so_many_packets_of_all_together_stop_all() -> None:
    frame = podtracer_nb.run(
        "tcpdump", LOOPBACK, pod="deploy/talking", namespace=SPACE, via="job", count_total=200, timer=120
    )
    told = frame.attrs["podtracer"]
    assert len(frame) >= 200
    assert told["seconds"] < 100
    assert any("all targets together have captured 200 packets" in note for note in told["notes"])


def test_an_interrupt_of_twenty_keeps_every_capture_whole_and_no_tracer(outside: Kubectl, tmp_path: Path) -> None:
    words = ["run", "tcpdump", "--pod", "deploy/talking", "-n", SPACE, "--via", "job", "-f", str(tmp_path / "x.pcap")]
    execution.delete_tracers()
    wait_for("the tracers' end", lambda: none_left(outside))
    argv = [sys.executable, "-m", "podtracer_nb.cli", *words, "--", *LOOPBACK]
    program = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)

    def captures() -> list[Path]:
        return [path for path in tmp_path.glob("*.pcap") if path.stat().st_size > 100]

    wait_for("twenty captures", lambda: len(captures()) == PODS, 120)
    assert tracer_pods(outside)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=120)
    assert said.count("interrupted") == PODS
    frames = [podtracer_nb.read_pcap(path) for path in captures()]
    assert all(frame.attrs["podtracer"]["capture"]["damage"] is None for frame in frames)
    assert isinstance(frames[0], pd.DataFrame) and len(frames) == PODS
    wait_for("the tracers' end", lambda: none_left(outside))
