"""As a user outside the cluster: with the kubeconfig of the account that deploy/ makes, and its rights only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from podtracer_nb import execution
from tests.cluster.fixtures import DEPLOY, Kubectl, free_namespace, wait_for

__all__ = ["NAMESPACE", "SELECTOR", "environment", "kubeconfig", "none_left", "outside", "own_tracers", "tracer_pods"]

NAMESPACE = "podtracer"
SELECTOR = "app.kubernetes.io/name=podtracer-tracer"


@pytest.fixture(scope="module")
def kubeconfig(shop: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig outside the cluster, of the account that deploy/ makes and with no more than its rights."""
    with free_namespace(shop, NAMESPACE):
        for name in ("namespace", "serviceaccount", "rbac"):
            shop("apply", "--filename", str(DEPLOY / "base" / f"{name}.yaml"))
        token = shop("--namespace", NAMESPACE, "create", "token", "podtracer").strip()
        config = yaml.safe_load(shop("config", "view", "--raw", "--minify"))
        config["users"][0]["user"] = {"token": token}
        path = tmp_path_factory.mktemp("outside") / "kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield path
        execution.delete_tracers()
        shop("delete", "clusterrole,clusterrolebinding", "podtracer")


@pytest.fixture(autouse=True)
def environment(kubeconfig: Path, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the other tests' administrator."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("PODTRACER_IMAGE", image)
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))
    monkeypatch.delenv("PODTRACER_NODE_NAME", raising=False)


@pytest.fixture(autouse=True)
def own_tracers(environment: None, outside: Kubectl) -> Iterator[None]:
    """For a module that imports it: none that an earlier test made another way, and none afterwards."""
    execution.delete_tracers()
    wait_for("the tracers' end", lambda: none_left(outside))
    yield
    execution.delete_tracers()


@pytest.fixture
def outside(shop: Kubectl) -> Kubectl:
    """The administrator's kubectl, to look at what happens."""
    return shop


def tracer_pods(kubectl: Kubectl) -> list[Any]:
    return list(kubectl.json("--namespace", NAMESPACE, "get", "pods", f"--selector={SELECTOR}")["items"])


def none_left(kubectl: Kubectl) -> bool:
    jobs = kubectl.json("--namespace", NAMESPACE, "get", "jobs", f"--selector={SELECTOR}")["items"]
    return not jobs and not tracer_pods(kubectl)
