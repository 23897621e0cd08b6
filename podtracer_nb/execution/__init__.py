"""WHERE: runs argv inside a target, and leaves a recording; stops it, limits it, accounts for it, cleans up.

`start` gives a `Run`. Between it and the tool stands a supervisor, a process of its own (`supervisor.py`), so that a
tool ends, flushed, whatever becomes of us; this process itself enters no namespace.
"""

from __future__ import annotations

from podtracer_nb.execution.ask import ask
from podtracer_nb.execution.feed import Reason, Status
from podtracer_nb.execution.recording import new_recording_path, recordings_directory
from podtracer_nb.execution.run import Limits, Output, Run, Tail, search_path, start

__all__ = [
    "Limits",
    "Output",
    "Reason",
    "Run",
    "Status",
    "Tail",
    "ask",
    "new_recording_path",
    "recordings_directory",
    "search_path",
    "start",
]
