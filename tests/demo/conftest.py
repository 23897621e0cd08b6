"""Each test has its own state directory, so that its demo meets no other one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from podtracer_nb import demo
from tests.demo.machine_state import network_namespaces, own_links_and_mounts, processes_of, until


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the state file's path; when the test is over, the demo is down and the machine as it was."""
    before = own_links_and_mounts()
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    file = tmp_path / "state" / "demo.json"
    yield file
    demo.down()
    # The look is not atomic: a process that forks and ends meanwhile may have slipped past the test's own.
    until(lambda: not processes_of(file), "no process of the demo is left")
    assert own_links_and_mounts() == before


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoStatus]:
    """Return the status of a demo that the tests of one module share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(tmp_path_factory.mktemp("shared") / "state"))
        yield demo.up()
        demo.down()


@pytest.fixture
def namespaces_before() -> set[str]:
    """Return the network namespaces that there were before the test."""
    return network_namespaces()
