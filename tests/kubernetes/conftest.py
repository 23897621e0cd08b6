"""The sample's pods, and the words to run podtracer on them from a node: as root, with a kubeconfig."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import layout
from tests.cluster.fixtures import Kubectl

Podtracer = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def environment(kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig, and no demo and no recordings of anybody else's."""
    monkeypatch.setenv("KUBECONFIG", kubectl.environment["KUBECONFIG"])
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))


@pytest.fixture
def podtracer() -> Podtracer:
    """Return a function that runs `podtracer` with some words, as a process."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "podtracer_nb.cli", *words],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(params=layout.NODES, ids=lambda node: node.runtime)
def node(request: pytest.FixtureRequest, nodes: list[str]) -> layout.Node:
    """Each of the cluster's nodes: containerd's and CRI-O's."""
    if request.param.name not in nodes:
        pytest.skip(f"the cluster has no {request.param.name}")
    found: layout.Node = request.param
    return found
