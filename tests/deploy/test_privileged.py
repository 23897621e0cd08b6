"""The overlay whose notebook is root on its node, on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fixtures import Kubectl, applied
from tests.deploy.jupyter import Jupyter, forwarded
from tests.deploy.status import MASK, masks
from tests.machine import needs

pytestmark = [pytest.mark.cluster, needs("kubectl")]


def test_the_privileged_notebook_is_root_on_its_node(
    kubectl: Kubectl, nodes: list[str], image: str, tmp_path: Path
) -> None:
    with applied(kubectl, tmp_path, "privileged", image, nodes[-1]) as notebook:
        assert notebook.output("id", "-u") == "0\n"
        found = masks(notebook.output("cat", "/proc/self/status"))
        assert found["CapEff"] == found["CapBnd"]
        assert found["CapEff"] & MASK == MASK
        # hostPID: kthreadd, the kernel's own process 2, is the same seen from the container and through the mount.
        assert notebook.output("cat", "/proc/2/comm") == notebook.output("cat", "/host/proc/2/comm") == "kthreadd\n"
        assert "lock" in notebook.output("ls", "/host/run").split()
        with forwarded(notebook) as port:
            assert Jupyter(port, notebook.token).run("import os; print(os.getuid())") == "0\n"
            assert Jupyter(port, None).status("/api/contents") == 403
