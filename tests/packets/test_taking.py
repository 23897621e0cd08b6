"""A stream read bit by bit, its rows taken and their memory used again: nothing is lost, and nothing grows."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from podtracer_nb import packets

HEADER = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 65000000")


def records(numbers: range) -> bytes:
    """Return packets, each of other addresses, its time its number."""
    made = b""
    for number in numbers:
        ip = bytes.fromhex("4500001400000000 40fd0000") + np.array([2 * number, 2 * number + 1], ">u4").tobytes()
        made += number.to_bytes(4, "little") + bytes(4) + (20).to_bytes(4, "little") * 2 + ip
    return made


class Later(Exception):
    pass


class Bits(io.RawIOBase):
    """Gives what is there, a few bytes at a time, and raises when there is no more for now."""

    def __init__(self, size: int) -> None:
        self.data, self.size = b"", size

    def readinto(self, buffer) -> int:
        if not self.data:
            raise Later
        part, self.data = self.data[: min(self.size, len(buffer))], self.data[min(self.size, len(buffer)) :]
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_that_has_no_more_for_now_loses_nothing(size):
    source = Bits(size)
    reader = packets.Reader(source)
    parts, whole = [], HEADER + records(range(50))
    for at in range(0, len(whole), 333):
        source.data = whole[at : at + 333]
        with pytest.raises(Later):
            reader.read_all()
        if reader.fresh:
            parts.append(reader.take())
            assert reader.fresh == 0
    taken = pd.concat([part[["time", "length", "offset"]] for part in parts])
    pd.testing.assert_frame_equal(taken, packets.read(whole)[["time", "length", "offset"]])
    assert [text for part in parts for text in part["src"]] == packets.read(whole)["src"].tolist()


def test_what_is_dropped_keeps_its_numbers():
    source = Bits(1 << 16)
    reader = packets.Reader(source)
    for numbers, dropped in ((range(5), False), (range(5, 9), True), (range(9, 12), False)):
        source.data = (HEADER if numbers.start == 0 else b"") + records(numbers)
        with pytest.raises(Later):
            reader.read_all()
        if dropped:
            reader.drop()
        else:
            assert reader.take().index.tolist() == [number + 1 for number in numbers]
    assert reader.packets == 12


def test_values_are_forgotten_before_they_fill_the_memory():
    source = Bits(1 << 20)
    reader = packets.Reader(source, columns=["src", "dst"])
    source.data = HEADER
    for start in range(0, 120_000, 10_000):
        source.data += records(range(start, start + 10_000))
        with pytest.raises(Later):
            reader.read_all()
        chunk = reader.take()
        assert chunk["src"].iloc[-1] == ".".join(map(str, (2 * (start + 9999)).to_bytes(4, "big")))
        assert len(chunk["src"].cat.categories) < 100_000
