"""Capture files of every format: pcapng with all that it can say, modified pcap, compressed, several as one."""

from __future__ import annotations

import bz2
import gzip
import random
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from podtracer_nb import packets
from tests.machine import needs
from tests.packets.captures import (
    CLIENT,
    SEEDS,
    block,
    capture,
    enhanced,
    header,
    interface,
    modified,
    obsolete,
    pcapng,
    record,
    section,
    simple,
    sll2,
)
from tests.packets.test_streams_and_damage import Pieces, cuts, same

Read = Callable[..., pd.DataFrame]
PACKETS = SEEDS["EN10MB"][1]
WHOLE = capture(PACKETS)
CONTENT = ["time", "length", "caplen", "src", "dst", "proto", "sport", "dport", "tcp_flags", "dns_qname", "error"]
ORDERS = pytest.mark.parametrize("order", ["<", ">"])
RESOLUTION, OFFSET, NAME = 9, 14, 2


def alike(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    same(frame[CONTENT].astype(object), other[CONTENT].astype(object))


# -------------------------------------------------------------------------------------------------- pcapng


@ORDERS
@pytest.mark.parametrize("name", SEEDS)
def test_pcapng_reads_as_pcap(read: Read, name: str, order: str) -> None:
    linktype, chosen = SEEDS[name]
    frame = read(pcapng(chosen, linktype, order))
    alike(frame, read(capture(chosen, linktype)))
    info = frame.attrs["podtracer"]["capture"]
    assert (info["format"], info["linktype"], info["packets"], info["damage"]) == (
        "pcapng",
        linktype,
        len(chosen),
        None,
    )
    assert info["byte_order"] == {"<": "little", ">": "big"}[order]


@pytest.mark.parametrize("size", [1, 7, 40, 333])
def test_pcapng_arrives_in_pieces(read: Read, size: int) -> None:
    data = pcapng(PACKETS)
    same(read(Pieces([data[at : at + size] for at in range(0, len(data), size)])), read(data))
    chunks = list(packets.stream(Pieces(cuts(data, size))))
    assert [number for chunk in chunks for number in chunk.index] == list(range(1, len(PACKETS) + 1))


def test_offsets_find_the_bytes(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(section() + interface() + b"".join(map(simple, PACKETS)) + b"".join(map(enhanced, PACKETS)))
    frame = read(path)
    assert [packets.raw(path, o, c) for o, c in zip(frame["offset"], frame["caplen"], strict=True)] == [
        *PACKETS,
        *PACKETS,
    ]


@ORDERS
@pytest.mark.parametrize(
    ("resolution", "ticks", "expected"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (b"\x09", 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (b"\x00", 1_700_000_000, 1_700_000_000_000_000_000),
        (b"\x03", 1_700_000_000_123, 1_700_000_000_123_000_000),
        (b"\x0a", 17_000_000_001_234_567_899, 1_700_000_000_123_456_789),
        (b"\x80", 1_700_000_000, 1_700_000_000_000_000_000),
        (b"\x8a", 1_700_000_000 * 1024 + 512, 1_700_000_000_500_000_000),
        (b"\xa0", (1_700_000_000 << 32) + (1 << 31), 1_700_000_000_500_000_000),
        (b"\xbf", (1 << 63) + (1 << 62), 1_500_000_000),
    ],
)
def test_times_of_every_resolution(read: Read, order: str, resolution: bytes | None, ticks: int, expected: int) -> None:
    options = [] if resolution is None else [(RESOLUTION, resolution)]
    begin = section(order) + interface(order=order, options=options)
    later = interface(order=order, options=[*options, (OFFSET, struct.pack(order + "q", -1000))])
    frame = read(
        begin
        + enhanced(PACKETS[0], ticks=ticks, order=order)
        + obsolete(PACKETS[0], ticks=ticks, order=order)
        + later
        + enhanced(PACKETS[0], which=1, ticks=ticks, order=order)
    )
    assert [t.value for t in frame["time"]] == [expected, expected, expected - 1000 * 10**9]


def test_a_time_beyond_64_bits_of_nanoseconds_is_na(read: Read) -> None:
    begin = section() + interface(options=[(RESOLUTION, b"\x00"), (OFFSET, struct.pack("<q", 2**62))])
    frame = read(
        begin
        + enhanced(PACKETS[0], ticks=1)
        + interface(options=[(RESOLUTION, b"\x00")])
        + enhanced(PACKETS[0], which=1, ticks=2**63)
    )
    assert frame["time"].isna().all()
    assert set(frame["error"]) == {"malformed record"}


def test_simple_packets_have_no_time(read: Read) -> None:
    data = section() + interface(snaplen=64) + simple(PACKETS[2][:64], length=len(PACKETS[2]))
    frame = read(data + simple(PACKETS[2][:60]))
    assert frame["time"].isna().all()
    assert frame["caplen"].tolist() == [64, 60]
    assert frame["length"].tolist() == [len(PACKETS[2]), 60]
    assert frame["src"].tolist() == [CLIENT] * 2


def test_each_interface_has_its_own_link_type_and_name(read: Read) -> None:
    raw = SEEDS["RAW"][1][0]
    data = section() + interface(options=[(NAME, b"eth0")]) + interface(101, options=[(3, b"a tunnel")])
    data += enhanced(PACKETS[2]) + enhanced(raw, which=1)
    # Another section, in the other byte order: its interfaces are numbered from 0 again.
    data += (
        section(">")
        + interface(276, ">")
        + enhanced(sll2(packets_ip(), 0x0800, 9), order=">")
        + obsolete(sll2(packets_ip(), 0x0800, 12), order=">")
    )
    frame = read(data)
    assert frame["interface"].tolist() == ["eth0", "1", "9", "12"]
    assert frame["src"].tolist() == [CLIENT] * 4
    assert frame["eth_dst"].isna().tolist() == [False, True, True, True]
    info = frame.attrs["podtracer"]["capture"]
    assert info["sections"] == 2
    assert [(i["name"], i["linktype_name"], i["description"]) for i in info["interfaces"]] == [
        ("eth0", "EN10MB", None),
        ("1", "RAW", "a tunnel"),
        ("0", "LINUX_SLL2", None),
    ]


def packets_ip() -> object:
    from scapy.layers.inet import IP

    return IP(SEEDS["RAW"][1][0])


@ORDERS
def test_statistics_names_and_comments(read: Read, order: str) -> None:
    counted = struct.pack(order + "IQ", 0, 0) + b"".join(
        struct.pack(order + "HHQ", code, 8, value) for code, value in ((4, 100), (7, 3), (0, 0))
    )
    names = struct.pack(order + "HH", 1, 12) + bytes([10, 88, 0, 10]) + b"web.demo" + struct.pack(order + "HH", 0, 0)
    comment = [(2, bytes(4)), (1, "größer".encode()), (1, b"again")]
    data = section(order) + interface(order=order) + block(5, counted, order) + block(4, names, order)
    data += enhanced(PACKETS[0], order=order) + block(0x0BAD, b"of no kind", order)
    frame = read(data + enhanced(PACKETS[1], order=order, options=comment) + enhanced(PACKETS[2], order=order))
    assert [None if pd.isna(text) else text for text in frame["comment"]] == [None, "größer\nagain", None]
    info = frame.attrs["podtracer"]["capture"]
    assert (info["interfaces"][0]["received"], info["interfaces"][0]["dropped_by_kernel"]) == (100, 3)
    assert info["names"] == {"10.88.0.10": "web.demo"}
    assert "comment" not in read(data)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (enhanced(PACKETS[0])[:-5], "cut short"),
        (enhanced(PACKETS[0])[:-4] + bytes(4), "contradict"),
        (enhanced(PACKETS[0], which=3), "not described"),
        (block(6, bytes(12)), "contradict"),
        (struct.pack("<II", 6, 0xFFFFFFF0) + bytes(64), "more bytes than a packet can have"),
        (struct.pack("<II", 0x0BAD, 0xFFFFFFF0) + bytes(64), "cannot be right"),
        (bytes(64), "cannot be right"),
        (block(0x0A0D0D0A, bytes(16)), "byte-order magic"),
        (block(1, b""), "too short"),
    ],
)
def test_damaged_pcapng_keeps_its_whole_packets(read: Read, tail: bytes, reason: str) -> None:
    data = pcapng(PACKETS)
    with pytest.warns(packets.DamageWarning, match=reason) as caught:
        frame = read(data + tail)
    assert len(caught) == 1
    alike(frame, read(data))
    assert frame.attrs["podtracer"]["capture"]["damage"]["offset"] == len(data)


@needs("tshark")
def test_editcap_s_pcapng_reads_as_what_it_was_made_of(read: Read, tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(WHOLE)
    for format_ in ("pcapng", "modpcap", "nsecpcap"):
        done = subprocess.run(
            ["editcap", "-F", format_, "x.pcap", format_], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        alike(read(tmp_path / format_), read(WHOLE))


# -------------------------------------------------------------------------------- modified pcap, compression


@ORDERS
def test_modified_pcap(read: Read, order: str) -> None:
    frame = read(modified(PACKETS, order))
    alike(frame, read(WHOLE))
    assert set(frame["interface"]) == {"7"}
    assert frame.attrs["podtracer"]["capture"]["format"] == "modified pcap"


def compressed(kind: str, data: bytes) -> bytes:
    if kind == "gzip":
        return gzip.compress(data)
    module = pytest.importorskip({"Zstandard": "zstandard", "LZ4": "lz4.frame"}[kind])
    return module.compress(data)


@pytest.mark.parametrize("kind", ["gzip", "Zstandard", "LZ4"])
def test_compressed_captures_read_as_they_were(read: Read, tmp_path: Path, kind: str) -> None:
    for whole in (WHOLE, pcapng(PACKETS)):
        data = compressed(kind, whole[:700]) + compressed(kind, whole[700:])  # as rotated files are put together
        path = tmp_path / "x"
        path.write_bytes(data)
        expected = read(whole)
        for source in (data, path, Pieces(cuts(data, 3, 50))):
            frame = read(source)
            same(frame, expected)
            assert frame.attrs["podtracer"]["capture"]["compression"] == kind
        row = frame.iloc[3]
        assert packets.raw(path, int(row["offset"]), int(row["caplen"])) == PACKETS[3]


def in_frames(kind: str, way: str, *contents: bytes) -> list[bytes]:
    """Return what each content is compressed to, as a whole member or frame."""
    if kind == "gzip":
        return [gzip.compress(each) for each in contents]
    if kind == "LZ4":
        lz4 = pytest.importorskip("lz4.frame")
        options = {"checked": {"content_checksum": True, "block_checksum": True}, "sized": {"store_size": True}}
        return [lz4.compress(each, **options.get(way, {"store_size": False})) for each in contents]
    zstandard = pytest.importorskip("zstandard")
    sized = way == "sized"
    made = []
    for each in contents:
        compressor = zstandard.ZstdCompressor(write_checksum=way == "checked", write_content_size=sized)
        writer = compressor.compressobj(len(each)) if sized else compressor.compressobj()
        made.append(writer.compress(each) + writer.flush())
    return made


FRAMES = [("gzip", ""), *((kind, way) for kind in ("Zstandard", "LZ4") for way in ("plain", "checked", "sized"))]


@pytest.mark.parametrize(("kind", "way"), FRAMES)
def test_a_compressed_capture_cut_anywhere_in_a_frame_is_told(kind: str, way: str) -> None:
    chooser = random.Random(5)
    many = [chooser.randbytes(chooser.randrange(60)) for _ in range(40)]
    whole = capture(many)
    half = 24 + sum(16 + len(each) for each in many[:20])  # between two packets
    first, second = in_frames(kind, way, whole[:half], whole[half:])
    alone = packets.read(whole)
    for end in range(12, len(first + second)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                frame = packets.read((first + second)[:end])
            except packets.FormatError as error:
                assert "cut short" in str(error), end
                continue
        if end == len(first):
            # What is left is a whole stream of one frame, and ends with a whole packet: nobody can know.
            assert (len(frame), caught) == (20, [])
            continue
        assert [f"{kind} stream is cut short" in str(each.message) for each in caught] == [True], end
        same(frame, alone.head(len(frame)))
        if end > len(first):
            assert len(frame) >= 20


@pytest.mark.parametrize(("kind", "way"), FRAMES)
def test_a_stream_in_pieces_is_whole(kind: str, way: str) -> None:
    data = b"".join(in_frames(kind, way, WHOLE[:700], b"", WHOLE[700:]))
    if kind == "Zstandard":  # a frame that readers pass over
        data += b"\x5e\x2a\x4d\x18" + struct.pack("<I", 300) + bytes(300)
    for size in (1, 2, 3, 7, 400):
        same(packets.read(Pieces([data[at : at + size] for at in range(0, len(data), size)])), packets.read(WHOLE))


@pytest.mark.parametrize(("kind", "way"), FRAMES)
def test_a_stream_that_goes_on_with_something_else_is_damaged(read: Read, kind: str, way: str) -> None:
    (data,) = in_frames(kind, way, WHOLE)
    with pytest.warns(packets.DamageWarning, match=f"{kind} stream is damaged"):
        frame = read(data + b"something else altogether" * 9)
    assert len(frame) == len(PACKETS)
    changed = bytearray(data)
    changed[-1] ^= 1
    if kind == "gzip" or way == "checked":  # which say so of their content
        with pytest.warns(packets.DamageWarning, match=f"{kind} stream is damaged"):
            read(bytes(changed))


def test_what_cannot_be_decompressed_is_named(read: Read, tmp_path: Path) -> None:
    with pytest.raises(packets.FormatError, match="bzip2"):
        read(bz2.compress(WHOLE))
    with pytest.raises(packets.FormatError, match="is a directory"):
        read(tmp_path)


# ------------------------------------------------------------------------------------------- several files


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """Return a directory with the files of a ring, of ten and more."""
    for n in range(12):
        (tmp_path / f"ring.pcap{n or ''}").write_bytes(header() + record(PACKETS[n], seconds=1_700_000_000 + n))
    return tmp_path


def test_files_are_read_as_one(read: Read, ring: Path) -> None:
    paths = [ring / f"ring.pcap{n or ''}" for n in range(12)]
    for source in (paths, str(ring / "ring.pcap*"), [str(ring / "ring.pcap"), str(ring / "ring.pcap[1-9]*")]):
        frame = read(source)
        assert frame.index.tolist() == list(range(1, 13))
        assert frame["caplen"].tolist() == [len(packet) for packet in PACKETS[:12]]
        files = frame.attrs["podtracer"]["capture"]["files"]
        assert [(Path(each["path"]), each["first_frame"], each["packets"]) for each in files] == [
            (path, n + 1, 1) for n, path in enumerate(paths)
        ]
    assert [packets.locate(frame, n) for n in (1, 12)] == [
        (str(paths[0]), 40, 42),
        (str(paths[11]), 40, len(PACKETS[11])),
    ]
    assert len(read(paths, count=5)) == 5


def test_a_ring_that_went_round_is_in_the_order_of_time(read: Read, ring: Path) -> None:
    (ring / "ring.pcap").write_bytes(header() + record(PACKETS[0], seconds=1_800_000_000))
    frame = read(str(ring / "ring.pcap*"))
    assert frame["time"].is_monotonic_increasing


def test_files_of_several_formats_and_damaged_ones(read: Read, tmp_path: Path) -> None:
    parts = [WHOLE[:-1], pcapng(PACKETS), b"", gzip.compress(capture(SEEDS["RAW"][1], 101))]
    for n, part in enumerate(parts):
        (tmp_path / str(n)).write_bytes(part)
    with pytest.warns(packets.DamageWarning) as caught:
        frame = read([tmp_path / str(n) for n in range(4)])
    assert len(frame) == len(PACKETS) * 2 - 1 + 2
    assert ["cut short" in str(w.message) or "passed over" in str(w.message) for w in caught] == [True, True]
    files = frame.attrs["podtracer"]["capture"]["files"]
    assert [each["packets"] for each in files] == [len(PACKETS) - 1, len(PACKETS), 0, 2]
    assert [bool(each["damage"]) for each in files] == [True, False, True, False]


def test_no_file_is_named_so(read: Read, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "*.pcap"))
    with pytest.raises(ValueError, match="empty list"):
        read([])


def test_urls_are_opened_by_fsspec(read: Read) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://x.pcap", "wb") as file:
        file.write(WHOLE)
    same(read("memory://x.pcap"), read(WHOLE))
