"""`podtracer read`: a capture file as lines, as text with tabs, or as Parquet."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

from podtracer_nb import options
from podtracer_nb.cli.printing import packet_table
from podtracer_nb.cli.saying import say

__all__ = ["read"]


def read(request: options.ReadRequest) -> int:
    """Print a line a packet, or the columns that were asked for, or write Parquet; return the exit status."""
    from podtracer_nb import packets

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", packets.DamageWarning)  # the last line tells of it
        return _print(request) if request.to is None else _to_parquet(request)


def _print(request: options.ReadRequest) -> int:
    from podtracer_nb.reading import read_pcap

    frame = read_pcap(request.path, **request.keywords())
    if request.columns is not None:
        frame.to_csv(sys.stdout, sep="\t")
    else:
        for line in packet_table(frame, headed=True):
            print(line)
    sys.stdout.flush()  # the table, and then what is said of it
    read = f"{len(frame):,} packet{'' if len(frame) == 1 else 's'}"
    say("; ".join([read, *_of_capture(frame.attrs["podtracer"]["capture"])]))
    return 0


def _to_parquet(request: options.ReadRequest) -> int:
    from podtracer_nb.reading import to_parquet

    written = to_parquet(request.path, str(request.to), overwrite=request.overwrite, **request.keywords())
    many = "" if len(written.parts) == 1 else "s"
    words = [f"{written.packets:,} packets in {len(written.parts)} part{many} in {written.folder}"]
    if written.interrupted:
        words.insert(0, "interrupted")
    say("; ".join([*words, *_of_capture(written.info)]))
    return 128 + signal.SIGINT if written.interrupted else 0


def _of_capture(info: dict[str, Any]) -> list[str]:
    """Return what a reader of a capture must not miss."""
    from podtracer_nb import packets

    words = []
    if lacking := packets.undissected(info):
        words.append(f"link type {lacking} is not dissected: packets have their time and lengths only")
    for file in info.get("files", [info]):
        damage = file["damage"]
        if "format" not in file:
            words.append(f"passed over: {damage['reason']}")
        elif damage:
            name = f"{file['path']} is " if "files" in info else ""
            words.append(f"{name}damaged at byte {damage['offset']}: {damage['reason']}")
    return words
