"""One session: one or several tools started in one or several targets, watched until each has ended.

A target's output is read in a thread of its own; the main thread waits, reports progress, and on an interrupt asks
every tool to stop and then goes on waiting: what was captured is read to its end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, ToolFailed, ToolNotFound
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.sampling import sampled
from podtracer_nb.tools.tool import Change, Command, Options, Tool

__all__ = ["ENDINGS", "Job", "Progress", "Session", "Task"]

Result = TypeVar("Result")

#: How a run ended that did not end by itself, for people.
ENDINGS = {
    "timer": "stopped by its timer",
    "bytes": "stopped at its byte limit",
    "target-gone": "stopped: the pod is gone",
    "disk": "stopped: the disk is full",
    "parent-gone": "stopped: its parent went away",
}
_TICK = 0.25  # seconds between two reports of progress
_REPORT = 2.0  # seconds between two questions for a tool's own counters, at the least
_CHECK = 10.0  # seconds that a check of the argv may take


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
    """

    tool: str
    arguments: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    every: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a session is.

    Attributes
    ----------
    elapsed
        Seconds since the first tool was started.
    packets
        Packets read so far, or None for a tool that gives lines.
    bytes
        Bytes of output so far.
    drops
        Packets that the kernel dropped, or None while that is not known.
    targets
        How many targets are still running.
    done
        True in the last report.
    """

    elapsed: float
    packets: int | None
    bytes: int
    drops: int | None
    targets: int
    done: bool = False


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
    pin: targets.Pin
    sampled: bool = False
    change: Change | None = None
    gone: str = ""
    count: Count = field(default_factory=Counted)
    interrupted: bool = False
    ended: bool = False

    def _command_notes(self) -> list[str]:
        """Return what was said of the argv; with several targets each has a file of its own."""
        file = self.command.file
        if file is None or file.name == self.recording.name:
            return list(self.command.notes)
        return [note.replace(str(file), str(self.recording)) for note in self.command.notes]

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
            **({"change": asdict(self.change)} if self.change else {}),
            **({"parse": self.task.options.parse} if self.task.options.parse else {}),
            **({"engine": self.task.options.engine} if self.task.options.engine else {}),
            "notes": [
                *self._command_notes(),
                *self.pin.notices,
                *([self.gone] if self.gone else []),
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


class Session(Generic[Result]):
    """The jobs of one call; leaving the ``with`` block stops what still runs and closes every pin.

    Parameters
    ----------
    tasks
        What runs in each target; all are started together.
    chosen
        Where they run: what `targets.resolve` found.
    kinds
        The namespaces to enter.
    limits
        When to stop.
    file
        Where to leave the recording; with several targets the pod's name is put before its suffix, with several tasks
        the tool's.
    allow_change
        Whether a tool may alter the target.
    keep
        Whether recordings stay when the session is over.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        chosen: tuple[targets.Target, ...],
        *,
        kinds: tuple[str, ...] = ("net",),
        limits: execution.Limits | None = None,
        file: Path | None = None,
        allow_change: bool = False,
        keep: bool = True,
    ) -> None:
        if any("\0" in word for task in tasks for word in task.arguments):
            raise InputError("an argument holds a NUL byte, which no program can be given")
        self.tasks = tuple(tasks)
        self.jobs: list[Job] = []
        self.interrupted = False
        self._report_at = 1.0
        self._opened = ExitStack()
        limits = limits or execution.Limits()
        tools = [find(task.tool) for task in tasks]
        changes = [_change(tool, task, allow_change) for tool, task in zip(tools, tasks, strict=True)]
        try:
            if "mnt" not in kinds:
                for tool in tools:
                    _installed(tool)
            pins = [self._opened.enter_context(targets.pin(each, kinds)) for each in chosen]
            planned = [
                (task, tool, change, held, _prepared(tool, task, held, alone=len(tasks) == 1))
                for held in pins
                for task, tool, change in zip(tasks, tools, changes, strict=True)
            ]
            for _, tool, _, held, (command, _) in planned:
                _check(tool, command, held)
            for task, tool, change, held, (command, repeated) in planned:
                recording = self._recording(tool, held.target, command, file, several=len(chosen) > 1)
                started = execution.start(
                    held,
                    [*command.launcher, *command.argv],
                    recording=recording,
                    limits=replace(limits, linger=command.linger),
                    metadata={"tool": tool.name, "target": describe(held.target)},
                    keep=keep,
                )
                run = self._opened.enter_context(started)
                self.jobs.append(Job(task, tool, held.target, command, recording, run, held, repeated, change))
        except BaseException:
            self._opened.close()
            raise
        self._opened.enter_context(targets.Watch(pins, self._gone))
        self.began = time.monotonic()

    def _gone(self, held: targets.Pin, why: str) -> None:
        """End the runs in a pod that is gone: nothing can come from it any more."""
        for job in self.jobs:
            if job.pin is held:
                job.gone = why
                job.run.stop(target_gone=True)

    def _recording(
        self, tool: Tool, target: targets.Target, command: Command, file: Path | None, *, several: bool
    ) -> Path:
        wanted = file or command.file
        if wanted is None:
            return execution.new_recording_path(tool.name, target.pod, command.suffix)
        wanted = wanted.expanduser().absolute()
        words = [target.pod] if several else []
        if file is not None and len(self.tasks) > 1:
            # The same tool may well stand in several lines.
            words.append(f"{tool.name}-{len(self.jobs) + 1}")
        return wanted.with_name("-".join([wanted.stem, *words]) + wanted.suffix) if words else wanted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what still runs, wait for its end, and close every pin."""
        self._opened.close()

    def stop(self) -> None:
        """Ask every tool to stop; what they captured is still read to its end."""
        for job in self.jobs:
            job.run.stop()

    def each(
        self, read: Callable[[Job], Result], progress: Callable[[Progress], None] | None = None
    ) -> list[Result | BaseException]:
        """Read every job in a thread of its own and wait for all.

        Returns each job's result, or the error that it ended with. On an interrupt the tools are asked to stop, and
        `interrupted` is set; a second interrupt ends the wait.
        """
        pool = ThreadPoolExecutor(len(self.jobs), thread_name_prefix="podtracer")
        futures: list[Future[Result]] = []
        try:
            futures = [pool.submit(_to_its_end, read, job) for job in self.jobs]
            self._watch(futures, progress)
        finally:
            if not all(future.done() for future in futures):
                self._opened.close()
            pool.shutdown(wait=True)
        return [future.exception() or future.result() for future in futures]

    def _watch(self, futures: list[Future[Result]], progress: Callable[[Progress], None] | None) -> None:
        # What runs until it is stopped, beside what ends by itself, is there for its sake.
        mixed = len({job.command.endless for job in self.jobs}) > 1
        while True:
            try:
                running = wait(futures, timeout=_TICK, return_when=FIRST_COMPLETED if mixed else ALL_COMPLETED).not_done
                mixed = mixed and not self._stop_endless()
                if progress is not None:
                    progress(self.progress(len(running)))
                if not running:
                    return
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
                for job in self.jobs:
                    job.interrupted = True
                threading.Thread(target=self.stop, name="podtracer-stop", daemon=True).start()

    def _stop_endless(self) -> bool:
        """Stop what has no end of its own where all else has ended, and tell whether it is so."""
        if not all(job.ended for job in self.jobs if not job.command.endless):
            return False
        for job in self.jobs:
            job.run.stop()
        return True

    def progress(self, running: int) -> Progress:
        """Return how far the session is."""
        captures = [job for job in self.jobs if job.command.output == "packets"]
        packets = sum(job.count.packets for job in captures) if captures else None
        elapsed = time.monotonic() - self.began
        if running and elapsed >= self._report_at:
            # Ever more seldom: the answers go to standard error, of which only so much is kept.
            self._report_at = elapsed + max(_REPORT, elapsed / 30)
            for job in self.jobs:
                if job.tool.reports_after and job.tool.reports_after in job.run.stderr:
                    job.run.report()
        counts = [job.tool.summary(job.run.stderr).get("dropped_by_kernel") for job in self.jobs]
        known = [count for count in counts if count is not None]
        drops = sum(known) if known else None
        return Progress(elapsed, packets, sum(job.count.bytes for job in self.jobs), drops, running, done=not running)


def _to_its_end(read: Callable[[Job], Result], job: Job) -> Result:
    try:
        return read(job)
    finally:
        job.ended = True


def _change(tool: Tool, task: Task, allowed: bool) -> Change | None:
    """Refuse what would alter the target, unless that is allowed."""
    change = tool.change(task.arguments)
    if change is not None and not allowed:
        raise InputError(
            f"this {change.what} in the target: {tool.name} {' '.join(task.arguments)}; "
            "add --allow-change if that is what you want"
        )
    return change


def _prepared(tool: Tool, task: Task, held: targets.Pin, *, alone: bool) -> tuple[Command, bool]:
    """Return the command, and whether it is sampled."""
    unprivileged = "user" in held.entered or _in_user_namespace()
    if task.every is None:
        return tool.command(task.arguments, task.options, unprivileged), False
    # With --every, --count counts samples.
    command = tool.command(task.arguments, replace(task.options, count=None), unprivileged)
    if not alone and (command.output == "packets" or command.endless):
        return command, False
    return sampled(command, task.every, task.options.count), True


def _installed(tool: Tool) -> None:
    if shutil.which(tool.name, path=execution.search_path()) is None:
        hint = f"apt-get install {tool.package}" if tool.package else "install it, or look at the spelling"
        raise ToolNotFound(f"{tool.name} is not installed on this machine: {hint}")


def _in_user_namespace() -> bool:
    """Whether we are ourselves in a user namespace that maps not every id: user_namespaces(7)."""
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]


def _check(tool: Tool, command: Command, held: targets.Pin) -> None:
    """Refuse, before anything starts, an argv that could not run (a filter that does not compile)."""
    if command.check is None:
        return
    try:
        done = subprocess.run(
            [*held.launcher, *held.nsenter, *command.launcher, *command.check],
            pass_fds=held.pass_fds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CHECK,
            env={**os.environ, "LC_ALL": "C", "PATH": execution.search_path()},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(
            f"{tool.name} took more than {_CHECK:.0f} s to compile the filter: does it name a host whose look-up hangs?"
        ) from None
    if done.returncode != 0:
        stderr = done.stderr.decode("utf-8", errors="replace").strip()
        raise tool.diagnose(stderr) or InputError(f"{tool.name} refuses its arguments: {last_line(stderr)}")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
