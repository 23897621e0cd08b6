"""WHAT runs: one file a tool, in `known/`.

How its argv is made fit for machines, and how its output becomes a frame; `run` and `Session` carry that out.
"""

from podtracer_nb.tools.api import run, run_together
from podtracer_nb.tools.diagnosis import doctor
from podtracer_nb.tools.held import Held, changes, hold, undo_all
from podtracer_nb.tools.impairment import impair
from podtracer_nb.tools.job import ENDINGS, Job, Task
from podtracer_nb.tools.listing import pods, tracers
from podtracer_nb.tools.live import LiveCapture, LiveStats, capture, captures
from podtracer_nb.tools.progress import Lines, Progress, TargetProgress
from podtracer_nb.tools.registry import list_tools
from podtracer_nb.tools.session import Session
from podtracer_nb.tools.table import Column, Parsed, Table, Text, Unreadable
from podtracer_nb.tools.throughput import iperf3
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant

__all__ = [
    "ENDINGS",
    "Change",
    "Column",
    "Command",
    "Held",
    "Job",
    "Lines",
    "LiveCapture",
    "LiveStats",
    "Options",
    "Parsed",
    "Progress",
    "Session",
    "Table",
    "TargetProgress",
    "Task",
    "Text",
    "Tool",
    "Unreadable",
    "Variant",
    "capture",
    "captures",
    "changes",
    "doctor",
    "hold",
    "impair",
    "iperf3",
    "list_tools",
    "pods",
    "run",
    "run_together",
    "tracers",
    "undo_all",
]
