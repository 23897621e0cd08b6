"""Every specification of the packet engine holds for both builds: `engine` gives one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pandas as pd
import pytest

from podtracer_nb import packets
from tests.packets import engines


@pytest.fixture(params=engines.NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Let everything that is read in the test be read by one build."""
    module = engines.engine(request.param)
    with engines.using(module):
        yield module


@pytest.fixture
def read(engine: ModuleType) -> Callable[..., pd.DataFrame]:
    """Return `packets.read`, on the build under test."""
    return packets.read
