"""Recordings of the tests' own; real namespaces, and programs in them, that tests of one module share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from podtracer_nb import demo
from tests.tools.way import Way, way


@pytest.fixture(autouse=True)
def recordings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("recordings")
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(directory))
    return directory


@pytest.fixture(scope="module")
def ways() -> Iterator[Way]:
    with way() as made:
        yield made


@pytest.fixture
def busybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put busybox's programs before all others on PATH."""
    program = shutil.which("busybox")
    assert program is not None
    for name in ("ping", "ping6", "traceroute", "nc"):
        (tmp_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


@pytest.fixture(scope="module")
def demo_pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoStatus]:
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("state")
        state.chmod(0o700)
        patch.setenv("PODTRACER_STATE", str(state))
        yield demo.up()
        demo.down()
