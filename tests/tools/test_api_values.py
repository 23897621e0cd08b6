"""What the Python face is given is looked at before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

import podtracer_nb
from podtracer_nb.errors import InputError

HALF = "\ud800"


@pytest.mark.parametrize(
    "words",
    [
        {"args": "-c 5"}, {"args": ["-c", 5]}, {"args": [HALF]}, {"args": ["a\0b"]}, {"args": ["x" * 200_000]},
        {"pid": "1"}, {"pod": [None]}, {"pod": HALF}, {"file": "x\0"}, {"filter": HALF}, {"namespace": 7},
        {"selector": "a=b\0"}, {"context": HALF}, {"interface": "e\0"}, {"timer": "5s"}, {"count": -1}, {"netns": "\0"},
    ],
    ids=lambda words: next(iter(words)),
)  # fmt: skip
def test_a_value_that_cannot_be_right_is_one_line(words: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        podtracer_nb.run("tcpdump", **{"pid": 1, **words} if "pod" not in words else words)
    assert "\n" not in str(caught.value)
