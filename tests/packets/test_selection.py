"""Choosing packets before rows are made: a filter, times, a sample. tcpdump says what a filter lets through."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from podtracer_nb import packets
from podtracer_nb.packets import bpf
from tests.machine import needs
from tests.packets.captures import SEEDS, capture, enhanced, header, interface, modified, pcapng, record, section

Read = Callable[..., pd.DataFrame]

PACKETS = SEEDS["EN10MB"][1]
WHOLE = capture(PACKETS)
EXPRESSIONS = [
    "tcp", "udp", "ip6", "arp", "icmp or icmp6", "port 53", "tcp port 80", "src host 10.88.0.14", "host fd00:88::10",
    "net 10.88.0.0/16 and not port 53", "vlan 100", "vlan and tcp", "less 60", "greater 100",
    "tcp[tcpflags] & tcp-syn != 0",
    "ip[6:2] & 0x1fff != 0", "ip proto 132", "ether src 02:00:00:00:00:14", "ether[12:2] = 0x86dd", "len - 14 > 50",
    "udp[4:2] * 2 > 60", "ip[8] / 2 > 30", "ip[2:2] % 7 = 3", "tcp[12] >> 4 > 5", "(ip[0] & 0xf) << 2 > 20",
    "portrange 1-100", "tcp[(tcp[12] >> 4) * 4] = 72", "ether[1000] = 0", "icmp[0] = 8 and -ip[8] < 0",
]  # fmt: skip


def offsets(frame: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(frame["offset"], frame["caplen"], strict=True))


def by_tcpdump(path: Path, expression: str) -> list[bytes]:
    """Return the records that tcpdump lets through."""
    done = subprocess.run(["tcpdump", "-r", str(path), "-w", "-", "--", expression], capture_output=True, check=True)
    data, found, at = done.stdout, [], 24
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        found.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return found


# ------------------------------------------------------------------------------------------------------ filter


@needs("tcpdump")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_filter_lets_through_what_tcpdump_does(read: Read, tmp_path: Path, expression: str) -> None:
    chooser = random.Random(expression)
    cut = [packet[: chooser.randint(0, len(packet))] for packet in PACKETS]
    path = tmp_path / "x.pcap"
    path.write_bytes(header() + b"".join(record(each) for each in [*PACKETS, *cut]))
    found = read(path, filter=expression)
    assert [packets.raw(path, *place) for place in offsets(found)] == by_tcpdump(path, expression)


@needs("tcpdump")
@pytest.mark.parametrize("name", [name for name in SEEDS if name not in {"PPP_HDLC"}])
def test_a_filter_is_compiled_for_the_link_type(read: Read, tmp_path: Path, name: str) -> None:
    linktype, seeds = SEEDS[name]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(seeds * 3, linktype))
    found = read(path, filter="tcp")
    assert [packets.raw(path, *place) for place in offsets(found)] == by_tcpdump(path, "tcp")
    assert len(found) > 0


@needs("tcpdump")
def test_chosen_packets_have_the_rows_numbers_and_offsets_that_they_have_among_all(read: Read) -> None:
    everything = read(WHOLE)
    found = read(WHOLE, filter="udp")
    assert 0 < len(found) < len(everything)
    pd.testing.assert_frame_equal(found.astype(object), everything.loc[found.index].astype(object))
    info = found.attrs["podtracer"]["capture"]
    assert info["packets"] == len(PACKETS)
    assert (info["selection"]["filter"], info["selection"]["packets"]) == ("udp", len(found))
    assert "selection" not in everything.attrs["podtracer"]["capture"]


@needs("tcpdump")
def test_each_interface_of_a_pcapng_has_a_program_for_its_link_type(read: Read) -> None:
    raw, ethernet = SEEDS["RAW"][1][0], PACKETS[2]
    data = section() + interface(1) + interface(101)
    data += enhanced(ethernet, which=0) + enhanced(raw, which=1) + enhanced(PACKETS[0], which=0)
    data += enhanced(ethernet, which=0, options=[(1, b"kept")])
    found = read(data, filter="tcp")
    assert found.index.tolist() == [1, 2, 4]
    assert found["comment"].loc[4] == "kept"


@needs("tcpdump")
def test_count_counts_what_was_chosen_and_streams_choose_too(read: Read) -> None:
    expected = read(WHOLE, filter="udp").head(2)
    found = read(WHOLE, filter="udp", count=2)
    assert found.index.tolist() == expected.index.tolist()
    with packets.Reader(WHOLE, filter="udp") as reader:
        chunks = list(reader.chunks(1, keep=False))
    assert [number for chunk in chunks for number in chunk.index] == read(WHOLE, filter="udp").index.tolist()


@needs("tcpdump")
def test_of_several_files_each_packet_is_found_in_its_own(read: Read, tmp_path: Path) -> None:
    paths = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    paths[0].write_bytes(capture(PACKETS[:9]))
    paths[1].write_bytes(capture(PACKETS[9:]))
    found = read(list(paths), filter="udp")
    assert found.index.tolist() == read(WHOLE, filter="udp").index.tolist()
    for number in found.index:
        assert packets.raw(*packets.locate(found, number)) == PACKETS[number - 1]


@needs("tcpdump")
@pytest.mark.parametrize("expression", ["tpc port 80", "host", "port 99999", "-w /tmp/x", "\0"])
def test_what_is_no_filter_is_refused_in_a_line(read: Read, expression: str) -> None:
    with pytest.raises(packets.FilterError) as caught:
        read(WHOLE, filter=expression)
    assert "\n" not in str(caught.value)


@needs("tcpdump")
def test_a_program_that_jumps_back_is_refused(read: Read) -> None:
    with pytest.raises(packets.FilterError, match="jump"):
        read(WHOLE, filter="ip6 protochain 17")


@needs("tcpdump")
def test_a_filter_that_nothing_passes_gives_no_rows(read: Read) -> None:
    assert read(WHOLE, filter="tcp and udp").empty


def test_without_tcpdump_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bpf.program.cache_clear()
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(packets.FilterError, match="install tcpdump"):
        packets.read(WHOLE, filter="tcp")


# ----------------------------------------------------------------------------------------------------- machine

RETURN = (0x06, 0, 0, 1)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ([], "0 instructions"),
        ([RETURN] * 65_537, "65537"),
        ([(0x00, 0, 0, 1)], "return"),
        ([(0x15, 1, 0, 1), RETURN], "jump"),
        ([(0x15, 0, 1, 1), RETURN], "jump"),
        ([(0x05, 0, 0, 0xFFFFFFFF), RETURN], "jump"),
        ([(0x05, 0, 0, 1), RETURN], "jump"),
        ([(0x05, 0, 0, -1), RETURN], "bits"),
        ([(0x60, 0, 0, 16), RETURN], "scratch"),
        ([(0x03, 0, 0, 16), RETURN], "scratch"),
        ([(0x34, 0, 0, 0), RETURN], "zero"),
        ([(0x94, 0, 0, 0), RETURN], "zero"),
        ([(0x64, 0, 0, 32), RETURN], "shift"),
        ([(0x00, 0, 0, 1 << 32), RETURN], "bits"),
        ([(0xFFFF, 0, 0, 0), RETURN], "unknown"),
        ([(0x35, 256, 0, 0), RETURN], "bits"),
    ],
)
def test_a_program_that_could_fail_is_refused(engine: ModuleType, program: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        engine.Filter().add(program)


def test_programs_and_interfaces_that_are_not_there_are_refused(engine: ModuleType) -> None:
    machine = engine.Filter()
    machine.use([machine.add([RETURN])])
    for which in (-1, 1):
        with pytest.raises(ValueError, match="interface"):
            machine.accepts(which, b"", 0)
    with pytest.raises(ValueError, match="not added"):
        machine.use([1])


ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, k: a + k,
    0x10: lambda a, k: a - k,
    0x20: lambda a, k: a * k,
    0x30: lambda a, k: a // k,
    0x40: lambda a, k: a | k,
    0x50: lambda a, k: a & k,
    0x60: lambda a, k: a << k if k < 32 else 0,
    0x70: lambda a, k: a >> k if k < 32 else 0,
    0x80: lambda a, _: -a,
    0x90: lambda a, k: a % k,
    0xA0: lambda a, k: a ^ k,
}


def reference(  # noqa: PLR0912 - an operation a branch
    program: list[tuple[int, int, int, int]], packet: bytes, wire: int
) -> bool:
    """Run a program as libpcap's bpf_filter.c reads, in plain words."""
    a = x = pc = 0
    cells = [0] * 16
    mask = 0xFFFFFFFF
    while True:
        code, true, false, k = program[pc]
        pc += 1
        kind, operand = code & 7, x if code & 8 else k
        if kind == 6:
            return (a if code == 0x16 else k) != 0
        if kind in {0, 1} and code & 0xE0 in {0x20, 0x40, 0xA0}:
            size = 1 if code == 0xB1 else {0: 4, 8: 2, 0x10: 1}[code & 0x18]
            at = k + (x if code & 0xE0 == 0x40 else 0)
            if at + size > len(packet):
                return False
            value = int.from_bytes(packet[at : at + size], "big")
            if code == 0xB1:
                x = (value & 15) * 4
            else:
                a = value
        elif kind in {0, 1}:
            value = {0x00: k, 0x60: cells[k & 15], 0x80: wire & mask}[code & 0xE0]
            a, x = (value, x) if kind == 0 else (a, value)
        elif kind in {2, 3}:
            cells[k] = a if kind == 2 else x
        elif kind == 7:
            a, x = (x, x) if code == 0x87 else (a, a)
        elif code == 0x05:
            pc += k
        elif kind == 5:
            holds = {0x10: a == operand, 0x20: a > operand, 0x30: a >= operand, 0x40: bool(a & operand)}[code & 0xF0]
            pc += true if holds else false
        else:
            operation = code & 0xF0
            if operation in {0x30, 0x90} and operand == 0:
                return False
            a = mask & ARITHMETIC[operation](a, operand)


def random_program(chooser: random.Random, engine: ModuleType) -> list[tuple[int, int, int, int]]:
    """Return a program that the verifier takes, of any operations."""
    operations = sorted(engine.OPERATIONS)
    size = chooser.randint(1, 24)
    program = []
    for place in range(size - 1):
        code = chooser.choice(operations)
        left = size - place - 2
        true, false = chooser.randint(0, left), chooser.randint(0, left)
        k = chooser.choice((0, 1, 2, 7, 13, 31, 64, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, chooser.getrandbits(32)))
        if code in {0x02, 0x03, 0x60, 0x61}:
            k %= 16
        elif code == 0x05:
            k = chooser.randint(0, left)
        elif code in {0x34, 0x94}:
            k = k or 3
        elif code in {0x64, 0x74}:
            k %= 32
        elif code in {0x20, 0x28, 0x30, 0xB1, 0x40, 0x48, 0x50} and chooser.random() < 0.8:
            k = chooser.randint(0, 40)
        program.append((code, true, false, k))
    return [*program, chooser.choice((RETURN, (0x16, 0, 0, 0), (0x06, 0, 0, 0)))]


def test_any_program_gives_what_the_plain_reading_of_bpf_gives(engine: ModuleType) -> None:
    chooser = random.Random(4)
    accepted = 0
    for _ in range(20_000):
        program = random_program(chooser, engine)
        packet = chooser.randbytes(chooser.randint(0, 48))
        wire = chooser.choice((len(packet), 0, 0xFFFFFFFF))
        machine = engine.Filter()
        machine.add([RETURN])
        machine.use([machine.add(program)])
        expected = reference(program, packet, wire)
        assert machine.accepts(0, packet, wire) == expected, (program, packet)
        accepted += expected
    assert 1000 < accepted < 19_000


# ------------------------------------------------------------------------------------------- times and samples


def test_start_is_included_and_stop_is_not(read: Read) -> None:
    times = read(WHOLE)["time"]
    assert read(WHOLE, start=times.iloc[3]).index.tolist() == list(range(4, len(PACKETS) + 1))
    assert read(WHOLE, stop=times.iloc[3]).index.tolist() == [1, 2, 3]
    assert read(WHOLE, start=times.iloc[3], stop=times.iloc[5]).index.tolist() == [4, 5]
    text = times.iloc[3].strftime("%Y-%m-%d %H:%M:%S.%f")
    assert read(WHOLE, start=text, count=1).index.tolist() == [4]
    assert read(WHOLE, start=times.iloc[3].tz_convert("Asia/Tokyo"), count=1).index.tolist() == [4]


def test_a_packet_without_a_time_is_in_no_time(read: Read) -> None:
    from tests.packets.captures import simple

    data = section() + interface() + simple(PACKETS[0]) + enhanced(PACKETS[1])
    assert read(data, start="1970-01-01").index.tolist() == [2]
    assert read(data, stop="2100-01-01").index.tolist() == [2]


def test_an_impossible_time_of_a_packet_left_out_is_no_error_of_the_next(read: Read) -> None:
    data = section() + interface() + enhanced(PACKETS[2], ticks=(1 << 64) - 1) + enhanced(PACKETS[2])
    found = read(data, start="1970-01-01")
    assert found.index.tolist() == [2]
    assert found["error"].isna().all()


def test_a_sample_is_the_first_and_every_nth_of_what_is_left(read: Read) -> None:
    assert read(WHOLE, sample=1).index.tolist() == list(range(1, len(PACKETS) + 1))
    assert read(WHOLE, sample=10).index.tolist() == list(range(1, len(PACKETS) + 1, 10))
    later = read(WHOLE)["time"].iloc[3]
    assert read(WHOLE, sample=10, start=later).index.tolist() == list(range(4, len(PACKETS) + 1, 10))


def test_a_fraction_is_the_same_packets_every_time_and_in_both_builds(read: Read) -> None:
    many = capture(PACKETS[:1] * 4000)
    first = read(many, sample=0.25).index
    assert first.tolist()[:8] == read(many, sample=0.25).index.tolist()[:8]
    assert 900 < len(first) < 1100
    assert first.tolist()[:5] == packets.read(many, sample=0.25).index.tolist()[:5]
    assert read(many, sample=0.25, seed=1).index.tolist() != first.tolist()
    assert set(read(many, sample=0.1).index) < set(first), "a smaller sample is part of a larger one"
    assert len(read(many, sample=1.0)) == 4000


def test_modified_pcap_and_pcapng_choose_alike(read: Read) -> None:
    expected = read(WHOLE, sample=3).index.tolist()
    assert read(modified(PACKETS), sample=3).index.tolist() == expected
    assert read(pcapng(PACKETS), sample=3).index.tolist() == expected


@pytest.mark.parametrize(
    "keywords",
    [
        {"sample": 0},
        {"sample": -1},
        {"sample": 1.5},
        {"sample": float("nan")},
        {"sample": True},
        {"sample": "10"},
        {"start": "yesterday-ish"},
        {"start": 12.5},
        {"start": "NaT"},
        {"start": "2026-01-02", "stop": "2026-01-01"},
        {"filter": 7},
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_read(keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        packets.read(WHOLE, **keywords)
