"""Captures that arrive bit by bit, end too early, or are none: what is whole is kept, what is wrong is said."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import random
import struct
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from podtracer_nb import packets
from podtracer_nb.packets import reader
from tests.packets.captures import SEEDS, capture, enhanced, header, interface, record, section

Read = Callable[..., pd.DataFrame]
PACKETS = SEEDS["EN10MB"][1]
WHOLE = capture(PACKETS)
pytestmark = pytest.mark.usefixtures("engine")


class Pieces(io.RawIOBase):
    """A stream that gives its pieces one at a time, as a pipe does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces[0][: len(buffer)]
        self._pieces[0] = self._pieces[0][len(piece) :]
        if not self._pieces[0]:
            self._pieces.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)


def cuts(data: bytes, seed: int, most: int = 300) -> list[bytes]:
    chooser = random.Random(seed)
    pieces = []
    while data:
        size = chooser.randint(1, most)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def same(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, other, check_categorical=False, check_index_type=False)


@pytest.fixture
def pipe() -> Iterator[Callable[[list[bytes]], io.BufferedReader]]:
    """Return a function that gives the reading end of a pipe into which pieces are written meanwhile."""
    writers = []

    def start(pieces: list[bytes]) -> io.BufferedReader:
        reading, writing = os.pipe()

        def write() -> None:
            with open(writing, "wb", buffering=0) as end:  # noqa: PTH123 - a descriptor, not a path
                for piece in pieces:
                    end.write(piece)

        writers.append((threading.Thread(target=write), os.fdopen(reading, "rb")))
        writers[-1][0].start()
        return writers[-1][1]

    yield start
    for thread, end in writers:
        thread.join(10)
        end.close()
        assert not thread.is_alive()


# -------------------------------------------------------------------------------------------------- sources


def test_every_kind_of_source_reads_alike(read: Read, tmp_path: Path, pipe: Callable[..., io.BufferedReader]) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    expected = read(WHOLE)
    for source in (path, str(path), bytearray(WHOLE), memoryview(WHOLE), io.BytesIO(WHOLE), pipe([WHOLE])):
        same(read(source), expected)
    with path.open("rb") as buffered:
        same(read(buffered), expected)
    assert read(path).attrs["podtracer"]["capture"]["path"] == str(path)


@pytest.mark.parametrize("seed", range(5))
def test_a_pipe_cut_at_any_byte_reads_whole(read: Read, pipe: Callable[..., io.BufferedReader], seed: int) -> None:
    same(read(pipe(cuts(WHOLE, seed))), read(WHOLE))


@pytest.mark.parametrize("size", [1, 7, 16, 40])
def test_small_reads_are_put_together(read: Read, size: int) -> None:
    pieces = [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]
    same(read(Pieces(pieces)), read(WHOLE))


def test_count_stops_after_that_many_packets(read: Read) -> None:
    same(read(WHOLE, count=3), read(WHOLE).head(3))
    assert len(read(WHOLE, count=0)) == 0
    assert len(read(WHOLE, count=10**9)) == len(PACKETS)


def test_a_packet_s_bytes_are_found_again(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    frame = read(path)
    assert [packets.raw(path, o, c) for o, c in zip(frame["offset"], frame["caplen"], strict=True)] == PACKETS
    with pytest.raises(packets.FormatError, match="ends at byte"):
        packets.raw(path, len(WHOLE) - 1, 2)


# -------------------------------------------------------------------------------------------------- streams


def test_rows_arrive_with_the_read_that_completes_them() -> None:
    """The next read would wait: it is asked for only after the packets of the last one were given out."""
    source = Pieces([])
    pieces = source._pieces
    chunks = packets.stream(source)
    records = [record(packet) for packet in PACKETS[:4]]
    pieces += [header(), records[0] + records[1][:20]]
    assert next(chunks).index.tolist() == [1]
    pieces += [records[1][20:25], records[1][25:] + records[2]]
    assert next(chunks).index.tolist() == [2, 3]
    pieces += [records[3]]
    assert next(chunks).index.tolist() == [4]
    assert list(chunks) == []


@pytest.mark.parametrize("rows", [None, 1, 3, 1000])
def test_chunks_together_are_the_whole(pipe: Callable[..., io.BufferedReader], rows: int | None) -> None:
    chunks = list(packets.stream(pipe(cuts(WHOLE, 9)), rows=rows))
    expected = packets.read(WHOLE)
    assert all(0 < len(chunk) <= (rows or len(expected)) for chunk in chunks)
    assert all(chunk["src"].dtype == chunk["dst"].dtype for chunk in chunks)
    assert [number for chunk in chunks for number in chunk.index] == expected.index.tolist()
    objects = pd.concat([chunk.astype(object) for chunk in chunks])
    same(objects, expected.astype(object))


def test_a_reader_has_everything_so_far() -> None:
    with packets.Reader(Pieces(cuts(WHOLE, 3))) as capture_reader:
        count = 0
        for chunk in capture_reader:
            count += len(chunk)
            assert capture_reader.packets == count
            assert len(capture_reader.frame()) == count
        same(capture_reader.frame(), packets.read(WHOLE))
        assert capture_reader.bytes == len(WHOLE)
        assert capture_reader.capture_info()["packets"] == len(PACKETS)


def test_an_error_of_the_stream_loses_nothing() -> None:
    class Failing(Pieces):
        def readinto(self, buffer: memoryview) -> int:
            if not self._pieces:
                raise ConnectionResetError("gone")
            return super().readinto(buffer)

    capture_reader = packets.Reader(Failing([WHOLE]))
    with pytest.raises(ConnectionResetError):
        capture_reader.read_all()
    same(capture_reader.frame(), packets.read(WHOLE))


def test_a_chunk_keeps_its_values_when_the_next_is_read() -> None:
    chunks = list(packets.stream(Pieces(cuts(WHOLE, 4)), rows=2))
    expected = packets.read(WHOLE)
    for chunk in chunks:
        same(chunk.astype(object), expected.loc[chunk.index].astype(object))


# --------------------------------------------------------------------------------------------------- damage


def damaged(read: Read, data: bytes, *, offset: int, packets_kept: int, match: str) -> pd.DataFrame:
    with pytest.warns(packets.DamageWarning, match=match) as caught:
        frame = read(data)
    assert len(caught) == 1
    said = str(caught[0].message)
    assert "\n" not in said
    assert str(offset) in said
    assert len(frame) == packets_kept
    damage = frame.attrs["podtracer"]["capture"]["damage"]
    assert damage["offset"] == offset
    assert damage["reason"] in said
    return frame


@pytest.mark.parametrize("missing", [1, len(PACKETS[-1]), len(PACKETS[-1]) + 1, len(PACKETS[-1]) + 15])
def test_a_truncated_last_record_leaves_the_whole_ones(read: Read, missing: int) -> None:
    offset = len(WHOLE) - 16 - len(PACKETS[-1])
    frame = damaged(read, WHOLE[:-missing], offset=offset, packets_kept=len(PACKETS) - 1, match="cut short")
    same(frame.astype(object), read(WHOLE).iloc[:-1].astype(object))


def test_a_header_alone_is_an_empty_capture(read: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read(header())
    assert frame.empty
    assert frame.attrs["podtracer"]["capture"]["damage"] is None


def test_more_captured_than_sent_is_a_malformed_record(read: Read) -> None:
    frame = read(header() + record(PACKETS[2], length=30) + record(PACKETS[2]))
    assert frame["error"].iloc[0] == "malformed record"
    assert frame["caplen"].tolist() == [len(PACKETS[2])] * 2
    assert pd.isna(frame["sport"].iloc[0])
    assert pd.isna(frame["error"].iloc[1])


@pytest.mark.parametrize("claimed", [262_145, 2**31, 2**32 - 1])
def test_an_absurd_size_ends_the_capture(read: Read, claimed: int) -> None:
    data = WHOLE + struct.pack("<IIII", 1, 2, claimed, claimed) + bytes(500)
    damaged(read, data, offset=len(WHOLE), packets_kept=len(PACKETS), match="more bytes than a packet can have")


def test_zeros_are_no_packets(read: Read) -> None:
    damaged(read, WHOLE + bytes(4096), offset=len(WHOLE), packets_kept=len(PACKETS), match="zeros")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (WHOLE[:10], "cut short inside its header: 10 of 24 bytes"),
        (bytes(100), "zeros"),
        (b"a,b,c\n1,2,3\n" * 9, "text"),
        (b"\x0a\x0d\x0d\x0a" + bytes(100), "pcapng"),
        (gzip.compress(b"a,b,c" * 9), "gzip-compressed, is not a capture.*text"),
        (gzip.compress(WHOLE)[:9], "gzip stream is cut short"),
        (b"\x1f\x8b" + bytes(100), "gzip stream is damaged"),
        (b"snoop\0\0\0" + bytes(100), "snoop"),
        (b"GMBU" + bytes(100), "Microsoft Network Monitor"),
        (bytes(4) + struct.pack("<I", 1_700_000_000) + struct.pack("!BBHHH", 2, 4, 80, 0, 60) + bytes(64), "ERF"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "Zstandard"),
        (bytes(range(128, 228)), "nothing known"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 3, 0, 0, 0, 65535, 1), "version 3.0"),
    ],
)
def test_what_is_no_capture_is_refused_in_a_line(read: Read, tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    for source in (data, path, Pieces([data])):
        with pytest.raises(packets.FormatError, match=match) as caught:
            read(source)
        assert "\n" not in str(caught.value)
    with pytest.raises(packets.FormatError, match=r"x\.pcap"):
        read(path)


def test_what_is_no_source_at_all(read: Read, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.pcap")
    with pytest.raises(TypeError):
        read(5)
    with pytest.raises(TypeError, match="binary"):
        read(io.StringIO("text"))
    with pytest.raises(ValueError, match="negative"):
        read(WHOLE, count=-1)
    with pytest.raises(ValueError, match="at least one"):
        list(packets.stream(WHOLE, rows=0))


# --------------------------------------------------------------------------------------------------- memory


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_record_that_claims_much_takes_no_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = []
    real = mmap.mmap

    def map_memory(descriptor: int, size: int, **options: int) -> mmap.mmap:
        mapped.append(size)
        return real(descriptor, size, **options)

    monkeypatch.setattr(mmap, "mmap", map_memory)
    # The snaplen permits 2 GiB, the record claims them, and 10 bytes come.
    data = header(snaplen=2**31 - 1) + struct.pack("<IIII", 1, 2, 2**31 - 1, 2**31 - 1) + bytes(10)

    def work() -> None:
        with pytest.warns(packets.DamageWarning, match="cut short"):
            assert packets.read(Pieces([data])).empty

    assert peak(work) + sum(mapped) < 8 << 20
    assert mapped


def test_a_stream_without_end_takes_constant_memory() -> None:
    piece = b"".join(record(packet) for packet in PACKETS)

    def read_through(times: int) -> int:
        def work() -> None:
            rows = sum(len(chunk) for chunk in packets.stream(Pieces([header(), *[piece] * times])))
            assert rows == times * len(PACKETS)

        return peak(work)

    read_through(1)
    assert read_through(60) < read_through(20) + (1 << 18)


# ------------------------------------------------------------------------------------------------ the build


def test_which_build_is_in_use_is_told(engine: ModuleType) -> None:
    assert packets.compiled == reader.compiled
    assert engine.compiled in {True, False}


# --------------------------------------------------------------------------------------------------- resync

PLACE = len(header()) + sum(16 + len(packet) for packet in PACKETS[:5])
DAMAGES = {
    "zeros": (bytes(999), "zeros"),
    "noise": (random.Random(1).randbytes(5000), "more bytes than a packet can have"),
    "a length that lies": (struct.pack("<IIII", 1_700_000_000, 0, 0x7FFFFFFF, 60) + bytes(60), "more bytes"),
    "much noise": (b"\xff" * (3 << 20), "more bytes"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_resync_goes_on_with_the_next_record(read: Read, name: str, tmp_path: Path) -> None:
    between, reason = DAMAGES[name]
    data = WHOLE[:PLACE] + between + WHOLE[PLACE:]
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    expected = read(WHOLE).drop(columns="offset")
    for source in (data, path, Pieces(cuts(data, 3, 100_000))):
        with pytest.warns(packets.DamageWarning, match="reading went on") as caught:
            frame = read(source, resync=True)
        assert len(caught) == 1
        same(frame.drop(columns="offset"), expected)
        damage = frame.attrs["podtracer"]["capture"]["damage"]
        assert damage["offset"] == PLACE
        assert reason in damage["reason"]
        assert damage["gaps"] == [{"offset": PLACE, "reason": damage["reason"], "until": PLACE + len(between)}]
    with pytest.warns(packets.DamageWarning, match="whole packets before it were kept"):
        assert len(read(data)) == 5


def test_resync_of_pcapng_finds_the_next_block(read: Read) -> None:
    begin, records = section() + interface(), [enhanced(packet) for packet in PACKETS]
    data = begin + b"".join(records[:5]) + b"\xff" * 1001 + b"".join(records[5:])
    with pytest.warns(packets.DamageWarning, match="reading went on"):
        frame = read(data, resync=True)
    assert frame["caplen"].tolist() == [len(packet) for packet in PACKETS]


def test_resync_after_a_record_that_claims_to_reach_beyond_the_end(read: Read) -> None:
    data = WHOLE[:PLACE] + struct.pack("<IIII", 1_700_000_000, 0, 65_000, 65_000) + WHOLE[PLACE:]
    with pytest.warns(packets.DamageWarning, match="cut short"):
        assert len(read(data)) == 5
    with pytest.warns(packets.DamageWarning, match="reading went on after 16 bytes"):
        assert len(read(data, resync=True)) == len(PACKETS)


def test_resync_where_nothing_follows(read: Read) -> None:
    for tail in (b"\xff" * 3000, bytes(3000)):
        with pytest.warns(packets.DamageWarning, match="whole packets before it were kept") as caught:
            assert len(read(WHOLE + tail, resync=True)) == len(PACKETS)
        assert len(caught) == 1


def test_resync_over_several_places_says_so_once(read: Read) -> None:
    data = header()
    for n in range(0, 24, 4):
        data += b"".join(record(packet) for packet in PACKETS[n : n + 4]) + b"\xff" * (n + 17)
    with pytest.warns(packets.DamageWarning, match="5 places") as caught:
        frame = read(data, resync=True)
    assert len(caught) == 1
    assert len(frame) == 24
    assert len(frame.attrs["podtracer"]["capture"]["damage"]["gaps"]) == 5
