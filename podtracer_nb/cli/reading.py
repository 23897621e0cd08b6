"""`podtracer read`: a capture file as lines, as text with tabs, or as Parquet."""

from __future__ import annotations

import signal
import sys

from podtracer_nb import options
from podtracer_nb.cli.printing import header, packet_lines
from podtracer_nb.cli.saying import say

__all__ = ["read", "to_parquet"]


def read(request: options.ReadRequest) -> None:
    """Print a line a packet, or the columns that were asked for."""
    import warnings

    from podtracer_nb import packets
    from podtracer_nb.reading import read_pcap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", packets.DamageWarning)  # it is told below
        frame = read_pcap(request.path, **request.keywords())
    if request.columns is not None:
        frame.to_csv(sys.stdout, sep="\t")
    else:
        print(header())
        for line in packet_lines(frame):
            print(line)
    damage = frame.attrs["podtracer"]["capture"]["damage"]
    read = f"{len(frame):,} packet{'' if len(frame) == 1 else 's'}"
    say(read + (f"; damaged at byte {damage['offset']}: {damage['reason']}" if damage else ""))


def to_parquet(request: options.ReadRequest) -> int:
    """Write the capture as Parquet; the exit status tells whether it was interrupted."""
    from podtracer_nb.reading import to_parquet

    written = to_parquet(request.path, str(request.to), overwrite=request.overwrite, **request.keywords())
    many = "" if len(written.parts) == 1 else "s"
    words = [f"{written.packets:,} packets in {len(written.parts)} part{many} in {written.folder}"]
    if written.interrupted:
        words.insert(0, "interrupted")
    damage = written.info["damage"]
    if damage:
        words.append(f"damaged at byte {damage['offset']}: {damage['reason']}")
    say("; ".join(words))
    return 128 + signal.SIGINT if written.interrupted else 0
