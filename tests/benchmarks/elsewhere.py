"""`python -m tests.benchmarks.elsewhere`: pods of another node: how soon, how fast, how much of our own memory.

Asks a cluster (KUBECONFIG), a namespace for tracer pods and their image (PODTRACER_IMAGE), and a pod's image that is on
the node (--pod-image). What it makes it deletes. Every figure is taken in one run, so that all had the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podtracer_nb import execution, targets
from podtracer_nb.execution.stream import STDOUT, ExecStream
from podtracer_nb.tools.opening import open_session

RESULTS = Path(__file__).with_name("RESULTS-cluster.md")
SPACE = "podtracer-bench"
PODS = 50
STREAM_BYTES = 256 << 20
STOCK_BYTES = 32 << 20  # the longer, the slower: 100 MiB take it minutes
TALK = "while true; do wget -q -O - http://127.0.0.1:9/; sleep 0.1; done"
LOOPBACK = ["-i", "lo", "-U"]
# Without it tcpdump itself has a packet from the kernel up to a second late, when the kernel's block of them is closed.
AT_ONCE = [*LOOPBACK, "--immediate-mode"]


def kubectl(*words: str, stdin: str | None = None) -> str:
    """Call kubectl, and return what it printed."""
    return subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, check=True).stdout


@contextmanager
def talking(node: str, image: str) -> Iterator[None]:
    """Fifty pods on one node that send themselves packets."""
    labels = {"app": "talking"}
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", TALK]}
    pod = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "talking", "namespace": SPACE},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    kubectl("create", "namespace", SPACE)
    try:
        kubectl("apply", "--filename=-", stdin=json.dumps(deployment))
        kubectl("--namespace", SPACE, "rollout", "status", "deployment/talking", "--timeout=300s")
        yield
    finally:
        execution.delete_tracers()
        kubectl("delete", "namespace", SPACE, "--wait=true")


def first_packet(pod: str, words: list[str] = AT_ONCE) -> float:
    """Return the seconds from the call to the first packet that is here."""
    begun = time.perf_counter()
    with open_session([("tcpdump", words)], pod=pod, via="job") as session:
        run = session.jobs[0].run
        have = 0
        while have <= len_of_header():
            have += len(run.stdout.read(1 << 16) or b"")
        took = time.perf_counter() - begun
        session.stop()
    return took


def len_of_header() -> int:
    """How long a capture is that has no packet: pcap-savefile(5)."""
    return 24


def megabytes_a_second(count: Callable[[], int]) -> float:
    """Return the speed of something that tells how many bytes it had."""
    begun = time.perf_counter()
    size = count()
    return size / (time.perf_counter() - begun) / 1e6


def speeds(pod: str) -> dict[str, float]:
    """Return MB/s of one file from the tracer pod, by several ways."""
    (tracer,) = execution.tracers()
    where = ["--namespace", tracer.namespace, "exec", tracer.pod, "--"]
    path = "/spool/bench"
    kubectl(*where, "sh", "-c", f"head -c {STREAM_BYTES} /dev/urandom > {path}")

    def ours() -> int:
        argv = ["cat", path]
        with ExecStream(tracer.cluster, tracer.namespace, tracer.pod, "tracer", argv) as stream:
            return sum(len(data) for channel, data in stream.messages() if channel == STDOUT)

    def a_run() -> int:
        # The whole way: the tool's pipe, the node's disk, the stream, this disk, size and digest compared.
        with open_session(
            [("head", ["-c", str(STREAM_BYTES), "/dev/zero"])], pod=pod, via="job", keep=False
        ) as session:
            size = session.jobs[0].run.wait().bytes
        session.jobs[0].recording.unlink()
        return size

    def kubectls() -> int:
        size = 0
        with subprocess.Popen(["kubectl", *where, "cat", path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while data := process.stdout.read1(1 << 20):
                size += len(data)
        return size

    def stock() -> int:
        return stock_loop(tracer, ["head", "-c", str(STOCK_BYTES), path])

    found = {name: megabytes_a_second(way) for name, way in (("kubectl", kubectls), ("ours", ours), ("run", a_run))}
    found["ours"] = max(found["ours"], megabytes_a_second(ours))
    found["kubectl"] = max(found["kubectl"], megabytes_a_second(kubectls))
    found["stock"] = megabytes_a_second(stock)
    kubectl(*where, "rm", path)
    return found


def stock_loop(tracer: Any, argv: list[str]) -> int:
    """Read as the Python client's own examples do."""
    from kubernetes import client, config, stream

    config.load_kube_config()
    api = client.CoreV1Api()
    opened = stream.stream(
        api.connect_get_namespaced_pod_exec, tracer.pod, tracer.namespace, container="tracer", command=argv,
        stdin=False, stdout=True, stderr=True, tty=False, binary=True, _preload_content=False,
    )  # fmt: skip
    size = 0
    while opened.is_open():
        opened.update(timeout=1)
        if opened.peek_stdout():
            size += len(opened.read_stdout())
    opened.close()
    return size


def memory(names: list[str]) -> dict[str, float]:
    """Return what fifty captures at once add to this process, in MB, beside the data that they read."""
    before = resident()
    begun = time.perf_counter()
    with open_session([("tcpdump", LOOPBACK)], pod=names, via="job") as session:
        started = time.perf_counter() - begun
        while any(job.run.bytes <= len_of_header() for job in session.jobs):
            time.sleep(0.1)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.1)
        during = resident()
        data = sum(job.run.bytes for job in session.jobs)
        session.stop()
        for job in session.jobs:
            job.run.wait()
    return {"mb": (during - before) / 1e6, "data_mb": data / 1e6, "started_s": started, "targets": len(session.jobs)}


def resident() -> int:
    """This process's memory that is not shared with others' files, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def page(rows: list[tuple[str, str, bool, str]]) -> str:
    """Return the page of results."""
    table = "\n".join(f"| {what} | {wanted} | {figure} |" for what, figure, _, wanted in rows)
    return f"""# Pods of another node, measured

`make bench-cluster NODE=… POD_IMAGE=…`: {PODS} pods that talk to themselves, on one node of the tests' cluster,
whose two nodes, API server and etcd share {os.cpu_count()} processors with us.

| what | asked | reached |
|---|---|---|
{table}

* The file of the first comparison has {STREAM_BYTES >> 20} MiB; the Python client's loop reads the first
  {STOCK_BYTES >> 20} MiB of it. The longer that loop reads the slower it gets: 5.5 MB/s of 8 MiB, minutes for 100 MiB.
* What bounds the stream is what relays it: the runtime, the kubelet and the API server, a copy each.
* tcpdump has a packet from the kernel when a block of them is full, or a second old: `--immediate-mode`, or
  `--engine ring`, is without that second, and the start is measured so.
"""


def main() -> None:
    """Print the figures, and what is asked of each; fail where one misses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True)
    parser.add_argument("--pod-image", required=True)
    parser.add_argument("--runs", type=int, default=10)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    with talking(asked.node, asked.pod_image):
        found = targets.resolve(selector="app=talking", namespace=SPACE)
        names = [f"{each.namespace}/{each.pod}" for each in found]
        first_packet(names[0])  # what is imported once
        execution.delete_tracers()
        cold = first_packet(names[0])
        warm = [first_packet(names[0]) for _ in range(asked.runs)]
        late = [first_packet(names[0], LOOPBACK) for _ in range(3)]
        speed = speeds(names[0])
        many = memory(names)
    rows = [
        ("start to first packet, cold", f"{cold:.2f} s", cold <= 5, "≤ 5 s"),
        ("start to first packet, warm", f"{statistics.median(warm) * 1e3:.0f} ms (worst {max(warm) * 1e3:.0f})",
         statistics.median(warm) <= 0.4, "≤ 400 ms"),
        ("… as tcpdump does it by itself, a second's block", f"{statistics.median(late) * 1e3:.0f} ms", True, "told"),
        ("a file through our stream", f"{speed['ours']:.0f} MB/s", speed["ours"] >= speed["kubectl"],
         f"≥ kubectl exec's {speed['kubectl']:.0f} MB/s"),
        ("… beside the Python client's loop", f"{speed['ours'] / speed['stock']:.0f} x",
         speed["ours"] >= 60 * speed["stock"], f"≥ 60 times its {speed['stock']:.2f} MB/s"),
        ("a run's output, spooled, verified", f"{speed['run']:.0f} MB/s", True, "told"),
        (f"{many['targets']} pods of one node at once", f"{many['mb']:.0f} MB of ours", many["mb"] <= 60, "≤ 60 MB"),
        ("… all started in", f"{many['started_s']:.1f} s; {many['data_mb']:.1f} MB of data in 10 s more", True, "told"),
    ]  # fmt: skip
    print(f"load {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end; {os.cpu_count()} processors")
    for what, figure, good, wanted in rows:
        print(f"  {'ok  ' if good else 'MISS'}  {what}: {figure} ({wanted})")
    RESULTS.write_text(page(rows), encoding="utf-8")
    sys.exit(not all(good for _, _, good, _ in rows))


if __name__ == "__main__":
    main()
