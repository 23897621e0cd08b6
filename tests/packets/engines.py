"""The dissector's two builds, and a way to read captures with either: what the reader imports is exchanged."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from podtracer_nb import packets
from podtracer_nb.packets import _dissect, reader, walk

__all__ = ["NAMES", "SOURCE", "engine", "load", "using"]

NAMES = ("compiled", "interpreted")
SOURCE = Path(packets.__file__).with_name("_dissect.py")


def load(path: Path, name: str) -> ModuleType:
    """Import a file as a module of its own, beside whatever was imported from the same source."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _interpreted() -> ModuleType:
    return load(SOURCE, "interpreted_dissect")


def engine(name: str) -> ModuleType:
    """Return the build of that name; the test is skipped where there is no compiled one."""
    from tests.machine import required

    if name == "interpreted":
        return _interpreted()
    if not packets.compiled:
        reason = "the dissector was installed without a C compiler: install one, then reinstall podtracer-nb"
        if "compiler" in required():
            pytest.fail(f"PODTRACER_REQUIRE names compiler, and {reason}", pytrace=False)
        pytest.skip(reason)
    return _dissect


@contextlib.contextmanager
def using(module: ModuleType) -> Iterator[None]:
    """Let readers made meanwhile use this build, without a word about it being slow."""
    with (
        mock.patch.object(walk, "_dissect", module),
        mock.patch.object(reader, "_warn_if_interpreted", lambda: None),
    ):
        yield
