"""One packet as a tree of layers and fields, each with the bytes that it was read from."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scapy.packet import Packet

__all__ = ["Node", "read", "tree"]

_MOST_NODES = 1500
_DEEPEST = 8
_LONGEST = 200
# What scapy's fields raise on bytes that they do not expect.
_UNREADABLE = (
    struct.error, ArithmeticError, AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A layer or a field.

    Attributes
    ----------
    depth
        0 for a layer, 1 for its fields, more for what is inside these.
    label, value
        The name of the layer or field, and what it says.
    start, stop
        Its bytes in the packet; equal where they are not known.
    """

    depth: int
    label: str
    value: str
    start: int
    stop: int


def read(dissect: Callable[[], Packet], data: bytes) -> list[Node]:
    """Return what `tree` does; of bytes that scapy cannot dissect at all, such as half a header, one node.

    Examples
    --------
    >>> from scapy.layers.l2 import Ether
    >>> read(lambda: Ether(b"abc"), b"abc")[0].label
    'Not dissected'
    """
    from scapy.error import Scapy_Exception

    try:
        return tree(dissect(), data)
    except (*_UNREADABLE, Scapy_Exception) as error:
        return [Node(0, "Not dissected", f"{type(error).__name__}: {error}"[:_LONGEST], 0, len(data))]


def tree(packet: Packet, data: bytes) -> list[Node]:
    """Return a packet's layers and fields in their order.

    Parameters
    ----------
    packet
        As scapy dissected it.
    data
        The bytes that it was dissected from.

    Examples
    --------
    >>> from scapy.layers.inet import IP, UDP
    >>> data = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=53) / b"hello")
    >>> [(n.label, n.value, n.start, n.stop) for n in tree(IP(data), data) if n.label in ("UDP", "dport")]
    [('UDP', '', 20, 28), ('dport', 'domain', 22, 24)]
    """
    from scapy.packet import NoPayload, Padding

    nodes: list[Node] = []
    layer: Any = packet
    start: int | None = 0
    while not isinstance(layer, NoPayload) and len(nodes) < _MOST_NODES:
        fields, size = _fields(layer, start)
        if not fields and size == 0 and isinstance(layer.original, bytes):
            size = len(layer.original)
        at = 0 if start is None else start
        stop = at if start is None else min(at + size, len(data))
        nodes.append(Node(0, str(layer.name), "", at, stop))
        nodes += fields
        layer = layer.payload
        start = None if start is None else _begin(data, layer, stop, padding=isinstance(layer, Padding))
    return nodes[:_MOST_NODES]


def _begin(data: bytes, layer: Any, expected: int, *, padding: bool) -> int | None:
    """Return where a layer's bytes begin, or None where they are none of the packet's, as after decompression."""
    if padding:
        return len(data) - len(layer.load)
    original = getattr(layer, "original", b"") or b""
    if data.startswith(original, expected):
        return expected
    found = data.find(original, expected) if original else -1
    return found if found >= 0 else None


def _fields(layer: Any, start: int | None, depth: int = 1) -> tuple[list[Node], int]:
    """Return a layer's fields, and how many bytes they take: its own dissection, done again with a look at the rest."""
    from scapy.error import Scapy_Exception

    nodes: list[Node] = []
    try:
        rest = layer.pre_dissect(layer.original) if start is not None else None
        total = 0 if rest is None else len(rest)
    except (*_UNREADABLE, Scapy_Exception):
        rest, total = None, 0
    end = 0
    for field in layer.fields_desc:
        begin, bit = _reached(rest, total)
        if rest is not None:
            try:
                rest, _ = field.getfield(layer, rest)
            except (*_UNREADABLE, Scapy_Exception):
                rest = None
        stop, bits = _reached(rest, total)
        if rest is None:
            begin = stop = 0
        elif stop == begin and bits == bit:
            continue  # a field that this packet has not
        else:
            end = stop
            stop += bits > 0  # the byte that a bit field shares with the next
        value = layer.fields.get(field.name, getattr(layer, "overloaded_fields", {}).get(field.name))
        known = start is not None and rest is not None
        place = (start + begin, start + stop) if known and start is not None else (0, 0)
        nodes.append(Node(depth, field.name, _value(field, layer, value), *place))
        nodes += _inside(value, depth + 1, place)
    return nodes, end


def _reached(rest: Any, total: int) -> tuple[int, int]:
    """Return how many whole bytes, and bits of the next, are read: a bit field hands on (bytes, bits of the first)."""
    if rest is None:
        return 0, 0
    if isinstance(rest, tuple):
        return total - len(rest[0]), int(rest[1])
    return total - len(rest), 0


def _inside(value: Any, depth: int, place: tuple[int, int]) -> list[Node]:
    """Return the packets that a field holds, such as DNS records: their bytes are the whole field's."""
    from scapy.packet import Packet

    if depth > _DEEPEST:
        return []
    nodes: list[Node] = []
    for each in value if isinstance(value, list) else [value]:
        inner: Any = each
        while isinstance(inner, Packet) and inner.fields_desc and len(nodes) < _MOST_NODES:
            nodes.append(Node(depth, str(inner.name), "", *place))
            fields, _ = _fields(inner, None, depth + 1)
            nodes += [Node(node.depth, node.label, node.value, *place) for node in fields]
            inner = inner.payload
    return nodes


def _value(field: Any, layer: Any, value: Any) -> str:
    from scapy.error import Scapy_Exception
    from scapy.packet import Packet

    if isinstance(value, Packet) or (isinstance(value, list) and value and isinstance(value[0], Packet)):
        return f"{len(value)} of them" if isinstance(value, list) and len(value) > 1 else ""
    try:
        text = str(field.i2repr(layer, value))
    except (*_UNREADABLE, Scapy_Exception):
        text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
