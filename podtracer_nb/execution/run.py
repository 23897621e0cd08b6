"""A run: a tool inside a target, from its start to its status."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import marshal
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from podtracer_nb.errors import ExecutionError, InputError, PrivilegeError, ToolFailed, ToolNotFound
from podtracer_nb.execution import files, supervisor
from podtracer_nb.execution.clock import Clock
from podtracer_nb.execution.feed import Feed, Status, SupervisedFeed
from podtracer_nb.execution.recording import open_recording, remove_recording
from podtracer_nb.targets import Pin

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Limits", "Output", "Run", "Tail", "search_path", "start"]

_CHUNK = 1 << 20
_NSENTER_MISSING = "nsenter is not installed on this machine: apt-get install util-linux"
_EXIT_FAILURES = (1, 126, 127)


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


@dataclass(frozen=True)
class Output:
    """What one read of a tool's output brought.

    Attributes
    ----------
    time_ns
        When, in nanoseconds since the epoch. While output comes without a pause, what arrives within about 5 ms
        comes as one.
    stream
        Where it came from.
    data
        The bytes: any number of lines, whole or not.
    """

    time_ns: int
    stream: Literal["stdout", "stderr"]
    data: bytes


class Tail(io.RawIOBase):
    """The recording as a stream that ends when the run does; reading it late holds nobody up."""

    def __init__(self, feed: Feed, position: int = 0) -> None:
        super().__init__()
        self._feed = feed
        self._position = position

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what there is; wait while there is nothing; return 0 at the end."""
        while (count := self.readinto_now(buffer)) is None:
            self.wait_for_more()
        return count

    def readinto_now(self, buffer: WriteableBuffer, /) -> int | None:
        """Read what there is; return 0 at the end, None while there is nothing more."""
        ended = self._feed.ended  # before the read: what was written before the end is still to be read
        count = files.read_into_at(self._feed.recording, memoryview(buffer), self._position)
        self._position += count
        return count if count or ended or not memoryview(buffer).nbytes else None

    def wait_for_more(self, timeout: float | None = None) -> None:
        """Wait until there is more to be read, or nothing more will come."""
        feed = self._feed
        feed.wait_for(lambda: feed.ended or os.fstat(feed.recording).st_size > self._position, timeout)


class Run:
    """A tool at work in a target; made by `start`.

    Leaving its ``with`` block stops the tool and waits for its end; so does dropping the last reference, without the
    wait. What was captured can be read afterwards, too.

    Attributes
    ----------
    path
        The recording.
    argv
        The tool's words.
    stdout
        The tool's output as a raw stream: `readinto` waits for bytes and returns 0 at the end. It reads the recording
        on disk, so a slow reader never holds the tool up, and an interrupt leaves the position where it was.
    """

    def __init__(
        self, feed: Feed, argv: tuple[str, ...], label: str, *, in_container: bool = False, keep: bool = True
    ) -> None:
        self.path = feed.path
        self.argv = argv
        self.stdout = Tail(feed)
        self._feed = feed
        self._keep = keep
        self._label = label
        self._in_container = in_container
        weakref.finalize(self, feed.stop)

    @property
    def pid(self) -> int | None:
        """The tool's process id; of nsenter, where that has to fork for a PID namespace."""
        return self._feed.pid

    @property
    def bytes(self) -> int:
        """How many bytes of output there are so far."""
        return os.fstat(self._feed.recording).st_size

    @property
    def clock(self) -> Clock | None:
        """The clock that the times of its output are by, against ours; None: it is ours."""
        return self._feed.clock

    @property
    def stderr(self) -> str:
        """The tool's standard error so far; of more than 64 KiB the middle is left out, and the text says so."""
        return self._feed.stderr_text()

    @property
    def running(self) -> bool:
        """Whether the run has not ended yet."""
        return not self._feed.ended

    def tail(self, position: int) -> io.RawIOBase:
        """Return the output from a place in it, as a stream of its own like `stdout`."""
        return Tail(self._feed, position)

    def events(self) -> Iterator[Output]:
        """Give the output of both streams as it arrived, from the beginning; wait for more until the end.

        Of standard error, the first 64 MiB come this way.
        """
        feed = self._feed
        journal = recording = 0
        while True:
            at = journal
            feed.wait_for(lambda at=at: feed.ended or feed.journal_bytes > at)  # type: ignore[misc]
            ended, until = feed.ended, feed.journal_bytes
            while journal < until:
                entry = files.read_at(feed.journal, supervisor.JOURNAL_ENTRY, journal)
                journal += len(entry)
                time_ns, stream, length = (int.from_bytes(entry[a:b], "little") for a, b in ((0, 8), (8, 12), (12, 20)))
                if stream == supervisor.STDOUT:
                    for data in _chunks(feed.recording, recording, length):
                        yield Output(time_ns, "stdout", data)
                    recording += length
                else:
                    for data in _chunks(feed.journal, journal, length):
                        yield Output(time_ns, "stderr", data)
                    journal += length
            if ended:
                return

    def said(self, text: str, timeout: float) -> bool:
        """Wait until the tool has written `text` to standard error, or has ended, and tell whether it has."""
        self._feed.wait_for(lambda: self._feed.ended or text in self.stderr, timeout)
        return text in self.stderr

    def stop(self, *, target_gone: bool = False) -> None:
        """Order the tool to stop, and return at once; what it still flushes can be read to the end.

        Parameters
        ----------
        target_gone
            The reason is that its target went away; the status then says so.
        """
        self._feed.stop(target_gone=target_gone)

    def report(self) -> None:
        """Send the tool SIGUSR1, on which tcpdump(1) writes its counters to standard error.

        A tool that has no handler for it ends of it: signal(7). Left undone where nsenter runs the tool as its child.
        """
        self._feed.order(supervisor.REPORT)

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end.

        Returns
        -------
        Status
            How it ended; a tool's own failure is in its exit code.

        Raises
        ------
        TimeoutError
            The run has not ended after `timeout` seconds; it goes on.
        ToolNotFound, PrivilegeError, ToolFailed
            nsenter could not run the tool, or not enter the target.
        ExecutionError
            The supervisor was lost.
        """
        if not self._feed.wait_for(lambda: self._feed.ended, timeout):
            raise TimeoutError(f"{self.argv[0]} in {self._label} still runs after {timeout} s")
        status = self._feed.status
        if status is None:
            raise self._failure()
        if status.exit_code in _EXIT_FAILURES and not status.bytes:
            self._refused_by_nsenter()
        return status

    def wait_ended(self, timeout: float) -> bool:
        """Wait for the end, and tell whether it came; its status, or failure, is for `wait` to tell."""
        return self._feed.wait_for(lambda: self._feed.ended, timeout)

    def close(self) -> None:
        """Stop the tool, wait until nothing of it is left, and remove a recording that was not to be kept."""
        self._feed.stop()
        self._feed.wait_for(lambda: self._feed.ended)
        if not self._keep:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "running" if self.running else "ended"
        return f"<Run of {self.argv[0]} in {self._label}: {state}, {self.path}>"

    def _failure(self) -> ExecutionError:
        failure = self._feed.failure
        return ExecutionError(
            f"{self.argv[0]} in {self._label}: {failure.message if failure else 'no status'}: run it again"
        )

    def _refused_by_nsenter(self) -> None:
        """Raise what nsenter said about a tool that never ran."""
        line = next(iter(self.stderr.splitlines()), "")
        if not line.startswith("nsenter: "):
            return
        said = line.removeprefix("nsenter: ")
        name = self.argv[0]
        if said.startswith("failed to execute"):
            if not said.endswith("No such file or directory"):
                raise ToolFailed(f"{name} cannot be run in {self._label} ({said.rpartition(': ')[2]})", self.path)
            where = f"in the container of {self._label}" if self._in_container else "on this machine"
            hint = "leave mnt out of --ns to use this machine's" if self._in_container else "install it"
            raise ToolNotFound(f"{name} is not installed {where}: {hint}")
        if said.endswith(("Operation not permitted", "Permission denied")):
            raise PrivilegeError(
                f"{self._label} may not be entered ({said}): run as root or as its owner; in a container add SYS_ADMIN"
            )
        raise ExecutionError(f"{self._label} could not be entered ({said}): list the targets again")


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


def new_journal(path: Path) -> int:
    """Return a file without a name, on the recording's disk, for what arrived when."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise InputError(f"no file can be made beside {path} ({error.strerror}): name another file") from error


def _chunks(descriptor: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        data = files.read_at(descriptor, min(_CHUNK, end - offset), offset)
        if not data:
            return  # someone cut the recording short; what there was has been given
        yield data
        offset += len(data)
