"""deploy/ as data: its files, what kustomize makes of its overlays, and the words to ask about pods with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.layout import cache

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
IMAGE = DEPLOY / "image"
OVERLAYS = ("capabilities", "privileged", "openshift", "one-namespace")
FIVE = ["SYS_ADMIN", "SYS_PTRACE", "NET_RAW", "SETUID", "SETGID"]

Document = dict[str, Any]


def yaml_files() -> list[Path]:
    """Return every YAML file of deploy/."""
    return sorted(DEPLOY.rglob("*.yaml"))


def documents(text: str) -> list[Document]:
    """Return the documents of a YAML text, the empty ones left out."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def kubectl_program() -> str:
    """Return kubectl: the one that was built with the tests' cluster, else the machine's own."""
    built = sorted(cache().glob("kubernetes-*/kubectl"))
    return str(built[-1]) if built else shutil.which("kubectl") or "kubectl"


def kustomize(folder: Path) -> list[Document]:
    """Return what `kubectl kustomize` makes of a folder."""
    # Without a cluster: not even a kubeconfig may be looked for.
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    done = subprocess.run(
        [kubectl_program(), "kustomize", str(folder)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def pick(found: list[Document], kind: str, name: str | None = None) -> Document:
    """Return the one document of a kind, or of a kind and a name."""
    (one,) = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return one


def pod_specs(found: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pod's specification of each workload."""
    for document in found:
        if template := document.get("spec", {}).get("template"):
            yield document["metadata"]["name"], template["spec"]


def containers(specification: Document) -> list[Document]:
    """Return all containers of a pod's specification, those for initialisation included."""
    return [*specification.get("initContainers", []), *specification["containers"]]
