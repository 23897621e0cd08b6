"""A run: a tool inside a target, from its start to its status."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from podtracer_nb.errors import ExecutionError, PrivilegeError, ToolFailed, ToolNotFound
from podtracer_nb.execution import files, supervisor
from podtracer_nb.execution.clock import Clock
from podtracer_nb.execution.feed import Feed, Status

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Output", "Run", "Tail"]

_CHUNK = 1 << 20
_EXIT_FAILURES = (1, 126, 127)


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


def _chunks(descriptor: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        data = files.read_at(descriptor, min(_CHUNK, end - offset), offset)
        if not data:
            return  # someone cut the recording short; what there was has been given
        yield data
        offset += len(data)
