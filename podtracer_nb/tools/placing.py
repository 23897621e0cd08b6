"""How a session's tools come to their targets: pinned here, or given to a tracer pod's agent there, and started.

All captures are started at the same time, then what they are to see. What a target refuses, only that target lacks,
where the others may go on without it.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, PodtracerError, TargetError
from podtracer_nb.tools import fitting, holding, naming
from podtracer_nb.tools.job import Job, Task, describe
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.tool import Change, Command, Tool

__all__ = ["Placed", "Wanted", "place"]

Value = TypeVar("Value")
Given = TypeVar("Given")
Place = targets.Pin | execution.Elsewhere

_LISTENS = 5.0  # seconds in which a capture should have begun
_ASK = 10.0  # seconds in which a program tells what is there before a change
_AT_ONCE = 32  # what is waited for at the same time


@dataclass(frozen=True)
class Wanted:
    """What a session is asked for; its own words say what each is."""

    tasks: tuple[Task, ...]
    chosen: tuple[targets.Target, ...]
    kinds: tuple[str, ...]
    limits: execution.Limits
    file: Path | None
    allow_change: bool
    hold: float | None
    keep: bool
    via: str | None
    placement: execution.Placement
    apart: bool
    counted: bool = False


@dataclass
class Placed:
    """What came of it.

    Attributes
    ----------
    jobs
        What was started, in the order of the targets and then of the tasks.
    failed
        The targets where it could not be, and why.
    """

    jobs: list[Job] = field(default_factory=list)
    failed: list[tuple[targets.Target, PodtracerError]] = field(default_factory=list)


@dataclass(frozen=True)
class _Planned:
    """One tool in one target, before it is started."""

    number: int
    task: Task
    tool: Tool
    change: Change | None
    held: Place
    command: Command
    repeated: bool


def place(wanted: Wanted, opened: ExitStack) -> Placed:
    """Start every task in every target; what is open then is `opened`'s to close.

    Raises
    ------
    PodtracerError
        Nothing could be started, or not everything where the targets are not to be taken apart; what was is closed.
    """
    if any("\0" in word for task in wanted.tasks for word in task.arguments):
        raise InputError("an argument holds a NUL byte, which no program can be given")
    tools, changes = [], []
    for at, task in enumerate(wanted.tasks):
        with _of(at):
            tools.append(find(task.tool))
            changes.append(_change(tools[at], task, wanted.allow_change, hold=wanted.hold))
    starting = _Starting(wanted, opened)
    try:
        places = starting.reach()
        if "mnt" not in wanted.kinds and any(isinstance(held, targets.Pin) for held in places):
            for at, tool in enumerate(tools):
                with _of(at):
                    fitting.installed(tool)
        planned = starting.plan(places, tools, changes)
        if wanted.counted and not any(each.command.output == "packets" for each in planned):
            raise InputError("count_total counts packets, and nothing here captures any: leave it out")
        captures = [each for each in planned if each.command.endless]
        made = starting.start(captures)
        others = [each for each in planned if not each.command.endless]
        if others:
            # A capture is there before what it is to see.
            _await(made.values())
            made |= starting.start(others)
    except BaseException:
        starting.over.set()
        raise
    return Placed([made[number] for number in sorted(made)], starting.failed)


class _Starting:
    """One attempt to start all: what it was asked for, and what failed on the way."""

    def __init__(self, wanted: Wanted, opened: ExitStack) -> None:
        self.wanted = wanted
        self.failed: list[tuple[targets.Target, PodtracerError]] = []
        self.over = threading.Event()
        self._opened = opened
        self._opening = threading.Lock()

    def reach(self) -> list[Place]:
        """Pin what is here; have a tracer pod for what is not. Nodes start theirs at the same time."""
        wanted = self.wanted
        if wanted.via == "debug":
            return self._whole(self._in_the_pod, list(wanted.chosen), lambda each: each)
        far = [each for each in wanted.chosen if wanted.via == "job" or (wanted.via is None and not targets.here(each))]
        for each in far:
            if each.source != "kubernetes":
                raise InputError(f"--via job is for pods of a cluster, and {each.label} is on this machine")
        running = [each for each in far if not each.untraceable]
        nodes = {each.node: each.cluster for each in running}
        placement = replace(wanted.placement, changes=wanted.allow_change)
        tracers = dict(
            zip(
                nodes,
                self._at_once(lambda node: execution.tracer_on(nodes[node], node, placement), list(nodes)),
                strict=True,
            )
        )

        def one(each: targets.Target) -> Place:
            if each not in far:
                held = targets.pin(each, wanted.kinds)
                self._open(held)
                return held
            if each.untraceable:
                raise TargetError(f"pod {each.label} {each.untraceable}")
            tracer = tracers[each.node]
            if isinstance(tracer, PodtracerError):
                raise tracer
            return execution.Elsewhere(each, wanted.kinds, tracer.connect, tracer.alive)

        return self._whole(one, list(wanted.chosen), lambda each: each)

    def _in_the_pod(self, each: targets.Target) -> Place:
        """Have an ephemeral container in the target's own pod."""
        if each.source != "kubernetes":
            raise InputError(f"--via debug is for pods of a cluster, and {each.label} is on this machine")
        if self.wanted.kinds != ("net",):
            raise InputError("--via debug is in the pod's network, and in none of its other namespaces: leave --ns out")
        if self.wanted.allow_change:
            raise InputError("--via debug may look and capture, and has no right to change anything: --via job has")
        debugger = execution.debugger_in(each, self.wanted.placement)
        notice = (
            f"pod {each.label} was changed: the ephemeral container {debugger.job} ends with this, and stays listed in "
            "the pod until that ends"
        )
        return execution.Elsewhere(each, self.wanted.kinds, debugger.connect, debugger.alive, (notice,))

    def plan(self, places: Sequence[Place], tools: Sequence[Tool], changes: Sequence[Change | None]) -> list[_Planned]:
        """Have every command made fit for its target, and checked where that is here."""
        wanted = self.wanted
        whole = [
            (number * len(tools) + at, held, task, tool, change)
            for number, held in enumerate(places)
            for at, (task, tool, change) in enumerate(zip(wanted.tasks, tools, changes, strict=True))
        ]

        def one(asked: tuple[int, Place, Task, Tool, Change | None]) -> _Planned:
            number, held, task, tool, change = asked
            with _of(number % len(tools)):
                change = change and _with_its_undo(change, task, held, wanted.hold)
                command, repeated = fitting.prepared(tool, task, held, alone=len(tools) == 1)
                if isinstance(held, targets.Pin):
                    fitting.check(tool, command, held)
            return _Planned(number, task, tool, change, held, command, repeated)

        return self._whole(one, whole, lambda asked: asked[1].target)

    def start(self, planned: Sequence[_Planned]) -> dict[int, Job]:
        """Start these at the same time; return the jobs by their number."""

        def one(each: _Planned) -> tuple[_Planned, Job]:
            with _of(each.number % len(self.wanted.tasks)):
                return self._start(each)

        return {each.number: job for each, job in self._whole(one, planned, lambda each: each.held.target)}

    def _start(self, each: _Planned) -> tuple[_Planned, Job]:
        wanted, held, command = self.wanted, each.held, each.command
        if each.change is not None and wanted.hold is not None:
            command = replace(command, suffix=".jsonl")  # what holds it writes the recording
        recording = self._recording(each, command)
        under = holding.in_force(held)
        if isinstance(held, targets.Pin):
            run = _started(held, command, recording, wanted.limits, each.tool, each.change, wanted.hold, wanted.keep)
        else:
            task = each.task if each.repeated else replace(each.task, every=None)
            asked = _order(task, wanted.limits, each.change, allow_change=wanted.allow_change, hold=wanted.hold)
            metadata = _metadata(each.tool, held, each.change, wanted.hold)
            run = execution.start_remote(held, asked, command.argv, recording=recording, metadata=metadata)
            command = replace(command, argv=run.argv)
        self._open(run)
        job = Job(
            each.task,
            each.tool,
            held.target,
            command,
            recording,
            run,
            held,
            each.repeated,
            each.change,
            under=under,
            number=each.number,
        )
        job.held = each.change is not None and wanted.hold is not None
        if job.held:
            holding.enter(held, run)
        return each, job

    def _recording(self, each: _Planned, command: Command) -> Path:
        wanted = self.wanted
        name = wanted.file or command.file
        if name is None:
            return execution.new_recording_path(each.tool.name, each.held.target.pod, command.suffix)
        name = name.expanduser().absolute()
        if wanted.file is not None and name.is_dir():
            return naming.new_file(name, each.held.target, command, each.task.options)
        words = [each.held.target.pod] if len(wanted.chosen) > 1 else []
        if wanted.file is not None and len(wanted.tasks) > 1:
            # The same tool may well stand in several lines.
            words.append(f"{each.tool.name}-{each.number + 1}")
        return name.with_name("-".join([name.stem, *words]) + name.suffix) if words else name

    def _open(self, each: targets.Pin | execution.Run) -> None:
        """Have something closed at the session's end; now, where its start was given up meanwhile."""
        with self._opening:
            if not self.over.is_set():
                self._opened.enter_context(each)
                return
        each.close()

    def _whole(
        self, function: Callable[[Given], Value], given: Sequence[Given], of: Callable[[Given], targets.Target]
    ) -> list[Value]:
        """Return what came of each; where one fails, the session does, unless its targets may be taken apart.

        A mistake in the words is the same everywhere, so the first one is raised in any case.
        """
        results = self._at_once(function, given)
        whole = [each for each in results if not isinstance(each, PodtracerError)]
        errors = [(of(each), got) for each, got in zip(given, results, strict=True) if isinstance(got, PodtracerError)]
        for _, error in errors:
            if not whole or not self.wanted.apart or isinstance(error, InputError):
                raise error
        self.failed += errors
        return whole

    def _at_once(self, function: Callable[[Given], Value], given: Sequence[Given]) -> list[Value | PodtracerError]:
        """Call a function with each at the same time; an error of ours is a result, any other is raised."""

        def one(each: Given) -> Value | PodtracerError:
            try:
                return function(each)
            except PodtracerError as error:
                return error

        if len(given) < 2:  # noqa: PLR2004 - nothing to do at the same time
            return [one(each) for each in given]
        pool = ThreadPoolExecutor(min(len(given), _AT_ONCE), thread_name_prefix="podtracer-place")
        try:
            return list(pool.map(one, given))
        except BaseException:
            self.over.set()  # an interrupt: what comes up now is closed by who started it
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _of(command: int) -> Iterator[None]:
    """Have an error say which of the commands it is of."""
    try:
        yield
    except PodtracerError as error:
        error.command = command
        raise


def _await(jobs: Iterable[Job]) -> None:
    """Wait until each capture has said that it listens, or has ended; what never says so is not waited for long."""
    until = time.monotonic() + _LISTENS
    for job in jobs:
        if job.tool.reports_after and job.command.output == "packets":
            job.run.said(job.tool.reports_after, max(0.0, until - time.monotonic()))


def _change(tool: Tool, task: Task, allowed: bool, *, hold: float | None) -> Change | None:
    """Refuse what would alter the target, unless that is allowed; refuse to hold what alters nothing."""
    change = task.change or tool.change(task.arguments)
    line = shlex.join([tool.name, *task.arguments])
    if change is not None and not allowed:
        raise InputError(f"this {change.what} in the target: {line}; add --allow-change if that is what you want")
    if hold is not None and change is None:
        raise InputError(f"nothing is known that {line} alters, so there is nothing to take back: leave --for out")
    return change


def _order(
    task: Task,
    limits: execution.Limits,
    change: Change | None = None,
    *,
    allow_change: bool = False,
    hold: float | None = None,
) -> dict[str, Any]:
    """Return what a tracer's agent is asked to run."""
    held = None
    if change is not None and hold is not None:
        words = {name: getattr(change, name) for name in ("what", "undo", "restores", "told")}
        held = {"seconds": None if math.isinf(hold) else hold, "change": words}
    return {
        "tool": task.tool,
        "arguments": list(task.arguments),
        "options": asdict(task.options),
        "every": task.every,
        "seconds": limits.seconds,
        "bytes": limits.bytes,
        "allow_change": allow_change and held is None,  # an agent that knows of no holding refuses it
        "hold": held,
    }


def _ask_elsewhere(held: execution.Elsewhere, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Do on the target's node what `execution.ask` does on this one, by the agent there."""
    # Behind env(1) it is run by its words as they are, and is no tool whose output would be made fit for a table.
    task = Task("env", tuple(argv))
    recording = execution.new_recording_path("env", held.target.pod, ".txt")
    words = (task.tool, *argv)
    try:
        order = _order(task, execution.Limits(_ASK))
        with execution.start_remote(held, order, words, recording=recording, metadata={}) as run:
            status, output = run.wait(), run.stdout.readall()
    finally:
        for left in (recording, Path(f"{recording}.json")):
            left.unlink(missing_ok=True)
    if status.reason == "timer":
        raise subprocess.TimeoutExpired(words, _ASK)
    text = (output or b"").decode("utf-8", errors="replace")
    return subprocess.CompletedProcess(words, 1 if status.exit_code is None else status.exit_code, text, run.stderr)


def _with_its_undo(change: Change, task: Task, held: Place, hold: float | None) -> Change:
    if isinstance(held, targets.Pin):
        known = holding.with_its_undo(change, held, execution.ask, needed=hold is not None)
    elif hold is None:
        return change
    else:
        known = holding.with_its_undo(change, held, _ask_elsewhere, needed=True)
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
    metadata = _metadata(tool, held, change, hold)
    limits = replace(limits, linger=command.linger)
    if change is None:
        return execution.start(held, words, recording=recording, limits=limits, metadata=metadata, keep=keep)
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


def _metadata(tool: Tool, held: Place, change: Change | None, hold: float | None) -> dict[str, Any]:
    """Return what a run's description has besides what the run itself knows."""
    words: dict[str, Any] = {"tool": tool.name, "target": describe(held.target)}
    return words if change is None else {**words, "change": holding.described(change, held=hold is not None)}
