"""What two ends of a TCP conversation said to each other, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.errors import InputError

__all__ = ["Said", "conversation", "follow"]

MOST_BYTES = 200_000
MOST_PACKETS = 3000
MOST_SECONDS = 3.0
_MOST_EARLY = 100
_TURN = 1 << 32


@dataclass(frozen=True)
class Said:
    """Bytes that one end sent without the other's between them.

    Attributes
    ----------
    end
        0 for the end that sent the first packet seen, 1 for the other.
    data
        The bytes.
    frame
        The number of the packet that they begin in.
    missing
        How many bytes were not captured before them.
    """

    end: int
    data: bytes
    frame: int
    missing: int = 0


@dataclass(frozen=True)
class _Segment:
    """What one packet carried: `length` bytes were sent, of which the capture has `data`."""

    data: bytes
    length: int
    frame: int


@dataclass
class _Direction:
    """What is known of one direction: the next sequence number, and what came ahead of it."""

    next: int | None = None
    early: dict[int, _Segment] = field(default_factory=dict)
    missing: int = 0


def conversation(frame: pd.DataFrame, position: int) -> np.ndarray[Any, Any]:
    """Return where in the frame the packets are of one packet's TCP conversation.

    Raises
    ------
    InputError
        It is no TCP packet, or the frame lacks the columns that tell.
    """
    needed = ("src", "dst", "sport", "dport", "proto", "tcp_seq", "payload_length", "tcp_flags")
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InputError(f"a stream is followed by the column {missing[0]}, which this frame has not")
    one = frame.iloc[position]
    if one["proto"] != "TCP" or pd.isna(one["sport"]):
        raise InputError("only a TCP packet is part of a stream")

    def side(source: str, sport: str, other: str, dport: str) -> Any:
        return (
            (frame["src"] == one[source]).to_numpy()
            & (frame["dst"] == one[other]).to_numpy()
            & (frame["sport"] == one[sport]).to_numpy(bool, na_value=False)
            & (frame["dport"] == one[dport]).to_numpy(bool, na_value=False)
        )

    both = side("src", "sport", "dst", "dport") | side("dst", "dport", "src", "sport")
    both &= frame["tcp_seq"].notna().to_numpy()
    if "target" in frame.columns:
        both &= (frame["target"] == one["target"]).to_numpy()
    return np.flatnonzero(both)


def follow(
    packets: pd.DataFrame, payload: Callable[[int], bytes], most_bytes: int = MOST_BYTES
) -> tuple[list[Said], str]:
    """Put the segments of a conversation into the order in which they were sent, each byte once.

    Parameters
    ----------
    packets
        The conversation's packets, in the order of capture: `src`, `sport`, `tcp_seq`, `tcp_flags`, `payload_length`.
    payload
        A row's number → the bytes after its TCP header.
    most_bytes
        Where to stop.

    Returns
    -------
    list of Said, str
        Turn by turn; and what was left out, or nothing.
    """
    said: list[Said] = []
    directions = (_Direction(), _Direction())
    total, begun, left_out = 0, time.monotonic(), ""
    first = packets.iloc[0]
    start = (first["src"], first["sport"])
    rows = zip(
        packets["src"], packets["sport"], packets["tcp_seq"], packets["tcp_flags"], packets["payload_length"],
        packets.index, strict=True,
    )  # fmt: skip
    read = 0
    for row, (src, sport, sequence, flags, length, number) in enumerate(rows):
        end = 0 if (src, sport) == start else 1
        way = directions[end]
        if "S" in str(flags):
            way.next = (int(sequence) + 1) % _TURN
            continue
        if pd.isna(length) or not length:
            continue
        if total >= most_bytes or read >= MOST_PACKETS or time.monotonic() - begun > MOST_SECONDS:
            left_out = f"the first {total:,} bytes; {len(packets) - row:,} packets after them are not read"
            break
        read += 1
        way.next = int(sequence) if way.next is None else way.next
        way.early.setdefault(int(sequence), _Segment(payload(row), int(length), int(number)))
        pieces = list(_ready(way, end))
        if len(way.early) > _MOST_EARLY:  # what is still missing now was not captured
            pieces += _rest(way, end)
        said += pieces
        total += sum(len(piece.data) for piece in pieces)
    for end, way in enumerate(directions):
        said += _rest(way, end)
    return list(_turns(said)), left_out


def _ahead(way: _Direction, sequence: int) -> int:
    """Return how far a sequence number is ahead of what comes next; less than 0 behind it (RFC 9293, 3.4)."""
    return (sequence - (way.next or 0) + _TURN // 2) % _TURN - _TURN // 2


def _ready(way: _Direction, end: int) -> Iterable[Said]:
    """Give what follows without a gap on what was said, and forget what was said before."""
    while way.early:
        sequence = min(way.early, key=lambda at: _ahead(way, at))
        ahead = _ahead(way, sequence)
        if ahead > 0:
            return
        segment = way.early.pop(sequence)
        if segment.length + ahead <= 0:
            continue
        new = segment.data[-ahead:]
        way.next = (sequence + segment.length) % _TURN
        if new:
            yield Said(end, new, segment.frame, way.missing)
            way.missing = 0
        way.missing += segment.length + ahead - len(new)


def _rest(way: _Direction, end: int) -> Iterable[Said]:
    """Give what came after gaps that nothing filled."""
    while way.early and way.next is not None:
        nearest = min(way.early, key=lambda at: _ahead(way, at))
        way.missing += _ahead(way, nearest)
        way.next = nearest
        yield from _ready(way, end)


def _turns(said: list[Said]) -> Iterable[Said]:
    """Join what one end said in a row."""
    joined: list[bytes] = []
    first: Said | None = None
    for piece in said:
        if first is not None and (piece.end != first.end or piece.missing):
            yield Said(first.end, b"".join(joined), first.frame, first.missing)
            first, joined = None, []
        first = first or piece
        joined.append(piece.data)
    if first is not None:
        yield Said(first.end, b"".join(joined), first.frame, first.missing)
