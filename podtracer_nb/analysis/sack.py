"""All SACK blocks of TCP segments: the packet table has the first one of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.analysis.provenance import each_packet
from podtracer_nb.errors import InputError
from podtracer_nb.packets import tcp

__all__ = ["sack_blocks"]

_NEEDED = ("offset", "caplen", "tcp_sack_left", *tcp.FIELDS)


def sack_blocks(frame: pd.DataFrame, meta: dict[str, Any]) -> pd.DataFrame:
    """Return the SACK blocks of a frame's packets, one a row: see `PodtraceAccessor.sack`."""
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise InputError(f"the frame has no column {missing[0]}, which SACK blocks are found by: read it with that")
    segments = frame[frame["tcp_sack_left"].notna().to_numpy()]
    fields = segments[tcp.FIELDS].to_numpy(np.int64).tolist()
    rows: list[int] = []
    blocks: list[int] = []
    edges: list[tuple[int, int]] = []
    for row, packet in enumerate(each_packet(meta, segments)):
        header = tcp.header_of(packet, fields[row])
        found = list(tcp.sack_blocks(packet, header)) if header is not None else []
        rows += [row] * len(found)
        blocks += range(1, len(found) + 1)
        edges += found
    both = np.array(edges, np.uint32).reshape(-1, 2)
    table = pd.DataFrame(
        {
            "frame": segments.index.to_numpy(np.int64)[rows],
            "block": np.array(blocks, np.uint8),
            "left": both[:, 0],
            "right": both[:, 1],
        }
    )
    if "target" in segments.columns:
        table.insert(0, "target", segments["target"].array[rows])
    return table
