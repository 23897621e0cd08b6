"""Many packets' bytes from the captures that hold them: each capture is opened once."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO, Self

from podtracer_nb.packets.capture_format import FormatError
from podtracer_nb.packets.compression import MAGIC_SIZE, kind_of
from podtracer_nb.packets.packet_bytes import read_at
from podtracer_nb.packets.source import Input

__all__ = ["Stored"]

_MOST_FILES = 64  # that are open at a time: a ring may have more files than a process may open
_PIECE = 1 << 20


class Stored:
    """Captures, opened when a packet of theirs is asked for. A compressed one is decompressed into a file for that.

    Examples
    --------
    >>> import tempfile
    >>> from podtracer_nb.packets.stored import Stored
    >>> with tempfile.NamedTemporaryFile() as file, Stored() as stored:
    ...     _ = file.write(b"header, packet"), file.flush()
    ...     stored.packet(file.name, 8, 6)
    b'packet'
    """

    def __init__(self) -> None:
        self._files: dict[str, IO[bytes]] = {}

    def packet(self, path: str | None, offset: int, caplen: int) -> bytes:
        """Return one packet's bytes.

        Parameters
        ----------
        path
            The capture, as a frame's `attrs` name it; None where it has none.
        offset, caplen
            As the columns of those names have them, in bytes.

        Raises
        ------
        ValueError
            The capture came from bytes or a stream. As FormatError: it ends before that packet.
        OSError
            It cannot be read.
        """
        if path is None:
            raise ValueError("the capture came from bytes or a stream: write it to a file to have its packets at hand")
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= _MOST_FILES:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[path] = _opened(path)
        data = read_at(file, caplen, offset)
        if len(data) < caplen:
            raise FormatError(
                f"{path} ends before the packet at {offset} of {caplen} bytes: is it the file that the frame came from?"
            )
        return data

    def close(self) -> None:
        """Close what was opened."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> Self:
        """Return these captures."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self.close()


def _opened(path: str) -> IO[bytes]:
    if "://" not in path:
        file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed by `Stored`
        if kind_of(file.read(MAGIC_SIZE)) is None:
            return file
        file.close()
    source = Input(path)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `Stored`
    try:
        source.open_compressed()
        piece = memoryview(bytearray(_PIECE))
        while got := source.readinto(piece):
            copy.write(piece[:got])
        copy.flush()
    except BaseException:
        copy.close()
        raise
    finally:
        source.close()
    return copy
