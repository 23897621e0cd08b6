"""The notebook about captures larger than memory: it runs by itself, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

from tests.house.checkout import ROOT
from tests.machine import needs

pytestmark = needs("tcpdump")


@pytest.fixture(scope="module")
def executed(runner: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """Return the notebook after its run."""
    own = tmp_path_factory.mktemp("larger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(own))
        patch.setattr(tempfile, "tempdir", None)
        notebook = nbformat.read(ROOT / "notebooks" / "05-larger-than-memory.ipynb", as_version=4)
        result: NotebookNode = runner.execute(notebook)
        assert list(own.glob("podtracer-large-*")) == []
    tempfile.tempdir = None
    return result


def shown(notebook: NotebookNode, name: str) -> str:
    outputs = next(cell for cell in notebook.cells if cell.id == name).outputs
    return "".join(each.get("text") or each.get("data", {}).get("text/plain", "") for each in outputs)


def test_parquet_duckdb_and_dask_count_the_same_packets(executed: NotebookNode) -> None:
    assert "4,000 packets" in shown(executed, "parquet")
    assert "part-000001.parquet" in shown(executed, "files")
    assert "10.88.0.10" in shown(executed, "talkers")
    assert "TCP" in shown(executed, "seconds") and "UDP" in shown(executed, "seconds")
    assert "10.88.0.11" in shown(executed, "scan")
    assert "bytes_ab" in shown(executed, "conversations")


def test_the_bytes_are_at_hand_at_the_end(executed: NotebookNode) -> None:
    assert "DNS" in shown(executed, "back") and "400 packets" in shown(executed, "back")
    assert "web.demo.svc.cluster.local" in shown(executed, "choose")


def test_nothing_is_said_on_standard_error(executed: NotebookNode) -> None:
    said = [
        out
        for cell in executed.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if out.get("name") == "stderr"
    ]
    assert said == []


def test_what_the_terminal_gets_fits_it(executed: NotebookNode, runner: ModuleType) -> None:
    assert max(len(line) for text in runner.printed(executed) for line in text.splitlines()) <= 120
    assert Path(ROOT / "notebooks" / "05-larger-than-memory.ipynb").exists()
