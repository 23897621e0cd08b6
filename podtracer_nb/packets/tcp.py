"""TCP again from the packets' bytes: what of a segment the packet table has no place for, and streams in order."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["FIELDS", "Piece", "header_of", "in_order", "payload_of", "sack_blocks"]

FIELDS = ["sport", "dport", "tcp_seq", "tcp_ack", "tcp_window"]
"""The columns that `header_of` finds a header by."""

_SMALLEST_HEADER = 20
_END, _NO_OPERATION, _SACK = 0, 1, 5
_EDGES = 8
_MOST_GAPS = 4096  # in what is known to be there of one direction: whoever sends more of them costs no more time

Array = np.ndarray[Any, Any]


def header_of(packet: bytes, fields: Sequence[int]) -> int | None:
    """Return where in a packet the TCP header is whose `FIELDS` the dissector read; None where it is cut short."""
    *numbers, window = fields
    ahead = struct.pack("!HHII", *numbers)
    at = packet.find(ahead)
    while at >= 0:
        if packet[at + 14 : at + 16] == window.to_bytes(2, "big") and len(packet) - at >= _SMALLEST_HEADER:
            return at
        at = packet.find(ahead, at + 1)
    return None


def payload_of(packet: bytes, header: int, size: int) -> bytes:
    """Return the payload of the segment whose header is at a place, of `size` bytes on the wire."""
    start = header + (packet[header + 12] >> 4) * 4
    return packet[start : start + size]


def sack_blocks(packet: bytes, header: int) -> Iterator[tuple[int, int]]:
    """Yield the edges of each whole block of the SACK options (RFC 2018 section 3), as sent.

    Examples
    --------
    >>> from podtracer_nb.packets import tcp
    >>> segment = bytes(12) + bytes([0x80]) + bytes(7) + bytes.fromhex("0101 050a 00000064 000000c8")
    >>> list(tcp.sack_blocks(segment, 0))
    [(100, 200)]
    """
    at, stop = header + _SMALLEST_HEADER, header + (packet[header + 12] >> 4) * 4
    stop = min(stop, len(packet))
    while at < stop and packet[at] != _END:
        if packet[at] == _NO_OPERATION:
            at += 1
            continue
        size = packet[at + 1] if at + 1 < stop else 0
        if size < 2:  # noqa: PLR2004 - kind and size themselves
            return
        if packet[at] == _SACK:
            for edges in range(at + 2, min(at + size, stop) - _EDGES + 1, _EDGES):
                yield struct.unpack_from("!II", packet, edges)
        at += size


class Piece(NamedTuple):
    """Bytes of one direction of a connection that no earlier segment brought.

    Attributes
    ----------
    start
        Where they are in the stream.
    segment
        Which of the segments brought them, by its position.
    skip, size
        Where in its payload they are.
    """

    start: int
    segment: int
    skip: int
    size: int


def in_order(seq: Array, sizes: Array, syn: Array) -> Iterator[tuple[bool, Sequence[Piece]]]:
    """Yield each connection of one direction's segments: whether its start is there, and its bytes in order.

    Of bytes that came several times the first are taken. Ports that are used again are told by another SYN.

    Parameters
    ----------
    seq, sizes, syn
        Of each segment, as they came: the sequence number, how many bytes of payload are at hand, whether it is a SYN.

    Examples
    --------
    >>> import numpy as np
    >>> from podtracer_nb.packets import tcp
    >>> seq, sizes = np.array([9, 20, 10, 15], np.uint32), np.array([0, 5, 5, 7])
    >>> ((begun, pieces),) = tcp.in_order(seq, sizes, seq == 9)
    >>> [(piece.start, piece.segment, piece.size) for piece in pieces]
    [(0, 2, 5), (5, 3, 5), (10, 1, 5)]
    """
    numbers = seq.astype(np.uint32) + syn.astype(np.uint32)  # a SYN takes a number itself
    opened = np.flatnonzero(syn)
    again = opened[1:][numbers[opened[1:]] != numbers[opened[:-1]]]
    for start, stop in zip([0, *again], [*again, len(seq)], strict=True):
        # Counted on from segment to segment: numbers begin again at 2^32, and none is half of that from the one before.
        steps = np.diff(numbers[start:stop]).astype(np.int32).astype(np.int64)
        places = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
        here = syn[start:stop]
        begun = bool(here.any())
        if begun:
            places -= places[np.argmax(here)]
        pieces = _pieces(places.tolist(), sizes[start:stop].tolist(), int(start))
        yield begun, sorted(piece for piece in pieces if not begun or piece.start >= 0)


def _pieces(places: list[int], sizes: list[int], first: int) -> Iterator[Piece]:
    starts: list[int] = []
    stops: list[int] = []
    for segment, (start, size) in enumerate(zip(places, sizes, strict=True), first):
        if size <= 0:
            continue
        stop = start + size
        low, high = bisect.bisect_left(stops, start), bisect.bisect_right(starts, stop)
        at = start
        for there in range(low, high):
            if starts[there] > at:
                yield Piece(at, segment, at - start, starts[there] - at)
            at = max(at, stops[there])
        if at < stop:
            yield Piece(at, segment, at - start, stop - at)
        touched = low < high
        starts[low:high] = [min(start, starts[low]) if touched else start]
        stops[low:high] = [max(stop, stops[high - 1]) if touched else stop]
        if len(starts) > _MOST_GAPS:
            del starts[:-1], stops[:-1]
