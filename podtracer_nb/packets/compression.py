"""Compressed captures, read as if they were not: gzip, Zstandard, LZ4, told by their first bytes.

gzip is Python's own. Zstandard and LZ4 need a package each, which only who has such files installs
(`pip install podtracer-nb[compression]`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from podtracer_nb.packets.capture_format import FormatError

__all__ = ["MAGIC_SIZE", "Decompressed", "kind_of"]

MAGIC_SIZE = 4
_MAGICS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard", b"\x04\x22\x4d\x18": "LZ4"}
_PIECE = 1 << 17
_GZIP_WINDOW = 31


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
        self._make = _decompressor(kind, name)
        self._decompressor: Any = self._make()
        self._stream: Any = None
        if kind == "Zstandard":
            self._stream = self._decompressor.stream_reader(_Raw(readinto), read_across_frames=True)
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
        try:
            return int(self._stream.readinto1(buffer)) if not self._ended else 0
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - as below
            self._ended = True
            self.trouble = f"its {self._kind} stream is damaged ({error})"
            return 0

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
            except Exception as error:  # noqa: BLE001 - each package has errors of its own; bytes so far stay
                self._ended = True
                self.trouble = f"its {self._kind} stream is damaged ({error})"
                return
            if not self._decompressor.eof:
                self._left = bytes(getattr(self._decompressor, "unconsumed_tail", b""))

    def _waiting(self) -> bool:
        """Return whether the decompressor has taken in bytes that it has not given out."""
        return self._begun and not getattr(self._decompressor, "needs_input", True)


def _decompressor(kind: str, name: str) -> Callable[[], Any]:
    if kind == "gzip":
        return lambda: zlib.decompressobj(_GZIP_WINDOW)
    try:
        if kind == "LZ4":
            import lz4.frame

            return lz4.frame.LZ4FrameDecompressor  # type: ignore[no-any-return]
        import zstandard
    except ImportError as error:
        raise FormatError(
            f"{name} is {kind}-compressed, and {error.name} is not installed: "
            "pip install 'podtracer-nb[compression]', or decompress it first"
        ) from None
    return zstandard.ZstdDecompressor


class _Raw:
    """A source as zstandard's streaming reader wants it, which asks for bytes itself."""

    def __init__(self, readinto: Callable[[memoryview], int]) -> None:
        self._readinto = readinto
        self._piece = memoryview(bytearray(_PIECE))

    def read(self, _size: int) -> bytes:
        """Return what there is."""
        return bytes(self._piece[: self._readinto(self._piece)])
