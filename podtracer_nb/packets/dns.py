"""DNS answers: a second, tidy table, one row a resource record.

A packet has any number of answers, which the packet table has no place for. They are read here from the packets' bytes,
of those packets only that the table says are DNS responses, or of TCP with a DNS server: there a message may begin in
the middle of a segment, and go on in others (RFC 7766).
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from podtracer_nb.packets import tcp
from podtracer_nb.packets.dictionaries import presentation
from podtracer_nb.packets.reader import read
from podtracer_nb.packets.schema import DECAPSULATED
from podtracer_nb.packets.source import Source
from podtracer_nb.packets.stored import Stored
from podtracer_nb.packets.words import word

__all__ = ["ANSWER_COLUMNS", "dns_answers"]

ANSWER_COLUMNS: dict[str, tuple[str, str]] = {
    "frame": ("int64", "number of the packet; of a message in several segments, of the one that completed it"),
    "time": ("datetime64[ns, UTC]", "when it was captured"),
    "qname": ("category", "name asked for: of the first question"),
    "name": ("category", "name that the record is of"),
    "type": ("category", "type of the record: A, AAAA, CNAME, …, or TYPEn"),
    "ttl": ("uint32", "seconds that it may be kept"),
    "data": ("str", "an address, a name, text; hex of what has no text of its own here"),
}
"""Columns of `dns_answers`: name → dtype, meaning. Of a message cut short the whole records are there."""

_PORT = 53
_HEADER = 12
_RECORD = 10
_LONGEST = 255
_POINTER = 0xC0
_RESERVED = 0x0040  # RFC 6895 section 2: the one flag that is still to be 0
_MOST_OPERATION = 6  # RFC 8490
_NEEDED = ["time", "length", "caplen", "offset", "dns_offset", "dns_response"]
_OF_TCP = ["src", "dst", "proto", "tcp_flags", "payload_length", *tcp.FIELDS]

Bytes = Callable[[int], bytes]
"""Returns a packet's bytes by its position in the table."""


class _Cut(ValueError):
    """The bytes end, or contradict themselves."""


class _Message(NamedTuple):
    """A message, and the positions of the packets that completed it and that it begins in."""

    last: int
    first: int
    data: bytes


def dns_answers(source: Source | pd.DataFrame, frames: Iterable[int] | None = None) -> pd.DataFrame:
    """Return the answers of a capture's DNS responses, over UDP and TCP.

    Streams of TCP are put in order first: of what was sent twice the first is taken, and where bytes are missing it
    goes on with the next segment that a message begins.

    Parameters
    ----------
    source
        A capture, as `read` takes it, if it is in files or in memory; or the frame that `read` returned of files.
    frames
        Only the answers of messages that begin, or end, in packets of these numbers; a frame's are those of its index.

    Returns
    -------
    pandas.DataFrame
        One row an answer, in order of their packets: the columns of `ANSWER_COLUMNS`.

    Raises
    ------
    ValueError
        The packets' bytes are not at hand: the capture was a stream.
    FormatError
        It is not a capture.

    Examples
    --------
    >>> from podtracer_nb import packets
    >>> packets.dns_answers("web.pcap").query("type == 'A'")  # doctest: +SKIP
    """
    decap = False
    if isinstance(source, pd.DataFrame):
        frames = source.index if frames is None else frames
        decap = any(name in source.columns for name in DECAPSULATED.values())
        source = _files(source)
    table = read(source, columns=[*_NEEDED, *_OF_TCP], decap=decap)
    chosen = np.ones(len(table), np.bool_) if frames is None else table.index.isin(list(frames))
    rows: list[tuple[Any, ...]] = []
    with Stored() as stored:
        packet = _packets(source, table, stored)
        for last, first, data in itertools.chain(_of_datagrams(table, packet), _of_streams(table, packet)):
            if chosen[last] or chosen[first]:
                qname = _question(data)
                rows.extend((table.index[last], table["time"].iloc[last], qname, *answer) for answer in _answers(data))
    return _frame(sorted(rows, key=lambda row: row[0]))


def _packets(source: Source, table: pd.DataFrame, stored: Stored) -> Bytes:
    """Return what returns a packet's bytes, from memory or from its file."""
    offsets, sizes = table["offset"].to_numpy(), table["caplen"].to_numpy()
    capture = table.attrs["podtracer"]["capture"]
    if isinstance(source, (bytes, bytearray, memoryview)):
        if capture["compression"] is not None:
            raise ValueError("the capture is compressed bytes in memory: write it to a file, or decompress it first")
        data = memoryview(source).cast("B")
        return lambda row: bytes(data[int(offsets[row]) : int(offsets[row]) + int(sizes[row])])
    files = [each for each in capture.get("files", [capture]) if each["packets"]]
    first = [each.get("first_frame", 1) for each in files]
    which = np.searchsorted(first, table.index.to_numpy(), side="right") - 1
    return lambda row: stored.packet(files[which[row]]["path"], int(offsets[row]), int(sizes[row]))


def _of_datagrams(table: pd.DataFrame, packet: Bytes) -> Iterator[_Message]:
    responses = table["dns_response"].fillna(False).to_numpy(bool) & table["dns_offset"].notna().to_numpy()
    starts = table["dns_offset"].to_numpy(np.int64, na_value=0)
    for row in np.flatnonzero(responses & (table["proto"] != "TCP").to_numpy()).tolist():
        yield _Message(row, row, packet(row)[starts[row] :])


def _of_streams(table: pd.DataFrame, packet: Bytes) -> Iterator[_Message]:
    """Yield the messages of every connection with a DNS server, one direction after the other."""
    ports = table["sport"].eq(_PORT) | table["dport"].eq(_PORT)
    of_dns = ports.fillna(False).to_numpy(bool) & table["payload_length"].notna() & table["tcp_seq"].notna()
    segments = table[of_dns].assign(position=np.flatnonzero(of_dns))
    for _, direction in segments.groupby(["src", "dst", "sport", "dport"], observed=True, sort=False, dropna=False):
        yield from _of_direction(direction, packet)


def _of_direction(segments: pd.DataFrame, packet: Bytes) -> Iterator[_Message]:
    positions = segments["position"].tolist()
    sent = segments["payload_length"].to_numpy(np.int64)
    # What the snaplen cut off is missing at the end of the payload.
    sizes = sent - (segments["length"].to_numpy(np.int64) - segments["caplen"].to_numpy(np.int64))
    syn = segments["tcp_flags"].astype("str").str.contains("S").to_numpy(bool)
    fields = segments[tcp.FIELDS].to_numpy(np.int64).tolist()
    for begun, pieces in tcp.in_order(segments["tcp_seq"].to_numpy(np.uint32), sizes, syn):
        end = 0 if begun else None
        reading, waiting = begun, bytearray()
        first = last = -1  # a stream is handed on in order: nothing is complete before what comes ahead of it
        for start, segment, skip, size in pieces:
            row = positions[segment]
            data = packet(row)
            header = tcp.header_of(data, fields[segment])
            data = tcp.payload_of(data, header, int(sent[segment]))[skip : skip + size] if header is not None else b""
            stop = start + len(data)
            if end is not None and stop <= end:
                continue
            if not reading or end is None or start > end:
                # Bytes are missing: what was there of a message, and then the next segment that one begins.
                if waiting:
                    yield _Message(last, first, bytes(waiting[2:]))
                waiting, reading = bytearray(), skip == 0 and _begins(data)
            else:
                data = data[end - start :]
            end = stop
            if not reading:
                continue
            first, last = first if waiting else row, max(last, row)
            waiting += data
            while len(waiting) > 1:
                length = int.from_bytes(waiting[:2], "big")
                if length < _HEADER:  # no DNS, or not any more
                    waiting, reading = bytearray(), False
                if len(waiting) < 2 + length:
                    break
                yield _Message(last, first, bytes(waiting[2 : 2 + length]))
                del waiting[: 2 + length]
                first = row
        if waiting:
            yield _Message(last, first, bytes(waiting[2:]))


def _begins(data: bytes) -> bool:
    """Say whether a segment looks as if a message began it."""
    if len(data) < 2 + _HEADER:
        return False
    size, _, flags, questions = struct.unpack_from("!HHHH", data)
    if size < _HEADER or flags & _RESERVED or flags >> 11 & 0xF > _MOST_OPERATION or questions > 1:
        return False
    try:
        return not questions or bool(_name(data[2:], _HEADER)[1] <= size)
    except _Cut:
        return False


def _files(frame: pd.DataFrame) -> list[Any]:
    """Return the files that a frame was read from."""
    capture = frame.attrs["podtracer"]["capture"]
    paths = [each["path"] for each in capture.get("files", [capture])]
    if None in paths:
        raise ValueError("the capture came from bytes or a stream: write it to a file to have its packets at hand")
    return paths


def _frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(ANSWER_COLUMNS)
    made: dict[str, Any] = {}
    for (name, (dtype, _)), values in zip(ANSWER_COLUMNS.items(), columns, strict=True):
        if dtype == "category":
            made[name] = pd.Categorical(pd.array(list(values), dtype="str"))
        elif name == "time":
            made[name] = pd.to_datetime(pd.Series(values, dtype=dtype))
        else:
            made[name] = pd.array(list(values), dtype="str") if dtype == "str" else np.array(values, dtype)
    return pd.DataFrame(made)


def _question(message: bytes) -> str | None:
    """Return the name of the first question, where there is one."""
    try:
        return _name(message, _HEADER)[0] if message[4:6] > b"\0\0" else None
    except _Cut:
        return None


def _answers(message: bytes) -> Iterator[tuple[str, str, int, str]]:
    """Yield name, type, TTL and data of each whole answer of a response."""
    if len(message) < _HEADER or not message[2] & 0x80:
        return
    questions, answers = struct.unpack_from("!HH", message, 4)
    at = _HEADER
    try:
        for _ in range(questions):
            _, at = _name(message, at)
            at += 4
        for _ in range(answers):
            name, at = _name(message, at)
            if len(message) - at < _RECORD:
                return
            kind, _, ttl, size = struct.unpack_from("!HHIH", message, at)
            at += _RECORD
            if len(message) - at < size:
                return
            yield name, word("dns_qtype", kind), ttl, _data(message, kind, at, size)
            at += size
    except _Cut:
        return


def _name(message: bytes, at: int) -> tuple[str, int]:
    """Return the name at a place, as text, and where it ends (RFC 1035 section 4.1.4)."""
    labels = b""
    after = 0
    start = at
    while True:
        if at >= len(message):
            raise _Cut
        size = message[at]
        if size == 0:
            return presentation(labels + b"\0"), after or at + 1
        if size >= _POINTER:
            if at + 1 >= len(message):
                raise _Cut
            after = after or at + 2
            at = (size & 0x3F) << 8 | message[at + 1]
            if at >= start:  # only back, so that it ends
                raise _Cut
            start = at
            continue
        label = message[at : at + 1 + size]
        if size > 63 or len(label) <= size or len(labels) + size + 2 > _LONGEST:  # noqa: PLR2004 - RFC 1035 section 3.1
            raise _Cut
        labels += label
        at += 1 + size


def _data(message: bytes, kind: int, at: int, size: int) -> str:
    """Return a record's data as text; in hex what has no text of its own or contradicts itself."""
    data = message[at : at + size]
    try:
        if kind in _NAMES:
            return _name(message, at)[0]
        show = _SHOWN.get(kind)
        return data.hex() if show is None else show(message, at, data)
    except (_Cut, struct.error, OSError, ValueError):
        return data.hex()


def _mx(message: bytes, at: int, data: bytes) -> str:
    return f"{struct.unpack_from('!H', data)[0]} {_name(message, at + 2)[0]}"


def _srv(message: bytes, at: int, data: bytes) -> str:
    return " ".join(map(str, (*struct.unpack_from("!HHH", data), _name(message, at + 6)[0])))


def _soa(message: bytes, at: int, _: bytes) -> str:
    first, after = _name(message, at)
    second, after = _name(message, after)
    return " ".join(map(str, (first, second, *struct.unpack_from("!IIIII", message, after))))


def _txt(_: bytes, __: int, data: bytes) -> str:
    texts = []
    while data:
        shown = (chr(b) if 0x20 <= b <= 0x7E else f"\\{b:03}" for b in data[1 : 1 + data[0]])  # noqa: PLR2004 - printable
        texts.append("".join(shown))
        data = data[1 + data[0] :]
    return " ".join(f'"{text}"' for text in texts)


_NAMES = frozenset({2, 5, 12, 39})  # NS, CNAME, PTR, DNAME
_SHOWN: dict[int, Callable[[bytes, int, bytes], str]] = {
    1: lambda _, __, data: socket.inet_ntop(socket.AF_INET, data),
    6: _soa,
    15: _mx,
    16: _txt,
    28: lambda _, __, data: socket.inet_ntop(socket.AF_INET6, data),
    33: _srv,
    99: _txt,
}
