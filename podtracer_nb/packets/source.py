"""Where the bytes of a capture come from: paths, bytes in memory, or a stream, all read in the same way."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import mmap
import os
import re
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podtracer_nb.packets.capture_format import FormatError
from podtracer_nb.packets.compression import MAGIC_SIZE, Decompressed, kind_of

__all__ = ["Input", "Source", "aligned", "anonymous", "each_source", "total_size"]

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Any
"""A path, the bytes of a capture, or a binary stream with `readinto1`, `readinto`, `read1` or `read`.

A path may be a pattern (`ring.pcap*`) or, where fsspec is installed, a URL that it opens (`s3://bucket/x.pcap`). A list
of any of these is read one after the other.
"""

_PIPE_BYTES = 1 << 20


class Input:
    """An opened source.

    Parameters
    ----------
    source
        A path, which is opened here, bytes, or a binary stream, which stays its owner's to close.

    Attributes
    ----------
    name
        What to call it in a message.
    path
        The path, or None.
    whole
        All bytes, where they are in memory already; `readinto` is not used then.
    size
        How many bytes are to come, where that is known.
    descriptor
        The file's, where it is an ordinary one that was opened here, and not compressed.
    compression
        What it was compressed with, once `open_compressed` looked.
    seek
        Lets `readinto` go on from a position of that file.
    readinto
        Reads what is there into a buffer, at least one byte, and returns how many; 0 at the end.

    Raises
    ------
    OSError
        When the path cannot be opened.
    TypeError
        When it is none of these.
    """

    def __init__(self, source: Source) -> None:
        self.name = "the capture"
        self.path: str | None = None
        self.whole: memoryview | None = None
        self.size: int | None = None
        self.descriptor: int | None = None
        self.seek: Callable[[int], object] | None = None
        self.compression: str | None = None
        self._opened: Any = None
        self._last_tell = 0
        self._decompressed: Decompressed | None = None
        self._seen = b""
        self._looked = False
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.whole = memoryview(source).cast("B")
            self.size = len(self.whole)
            return
        stream: Any = source
        if isinstance(source, str) and _is_url(source):
            self.path = self.name = source
            stream = self._opened = _open_url(source)
        elif isinstance(source, (str, os.PathLike)):
            self.path = self.name = os.fspath(source)
            if Path(source).is_dir():
                raise FormatError(f"{self.name} is a directory: give its files, as in {Path(source) / '*.pcap'}")
            stream = self._opened = Path(source).open("rb", buffering=0)  # noqa: SIM115 - closed by `close`
        self.readinto = _reading(stream)
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a stream without a file descriptor
            self._tune(stream.fileno(), stream)

    def open_compressed(self) -> None:
        """Decompress all that `readinto` gives, if the first bytes say so."""
        seen = self.look()
        self.readinto = _preceded(seen, self.readinto) if seen else self.readinto

    def look(self) -> bytes:
        """Look at the first bytes, and decompress all if they say so; else return them: `readinto` goes on after them.

        An interrupt loses nothing: it may be called again.

        Raises
        ------
        FormatError
            The package that decompresses them is not installed.
        """
        if self._looked:
            return self._seen
        if self.whole is not None:
            kind = kind_of(bytes(self.whole[:MAGIC_SIZE]))
            if kind is not None:
                self._decompress(kind, _reading(io.BytesIO(self.whole)))
        else:
            while len(self._seen) < MAGIC_SIZE:
                part = memoryview(bytearray(MAGIC_SIZE - len(self._seen)))
                got = self.readinto(part)
                if got == 0:
                    break
                self._seen += part[:got]
            kind = kind_of(self._seen)
            if kind is not None:
                self._decompress(kind, _preceded(self._seen, self.readinto))
                self._seen = b""
        self._looked = True
        return self._seen

    def _decompress(self, kind: str, readinto: Callable[[memoryview], int]) -> None:
        self._decompressed = Decompressed(kind, readinto, self.name)
        self.compression = kind
        self.readinto = self._decompressed.readinto
        self.whole = self.size = self.descriptor = self.seek = None

    @property
    def trouble(self) -> str | None:
        """What ended a compressed source before its end."""
        return self._decompressed.trouble if self._decompressed is not None else None

    def _tune(self, descriptor: int, stream: Any) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISFIFO(status.st_mode):
            # A larger pipe means fewer switches between the writer and us; the kernel may refuse, which is no loss.
            with contextlib.suppress(ImportError, AttributeError):  # Linux only
                import fcntl

                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        elif stat.S_ISREG(status.st_mode):
            self.size = max(0, status.st_size - stream.tell())
            if stream is self._opened and isinstance(stream, io.FileIO):
                self.descriptor, self.seek = descriptor, stream.seek

    def consumed(self, position: int) -> int:
        """Return how many bytes of the source as it is stored were read, `position` being where the reader is in it."""
        if self.compression is not None and self._opened is not None:
            with contextlib.suppress(OSError, ValueError):
                return int(self._opened.tell())
            return self._last_tell
        return position

    def close(self) -> None:
        """Close what was opened here."""
        if self.compression is not None and self._opened is not None:
            with contextlib.suppress(OSError, ValueError):
                self._last_tell = int(self._opened.tell())
        if self._opened is not None:
            self._opened.close()


def each_source(source: Source | list[Source]) -> list[Source]:
    """Return the single sources of a list, a pattern, or one source: a pattern's files by their names' numbers.

    Raises
    ------
    FileNotFoundError
        No file is named as a pattern says.
    ValueError
        The list is empty.
    """
    if isinstance(source, (list, tuple)):
        if not source:
            raise ValueError("an empty list of captures")
        return [single for each in source for single in each_source(each)]
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if glob.has_magic(text) and not Path(text).exists() and not _is_url(text):
            found = [each for each in glob.glob(text) if Path(each).is_file()]  # noqa: PTH207 - patterns may be absolute
            if not found:
                raise FileNotFoundError(errno.ENOENT, "no file is named so", text)
            found.sort(key=_natural)
            return list(found)
    return [source]


def total_size(sources: list[Source]) -> int | None:
    """Return how many bytes the single sources are together, or None where one does not tell before it is read."""
    total = 0
    for source in sources:
        if isinstance(source, (bytes, bytearray, memoryview)):
            total += memoryview(source).nbytes
        elif isinstance(source, (str, os.PathLike)) and Path(source).is_file():
            total += Path(source).stat().st_size
        else:
            return None
    return total


def _natural(path: str) -> list[tuple[int, str]]:
    """Order names as their numbers say, so that ring files (x.pcap, x.pcap1, … x.pcap10) come in turn."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def _is_url(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def _open_url(url: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise FormatError(f"{url} is a URL, and fsspec, which would open it, is not installed") from None
    return fsspec.open(url, "rb").open()


def _preceded(head: bytes, readinto: Callable[[memoryview], int]) -> Callable[[memoryview], int]:
    """Return a `readinto` that gives some bytes first."""
    left = [head]

    def fill(buffer: memoryview) -> int:
        if not left[0]:
            return readinto(buffer)
        given = min(len(buffer), len(left[0]))
        buffer[:given] = left[0][:given]
        left[0] = left[0][given:]
        return given

    return fill if head else readinto


def _reading(stream: Any) -> Callable[[memoryview], int]:
    """Return a `readinto` that returns as soon as there is anything, whatever kind of stream this is."""
    # BufferedReader.readinto and read wait until the buffer is full, their "1" forms read once.
    readinto = getattr(stream, "readinto1", None) or getattr(stream, "readinto", None)
    if readinto is not None:

        def fill(buffer: memoryview) -> int:
            while (got := readinto(buffer)) is None:
                select.select([stream], [], [])  # a non-blocking stream with nothing in it yet
            return int(got)

        return fill if not _blocking(stream) else readinto
    read = getattr(stream, "read1", None) or getattr(stream, "read", None)
    if read is None:
        raise TypeError(f"a capture is a path, bytes or a binary stream, not {type(stream).__name__}")

    def copy(buffer: memoryview) -> int:
        while (data := read(len(buffer))) is None:
            select.select([stream], [], [])
        if not isinstance(data, bytes):
            raise TypeError(f"a capture is read from a binary stream, and {stream!r} gave {type(data).__name__}")
        buffer[: len(data)] = data
        return len(data)

    return copy


def _blocking(stream: Any) -> bool:
    try:
        return os.get_blocking(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False


def anonymous(size: int) -> mmap.mmap:
    """Return memory of our own, all zeros, of which only what is used is there."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def aligned(size: int) -> memoryview:
    """Return a buffer that starts on a page: the kernel copies into it twice as fast as into a bytearray's memory.

    Its copy (`rep movsb`) is slow where source and destination do not share their alignment within 32 bytes.
    """
    return memoryview(anonymous(size))
