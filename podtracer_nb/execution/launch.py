"""Starts a run: a supervisor (`supervisor.py`), which starts the tool inside the target."""

from __future__ import annotations

import functools
import importlib.util
import json
import marshal
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podtracer_nb.errors import ExecutionError, InputError, ToolNotFound
from podtracer_nb.execution import supervisor
from podtracer_nb.execution.feed import Feed, SupervisedFeed
from podtracer_nb.execution.recording import new_journal, open_recording, remove_recording
from podtracer_nb.execution.run import Run
from podtracer_nb.targets import Pin

__all__ = ["Limits", "search_path", "start"]

_NSENTER_MISSING = "nsenter is not installed on this machine: apt-get install util-linux"


@dataclass(frozen=True)
class Limits:
    """When a run is to be stopped, at the latest.

    Attributes
    ----------
    seconds
        After so long.
    bytes
        When the recording has so many. The tool is asked to stop and what it then flushes is kept, because a cut
        could go through a packet: the recording may be larger by what was in the pipe (1 MiB) and the tool's buffer.
    linger
        Seconds that the tool goes on after the timer or the order to stop, for what reaches it late. An order that
        is given again, a lost parent and the limit of bytes do not wait.
    patience
        Seconds from the order to stop until SIGKILL, for a program that has something to take back at its end: neither
        a lost parent nor a lost supervisor shortens them. None: 4 s, and 0.6 s when the parent is lost.
    """

    seconds: float | None = None
    bytes: int | None = None
    linger: float = 0.0
    patience: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("bytes", self.bytes)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"a limit of {value} {name} cannot be kept: give a positive number")


def start(
    pin: Pin,
    argv: Sequence[str],
    *,
    recording: Path,
    limits: Limits | None = None,
    metadata: Mapping[str, Any] | None = None,
    keep: bool = True,
    around: Callable[[list[str]], list[str]] | None = None,
) -> Run:
    r"""Start a tool inside a target.

    Parameters
    ----------
    pin
        The target's namespaces; may be closed when the run has started.
    argv
        The tool and its words, handed over as they are, never through a shell.
    recording
        Where standard output goes: a regular file, emptied if it exists. ``<recording>.json`` beside it tells what
        it is: `metadata`, ``argv``, ``target``, and at the end the status.
    limits
        When to stop.
    metadata
        More words for the recording's description; small and JSON-able.
    keep
        False removes the recording when the run is closed, and writes no description.
    around
        The words that enter the target → the argv of a program that itself runs nsenter and the tool, once or often.
        It stays outside, so it needs nothing of the target's files, and no process of the target can signal it.

    Returns
    -------
    Run
        The tool has been started.

    Raises
    ------
    InputError
        An argv or recording that cannot be used; nothing was started.
    ToolNotFound
        The tool, or nsenter, is not installed; nothing was started.
    ExecutionError
        The supervisor could not start.

    Examples
    --------
    >>> import os
    >>> from podtracer_nb import targets
    >>> from podtracer_nb.execution import new_recording_path
    >>> (own,) = targets.resolve(pid=os.getpid())
    >>> file = new_recording_path("echo", own.pod, ".txt")
    >>> with targets.pin(own) as held, start(held, ["echo", "hello"], recording=file) as run:
    ...     print(run.stdout.read(), run.wait().exit_code)
    b'hello\n' 0
    """
    words = _checked(argv, pin)
    path = Path(recording).absolute()
    described = {
        "argv": list(words),
        "nsenter": pin.nsenter,
        "target": pin.target.label,
        "node": pin.target.node or socket.gethostname(),
        "recording": path.name,
        **(metadata or {}),
    }
    entering = [*pin.nsenter, *words] if around is None else around(pin.nsenter)
    feed = _launch(pin, entering, path, limits or Limits(), described, keep, forks=pin.forks and around is None)
    run = Run(feed, words, pin.target.label, in_container="mnt" in pin.entered, keep=keep)
    try:
        feed.wait_for(lambda: feed.ended or feed.pid is not None)
    except BaseException:
        run.close()
        raise
    if feed.pid is None and feed.failure is not None:
        if feed.failure.errno is None:
            raise ExecutionError(f"{words[0]} in {pin.target.label} was not started: {feed.failure.message}")
        remove_recording(path)  # of the description, there is what had room
        raise ExecutionError(
            f"{words[0]} in {pin.target.label} was not started ({feed.failure.message}): make room or name another file"
        )
    return run


def search_path() -> str:
    """Return where tools are looked for: PATH, then the directories that an ordinary user's PATH often lacks."""
    return os.pathsep.join([os.environ.get("PATH") or os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _checked(argv: Sequence[str], pin: Pin) -> tuple[str, ...]:
    words = tuple(argv)
    if isinstance(argv, str) or not words or not words[0] or any("\0" in word for word in words):
        raise InputError("the tool's argv must be a list of words, the first of them its name, without NUL bytes")
    if words[0].startswith("-"):
        raise InputError(f"{words[0]!r} is not the name of a tool")
    if not pin.fds:
        raise InputError(f"the pin of {pin.target.label} is closed: pin it again")
    if shutil.which("nsenter", path=search_path()) is None:
        raise ToolNotFound(_NSENTER_MISSING)
    # Inside a mount namespace the container's own files count, which only nsenter sees.
    if "mnt" not in pin.entered and shutil.which(words[0], path=search_path()) is None:
        raise ToolNotFound(f"{words[0]} is not installed on this machine: install it, for instance with apt-get")
    return words


def _launch(  # noqa: PLR0917 - one caller, right above
    pin: Pin, argv: list[str], path: Path, limits: Limits, metadata: dict[str, Any], keep: bool, *, forks: bool
) -> Feed:
    with ExitStack() as ours, ExitStack() as theirs:

        def pair(keeper: ExitStack, other: ExitStack) -> tuple[int, int]:
            reading, writing = os.pipe()
            keeper.callback(os.close, reading)
            other.callback(os.close, writing)
            return reading, writing

        output = open_recording(path)
        theirs.callback(os.close, output)
        fds = {"recording": os.open(path, os.O_RDONLY | os.O_CLOEXEC)}
        ours.callback(os.close, fds["recording"])
        for name in ("stderr", "complaints"):
            fds[name] = os.memfd_create(f"podtracer-{name}")
            ours.callback(os.close, fds[name])
        fds["journal"] = new_journal(path)
        ours.callback(os.close, fds["journal"])
        control, fds["control"] = pair(theirs, ours)
        os.set_blocking(fds["control"], False)
        fds["events"], events = pair(ours, theirs)
        program, order = os.memfd_create("podtracer-supervisor"), os.memfd_create("podtracer-order")
        for descriptor in (program, order):
            theirs.callback(os.close, descriptor)
        os.write(program, _compiled())
        spec: supervisor.Specification = {
            "argv": argv,
            "forks": forks,
            "parent": os.getpid(),
            "program": program,
            "control": control,
            "events": events,
            "recording": output,
            "stderr": fds["stderr"],
            "journal": fds["journal"],
            "path": str(path),
            "keep": keep,
            "seconds": limits.seconds,
            "bytes": limits.bytes,
            "linger": limits.linger,
            "patience": limits.patience,
            "metadata": metadata,
        }
        try:
            os.write(order, json.dumps(spec).encode())
        except (TypeError, ValueError) as error:
            raise InputError(f"the run's metadata is no JSON ({error}): give words and numbers") from error
        os.lseek(order, 0, os.SEEK_SET)
        if not sys.executable:
            raise ExecutionError("this Python does not know its own executable: run podtracer with an ordinary Python")
        process = subprocess.Popen(
            [*pin.launcher, sys.executable, "-I", "-S", f"/proc/self/fd/{program}", str(order)],
            pass_fds=(program, control, events, output, fds["stderr"], fds["journal"], order, *pin.pass_fds),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=fds["complaints"],
            env={**os.environ, "LC_ALL": "C", "PATH": search_path()},
            start_new_session=True,
        )
        ours.pop_all()
        theirs.close()
        return SupervisedFeed(process, fds, path, metadata, keep, patience=limits.patience)


@functools.cache
def _compiled() -> bytes:
    """Return the supervisor as a .pyc file: compiling it takes as long as starting Python, so not in every run."""
    source = Path(supervisor.__file__).read_bytes()
    code = compile(source, supervisor.__file__, "exec", dont_inherit=True)
    # PEP 552: magic number, flags, two words that only an import looks at.
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
