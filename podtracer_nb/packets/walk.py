"""The way through captures, one after the other: their bytes in, the rows of a table out."""

from __future__ import annotations

import functools
import struct
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

from podtracer_nb.packets import _dissect, pcapng, provenance, schema, two_threads
from podtracer_nb.packets.capture_format import (
    HEADER_SIZE,
    LINKTYPES,
    DamageWarning,
    FormatError,
    LinktypeWarning,
    PcapHeader,
)
from podtracer_nb.packets.columns import ColumnMemory
from podtracer_nb.packets.dictionaries import Dictionaries
from podtracer_nb.packets.pcapng import PcapngFormat
from podtracer_nb.packets.resync import Plausible
from podtracer_nb.packets.selection import Selection
from podtracer_nb.packets.source import Input, Source, aligned
from podtracer_nb.packets.two_threads import TwoThreads, idle_processors

__all__ = ["Walk"]

Octets = bytes  # `Walk.bytes` has the name within the class

_COMMENT_BYTES = 200  # of one, beside its text
_BUFFER = 1 << 19  # anything from 256 KiB to 2 MiB is as fast, 8 MiB is slower
_SMALLEST_RECORD = 16
_FIRST_ROWS = 8192
# Room is made for this many times the rows so far: less often wrong where the source's size tells how many will come.
_GROWTH_KNOWN = 8
_GROWTH_UNKNOWN = 2
_ROWS_TO_EXPECT_FROM = 65_536
_NO_LIMIT = 1 << 62
_WORTH_TWO_THREADS = 8 << 20

_NOT_A_RECORD = {
    _dissect.REASONS["oversized"]: "the next record claims more bytes than a packet can have",
    _dissect.REASONS["zeros"]: "zeros follow, as a hole in the file leaves them",
    _dissect.REASONS["bad block"]: "the next block's lengths contradict each other",
    _dissect.REASONS["no interface"]: "the next packet is of an interface that was not described",
}
_LARGEST_BLOCK = 1 << 24
_WINDOW = 1 << 20
_SMALLEST_BLOCK = 12


class Walk:
    """A walk through captures that dissects their packets into the memory of one table.

    Parameters
    ----------
    sources
        Single ones, in their order.
    columns
        What the table has, comments apart.
    selection
        Which packets become rows.
    count, decap, resync, threads
        See `podtracer_nb.packets.Reader`.
    """

    def __init__(
        self,
        sources: list[Source],
        columns: Sequence[schema.Column],
        selection: Selection,
        *,
        count: int | None,
        decap: bool,
        resync: bool,
        threads: int | None,
    ) -> None:
        self._selection = selection
        self._sources = sources
        self._several = len(sources) > 1
        self._bytes_in = 0
        self._input = Input(self._sources.pop(0))
        self._comments: dict[int, str] = {}
        self._comment_bytes = 0  # about, in Python and in Arrow
        self._files: list[dict[str, Any]] = []
        self._before = 0  # packets of the files before this one
        self._bytes_before = 0
        self._count = count
        self._threads = idle_processors() if threads is None else threads
        self._header: PcapHeader | PcapngFormat | None = None
        self._head = b""
        self._dictionaries = Dictionaries(_dissect)
        self._dissector: Any = _dissect.Dissector(self._dictionaries)
        self._decap = decap
        self._resync = resync
        self._gaps: list[dict[str, Any]] = []
        self._stored = columns
        self._memory = ColumnMemory(self._dissector, self._dictionaries, columns, decap)
        self._dissector.open_tunnels(decap)
        self._programs = self._selection.tell(self._dissector, _dissect) if self._selection else None
        self._memory.number_rows(bool(self._selection))
        self._memory.grow(0, 1, huge=False)
        self._buffer = memoryview(b"")
        self._two: TwoThreads | None = None
        self._two_from = 0  # alone up to here
        self._forgotten = 0  # packets whose rows were given away and written over
        self._ended = False
        self._last_bytes = 0
        self._lacking: set[int] = set()
        self._damage: dict[str, Any] | None = None
        self._damage_here: dict[str, Any] | None = None

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
        info = provenance.header_info(self._header) | {
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

    def _file_info(self) -> dict[str, Any]:
        return provenance.header_info(self._header) | {
            "path": self._input.path,
            "compression": self._input.compression,
            "first_frame": self._before + 1,
            "packets": self.walked - self._before,
            "damage": self._damage_here,
        }

    def read_all(self) -> Self:
        """Read to the capture's end, or to `count` packets."""
        self.begin()
        more = True
        while more:
            two = self._worth_two_threads()
            more = self._advance(_ROWS_TO_EXPECT_FROM if two else None, pump=self._input.whole is None)
            if two and more:
                self._dissect_in_two_threads()
        return self

    def _worth_two_threads(self) -> bool:
        return (
            self._threads > 1
            and bool(_dissect.compiled)
            and not self._selection
            and (self._input.descriptor is not None or self._input.whole is not None)
            and (self._input.size or 0) - max(self._position, self._two_from) > _WORTH_TWO_THREADS
        )

    def _dissect_in_two_threads(self) -> None:
        """Let two threads go on, until there is something unusual."""
        if self._two is None:
            self._two = TwoThreads(_dissect, self._dissector, self._dictionaries, self._memory)
        ended = self._position < self._two_from or self._header is None
        while not ended and (self._count is None or self.packets < self._count):
            if self._memory.capacity - self._dissector.row < _ROWS_TO_EXPECT_FROM:
                self._grow()
            done = self._two.run(self._position, self._input.descriptor, self._input.seek)
            for row, options in sorted(done.comments.items()):
                self._comment(self._forgotten + row, options)
            ended = done.ended
        self._two_from = self._position + _WORTH_TWO_THREADS

    def begin(self) -> None:
        """Read the header, if that was not done: what is no capture is told now."""
        if self._header is None:
            self._begin()

    def close(self) -> None:
        """Close the file, where one was opened here."""
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
                left = self._dissector.filled - self._dissector.position
                wrong = self._input.trouble or provenance.leftover(self._header, left)
                if wrong is None or not self._go_on(wrong):
                    self._end(wrong)
        return False

    def _begin(self) -> None:
        """Read the capture's header."""
        if not self._head:
            self._head = self._input.look()
        whole = self._input.whole
        if whole is not None:
            self._head = bytes(whole[:HEADER_SIZE])
        while whole is None and len(self._head) < HEADER_SIZE:
            part = bytearray(HEADER_SIZE - len(self._head))
            got = self._input.readinto(memoryview(part))
            if got == 0:
                break
            self._head += part[:got]
        if len(self._head) < HEADER_SIZE and self._input.trouble is not None:
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
            whole = self._input.whole is not None  # a list of captures may have both kinds
            reason = dissector.run() if whole or not pump else dissector.pump(self._input.readinto, self._buffer)
            if reason == _dissect.REASONS["bytes"]:
                return bool(dissector.row > before)
            if self._mended(reason):
                continue
            if reason == _dissect.REASONS["other block"]:
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

    def _mended(self, reason: int) -> bool:
        """Give the dissector what it lacks, or take what it has, where that is all that stopped it."""
        if reason == _dissect.REASONS["tables"]:
            self._make_room()
        elif reason == _dissect.REASONS["cut"]:
            self._memory.keep_caplen(self._dissector.row)
        elif reason == _dissect.REASONS["options"]:
            self._comment(self.walked, self._dissector.options())
        else:
            return False
        return True

    def _comment(self, number: int, options: Octets) -> None:
        """Keep the comments of a packet."""
        text = pcapng.comments(options, cast(PcapngFormat, self._header).order)
        if text is not None:
            self._comments[number] = text
            self._comment_bytes += _COMMENT_BYTES + 4 * len(text)

    def _refill(self) -> int:
        """Read once, to after the bytes that wait for the rest of their record; return how many came, 0 at the end."""
        if self._input.whole is not None:
            return 0
        dissector = self._dissector
        dissector.compact(self._buffer)
        if dissector.filled == len(self._buffer):
            # A record larger than the buffer. It grows with what has come, not with what the record claims.
            larger = aligned(2 * len(self._buffer))
            larger[: dissector.filled] = self._buffer
            dissector.attach(larger, dissector.filled)
            self._buffer = larger
        return int(dissector.take(self._input.readinto, self._buffer[dissector.filled :]))

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

    def _end(self, reason: str | None) -> None:
        """Note that this file has no more, and why; go on with the next one, if there is one."""
        self.close()
        self._buffer = memoryview(b"")
        offset = self._position
        self._dissector.attach(self._buffer, 0)
        gaps, self._gaps = self._gaps, []
        if gaps or reason is not None:
            self._damage_here, kept = provenance.damage(offset, reason, gaps, self.walked - self._before)
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
            self._header, self._head, self._two_from = None, b"", 0
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
        lacking = {number for number in provenance.linktypes(self._header) if number not in LINKTYPES} - self._lacking
        if lacking and self.walked > self._before:
            self._lacking |= lacking
            warnings.warn(
                f"{self._input.name} has packets of link type {provenance.named(lacking)}, which is not "
                "dissected: they have their time and lengths only",
                LinktypeWarning,
                stacklevel=5,
            )

    # --------------------------------------------------------------------------------------------------- rows

    def _grow(self) -> None:
        """Make room for more rows: about as many as the source will have, where its size is known."""
        rows: int = self._dissector.row
        size = self._input.size
        huge = False
        if size is None or self._forgotten or self._position >= size or self._before:
            capacity = max(_FIRST_ROWS, rows * _GROWTH_UNKNOWN)
        elif rows == 0:
            capacity = min(_FIRST_ROWS, size // _SMALLEST_RECORD)
        else:
            # What the mean size of the packets so far foretells; that of 65,536 of them is rarely off by a hundredth.
            expected = int(rows / self._position * size * 1.012) + 256
            if rows < _ROWS_TO_EXPECT_FROM:
                expected = min(expected, rows * _GROWTH_KNOWN)
            capacity = max(expected, rows + rows // 8 + 1)
            huge = True
        if self._count is not None:
            capacity = min(capacity, self._count - self._forgotten)
        prepare = None
        if huge and capacity > _ROWS_TO_EXPECT_FROM * _GROWTH_KNOWN and self._worth_two_threads():
            prepare = functools.partial(two_threads.touch, _dissect)
        self._memory.grow(rows, max(1, capacity), huge, prepare)
