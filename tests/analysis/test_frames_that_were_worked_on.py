"""A frame that a user has worked on: what is missing is one line, and other dtypes count the same."""

from __future__ import annotations

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError
from tests.packets.captures import SEEDS, capture


@pytest.fixture
def frame() -> pd.DataFrame:
    linktype, packets = next(iter(SEEDS.values()))
    return podtracer_nb.read_pcap(capture(packets, linktype))


def totals(frame: pd.DataFrame) -> dict[frozenset[tuple[str, str, str]], int]:
    """Return the bytes of each conversation, whichever of its ends is called a."""
    found = frame.podtrace.conversations()
    return {
        frozenset({(str(row.a), str(row.a_port), str(row.proto)), (str(row.b), str(row.b_port), str(row.proto))}): int(
            row.bytes_ab + row.bytes_ba
        )
        for row in found.itertuples()
    }


def test_conversations_are_the_same_where_addresses_are_texts_or_have_categories_of_their_own(
    frame: pd.DataFrame,
) -> None:
    expected = totals(frame)
    assert len(expected) > 3
    apart = frame.assign(
        src=frame["src"].astype("str").astype("category"), dst=frame["dst"].astype("str").astype("category")
    )
    assert totals(apart) == expected
    assert totals(frame.astype({"src": "str", "dst": "str", "proto": "str"})) == expected
    assert totals(pd.concat([apart.iloc[:5], frame.iloc[5:]])) == expected


@pytest.mark.parametrize("made", ["conversations", "topology", "ladder"])
def test_a_column_that_is_missing_or_of_another_kind_is_one_line(frame: pd.DataFrame, made: str) -> None:
    for wrong, why in (
        (frame[["time"]], "no column"),
        (frame.set_index("time"), "no column time"),
        (pd.DataFrame(), "no column"),
        (frame.assign(time="x"), "column time has values of dtype"),
    ):
        with pytest.raises(InputError, match=why):
            getattr(wrong.podtrace, made)()


def test_a_frame_without_addresses_has_no_conversations(frame: pd.DataFrame) -> None:
    assert frame.assign(src=None).podtrace.conversations().empty


def test_tables_that_cannot_be_compared_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="one of them is NoneType"):
        podtracer_nb.diff(frame, None)  # type: ignore[arg-type]
    twice = pd.concat([frame[["src"]], frame[["src"]]], axis=1)
    with pytest.raises(InputError, match="column 'src' is there twice"):
        podtracer_nb.diff(twice, twice)
