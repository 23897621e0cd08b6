"""Changes that are held: made in a target, and taken back at the latest when this process ends.

What holds a change is ``inside/hold.py`` under a supervisor, so it is taken back whatever becomes of us. This process
keeps a register of what it holds: `changes`, `undo_all`.

In a pod of another node the tracer pod there holds it, and takes it back as well when it is itself ended, and when
nobody has come for longer than its lease: the connection is broken, or this process was killed.

One end is beyond it: where all processes of this machine or container are killed at once, that one as well, the change
stays. Its recording and the description beside it, on disk, say what was done and what takes it back.
"""

from __future__ import annotations

import atexit
import math
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from podtracer_nb import execution
from podtracer_nb.errors import InputError, PodtracerError, ToolFailed
from podtracer_nb.tools import holding
from podtracer_nb.tools.job import ENDINGS, Job
from podtracer_nb.tools.opening import open_session
from podtracer_nb.tools.session import Session

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Held", "changes", "checked_seconds", "hold", "hold_session", "undo_all"]

_LINE = 1 << 16
_lock = threading.Lock()
_register: list[Held] = []


class Held:
    """A change that is held in one or several targets; made by `hold` and `impair`.

    Leaving its ``with`` block takes it back; so do `undo`, its time, `%unload_ext podtracer_nb` and the end of this
    process, however that comes.

    Attributes
    ----------
    what
        The change's words.
    since, until
        When it was made in all targets, and when it is taken back by itself (None: not before it is asked for); UTC.
    """

    def __init__(self, session: Session[object], seconds: float) -> None:
        self._session = session
        self._settled: tuple[dict[str, Any], ...] | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()
        job = session.jobs[0]
        self.what = shlex.join(job.command.argv)
        self.since = datetime.now(UTC)
        self.until = None if math.isinf(seconds) else self.since + timedelta(seconds=seconds)

    @property
    def targets(self) -> tuple[str, ...]:
        """Where it is held."""
        return tuple(job.target.label for job in self._session.jobs)

    @property
    def notices(self) -> tuple[str, ...]:
        """What there is to know of where it is held: that it is this machine's own network, for instance."""
        return tuple(dict.fromkeys(notice for job in self._session.jobs for notice in job.pin.notices))

    @property
    def held(self) -> bool:
        """Whether it is still in force in any target."""
        return any(job.run.running for job in self._session.jobs)

    def wait(self) -> None:
        """Wait until it is taken back: by its time, or because a target is gone.

        Raises
        ------
        ToolFailed
            It could not be taken back.
        """
        self._settle()

    def undo(self) -> None:
        """Take it back and wait until that is done; once is enough, a second time does nothing.

        Raises
        ------
        ToolFailed
            It could not be taken back in one of the targets: the line says where and why.
        """
        self._session.stop()
        self._settle()

    def provenance(self) -> tuple[dict[str, Any], ...]:
        """Wait until it is taken back; return what was run, by target, where `change` says whether that worked."""
        with self._lock:
            if self._settled is None:
                self._settled = tuple(_provenance(job) for job in self._session.jobs)
                self._session.__exit__(None, None, None)
            return self._settled

    def _settle(self) -> None:
        failures = [each["failure"] for each in self.provenance() if each["failure"]]
        if _forget(self) and failures:
            raise ToolFailed("; ".join(failures), self.provenance())

    def rows(self) -> list[dict[str, Any]]:
        """Return what `changes` shows of it, a row a target."""
        return [
            {
                "target": job.target.label,
                "argv": self.what,
                "undo": shlex.join(job.changed()["undo"] or ()),
                "since": self.since,
                "until": self.until,
                "state": "held" if job.run.running else _failure(job) or "undone",
            }
            for job in self._session.jobs
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        where = ", ".join(self.targets)
        if not self.held:
            return f"<{self.what} in {where}: over>"
        until = "undo() is called" if self.until is None else f"{self.until:%H:%M:%S} UTC"
        return f"<{self.what} in {where}: held until {until}>"


def hold(
    tool: str,
    args: Sequence[str],
    *,
    for_: float | None = None,
    pod: str | Iterable[str] | None = None,
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | os.PathLike[str] | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    ns: Sequence[str] = ("net",),
    file: str | os.PathLike[str] | None = None,
    allow_change: bool = False,
    via: str | None = None,
    image: str | None = None,
    tracer_namespace: str | None = None,
) -> Held:
    """Make a change in a target and hold it: it is taken back on leaving the ``with`` block, at the latest.

    Parameters
    ----------
    tool, args
        What makes the change: a tool that knows what takes it back (`ip address add`, `sysctl -w`, …).
    for_
        Seconds after which it is taken back; None: when it is asked for, or when this process ends.
    pod, selector, namespace, all_namespaces, container, pid, netns, context, kubeconfig, ns
        Where, as for `run`.
    file
        Where to leave the recording: a line of JSON when the change was made, and one when it was taken back.
    allow_change
        Has to be True: the target is altered.
    via, image, tracer_namespace
        As for `run`: by whom, for a pod of another node.

    Returns
    -------
    Held
        The change has been made in every target.

    Raises
    ------
    InputError
        The tool alters nothing by these words, or nothing takes that back; no leave was given.
    TargetError, ClusterError
        As for `run`.
    PrivilegeError
        The kernel refuses.
    ToolError
        The tool failed in one of the targets; in the others the change was taken back.

    Examples
    --------
    >>> import podtracer_nb
    >>> words = ["address", "add", "192.0.2.7/24", "dev", "eth0"]
    >>> with podtracer_nb.hold("ip", words, pod="web", allow_change=True):  # doctest: +SKIP
    ...     podtracer_nb.run("ping", ["-c", "1", "192.0.2.7"], pod="api")
    """
    seconds = checked_seconds(for_)
    session = open_session(
        [(tool, args)],
        pod=pod,
        selector=selector,
        namespace=namespace,
        all_namespaces=all_namespaces,
        container=container,
        pid=pid,
        netns=netns,
        context=context,
        kubeconfig=kubeconfig,
        ns=ns,
        file=file,
        allow_change=allow_change,
        via=via,
        image=image,
        tracer_namespace=tracer_namespace,
        hold=seconds,
    )
    return hold_session(session, seconds)


def checked_seconds(for_: float | None) -> float:
    """Return how long a change is to be held; infinity where nothing was said."""
    if for_ is None:
        return math.inf
    if isinstance(for_, bool) or not isinstance(for_, int | float) or not 0 < for_ < math.inf:
        raise InputError(f"for_={for_!r} has to be a number of seconds greater than 0")
    return for_


def hold_session(
    session: Session[object], seconds: float, diagnose: Callable[[Job], PodtracerError | None] = lambda _: None
) -> Held:
    """Wait until a session has made its changes, and enter them in the register; undo all where one fails."""
    try:
        for job in session.jobs:
            _made(job, diagnose)
        held = Held(session, seconds)
    except BaseException:
        session.__exit__(None, None, None)  # which waits until what was made elsewhere is taken back
        raise
    with _lock:
        _register.append(held)
    # Last registered, first called: before the end of the runs themselves, whose words are needed (weakref.finalize).
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)
    return held


def changes() -> pd.DataFrame:
    """List the changes that this process holds in targets.

    Returns
    -------
    pandas.DataFrame
        A row a target: `target`, `argv`, `undo` (str), `since`, `until` (datetime64[ns, UTC]; NaT: until it is asked
        for), `state` (str: "held", or why it could not be taken back).

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.changes().columns.tolist()
    ['target', 'argv', 'undo', 'since', 'until', 'state']
    """
    import pandas as pd

    rows = [row for each in _now() for row in each.rows() if row["state"] != "undone"]
    columns = ["target", "argv", "undo", "since", "until", "state"]
    frame = pd.DataFrame(rows, columns=columns)
    times = dict.fromkeys(("since", "until"), "datetime64[ns, UTC]")
    return frame.astype({**dict.fromkeys(("target", "argv", "undo", "state"), "str"), **times})


def undo_all() -> int:
    """Take back every change that this process holds, and return how many there were.

    Raises
    ------
    ToolFailed
        Some could not be taken back; all others were.

    Examples
    --------
    >>> undo_all()
    0
    """
    held = _now()
    for each in held:
        each._session.stop()  # all at once, then wait for each
    failures = []
    for each in held:
        try:
            each.undo()
        except PodtracerError as error:
            failures.append(str(error))
    if failures:
        raise ToolFailed("; ".join(failures))
    return len(held)


def _now() -> list[Held]:
    """Return the changes of the register, those left out that are over and done with."""
    with _lock:
        # After fork(2) a child has them in its memory, but they are its parent's.
        mine = [each for each in _register if each._owner == os.getpid()]
    over = [each for each in mine if not each.held and not any(one["failure"] for one in each.provenance())]
    for each in over:
        _forget(each)
    return [each for each in mine if each not in over]


def _forget(held: Held) -> bool:
    """Take a change off the register, and tell whether it was there."""
    with _lock:
        if held not in _register:
            return False
        _register.remove(held)
        return True


def _at_exit() -> None:
    """Take all back at the end of this process, and say what could not be: nobody else will."""
    try:
        undo_all()
    except PodtracerError as error:
        print(f"podtracer: {error}", file=sys.stderr)


def _made(job: Job, diagnose: Callable[[Job], PodtracerError | None]) -> None:
    """Wait until a change is made; raise why it was not."""
    while data := job.run.stdout.read(_LINE):
        if data.endswith(b"\n"):
            break
    else:
        status = job.run.wait()
        if not status.exit_code:
            why = ENDINGS.get(status.reason, "stopped")
            raise ToolFailed(f"{job.tool.name} in {job.target.label} was {why} before it was done: try again")
        stderr = job.run.stderr
        raise (
            diagnose(job)
            or (job.command.diagnose or job.tool.diagnose)(stderr)
            or holding.refused(job.tool.name, job.pin, stderr)
        )
    told = job.changed()
    if "error" in told:
        raise ToolFailed(f"{_line(job)} was done in {job.target.label} and stays: {told['error']}; undo it by hand")


def _failure(job: Job) -> str:
    """Return why a change that is over was not taken back; empty where it was."""
    told = job.changed()
    if told["undone"]:
        return ""
    if "error" not in told and _unheard(job):
        return (
            f"it is not known whether {_line(job)} in {job.target.label} is taken back: its tracer pod does that at "
            f"its own end, or within two minutes of last hearing of us; by hand: {shlex.join(told['undo'])}"
        )
    why = told.get("error", "what held it was killed")
    gone = f" ({job.gone})" if job.gone else ""
    return f"{_line(job)} in {job.target.label} is not taken back: {why}{gone}; by hand: {shlex.join(told['undo'])}"


def _unheard(job: Job) -> bool:
    """Whether what holds it is on another node, and its end was never heard of."""
    try:
        return job.run.wait().reason == "tracer-gone"
    except PodtracerError:
        return isinstance(job.pin, execution.Elsewhere)


def _line(job: Job) -> str:
    return shlex.join(job.command.argv)


def _provenance(job: Job) -> dict[str, Any]:
    """Wait for the end of a job, and return its provenance with what is to be said of it."""
    try:
        found = job.provenance(job.run.wait())
    except PodtracerError as error:  # its supervisor was lost
        found = {"tool": job.tool.name, "recording": str(job.recording), "change": job.changed(), "notes": [str(error)]}
    return {**found, "failure": _failure(job)}
