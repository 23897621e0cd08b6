"""A cluster that is not made of bare processes: the one that KUBECONFIG names, or kind's where Docker runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.cluster import images
from tests.cluster.commands import SEARCH, run, say
from tests.cluster.layout import DATA, HERE, KUBECONFIG, READY, RUN, ClusterError


def given() -> str | None:
    """Return the KUBECONFIG of the environment where that is a cluster of someone else's; it has to answer."""
    named = os.environ.get("KUBECONFIG", "")
    if not named or Path(named) == KUBECONFIG:
        return None
    kubectl = shutil.which("kubectl", path=SEARCH)
    if kubectl is not None:
        done = run([kubectl, "get", "--raw", "/readyz"], check=False, timeout=20)
        if done.returncode != 0:
            raise ClusterError(f"KUBECONFIG={named} names a cluster that does not answer: {done.stderr.strip()[-300:]}")
    return named


def kind_works() -> bool:
    """Tell whether a Docker engine answers and kind is installed."""
    if shutil.which("kind", path=SEARCH) is None or shutil.which("docker", path=SEARCH) is None:
        return False
    return run(["docker", "info"], check=False, timeout=10).returncode == 0


def is_kind() -> bool:
    """Tell whether the cluster that is up is kind's."""
    try:
        return bool(json.loads(READY.read_text()).get("kind"))
    except (OSError, ValueError):
        return False


def _kind(verb: str, what: str, *options: str | Path) -> None:
    run(["kind", verb, what, "--name", "podtracer", *options])


def kind_up() -> None:
    """Bring a kind cluster of two nodes up, with the tests' own images in it."""
    if is_kind():
        say("kind's cluster is up already")
        return
    RUN.mkdir(parents=True, exist_ok=True)
    kind_down()
    RUN.mkdir(parents=True, exist_ok=True)
    say("a Docker engine answers: kind makes the cluster")
    _kind("create", "cluster", "--config", HERE / "kind.json", "--kubeconfig", KUBECONFIG, "--wait", "180s")
    READY.write_text(json.dumps({"kind": True, "nodes": ["podtracer-control-plane", "podtracer-worker"]}))
    for archive in images.make_own():
        kind_load(archive)


def kind_load(archive: Path) -> list[str]:
    """Load an archive's images into kind's nodes."""
    _kind("load", "image-archive", str(archive))
    return images.names(archive)


def kind_down() -> None:
    """Delete kind's cluster, if there is one of ours."""
    if not (RUN.exists() and kind_works()):
        return
    if "podtracer" in run(["kind", "get", "clusters"], check=False).stdout.split():
        _kind("delete", "cluster", "--kubeconfig", KUBECONFIG)
    shutil.rmtree(DATA, ignore_errors=True)
