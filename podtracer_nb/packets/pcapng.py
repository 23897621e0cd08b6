"""What pcapng says around its packets: sections, interfaces, statistics, names, comments.

The format is draft-ietf-opsawg-pcapng. The dissector walks the packet blocks; every other block comes here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from podtracer_nb.packets.capture_format import FormatError, linktype_name

__all__ = ["MAGIC", "Interface", "Interfaces", "PcapngFormat", "comments", "section_order"]

MAGIC = b"\x0a\x0d\x0d\x0a"
SECTION_HEADER = 0x0A0D0D0A
INTERFACE = 1
NAME_RESOLUTION = 4
STATISTICS = 5

_PACKETS = frozenset({2, 3, 6})
_COMMENT = 1
# As for pcap: Wireshark's and libpcap's limits; a snaplen beyond any is not believed.
_LARGEST_PACKET = 262_144
_MOST_SNAPLEN = 1 << 27
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_LARGEST = (1 << 64) - 1
_DECIMALS = 9
_FEWEST_OPTION = 4
_MOST_INTERFACES = 65_536


@dataclass
class Interface:
    """One interface of a section.

    Parameters
    ----------
    number
        Its place in the section, from 0.
    linktype, snaplen
        As in a pcap header.
    name
        Its name, or its number where it has none.
    resolution
        The byte `if_tsresol`: 6 is microseconds; with the upper bit set, a power of 2.
    offset
        Seconds to add to its times.
    """

    number: int
    linktype: int
    snaplen: int
    name: str
    resolution: int = 6
    offset: int = 0
    description: str | None = None
    filter: str | None = None
    statistics: dict[str, int] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """Return what is known of it, for a frame's `attrs`."""
        exponent = self.resolution & 0x7F
        return {
            "name": self.name,
            "linktype": self.linktype,
            "linktype_name": linktype_name(self.linktype),
            "snaplen": self.snaplen,
            "resolution": f"2^-{exponent} s" if self.resolution & 0x80 else f"10^-{exponent} s",
            "offset": self.offset,
            "description": self.description,
            "filter": self.filter,
            **self.statistics,
        }


class Interfaces:
    """The interfaces of a section as arrays, for the dissector: see `Dissector.describe`."""

    def __init__(self) -> None:
        self.listed: list[Interface] = []
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._room = 0

    def add(self, added: Interface, link: int, code: int) -> None:
        """Add one, whose first header is `link` and whose code in the dictionary of interfaces is `code`."""
        place = len(self.listed)
        if place == _MOST_INTERFACES:
            raise FormatError(f"more than {_MOST_INTERFACES:,} interfaces in one section")
        if place == self._room:
            self._room = 2 * self._room or 4
            old = self._arrays
            self._arrays = {
                name: np.zeros(self._room, dtype)
                for name, dtype in {
                    **dict.fromkeys(("link", "code", "shift"), np.int32),
                    **dict.fromkeys(("snaplen", "offset"), np.int64),
                    **dict.fromkeys(("per", "multiplier", "divisor"), np.uint64),
                }.items()
            }
            for name, array in old.items():
                self._arrays[name][:place] = array
        self.listed.append(added)
        exponent = added.resolution & 0x7F
        binary = bool(added.resolution & 0x80)
        numbers = {
            "link": link,
            "code": code,
            "snaplen": added.snaplen,
            "offset": max(-_LARGEST // 4, min(_LARGEST // 4, added.offset)),
            # 2^-64 s and finer: only what is coarser than that would count.
            "shift": min(exponent, 63) if binary else -1,
            "per": min(10**exponent, _LARGEST),
            "multiplier": 10 ** max(0, _DECIMALS - exponent),
            "divisor": min(10 ** max(0, exponent - _DECIMALS), _LARGEST),
        }
        for name, number in numbers.items():
            self._arrays[name][place] = number

    @property
    def memory(self) -> dict[str, memoryview]:
        """The arrays."""
        return {name: array.data for name, array in self._arrays.items()}


class PcapngFormat:
    """What a pcapng capture has said so far: its section's byte order and interfaces, and those of sections before."""

    def __init__(self) -> None:
        self.order = "<"
        self.largest = _LARGEST_PACKET
        self.sections = 0
        self.interfaces = Interfaces()
        self.all_interfaces: list[Interface] = []
        self.names: dict[str, str] = {}

    @staticmethod
    def is_packets(kind: int) -> bool:
        """Return whether blocks of a kind have packets."""
        return kind in _PACKETS

    def begin(self, order: str) -> None:
        """Begin a section: interfaces are numbered from 0 again."""
        self.order = order
        self.sections += 1
        self.interfaces = Interfaces()

    def describe(self, block: bytes) -> Interface:
        """Read an interface description block."""
        added = interface(block, self.order, len(self.interfaces.listed))
        self.all_interfaces.append(added)
        self.largest = max(self.largest, min(added.snaplen, _MOST_SNAPLEN))
        return added

    def take(self, kind: int, block: bytes) -> None:
        """Read any other block, or pass over it."""
        if kind == STATISTICS:
            number, counted = statistics(block, self.order)
            if number < len(self.interfaces.listed):
                self.interfaces.listed[number].statistics |= counted
        elif kind == NAME_RESOLUTION:
            self.names |= names(block, self.order)

    def info(self) -> dict[str, Any]:
        """Return what is known, as it stands in a frame's `attrs`: the first interface's for the whole."""
        first = self.all_interfaces[0] if self.all_interfaces else None
        return {
            "format": "pcapng",
            "linktype": first.linktype if first else None,
            "linktype_name": linktype_name(first.linktype) if first else None,
            "snaplen": first.snaplen if first else None,
            "resolution": {6: "us", 9: "ns"}.get(first.resolution, first.info()["resolution"]) if first else None,
            "byte_order": {"<": "little", ">": "big"}[self.order],
            "sections": self.sections,
            "interfaces": [each.info() for each in self.all_interfaces],
            "names": dict(self.names),
        }


def section_order(block: bytes) -> str:
    """Return the byte order of a section, as struct has it, from its header's first twelve bytes.

    Raises
    ------
    FormatError
        The bytes are no section header's.
    """
    order = _BYTE_ORDERS.get(block[8:12])
    if order is None:
        raise FormatError("a section header without a byte-order magic")
    return order


def interface(block: bytes, order: str, number: int) -> Interface:
    """Read an interface description block.

    Raises
    ------
    FormatError
        It is too short.
    """
    if len(block) < 20:  # noqa: PLR2004 - the block without options
        raise FormatError("an interface description block that is too short")
    linktype, snaplen = struct.unpack_from(order + "HxxI", block, 8)
    options = _options(block[16:-4], order)
    name = _text(options.get(2))
    resolution = options.get(9, b"\x06")[:1] or b"\x06"
    offset = options.get(14, b"")
    filtered = options.get(11)
    return Interface(
        number,
        linktype,
        snaplen,
        name or str(number),
        resolution[0],
        struct.unpack(order + "q", offset)[0] if len(offset) == 8 else 0,  # noqa: PLR2004 - 64 bits
        _text(options.get(3)),
        _text(filtered[1:]) if filtered and filtered[0] == 0 else None,
    )


def statistics(block: bytes, order: str) -> tuple[int, dict[str, int]]:
    """Read an interface statistics block: the interface's number, and what was counted.

    Raises
    ------
    FormatError
        It is too short.
    """
    if len(block) < 24:  # noqa: PLR2004 - the block without options
        raise FormatError("an interface statistics block that is too short")
    (number,) = struct.unpack_from(order + "I", block, 8)
    names = {4: "received", 5: "dropped_by_interface", 6: "accepted", 7: "dropped_by_kernel", 8: "delivered"}
    counted = {
        names[code]: struct.unpack(order + "Q", value)[0]
        for code, value in _options(block[20:-4], order).items()
        if code in names and len(value) == 8  # noqa: PLR2004 - 64 bits
    }
    return number, counted


def comments(options: bytes, order: str) -> str | None:
    """Return the comments among a block's options, one a line, or None."""
    found = [value for code, value in _each_option(options, order) if code == _COMMENT]
    return "\n".join(value.decode(errors="replace") for value in found) if found else None


def names(block: bytes, order: str) -> dict[str, str]:
    """Read a name resolution block: address → name."""
    import socket

    found = {}
    for kind, value in _each_option(block[8:-4], order):
        size, family = {1: (4, socket.AF_INET), 2: (16, socket.AF_INET6)}.get(kind, (0, None))
        if family is not None and len(value) > size:
            name = value[size:].split(b"\0")[0].decode(errors="replace")
            found[socket.inet_ntop(family, value[:size])] = name
    return found


def _options(data: bytes, order: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for code, value in _each_option(data, order):
        found.setdefault(code, value)
    return found


def _each_option(data: bytes, order: str) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while len(data) - at >= _FEWEST_OPTION:
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == 0 or size > len(data) - at - 4:
            break
        found.append((code, data[at + 4 : at + 4 + size]))
        at += 4 + (size + 3) // 4 * 4
    return found


def _text(value: bytes | None) -> str | None:
    return value.split(b"\0")[0].decode(errors="replace") if value else None
