"""Make a change, hold it, take it back: `hold.py ORDER`, where ORDER is JSON (see `Order`).

It stands between the supervisor and two short programs inside the target: the one that makes the change, and the one
that takes it back. The second runs exactly once: when the time is over, on SIGINT, SIGTERM or SIGHUP, and when nobody
reads our standard output any more, which is when the supervisor is gone, however it went: poll(2), POLLERR. Both run in
sessions of their own, so that no signal meant for us reaches them.

On standard output: a line of JSON (`Word`) when the change is made, another when it is taken back. A change that fails
leaves no line, its program's words on standard error, and its exit status as ours.
"""

# As the supervisor, it is waited for: pathlib and subprocess would double the time that it needs to start.
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    class Order(TypedDict):
        """What is to be held."""

        do: list[str]  # with nsenter's words before them, both
        entering: list[str]
        undo: list[str]
        told: str
        restores: bool
        seconds: float | None
        description: str

    class Word(TypedDict, total=False):
        """What is told; merged into the change that the run's description has."""

        made: bool
        undone: bool
        undo: list[str]
        output: str  # the change's
        at: str  # when, UTC
        why: str  # it is taken back: its time, an order, the supervisor's end
        error: str  # why it could not be


STDOUT, STDERR = 1, 2
# By name: Windows, where changes are asked for and never made, has not all of them.
_ORDERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
#: Seconds that each of the two programs may take, counted from the order to end: together less than `PATIENCE`.
_DO, _UNDO = 3.0, 5.0
#: Seconds after which the supervisor kills us.
PATIENCE = 12.0
_NOT_RUN = 127


def filled(undo: Sequence[str], told: str, output: str) -> tuple[str, ...] | None:
    r"""Return `undo` with each `{name}` replaced by what the group `name` of the expression `told` matches in `output`.

    None where the output does not match: then nobody knows what takes the change back.

    Examples
    --------
    >>> filled(("nft", "delete", "rule", "t", "c", "handle", "{handle}"), r"# handle (?P<handle>\d+)", "… # handle 7")
    ('nft', 'delete', 'rule', 't', 'c', 'handle', '7')
    """
    if not told:
        return tuple(undo)
    found = re.search(told, output)
    if found is None:
        return None
    words = list(undo)
    for name, value in found.groupdict().items():
        words = [word.replace(f"{{{name}}}", value or "") for word in words]
    return tuple(words)


class _News:
    """What ends the hold, and the ends of our children."""

    def __init__(self) -> None:
        self.why = ""
        self.ordered_at = 0.0
        self._wake, waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (*_ORDERS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(STDOUT, 0)

    def wait(self, until: float | None) -> None:
        """Wait for news, at the longest until a moment of the monotonic clock."""
        timeout = None if until is None else max(0.0, until - time.monotonic()) * 1000 + 0.5
        for descriptor, _ in self._poll.poll(timeout):
            if descriptor == self._wake:
                with contextlib.suppress(BlockingIOError):
                    if set(os.read(self._wake, 4096)) & set(_ORDERS):
                        self.order("ordered")
            else:
                self._poll.unregister(STDOUT)
                self.order("the supervisor is gone")

    def order(self, why: str) -> None:
        """Begin the end; the first reason stays."""
        if not self.why:
            self.why, self.ordered_at = why, time.monotonic()


class _Program:
    """What a program inside the target left."""

    def __init__(self, argv: list[str]) -> None:
        self.status: int | None = None
        # Not our own: when the supervisor is gone, a word on standard error would be the program's end (SIGPIPE).
        self._streams = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    *((os.POSIX_SPAWN_DUP2, each, number) for number, each in enumerate(self._streams, 1)),
                ],
                setsid=True,
                setsigdef=[*_ORDERS, signal.SIGQUIT, signal.SIGPIPE],
            )
        except OSError as error:
            self.status = _NOT_RUN
            os.write(self._streams[1], f"{argv[0]}: {error.strerror}\n".encode())

    def ended(self) -> bool:
        """Tell whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def kill(self) -> None:
        """End it, and what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def text(self, number: int) -> str:
        """Return what it wrote to standard output (1) or standard error (2)."""
        descriptor = self._streams[number - 1]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", errors="replace")

    def said(self) -> str:
        """Return the last line that it wrote to standard error."""
        lines = [line.strip() for line in self.text(STDERR).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


def main() -> int:
    """Carry out the order that the command line holds."""
    order: Order = json.loads(sys.argv[1])
    news = _News()
    done = _Program([*order["entering"], *order["do"]])
    while not done.ended():
        late = news.ordered_at + _DO if news.why else None
        if late is not None and time.monotonic() >= late:
            done.kill()
            late += _DO  # until it is reaped
        news.wait(late)
    output = done.text(STDOUT)
    _write(STDERR, done.text(STDERR))
    status = done.status or 0
    undo = filled(order["undo"], order["told"], output)
    if status:
        if undo is not None and (order["restores"] or status < 0):
            # It may have made a part of its changes: sysctl goes on after a name that does not exist.
            _back(news, order["entering"], undo)
        _write(STDERR, output)
        return status if status > 0 else 128 - status
    if undo is None:
        error = "what it wrote does not tell how it is taken back"
        _tell(order, {"made": True, "undone": False, "output": output, "at": _now(), "error": error})
        return 1
    _tell(order, {"made": True, "undone": False, "undo": list(undo), "output": output, "at": _now()})
    until = None if order["seconds"] is None else time.monotonic() + order["seconds"]
    while not news.why:
        news.wait(until)
        if until is not None and time.monotonic() >= until:
            news.order("its time is over")
    error = _back(news, order["entering"], undo)
    last: Word = {"made": True, "undone": not error, "undo": list(undo), "at": _now(), "why": news.why}
    if error:
        last["error"] = error
    _tell(order, last)
    return 1 if error else 0


def _back(news: _News, entering: list[str], undo: tuple[str, ...]) -> str:
    """Take the change back; return why that failed, or nothing."""
    program = _Program([*entering, *undo])
    late = time.monotonic() + _UNDO
    killed = False
    while not program.ended():
        if time.monotonic() >= late:
            program.kill()
            killed = True
            late += _UNDO
        news.wait(late)
    if not program.status:
        return ""
    _write(STDERR, program.text(STDERR))
    return f"it did not end within {_UNDO:.0f} s" if killed else program.said()


def _tell(order: Order, word: Word) -> None:
    """Tell it to the supervisor; where that is gone, write it into the run's description in its place."""
    if _write(STDOUT, json.dumps(word) + "\n"):
        return
    # Nobody may ever look: the last word is for whoever finds the recording. A full disk: nobody is told.
    with contextlib.suppress(OSError, ValueError, KeyError), open(order["description"], "r+", encoding="utf-8") as file:
        described = json.load(file)
        described.pop("state", None)
        described["change"] = {**described["change"], **word}
        file.seek(0)
        file.write(json.dumps({**described, "reason": "lost"}, indent=1) + "\n")
        file.truncate()


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}+00:00"


def _write(descriptor: int, text: str) -> bool:
    data = text.encode()
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
