"""WHAT runs: one file a tool.

How its argv is made fit for machines, and how its output becomes a frame; `run` and `Session` carry that out.
"""

from podtracer_nb.tools.api import pods, read_pcap, run
from podtracer_nb.tools.diagnosis import doctor
from podtracer_nb.tools.large import read_parquet, scan, to_parquet
from podtracer_nb.tools.session import ENDINGS, Job, Progress, Session
from podtracer_nb.tools.tool import Command, Options, Tool

__all__ = [
    "ENDINGS",
    "Command",
    "Job",
    "Options",
    "Progress",
    "Session",
    "Tool",
    "doctor",
    "pods",
    "read_parquet",
    "read_pcap",
    "run",
    "scan",
    "to_parquet",
]
