"""Hostile bytes: no error but the promised ones, no hang, and both builds see the same."""

from __future__ import annotations

import gzip
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtracer_nb import packets
from podtracer_nb.packets import schema
from tests.machine import needs
from tests.packets import engines
from tests.packets.captures import (
    LAYERED,
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
)
from tests.packets.test_selection import EXPRESSIONS

FLIPPED = 40
BOUNDED = settings(deadline=None, database=None, max_examples=50, derandomize=True)

LINKTYPES = st.sampled_from([0, 1, 12, 101, 113, 228, 229, 276, 147])
KINDS = st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00", b"\x88\xa8", b"\x05\x00"])
TRANSPORT = st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60, 135, 255])
ALL_SEEDS = [(linktype, packet) for linktype, chosen in SEEDS.values() for packet in chosen]


OPTIONS: list[dict[str, Any]] = [
    {"layers": list(schema.LAYERS)},
    {"layers": list(schema.LAYERS), "decap": True},
    {"columns": ["src", "tls_sni", "vni", "error"]},
]
CHOOSING: list[dict[str, Any]] = [
    {"filter": "tcp[(tcp[12] >> 4) * 4 : 2] != 7 or udp[4:2] > 60 or ip6[40] = 1 or vlan", "sample": 2},
    {"start": "2000-01-01", "stop": "2023-11-14 22:13:29", "sample": 0.5, "layers": list(schema.LAYERS)},
]
CORPUS = sorted(Path(__file__).with_name("fuzz").joinpath("corpus").iterdir())
BLOCK_KINDS = st.sampled_from([1, 2, 3, 4, 5, 6, 6, 6, 0x0A0D0D0A, 0x0BAD])
SOME = SEEDS["EN10MB"][1][:12]
FORMATS = {
    "pcapng": pcapng(SOME),
    "pcapng, big-endian": pcapng(SOME, order=">"),
    "pcapng of every block": section()
    + interface(options=[(2, b"eth0"), (9, b"\x09"), (14, bytes(8))])
    + b"".join(
        enhanced(each, options=[(1, b"comment"), (2, bytes(4))]) + simple(each) + obsolete(each) for each in SOME
    )
    + block(5, bytes(12) + struct.pack("<HHQ", 4, 8, 9))
    + block(4, struct.pack("<HH", 1, 8) + bytes([10, 0, 0, 1]) + b"web\0"),
    "modified pcap": modified(SOME),
    "gzip": gzip.compress(capture(SOME)),
}


def outcome(name: str, data: bytes, **options: Any) -> tuple[pd.DataFrame | str, list[str]]:
    """Read with one build: the frame, or the refusal; and the warnings."""
    with engines.using(engines.engine(name)), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frame: pd.DataFrame | str = packets.read(data, **options)
        except (packets.FormatError, packets.FilterError) as error:  # no filter means something for every link type
            frame = str(error)
    assert {warning.category for warning in caught} <= {packets.DamageWarning, packets.LinktypeWarning}
    return frame, [str(warning.message) for warning in caught]


def check(data: bytes, **options: Any) -> pd.DataFrame | None:
    """Read with both builds, which must agree; return what they agree on."""
    frame, damage = outcome("interpreted", data, **options)
    other, other_damage = outcome("compiled", data, **options) if packets.compiled else (frame, damage)
    assert damage == other_damage
    if isinstance(frame, str):
        assert frame == other
        assert "\n" not in frame
        return None
    assert isinstance(other, pd.DataFrame)
    pd.testing.assert_frame_equal(frame, other)
    assert frame.attrs == other.attrs
    if frame.attrs["podtracer"]["capture"]["compression"] is None:
        # No packet out of nothing: each has its record in the bytes.
        assert len(frame) <= max(0, len(data) - 24) // 16
        if {"offset", "caplen"} <= set(frame):
            assert (frame["offset"] + frame["caplen"] <= len(data)).all()
    return frame


def drawn(data: bytes) -> dict[str, Any]:
    """Return ways to read, any that there are, drawn by the bytes themselves: a finding says all by its bytes."""
    chooser = random.Random(zlib.crc32(data))
    columns = [
        column.name for column in (*schema.COLUMNS, *(each for layer in schema.LAYERS.values() for each in layer))
    ]
    times = sorted(f"2023-11-14 22:13:{chooser.randint(0, 59):02}" for _ in range(2))
    return {
        "columns": chooser.choice((None, chooser.sample(columns, chooser.randint(1, 8)))),
        "layers": chooser.choice((None, chooser.sample(list(schema.LAYERS), chooser.randint(0, len(schema.LAYERS))))),
        "decap": chooser.random() < 0.5,
        "resync": chooser.random() < 0.3,
        "count": chooser.choice((None, None, chooser.randint(0, 5))),
        "filter": chooser.choice((None, chooser.choice(EXPRESSIONS), chooser.choice(EXPRESSIONS))),
        "start": chooser.choice((None, None, times[0])),
        "stop": chooser.choice((None, None, times[1])),
        "sample": chooser.choice((None, None, chooser.randint(1, 4), chooser.uniform(0.1, 1))),
        "seed": chooser.randrange(1 << 16),
    }


def answer(data: bytes) -> None:
    """Read the DNS answers, of streams too: hostile bytes are refused, or have none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", packets.DamageWarning)
        try:
            answers = packets.dns_answers(data)
        except packets.FormatError:
            return
        except ValueError as error:
            assert "compressed bytes in memory" in str(error)
            return
    assert answers["frame"].is_monotonic_increasing


@needs("tcpdump")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_once_is_read_alike_in_every_way(path: Path) -> None:
    data = path.read_bytes()
    check(data)
    for n in range(8):
        check(data, **drawn(bytes([n]) + data))
    answer(data)


def test_seeds_are_read_whole_and_alike() -> None:
    for linktype, chosen in SEEDS.values():
        frame = check(capture(chosen, linktype))
        assert frame is not None
        assert len(frame) == len(chosen)
        assert frame["error"].isna().all()


@pytest.mark.parametrize("name", SEEDS)
def test_flipped_bytes(name: str) -> None:
    linktype, chosen = SEEDS[name]
    whole = capture(chosen, linktype)
    chooser = random.Random(name)
    for _ in range(FLIPPED):
        data = bytearray(whole)
        for _ in range(chooser.choice((1, 1, 3, 10, 50))):
            data[chooser.randrange(len(data))] = chooser.choice((0, 0xFF, chooser.randrange(256)))
        check(bytes(data))


@pytest.mark.parametrize("name", SEEDS)
def test_flipped_bytes_inside_packets(name: str) -> None:
    """The records stay whole, so that each change is one to a packet."""
    linktype, chosen = SEEDS[name]
    chooser = random.Random(name)
    packets_ = []
    for _ in range(FLIPPED * 40):
        data = bytearray(chooser.choice(chosen))
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(len(data))] = chooser.choice((0, 1, 0x3F, 0xC0, 0xFF, chooser.randrange(256)))
        packets_.append(record(bytes(data), keep=chooser.choice((None, None, chooser.randint(0, len(data))))))
    frame = check(header(linktype) + b"".join(packets_))
    assert frame is not None
    assert len(frame) == len(packets_)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_flipped_bytes_inside_layers(options: dict[str, Any]) -> None:
    chooser = random.Random(7)
    packets_ = []
    for _ in range(FLIPPED * 40):
        data = bytearray(chooser.choice(list(LAYERED.values())))
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(12, len(data))] = chooser.choice((0, 1, 4, 0x3F, 0x45, 0xFF, chooser.randrange(256)))
        packets_.append(record(bytes(data), keep=chooser.choice((None, None, chooser.randint(0, len(data))))))
    frame = check(header() + b"".join(packets_), **options)
    assert frame is not None
    assert len(frame) == len(packets_)


@needs("tcpdump")
@pytest.mark.parametrize("options", CHOOSING, ids=str)
@pytest.mark.parametrize("linktype", sorted({linktype for linktype, _ in ALL_SEEDS}))
def test_flipped_bytes_are_chosen_alike(linktype: int, options: dict[str, Any]) -> None:
    chooser = random.Random(linktype)
    seeds = [packet for kind, packet in ALL_SEEDS if kind == linktype]
    packets_ = []
    for _ in range(FLIPPED * 10):
        data = bytearray(chooser.choice(seeds))
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(len(data))] = chooser.choice((0, 1, 0x3F, 0x45, 0xFF, chooser.randrange(256)))
        packets_.append(record(bytes(data), keep=chooser.choice((None, None, chooser.randint(0, len(data))))))
    frame = check(header(linktype) + b"".join(packets_), **options)
    assert frame is None or len(frame) < len(packets_)


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bytes_of_every_format(name: str) -> None:
    chooser = random.Random(name)
    for n in range(FLIPPED * 2):
        data = bytearray(FORMATS[name])
        for _ in range(chooser.choice((1, 1, 3, 10))):
            # Most of them among what stands around the packets.
            data[min(len(data) - 1, int(chooser.random() ** 3 * len(data)))] = chooser.choice(
                (0, 1, 0xFF, chooser.randrange(256))
            )
        check(bytes(data[: chooser.choice((len(data), chooser.randrange(len(data))))]), resync=n % 2 == 0)


@BOUNDED
@given(st.lists(st.tuples(BLOCK_KINDS, st.binary(max_size=60), st.booleans()), max_size=8), st.sampled_from("<>"))
def test_any_blocks_of_pcapng(chosen: list[tuple[int, bytes, bool]], order: str) -> None:
    data = section(order) + interface(1, order, options=[(9, b"\x8a")])
    for kind, body, right in chosen:
        made = block(kind, body, order)
        data += made if right else made[:-4] + body[:4]
    check(data)
    check(data, resync=True)


@BOUNDED
@given(st.binary(max_size=200), st.sampled_from([b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"]))
def test_any_bytes_that_claim_to_be_compressed(data: bytes, magic: bytes) -> None:
    check(magic + data)


@BOUNDED
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check(data)


@BOUNDED
@given(LINKTYPES, st.sampled_from("<>"), st.sampled_from([1, 1000]), st.binary(max_size=400))
def test_any_bytes_after_a_header(linktype: int, order: str, unit: int, data: bytes) -> None:
    check(header(linktype, order, unit) + data)


@BOUNDED
@given(
    LINKTYPES,
    st.lists(
        st.tuples(
            st.binary(max_size=120), *[st.one_of(st.integers(0, 200), st.sampled_from([65_535, 2**31, 2**32 - 1]))] * 3
        ),
        max_size=8,
    ),
)
def test_any_packets_in_whole_records(linktype: int, chosen: list[tuple[bytes, int, int, int]]) -> None:
    frame = check(
        header(linktype)
        + b"".join(
            record(data, length=wire, seconds=seconds, fraction=fraction) for data, wire, seconds, fraction in chosen
        )
    )
    assert frame is not None
    assert frame["length"].tolist() == [wire for _, wire, _, _ in chosen[: len(frame)]]


@BOUNDED
@given(KINDS, TRANSPORT, st.binary(max_size=160), st.booleans(), st.integers(0, 220))
def test_any_bytes_behind_right_headers(kind: bytes, protocol: int, data: bytes, dns: bool, keep: int) -> None:
    ports = struct.pack("!HHHH", 53, 5353, 8 + len(data), 0) if dns else b""
    body = ports + data
    network = {
        b"\x08\x00": struct.pack("!BBHHHBBH8x", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0),
        b"\x86\xdd": struct.pack("!IHBB32x", 6 << 28, len(body), protocol, 64),
        b"\x81\x00": b"\0\1\x81\0\0\2\x08\0",
    }.get(kind, b"")
    check(header() + record(bytes(12) + kind + network + body, keep=keep))


@BOUNDED
@given(st.sampled_from(ALL_SEEDS), st.binary(min_size=1, max_size=8), st.data())
def test_any_bytes_put_into_a_packet(seed: tuple[int, bytes], inserted: bytes, draw: st.DataObject) -> None:
    linktype, packet = seed
    at = draw.draw(st.integers(0, len(packet)))
    skip = draw.draw(st.integers(0, 8))
    check(header(linktype) + record(packet[:at] + inserted + packet[at + skip :]) + record(packet))
