"""A capture that is there already, as a frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from podtracer_nb.reading.large import spoken

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_pcap"]


def read_pcap(
    source: str | os.PathLike[str] | bytes | BinaryIO | list[str | os.PathLike[str]],
    *,
    count: int | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
    resync: bool = False,
    filter: str | None = None,
    start: object = None,
    stop: object = None,
    sample: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Read a capture into a frame.

    Parameters
    ----------
    source
        A path, a capture's bytes, a binary stream such as a pipe, a pattern (`ring.pcap*`) or a list of paths: pcap or
        pcapng, also compressed by gzip, Zstandard or LZ4.
    count
        Read only this many packets.
    columns
        Names of the columns to be read; by default those of `podtracer_nb.packets.schema.COLUMNS`.
    layers
        Columns to be read beside them, by layer: tunnel, label, transport, tls, http, dns, quic.
    decap
        Let the columns describe the packet inside a tunnel, and `outer_src` and its like what is outermost.
    resync
        Where the capture is damaged, go on with the next bytes that look like packets.
    filter
        Make rows only of the packets that this expression of pcap-filter(7) lets through; tcpdump compiles it. They
        keep their number and offset in the capture.
    start, stop
        Only packets from this time on, and before that one: a text, datetime or Timestamp; UTC where it has no zone.
    sample
        Of those, only the first and every n-th (a whole number), or about this fraction (below 1, chosen by a hash of
        the packet's number and `seed`: the same ones every time).
    seed
        For another fraction of the packets.

    Returns
    -------
    pandas.DataFrame
        A row a packet, index `frame` (its number from 1), with the columns of `podtracer_nb.packets.schema`;
        `attrs["podtracer"]["capture"]` describes the file, and what is damaged in it.

    Raises
    ------
    CaptureError
        No such file, or not a capture that is read; one line says what it looks like.
    InputError
        A value that cannot be right; a filter that tcpdump does not compile, or no tcpdump.

    Examples
    --------
    >>> import podtracer_nb
    >>> header = bytes.fromhex("d4c3b2a1020004000000000000000000000004000100" + "0000")
    >>> len(podtracer_nb.read_pcap(header))
    0
    """
    from podtracer_nb import analysis as _accessor  # noqa: F401  a frame is born with `df.podtrace`
    from podtracer_nb import packets

    with spoken(source):
        selection = packets.Selection(filter, start, stop, sample, seed)
        choice = packets.Choice(count, columns, layers, decap, resync, selection)
        return packets.read(source, **choice.keywords())
