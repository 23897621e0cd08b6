"""Captures to frames: whole files, and streams that are still growing."""

from __future__ import annotations

import functools
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pandas as pd

from podtracer_nb.packets import _dissect, pcapng, schema
from podtracer_nb.packets.capture_format import (
    HEADER_SIZE,
    LINKTYPES,
    DamageWarning,
    FormatError,
    InterpretedWarning,
    LinktypeWarning,
    PcapHeader,
    linktype_name,
)
from podtracer_nb.packets.columns import ColumnMemory
from podtracer_nb.packets.compression import MAGIC_SIZE, kind_of
from podtracer_nb.packets.dictionaries import Dictionaries
from podtracer_nb.packets.pcapng import PcapngFormat
from podtracer_nb.packets.resync import Plausible
from podtracer_nb.packets.schema import INDEX
from podtracer_nb.packets.selection import Moment, Selection
from podtracer_nb.packets.source import Input, ReadAhead, Source, aligned, each_source, total_size

__all__ = ["Reader", "compiled", "locate", "raw", "read", "stream"]

compiled: bool = _dissect.compiled
"""Whether the dissector in use is the compiled one."""

Octets = bytes  # `Reader.bytes` has the name within the class

_BUFFER = 1 << 19  # anything from 256 KiB to 2 MiB is as fast, 8 MiB is slower
_RECORD_HEADER = 16
_FIRST_ROWS = 8192
# Room is made for this many times the rows so far: less often wrong where the source's size tells how many will come.
_GROWTH_KNOWN = 8
_GROWTH_UNKNOWN = 2
_ROWS_TO_EXPECT_FROM = 65_536
_NO_LIMIT = 1 << 62
_WORTH_A_THREAD = 8 << 20
_MOST_VALUES = 65_536  # of one dictionary, in a stream whose rows are not kept
_HEADROOM = 1 << 18  # room for the first part of a record that goes on in the next buffer

_NOT_A_RECORD = {
    _dissect.REASONS["oversized"]: "the next record claims more bytes than a packet can have",
    _dissect.REASONS["zeros"]: "zeros follow, as a hole in the file leaves them",
    _dissect.REASONS["bad block"]: "the next block's lengths contradict each other",
    _dissect.REASONS["no interface"]: "the next packet is of an interface that was not described",
}
_LARGEST_BLOCK = 1 << 24
_WINDOW = 1 << 20
_SMALLEST_BLOCK = 12


class Reader:
    """Reads a capture into one table, all at once or as it arrives.

    Iterating yields a frame of whatever packets each read of the source completed, and waits for no more; `frame()` is
    everything so far. An error or an interrupt on the way loses nothing: what was read stays in `frame()`, and reading
    can go on.

    Parameters
    ----------
    source
        A path, the bytes of a capture, or a binary stream. A path is opened here, and closed at the capture's end. Or a
        pattern (`ring.pcap*`), a URL that fsspec opens, or a list of any of these, read as one capture.
    count
        Stop after that many packets.
    columns
        Names of the columns that frames have, any of `schema.COLUMNS` and `schema.LAYERS`; by default the former.
    layers
        Names of `schema.LAYERS`, whose columns are added.
    decap
        Let the columns describe the packet inside a tunnel, and `outer_src` and its like what is outermost.
    resync
        Where a capture is damaged, go on with the next bytes that look like records.
    threads
        2 reads large files ahead in a thread of its own, 1 does not. By default 2 where two processors may be used and
        are not busy.
    filter, start, stop, sample, seed
        Which packets become rows: see `podtracer_nb.packets.Selection`. `count` counts these. They keep their number
        and offset in the capture. Bytes are filtered before anything is made of them.

    Raises
    ------
    FilterError
        The filter cannot be compiled, told when the link type is known.
    FormatError
        When the first bytes are read and are no capture's: pcap of any kind or pcapng, also compressed by gzip,
        Zstandard or LZ4.
    OSError
        When the path cannot be opened, or the source not be read.
    ValueError
        When `count` is negative, there is no such column or layer, or a value of the selection cannot be right.

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

    def __init__(
        self,
        source: Source,
        *,
        count: int | None = None,
        columns: Sequence[str] | None = None,
        layers: Sequence[str] | None = None,
        decap: bool = False,
        resync: bool = False,
        threads: int | None = None,
        filter: str | None = None,
        start: Moment = None,
        stop: Moment = None,
        sample: float | None = None,
        seed: int = 0,
    ) -> None:
        if count is not None and count < 0:
            raise ValueError(f"count is {count}, and a number of packets cannot be negative")
        self._selection = Selection(filter, start, stop, sample, seed)
        self._wanted = schema.chosen(columns, [*(layers or ()), "tunnel"] if decap and columns is None else layers)
        _warn_if_interpreted()
        self._sources = in_turn(source)
        self._several = len(self._sources) > 1
        self._total = total_size(self._sources)
        self._bytes_in = 0
        self._input = Input(self._sources.pop(0))
        self._looked = False
        self._comments: dict[int, str] = {}
        self._files: list[dict[str, Any]] = []
        self._before = 0  # packets of the files before this one
        self._bytes_before = 0
        self._count = count
        self._threads = _idle_processors() if threads is None else threads
        self._ahead: ReadAhead | None = None
        self._header: PcapHeader | PcapngFormat | None = None
        self._head = b""
        self._dictionaries = Dictionaries(_dissect)
        self._dissector: Any = _dissect.Dissector(self._dictionaries)
        self._decap = decap
        self._resync = resync
        self._gaps: list[dict[str, Any]] = []
        self._all_columns = columns is None
        self._stored = [entry for entry in self._wanted if entry is not schema.COMMENT]
        self._memory = ColumnMemory(self._dissector, self._dictionaries, self._stored, decap)
        self._dissector.open_tunnels(decap)
        self._programs = self._selection.tell(self._dissector, _dissect) if self._selection else None
        self._memory.number_rows(bool(self._selection))
        self._memory.grow(0, 1, huge=False)
        self._buffer = memoryview(b"")
        self._lent: int | None = None  # the buffer read ahead that is dissected now
        self._forgotten = 0  # packets whose rows were given away and written over
        self._yielded = 0
        self._ended = False
        self._last_bytes = 0
        self._lacking: set[int] = set()
        self._damage: dict[str, Any] | None = None
        self._damage_here: dict[str, Any] | None = None
        self._frame: pd.DataFrame | None = None

    @property
    def packets(self) -> int:
        """How many packets have been read into rows."""
        return self._forgotten + int(self._dissector.row)

    @property
    def walked(self) -> int:
        """How many packets of the capture have been read, whether they became rows or not."""
        return int(self._dissector.walked) if self._selection else self.packets

    @property
    def bytes(self) -> int:
        """How many bytes of the capture the packets so far and its header take."""
        return self._bytes_before + (self._last_bytes if self._ended else self._position)

    @property
    def _position(self) -> int:
        """Where in its file the dissector is."""
        return int(self._dissector.base + self._dissector.position) if self._header else 0

    def capture_info(self) -> dict[str, Any]:
        """Return what is known of the capture, as it stands in `frame.attrs["podtracer"]["capture"]`.

        Returns
        -------
        dict
            format, linktype, linktype_name, snaplen, resolution ("us" or "ns"), byte_order: None until the header was
            read. packets and bytes so far, path (None for bytes, streams and several files), compression, damage: None,
            or its offset in bytes and the reason, and the gaps that were passed over. pcapng: interfaces, a list of
            what is known of each, drops among it; names, of its name resolution blocks. Several files: files, the same
            of each, and its first_frame. With a selection: selection, what was asked for, and how
            many packets became rows.
        """
        info = self._header_info() | {
            "packets": self.walked,
            "bytes": self.bytes,
            "path": None if self._several else self._input.path,
            "compression": self._input.compression,
            "damage": dict(self._damage) if self._damage else None,
        }
        if self._selection:
            info["selection"] = {**self._selection.info(), "packets": self.packets}
        if self._several:
            going = [] if self._ended else [self._file_info()]
            info["files"] = [dict(each) for each in self._files + going]
        return info

    def _header_info(self) -> dict[str, Any]:
        header = self._header
        if isinstance(header, PcapngFormat):
            return header.info()
        return {
            "format": header.format if header else None,
            "linktype": header.linktype if header else None,
            "linktype_name": header.linktype_name if header else None,
            "snaplen": header.snaplen if header else None,
            "resolution": header.resolution if header else None,
            "byte_order": header.byte_order if header else None,
        }

    def _file_info(self) -> dict[str, Any]:
        return self._header_info() | {
            "path": self._input.path,
            "compression": self._input.compression,
            "first_frame": self._before + 1,
            "packets": self.walked - self._before,
            "damage": self._damage_here,
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
                yield self.take(keep=keep)
            if not more:
                return

    @property
    def fresh(self) -> int:
        """How many packets have been read and not been yielded, taken or dropped."""
        return self.packets - self._yielded

    def take(self, *, keep: bool = False) -> pd.DataFrame:
        """Return the packets read since the last time, and give their memory to the next ones; see `chunks`."""
        chunk = self._make_frame(self._yielded - self._forgotten, copy=True)
        self.drop(keep=keep)
        return chunk

    def drop(self, *, keep: bool = False) -> None:
        """Go on as if the packets read so far had been taken."""
        self._yielded = self.packets
        if keep or self._ended:
            return
        self._memory.forget()
        self._forgotten = self._yielded
        self._dissector.row = self._dissector.limit = 0
        if self._dictionaries.renew(_MOST_VALUES):
            self._dissector.renew(self._dictionaries)

    def read_all(self) -> Self:
        """Read to the capture's end, or to `count` packets."""
        if self._header is None:
            self._begin()
        left = (self._input.size or 0) - self._position
        if self._ahead is None and self._input.path and self._threads > 1 and left > _WORTH_A_THREAD:
            self._ahead = ReadAhead(self._input.readinto, _HEADROOM)
        while self._advance(None, pump=self._input.whole is None and self._ahead is None):
            pass
        return self

    def begin(self) -> None:
        """Read the header, if that was not done: what is no capture is told now."""
        if self._header is None:
            self._begin()

    def row_groups(self, rows: int) -> RowGroups:
        """Return a way to have the packets in groups of `rows` straight from column memory; for nothing else then."""
        return RowGroups(self, rows)

    @property
    def decapsulated(self) -> bool:
        """Whether columns describe what is inside a tunnel."""
        return self._decap

    @property
    def may_have_comments(self) -> bool:
        """Whether frames of this capture can have the column `comment`."""
        return schema.COMMENT in self._wanted or (isinstance(self._header, PcapngFormat) and self._all_columns)

    @property
    def comments(self) -> dict[int, str]:
        """The comments of packets, by their numbers."""
        return self._comments

    @property
    def total(self) -> int | None:
        """How many bytes all captures are on disk together, where that is known; see `bytes_in`."""
        return self._total

    @property
    def bytes_in(self) -> int:
        """How many bytes of `total` have been read: of compressed captures, before they are decompressed."""
        return self._bytes_in + self._input.consumed(self._position) if not self._ended else self._bytes_in

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
                wrong = self._leftover()
                if wrong is None or not self._go_on(wrong):
                    self._end(wrong)
        return False

    def _begin(self) -> None:
        """Read the capture's header."""
        if not self._looked:
            self._input.open_compressed()
            self._looked = True
        whole = self._input.whole
        if whole is not None:
            self._head = bytes(whole[:HEADER_SIZE])
        while whole is None and len(self._head) < HEADER_SIZE:
            part = bytearray(HEADER_SIZE - len(self._head))
            got = self._input.readinto(memoryview(part))
            if got == 0:
                break
            self._head += part[:got]
        if not self._head and self._input.trouble is not None:
            raise FormatError(f"{self._input.name} cannot be read: {self._input.trouble}")
        self._header = self._format(self._head)
        if self._programs is not None and isinstance(self._header, PcapHeader):
            self._programs.use([self._header.linktype])
        done = 0 if isinstance(self._header, PcapngFormat) else HEADER_SIZE
        if whole is None:
            self._buffer = aligned(_BUFFER)
            self._buffer[: len(self._head) - done] = self._head[done:]
            self._dissector.attach(self._buffer, len(self._head) - done)
        else:
            self._dissector.attach(whole[done:], len(whole) - done)
        if self._memory.capacity <= 1:
            self._grow()

    def _format(self, head: Octets) -> PcapHeader | PcapngFormat:
        """Tell the dissector what the first bytes say."""
        if head[:4] == pcapng.MAGIC:
            try:
                pcapng.section_order(head)
            except FormatError as error:
                raise FormatError(f"{self._input.name} begins as pcapng does, and goes on with {error}") from None
            self._dissector.begin(_dissect.LINKS["none"], False, 1, 0, 0)
            self._dissector.begin_blocks(False, 0)
            return PcapngFormat()
        name = self._input.name
        header = PcapHeader.parse(
            head, f"{name}, {self._input.compression}-compressed," if self._input.compression else name
        )
        self._dissector.begin(
            _dissect.LINKS[header.link],
            header.byte_order == "big",
            header.nanoseconds_per_unit,
            header.largest_record,
            HEADER_SIZE,
            header.record_header,
        )
        return header

    def _block(self) -> str | None:
        """Read the pcapng block that is next, which has no packet. Return what is missing or wrong, if anything is."""
        dissector, section = self._dissector, cast(PcapngFormat, self._header)
        start = dissector.peek(_SMALLEST_BLOCK)
        try:
            order = pcapng.section_order(start) if start[:4] == pcapng.MAGIC else section.order
            kind, size = struct.unpack_from(order + "II", start)
            if size < _SMALLEST_BLOCK or size % 4 or (size > _LARGEST_BLOCK and not section.is_packets(kind)):
                return "the next block's length cannot be right"
            block = dissector.peek(size)
            if len(block) < size:
                return "bytes"
            if struct.unpack_from(order + "I", block, size - 4)[0] != size:
                return _NOT_A_RECORD[_dissect.REASONS["bad block"]]
            if kind == pcapng.SECTION_HEADER:
                section.begin(order)
                dissector.begin_blocks(order == ">", section.largest)
            elif kind == pcapng.INTERFACE:
                while not self._dictionaries.room_for_interface():
                    self._make_room()
                added = section.describe(block)
                link = LINKTYPES[added.linktype][1] if added.linktype in LINKTYPES else "none"
                section.interfaces.add(added, _dissect.LINKS[link], self._dictionaries.interface(added.name))
                if self._programs is not None:
                    self._programs.use([each.linktype for each in section.interfaces.listed])
                dissector.describe(section.interfaces.memory, len(section.interfaces.listed), section.largest)
            else:
                section.take(kind, block)
        except FormatError as error:
            return str(error)
        dissector.skip(size)
        return None

    def _make_room(self) -> None:
        self._dictionaries.make_room()
        self._memory.widen()

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
                self._make_room()
            elif reason == _dissect.REASONS["options"]:
                self._comment()
            elif reason == _dissect.REASONS["other block"]:
                wrong = self._block()
                if wrong == "bytes":
                    return bool(dissector.row > before)
                if wrong is not None and not self._go_on(wrong):
                    self._end(wrong)
                    break
            elif reason != _dissect.REASONS["rows"]:
                if self._go_on(_NOT_A_RECORD[reason]):
                    continue
                self._end(_NOT_A_RECORD[reason])
                break
        if self._count is not None and self.packets >= self._count:
            self._end(None)
        return bool(dissector.row > before)

    def _comment(self) -> None:
        """Keep the comments of the packet read last."""
        text = pcapng.comments(self._dissector.options(), cast(PcapngFormat, self._header).order)
        if text is not None:
            self._comments[self.walked] = text

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

    def _go_on(self, reason: str) -> bool:
        """Look for the next record after damage, where that was asked for; return whether there is one."""
        dissector, header = self._dissector, self._header
        if not self._resync or header is None:
            return False
        seconds = self._memory.second(dissector.row - 1) if dissector.row else None
        if isinstance(header, PcapngFormat):
            search = Plausible(header.order, 0, header.largest)
        else:
            order = ">" if header.byte_order == "big" else "<"
            search = Plausible(order, header.record_header, header.largest_record, header.nanoseconds_per_unit, seconds)
        start = self._position
        # The damaged place itself is what was no record.
        while True:
            data = dissector.peek(_WINDOW)
            there = dissector.filled - dissector.position
            ended = False
            if there < _WINDOW:
                ended = self._refill() == 0
                if not ended:
                    continue
            place = search.find(data, ended)
            if place is not None:
                dissector.skip(place)
                self._gaps.append({"offset": start, "reason": reason, "until": self._position})
                return True
            if ended:
                return False
            dissector.skip(_WINDOW // 2)

    def _leftover(self) -> str | None:
        """Say what is wrong with bytes that are left at the end, if any are."""
        left = self._dissector.filled - self._dissector.position
        if self._input.trouble is not None:
            return self._input.trouble
        if left == 0:
            return None
        if isinstance(self._header, PcapngFormat):
            return f"the last block is cut short: {left} bytes of it are there"
        if left < self._record_header:
            return f"the last record is cut short inside its header: {left} of {self._record_header} bytes"
        return f"the last record is cut short: {left - self._record_header} bytes of its packet are there"

    @property
    def _record_header(self) -> int:
        return self._header.record_header if isinstance(self._header, PcapHeader) else _RECORD_HEADER

    def _end(self, reason: str | None) -> None:
        """Note that this file has no more, and why; go on with the next one, if there is one."""
        self.close()
        self._buffer = memoryview(b"")
        offset = self._position
        self._dissector.attach(self._buffer, 0)
        gaps, self._gaps = self._gaps, []
        if gaps or reason is not None:
            self._damage_here = {"offset": offset, "reason": reason}
            kept = f"the {self.walked - self._before} whole packets before it were kept"
            if gaps:
                self._damage_here = {"offset": gaps[0]["offset"], "reason": gaps[0]["reason"], "gaps": gaps}
                lost = sum(gap["until"] - gap["offset"] for gap in gaps)
                places = "one place" if len(gaps) == 1 else f"{len(gaps)} places"
                kept = f"reading went on after {lost} bytes in {places}, and kept {self.walked - self._before} packets"
                if reason is not None:
                    kept += f", up to byte {offset}: {reason}"
            self._damage = self._damage or self._damage_here
            warnings.warn(
                f"{self._input.name} is damaged at byte {self._damage_here['offset']}: {self._damage_here['reason']}; "
                f"{kept}",
                DamageWarning,
                stacklevel=4,
            )
        self._warn_of_linktypes()
        if self._several:
            self._files.append(self._file_info())
        self._bytes_in += self._input.consumed(offset)
        finished = self._count is not None and self.packets >= self._count
        if self._sources and not finished:
            self._bytes_before += offset
            self._before = self.walked
            self._next_file()
        else:
            self._ended = True
            self._last_bytes = offset

    def _next_file(self) -> None:
        """Open the next file; one that is no capture is passed over with a warning."""
        while self._sources:
            self._damage_here = None
            self._header, self._head, self._looked = None, b"", False
            try:
                self._input = Input(self._sources.pop(0))
                self._begin()
            except FormatError as error:
                self._input.close()
                self._header = None
                self._files.append(
                    {"path": self._input.path, "packets": 0, "damage": {"offset": 0, "reason": str(error)}}
                )
                warnings.warn(f"{error}; it was passed over", DamageWarning, stacklevel=6)
                continue
            return
        self._ended = True
        self._last_bytes = 0

    def _warn_of_linktypes(self) -> None:
        """Say once which link types are not dissected."""
        lacking = {number for number in self._linktypes() if number not in LINKTYPES} - self._lacking
        if lacking and self.walked > self._before:
            self._lacking |= lacking
            listed = ", ".join(f"{linktype_name(number)} ({number})" for number in sorted(lacking))
            warnings.warn(
                f"{self._input.name} has packets of link type {listed}, which is not dissected: they have their time "
                "and lengths only",
                LinktypeWarning,
                stacklevel=5,
            )

    def _linktypes(self) -> list[int]:
        if isinstance(self._header, PcapngFormat):
            return [each.linktype for each in self._header.all_interfaces]
        return [self._header.linktype] if self._header else []

    # --------------------------------------------------------------------------------------- rows and frames

    def _grow(self) -> None:
        """Make room for more rows: about as many as the source will have, where its size is known."""
        rows: int = self._dissector.row
        size = self._input.size
        huge = False
        if size is None or self._forgotten or self._position >= size or self._before:
            capacity = max(_FIRST_ROWS, rows * _GROWTH_UNKNOWN)
        elif rows == 0:
            capacity = min(_FIRST_ROWS, size // _RECORD_HEADER)
        else:
            # What the mean size of the packets so far foretells; that of 65,536 of them is rarely off by a hundredth.
            expected = int(rows / self._position * size * 1.012) + 256
            if rows < _ROWS_TO_EXPECT_FROM:
                expected = min(expected, rows * _GROWTH_KNOWN)
            capacity = max(expected, rows + rows // 8 + 1)
            huge = True
        if self._count is not None:
            capacity = min(capacity, self._count - self._forgotten)
        self._memory.grow(rows, max(1, capacity), huge)

    def _make_frame(self, start: int, copy: bool) -> pd.DataFrame:
        stop: int = self._dissector.row
        index: pd.Index[Any] = pd.RangeIndex(self._forgotten + start + 1, self._forgotten + stop + 1, name=INDEX)
        if self._selection:
            index = pd.Index(self._memory.numbers(start, stop).copy(), name=INDEX)
        frame = pd.DataFrame(self._memory.arrays(start, stop, copy), index=index, copy=False)
        if self._decap:
            frame.columns = pd.Index([schema.DECAPSULATED.get(name, name) for name in frame.columns])
        commented = {number: text for number, text in self._comments.items() if number in index}
        if schema.COMMENT in self._wanted or (commented and self._all_columns):
            frame["comment"] = pd.Series(commented, dtype="str").reindex(index)
        frame.attrs["podtracer"] = {"capture": self.capture_info()}
        return frame


class RowGroups:
    """The packets of a reader in groups of equal size, in two memories that take turns.

    `fill` dissects into one of them while what is in the other is used up; `turn` exchanges the two.

    Attributes
    ----------
    rows, first
        How many packets are in `memory`, and the number of the first (where all are taken).
    memory
        Their columns.
    dictionaries
        What codes stand for.
    """

    def __init__(self, reader: Reader, rows: int) -> None:
        self._reader = reader
        self._most = rows
        self.dictionaries = reader._dictionaries
        self._other = ColumnMemory(reader._dissector, reader._dictionaries, reader._stored, reader._decap)
        for memory in (self._other, reader._memory):
            memory.number_rows(bool(reader._selection))
            memory.grow(0, rows, huge=False)

    @property
    def rows(self) -> int:
        """How many packets are in `memory`."""
        return int(self._reader._dissector.row)

    @property
    def first(self) -> int:
        """The number of the first of them."""
        return self._reader._forgotten + 1

    @property
    def memory(self) -> ColumnMemory:
        """The columns."""
        return self._reader._memory

    def fill(self, part: float = 1.0) -> bool:
        """Dissect until that part of the memory is full; return False when the capture ends before.

        An interrupt loses nothing.
        """
        reader = self._reader
        most = max(1, int(self._most * part))
        while self.rows < most:
            if not reader._advance(most - self.rows, pump=reader._input.whole is None):
                return False
        return True

    def release(self) -> None:
        """Hand the pages of the other memory back: what was in it has been used up."""
        self._other.release()

    def turn(self, most: int) -> bool:
        """Go on in the other memory; begin tables again that have more than `most` entries, and return whether any."""
        reader = self._reader
        reader._forgotten += self.rows
        for number in [each for each in reader._comments if each <= reader.walked]:
            del reader._comments[number]
        reader._dissector.row = reader._dissector.limit = 0
        renewed = self.dictionaries.renew(most)
        if renewed:
            reader._dissector.renew(self.dictionaries)
        reader._memory, self._other = self._other, reader._memory
        reader._memory.take_over()
        return renewed


def read(
    source: Source,
    *,
    count: int | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
    resync: bool = False,
    threads: int | None = None,
    filter: str | None = None,
    start: Moment = None,
    stop: Moment = None,
    sample: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Read a capture into one frame.

    Parameters
    ----------
    source
        A path, a pattern, a URL, the bytes of a capture, a binary stream, which is read to its end, or a list: see
        `Reader`.
    count
        Stop after that many packets.
    columns, layers, decap, resync, threads, filter, start, stop, sample, seed
        See `Reader`.

    Returns
    -------
    pandas.DataFrame
        One row a packet, the columns of `podtracer_nb.packets.schema.COLUMNS`, indexed by the packet's number from 1.
        `attrs["podtracer"]["capture"]` says what is known of the capture, see `Reader.capture_info`.

    Raises
    ------
    FormatError
        When it is not a capture; the message says what it looks like.
    OSError
        When it cannot be opened or read.

    Warns
    -----
    DamageWarning
        When the capture ends inside a packet or goes on with something that is none. Whole packets are kept.
    LinktypeWarning
        When the packets of a link type have their time and lengths only.

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
    with Reader(
        source,
        count=count,
        columns=columns,
        layers=layers,
        decap=decap,
        resync=resync,
        threads=threads,
        filter=filter,
        start=start,
        stop=stop,
        sample=sample,
        seed=seed,
    ) as reader:
        return reader.read_all().frame()


def stream(
    source: Source,
    *,
    rows: int | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
) -> Iterator[pd.DataFrame]:
    """Yield frames of packets as they arrive, in constant memory.

    A frame has whatever packets one read of the source completed; it is not waited for more. Packet numbers go on from
    frame to frame; addresses and names share one dictionary within a frame.

    Parameters
    ----------
    source
        As for `read`: mostly a pipe or a socket.
    rows
        The most packets in one frame.
    columns, layers, decap
        See `Reader`.

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
    with Reader(source, columns=columns, layers=layers, decap=decap) as reader:
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
        if kind_of(os.pread(file.fileno(), MAGIC_SIZE, 0)):
            return _raw_compressed(path, offset, caplen)
        if offset + caplen > size:
            raise FormatError(
                f"{os.fspath(path)} ends at byte {size}, before the packet at {offset} of {caplen} bytes: "
                "is it the file that the frame was read from?"
            )
        return os.pread(file.fileno(), caplen, offset)


def _raw_compressed(path: str | os.PathLike[str], offset: int, caplen: int) -> bytes:
    """Return one packet's bytes from a compressed capture, which has to be read up to there."""
    source = Input(path)
    try:
        source.open_compressed()
        room = memoryview(bytearray(_BUFFER))
        left, data = offset, b""
        while len(data) < caplen:
            got = source.readinto(room)
            if got == 0:
                raise FormatError(f"{source.name} ends before the packet at {offset} of {caplen} bytes")
            passed = min(got, left)
            left -= passed
            data += room[passed : min(got, passed + caplen - len(data))]
        return data
    finally:
        source.close()


def locate(frame: pd.DataFrame, number: int) -> tuple[str, int, int]:
    """Return where a packet's bytes are: the file, and offset and size in it, for `raw`.

    Parameters
    ----------
    frame
        What `read` returned of a path, a list of paths or a pattern.
    number
        The packet's number: its label in the index.

    Raises
    ------
    KeyError
        No such packet in the frame.
    ValueError
        The capture came from bytes or a stream.

    Examples
    --------
    >>> from podtracer_nb import packets
    >>> frame = packets.read("ring.pcap*")  # doctest: +SKIP
    >>> packets.raw(*packets.locate(frame, 7))  # doctest: +SKIP
    """
    capture = frame.attrs["podtracer"]["capture"]
    path = capture["path"]
    for each in capture.get("files", ()):
        if each["packets"] and each["first_frame"] <= number < each["first_frame"] + each["packets"]:
            path = each["path"]
    if path is None:
        raise ValueError("the capture came from bytes or a stream: write it to a file to have its packets at hand")
    return path, int(frame.loc[number, "offset"]), int(frame.loc[number, "caplen"])  # type: ignore[arg-type]


def in_turn(source: Source | list[Source]) -> list[Source]:
    """Return the single sources: a list's in its order, a pattern's files as their first packets are in time."""
    if isinstance(source, list | tuple):
        return [single for each in source for single in in_turn(each)] or each_source(source)
    found = each_source(source)
    if len(found) < 2:  # noqa: PLR2004 - nothing to be ordered
        return found
    # tcpdump -C -W goes round: the first name may have the newest packets.
    first = [_first_time(each) for each in found]
    return [each for _, each in sorted(zip(first, found, strict=True), key=lambda pair: pair[0])]


def _first_time(source: Source) -> pd.Timestamp:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            frame = Reader([source], count=1).read_all().frame()
        except FormatError:
            return pd.Timestamp.max.tz_localize("UTC")
    return (
        frame["time"].iloc[0]
        if len(frame) and not pd.isna(frame["time"].iloc[0])
        else pd.Timestamp.max.tz_localize("UTC")
    )


def _idle_processors() -> int:
    """Return how many processors may be used, 1 where there is more to do already than they can."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if os.getloadavg()[0] < usable else 1


@functools.cache
def _warn_if_interpreted() -> None:
    if not compiled:
        warnings.warn(
            "the packet dissector runs interpreted, at about 25,000 packets/s instead of millions: "
            "install a C compiler and reinstall podtracer-nb",
            InterpretedWarning,
            stacklevel=4,
        )
