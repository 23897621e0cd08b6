"""Captures that are there already: as frames, as Parquet, and larger than memory.

Nothing here needs a target or a tool, so nothing that reaches them is imported.
"""

from podtracer_nb.reading.capture import read_pcap
from podtracer_nb.reading.large import read_parquet, scan, to_parquet

__all__ = ["read_parquet", "read_pcap", "scan", "to_parquet"]
