"""The runner of notebooks, which is a script beside them and no part of the package."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.house.checkout import ROOT


def load_runner() -> ModuleType:
    """Return `notebooks/run.py`."""
    spec = importlib.util.spec_from_file_location("notebooks_run", ROOT / "notebooks" / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def runner() -> ModuleType:
    """Return `notebooks/run.py`."""
    return load_runner()
