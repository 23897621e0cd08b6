"""The process between us and every tool: starts it, keeps what it writes, stops it, and outlives whoever asked for it.

A program of its own, with the standard library only: ``python -I -S supervisor.py FD``, where FD holds the
specification as JSON (see `Specification`). The same file can run on another machine.

Its parent holds the other end of a control pipe. A byte there is an order (`STOP`, `GONE`, `REPORT`); its end means
that the parent is gone: the order to stop in a hurry. (PR_SET_PDEATHSIG would fire when the parent's *thread* ends,
prctl(2), and is cleared when a user namespace is entered.) What the tool writes goes to the recording on disk whether
the parent reads or not; the parent is told by short events that are left out, never waited for, while its pipe is full.
"""

# pathlib would add a fifth to the time that this program needs to start:
# ruff: noqa: PTH108, PTH123, PTH208

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing is not imported when this program runs: it would take as long as the loop's set-up
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypedDict

PIPE_BYTES = 1 << 20
#: The orders: to stop the tool; the same because its target is gone; to send it SIGUSR1, on which tcpdump(1) and others
#: print their counters.
STOP, GONE, REPORT = b"s", b"g", b"r"
STDOUT, STDERR = 1, 2
#: Standard error is kept to this many bytes at its beginning and at its end.
STDERR_HEAD = STDERR_TAIL = 32 << 10
#: Before them in the shared memory stands how many bytes there were in all.
STDERR_HEADER = 8
#: One entry of the journal: time in ns since the epoch, stream (1 or 2), length. A stderr entry's bytes follow it.
JOURNAL_ENTRY = 20
_JOURNAL_STDERR_LIMIT = 64 << 20
#: A tool that goes on writing this far beyond the byte limit does not mean to stop.
_OVERSHOOT = 16 << 20
_ANNOUNCE_INTERVAL = 0.005
_HASH_SLICE = 256 << 10
_RECHECK = 0.02
_GIVE_UP = 3.0  # seconds after SIGKILL: a process in uninterruptible sleep must not keep us for ever
_SIDECAR_RESERVE = 32 << 10
_SIDECAR_STDERR = 4000

# Seconds after the order, and the signal. Tools flush on SIGINT; what ignores it gets the next. A run with a patience
# of its own has that in place of the first two.
# Windows, where this file's constants are needed and no tool is run, has none.
_KILL: signal.Signals = getattr(signal, "SIGKILL", signal.SIGTERM)
_LADDER = ((0.0, signal.SIGINT), (2.0, signal.SIGTERM), (4.0, _KILL))
_HURRY = ((0.0, signal.SIGINT), (0.3, signal.SIGTERM), (0.6, _KILL))
_LEFTOVERS = ((0.0, signal.SIGINT), (0.2, signal.SIGTERM), (0.7, _KILL))

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE)


if TYPE_CHECKING:

    class Specification(TypedDict):
        """What the parent orders; descriptors by number."""

        argv: list[str]  # nsenter's words and the tool's
        forks: bool  # whether nsenter runs the tool as its child
        parent: int
        program: int | None  # this program itself, where it is not a file
        control: int
        events: int
        recording: int
        stderr: int
        journal: int
        path: str
        keep: bool
        seconds: float | None
        bytes: int | None
        linger: float
        patience: float | None  # seconds from the order to stop to SIGKILL, where not the usual ones
        metadata: dict[str, Any]


class Process:
    """What ``/proc/PID/stat`` says of a process."""

    def __init__(self, pid: int, stat: bytes) -> None:
        # proc(5): the command in parentheses may itself hold parentheses.
        state, parent, group, session = stat.rpartition(b")")[2].split()[:4]
        self.pid = pid
        self.alive = state not in (b"Z", b"X")
        self.parent, self.group, self.session = int(parent), int(group), int(session)


def processes() -> Iterator[Process]:
    """Give every process that ``/proc`` shows and that is not dead already."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                process = Process(int(name), file.read())
                if process.alive:
                    yield process


class _Events:
    """The pipe to the parent; never waits, but for the last word."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def tell(self, **event: Any) -> bool:
        """Send one event of at most PIPE_BUF bytes, which is atomic (pipe(7)), or none of it."""
        try:
            os.write(self._descriptor, json.dumps(event).encode() + b"\n")
        except BlockingIOError:
            return False
        except BrokenPipeError:
            pass
        return True

    def tell_last(self, **event: Any) -> None:
        """Send the last event as soon as the parent has room; nothing else waits for us by then."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while not self.tell(**event):
            poll.poll()


class Stderr:
    """The head and the tail of standard error, in memory that the parent sees."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.total = 0

    def add(self, data: bytes) -> None:
        head = data[: max(0, STDERR_HEAD - self.total)]
        if head:
            os.pwrite(self._descriptor, head, STDERR_HEADER + self.total)
        position = self.total + len(head) - STDERR_HEAD
        rest = data[len(head) :]
        skipped = max(0, len(rest) - STDERR_TAIL)
        rest, position = rest[skipped:], position + skipped
        while rest:
            at = position % STDERR_TAIL
            part = rest[: STDERR_TAIL - at]
            os.pwrite(self._descriptor, part, STDERR_HEADER + STDERR_HEAD + at)
            rest, position = rest[len(part) :], position + len(part)
        self.total += len(data)
        os.pwrite(self._descriptor, self.total.to_bytes(STDERR_HEADER, "little"), 0)


def stderr_text(descriptor: int) -> str:
    """Return what the shared memory holds of standard error, with a line where its middle was left out."""
    total = int.from_bytes(os.pread(descriptor, STDERR_HEADER, 0), "little")
    head = os.pread(descriptor, min(total, STDERR_HEAD), STDERR_HEADER)
    rest = total - len(head)
    ring = os.pread(descriptor, min(rest, STDERR_TAIL), STDERR_HEADER + STDERR_HEAD)
    cut = b""
    if rest > STDERR_TAIL:
        ring = ring[rest % STDERR_TAIL :] + ring[: rest % STDERR_TAIL]
        cut = b"\n[... %d bytes left out ...]\n" % (rest - STDERR_TAIL)
    return (head + cut + ring).decode("utf-8", errors="replace")


class Sidecar:
    """The recording's metadata beside it, with room reserved so that a full disk cannot take the last word."""

    def __init__(self, path: str) -> None:
        self._path = path + ".json"

    def write(self, content: dict[str, Any]) -> None:
        """Write it whole; before there is a reason for the run's end, with room for more."""
        text = json.dumps(content, indent=1, default=str).encode() + b"\n"
        # Written where pods are traced from, too, which may be another system.
        flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        try:
            # In place: these blocks are ours already, where a new file might find none left.
            _write_all(descriptor, text.ljust(max(_SIDECAR_RESERVE, os.fstat(descriptor).st_size)), 0)
            if "reason" in content:
                os.ftruncate(descriptor, len(text))
        except OSError as error:
            error.filename = self._path  # write(2) knows none
            raise
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    os.lseek(descriptor, offset, os.SEEK_SET)
    while view:
        view = view[os.write(descriptor, view) :]


class Supervisor:
    """One run, from the specification to the last event."""

    def __init__(self, spec: Specification) -> None:
        self.spec = spec
        self.events = _Events(spec["events"])
        self.stderr = Stderr(spec["stderr"])
        self.sidecar = Sidecar(spec["path"]) if spec["keep"] else None
        self.reason: str | None = None
        self.note: str | None = None
        self.written = self.hashed = 0
        self.journal_bytes = self.journal_stderr = 0
        self.pending: list[int] | None = None  # stdout's journal entry not yet written: time, length
        self.dirty = False
        self.discarding = False
        self.orphaned = False
        self.buffer = memoryview(bytearray(PIPE_BYTES))
        self.ladder: list[tuple[float, signal.Signals]] = []
        self.killed_at: float | None = None
        self.leader = 0
        self.leader_status: int | None = None
        self.poll = select.poll()
        self.streams: dict[int, int] = {}  # descriptor of a pipe's reading end → 1 or 2

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the tool; OSError where there is no nsenter, or no room for the metadata."""
        self.started_ns = time.time_ns()
        if self.sidecar is not None:
            self.sidecar.write({**self.spec["metadata"], "started": _iso(self.started_ns), "state": "running"})
        _adopt_orphans()  # before there are any: a shell can start a daemon and end within milliseconds
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop("stopped"))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.wake = wake
        import fcntl  # of this module others need but the files' form, on any system

        ends = [os.pipe(), os.pipe()]
        for reading, writing in ends:
            for end in (reading, writing):
                # Without CAP_SYS_RESOURCE a user's pipes may not grow beyond pipe-user-pages-soft: pipe(7).
                with contextlib.suppress(OSError):
                    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.set_blocking(reading, False)
        self.leader = os.posix_spawnp(
            self.spec["argv"][0],
            self.spec["argv"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, ends[0][1], 1),
                (os.POSIX_SPAWN_DUP2, ends[1][1], 2),
            ],
            setpgroup=0,
            # A notebook server started with nohup ignores SIGHUP and SIGINT, and would hand that down.
            setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
        self.began = time.monotonic()
        for stream, (reading, writing) in enumerate(ends, 1):
            os.close(writing)
            self.streams[reading] = stream
            self.poll.register(reading, select.POLLIN)
        self.events.tell(started=self.leader, time_ns=self.started_ns)
        for descriptor in (wake, self.spec["control"]):
            self.poll.register(descriptor, select.POLLIN)
        self.parent = -1
        with contextlib.suppress(OSError):  # no pidfd_open(2) before Linux 5.3; the control pipe serves
            self.parent = os.pidfd_open(self.spec["parent"])
            self.poll.register(self.parent, select.POLLIN)
        if os.getppid() != self.spec["parent"]:
            self.orphaned = True
            self.stop("parent-gone")
        import hashlib

        self.sha256 = hashlib.sha256()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until nothing of the tool is left."""
        while True:
            ready = self.poll.poll(self._timeout())
            for descriptor, _ in ready:
                if descriptor in self.streams:
                    self._drain(descriptor)
                elif descriptor == self.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(descriptor, 4096)
                    self._reap()
                else:
                    self._hear(descriptor)
            self._limits()
            self._climb()
            if not ready and self.hashed < self.written:
                self._hash()
            if self.dirty and time.monotonic() >= self.announce_at:
                self._announce()
            if (self.leader_status is not None or self.killed_at is not None) and self._over():
                return

    announce_at = 0.0

    def _timeout(self) -> float | None:
        if self.hashed < self.written:
            return 0
        times = [at for at, _ in self.ladder[:1]]
        if self.reason is None and self.spec["seconds"] is not None:
            times.append(self.began + self.spec["seconds"])
        if self.dirty:
            times.append(self.announce_at)
        if self.leader_status is not None or self.killed_at is not None:
            times.append(time.monotonic() + _RECHECK)
        return max(0.0, min(times) - time.monotonic()) * 1000 + 0.5 if times else None

    def _hear(self, descriptor: int) -> None:
        orders = os.read(descriptor, 4096) if descriptor == self.spec["control"] else b""
        if STOP in orders:
            self.stop("stopped")
        elif GONE in orders:
            self.stop("target-gone")
        # nsenter, where it has the tool as its child, would die of the signal.
        elif orders and self.leader_status is None and self.reason is None and not self.spec["forks"]:
            os.kill(self.leader, signal.SIGUSR1)
        if orders:
            return
        self.poll.unregister(descriptor)
        self.orphaned = True
        self.stop("parent-gone")

    def _limits(self) -> None:
        seconds, limit = self.spec["seconds"], self.spec["bytes"]
        if seconds is not None and time.monotonic() >= self.began + seconds:
            self.stop("timer")
        if limit is not None and self.written >= limit:
            # The tool is asked to stop and what it flushes is kept: cutting here would cut a packet in two.
            self.stop("bytes")
            if self.written >= limit + _OVERSHOOT and not self.discarding:
                self.discarding = True
                self.ladder = [(time.monotonic(), signal.SIGKILL)]

    # -- data -------------------------------------------------------------------------------------------------------

    def _drain(self, descriptor: int) -> int:
        """Take what one stream holds; return how much that was."""
        stream = self.streams[descriptor]
        now = time.time_ns()
        try:
            count = os.readv(descriptor, [self.buffer])
        except BlockingIOError:
            return 0
        data = self.buffer[:count]
        try:
            if not count:
                self.poll.unregister(descriptor)
                del self.streams[descriptor]
                os.close(descriptor)
            elif stream == STDERR:
                self.stderr.add(bytes(data))
                self._journal_stderr(now, bytes(data))
            elif not self.discarding:
                self._record(now, data)
        except OSError as error:
            self._disk(error)
        self.dirty = True
        return count

    def _record(self, now: int, data: memoryview) -> None:
        # Plain writes: splice(2) was no faster to ext4 nor to tmpfs, and some file systems lack it.
        if self.pending is None:
            self.pending = [now, 0]
        while data:
            count = os.pwrite(self.spec["recording"], data, self.written)
            self.written += count
            self.pending[1] += count
            data = data[count:]
        if self.sidecar is None:  # nobody compares what is not kept
            self.hashed = self.written

    def _disk(self, error: OSError) -> None:
        """End the run in good order because nothing more can be written; raise whatever else it is."""
        if error.errno not in _DISK_ERRORS:
            raise error
        self.note = f"recording stopped: {error.strerror}"
        self.discarding = True
        self.stop("disk")
        # Whatever ended it: what it wrote last, after the order to stop, had no room.
        self.reason = "disk"

    def _journal_stderr(self, now: int, data: bytes) -> None:
        self._journal_pending()
        data = data[: max(0, _JOURNAL_STDERR_LIMIT - self.journal_stderr)]
        if data:
            self._journal(now, STDERR, len(data), data)
            self.journal_stderr += len(data)

    def _journal_pending(self) -> None:
        if self.pending is not None:
            (now, count), self.pending = self.pending, None
            self._journal(now, STDOUT, count)

    def _journal(self, now: int, stream: int, length: int, data: bytes = b"") -> None:
        entry = now.to_bytes(8, "little") + stream.to_bytes(4, "little") + length.to_bytes(8, "little") + data
        _write_all(self.spec["journal"], entry, self.journal_bytes)
        self.journal_bytes += len(entry)

    def _announce(self) -> None:
        try:
            self._journal_pending()
        except OSError as error:
            self._disk(error)
        self.dirty = not self.events.tell(bytes=self.written, journal=self.journal_bytes)
        self.announce_at = time.monotonic() + _ANNOUNCE_INTERVAL

    def _hash(self) -> None:
        data = os.pread(self.spec["recording"], min(_HASH_SLICE, self.written - self.hashed), self.hashed)
        if not data:
            raise OSError(errno.EIO, "the recording is shorter than what was written to it")
        self.sha256.update(data)
        self.hashed += len(data)

    # -- ending -----------------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Begin to stop the tool; the first reason stays, a lost parent hurries the rest."""
        if self.leader_status is not None:
            return
        hurried = reason == "parent-gone" and self.reason != "parent-gone"
        # Asked again, it lingers no longer.
        insisted = reason == "stopped" and self.reason in ("stopped", "timer") and len(self.ladder) == len(_LADDER)
        if self.reason is None or hurried or insisted:
            lingers = self.reason is None and reason in ("stopped", "timer", "target-gone")
            begin = time.monotonic() + (self.spec["linger"] if lingers else 0.0)
            self.ladder = [(begin + delay, number) for delay, number in self._rungs(hurried)]
        if self.reason is None:
            self.reason = reason

    def _rungs(self, hurried: bool) -> tuple[tuple[float, signal.Signals], ...]:
        patience = self.spec["patience"]
        if patience is None:
            return _HURRY if hurried else _LADDER
        # What it does at its end matters more than how soon it is over, whoever has gone.
        return ((0.0, signal.SIGINT), (patience / 2, signal.SIGTERM), (patience, signal.SIGKILL))

    def _climb(self) -> None:
        while self.ladder and time.monotonic() >= self.ladder[0][0]:
            self._signal(self.ladder.pop(0)[1])

    def _signal(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL:
            self.killed_at = self.killed_at or time.monotonic()
        remaining = self._remaining()
        if self.spec["patience"] is not None and number != signal.SIGKILL:
            # It takes something back at its end, by a program of its own, which is not to be stopped.
            remaining = [process for process in remaining if process.pid == self.leader]
        elif self.spec["forks"] and number != signal.SIGKILL and len(remaining) > 1:
            # nsenter waits for its child without handling signals: left alone it hands on the child's end as its own.
            remaining = [process for process in remaining if process.pid != self.leader]
        elif number != signal.SIGKILL and any(process.group == self.leader for process in remaining):
            # All at once: one by one, a shell could start the next command of its script in between.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, number)
            remaining = [process for process in remaining if process.group != self.leader]
        for process in remaining:
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.kill(process.pid, number)
                except PermissionError:
                    # A program that became another user's (setuid): its next write ends it, with SIGPIPE.
                    self.note = f"no leave to signal process {process.pid}"
                    if number == signal.SIGKILL:
                        self._close_streams()

    def _close_streams(self) -> None:
        for descriptor in list(self.streams):
            self.poll.unregister(descriptor)
            os.close(descriptor)
        self.streams.clear()

    def _remaining(self) -> list[Process]:
        """Return what lives of the tool: its process group, and orphans that left the group but became ours."""
        own = os.getpid()
        return [
            process
            for process in processes()
            if (process.group == self.leader and process.session == own) or process.parent == own
        ]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.leader:
                    self.leader_status = status
                    self.reason = self.reason or "exit"

    def _over(self) -> bool:
        remaining = self._remaining()
        self._reap()  # what was not among them can be waited for by now
        now = time.monotonic()
        if remaining and (self.killed_at is None or now < self.killed_at + _GIVE_UP):
            if not self.ladder:
                late = self.killed_at is not None
                self.ladder = [(now + _RECHECK, signal.SIGKILL)] if late else [(now + t, n) for t, n in _LEFTOVERS]
            return False
        if remaining:
            self.note = f"still there after SIGKILL: {', '.join(str(process.pid) for process in remaining)}"
        # What is gone left at most a pipe full. A pipe still open is held by a process that escaped all of us.
        for descriptor in list(self.streams):
            left = PIPE_BYTES
            while descriptor in self.streams and left > 0 and (taken := self._drain(descriptor)):
                left -= taken
        return True

    def finish(self) -> None:
        """Complete the hash, write the metadata, say the last word."""
        self._close_streams()
        while self.hashed < self.written:
            self._hash()
        with contextlib.suppress(OSError):  # a full disk: the journal's last entry is not worth the status
            self._journal_pending()
        status = self.leader_status or 0
        words = {
            "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "reason": self.reason or "exit",
            "interrupted": self.reason in ("stopped", "parent-gone"),
            "started": _iso(self.started_ns),
            "ended": _iso(time.time_ns()),
            "bytes": self.written,
            "sha256": self.sha256.hexdigest(),
            "pid": self.leader,
            "note": self.note,
        }
        if self.sidecar is not None:
            stderr = stderr_text(self.spec["stderr"])[-_SIDECAR_STDERR:]
            try:
                self.sidecar.write({**self.spec["metadata"], **words, **self._change(words), "stderr": stderr})
            except OSError as error:
                words["note"] = f"metadata not written: {error.strerror}"
        elif self.orphaned:
            os.unlink(self.spec["path"])
        self.events.tell_last(**words, journal=self.journal_bytes)

    def _change(self, words: dict[str, Any]) -> dict[str, Any]:
        change = self.spec["metadata"].get("change")
        held = isinstance(change, dict) and change.get("held")
        recorded = os.pread(self.spec["recording"], self.written, 0) if held else b""
        return changed(self.spec["metadata"], words["exit_code"], recorded)


def changed(metadata: dict[str, Any], exit_code: int | None, recorded: bytes) -> dict[str, Any]:
    """Return what became of a change, for its description; of one that was held, hold.py's last word tells."""
    change = metadata.get("change")
    if not isinstance(change, dict):
        return {}
    if not change.get("held"):
        return {"change": {**change, "made": None if exit_code is None else exit_code == 0}}
    lines = recorded.rpartition(b"\n")[0].splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:  # another program's words
        told = {}
    return {"change": {**change, **told}}


def _adopt_orphans() -> None:
    """Become the parent of the tool's orphans (prctl(2), PR_SET_CHILD_SUBREAPER), so that none is lost."""
    try:
        import ctypes
    except ImportError:  # a Python without libffi: what leaves the process group stays out of reach
        return
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def _iso(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}+00:00"


def main() -> None:
    """Read the specification from the descriptor named on the command line, and run it."""
    number = int(sys.argv[1])
    with open(number, "rb") as file:
        spec: Specification = json.load(file)
    ours = (spec["program"], spec["control"], spec["events"], spec["recording"], spec["stderr"], spec["journal"])
    for descriptor in ours:
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
    supervisor = Supervisor(spec)
    try:
        supervisor.start()
    except OSError as error:
        supervisor.events.tell_last(
            failed=error.errno, message=f"{error.strerror}: {error.filename or spec['argv'][0]}"
        )
        raise SystemExit(1) from None
    try:
        supervisor.run()
        supervisor.finish()
    except BaseException:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Without us it takes back what it has to.
            if spec["patience"] is None:
                os.killpg(supervisor.leader, signal.SIGKILL)
            else:
                os.kill(supervisor.leader, signal.SIGINT)
        raise
    os._exit(0)  # all is written and closed: an orderly end of the interpreter would only take time


if __name__ == "__main__":
    main()
