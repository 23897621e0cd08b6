"""Two states of one thing: which rows came, went, and changed in what."""

from __future__ import annotations

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError


def routes(*rows: tuple[str, str | None, int | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["dst", "via", "metric"]).astype(
        {"dst": "str", "via": "category", "metric": "Int64"}
    )
    frame.attrs["podtracer"] = {"table": {"name": "routes", "key": ["dst"]}}
    return frame


def test_rows_that_came_went_and_changed() -> None:
    found = podtracer_nb.diff(
        routes(("default", "10.0.0.1", 100), ("10.1.0.0/16", "10.0.0.2", None), ("10.2.0.0/16", None, 5)),
        routes(("default", "10.0.0.9", 100), ("10.2.0.0/16", None, 5), ("10.3.0.0/16", "10.0.0.2", 1)),
    )
    assert found.change.tolist() == ["changed", "removed", "added"]
    assert found.dst.tolist() == ["default", "10.1.0.0/16", "10.3.0.0/16"]
    assert found.changed.tolist() == ["via", "", ""]
    assert found.via_before[0] == "10.0.0.1"
    assert "metric_before" not in found, "nothing changed there"
    assert str(found.metric.dtype) == "Int64"


def test_equal_tables_have_no_difference_and_the_same_columns() -> None:
    found = podtracer_nb.diff(routes(("default", None, 1)), routes(("default", None, 1)))
    assert found.empty
    assert found.columns.tolist() == ["change", "dst", "via", "metric", "changed"]


def test_without_a_key_whole_rows_are_compared_and_counted() -> None:
    before, after = pd.DataFrame({"x": [1, 1, 2]}), pd.DataFrame({"x": [1, 2, 3]})
    found = podtracer_nb.diff(before, after)
    assert found[["change", "x"]].to_dict("records") == [{"change": "removed", "x": 1}, {"change": "added", "x": 3}]


def test_rows_of_several_targets_are_told_apart() -> None:
    before, after = routes(("default", "a", 1), ("default", "b", 1)), routes(("default", "a", 1), ("default", "c", 1))
    for frame in (before, after):
        frame.insert(0, "target", ["one", "two"])
    found = podtracer_nb.diff(before, after)
    assert found[["target", "via", "via_before"]].to_dict("records") == [
        {"target": "two", "via": "c", "via_before": "b"}
    ]


def test_a_key_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match="no column 'nope'"):
        podtracer_nb.diff(routes(), routes(), key=["nope"])
    with pytest.raises(InputError, match="list of column names"):
        podtracer_nb.diff(routes(), routes(), key="dst")
