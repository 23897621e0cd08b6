"""Changes that tracer pods hold in pods of other nodes: taken back by all that can end them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

import podtracer_nb
from podtracer_nb import execution
from tests.cluster.fixtures import Kubectl, wait_for
from tests.kubernetes.outside import NAMESPACE, environment, kubeconfig, none_left, outside, own_tracers, tracer_pods
from tests.kubernetes.test_tracing import pod
from tests.machine import needs

__all__ = ["environment", "kubeconfig", "outside", "own_tracers"]

pytestmark = [pytest.mark.cluster, needs("kubectl", "iproute2")]

ADDRESS = "192.0.2.7/24"
ADD = ["address", "add", ADDRESS, "dev", "lo"]


@pytest.fixture(params=[0, 1], ids=["first node", "second node"])
def altered(request: pytest.FixtureRequest, outside: Kubectl, nodes: list[str]) -> Iterator[str]:
    """A pod, by its name and namespace, on each of the nodes in turn."""
    if request.param >= len(nodes):
        pytest.skip("the cluster has one node")
    with pod(outside, "altered", nodes[request.param]) as name:
        yield name


def addresses(name: str) -> list[str]:
    return list(podtracer_nb.run("ip", ["-4", "address", "show", "dev", "lo"], pod=name, via="job").address)


def has_address(name: str) -> bool:
    return ADDRESS.partition("/")[0] in addresses(name)


def test_a_change_is_held_and_taken_back_on_leaving_the_block(altered: str) -> None:
    with podtracer_nb.hold("ip", ADD, pod=altered, via="job", allow_change=True) as change:
        assert has_address(altered)
        assert podtracer_nb.changes().state.tolist() == ["held"]
    assert not has_address(altered)
    assert change.provenance()[0]["change"]["undone"] is True


def test_a_change_is_taken_back_by_its_time(altered: str) -> None:
    change = podtracer_nb.hold("ip", ADD, pod=altered, via="job", allow_change=True, for_=2)
    change.wait()
    assert not has_address(altered)
    assert change.provenance()[0]["change"]["why"] == "its time is over"


def test_a_link_is_bad_for_as_long_as_the_block(altered: str) -> None:
    def root() -> list[str]:
        words = ["qdisc", "show", "dev", "lo"]
        return podtracer_nb.run("tc", words, pod=altered, via="job", text=True).line.str.split().str[1].tolist()

    before = root()
    with podtracer_nb.impair(altered, rate="10mbit", interface="lo", via="job"):
        assert root() == ["tbf"]
    assert root() == before


def test_the_same_words_in_a_shell_end_at_their_time(altered: str) -> None:
    words = ("--pod", altered, "--rate", "10mbit", "--interface", "lo", "--for", "1s", "--via", "job")
    argv = [sys.executable, "-m", "podtracer_nb.cli", "impair", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"{altered}: undone"


def test_a_tracer_that_is_deleted_takes_back_what_it_holds_and_tells(outside: Kubectl, altered: str) -> None:
    change = podtracer_nb.hold("ip", ADD, pod=altered, via="job", allow_change=True)
    (tracer,) = tracer_pods(outside)
    outside("--namespace", NAMESPACE, "delete", "pod", tracer["metadata"]["name"], "--wait=false")
    change.wait()
    assert not has_address(altered)


def test_a_kernel_that_is_killed_leaves_no_change_beyond_its_lease(outside: Kubectl, altered: str) -> None:
    program = f"""
import math, threading
from podtracer_nb import execution, targets
from podtracer_nb.tools import Session, Task
from podtracer_nb.tools.held import hold_session
placement = execution.Placement(lease=5, idle=5)
chosen = targets.resolve(pods=({altered!r},))
where = dict(via="job", placement=placement, allow_change=True, hold=math.inf)
held = hold_session(Session([Task("ip", {tuple(ADD)!r})], chosen, **where), math.inf)
print("held", flush=True)
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "held\n"
        assert has_address(altered)
        kernel.kill()
    wait_for("the change's end", lambda: not has_address(altered))
    execution.delete_tracers()
    # Its own ends by its idle seconds, then comes the Job's own minute.
    wait_for("the tracers' end", lambda: none_left(outside), 180)
