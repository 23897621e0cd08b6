"""Where a frame's packets are: the captures behind it, which one each row is from, and the rows' bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.errors import CaptureError
from podtracer_nb.packets import FormatError
from podtracer_nb.packets.stored import Stored

__all__ = ["AT_ONCE", "each_packet", "interface_of", "sources_of"]

_LINUX_SLL2 = 276
AT_ONCE = 65_536
"""Rows that are plain numbers at a time, so that memory stays as it is."""


def sources_of(meta: dict[str, Any], frame: pd.DataFrame) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
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


def interface_of(interfaces: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    """Return which of a pcapng's interfaces a row is from, by its column `interface`; the first where that is None.

    A packet of LINUX_SLL2 has the number of its own interface in that column, which is none of those listed.
    """
    named = [each for each in interfaces if name in (None, each["name"])]
    cooked = [each for each in interfaces if each["linktype"] == _LINUX_SLL2]
    return [*named, *cooked, *interfaces][0]


def each_packet(meta: dict[str, Any], frame: pd.DataFrame) -> Iterator[bytes]:
    """Yield the bytes of each row's packet, in the frame's order.

    Raises
    ------
    CaptureError
        They are not at hand.
    """
    sources, which = sources_of(meta, frame)
    columns = (frame.index.to_numpy(), frame["offset"].to_numpy(), frame["caplen"].to_numpy(), which)
    with Stored() as stored:
        for at in range(0, len(frame), AT_ONCE):
            for number, offset, caplen, source in zip(
                *(values[at : at + AT_ONCE].tolist() for values in columns), strict=True
            ):
                path = sources[source].get("path")
                try:
                    yield stored.packet(path, offset, caplen)
                except FormatError as error:
                    raise CaptureError(
                        f"{path} ends before frame {number}: is it the file that the frame came from?"
                    ) from error
                except ValueError as error:
                    raise CaptureError(str(error)) from error
                except OSError as error:
                    raise CaptureError(f"the recording {path} cannot be read: {error.strerror}") from error
