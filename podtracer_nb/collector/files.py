"""The collector's files: one a capture, never two pods' in one, with what is known of it beside it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podtracer_nb.errors import InputError

__all__ = ["Folder", "Full", "SessionFile"]

_SYNC_BYTES = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*/)?[A-Za-z0-9._-]*")
_LONGEST = 253 * 2 + 1  # a Kubernetes namespace and a pod's name, each a DNS name at most
_SESSION = re.compile(r"[A-Za-z0-9._-]{8,64}")


class Full(Exception):
    """There is no room for more of this capture: a limit of ours, or the disk."""


@dataclass(frozen=True)
class Bounds:
    """How much may be kept, in bytes; None: as much as there is room; `rotate`: the oldest make room."""

    session: int | None = None
    total: int | None = None
    rotate: bool = False


class SessionFile:
    """One capture as it arrives: its bytes in order, once each.

    Attributes
    ----------
    path
        The file. While it grows its sidecar `PATH.json` says so; at the end it has the size and the digest.
    size
        How many bytes it has.
    """

    def __init__(self, folder: Folder, path: Path, words: dict[str, Any], *, go_on: bool) -> None:
        self._folder = folder
        self.path = path
        self._words = words
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._file = path.open("r+b" if go_on else "x+b", buffering=0)
        self.size = 0
        if go_on:
            while block := self._file.read(1 << 20):
                self._digest.update(block)
                self.size += len(block)
        self._synced = self.size
        self._describe(state="receiving")

    @property
    def sha256(self) -> str:
        """The digest of what there is, in hexadecimal."""
        return self._digest.hexdigest()

    def add(self, data: bytes) -> None:
        """Append.

        Raises
        ------
        Full
            A limit was reached, or the disk is full; what was whole is kept.
        """
        if not data:
            return
        with self._lock:
            self._folder.claim(self, len(data))
            if self._file.closed:
                self._file = self.path.open("r+b", buffering=0)
                self._file.seek(self.size)
            view = memoryview(data)
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except OSError as error:
                self._file.truncate(self.size)
                self._file.seek(self.size)
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise Full(f"the collector's disk is full: {self.size} bytes are kept") from error
                raise
            self._digest.update(data)
            self.size += len(data)
            if self.size - self._synced >= _SYNC_BYTES:
                os.fdatasync(self._file.fileno())
                self._synced = self.size

    def sync(self) -> None:
        """Have what there is on the disk itself."""
        with self._lock:
            if not self._file.closed:
                os.fsync(self._file.fileno())
            self._synced = self.size

    def pause(self) -> None:
        """Sync and close the file until more comes, if it ever does."""
        self.sync()
        with self._lock:
            self._file.close()
            self._describe(state="complete")

    def close(self, *, complete: bool, why: str = "") -> None:
        """Sync, and say what it is: whole, or cut short and why. It can be gone on with later."""
        self.sync()
        self._file.close()
        self._describe(state="complete" if complete else "incomplete", why=why)

    def _describe(self, **words: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat()
        text = json.dumps({**self._words, **words, "bytes": self.size, "sha256": self.sha256, "written": now}, indent=1)
        beside = Path(f"{self.path}.json")
        new = beside.with_suffix(".json.new")
        new.write_text(text + "\n", encoding="utf-8")
        new.replace(beside)


class Folder:
    """The directory of captures.

    Parameters
    ----------
    path
        Where; made if it is missing.
    bounds
        How much may be kept: of one capture, and of all.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / ".writable").touch()
            (path / ".writable").unlink()
        except OSError as error:
            raise InputError(f"{path} cannot hold captures ({error.strerror}): name another directory") from error
        self.path = path
        self.bounds = bounds
        self._lock = threading.Lock()
        self._total = sum(each.stat().st_size for each in path.iterdir() if each.is_file() and each.suffix != ".json")
        self._sessions = self._found()

    def _found(self) -> dict[str, Path]:
        """Return the captures of an earlier life of the collector, by session."""
        found = {}
        for beside in self.path.glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, OSError):  # another's file, or one that a crash cut short
                session = json.loads(beside.read_text(encoding="utf-8"))["session"]
                if session:
                    found[session] = beside.with_suffix("")
        return found

    def claim(self, file: SessionFile, count: int) -> None:
        """Reserve room for so many bytes more."""
        if self.bounds.session is not None and file.size + count > self.bounds.session:
            raise Full(f"a capture may have {self.bounds.session} bytes: {file.size} are kept")
        with self._lock:
            if self.bounds.total is not None and self._total + count > self.bounds.total and self.bounds.rotate:
                self._make_room(count)
            if self.bounds.total is not None and self._total + count > self.bounds.total:
                raise Full(f"the collector may keep {self.bounds.total} bytes in all: {file.size} of this are kept")
            self._total += count

    def _make_room(self, count: int) -> None:
        """Remove the oldest captures that are finished, until there is room."""
        for beside in sorted(self.path.glob("*.json")):  # their names begin with their time
            if self.bounds.total is None or self._total + count <= self.bounds.total:
                return
            capture = beside.with_suffix("")
            with contextlib.suppress(ValueError, KeyError, FileNotFoundError):  # another's file
                if json.loads(beside.read_text(encoding="utf-8"))["state"] == "receiving":
                    continue
                size = capture.stat().st_size
                capture.unlink()
                beside.unlink()
                self._total -= size

    def open(self, name: str, *, session: str = "", peer: str = "", suffix: str = ".pcap") -> SessionFile:
        """Open the file of a capture: a new one, or where its session is known, that one to go on with.

        Raises
        ------
        InputError
            The name, session or suffix is none.
        """
        if len(name) > _LONGEST or not _NAME.fullmatch(name) or ".." in name:
            raise InputError(f"{name[:80]!r} is no pod's name: NAME or NAMESPACE/NAME")
        if session and not _SESSION.fullmatch(session):
            raise InputError(f"{session[:80]!r} is no session: 8 to 64 letters, digits, dots, dashes")
        if not re.fullmatch(r"\.[a-z0-9]{1,10}", suffix):
            raise InputError(f"{suffix[:20]!r} is no ending of a capture's name")
        words = {"name": name, "session": session, "peer": peer}
        with self._lock:
            known = self._sessions.get(session) if session else None
            if known is not None and known.exists():
                described = json.loads(Path(f"{known}.json").read_text(encoding="utf-8"))
                if described["name"] != name:
                    raise InputError(f"the session {session} is a capture of another pod")
                return SessionFile(self, known, words | {"started": described.get("started")}, go_on=True)
            now = datetime.datetime.now(datetime.UTC)
            plain = name.replace("/", "_")[:150]
            path = self.path / f"{now:%Y%m%dT%H%M%S.%f}-{plain}-{secrets.token_hex(3)}{suffix}"
            if session:
                self._sessions[session] = path
            return SessionFile(self, path, words | {"started": now.isoformat()}, go_on=False)
