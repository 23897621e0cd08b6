"""The notebook pod of deploy/, capabilities overlay, on each runtime: from an ordinary user's kernel into pods."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.fixtures import Kubectl, Notebook, wait_for, web_pods
from tests.deploy.jupyter import Jupyter, forwarded
from tests.kubernetes.demo_pods import demo_pods
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl")]


def beside(notebook: Notebook, shop: Kubectl) -> dict[str, Any]:
    """Return the sample's web pod on the notebook's node."""
    (pod,) = [each for each in web_pods(shop) if each["spec"]["nodeName"] == notebook.node]
    return dict(pod)


def cell(notebook: Notebook, code: str) -> str:
    """Run one cell in a kernel, the way a browser does."""
    with forwarded(notebook) as port:
        return Jupyter(port, notebook.token).run(code)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on standard error that a refusal is; kubectl adds one of its own."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("command terminated")]
    return line


def test_the_doctor_misses_nothing_that_a_capture_needs(notebook: Notebook) -> None:
    told = notebook.output("podtracer", "doctor")
    assert "MISSING" not in told
    assert "CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_NET_RAW, given by /usr/local/bin/podtracer-launcher" in told
    assert "/host/proc shows" in told and f"we are on {notebook.node}" in told
    assert "may list pods in the whole cluster" in told and "namespace podtracer enforces privileged" in told
    limited = [line for line in told.splitlines() if line.startswith("limited")]
    assert limited == ["limited  capabilities: no CAP_NET_ADMIN, CAP_SYS_CHROOT"]


def test_a_cell_gives_the_http_exchange_of_two_pods(notebook: Notebook, shop: Kubectl) -> None:
    pod = beside(notebook, shop)
    printed = cell(
        notebook,
        "%load_ext podtracer_nb\n"
        f"df = %podtrace tcpdump --pod {pod['metadata']['name']} -n shop -t 60s -- -i eth0 -c 50 port 8080\n"
        "import json\n"
        "asked = df[df.dport.eq(8080) & df.payload_length.gt(0)]\n"
        "print(json.dumps({'rows': len(df), 'to': sorted(set(asked.dst.astype(str))),\n"
        "    'first': bytes(df.podtrace.packet(asked.index[0])['TCP'].payload).decode().splitlines()[0],\n"
        "    'drops': df.podtrace.meta['drops'], 'target': df.podtrace.meta['targets'][0]}))\n",
    )
    found = json.loads(printed.splitlines()[-1])
    assert found["rows"] == 50 and found["to"] == [pod["status"]["podIP"]]
    assert found["first"].startswith("GET /index.html HTTP/1.")
    assert found["drops"]["dropped_by_kernel"] == 0
    assert (found["target"]["pod"], found["target"]["uid"]) == (pod["metadata"]["name"], pod["metadata"]["uid"])
    assert found["target"]["node"] == notebook.node


def test_the_original_form_does_the_same(notebook: Notebook, shop: Kubectl) -> None:
    pod = beside(notebook, shop)["metadata"]["name"]
    done = notebook.execute(
        "podtracer", "run", "tcpdump", "-a", "-i eth0 -c 10 -w /data/captures/test.pcap", "--pod", pod, "-n", "shop"
    )
    assert done.returncode == 0, done.stderr
    assert "10 packets" in done.stderr
    printed = notebook.output("podtracer", "read", "/data/captures/test.pcap", "--count", "10")
    assert len(printed.splitlines()) == 11


def test_pods_of_the_other_node_are_reached_by_a_tracer_pod_there_that_is_gone_afterwards(
    notebook: Notebook, shop: Kubectl, nodes: list[str]
) -> None:
    if len(nodes) < 2:
        pytest.skip("the cluster has one node")
    other = next(each for each in web_pods(shop) if each["spec"]["nodeName"] != notebook.node)
    words = (
        "podtracer",
        "run",
        "ip",
        "--pod",
        other["metadata"]["name"],
        "-n",
        "shop",
        "--",
        "-4",
        "addr",
        "show",
        "eth0",
    )
    done = notebook.execute(*words)
    assert done.returncode == 0, said(done)
    assert other["status"]["podIP"] in done.stdout
    left = ("--namespace", "podtracer", "get", "jobs", "--selector=app.kubernetes.io/name=podtracer-tracer")
    wait_for("the tracer's end", lambda: not shop.json(*left)["items"])
    refused = notebook.execute(*words[:7], "--via", "here")
    assert refused.returncode == 1
    assert f"is on node {other['spec']['nodeName']}, and we are on {notebook.node}" in said(refused)


def test_an_account_without_rights_is_refused_with_the_right_that_it_lacks(notebook: Notebook, shop: Kubectl) -> None:
    pod = beside(notebook, shop)["metadata"]["name"]
    shop("--namespace", "shop", "create", "serviceaccount", f"guest-{notebook.node}")
    token = shop("--namespace", "shop", "create", "token", f"guest-{notebook.node}").strip()
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": "https://kubernetes.default.svc", "certificate-authority": f"{account}/ca.crt"}}],
        "users": [{"name": "guest", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "guest", "namespace": "shop"}}],
    }  # fmt: skip
    # By address: the tests' cluster has no DNS.
    server = notebook.output("sh", "-c", "echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT").strip()
    config["clusters"][0]["cluster"]["server"] = server  # type: ignore[index]
    text = shlex.quote(yaml.safe_dump(config))
    notebook.output("sh", "-c", f"printf %s {text} > /tmp/guest.kubeconfig")
    done = notebook.execute(
        "podtracer", "run", "tcpdump", "--kubeconfig", "/tmp/guest.kubeconfig", "--pod", pod, "-n", "shop"
    )
    assert done.returncode == 1
    assert f"system:serviceaccount:shop:guest-{notebook.node} may not get pods in namespace shop" in said(done)


def test_a_container_s_own_files_need_one_capability_more_and_that_is_said(notebook: Notebook, shop: Kubectl) -> None:
    pod = beside(notebook, shop)["metadata"]["name"]
    done = notebook.execute("podtracer", "run", "cat", "--pod", pod, "-n", "shop", "--ns", "mnt", "--", "/etc/hostname")
    assert done.returncode == 1 and "CAP_SYS_CHROOT" in done.stderr and "Traceback" not in done.stderr


def test_a_kernel_that_is_killed_leaves_no_capture_behind(notebook: Notebook, shop: Kubectl) -> None:
    pod = beside(notebook, shop)["metadata"]["name"]
    code = (
        "import os, signal, threading\n"
        "%load_ext podtracer_nb\n"
        "threading.Timer(2, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\n"
        f"%podtrace tcpdump --pod {pod} -n shop -- -i eth0 udp port 9\n"
    )
    script = f"printf %s {shlex.quote(code)} > /tmp/killed.ipy; ipython /tmp/killed.ipy"
    assert notebook.execute("sh", "-c", script).returncode != 0

    def gone() -> bool:
        return notebook.execute("pgrep", "-x", "tcpdump").returncode == 1

    wait_for("tcpdump is gone", gone, 10)


@pytest.fixture
def quickstart(notebook: Notebook, kubectl: Kubectl, image: str) -> Iterator[None]:
    with demo_pods(kubectl, image, notebook.node):
        yield


@pytest.mark.usefixtures("quickstart")
@pytest.mark.parametrize("name", ["01-quickstart.ipynb", "02-pods.ipynb"])
def test_the_project_s_notebooks_run_against_real_pods(notebook: Notebook, name: str) -> None:
    done = notebook.execute(
        "jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", "--ExecutePreprocessor.timeout=120",
        f"/opt/podtracer/notebooks/{name}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    executed = json.loads(done.stdout)
    text = json.dumps([cell.get("outputs") for cell in executed["cells"]])
    assert ("demo/web on " if name.startswith("01") else " on ") + notebook.node in text
    assert "dropped by the kernel" not in text
    if name.startswith("01"):
        assert "GET /" in text and "web.demo.svc.cluster.local" in text and "NXDOMAIN" in text
