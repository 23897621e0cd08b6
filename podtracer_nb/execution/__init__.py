"""WHERE: runs argv inside a target, and leaves a recording; stops it, limits it, accounts for it, cleans up.

`start` gives a `Run`. Between it and the tool stands a supervisor, a process of its own (`supervisor.py`), so that a
tool ends, flushed, whatever becomes of us; this process itself enters no namespace. On another node a tracer pod does
the same for us (`tracer.py`), and what it sends becomes the same `Run` here (`remote.py`). What nobody waits for is a
Job of its own (`unattended.py`).
"""

from __future__ import annotations

from podtracer_nb.execution.ask import ask
from podtracer_nb.execution.clock import Clock
from podtracer_nb.execution.debugging import debugger_in
from podtracer_nb.execution.feed import Reason, Status
from podtracer_nb.execution.launch import Limits, search_path, start
from podtracer_nb.execution.recording import new_recording_path, recordings_directory, remove_recording
from podtracer_nb.execution.remote import Elsewhere, start_remote
from podtracer_nb.execution.run import Output, Run, Tail
from podtracer_nb.execution.tracer import Placement, Tracer, delete_tracers, image_of, tracer_on, tracers
from podtracer_nb.execution.unattended import MOUNTED, Destination, cron_job_manifest, job_manifest, outlook

__all__ = [
    "MOUNTED",
    "Clock",
    "Destination",
    "Elsewhere",
    "Limits",
    "Output",
    "Placement",
    "Reason",
    "Run",
    "Status",
    "Tail",
    "Tracer",
    "ask",
    "cron_job_manifest",
    "debugger_in",
    "delete_tracers",
    "image_of",
    "job_manifest",
    "new_recording_path",
    "outlook",
    "recordings_directory",
    "remove_recording",
    "search_path",
    "start",
    "start_remote",
    "tracer_on",
    "tracers",
]
