"""A frame's packets back into a capture file, from the captures that they came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from podtracer_nb.analysis.provenance import AT_ONCE, each_packet, interface_of, sources_of
from podtracer_nb.errors import CaptureError, InputError
from podtracer_nb.packets.writer import Link, Record, write_capture

if TYPE_CHECKING:
    from podtracer_nb.analysis.accessor import PodtraceAccessor

__all__ = ["export"]

_NEEDED = ("time", "length", "caplen", "offset")


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
    links, on = _links(*sources_of(asked.meta, frame), frame)
    records = _records(frame, asked.meta, on, dict(comments) if comments is not None else {})
    try:
        return write_capture(path, records, links, format=format)
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise CaptureError(f"{os.fspath(path)} cannot be written: {error.strerror}") from error


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
            described = interface_of(interfaces, name)
            label = described["name"] if target is None else f"{target} {described['name']}"
            link = Link(int(described["linktype"]), label, int(described["snaplen"]))
            rows = here if names is None else here & (names.astype("str") == name).to_numpy()
            on[rows] = links.setdefault(link, len(links))
    return list(links), on


def _records(
    frame: pd.DataFrame, meta: dict[str, Any], on: np.ndarray[Any, Any], comments: dict[int, str]
) -> Iterator[Record]:
    written = frame["comment"] if "comment" in frame.columns else None
    columns = (
        frame.index.to_numpy(),
        frame["time"].astype("int64").to_numpy(),
        frame["time"].isna().to_numpy(),
        frame["length"].to_numpy(),
        on,
        written.astype(object).to_numpy() if written is not None else np.full(len(frame), None),
    )
    packets = each_packet(meta, frame)
    for at in range(0, len(frame), AT_ONCE):
        rows = zip(*(values[at : at + AT_ONCE].tolist() for values in columns), strict=True)
        for (number, time, timeless, length, link, comment), data in zip(rows, packets, strict=False):
            said = comments.get(number, comment)
            yield Record(
                None if timeless else time, length, data, link, said if isinstance(said, str) else None, number
            )
