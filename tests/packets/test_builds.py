"""An interpreted dissector says once that it is slow."""

from __future__ import annotations

import warnings

import pytest

from podtracer_nb import packets
from podtracer_nb.packets import reader
from tests.packets.captures import SEEDS, capture


def test_the_interpreted_build_says_once_that_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "compiled", False)
    reader._warn_if_interpreted.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            packets.read(capture(SEEDS["RAW"][1], 101))
    assert [warning.category for warning in caught] == [packets.InterpretedWarning]
    assert "compiler" in str(caught[0].message)
    reader._warn_if_interpreted.cache_clear()
