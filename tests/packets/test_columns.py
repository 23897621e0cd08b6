"""A column is the same whatever else was asked for, and costs nothing where it was not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
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


def test_sizes_in_the_capture_are_kept_from_the_first_cut_packet_on(read: Read) -> None:
    packet = raw_ip(1)
    for before in (0, 1, 9000):
        data = capture([], 101) + before * record(packet) + record(packet, keep=19) + record(packet)
        frame = read(data)
        assert frame["length"].tolist() == [len(packet)] * (before + 2)
        assert frame["caplen"].tolist() == [len(packet)] * before + [19, len(packet)]
        assert read(data, columns=["caplen"])["caplen"].tolist() == frame["caplen"].tolist()


def test_the_two_lengths_are_one_memory_until_one_is_written(read: Read) -> None:
    frame = read(capture([raw_ip(1)] * 3, 101))
    assert np.shares_memory(frame["length"].to_numpy(), frame["caplen"].to_numpy())
    size = int(frame.loc[1, "caplen"])
    frame.loc[1, "length"] = 7
    assert frame["length"].tolist() == [7, size, size]
    assert frame["caplen"].tolist() == [size] * 3
    frame.loc[2, "caplen"] = 8
    assert (frame.loc[2, "length"], frame.loc[2, "caplen"]) == (size, 8)
