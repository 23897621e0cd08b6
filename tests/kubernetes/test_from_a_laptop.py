"""A kernel outside the cluster, a kubeconfig with the rights of deploy/ alone, one line: what the whole is for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client import KernelManager
from jupyter_client.blocking import BlockingKernelClient

from tests.cluster.fixtures import Kubectl, wait_for, web_pods
from tests.kubernetes.outside import environment, kubeconfig, none_left, outside, tracer_pods
from tests.machine import needs

__all__ = ["environment", "kubeconfig", "outside"]

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2")]

# The nodes of the tests' cluster are on this very machine, so it has to be told that they are elsewhere.
LINE = "df = %podtrace tcpdump --pod deploy/web --pod deploy/client -n shop --via job --filter 'tcp port 8080' -t 10s"
# One request, as it left one pod and as it arrived in the other: the same segment, once in each capture.
ASKED = """
import json
asked = df[df.payload_length.gt(0) & df.dport.eq(8080)]
met = asked.groupby(["src", "sport", "tcp_seq"], observed=True).agg(pods=("target", "nunique"))
pair = met[met.pods.eq(2)].index[0]
one = asked[asked.src.eq(pair[0]) & asked.sport.eq(pair[1]) & asked.tcp_seq.eq(pair[2])]
print(json.dumps({"targets": one.target.tolist(), "nodes": one.node.tolist(), "met": int(met.pods.eq(2).sum()),
                  "clocks": list(df.attrs["podtracer"]["clocks"]), "recordings": df.attrs["podtracer"]["recordings"]}))
"""


@pytest.fixture
def kernel(environment: None) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=dict(os.environ))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def execute(client: BlockingKernelClient, code: str) -> str:
    """Run a cell, and return what it printed; its error fails the test."""
    printed: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=180, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def test_one_line_shows_a_request_leave_one_pod_and_arrive_in_the_other_and_nothing_is_left(
    outside: Kubectl, nodes: list[str], kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    (served,) = [each for each in web_pods(outside) if each["spec"]["nodeName"] == nodes[0]]
    container = {"name": "client", "env": [{"name": "WEB_URL", "value": f"http://{served['status']['podIP']}:8080"}]}
    pinned = {"nodeSelector": {"kubernetes.io/hostname": nodes[1]}, "containers": [container]}
    change = json.dumps({"spec": {"template": {"spec": pinned}}})
    outside("--namespace", "shop", "patch", "deployment", "client", "--patch", change)
    outside("--namespace", "shop", "rollout", "status", "deployment/client", "--timeout=120s")
    select = ("--namespace", "shop", "get", "pods", "--selector=app=client")
    wait_for("the old client's end", lambda: len(outside.json(*select)["items"]) == 1, 120)
    (asking,) = [each["metadata"]["name"] for each in outside.json(*select)["items"]]
    execute(client, "%load_ext podtracer_nb")
    execute(client, LINE)
    told = json.loads(execute(client, ASKED).splitlines()[-1])
    assert told["met"] >= 1
    assert sorted(told["targets"]) == sorted([f"shop/{asking}", f"shop/{served['metadata']['name']}"])
    assert sorted(told["nodes"]) == sorted(told["clocks"]) == sorted(nodes)
    assert tracer_pods(outside), "kept for the next line"
    manager.shutdown_kernel()
    wait_for("an end of all that was ours", lambda: none_left(outside), 90)
