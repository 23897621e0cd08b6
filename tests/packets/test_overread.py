"""The dissector reads no byte beyond its packet's: the proof of what the compiled build takes on trust.

The same source is compiled with bounds checks, and given single records in buffers that end with them. An index out of
bounds then raises inside the loop, where nothing can catch it; Python reports it as unraisable, and none may be.
That this sees is shown with buffers that are shorter than said. That the packets put every comparison to the test is
shown by taking one after the other out of the source.
"""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from podtracer_nb.packets import schema
from podtracer_nb.packets.capture_format import LINKTYPES
from podtracer_nb.packets.columns import ColumnMemory
from podtracer_nb.packets.dictionaries import Dictionaries
from podtracer_nb.packets.pcapng import Interface, Interfaces
from tests.machine import needs
from tests.packets.captures import CLIENT, ETHER, LAYERED, SEEDS, SERVER, enhanced, obsolete, record, simple
from tests.packets.engines import SOURCE, load

LINKS = {name: LINKTYPES[linktype][1] for name, (linktype, _) in SEEDS.items()}
INSIDE = "inside"  # in place of a link: Ethernet, decapsulated
BLOCKS = "blocks"  # in place of a link: whole pcapng blocks of an Ethernet interface
MUTATIONS = 40_000
_NO_TUNNELS = {"ClientHello", "ServerHello", "request", "response", "QUIC", "SCTP", "IGMP"}

# In place of a link: a packet that nothing but a filter reads, by every load that there is. Each program reads at or
# near the packet's end, by a constant, or by what it read before.
FILTERS: dict[str, list[tuple[int, int, int, int]]] = {
    "filter word": [(0x20, 0, 0, 20), (0x06, 0, 0, 1)],
    "filter half": [(0x28, 0, 0, 21), (0x06, 0, 0, 1)],
    "filter byte": [(0x30, 0, 0, 22), (0x06, 0, 0, 1)],
    "filter header": [(0xB1, 0, 0, 14), (0x48, 0, 0, 14), (0x06, 0, 0, 1)],
    "filter by a byte": [(0x30, 0, 0, 0), (0x07, 0, 0, 0), (0x50, 0, 0, 3), (0x06, 0, 0, 1)],
    "filter by a word": [(0x20, 0, 0, 0), (0x07, 0, 0, 0), (0x40, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 1)],
    "filter by the length": [(0x81, 0, 0, 0), (0x48, 0, 0, 0), (0x06, 0, 0, 1)],
}

# Comparisons of what is there with what is about to be read; each stands before the reads of one header.
_THERE = r"(?:self\.filled|end|last) - (?:at|after)(?: - \w+)?"
_COMPARISONS = (
    (re.compile(r"size < smallest"), "size < -999_999"),
    (re.compile(rf"({_THERE}) < [\w +]+(?=:)"), r"\1 < -999_999"),
    (re.compile(rf"({_THERE}) >= \d+"), r"\1 >= -999_999"),
    (re.compile(rf"(\b(?:size|captured)) > {_THERE}"), r"\1 > 999_999_999"),
)
# After these nothing is read before the next comparison: they only tell a better reason.
_READS_NOTHING = {"if end - at < header:", "if size > end - at:", "if end - at < 0:"}

# Question names that no resolver sends: pointers cut, to themselves, and beyond.
_POINTERS = [b"\xc0\x0c", b"\1a\xc0\x0c\0", b"\xc0\x02", b"\xff\xff", b"\x3f" + b"x" * 63 + b"\xc0\x0c"]


class Checked:
    """A dissector that is given one record at a time, in a buffer that ends where the record ends."""

    def __init__(self, engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.filters = {name: engine.Filter() for name in FILTERS}
        for name, machine in self.filters.items():
            machine.use([machine.add(FILTERS[name])])
        self.dissector: Any
        self.prepare()
        self.filtered = (self.dissector, self.memory, self.dictionaries, self.interfaces)
        self.prepare()
        self.unfiltered = (self.dissector, self.memory, self.dictionaries, self.interfaces)
        self.reported: list[BaseException] = []
        # No test runs in another thread here, so all that is reported meanwhile comes out of the dissector.
        monkeypatch.setattr(sys, "unraisablehook", lambda report: self.reported.append(report.exc_value))

    def prepare(self) -> None:
        """Have a dissector with a table of one row."""
        engine = self.engine
        self.dictionaries = Dictionaries(engine)
        self.dissector = engine.Dissector(self.dictionaries)
        everything = schema.chosen(None, schema.LAYERS)
        self.memory = ColumnMemory(self.dissector, self.dictionaries, everything)
        self.memory.number_rows(True)
        self.memory.grow(0, 1, huge=False)
        self.memory.keep_caplen(0)  # most records here are cut
        self.interfaces = Interfaces()
        described = Interface(0, 1, 0, "0")
        self.interfaces.add(described, engine.LINKS["ethernet"], self.dictionaries.interface("0"))

    def overreads(self, link: str, data: bytes, missing: int = 0) -> bool:
        """Dissect one record; return whether a byte outside its buffer, which lacks the last few, was asked for."""
        state = self.filtered if link in FILTERS else self.unfiltered
        self.dissector, self.memory, self.dictionaries, self.interfaces = state
        dissector = self.dissector
        if link in FILTERS:
            dissector.choose(self.filters[link], None, None, 1, 1 << 32, 0)
        self.memory.forget()
        dissector.row = 0
        self.memory.prepare(0)
        dissector.open_tunnels(link == INSIDE)
        if link == BLOCKS:
            dissector.begin(0, False, 1, 0, 0)
            dissector.begin_blocks(False, 262_144)
            dissector.describe(self.interfaces.memory, 1, 262_144)
        else:
            seen = {INSIDE: "ethernet"}.get(link, "none" if link in FILTERS else link)
            dissector.begin(self.engine.LINKS[seen], False, 1000, 262_144, 24)
        dissector.attach(memoryview(data)[: len(data) - missing], len(data))
        dissector.limit = 1
        self.reported.clear()
        try:
            dissector.count_records(2, len(data) + 1)
            while dissector.run() == self.engine.REASONS["tables"]:
                self.dictionaries.make_room()
                self.memory.widen()
        except IndexError:  # what the interpreted build does instead
            return True
        assert all(isinstance(error, IndexError) for error in self.reported), self.reported
        # Nothing is left to be dissected, so that the next record starts at 0.
        dissector.attach(b"", dissector.position)
        dissector.compact(bytearray())
        return bool(self.reported)


def truncations() -> Iterator[tuple[str, bytes]]:
    """Yield every seed cut at every byte: as a snaplen cuts it, as a sender would, and as the end of a file does."""
    for name, (_, packets) in SEEDS.items():
        for packet in [*packets, *(pointers() if name == "EN10MB" else ())]:
            for keep in range(16 + len(packet)):
                yield LINKS[name], record(packet)[:keep]
            for keep in range(len(packet) + 1):
                yield LINKS[name], record(packet, keep=keep)
                yield LINKS[name], record(packet[:keep])
    for name, packet in LAYERED.items():
        for link in ("ethernet", INSIDE) if name not in _NO_TUNNELS else ("ethernet",):
            for keep in range(14, len(packet) + 1):
                yield link, record(packet, keep=keep)
    packet = bytes(range(24))
    for name in FILTERS:
        for keep in range(25):
            for data in (packet, packet[::-1], bytes(24), b"\0\0\0" + packet[1:]):
                yield name, record(data, keep=keep)
                yield name, record(data, keep=keep, length=2)
    for whole in blocks(SEEDS["EN10MB"][1][4]):
        for keep in range(len(whole) + 1):
            yield BLOCKS, whole[:keep]
            # As if it were whole: its two sizes say so.
            size = struct.pack("<I", keep)
            yield BLOCKS, whole[:4] + size + whole[8 : max(8, keep - 4)] + size


def blocks(packet: bytes) -> list[bytes]:
    """Return packet blocks of every kind, with options and without."""
    return [
        enhanced(packet),
        enhanced(packet[:61], options=[(2, b"flag"), (5, b"12345678"), (0, b"")]),
        enhanced(b"", options=[(2, b"x")]),
        simple(packet),
        obsolete(packet),
    ]


def pointers() -> list[bytes]:
    """Return DNS questions with compression pointers for names."""
    dns = ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=40000, dport=53)
    head = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0)
    # Into the header, where what counts the last section is a label that goes to the message's end, and beyond it.
    into = [(struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, size), b"\xc0\x0b") for size in (5, 6, 0x3F)]
    return [bytes(dns / (head + name + b"\0\1\0\1")) for head, name in [*((head, n) for n in _POINTERS), *into]]


def mutations(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield seeds with bytes changed, cut anywhere: the same ones every time."""
    chooser = random.Random(seed)
    everything = [(LINKS[name], packet) for name, (_, packets) in SEEDS.items() for packet in packets]
    everything += [("ethernet", packet) for packet in pointers()]
    everything += [(link, packet) for packet in LAYERED.values() for link in ("ethernet", INSIDE)]
    everything += [(BLOCKS, whole) for whole in blocks(SEEDS["EN10MB"][1][4])] * 2
    everything += [(name, bytes(range(24))) for name in FILTERS]
    for _ in range(count):
        link, packet = chooser.choice(everything)
        data = bytearray(packet)
        for _ in range(chooser.randint(1, 6)):
            # Values at the edges of lengths, and any other.
            data[chooser.randrange(len(data))] = chooser.choice(
                (0, 1, 5, 0x0F, 0x3F, 0x45, 0xC0, 0xFF, chooser.randrange(256))
            )
        keep = chooser.choice((len(data), chooser.randint(0, len(data))))
        if link == BLOCKS:
            yield link, bytes(data[:keep])
            continue
        yield link, record(bytes(data), keep=keep, length=chooser.choice((len(data), keep, 65_549, 0xFFFFFFFF)))


def build(directory: Path, name: str, source: str) -> ModuleType:
    """Compile a source, quickly, into a module of its own."""
    file = directory / f"{name}.py"
    file.write_text(source)
    subprocess.run([sys.executable, "-m", "cython", "-3", file.name], cwd=directory, check=True, capture_output=True)
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None
    # Its Python file beside it must not be imported in its place.
    built = directory / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_paths()["include"]
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O0", "-w", f"-I{include}", f"{name}.c", "-o", built.name],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    module = load(built, name)
    assert module.compiled
    return module


def with_bounds_checks(source: str) -> str:
    """Return the source, to be compiled with every index checked."""
    checked = source.replace("boundscheck=False", "boundscheck=True", 1)
    assert checked != source
    return checked


def comparisons() -> dict[int, str]:
    """Return the lines of the source that compare what is there with what will be read: number → text."""
    lines = SOURCE.read_text().splitlines()
    return {n: line.strip() for n, line in enumerate(lines) if any(seek.search(line) for seek, _ in _COMPARISONS)}


def without(*numbers: int) -> str:
    """Return the source with the comparisons in those lines never stopping anything."""
    lines = SOURCE.read_text().splitlines(keepends=True)
    for number in numbers:
        for seek, never in _COMPARISONS:
            lines[number] = seek.sub(never, lines[number])
    return "".join(lines)


@pytest.fixture(scope="module")
def checked_build(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return build(tmp_path_factory.mktemp("checked"), "checked_dissect", with_bounds_checks(SOURCE.read_text()))


@needs("compiler")
def test_no_truncated_packet_is_read_beyond_its_end(checked_build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Checked(checked_build, monkeypatch)
    assert [data.hex() for link, data in truncations() if checked.overreads(link, data)] == []


@needs("compiler")
def test_no_mutated_packet_is_read_beyond_its_end(checked_build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Checked(checked_build, monkeypatch)
    assert [data.hex() for link, data in mutations(MUTATIONS) if checked.overreads(link, data)] == []


@needs("compiler")
def test_bounds_checks_report_a_buffer_shorter_than_said(
    checked_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Checked(checked_build, monkeypatch)
    whole = [(LINKS[name], packet) for name, (_, packets) in SEEDS.items() for packet in packets[:2]]
    assert whole
    for link, packet in whole:
        # Not one header byte behind the link's address is there.
        assert checked.overreads(link, record(packet), missing=len(packet) - 1)


def test_every_comparison_is_needed_and_put_to_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(comparisons()) > 20
    unnoticed = []
    for number, line in comparisons().items():
        file = tmp_path / f"without_{number}.py"
        file.write_text(without(number))
        blind = Checked(load(file, file.stem), monkeypatch)
        if not any(blind.overreads(link, data) for link, data in truncations()):
            unnoticed.append(f"line {number + 1}: {line}")
    assert {line.split(": ", 1)[1] for line in unnoticed} <= _READS_NOTHING, unnoticed
