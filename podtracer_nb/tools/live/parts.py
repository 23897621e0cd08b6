"""What becomes of the bytes of a live capture: rotating parts (tcpdump's -C, -G, -W), and room given back on the disk.

A run writes one file that grows. Of a capture that keeps nothing, or keeps parts, only its end is needed: what was read
is handed back to the file system (FALLOC_FL_PUNCH_HOLE, fallocate(2)), and the file occupies next to nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Parts", "Rotation", "Spool"]

Array = npt.NDArray[Any]

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_PUNCHED_AT_ONCE = 4 << 20
_KEPT = 4096  # the header, so that a spool that was left behind can still be read
_HEADER = 24  # bytes: pcap-savefile(5)
_RECORD = 16


@dataclass(frozen=True)
class Rotation:
    """When another part is begun.

    Attributes
    ----------
    size
        When the part has more bytes than this: tcpdump's -C, which counts millions.
    count
        How many parts there are before the first is written over: tcpdump's -W; None: there are ever more. Without a
        size it is how many there are at all: tcpdump's -W with -G.
    seconds
        When the part's first packet is so old: tcpdump's -G.
    """

    size: int | None
    count: int | None = None
    seconds: int | None = None

    @property
    def most(self) -> int | None:
        """How many parts there are, after which the capture ends; None: there is no such number."""
        return self.count if self.size is None else None

    def base(self, recording: Path, file: Path | None, pod: str) -> Path:
        """Return what the parts are called after: the recording, or a file that was named, with a pod's name in it.

        Examples
        --------
        >>> Rotation(10**6).base(Path("/r/run.pcap"), None, "").name
        'run-rotating.pcap'
        >>> Rotation(10**6).base(Path("/r/run.pcap"), Path("/w/x.pcap"), "web-0").name
        'x-web-0.pcap'
        """
        if file is None:
            stem = recording.stem if self.seconds is None else f"{recording.stem.replace('%', '%%')}-%Y%m%d-%H%M%S"
            return recording.with_name(f"{stem}-rotating{recording.suffix}")
        file = file.expanduser().absolute()
        return file.with_name(f"{file.stem}-{pod}{file.suffix}") if pod else file

    def path(self, base: Path, number: int, at: float | None = None) -> Path:
        """Return the name of a part, as tcpdump names it.

        Parameters
        ----------
        base
            What it is called after; of parts by time with the words of strftime(3), in this machine's time.
        number
            How many parts there were before it; of parts by time and size, since the time's.
        at
            When it was begun, in seconds since 1970.

        Examples
        --------
        >>> Rotation(10**6, 12).path(Path("web.pcap"), 13).name, Rotation(10**6).path(Path("web.pcap"), 0).name
        ('web.pcap01', 'web.pcap')
        >>> Rotation(None, seconds=60).path(Path("web-%Y.pcap"), 3, 1.7e9).name
        'web-2023.pcap'
        """
        if self.seconds is not None and at is not None:
            base = base.with_name(time.strftime(base.name, time.localtime(at)))
        if self.size is None:
            return base
        if self.count is None or self.seconds is not None:
            return base if number == 0 else base.with_name(f"{base.name}{number}")
        return base.with_name(f"{base.name}{number % self.count:0{len(str(self.count - 1))}}")


class Spool:
    """The file that a run writes, of which only what is not read yet is needed.

    Attributes
    ----------
    note
        Why no room can be given back; empty where it can.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._punched = _KEPT
        self.note = ""

    def forget(self, until: int) -> None:
        """Give the room of the bytes before `until` back."""
        until -= until % _KEPT
        if self.note or until - self._punched < _PUNCHED_AT_ONCE:
            return
        try:
            import ctypes
        except ImportError:  # a Python without libffi
            self.note = "room on the disk is not given back: this Python has no ctypes"
            return
        libc = ctypes.CDLL(None, use_errno=True)
        start, size = ctypes.c_longlong(self._punched), ctypes.c_longlong(until - self._punched)
        call = getattr(libc, "fallocate64", libc.fallocate)
        if call(self._file, _KEEP_SIZE | _PUNCH_HOLE, start, size):
            number = ctypes.get_errno()
            self.note = f"room on the disk is not given back: {os.strerror(number)}"
            return
        self._punched = until

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Parts:
    """Copies whole packets from a run's file into parts.

    Parameters
    ----------
    source
        The run's file, a pcap.
    base
        What the parts are called after.
    rotation
        When another one is begun.

    Attributes
    ----------
    paths
        Those that are there, the oldest first.
    complete
        Whether there are as many as there are to be: nothing is copied any more.
    """

    def __init__(self, source: Path, base: Path, rotation: Rotation) -> None:
        self._source = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        self._base, self._rotation = base, rotation
        self._file = -1
        self._number = self._size = 0
        self._done = _HEADER
        self._began: int | None = None  # nanoseconds: when the part's first packet came, or the one that began it
        self._times = 1  # parts by time
        self.complete = False
        self.paths: list[Path] = []

    def copy(self, chunk: pd.DataFrame | None, until: int) -> None:
        """Copy the packets up to byte `until` of the source.

        Parameters
        ----------
        chunk
            These packets, for the places where one ends and the next begins, and for their times; needed are `offset`,
            `caplen` and `time`.
        until
            Where the last of them ends.
        """
        if self.complete:
            return
        if chunk is not None and not len(chunk):
            chunk = None
        # By time a part is called after its first packet: the clock of now may be in the second of the next part.
        if self._file < 0 and until >= _HEADER and not (chunk is None and self._rotation.seconds):
            self._begin(time.time() if chunk is None else chunk["time"].array.asi8[0] / 1e9)
        if chunk is None or self._file < 0:
            return
        ends = chunk["offset"].to_numpy(np.int64) + chunk["caplen"].to_numpy(np.int64)
        starts = np.append(self._done, ends[:-1])  # of the records
        # A clock may be set back; a part that was begun is not ended twice by it.
        times = np.maximum.accumulate(chunk["time"].array.asi8)
        if self._began is None:
            self._began = int(times[0])
        while self._done < until:
            stop, late = self._until(starts, ends, times, until)
            self._append(stop)
            if late is not None:
                if self._times == self._rotation.most:
                    self.complete = True
                    self.close_part()
                    return
                self._times += 1
                self._number, self._began = 0, late
                self._begin(late / 1e9)
            elif self._rotation.size is not None and self._size > self._rotation.size and self._done < until:
                self._number += 1
                self._begin(self._began / 1e9)

    def _until(self, starts: Array, ends: Array, times: Array, until: int) -> tuple[int, int | None]:
        """Return where the part that is being written is full, and when the next one by time begins, if it does."""
        stop, late = until, None
        if self._rotation.size is not None:
            # A part is full when it is larger than it should be: what follows that packet begins the next one.
            place = int(np.searchsorted(ends, self._done + self._rotation.size - self._size, side="right"))
            stop = int(ends[place]) if place < len(ends) else until
        if self._rotation.seconds is not None and self._began is not None:
            place = int(np.searchsorted(times, self._began + self._rotation.seconds * 10**9))
            if place < len(ends) and self._done <= starts[place] < stop:
                stop, late = int(starts[place]), int(times[place])
        return stop, late

    def _begin(self, at: float) -> None:
        self.close_part()
        path = self._rotation.path(self._base, self._number, at)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if path in self.paths:
            self.paths.remove(path)
        self.paths.append(path)
        header = os.pread(self._source, _HEADER, 0)
        self._size = os.write(self._file, header)

    def _append(self, stop: int) -> None:
        while self._done < stop:
            try:
                count = os.copy_file_range(self._source, self._file, stop - self._done, offset_src=self._done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                    raise
                count = os.sendfile(self._file, self._source, self._done, stop - self._done)
            if count == 0:
                raise OSError(errno.EIO, "the spool of a live capture is shorter than what was read of it")
            self._done += count
            self._size += count

    def close_part(self) -> None:
        """Close the part that is being written."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def end(self) -> None:
        """Make the file of a capture without a packet, if it had a header."""
        if not self.paths and os.fstat(self._source).st_size >= _HEADER:
            self._begin(time.time())

    def close(self) -> None:
        """Close all files."""
        self.close_part()
        with contextlib.suppress(OSError):
            os.close(self._source)
