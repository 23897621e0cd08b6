"""How notebooks are stored: valid, with cell ids, without anything that a run leaves behind."""

from __future__ import annotations

import nbformat
import pytest

from tests.house.checkout import ROOT, files

NOTEBOOKS = [file for file in files() if file.suffix == ".ipynb"]


def test_there_is_a_first_notebook() -> None:
    assert "notebooks/01-quickstart.ipynb" in map(str, NOTEBOOKS)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=str)
def test_a_notebook_is_valid_and_its_cells_have_names_that_last(file: object) -> None:
    notebook = nbformat.read(ROOT / str(file), as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    identifiers = [cell.id for cell in notebook.cells]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=str)
def test_a_notebook_is_stored_without_outputs(file: object) -> None:
    notebook = nbformat.read(ROOT / str(file), as_version=4)
    ran = [cell.id for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert ran == []
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
