"""DNS answers: a second, tidy table, one row a resource record.

A packet has any number of answers, which the packet table has no place for. They are read here from the packets' bytes,
of those packets only that the table says are DNS responses.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.packets.dictionaries import presentation
from podtracer_nb.packets.reader import locate, raw, read
from podtracer_nb.packets.source import Source
from podtracer_nb.packets.words import word

__all__ = ["ANSWER_COLUMNS", "dns_answers"]

ANSWER_COLUMNS: dict[str, tuple[str, str]] = {
    "frame": ("int64", "number of the packet"),
    "time": ("datetime64[ns, UTC]", "when it was captured"),
    "qname": ("category", "name asked for: of the first question"),
    "name": ("category", "name that the record is of"),
    "type": ("category", "type of the record: A, AAAA, CNAME, …, or TYPEn"),
    "ttl": ("uint32", "seconds that it may be kept"),
    "data": ("str", "an address, a name, text; hex of what has no text of its own here"),
}
"""Columns of `dns_answers`: name → dtype, meaning. Of a message cut short the whole records are there."""

_HEADER = 12
_RECORD = 10
_LONGEST = 255
_POINTER = 0xC0
_NEEDED = ["time", "offset", "caplen", "dns_offset", "dns_qname", "dns_response"]


class _Cut(ValueError):
    """The bytes end, or contradict themselves."""


def dns_answers(source: Source | pd.DataFrame) -> pd.DataFrame:
    """Return the answers of a capture's DNS responses.

    Parameters
    ----------
    source
        A capture, as `read` takes it, if it is in files or in memory; or the frame that `read` returned of files.

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
    numbers: pd.Index[Any] | None = None
    if isinstance(source, pd.DataFrame):
        numbers = source.index
        source = _files(source)
    frame = read(source, columns=_NEEDED)
    data = memoryview(source).cast("B") if isinstance(source, (bytes, bytearray, memoryview)) else None
    if data is not None and frame.attrs["podtracer"]["capture"]["compression"] is not None:
        raise ValueError("the capture is compressed bytes in memory: write it to a file, or decompress it first")
    responses = frame[frame["dns_response"].fillna(False).to_numpy(bool) & frame["dns_offset"].notna().to_numpy()]
    if numbers is not None:
        responses = responses[responses.index.isin(numbers)]
    rows: list[tuple[Any, ...]] = []
    for number, time, offset, caplen, start, qname in zip(
        responses.index, *(responses[name] for name in _NEEDED[:5]), strict=True
    ):
        packet = bytes(data[offset : offset + caplen]) if data is not None else raw(*locate(frame, number))
        rows.extend((number, time, qname, *answer) for answer in _answers(packet[start:]))
    return _frame(rows)


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


def _answers(message: bytes) -> Iterator[tuple[str, str, int, str]]:
    """Yield name, type, TTL and data of each whole answer."""
    if len(message) < _HEADER:
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
