"""Where a row's packet is in its capture, and its bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pandas as pd

from podtracer_nb.packets.capture_format import FormatError
from podtracer_nb.packets.compression import MAGIC_SIZE, kind_of
from podtracer_nb.packets.source import Input

__all__ = ["locate", "raw", "read_at"]

_BUFFER = 1 << 19


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
        if kind_of(file.read(MAGIC_SIZE)):
            return _raw_compressed(path, offset, caplen)
        if offset + caplen > size:
            raise FormatError(
                f"{os.fspath(path)} ends at byte {size}, before the packet at {offset} of {caplen} bytes: "
                "is it the file that the frame was read from?"
            )
        return read_at(file, caplen, offset)


def read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    """Read from a position of an unbuffered file, by any number of threads where the system can."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    file.seek(offset)
    return file.read(size)


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
