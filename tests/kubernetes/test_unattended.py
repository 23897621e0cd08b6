"""Runs that nobody waits for: Jobs and CronJobs on the tests' cluster, and what they leave in claims and buckets."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from podtracer_nb import collected, execution, notebook, read_pcap
from tests import s3
from tests.cluster import layout
from tests.cluster.fixtures import DEPLOY, Kubectl, free_namespace, wait_for
from tests.collector.conftest import Authority
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl")]

NAMESPACE = "podtracer"
SELECTOR = "app.kubernetes.io/name=podtracer-run"
COLLECTING = "podtracer-collector"
IN = ("--namespace", NAMESPACE)
Podtracer = Callable[..., "subprocess.CompletedProcess[str]"]
bare = pytest.mark.skipif(os.geteuid() != 0, reason="the volumes and addresses of the tests' nodes are root's")


@pytest.fixture(scope="module")
def kubeconfig(shop: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of the account that deploy/ makes, with no more than its rights."""
    with free_namespace(shop, NAMESPACE):
        for name in ("namespace", "serviceaccount", "rbac"):
            shop("apply", "--filename", str(DEPLOY / "base" / f"{name}.yaml"))
        token = shop(*IN, "create", "token", "podtracer").strip()
        config = yaml.safe_load(shop("config", "view", "--raw", "--minify"))
        config["users"][0]["user"] = {"token": token}
        path = tmp_path_factory.mktemp("outside") / "kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield path
        shop("delete", "clusterrole,clusterrolebinding", "podtracer")


@pytest.fixture
def environment(kubeconfig: Path, image: str, tmp_path: Path) -> dict[str, str]:
    """Who we are, outside the cluster."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PODTRACER_IMAGE": image}
    environment |= {"PODTRACER_RECORDINGS": str(tmp_path / "recordings"), "PODTRACER_STATE": str(tmp_path / "state")}
    environment.pop("PODTRACER_NODE_NAME", None)
    return environment


@pytest.fixture
def podtracer(environment: dict[str, str]) -> Podtracer:
    """Return a function that runs `podtracer` there, and fails the test if it fails."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "podtracer_nb.cli", "run", *words],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """IPython without a kernel, with the extension loaded."""
    made = InteractiveShell(ipython_dir=str(tmp_path), config=Config(HistoryManager={"enabled": False}))
    notebook.load(made)
    yield made
    notebook.unload(made)


@pytest.fixture
def collector(shop: Kubectl, image: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """deploy/collector as it is, with certificates and a token; its pod's address, and its folder on this machine."""
    authority = Authority(tmp_path, "authority")
    trust = {"ca.crt": authority.path.read_bytes(), "token": b"a-token"}
    name, _, tag = image.rpartition(":")
    claim = [{"op": "replace", "path": "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", "value": "1Gi"}]
    own = {
        "resources": [os.path.relpath(DEPLOY / "collector", tmp_path)],
        "images": [{"name": "podtracer-nb", "newName": name, "newTag": tag}],
        "patches": [{"target": {"kind": "StatefulSet"}, "patch": yaml.safe_dump(claim)}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    with free_namespace(shop, COLLECTING):
        shop("apply", "--filename", str(DEPLOY / "collector" / "namespace.yaml"))
        secret(shop, COLLECTING, "podtracer-collector", {**trust, **pair(authority, "server")})
        # There is no DNS here: it is dialled by its pod's address, and has another name.
        secret(shop, NAMESPACE, "sender", {**trust, **pair(authority, "client"), "server-name": b"collector.test"})
        shop("apply", "--kustomize", str(tmp_path))
        where = ("--namespace", COLLECTING)
        rolled = shop.run(*where, "rollout", "status", "statefulset/podtracer-collector", "--timeout=120s")
        assert rolled.returncode == 0, rolled.stderr + shop.run(*where, "describe", "pods").stdout[-3000:]
        pod = shop.json(*where, "get", "pod", "podtracer-collector-0")
        volume = shop.json(*where, "get", "pvc", "data-podtracer-collector-0")["spec"]["volumeName"]
        folder = Path(shop.json("get", "pv", volume)["spec"]["hostPath"]["path"])
        yield pod["status"]["podIP"], folder / "captures"


def pair(authority: Authority, name: str) -> dict[str, bytes]:
    certificate, key = authority.pair(name)
    return {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}


def secret(kubectl: Kubectl, namespace: str, name: str, values: Mapping[str, bytes]) -> None:
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}
    kubectl("apply", "--filename", "-", stdin=json.dumps(made))


@pytest.fixture
def cluster(shop: Kubectl) -> Iterator[Kubectl]:
    """The administrator's kubectl; afterwards no Job of the test's is left."""
    yield shop
    delete_jobs(shop)


@pytest.fixture
def claim(shop: Kubectl) -> Iterator[Path]:
    """A claim `captures` that pods of both nodes can have, and its folder on this machine."""
    made = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "captures"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    shop(*IN, "apply", "--filename", "-", stdin=json.dumps(made))
    wait_for("the claim", lambda: shop.json(*IN, "get", "pvc", "captures")["status"]["phase"] == "Bound")
    volume = shop.json(*IN, "get", "pvc", "captures")["spec"]["volumeName"]
    yield Path(shop.json("get", "pv", volume)["spec"]["hostPath"]["path"])
    delete_jobs(shop)  # a claim is there as long as a pod has it
    shop(*IN, "delete", "pvc", "captures", "--timeout=120s")


def delete_jobs(kubectl: Kubectl) -> None:
    kubectl(*IN, "delete", "cronjobs,jobs", f"--selector={SELECTOR}", "--cascade=foreground", "--timeout=120s")
    kubectl(*IN, "delete", "jobs", "now", "--ignore-not-found", "--cascade=foreground", "--timeout=120s")


def jobs(kubectl: Kubectl) -> list[Any]:
    return list(kubectl.json(*IN, "get", "jobs", f"--selector={SELECTOR}")["items"])


def ended(kubectl: Kubectl, count: int) -> bool:
    """Tell whether so many Jobs have ended; one that failed fails the test, with its log."""
    found = jobs(kubectl)
    for each in found:
        if each["status"].get("failed"):
            name = each["metadata"]["name"]
            pytest.fail(f"{name}: {kubectl.run(*IN, 'logs', f'job/{name}').stdout}\n{each['status']}", pytrace=False)
    return sum(each["status"].get("succeeded", 0) for each in found) >= count


def captures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pcap"))


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("schedule", [(), ("--schedule", "*/15 * * * *", "-t", "1m")], ids=["job", "cronjob"])
def test_a_dry_run_prints_what_the_cluster_would_take_and_makes_nothing(
    cluster: Kubectl, podtracer: Podtracer, form: str, schedule: tuple[str, ...]
) -> None:
    where = ("tcpdump", "--pod", "deploy/web", "-n", "shop", "--job", "-f", "pvc://captures/x", *schedule)
    printed = podtracer(*where, "--dry-run", "-o", form, "--", "-i", "eth0").stdout
    taken = cluster(*IN, "create", "--dry-run=server", "--filename", "-", stdin=printed)
    assert taken.count("created (server dry run)") == (1 if schedule else len(cluster.json("get", "nodes")["items"]))
    assert not jobs(cluster)


def test_a_job_whose_pod_may_not_be_made_is_told_at_once_and_is_not_left(
    cluster: Kubectl, environment: dict[str, str]
) -> None:
    cluster(*IN, "create", "quota", "none", "--hard=pods=0")
    try:
        words = ("run", "ip", "--pod", "deploy/client", "-n", "shop", "--job", "--", "addr")
        done = subprocess.run(
            [sys.executable, "-m", "podtracer_nb.cli", *words],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        cluster(*IN, "delete", "quota", "none")
    assert done.returncode == 1
    assert re.fullmatch(r".*exceeded quota: none.*raise the quota, or .*; the job is deleted again\n", done.stderr)
    assert not jobs(cluster)


def test_a_job_whose_pod_no_node_can_take_now_waits_and_says_for_what(cluster: Kubectl, podtracer: Podtracer) -> None:
    said = podtracer("ip", "--pod", "deploy/client", "-n", "shop", "--job", "-f", "pvc://absent", "--", "addr").stdout
    assert re.search(r"^  waits:  no node can take its pod now \(.*absent.*\)$", said, re.M)
    assert len(jobs(cluster)) == 1


@bare
def test_jobs_on_every_node_leave_a_capture_of_each_target_in_a_claim(
    cluster: Kubectl, podtracer: Podtracer, claim: Path, nodes: list[str]
) -> None:
    words = ("tcpdump", "--pod", "deploy/web", "--pod", "deploy/client", "-n", "shop", "-t", "6s", "--job")
    said = podtracer(*words, "-f", "pvc://captures/to day/x", "--", "-i", "eth0", "-U", "-w", "-").stdout
    assert said.count("delete: kubectl -n podtracer delete job podtracer-tcpdump-") == len(nodes)
    assert {each["spec"]["activeDeadlineSeconds"] for each in jobs(cluster)} == {306}
    wait_for("the Jobs' end", lambda: ended(cluster, len(nodes)), 120)
    found = captures(claim / "to day" / "x")
    pods = [each["metadata"]["name"] for each in cluster.json("--namespace", "shop", "get", "pods")["items"]]
    assert sorted(each.name.split("_")[1] for each in found) == sorted(pods)
    assert all(each.name.startswith("shop_") and "_eth0_" in each.name for each in found)
    frames = {each.name.split("_")[1]: read_pcap(each) for each in found}
    (client,) = [name for name in frames if name.startswith("client")]
    assert (frames[client].dport == 8080).any(), "what the client asked while the Job ran"


@bare
def test_a_job_that_is_deleted_leaves_what_it_had_whole(cluster: Kubectl, podtracer: Podtracer, claim: Path) -> None:
    podtracer("tcpdump", "--pod", "deploy/client", "-n", "shop", "--job", "-f", "pvc://captures", "--", "-U", "-w", "-")
    wait_for("packets", lambda: any(each.stat().st_size > 1000 for each in captures(claim)), 120)
    (job,) = jobs(cluster)
    cluster(*IN, "delete", "job", job["metadata"]["name"], "--wait=true", "--cascade=foreground", "--timeout=120s")
    (file,) = captures(claim)
    frame = read_pcap(file)
    assert len(frame) > 0 and frame.attrs["podtracer"]["capture"]["damage"] is None


@bare
@needs("s3")
def test_a_job_sends_its_output_to_a_bucket(cluster: Kubectl, podtracer: Podtracer, tmp_path: Path) -> None:
    with s3.running(tmp_path, layout.NODES[0].address) as server:
        server.make("captures")
        secret(cluster, NAMESPACE, "bucket", {name: word.encode() for name, word in server.environment.items()})
        words = ("tcpdump", "--pod", "deploy/client", "-n", "shop", "--job", "-t", "5s", "--secret", "bucket")
        podtracer(*words, "-f", "s3://captures/cluster", "--", "-i", "eth0")
        wait_for("the Job's end", lambda: ended(cluster, 1), 120)
        (file,) = server.objects("captures")
        assert file.parent.name == "cluster" and file.name.startswith("shop_client-")
        assert (read_pcap(file).dport == 8080).any()


def test_a_table_is_in_the_jobs_log(cluster: Kubectl, podtracer: Podtracer) -> None:
    podtracer("ip", "--pod", "deploy/client", "-n", "shop", "--job", "--", "-4", "addr", "show", "eth0")
    wait_for("the Job's end", lambda: ended(cluster, 1), 120)
    (job,) = jobs(cluster)
    (pod,) = cluster.json("--namespace", "shop", "get", "pods", "--selector=app=client")["items"]
    assert pod["status"]["podIP"] in cluster(*IN, "logs", f"job/{job['metadata']['name']}")


@bare
def test_a_schedule_makes_jobs_where_its_targets_are_by_then(
    cluster: Kubectl, podtracer: Podtracer, claim: Path, nodes: list[str]
) -> None:
    words = ("tcpdump", "-l", "app=web", "-n", "shop", "-t", "3s", "--schedule", "0 0 1 1 *")
    said = podtracer(*words, "-f", "pvc://captures/cron", "--", "-i", "eth0", "-U", "-w", "-").stdout
    name = said.split()[1]
    assert not jobs(cluster)
    # As the controller does when it is time.
    cluster(*IN, "create", "job", "now", f"--from=cronjob/{name}")
    wait_for("the Jobs' end", lambda: ended(cluster, 1 + len(nodes)), 180)
    assert {each.name.split("_")[1] for each in captures(claim / "cron")} == {
        each["metadata"]["name"]
        for each in cluster.json("--namespace", "shop", "get", "pods", "--selector=app=web")["items"]
    }


@bare
def test_jobs_on_every_node_send_to_the_collector_of_deploy(
    cluster: Kubectl, podtracer: Podtracer, collector: tuple[str, Path], nodes: list[str]
) -> None:
    address, folder = collector
    words = ("tcpdump", "--pod", "deploy/web", "-n", "shop", "-t", "5s", "--job", "--secret", "sender")
    podtracer(*words, "-d", address, "--", "-i", "eth0", "-U", "-w", "-")
    wait_for("the Jobs' end", lambda: ended(cluster, len(nodes)), 120)
    found = collected(folder)
    assert set(found.captures.state) == {"complete"}
    pods = cluster.json("--namespace", "shop", "get", "pods", "--selector=app=web")["items"]
    assert set(found) == {f"shop/{each['metadata']['name']}" for each in pods}
    assert sum(len(found[name]) for name in found) > 0
    logs = [cluster(*IN, "logs", f"job/{each['metadata']['name']}") for each in jobs(cluster)]
    assert all("verified" in each for each in logs)
    with urllib.request.urlopen(f"http://{address}:9464/metrics") as answer:
        metrics = answer.read().decode()
    assert re.search(rf'^podtracer_collector_streams_total{{outcome="complete"}} {len(nodes)}\.0$', metrics, re.M)


@bare
def test_as_an_entry_point_it_does_what_the_original_does_for_an_operator(
    cluster: Kubectl, image: str, tmp_path: Path
) -> None:
    """An operator's own pod: no Job of ours, the image's entry point, the original's words, no encryption."""
    (target,) = cluster.json("--namespace", "shop", "get", "pods", "--selector=app=client")["items"]
    node = next(each for each in layout.NODES if each.name == target["spec"]["nodeName"])
    line = f"run tcpdump -a '-i eth0 -U -w -' --pod {target['metadata']['name']} -n shop -t 5s -d {node.address} -p"
    received = tmp_path / "received"
    command = [sys.executable, "-m", "podtracer_nb.cli", "collect", "--insecure", "--dir", str(received), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        said = program.stderr.readline()
        (port,) = re.findall(r"collecting on port (\d+)", said)
        job = execution.job_manifest(
            "tcpdump",
            [],
            node=node.name,
            namespace=NAMESPACE,
            image=image,
            timer=60,
            destination=execution.Destination(),
        )
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        del container["command"]
        container["args"] = ["podtracer", *shlex.split(f"{line} {port}")]
        container["env"].append({"name": "PODTRACER_NOTEBOOKS", "value": "/tmp/notebooks"})
        cluster(*IN, "apply", "--filename", "-", stdin=json.dumps(job))
        wait_for("the pod's end", lambda: ended(cluster, 1), 120)
        program.terminate()
        program.wait(30)
    (name,) = collected(received)
    assert name == f"shop/{target['metadata']['name']}"
    assert (collected(received)[name].dport == 8080).any()


def test_the_magic_makes_the_same_job_and_gives_a_table_of_it(
    cluster: Kubectl, environment: dict[str, str], shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shell.run_cell("made = %podtrace ip --pod deploy/client -n shop --job -- -4 addr").raise_error()
    made = shell.user_ns["made"]
    (job,) = jobs(cluster)
    assert made.to_dict("records") == [
        {
            "kind": "job",
            "name": job["metadata"]["name"],
            "namespace": NAMESPACE,
            "node": made.node[0],
            "pods": made.pods[0],
            "output": "its log",
            "state": "made",
        }
    ]
    assert made.pods[0].startswith("shop/client-")
    wait_for("the Job's end", lambda: ended(cluster, 1), 120)
