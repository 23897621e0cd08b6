"""`podtracer run` and `impair`: a tool in its targets now, a change that is held, or a Job with nobody there."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from podtracer_nb import options
from podtracer_nb.cli import delivering
from podtracer_nb.cli.printing import print_output
from podtracer_nb.cli.saying import FAILED, banner, exit_code, progress, say
from podtracer_nb.errors import InputError, PodtracerError

if TYPE_CHECKING:
    from podtracer_nb.tools import Job, Session

__all__ = ["hold", "run", "run_unattended"]


def run(request: options.RunRequest) -> int:
    """Run a tool in each target and let its output go where the words send it; return the exit status."""
    from podtracer_nb.tools import Lines

    tool, to_stdout = _checked(request), _to_stdout(request)
    with ExitStack() as opened:
        bucket = delivering.bucket_of(request)
        if bucket is not None:
            request = replace(request, file=None)
        session = _open(tool, request, opened)
        kept = request.file is not None or session.jobs[0].command.file is not None
        if to_stdout and len(session.jobs) > 1:
            raise InputError("-s writes one target's output: name one pod")
        several = len(session.jobs) + len(session.failed) > 1
        read: Callable[[Job], None]
        if request.destination is not None:
            port = request.port or delivering.COLLECTOR
            read = functools.partial(delivering.send, host=request.destination, port=port)
        elif bucket is not None:
            read = functools.partial(delivering.upload, bucket=bucket)
        elif to_stdout:
            read = delivering.copy
        else:
            read = delivering.keep if kept else functools.partial(print_output, named=several)
        # It would run into what is printed on the same terminal.
        shows = sys.stderr.isatty() and (read is delivering.keep or not sys.stdout.isatty())
        shown = Lines(sys.stderr) if several else progress
        results = session.each(lambda job: _settled(job, read, session), shown if shows else None)
    return _told(session, results, several=several)


def _checked(request: options.RunRequest) -> str:
    """Return the tool, where nothing is asked for that only a notebook has."""
    if request.bg:
        raise InputError("--bg is for a notebook, whose next cells look at the capture; in a shell end the line with &")
    if request.out is not None or request.shell:
        raise InputError("-o and --shell are for a notebook; in a shell leave the output in a file with -f FILE")
    if request.tool is None:
        raise InputError("no tool named; write podtracer run TOOL --pod POD -- ARGS")
    if request.align_clocks:
        raise InputError("--align-clocks is for a notebook's frame: a recording keeps the times of its own node")
    return request.tool


def _to_stdout(request: options.RunRequest) -> bool:
    """Whether the tool's own bytes go to standard output; what they would do to a terminal is refused."""
    # The original's `-w -` goes to the collector, the file or the bucket that is named, not to standard output.
    wanted = request.stdout or (request.destination is None and request.file is None and _dash(request.arguments))
    wanted = wanted and request.destination is None
    if wanted and sys.stdout.isatty() and not request.text:
        raise InputError("-s writes the tool's own bytes: send them into a file or a program, as in -s | tcpdump -r -")
    return wanted


def _dash(arguments: tuple[str, ...]) -> bool:
    """Whether the tool's own words ask for standard output, as in `-w -`."""
    return "-w-" in arguments or ("-w", "-") in itertools.pairwise(arguments)


def _open(tool: str, request: options.RunRequest, opened: ExitStack) -> Session[Any]:
    """Start the tool in every target, or between two of them."""
    from podtracer_nb.tools.opening import open_session

    # In a shell a tool's own words are what is wanted, but of a format that was named.
    text = request.text or (request.parse is None and PurePath(tool).name != "tcpdump")
    if request.from_pod is not None:
        from podtracer_nb.tools.throughput import open_pair

        session, _ = opened.enter_context(open_pair(request.arguments, **{**request.pair_keywords(), "text": text}))
        return session
    words = {name: value for name, value in request.keywords().items() if name != "align_clocks"}
    return opened.enter_context(open_session([(tool, request.arguments)], **{**words, "text": text}, apart=True))


def _settled(job: Job, read: Callable[[Job], None], session: Session[Any]) -> dict[str, Any]:
    """Read a job's output, then wait for its end and return its provenance."""
    from podtracer_nb.tools.frames import settle

    try:
        read(job)
    except BrokenPipeError:
        session.stop()
        raise
    return settle(job)


def _told(session: Session[Any], results: Sequence[object], *, several: bool) -> int:
    """Say how each target's run went, and return the worst exit status."""
    codes = []
    for target, error in session.failed:
        say(f"podtracer: {target.label}: {error}")
        codes.append(FAILED)
    for job, result in zip(session.jobs, results, strict=True):
        if isinstance(result, PodtracerError) and several:
            say(f"podtracer: {job.target.label}: {result}")
            codes.append(FAILED)
        elif isinstance(result, BaseException):
            raise result
        elif isinstance(result, dict):
            say(banner(job, result))
            codes.append(exit_code(result, sampled=job.sampled))
    return max(codes, default=0)


def hold(request: options.RunRequest | options.ImpairRequest) -> int:
    """Hold a change until its time is over or somebody interrupts, and take it back."""
    from podtracer_nb import tools

    if request.out is not None:
        raise InputError("-o is for a notebook")
    if isinstance(request, options.ImpairRequest):
        held = tools.impair(**request.keywords())
    elif request.tool is None or request.shell:
        raise InputError("no tool named; write podtracer run TOOL --allow-change --for 30s --pod POD -- ARGS")
    else:
        held = tools.hold(request.tool, request.arguments, **request.hold_keywords())
    where = ", ".join(held.targets)
    until = "until Ctrl+C" if request.for_ is None else f"for {request.for_:g} s, or until Ctrl+C"
    try:
        say(" · ".join([f"{where}: {held.what}", *held.notices, f"held {until}"]))
        held.wait()
    except KeyboardInterrupt:
        held.undo()
    say(f"{where}: undone")
    return 0


def run_unattended(request: options.RunRequest) -> int:
    """Make a Job on each target's node that runs the tool, or print what would be made; return the exit status."""
    from podtracer_nb.tools import unattended

    if request.out is not None and not request.dry_run:
        raise InputError("-o is for a notebook, or a format with --dry-run")
    made = unattended.made(str(request.tool), options.unattended_words(request), **request.unattended_keywords())
    if request.dry_run:
        print(unattended.manifests(made, request.out or "yaml"))
        return 0
    for each in made:
        print("\n".join(each.lines()), file=sys.stderr if each.error else sys.stdout)
    return FAILED if any(each.error for each in made) else 0
