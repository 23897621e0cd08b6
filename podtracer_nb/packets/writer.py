"""Packets to a capture file: pcap with nanoseconds, or pcapng with comments, whole or not there at all."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Link", "Record", "write_capture"]

_SECOND = 1_000_000_000
_MAGIC_NANOSECONDS = 0xA1B23C4D
_LARGEST_RECORD = 262_144  # what libpcap reads
_LARGEST_OPTION = 65_535
_FORMATS = ("pcap", "pcapng")
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Link:
    """An interface of the capture: its link type's number, its name where it has one, its snaplen."""

    linktype: int
    name: str | None = None
    snaplen: int = 0


@dataclass(frozen=True)
class Record:
    """One packet.

    Parameters
    ----------
    time
        Nanoseconds since 1970, or None.
    length
        Bytes on the wire.
    data
        What was captured of them.
    link
        Which of the links it was on.
    comment
        Or None; lines are comments of their own.
    number
        What to call it in an error.
    """

    time: int | None
    length: int
    data: bytes
    link: int = 0
    comment: str | None = None
    number: int | None = None


def write_capture(
    path: str | os.PathLike[str], records: Iterable[Record], links: Sequence[Link], *, format: str | None = None
) -> int:
    """Write a capture file and return how many packets are in it.

    The file has its name only when all is in it: an error or an interrupt leaves what was there before.

    Parameters
    ----------
    path
        The file. One that is there is replaced.
    records
        The packets, in the order that they are to have.
    links
        The interfaces. A pcap has one link type.
    format
        "pcap" or "pcapng"; by default as the path's suffix says, pcap where it says nothing.

    Raises
    ------
    ValueError
        What the format cannot hold: several link types, a comment or no time in a pcap; a time before 1970 or, in a
        pcap, after 2106.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from podtracer_nb import packets
    >>> from podtracer_nb.packets.writer import Link, Record, write_capture
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_capture(f"{folder}/x.pcapng", [Record(1, 60, bytes(60), comment="first")], [Link(228)])
    ...     frame = packets.read(f"{folder}/x.pcapng")
    1
    >>> frame["comment"].tolist(), frame["length"].tolist()
    (['first'], [60])
    """
    path = Path(path)
    if format is None:
        format = "pcapng" if path.suffix.lower() in {".pcapng", ".ntar"} else "pcap"
    if format not in _FORMATS:
        raise ValueError(f"format {format!r} is none of {', '.join(_FORMATS)}")
    if format == "pcap" and len({link.linktype for link in links}) > 1:
        kinds = ", ".join(str(kind) for kind in sorted({link.linktype for link in links}))
        raise ValueError(f"packets of several link types ({kinds}) need pcapng: name the file .pcapng")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb", buffering=_BUFFER) as file:
            count = (_pcap if format == "pcap" else _pcapng)(file, records, links)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


def _pcap(file: BinaryIO, records: Iterable[Record], links: Sequence[Link]) -> int:
    snaplen = max((link.snaplen for link in links), default=0) or _LARGEST_RECORD
    linktype = links[0].linktype if links else 1
    file.write(struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, snaplen, linktype))
    pack = struct.Struct("<IIII").pack
    count = 0
    for record in records:
        if record.comment is not None:
            raise ValueError(f"{_name(record)} has a comment, which needs pcapng: name the file .pcapng")
        if record.time is None:
            raise ValueError(f"{_name(record)} has no time, which needs pcapng: name the file .pcapng")
        seconds, fraction = divmod(record.time, _SECOND)
        if not 0 <= seconds < 1 << 32:
            raise ValueError(f"{_name(record)} is of a time that a pcap cannot tell, before 1970 or after 2106")
        file.write(pack(seconds, fraction, len(record.data), record.length))
        file.write(record.data)
        count += 1
    return count


def _pcapng(file: BinaryIO, records: Iterable[Record], links: Sequence[Link]) -> int:
    file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
    for link in links or [Link(1)]:
        name = _option(2, link.name.encode()) if link.name is not None else b""
        options = name + _option(9, b"\x09") + bytes(4)
        file.write(_block(1, struct.pack("<HHI", link.linktype, 0, link.snaplen) + options))
    count = 0
    for record in records:
        padded = record.data + bytes(-len(record.data) % 4)
        if record.time is None:
            # Only a simple packet block has none; it has no interface either, but the first one.
            if (
                record.link
                or record.comment is not None
                or len(record.data) != min(record.length, links[0].snaplen or record.length)
            ):
                raise ValueError(
                    f"{_name(record)} has no time: pcapng holds such packets of the first interface only, whole and "
                    "without a comment"
                )
            file.write(_block(3, struct.pack("<I", record.length) + padded))
        else:
            if record.time < 0:
                raise ValueError(f"{_name(record)} is of a time before 1970, which a capture cannot tell")
            head = struct.pack(
                "<IIIII",
                record.link,
                record.time >> 32,
                record.time & 0xFFFFFFFF,
                len(record.data),
                record.length,
            )
            options = b""
            if record.comment is not None:
                options = b"".join(_option(1, line.encode()) for line in record.comment.split("\n")) + bytes(4)
            file.write(_block(6, head + padded + options))
        count += 1
    return count


def _name(record: Record) -> str:
    return "a packet" if record.number is None else f"frame {record.number}"


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return b"".join((struct.pack("<I", kind), size, body, size))


def _option(code: int, value: bytes) -> bytes:
    if len(value) > _LARGEST_OPTION:
        value = value[:_LARGEST_OPTION].decode(errors="ignore").encode()  # a character is left out whole
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
