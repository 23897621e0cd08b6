"""Captures to frames: whole files, and streams that are still growing."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from podtracer_nb.packets import _dissect, schema
from podtracer_nb.packets.capture_format import FormatError, InterpretedWarning
from podtracer_nb.packets.columns import MASK_OF
from podtracer_nb.packets.copy_on_write import one_mask
from podtracer_nb.packets.packet_bytes import locate, raw
from podtracer_nb.packets.pcapng import PcapngFormat
from podtracer_nb.packets.row_groups import RowGroups
from podtracer_nb.packets.schema import INDEX
from podtracer_nb.packets.selection import Moment, Selection
from podtracer_nb.packets.source import Source, each_source, total_size
from podtracer_nb.packets.walk import Walk

__all__ = ["Reader", "compiled", "locate", "raw", "read", "stream"]

_MOST_VALUES = 65_536  # of one dictionary, in a stream whose rows are not kept

compiled: bool = _dissect.compiled
"""Whether the dissector in use is the compiled one."""


class Reader(Walk):
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
        2 lets two threads dissect what is large and all there, a file or bytes, as long as it is neither compressed nor
        selected from; the result is the same. By default 2 where two processors may be used and are not busy.
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
        selection = Selection(filter, start, stop, sample, seed)
        self._wanted = schema.chosen(columns, [*(layers or ()), "tunnel"] if decap and columns is None else layers)
        self._all_columns = columns is None
        _warn_if_interpreted()
        sources = in_turn(source)
        self._total = total_size(sources)
        stored = [entry for entry in self._wanted if entry is not schema.COMMENT]
        super().__init__(sources, stored, selection, count=count, decap=decap, resync=resync, threads=threads)
        self._yielded = 0
        self._frame: pd.DataFrame | None = None

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

    def row_groups(self, rows: int, dictionaries: int) -> RowGroups:
        """Return a way to have the packets in groups straight from column memory; for nothing else then.

        A group has `rows` rows of the default columns, and fewer the wider its rows are and the nearer its addresses
        and names come to `dictionaries` bytes, so that each group takes about the same memory.
        """
        return RowGroups(self, rows, dictionaries)

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

    def _make_frame(self, start: int, copy: bool) -> pd.DataFrame:
        stop: int = self._dissector.row
        index: pd.Index[Any] = pd.RangeIndex(self._forgotten + start + 1, self._forgotten + stop + 1, name=INDEX)
        if self._selection:
            index = pd.Index(self._memory.numbers(start, stop).copy(), name=INDEX)
        frame = pd.DataFrame(self._memory.arrays(start, stop, copy), index=index, copy=False)
        one_mask(frame, MASK_OF)
        names = [entry.name for entry in self._stored]
        if "caplen" in names and "caplen" not in frame.columns:
            # Under copy-on-write both columns are the same memory, until someone writes to one of them.
            frame.insert(names.index("caplen"), "caplen", frame["length"])
        if self._decap:
            frame.columns = pd.Index([schema.DECAPSULATED.get(name, name) for name in frame.columns])
        commented = {number: text for number, text in self._comments.items() if number in index}
        if schema.COMMENT in self._wanted or (commented and self._all_columns):
            frame["comment"] = pd.Series(commented, dtype="str").reindex(index)
        frame.attrs["podtracer"] = {"capture": self.capture_info()}
        return frame


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


@functools.cache
def _warn_if_interpreted() -> None:
    if not compiled:
        warnings.warn(
            "the packet dissector runs interpreted, at about 25,000 packets/s instead of millions: "
            "install a C compiler and reinstall podtracer-nb",
            InterpretedWarning,
            stacklevel=4,
        )
