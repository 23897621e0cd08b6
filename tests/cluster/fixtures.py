"""The image built and loaded, an overlay applied to the tests' cluster as a user would, and all of it removed again."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import layout, notebook_image
from tests.deploy.manifests import DEPLOY, ROOT, kubectl_program
from tests.machine import cluster_kubeconfig, required

BUSYBOX = "localhost/podtracer/busybox:test"


class Kubectl:
    """kubectl of the tests' cluster: `kubectl("get", "pods")` gives what it printed, and fails the test if it fails."""

    def __init__(self, kubeconfig: str) -> None:
        self.program = kubectl_program()
        self.environment = {**os.environ, "KUBECONFIG": kubeconfig}

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=300,
            check=False,
        )

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr.strip()}\n{done.stdout.strip()}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--output=json"))


@dataclass(frozen=True)
class Notebook:
    """The notebook's pod in the cluster."""

    kubectl: Kubectl
    token: str
    name: str = "podtracer-0"
    namespace: str = "podtracer"

    def execute(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the notebook's container, as the container's own user."""
        return self.kubectl.run("--namespace", self.namespace, "exec", self.name, "--", *argv)

    def output(self, *argv: str) -> str:
        done = self.execute(*argv)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}\n{done.stdout.strip()}"
        return done.stdout

    @cached_property
    def node(self) -> str:
        return str(self.kubectl.json("--namespace", self.namespace, "get", "pod", self.name)["spec"]["nodeName"])


def wait_for(what: str, ask: Callable[[], bool], seconds: float = 60) -> None:
    """Return when the answer is yes."""
    until = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > until:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def kubectl() -> Iterator[Kubectl]:
    kubeconfig = cluster_kubeconfig()
    cluster = Kubectl(kubeconfig)
    if cluster.run("get", "--raw", "/readyz").returncode != 0:
        reason = "no cluster answers: python -m tests.cluster up"
        if "cluster" in required():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with Path(kubeconfig).open(encoding="utf-8") as file:
        # Another run of the tests has the same namespaces: the second waits for the first to end.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield cluster


@pytest.fixture(scope="session")
def nodes(kubectl: Kubectl) -> list[str]:
    return [each["metadata"]["name"] for each in kubectl.json("get", "nodes")["items"]]


@pytest.fixture(scope="session")
def image(kubectl: Kubectl) -> str:
    """The image of deploy/image/Dockerfile, built, and in the nodes' runtimes; its name."""
    try:
        archive = notebook_image.build()
    except layout.ClusterError as error:
        if "cluster" in required():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    loaded = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "load", str(archive)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    (name,) = loaded.stdout.split()
    return name


# A node's mounts are shared as systemd makes them. The tests' nodes are on a machine that may have none, and there a
# runtime refuses a mount that is to follow the node's.
_UNSHARED = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "podtracer"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {"name": "notebook", "volumeMounts": [{"mountPath": "/host/run", "mountPropagation": None}]}
                ]
            }
        }
    },
}


@contextmanager
def applied(kubectl: Kubectl, folder: Path, overlay: str, image: str, node: str) -> Iterator[Notebook]:
    """Apply an overlay as a user would: an overlay of one's own with an image's name, and a node, and less storage."""
    name, _, tag = image.rpartition(":")
    changes = [
        {"op": "replace", "path": "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", "value": "1Gi"},
        {"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {"kubernetes.io/hostname": node}},
    ]
    own: dict[str, Any] = {
        "resources": [os.path.relpath(DEPLOY / "overlays" / overlay, folder)],
        "images": [{"name": "podtracer-nb", "newName": name, "newTag": tag}],
        "patches": [{"target": {"kind": "StatefulSet"}, "patch": yaml.safe_dump(changes)}],
    }
    if overlay == "privileged":
        own["patches"].append({"target": {"kind": "StatefulSet"}, "patch": yaml.safe_dump(_UNSHARED)})
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    where = ("--namespace", "podtracer")
    with free_namespace(kubectl, "podtracer"):
        made = make(kubectl, "podtracer-deploy", folder)
        if made.returncode != 0:
            told = kubectl.run(*where, "describe", "pods").stdout
            told += kubectl.run(*where, "logs", "podtracer-0").stdout
            pytest.fail(f"the notebook is not ready: {made.stderr}\n{told[-4000:]}", pytrace=False)
        token = kubectl.json(*where, "get", "secret", "podtracer-token")["data"]["token"]
        try:
            yield Notebook(kubectl, base64.b64decode(token).decode())
        finally:
            # The claim and the namespace it leaves to the user.
            deleted = make(kubectl, "podtracer-delete", folder)
            assert deleted.returncode == 0, deleted.stderr


def make(kubectl: Kubectl, target: str, overlay: Path) -> subprocess.CompletedProcess[str]:
    """Call the Makefile's target as a user does, with an overlay of one's own."""
    search = f"{Path(kubectl.program).parent}{os.pathsep}{kubectl.environment['PATH']}"
    return subprocess.run(
        ["make", "--no-print-directory", target, f"OVERLAY={os.path.relpath(overlay, DEPLOY / 'overlays')}"],
        cwd=ROOT,
        env={**kubectl.environment, "PATH": search},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@contextmanager
def free_namespace(kubectl: Kubectl, name: str) -> Iterator[None]:
    """Have a namespace's name for the tests, and nothing of it afterwards; one of somebody else's is not touched."""
    gone = ("delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=120s")
    if kubectl.environment["KUBECONFIG"] == str(layout.KUBECONFIG):
        kubectl(*gone)  # a run that was killed left it
    elif kubectl.run("get", "namespace", name).returncode == 0:
        pytest.fail(f"namespace {name} exists in this cluster: these tests would delete it", pytrace=False)
    try:
        yield
    finally:
        kubectl(*gone)


@pytest.fixture(scope="module", params=[0, 1], ids=["first-node", "second-node"])
def notebook(
    request: pytest.FixtureRequest,
    kubectl: Kubectl,
    nodes: list[str],
    image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Notebook]:
    """The capabilities overlay, applied, its notebook ready on each of the cluster's nodes in turn."""
    if request.param >= len(nodes):
        pytest.skip("the cluster has one node")
    folder = tmp_path_factory.mktemp("overlay")
    with applied(kubectl, folder, "capabilities", image, nodes[request.param]) as ready:
        yield ready


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """deploy/sample, its web server on every node, its client told the server's address, as there is no DNS here."""
    folder = tmp_path_factory.mktemp("sample")
    name, _, tag = BUSYBOX.rpartition(":")
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    changes = [
        {"op": "replace", "path": "/spec/replicas", "value": len(nodes)},
        {
            "op": "add",
            "path": "/spec/template/spec/topologySpreadConstraints",
            "value": [{**spread, "labelSelector": {"matchLabels": {"app": "web"}}}],
        },
    ]
    own = {
        "resources": [os.path.relpath(DEPLOY / "sample", folder)],
        "images": [{"name": "busybox", "newName": name, "newTag": tag}],
        "patches": [{"target": {"kind": "Deployment", "name": "web"}, "patch": yaml.safe_dump(changes)}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    with free_namespace(kubectl, "shop"):
        kubectl("apply", "--kustomize", str(folder))
        kubectl("--namespace", "shop", "rollout", "status", "deployment/web", "--timeout=120s")
        address = web_pods(kubectl)[0]["status"]["podIP"]
        kubectl("--namespace", "shop", "set", "env", "deployment/client", f"WEB_URL=http://{address}:8080")
        kubectl("--namespace", "shop", "rollout", "status", "deployment/client", "--timeout=120s")
        yield kubectl


def web_pods(kubectl: Kubectl) -> list[Any]:
    """Return the sample's web pods, but for those that are on their way out."""
    listed = kubectl.json("--namespace", "shop", "get", "pods", "--selector=app=web")["items"]
    return [each for each in listed if "deletionTimestamp" not in each["metadata"]]
