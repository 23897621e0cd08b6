"""The README's commands for a cluster, run as they are written there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.fixtures import Kubectl
from tests.house.checkout import blocks
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2"), pytest.mark.usefixtures("shop")]


def test_the_commands_for_a_cluster_run_as_written(tmp_path: Path) -> None:
    block, _ = blocks("README.md", "bash")
    said = {}
    for line in block.splitlines():
        words = line.replace("podtracer", f"{sys.executable} -m podtracer_nb.cli", 1)
        done = subprocess.run(
            ["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        said[line.split()[1] + " " + line.split()[2] if " run " in line else line.split()[1]] = done.stdout
    assert "MISSING" not in said["doctor"]
    assert said["pods"].count("Deployment/web") >= 1
    assert said["run tcpdump"].count(".8080") >= 10
    assert ":8080" in said["run ss"]


def test_the_commands_for_jobs_print_what_is_said(shop: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_IMAGE", "podtracer-nb:0.1.0")
    _, block = blocks("README.md", "bash")
    kinds = []
    for line in block.splitlines():
        words = line.replace("podtracer", f"{sys.executable} -m podtracer_nb.cli", 1)
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (line, done.stderr)
        kinds.append({each["kind"] for each in yaml.safe_load_all(done.stdout)})
    assert kinds == [{"Job"}, {"CronJob"}]
