"""A frame's packets back into a capture file, from the captures that they came from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from podtracer_nb.errors import CaptureError, InputError
from podtracer_nb.packets.compression import MAGIC_SIZE, kind_of
from podtracer_nb.packets.source import Input
from podtracer_nb.packets.writer import Link, Record, write_capture

if TYPE_CHECKING:
    from podtracer_nb.analysis.accessor import PodtraceAccessor

__all__ = ["export"]

_NEEDED = ("time", "length", "caplen", "offset")
_PIECE = 1 << 20


def export(
    asked: PodtraceAccessor,
    frame: pd.DataFrame,
    path: str | os.PathLike[str],
    format: str | None,
    comments: Mapping[int, str] | None,
) -> int:
    """Write a frame's packets: see `PodtraceAccessor.to_pcap`."""
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise InputError(f"the frame has no column {missing[0]}, which packets are found by: read it with that column")
    with contextlib.ExitStack() as opened:
        sources, which = _sources(asked.meta, frame)
        links, on = _links(sources, which, frame)
        records = _records(frame, sources, which, on, dict(comments) if comments is not None else {}, opened)
        try:
            return write_capture(path, records, links, format=format)
        except ValueError as error:
            raise InputError(str(error)) from error
        except OSError as error:
            raise CaptureError(f"{os.fspath(path)} cannot be written: {error.strerror}") from error


def _sources(meta: dict[str, Any], frame: pd.DataFrame) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """Return the captures behind a frame, each with its path, and which one each row is from."""
    if "target" in frame.columns and meta.get("recordings"):
        captures = meta.get("captures") or [meta["capture"]] * len(meta["recordings"])
        labels = frame["target"].cat.categories
        sources = [
            {**(capture or {}), "path": path, "target": label}
            for capture, path, label in zip(captures, meta["recordings"], labels, strict=False)
        ]
        return sources, frame["target"].cat.codes.to_numpy(np.intp)
    capture = meta.get("capture") or {}
    files = [each for each in capture.get("files", ()) if each["packets"]]
    if files:
        first = np.array([each["first_frame"] for each in files])
        return files, np.searchsorted(first, frame.index.to_numpy(), side="right") - 1
    recordings = meta.get("recordings")
    return [{**capture, "path": recordings[0] if recordings else capture.get("path")}], np.zeros(len(frame), np.intp)


def _links(
    sources: list[dict[str, Any]], which: np.ndarray[Any, Any], frame: pd.DataFrame
) -> tuple[list[Link], np.ndarray[Any, Any]]:
    """Return the interfaces of the packets, and which one each row is on."""
    links: dict[Link, int] = {}
    on = np.zeros(len(frame), np.intp)
    names = frame["interface"] if "interface" in frame.columns else None
    for number, source in enumerate(sources):
        here = which == number
        interfaces = source.get("interfaces") or ()
        target = source.get("target")
        if not interfaces:
            on[here] = links.setdefault(
                Link(
                    1 if source.get("linktype") is None else int(source["linktype"]),
                    target,
                    int(source.get("snaplen") or 0),
                ),
                len(links),
            )
            continue
        if names is None and len({each["linktype"] for each in interfaces}) > 1:
            raise InputError(
                "the frame has no column interface, which tells the packets' link types: read it with that"
            )
        for name in [None] if names is None else list(pd.unique(names[here].astype("str"))):
            described = next((each for each in interfaces if name in (None, each["name"])), interfaces[0])
            label = described["name"] if target is None else f"{target} {described['name']}"
            link = Link(int(described["linktype"]), label, int(described["snaplen"]))
            rows = here if names is None else here & (names.astype("str") == name).to_numpy()
            on[rows] = links.setdefault(link, len(links))
    return list(links), on


def _records(  # noqa: PLR0917 - what is known of each row
    frame: pd.DataFrame,
    sources: list[dict[str, Any]],
    which: np.ndarray[Any, Any],
    on: np.ndarray[Any, Any],
    comments: dict[int, str],
    opened: contextlib.ExitStack,
) -> Iterator[Record]:
    files: dict[int, IO[bytes]] = {}
    times = frame["time"].astype("int64").to_numpy()
    without = frame["time"].isna().to_numpy()
    written = frame["comment"] if "comment" in frame.columns else None
    columns = (
        frame.index.to_numpy(),
        times,
        without,
        frame["length"].to_numpy(),
        frame["caplen"].to_numpy(),
        frame["offset"].to_numpy(),
        which,
        on,
        written.astype(object).to_numpy() if written is not None else np.full(len(frame), None),
    )
    for at in range(0, len(frame), 65_536):  # plain numbers a piece at a time: memory stays as it is
        piece = zip(*(values[at : at + 65_536].tolist() for values in columns), strict=True)
        for number, time, timeless, length, caplen, offset, source, link, comment in piece:
            file = files.get(source)
            if file is None:
                file = files[source] = opened.enter_context(_opened(sources[source]))
            data = os.pread(file.fileno(), caplen, offset)
            if len(data) < caplen:
                raise CaptureError(
                    f"{sources[source]['path']} ends before frame {number}: is it the file that the frame came from?"
                )
            said = comments.get(number, comment)
            yield Record(
                None if timeless else time, length, data, link, said if isinstance(said, str) else None, number
            )


def _opened(source: dict[str, Any]) -> IO[bytes]:
    """Open a capture for reading anywhere in it; a compressed one is decompressed for that."""
    path = source.get("path")
    if path is None:
        raise CaptureError("the capture came from bytes or a stream: write it to a file to have its packets at hand")
    try:
        if "://" not in path:
            file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 - entered by who asked
            if kind_of(os.pread(file.fileno(), MAGIC_SIZE, 0)) is None:
                return file
            file.close()
        stored = Input(path)
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - entered by who asked
        try:
            stored.open_compressed()
            piece = memoryview(bytearray(_PIECE))
            while got := stored.readinto(piece):
                copy.write(piece[:got])
            copy.flush()
        finally:
            stored.close()
        return copy
    except OSError as error:
        raise CaptureError(f"the recording {path} cannot be read: {error.strerror}") from error
