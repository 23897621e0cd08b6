"""Files on every system from which pods are traced; the node's side alone may count on Linux.

Windows has no pread(2), no memfd_create(2) and no flock(2), macOS no memfd_create(2).
"""

from __future__ import annotations

import os
import tempfile
import threading

__all__ = ["OPEN", "lock", "read_at", "read_into_at", "scratch", "write_at"]

#: For os.open: bytes as they are, and nothing inherited. Windows would turn line ends over.
OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_BEYOND = 1 << 40
_moving = threading.Lock()  # a file's position is everybody's who has its descriptor


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read up to `size` bytes from a position."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def read_into_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read into a buffer from a position, and return how many bytes came."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    data = read_at(descriptor, buffer.nbytes, offset)
    buffer.cast("B")[: len(data)] = data
    return len(data)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> int:
    """Write at a position, and return how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def scratch(name: str) -> int:
    """Return the descriptor of a file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


def lock(descriptor: int) -> None:
    """Lock a file against other runs, until it is closed.

    Raises
    ------
    BlockingIOError
        Another has it.
    OSError
        The file system knows no locks.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        # Windows keeps others from reading what is locked: a byte where no file has any.
        import msvcrt

        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except PermissionError as error:
            raise BlockingIOError(str(error)) from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
