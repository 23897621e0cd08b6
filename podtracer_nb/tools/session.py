"""One session: one or several tools started in one or several targets, watched until each has ended.

A target's output is read in a thread of its own; the main thread waits, reports progress, and on an interrupt asks
every tool to stop and then goes on waiting: what was captured is read to its end.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, TargetError, ToolFailed, ToolNotFound
from podtracer_nb.tools import holding
from podtracer_nb.tools.inside import resolver
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
_LISTENS = 5.0  # seconds in which a capture should have begun
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
    change
        What it alters, where that is known better than the tool could tell from its words.
    """

    tool: str
    arguments: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    every: float | None = None
    change: Change | None = None


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
    pin: targets.Pin | execution.Elsewhere
    sampled: bool = False
    change: Change | None = None
    held: bool = False
    under: tuple[str, ...] = ()
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

    def changed(self, exit_code: int | None = None) -> dict[str, Any]:
        """Return what became of what it alters: made, undone, and how; empty where it alters nothing."""
        if self.change is None:
            return {}
        if self.held:
            return holding.outcome(self.recording, self.change)
        output = self.recording.read_text(encoding="utf-8", errors="replace") if self.change.told else ""
        return {**holding.described(self.change.after(output)), "made": exit_code == 0}

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
            "notes": [
                *self._command_notes(),
                *self.pin.notices,
                *self.under,
                *(line.removeprefix(resolver.NOTE) for line in stderr.splitlines() if line.startswith(resolver.NOTE)),
                *(line.removeprefix(resolver.NOTE) for line in stderr.splitlines() if line.startswith(resolver.NOTE)),
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
    hold
        Seconds after which what the tools altered is taken back, infinite for not before it is asked for; None: never.
    keep
        Whether recordings stay when the session is over.
    via
        `here` or `job` (a tracer pod on the target's node); None: here where the target is.
    placement
        How tracer pods are made.
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
        hold: float | None = None,
        keep: bool = True,
        via: str | None = None,
        placement: execution.Placement | None = None,
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
        changes = [_change(tool, task, allow_change, hold=hold) for tool, task in zip(tools, tasks, strict=True)]
        try:
            places = self._places(chosen, kinds, via, placement or execution.Placement())
            pins = [held for held in places if isinstance(held, targets.Pin)]
            if pins and "mnt" not in kinds:
                for tool in tools:
                    _installed(tool)
            planned = [
                (
                    task,
                    tool,
                    change and _with_its_undo(change, task, held, hold),
                    held,
                    _prepared(tool, task, held, alone=len(tasks) == 1),
                )
                for held in places
                for task, tool, change in zip(tasks, tools, changes, strict=True)
            ]
            # A capture is there before what it is to see; the jobs stand in the order of the tasks all the same.
            order = sorted(range(len(planned)), key=lambda at: not planned[at][-1][0].endless)
            for _, tool, _, held, (command, _) in planned:
                if isinstance(held, targets.Pin):
                    _check(tool, command, held)
            made: dict[int, Job] = {}
            for at in order:
                task, tool, change, held, (command, repeated) = planned[at]
                if not command.endless:
                    _await(made.values())
                if change is not None and hold is not None:
                    command = replace(command, suffix=".jsonl")  # what holds it writes the recording
                recording = self._recording(tool, held.target, command, file, several=len(chosen) > 1, number=at + 1)
                under: tuple[str, ...] = ()
                if isinstance(held, targets.Pin):
                    under = holding.in_force(held)
                    run = _started(held, command, recording, limits, tool, change, hold, keep)
                else:
                    asked = _order(task if repeated else replace(task, every=None), limits, allow_change)
                    metadata = {"tool": tool.name, "target": describe(held.target)}
                    run = execution.start_remote(held, asked, command.argv, recording=recording, metadata=metadata)
                    command = replace(command, argv=run.argv)
                self._opened.enter_context(run)
                job = Job(task, tool, held.target, command, recording, run, held, repeated, change, under=under)
                made[at] = job
                if change is not None and hold is not None and isinstance(held, targets.Pin):
                    job.held = True
                    holding.enter(held, run)
            self.jobs = [made[at] for at in range(len(planned))]
        except BaseException:
            self._opened.close()
            raise
        self._opened.enter_context(targets.Watch(pins, self._gone))
        self.began = time.monotonic()

    def _places(
        self,
        chosen: tuple[targets.Target, ...],
        kinds: tuple[str, ...],
        via: str | None,
        placement: execution.Placement,
    ) -> list[targets.Pin | execution.Elsewhere]:
        """Pin what is here; have a tracer pod for what is not. Nodes start theirs at the same time."""
        far = [each for each in chosen if via == "job" or (via is None and not targets.here(each))]
        for each in far:
            if each.source != "kubernetes":
                raise InputError(f"--via job is for pods of a cluster, and {each.label} is on this machine")
            if each.untraceable:
                raise TargetError(f"pod {each.label} {each.untraceable}")
        nodes = {each.node: each.cluster for each in far}
        with ThreadPoolExecutor(max(len(nodes), 1), thread_name_prefix="podtracer-place") as pool:
            made = pool.map(lambda node: execution.tracer_on(nodes[node], node, placement), nodes)
            tracers = dict(zip(nodes, made, strict=True))
        return [
            execution.Elsewhere(each, kinds, tracers[each.node].connect)
            if each in far
            else self._opened.enter_context(targets.pin(each, kinds))
            for each in chosen
        ]

    def _gone(self, held: targets.Pin, why: str) -> None:
        """End the runs in a pod that is gone: nothing can come from it any more."""
        for job in self.jobs:
            if job.pin is held:
                job.gone = why
                job.run.stop(target_gone=True)

    def _recording(
        self, tool: Tool, target: targets.Target, command: Command, file: Path | None, *, several: bool, number: int
    ) -> Path:
        wanted = file or command.file
        if wanted is None:
            return execution.new_recording_path(tool.name, target.pod, command.suffix)
        wanted = wanted.expanduser().absolute()
        words = [target.pod] if several else []
        if file is not None and len(self.tasks) > 1:
            # The same tool may well stand in several lines.
            words.append(f"{tool.name}-{number}")
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


def _await(jobs: Iterable[Job]) -> None:
    """Wait until each capture has said that it listens, or has ended; what never says so is not waited for long."""
    until = time.monotonic() + _LISTENS
    for job in jobs:
        if job.tool.reports_after and job.command.output == "packets":
            job.run.said(job.tool.reports_after, max(0.0, until - time.monotonic()))


def _to_its_end(read: Callable[[Job], Result], job: Job) -> Result:
    try:
        return read(job)
    finally:
        job.ended = True


def _change(tool: Tool, task: Task, allowed: bool, *, hold: float | None) -> Change | None:
    """Refuse what would alter the target, unless that is allowed; refuse to hold what alters nothing."""
    change = task.change or tool.change(task.arguments)
    line = shlex.join([tool.name, *task.arguments])
    if change is not None and not allowed:
        raise InputError(f"this {change.what} in the target: {line}; add --allow-change if that is what you want")
    if hold is not None and change is None:
        raise InputError(f"nothing is known that {line} alters, so there is nothing to take back: leave --for out")
    return change


def _order(task: Task, limits: execution.Limits, allow_change: bool) -> dict[str, Any]:
    """Return what a tracer's agent is asked to run."""
    return {
        "tool": task.tool,
        "arguments": list(task.arguments),
        "options": asdict(task.options),
        "every": task.every,
        "seconds": limits.seconds,
        "bytes": limits.bytes,
        "allow_change": allow_change,
    }


def _with_its_undo(change: Change, task: Task, held: targets.Pin | execution.Elsewhere, hold: float | None) -> Change:
    if isinstance(held, execution.Elsewhere):
        if hold is not None:
            raise InputError(f"{held.target.label} is on node {held.target.node}: changes are held on this node only")
        return change
    known = holding.with_its_undo(change, held, needed=hold is not None)
    if hold is not None and known.undo is None:
        line = shlex.join([task.tool, *task.arguments])
        raise InputError(f"this {change.what} in the target, and nothing takes that back: {line}; leave --for out")
    return known


def _started(  # noqa: PLR0917 - one caller
    held: targets.Pin,
    command: Command,
    recording: Path,
    limits: execution.Limits,
    tool: Tool,
    change: Change | None,
    hold: float | None,
    keep: bool,
) -> execution.Run:
    words = (*command.launcher, *command.argv)
    metadata: dict[str, Any] = {"tool": tool.name, "target": describe(held.target)}
    limits = replace(limits, linger=command.linger)
    if change is None:
        return execution.start(held, words, recording=recording, limits=limits, metadata=metadata, keep=keep)
    metadata["change"] = holding.described(change, held=hold is not None)
    if hold is None:
        return execution.start(held, words, recording=recording, limits=limits, metadata=metadata)
    return execution.start(
        held,
        words,
        recording=recording,
        limits=replace(limits, patience=holding.PATIENCE),
        metadata=metadata,
        around=holding.around(change, words, hold, recording),
    )


def _prepared(tool: Tool, task: Task, held: targets.Pin | execution.Elsewhere, *, alone: bool) -> tuple[Command, bool]:
    """Return the command, and whether it is sampled."""
    entered = held.entered if isinstance(held, targets.Pin) else held.kinds
    unprivileged = isinstance(held, targets.Pin) and ("user" in entered or _in_user_namespace())
    options = replace(task.options, foreign="mnt" in entered)
    # With --every, --count counts samples.
    options = options if task.every is None else replace(options, count=None)
    command = _known_to_it(tool.command(task.arguments, options, unprivileged), held)
    if task.every is None:
        return _resolving(tool, command, held), False
    if not alone and (command.output == "packets" or command.endless):
        return _resolving(tool, command, held), False
    return _resolving(tool, sampled(command, task.every, task.options.count), held), True


def _resolving(tool: Tool, command: Command, held: targets.Pin | execution.Elsewhere) -> Command:
    """Give a tool that looks names up the target's own resolv.conf, where that is another than ours."""
    if isinstance(held, execution.Elsewhere):
        return command  # its agent does that there
    if not tool.resolves or "mnt" in held.kinds or "net" not in held.entered:
        return command
    try:
        ours = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        why = f"/etc/resolv.conf, over which the target's would be laid, cannot be read here: {error.strerror}"
        return replace(command, notes=(*command.notes, why))
    if held.resolver is None and held.target.netns_path is None:
        why = f"{held.target.label} has no /etc/resolv.conf that can be read: names are looked up with this machine's"
        return replace(command, notes=(*command.notes, why))
    if held.resolver is None or held.resolver == ours:
        return command
    words = (sys.executable, "-I", "-S", resolver.__file__, held.resolver)
    return replace(command, launcher=(*words, *command.launcher))


def _known_to_it(command: Command, held: targets.Pin | execution.Elsewhere) -> Command:
    """Leave out the options that we added where the program there does not know them: busybox's, or an old one."""
    if command.probe is None or isinstance(held, execution.Elsewhere):
        return command
    try:
        done = execution.ask(held, [*command.launcher, *command.probe], seconds=_CHECK)
    except subprocess.TimeoutExpired:
        return command
    if done.returncode == 0:
        return command
    return replace(command, argv=command.otherwise)


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
        done = execution.ask(held, [*command.launcher, *command.check], seconds=_CHECK)
    except subprocess.TimeoutExpired:
        raise ToolFailed(
            f"{tool.name} took more than {_CHECK:.0f} s to compile the filter: does it name a host whose look-up hangs?"
        ) from None
    if done.returncode != 0:
        stderr = done.stderr.strip()
        raise tool.diagnose(stderr) or InputError(f"{tool.name} refuses its arguments: {last_line(stderr)}")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
