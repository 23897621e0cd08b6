"""One tool in one target: what is asked for, what runs, and what is known of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from podtracer_nb import execution, targets
from podtracer_nb.errors import PodtracerError
from podtracer_nb.tools import clocks, holding
from podtracer_nb.tools.inside import resolver
from podtracer_nb.tools.tool import Change, Command, Options, Tool

__all__ = ["ENDINGS", "Count", "Counted", "Job", "Task", "describe", "last_line"]

#: How a run ended that did not end by itself, for people.
ENDINGS = {
    "timer": "stopped by its timer",
    "bytes": "stopped at its byte limit",
    "target-gone": "stopped: the pod is gone",
    "disk": "stopped: the disk is full",
    "parent-gone": "stopped: its parent went away",
    "tracer-gone": "ended with its tracer pod",
}


@dataclass(frozen=True)
class Task:
    """What is to be run in each of the targets.

    Attributes
    ----------
    tool, arguments
        The program and its own words.
    options
        What our own parameters ask of it.
    every
        Seconds between two samples: it is run again and again, `options.count` times or until it is stopped. Beside
        other tasks, what runs until it is stopped is run once all the same.
    change
        What it alters, where that is known better than the tool could tell from its words.
    """

    tool: str
    arguments: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    every: float | None = None
    change: Change | None = None


class Count(Protocol):
    """What counts a job's output while it is read: a packet reader does, and so does `Counted`."""

    @property
    def packets(self) -> int: ...
    @property
    def bytes(self) -> int: ...


@dataclass
class Counted:
    """Counts kept by hand, for output that is not read as packets."""

    packets: int = 0
    bytes: int = 0


@dataclass
class Job:
    """One tool in one target."""

    task: Task
    tool: Tool
    target: targets.Target
    command: Command
    recording: Path
    run: execution.Run
    pin: targets.Pin | execution.Elsewhere
    sampled: bool = False
    change: Change | None = None
    held: bool = False
    under: tuple[str, ...] = ()
    gone: str = ""
    limited: str = ""
    number: int = 0
    count: Count = field(default_factory=Counted)
    interrupted: bool = False
    ended: bool = False

    def _command_notes(self) -> list[str]:
        """Return what was said of the argv; with several targets each has a file of its own."""
        file = self.command.file
        if file is None or file.name == self.recording.name:
            return list(self.command.notes)
        return [note.replace(str(file), str(self.recording)) for note in self.command.notes]

    def changed(self, exit_code: int | None = None) -> dict[str, Any]:
        """Return what became of what it alters: made, undone, and how; empty where it alters nothing.

        `made` is None where nobody knows: the tool was killed, or its tracer lost.
        """
        if self.change is None:
            return {}
        if self.held:
            return holding.outcome(self.recording, self.change)
        output = self.recording.read_text(encoding="utf-8", errors="replace") if self.change.told else ""
        return {**holding.described(self.change.after(output)), "made": None if exit_code is None else exit_code == 0}

    @property
    def state(self) -> str:
        """How it is, for people: running, or how it ended."""
        if self.run.running:
            return "stopping" if self.interrupted or self.limited else "running"
        if self.gone or self.limited:
            return self.gone or self.limited
        try:
            status = self.run.wait()
        except PodtracerError as error:
            return str(error)
        if status.exit_code and status.reason == "exit":
            return f"exit status {status.exit_code}"
        return ENDINGS.get(status.reason, "ended")

    def provenance(self, status: execution.Status) -> dict[str, Any]:
        """Return what this run was, small and JSON-able."""
        stderr = self.run.stderr
        return {
            "tool": self.tool.name,
            "argv": list(self.command.argv),
            "arguments": list(self.task.arguments),
            "target": describe(self.target),
            "started": status.started.isoformat(),
            "ended": status.ended.isoformat(),
            "seconds": round((status.ended - status.started).total_seconds(), 6),
            "recording": str(self.recording),
            "bytes": status.bytes,
            "sha256": status.sha256,
            "exit_code": status.exit_code,
            "signal": status.signal,
            "reason": status.reason,
            "interrupted": self.interrupted,
            "drops": self.tool.summary(stderr),
            "stderr": stderr[-2000:],
            **({"change": self.changed(status.exit_code)} if self.change else {}),
            **({"parse": self.task.options.parse} if self.task.options.parse else {}),
            **({"engine": self.task.options.engine} if self.task.options.engine else {}),
            **({"clock": clocks.words(self.run.clock)} if self.run.clock else {}),
            "notes": [
                *self._command_notes(),
                *self.pin.notices,
                *self.under,
                *(line.removeprefix(resolver.NOTE) for line in stderr.splitlines() if line.startswith(resolver.NOTE)),
                *(note for note in (self.gone, self.limited, status.reason == "tracer-gone" and status.note) if note),
            ],
        }


def describe(target: targets.Target) -> dict[str, str]:
    """Return what names a target, for a recording's metadata."""
    words = {
        "pod": target.pod,
        "namespace": target.namespace,
        "uid": target.uid,
        "container": target.container,
        "node": target.node,
        "runtime": target.runtime,
    }
    return {name: value for name, value in words.items() if value}


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
