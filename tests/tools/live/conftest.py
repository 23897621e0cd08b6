"""A wire to capture on, and a directory of recordings of these tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.live.wire import Wire, wire


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_RECORDINGS", str(directory))
        yield directory


@pytest.fixture(scope="session")
def shared_wire(recordings: Path) -> Iterator[Wire]:
    """A wire that no test takes down."""
    with wire() as made:
        yield made


@pytest.fixture
def own_wire(recordings: Path) -> Iterator[Wire]:
    """A wire that the test may take down."""
    with wire() as made:
        yield made
