"""Every example in a docstring runs, and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import podtracer_nb
from tests.machine import needs

# A module that is a program of its own is run as one, elsewhere; to import it is to run it.
_PROGRAMS = ("podtracer_nb.demo.inside",)

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(podtracer_nb.__path__, "podtracer_nb.")
    if not module.name.startswith(_PROGRAMS)
)


@needs("netns", "dnsmasq", "iproute2")
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
