"""A column is the same whatever else was asked for, and costs nothing where it was not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from podtracer_nb.packets import copy_on_write, schema
from podtracer_nb.packets.columns import MASK_OF, ColumnMemory
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


def pickle_and_back(frame: pd.DataFrame) -> pd.DataFrame:
    result: pd.DataFrame = pickle.loads(pickle.dumps(frame))
    return result


def there(frame: pd.DataFrame, name: str) -> int:
    return int(frame[name].notna().argmax())


def clear(frame: pd.DataFrame, name: str) -> None:
    frame.loc[frame.index[there(frame, name)], name] = pd.NA


def clear_where(frame: pd.DataFrame, name: str) -> None:
    frame.loc[frame["length"] > 0, name] = pd.NA


def clear_by_position(frame: pd.DataFrame, name: str) -> None:
    frame.iloc[there(frame, name), frame.columns.get_loc(name)] = pd.NA


def clear_all(frame: pd.DataFrame, name: str) -> None:
    frame[[name]] = frame[[name]].where(frame["length"] < 0)


def fill(frame: pd.DataFrame, name: str) -> None:
    frame.fillna({name: frame[name].dropna().iloc[0]}, inplace=True)


def set_each(frame: pd.DataFrame, name: str) -> None:
    value = frame[name].dropna().iloc[0]
    for row in frame.index:
        frame.at[row, name] = value


@pytest.mark.parametrize("write", [clear, clear_where, clear_by_position, clear_all, fill, set_each])
@pytest.mark.parametrize("name", sorted({*MASK_OF, *MASK_OF.values()}))
def test_columns_with_one_mask_are_written_one_by_one(read: Read, name: str, write: Callable[..., None]) -> None:
    before = read(CAPTURES["EN10MB"], layers=["tunnel"])
    frame = read(CAPTURES["EN10MB"], layers=["tunnel"])
    write(frame, name)
    assert not frame[name].equals(before[name])
    for other in frame.columns.drop(name):
        pd.testing.assert_series_equal(frame[other], before[other])


@pytest.mark.parametrize("copied", [pickle_and_back, copy.copy, copy.deepcopy, lambda frame: frame[:]])
def test_copies_of_a_frame_are_written_column_by_column_too(read: Read, copied: Callable[..., pd.DataFrame]) -> None:
    before = read(CAPTURES["EN10MB"])
    frame = read(CAPTURES["EN10MB"])
    other = copied(frame)
    taken = other["sport"]
    taken.iloc[:] = pd.NA
    clear_where(other, "dport")
    assert other["dport"].isna().all()
    for name in before.columns.drop("dport"):
        pd.testing.assert_series_equal(other[name], before[name])
    pd.testing.assert_frame_equal(frame, before)


def test_a_column_outlives_the_one_that_had_its_mask(read: Read) -> None:
    before = read(CAPTURES["layers"])
    frame = read(CAPTURES["layers"])
    taken = frame.pop("dport")
    clear_where(frame, "sport")
    pd.testing.assert_series_equal(taken, before["dport"])


def test_masks_are_kept_once_and_apart_where_pandas_cannot_count_them_together(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CAPTURES["EN10MB"]
    before = read(data)
    assert np.shares_memory(before["sport"].array._mask, before["dport"].array._mask)

    def cannot(frame: pd.DataFrame, names: list[str]) -> None:
        raise AttributeError(names)

    monkeypatch.setattr(copy_on_write, "_count_as_one", cannot)
    frame = read(data)
    assert not np.shares_memory(frame["sport"].array._mask, frame["dport"].array._mask)
    pd.testing.assert_frame_equal(frame, before)
