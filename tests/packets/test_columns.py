"""A column is the same whatever else was asked for, and costs nothing where it was not."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from podtracer_nb.packets import schema
from podtracer_nb.packets.columns import ColumnMemory
from tests.packets.captures import LAYERED, SEEDS, capture, record
from tests.packets.test_two_threads import raw_ip

Read = Callable[..., pd.DataFrame]

EVERY = [entry.name for entry in schema.chosen(None, schema.LAYERS)]
CAPTURES = {
    **{name: capture(chosen, linktype) for name, (linktype, chosen) in SEEDS.items()},
    "layers": capture(LAYERED.values()),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_column_alone_is_what_it_is_among_others(name: str, read: Read) -> None:
    data = CAPTURES[name]
    whole = read(data, layers=list(schema.LAYERS)).astype(object)
    for column in EVERY:
        alone = read(data, columns=[column]).astype(object)
        pd.testing.assert_frame_equal(alone, whole[[column]])


def test_columns_alone_may_have_many_values(read: Read) -> None:
    data = capture([], 101) + b"".join(record(raw_ip(at, at % 200)) for at in range(33_000))
    for columns in (["src"], ["proto"], ["proto", "dns_qtype"], ["length"]):
        frame = read(data, columns=columns)
        assert list(frame.columns) == columns
        if "proto" in columns:
            assert frame["proto"].nunique() > 130
        if "src" in columns:
            assert frame["src"].nunique() == 33_000


def test_no_memory_is_taken_for_groups_of_columns_that_were_not_asked_for() -> None:
    class Told:
        def columns(self, memory: dict[str, object]) -> None:
            self.memory = memory

    told = Told()
    memory = ColumnMemory(told, None, schema.chosen(["time", "src", "dst", "length"], None))  # type: ignore[arg-type]
    memory.grow(0, 10, huge=False)
    assert not {"eth_src", "ip_ttl", "tcp_seq", "dns_id", "dns_qname"} & set(told.memory)
