"""Captures to frames: whole files, and streams that are still growing."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from podtracer_nb.packets import _dissect
from podtracer_nb.packets.capture_format import (
    HEADER_SIZE,
    DamageWarning,
    FormatError,
    InterpretedWarning,
    PcapHeader,
)
from podtracer_nb.packets.columns import ColumnMemory
from podtracer_nb.packets.dictionaries import Dictionaries
from podtracer_nb.packets.schema import INDEX
from podtracer_nb.packets.source import Input, ReadAhead, Source, aligned

__all__ = ["Reader", "compiled", "raw", "read", "stream"]

compiled: bool = _dissect.compiled
"""Whether the dissector in use is the compiled one."""

_BUFFER = 1 << 19  # anything from 256 KiB to 2 MiB is as fast, 8 MiB is slower
_RECORD_HEADER = 16
_FIRST_ROWS = 8192
# Room is made for this many times the rows so far: less often wrong where the source's size tells how many will come.
_GROWTH_KNOWN = 8
_GROWTH_UNKNOWN = 2
_ROWS_TO_EXPECT_FROM = 65_536
_NO_LIMIT = 1 << 62
_WORTH_A_THREAD = 8 << 20
_HEADROOM = 1 << 18  # room for the first part of a record that goes on in the next buffer

_NOT_A_RECORD = {
    _dissect.REASONS["oversized"]: "the next record claims more bytes than a packet can have",
    _dissect.REASONS["zeros"]: "zeros follow, as a hole in the file leaves them",
}


class Reader:
    """Reads a capture into one table, all at once or as it arrives.

    Iterating yields a frame of whatever packets each read of the source completed, and waits for no more; `frame()` is
    everything so far. An error or an interrupt on the way loses nothing: what was read stays in `frame()`, and reading
    can go on.

    Parameters
    ----------
    source
        A path, the bytes of a capture, or a binary stream. A path is opened here, and closed at the capture's end.
    count
        Stop after that many packets.
    threads
        2 reads large files ahead in a thread of its own, 1 does not. By default 2 where two processors may be used.

    Raises
    ------
    FormatError
        When the first bytes are read and are not a classic pcap header.
    OSError
        When the path cannot be opened, or the source not be read.
    ValueError
        When `count` is negative.

    Examples
    --------
    >>> import struct
    >>> from podtracer_nb import packets
    >>> header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
    >>> packet = bytes.fromhex("4500001c00010000401100000a0000010a000002 0035d43100080000")
    >>> reader = packets.Reader(header + struct.pack("<IIII", 1, 0, 28, 28) + packet)
    >>> for chunk in reader:
    ...     print(chunk["src"].iloc[0], chunk["sport"].iloc[0], chunk["payload_length"].iloc[0])
    10.0.0.1 53 0
    >>> reader.packets, reader.bytes
    (1, 68)
    """

    def __init__(self, source: Source, *, count: int | None = None, threads: int | None = None) -> None:
        if count is not None and count < 0:
            raise ValueError(f"count is {count}, and a number of packets cannot be negative")
        _warn_if_interpreted()
        self._input = Input(source)
        self._count = count
        self._threads = _processors() if threads is None else threads
        self._ahead: ReadAhead | None = None
        self._header: PcapHeader | None = None
        self._head = b""
        self._dictionaries = Dictionaries(_dissect)
        self._dissector: Any = _dissect.Dissector(self._dictionaries)
        self._memory = ColumnMemory(self._dissector, self._dictionaries)
        self._memory.grow(0, 1, huge=False)
        self._buffer = memoryview(b"")
        self._lent: int | None = None  # the buffer read ahead that is dissected now
        self._forgotten = 0  # packets whose rows were given away and written over
        self._yielded = 0
        self._ended = False
        self._damage: dict[str, Any] | None = None
        self._frame: pd.DataFrame | None = None

    @property
    def packets(self) -> int:
        """How many packets have been read."""
        return self._forgotten + int(self._dissector.row)

    @property
    def bytes(self) -> int:
        """How many bytes of the capture the packets so far and its header take."""
        return int(self._dissector.base + self._dissector.position)

    def capture_info(self) -> dict[str, Any]:
        """Return what is known of the capture, as it stands in `frame.attrs["podtracer"]["capture"]`.

        Returns
        -------
        dict
            format, linktype, linktype_name, snaplen, resolution ("us" or "ns"), byte_order: None until the header was
            read. packets and bytes so far, path (None for bytes and streams), damage: None, or its offset in bytes and
            the reason.
        """
        header = self._header
        return {
            "format": "pcap" if header else None,
            "linktype": header.linktype if header else None,
            "linktype_name": header.linktype_name if header else None,
            "snaplen": header.snaplen if header else None,
            "resolution": header.resolution if header else None,
            "byte_order": header.byte_order if header else None,
            "packets": self.packets,
            "bytes": self.bytes,
            "path": self._input.path,
            "damage": dict(self._damage) if self._damage else None,
        }

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the packets that each read of the source completed."""
        return self.chunks()

    def chunks(self, rows: int | None = None, *, keep: bool = True) -> Iterator[pd.DataFrame]:
        """Yield the packets that each read of the source completed, in frames of at most `rows`.

        Parameters
        ----------
        rows
            The most packets in one frame; any number when None.
        keep
            False gives the memory of packets already yielded to the next ones: for streams without end. `frame()`
            then has the packets not yet yielded.

        Raises
        ------
        ValueError
            When `rows` is not positive.
        """
        if rows is not None and rows < 1:
            raise ValueError(f"rows is {rows}, and a frame needs room for at least one packet")
        while True:
            more = self._advance(rows)
            if self.packets > self._yielded:
                start = self._yielded - self._forgotten
                chunk = self._make_frame(start, copy=True)
                self._yielded = self.packets
                if not keep and not self._ended:
                    self._memory.forget()
                    self._forgotten = self._yielded
                    self._dissector.row = self._dissector.limit = 0
                yield chunk
            if not more:
                return

    def read_all(self) -> Self:
        """Read to the capture's end, or to `count` packets."""
        if self._header is None:
            self._begin()
        size = self._input.size
        if (
            self._ahead is None
            and self._input.path
            and self._threads > 1
            and size
            and size - self.bytes > _WORTH_A_THREAD
        ):
            self._ahead = ReadAhead(self._input.readinto, _HEADROOM)
        while self._advance(None, pump=self._input.whole is None and self._ahead is None):
            pass
        return self

    def frame(self) -> pd.DataFrame:
        """Return everything so far as one frame; see `podtracer_nb.packets.schema` for its columns.

        Until the capture has ended the frame is a copy. Afterwards it is the table itself, not copied.
        """
        if not self._ended:
            return self._make_frame(0, copy=True)
        if self._frame is None:
            self._frame = self._make_frame(0, copy=False)
        # Under pandas' copy-on-write this shares the memory until someone writes to one of them.
        return self._frame.copy(deep=False)

    def close(self) -> None:
        """Close the file, where one was opened here."""
        self._stop_reading_ahead()
        self._input.close()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file, where one was opened here."""
        self.close()

    # ------------------------------------------------------------------------------------------------ reading

    def _advance(self, rows: int | None, pump: bool = False) -> bool:
        """Dissect at least one packet, at most `rows`, reading until one is whole. Return False at the end.

        `pump` goes on reading for as long as the rows prepared last.
        """
        if self._header is None:
            self._begin()
        while not self._ended:
            if self._dissect(rows, pump):
                return not self._ended
            if not self._ended and self._refill() == 0:
                self._end(self._leftover())
        return False

    def _begin(self) -> None:
        """Read the capture's header."""
        whole = self._input.whole
        if whole is not None:
            self._head = bytes(whole[:HEADER_SIZE])
        while whole is None and len(self._head) < HEADER_SIZE:
            part = bytearray(HEADER_SIZE - len(self._head))
            got = self._input.readinto(memoryview(part))
            if got == 0:
                break
            self._head += part[:got]
        header = PcapHeader.parse(self._head, self._input.name)
        self._dissector.begin(
            _dissect.LINKS[header.link],
            header.byte_order == "big",
            header.nanoseconds_per_unit,
            header.largest_record,
            HEADER_SIZE,
        )
        if whole is None:
            self._buffer = aligned(_BUFFER)
            self._dissector.attach(self._buffer, 0)
        else:
            self._dissector.attach(whole[HEADER_SIZE:], len(whole) - HEADER_SIZE)
        self._header = header
        self._grow()

    def _dissect(self, rows: int | None, pump: bool) -> bool:
        """Dissect whole records, at most `rows`, of the buffer, with `pump` also of what follows; say if any."""
        dissector = self._dissector
        before: int = dissector.row
        last = before + rows if rows is not None else _NO_LIMIT
        if self._count is not None:
            last = min(last, self._count - self._forgotten)
        while dissector.row < last:
            ready = self._memory.prepare(dissector.row)
            if ready <= dissector.row:
                self._grow()
                continue
            dissector.limit = min(ready, last)
            reason = dissector.pump(self._input.readinto, self._buffer) if pump else dissector.run()
            if reason == _dissect.REASONS["bytes"]:
                return bool(dissector.row > before)
            if reason == _dissect.REASONS["tables"]:
                self._dictionaries.make_room()
                self._memory.widen()
            elif reason != _dissect.REASONS["rows"]:
                self._end(_NOT_A_RECORD[reason])
                break
        if self._count is not None and self.packets >= self._count:
            self._end(None)
        return bool(dissector.row > before)

    def _refill(self) -> int:
        """Read once, to after the bytes that wait for the rest of their record; return how many came, 0 at the end."""
        if self._input.whole is not None:
            return 0
        dissector = self._dissector
        if self._ahead is not None:
            return self._next_ahead(self._ahead)
        dissector.compact(self._buffer)
        if dissector.filled == len(self._buffer):
            # A record larger than the buffer. It grows with what has come, not with what the record claims.
            larger = aligned(2 * len(self._buffer))
            larger[: dissector.filled] = self._buffer
            dissector.attach(larger, dissector.filled)
            self._buffer = larger
        return int(dissector.take(self._input.readinto, self._buffer[dissector.filled :]))

    def _next_ahead(self, ahead: ReadAhead) -> int:
        """Go on with the buffer that was filled meanwhile; return how many bytes came, 0 at the end."""
        try:
            number, got = self._dissector.follow(ahead.get, ahead.buffers, _HEADROOM)
        except OSError:
            self._stop_reading_ahead()
            raise
        if self._lent is not None:
            ahead.give_back(self._lent)
        self._lent = number
        return int(got)

    def _stop_reading_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = self._lent = None

    def _leftover(self) -> str | None:
        """Say what is wrong with bytes that are left at the end, if any are."""
        left = self._dissector.filled - self._dissector.position
        if left == 0:
            return None
        if left < _RECORD_HEADER:
            return f"the last record is cut short inside its header: {left} of {_RECORD_HEADER} bytes"
        return f"the last record is cut short: {left - _RECORD_HEADER} bytes of its packet are there"

    def _end(self, reason: str | None) -> None:
        """Note that nothing more will come, and why."""
        self._ended = True
        self.close()
        self._buffer = memoryview(b"")
        self._dissector.attach(self._buffer, 0)
        if reason is not None:
            self._damage = {"offset": self.bytes, "reason": reason}
            warnings.warn(
                f"{self._input.name} is damaged at byte {self.bytes}: {reason}; the {self.packets} whole packets "
                "before it were kept",
                DamageWarning,
                stacklevel=4,
            )

    # --------------------------------------------------------------------------------------- rows and frames

    def _grow(self) -> None:
        """Make room for more rows: about as many as the source will have, where its size is known."""
        rows: int = self._dissector.row
        size = self._input.size
        huge = False
        if size is None or self._forgotten or self.bytes >= size:
            capacity = max(_FIRST_ROWS, rows * _GROWTH_UNKNOWN)
        elif rows == 0:
            capacity = min(_FIRST_ROWS, size // _RECORD_HEADER)
        else:
            # What the mean size of the packets so far foretells; that of 65,536 of them is rarely off by a hundredth.
            expected = int(rows / self.bytes * size * 1.012) + 256
            if rows < _ROWS_TO_EXPECT_FROM:
                expected = min(expected, rows * _GROWTH_KNOWN)
            capacity = max(expected, rows + rows // 8 + 1)
            huge = True
        if self._count is not None:
            capacity = min(capacity, self._count - self._forgotten)
        self._memory.grow(rows, max(1, capacity), huge)

    def _make_frame(self, start: int, copy: bool) -> pd.DataFrame:
        stop: int = self._dissector.row
        index = pd.RangeIndex(self._forgotten + start + 1, self._forgotten + stop + 1, name=INDEX)
        frame = pd.DataFrame(self._memory.arrays(start, stop, copy), index=index, copy=False)
        frame.attrs["podtracer"] = {"capture": self.capture_info()}
        return frame


def read(source: Source, *, count: int | None = None, threads: int | None = None) -> pd.DataFrame:
    """Read a capture into one frame.

    Parameters
    ----------
    source
        A path, the bytes of a capture, or a binary stream, which is read to its end.
    count
        Stop after that many packets.
    threads
        See `Reader`.

    Returns
    -------
    pandas.DataFrame
        One row a packet, the columns of `podtracer_nb.packets.schema.COLUMNS`, indexed by the packet's number from 1.
        `attrs["podtracer"]["capture"]` says what is known of the capture, see `Reader.capture_info`.

    Raises
    ------
    FormatError
        When it is not a classic pcap capture; the message says what it looks like.
    OSError
        When it cannot be opened or read.

    Warns
    -----
    DamageWarning
        When the capture ends inside a packet or goes on with something that is none. Whole packets are kept.

    Examples
    --------
    >>> from podtracer_nb import packets
    >>> header = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 01000000")
    >>> arp = bytes.fromhex(
    ...     "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002")
    >>> frame = packets.read(header + bytes.fromhex("01000000 00000000 2a000000 2a000000") + arp)
    >>> frame.loc[1, ["eth_src", "src", "dst", "proto", "arp_op"]].tolist()
    ['02:00:00:00:00:01', '10.0.0.1', '10.0.0.2', 'ARP', 'request']
    >>> frame.attrs["podtracer"]["capture"]["linktype_name"]
    'EN10MB'
    """
    with Reader(source, count=count, threads=threads) as reader:
        return reader.read_all().frame()


def stream(source: Source, *, rows: int | None = None) -> Iterator[pd.DataFrame]:
    """Yield frames of packets as they arrive, in constant memory.

    A frame has whatever packets one read of the source completed; it is not waited for more. Packet numbers go on from
    frame to frame; addresses and names share one dictionary within a frame.

    Parameters
    ----------
    source
        As for `read`: mostly a pipe or a socket.
    rows
        The most packets in one frame.

    Yields
    ------
    pandas.DataFrame
        As `read` returns, `attrs` as far as known then.

    Raises
    ------
    FormatError
        When it is not a classic pcap capture.
    OSError
        When it cannot be opened or read.
    ValueError
        When `rows` is not positive.

    Warns
    -----
    DamageWarning
        As `read` does, at the end.

    Examples
    --------
    >>> from podtracer_nb import packets
    >>> header = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 e4000000")
    >>> packet = bytes.fromhex("01000000 00000000 00000000 3c000000")
    >>> [frame.index.tolist() for frame in packets.stream(header + 3 * packet, rows=2)]
    [[1, 2], [3]]
    """
    with Reader(source) as reader:
        yield from reader.chunks(rows, keep=False)


def raw(path: str | os.PathLike[str], offset: int, caplen: int) -> bytes:
    """Return one packet's bytes.

    Parameters
    ----------
    path
        The capture file.
    offset, caplen
        As the columns of those names have them, in bytes.

    Raises
    ------
    FormatError
        When the file ends before that.
    OSError
        When the file cannot be read.
    ValueError
        When `offset` or `caplen` is negative.

    Examples
    --------
    >>> import tempfile
    >>> from podtracer_nb import packets
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"header, packet"), file.flush()
    ...     packets.raw(file.name, 8, 6)
    b'packet'
    """
    if offset < 0 or caplen < 0:
        raise ValueError(f"offset {offset} and caplen {caplen} are sizes in bytes, and neither can be negative")
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if offset + caplen > size:
            raise FormatError(
                f"{os.fspath(path)} ends at byte {size}, before the packet at {offset} of {caplen} bytes: "
                "is it the file that the frame was read from?"
            )
        return os.pread(file.fileno(), caplen, offset)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _warn_if_interpreted() -> None:
    if not compiled:
        warnings.warn(
            "the packet dissector runs interpreted, at about 25,000 packets/s instead of millions: "
            "install a C compiler and reinstall podtracer-nb",
            InterpretedWarning,
            stacklevel=4,
        )
