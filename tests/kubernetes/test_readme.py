"""The README's commands for a cluster, run as they are written there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.checkout import blocks
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl", "tcpdump", "iproute2"), pytest.mark.usefixtures("shop")]


def test_the_commands_for_a_cluster_run_as_written(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "bash")
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
