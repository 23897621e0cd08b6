"""A notebook that is executed with nobody watching it: what is left in it."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.machine import needs

pytestmark = [needs("netns", "iproute2", "dnsmasq", "tcpdump"), pytest.mark.usefixtures("demo_pods")]


def test_an_executed_notebook_keeps_the_banner_and_the_table_and_no_progress():
    cells = [
        "%load_ext podtracer_nb",
        "%podtrace use -n demo --pod web",
        "%podtrace tcpdump -t 1.6s -- -i eth0",
        "%podtrace tcpdump -- -i eth0 -c 3 -nonsense",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    NotebookClient(notebook, timeout=60, allow_errors=True, kernel_name="python3").execute()
    loaded, used, captured, failed = (cell.outputs for cell in notebook.cells)
    assert loaded == []
    assert used[0].data["text/plain"] == "defaults: -n demo --pod web"
    banner, table = captured
    assert banner.data["text/plain"].startswith("demo/web on demo-node · ")
    assert "stopped by its timer" in banner.data["text/plain"]
    assert banner.data["text/html"].startswith("<div ")
    assert "<table" in table.data["text/html"]
    assert [each.output_type for each in failed] == ["error"]
    assert len(failed[0].traceback) == 1
