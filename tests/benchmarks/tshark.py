"""tshark's fields through us and by itself, the same words in turn: what our table costs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import podtracer_nb

FIELDS = [
    "frame.number", "frame.time_epoch", "frame.len", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.flags",
    "_ws.col.Protocol", "_ws.col.Info",
]  # fmt: skip
ROUNDS = 5


def ratio(path: Path) -> float:
    """Return how fast tshark's fields of a capture become a table, as a part of tshark's own speed.

    tshark alone writes to a file. Both are the best of several, in turn: what else the machine does meets both.
    """
    words = ["-n", "-r", str(path), "-T", "fields", *(word for field in FIELDS for word in ("-e", field))]
    alone, ours = [], []
    with tempfile.TemporaryDirectory(prefix="podtracer-bench-") as folder:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            with Path(folder, "alone.tsv").open("wb") as file:
                subprocess.run(["tshark", *words], stdout=file, stderr=subprocess.DEVNULL, check=True)
            alone.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            podtracer_nb.run("tshark", words, pid=os.getpid(), file=Path(folder, "ours.tsv"))
            ours.append(time.perf_counter() - begun)
    return min(alone) / min(ours)


if __name__ == "__main__":
    import sys

    print(f"{ratio(Path(sys.argv[1])):.2f}")
