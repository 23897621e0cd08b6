"""Compressed captures, read as if they were not: gzip, Zstandard, LZ4, told by their first bytes.

gzip is Python's own. Zstandard and LZ4 need a package each, which only who has such files installs
(`pip install podtracer-nb[compression]`).

A stream that is cut short is told as such wherever that can be known: in a gzip member, a Zstandard or an LZ4 frame,
be it in its header or in the checksum at its very end. What was whole before is given out. A cut exactly between two
members or frames cannot be known: what is left is a whole stream, of fewer of them. Nor can a change of content where
the frame has no checksum, which Zstandard and LZ4 leave to who compresses.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from typing import Any

from podtracer_nb.packets.capture_format import FormatError

__all__ = ["MAGIC_SIZE", "Decompressed", "kind_of"]

MAGIC_SIZE = 4
_MAGICS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard", b"\x04\x22\x4d\x18": "LZ4"}
_PIECE = 1 << 17
_GZIP_WINDOW = 31
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = 0x50
_REPEATED = 1  # a block of one byte, many times


def kind_of(head: bytes) -> str | None:
    """Return what the first bytes say of compression: its name, or None."""
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), None)


class Decompressed:
    """The bytes of a compressed source.

    Parameters
    ----------
    kind
        As `kind_of` says.
    readinto
        Reads compressed bytes, as `Input.readinto`.
    name
        What to call the source in an error.

    Attributes
    ----------
    trouble
        What ended the bytes before their end, or None.

    Raises
    ------
    FormatError
        The package that decompresses them is not installed.
    """

    def __init__(self, kind: str, readinto: Callable[[memoryview], int], name: str) -> None:
        self._kind = kind
        self._make, self._error = _decompressor(kind, name)
        self._decompressor: Any = self._make()
        self._stream: Any = None
        if kind == "Zstandard":
            self._frames = _Frames()
            source = _Raw(readinto, self._frames)
            self._stream = self._decompressor.stream_reader(source, read_across_frames=True)
        self._readinto = readinto
        self._piece = memoryview(bytearray(_PIECE))
        self._left = b""  # compressed bytes not used yet
        self._out = b""  # decompressed bytes not given out yet
        self._begun = False
        self._ended = False
        self.trouble: str | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Decompress at least one byte into a buffer and return how many; 0 at the end."""
        if self._stream is not None:
            return self._from_stream(buffer)
        if not self._out:
            self._fill(len(buffer))
        given = min(len(buffer), len(self._out))
        buffer[:given] = self._out[:given]
        self._out = self._out[given:]
        return given

    def _from_stream(self, buffer: memoryview) -> int:
        if self._ended:
            return 0
        try:
            got = int(self._stream.readinto1(buffer))
        except self._error as error:
            got, self.trouble = 0, f"its {self._kind} stream is damaged ({error})"
        if got == 0:
            self._ended = True
            if self.trouble is None and not self._frames.whole:
                self.trouble = f"its {self._kind} stream is cut short"
        return got

    def _fill(self, most: int) -> None:
        """Decompress until there is something; a bounded piece at a time, so that a bomb fills no memory."""
        while not self._out and not self._ended:
            if self._decompressor.eof:
                # Another member or frame may follow, as in rotated and concatenated files.
                self._left = bytes(self._decompressor.unused_data or b"") or self._left
                self._decompressor, self._begun = self._make(), False
                if self._kind == "gzip":
                    self._left = self._left.lstrip(b"\0")  # padding, as gzip(1) passes over it
            if not self._left and not self._waiting():
                got = self._readinto(self._piece)
                if got == 0:
                    self._ended = True
                    if self._begun:
                        self.trouble = f"its {self._kind} stream is cut short"
                    return
                self._left = bytes(self._piece[:got])
            data, self._left = self._left, b""
            try:
                self._begun = self._begun or bool(data)
                self._out = self._decompressor.decompress(data, most)
            except self._error as error:  # what came before it stays
                self._ended = True
                self.trouble = f"its {self._kind} stream is damaged ({error})"
                return
            if not self._decompressor.eof:
                self._left = bytes(getattr(self._decompressor, "unconsumed_tail", b""))

    def _waiting(self) -> bool:
        """Return whether the decompressor has taken in bytes that it has not given out."""
        return self._begun and not getattr(self._decompressor, "needs_input", True)


def _decompressor(kind: str, name: str) -> tuple[Callable[[], Any], type[Exception]]:
    """Return what makes a decompressor, and what that raises when the stream is damaged."""
    if kind == "gzip":
        return lambda: zlib.decompressobj(_GZIP_WINDOW), zlib.error
    try:
        if kind == "LZ4":
            import lz4.frame

            return lz4.frame.LZ4FrameDecompressor, RuntimeError
        import zstandard
    except ImportError as error:
        raise FormatError(
            f"{name} is {kind}-compressed, and {error.name} is not installed: "
            "pip install 'podtracer-nb[compression]', or decompress it first"
        ) from None
    return zstandard.ZstdDecompressor, zstandard.ZstdError


class _Raw:
    """A source as zstandard's streaming reader wants it, which asks for bytes itself."""

    def __init__(self, readinto: Callable[[memoryview], int], frames: _Frames) -> None:
        self._readinto = readinto
        self._frames = frames
        self._piece = memoryview(bytearray(_PIECE))

    def read(self, _size: int) -> bytes:
        """Return what there is."""
        data = bytes(self._piece[: self._readinto(self._piece)])
        self._frames.pass_over(data)
        return data


class _Frames:
    """Follows a Zstandard stream from block to block, for its reader does not say whether the last frame is whole.

    Attributes
    ----------
    whole
        Whether the bytes so far end with a frame: RFC 8878 section 3.1.
    """

    def __init__(self) -> None:
        self.whole = True
        self._steps = self._follow()
        self._wanted = next(self._steps)
        self._header = b""

    def pass_over(self, data: bytes) -> None:
        """Go on over the next bytes of the stream."""
        at = 0
        while at < len(data):
            self.whole = False
            if self._wanted < 0:
                passed = min(-self._wanted, len(data) - at)
                at += passed
                self._wanted += passed
                done = self._wanted == 0
            else:
                part = data[at : at + self._wanted - len(self._header)]
                self._header += part
                at += len(part)
                done = len(self._header) == self._wanted
            if done:
                header, self._header = self._header, b""
                self._wanted = self._steps.send(header)

    def _follow(self) -> Generator[int, bytes]:
        """Yield how many bytes are wanted next; or how many, below 0, are only to be passed over."""
        while True:
            magic = yield 4
            if magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == _SKIPPABLE:
                yield from _passing(int.from_bytes((yield 4), "little"))
            elif magic == _ZSTANDARD:
                yield from self._frame()
            else:
                break  # which the decompressor calls damage
            self.whole = True
        self.whole = True
        while True:
            yield -(1 << 62)

    def _frame(self) -> Generator[int, bytes]:
        descriptor = (yield 1)[0]
        single = descriptor >> 5 & 1
        content_size = (single, 2, 4, 8)[descriptor >> 6]
        yield from _passing((1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size)
        last = 0
        while not last:
            block = int.from_bytes((yield 3), "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            yield from _passing(1 if kind == _REPEATED else size)
        yield from _passing(4 if descriptor >> 2 & 1 else 0)


def _passing(size: int) -> Generator[int, bytes]:
    if size:
        yield -size
