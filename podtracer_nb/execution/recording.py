"""Where recordings lie: the directory, the names, and the files that a run writes."""

from __future__ import annotations

import datetime
import errno
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from podtracer_nb.errors import InputError
from podtracer_nb.execution import files

__all__ = ["new_journal", "new_recording_path", "open_recording", "recordings_directory", "remove_recording"]

_NEXT = "name another file, or set PODTRACER_RECORDINGS to a directory that can be written"


def recordings_directory() -> Path:
    """Return the directory of recordings, made where it is missing, private to the user.

    ``$PODTRACER_RECORDINGS``, else ``$XDG_STATE_HOME/podtracer/recordings``, else
    ``~/.local/state/podtracer/recordings``.

    Raises
    ------
    InputError
        It cannot be made.

    Examples
    --------
    >>> recordings_directory().is_dir()
    True
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if chosen := os.environ.get("PODTRACER_RECORDINGS"):
        directory = Path(chosen).expanduser().absolute()
    elif state.startswith("/"):  # the XDG specification: a relative path is to be ignored
        directory = Path(state, "podtracer", "recordings")
    else:
        directory = Path("~/.local/state/podtracer/recordings").expanduser()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"no recordings can be kept in {directory} ({error.strerror}): {_NEXT}") from error
    return directory


def new_recording_path(tool: str, target_name: str, suffix: str) -> Path:
    """Return a path that no recording has yet, in `recordings_directory`; names sort by time.

    Parameters
    ----------
    tool, target_name
        What ran, and where; anything but letters, digits, dots, dashes and underscores becomes a dash.
    suffix
        The ending, such as ``.pcap``.

    Examples
    --------
    >>> new_recording_path("tcpdump", "web-0", ".pcap").suffix
    '.pcap'
    """
    now = datetime.datetime.now(datetime.UTC)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(tool).name}-{target_name}")[:120]
    return recordings_directory() / f"{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(2)}-{name}{suffix}"


def open_recording(path: Path) -> int:
    """Create or empty the file of one recording, locked against other runs; return its descriptor.

    Raises
    ------
    InputError
        It cannot be written, is no regular file, or another run is writing it.
    """
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)) and path.parts[1:3] != ("dev", "shm"):
        raise InputError(f"{path} cannot hold a recording, which is read while it grows: name a regular file")
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its other end. Emptied only when it proved to be a file.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | files.OPEN | getattr(os, "O_NONBLOCK", 0), 0o600)
    except OSError as error:
        raise InputError(f"the recording {path} cannot be written ({error.strerror}): {_NEXT}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path} cannot hold a recording, which is read while it grows: name a regular file")
        try:
            files.lock(descriptor)
        except BlockingIOError:
            raise InputError(f"{path} is being written by another run: stop that one or name another file") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a file system without locks
                raise
        os.truncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def remove_recording(path: Path) -> None:
    """Remove a recording and its description, as far as they are there."""
    for each in (path, Path(f"{path}.json")):
        each.unlink(missing_ok=True)


def new_journal(path: Path) -> int:
    """Return a file without a name, on the recording's disk, for what arrived when."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise InputError(f"no file can be made beside {path} ({error.strerror}): name another file") from error
