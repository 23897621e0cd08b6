"""`podtracer_nb.capture` and `podtracer_nb.captures`, and the end of all captures with the process."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podtracer_nb.errors import InputError, PrivilegeError, ToolFailed
from podtracer_nb.tools.live.capture import LiveCapture
from podtracer_nb.tools.live.parts import Rotation
from podtracer_nb.tools.live.window import Extent
from podtracer_nb.tools.opening import open_session
from podtracer_nb.tools.ring import NotOfTheRing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["capture", "captures", "stop_all"]

COLUMNS_SNAPLEN = 512
"""Bytes of a packet that the ring takes where only columns are asked for: every header that fills one, and a name."""

_LISTENING = 5.0  # seconds that a capture has to begin, before it is left to begin alone

_running: list[LiveCapture] = []
_lock = threading.Lock()


def capture(
    pod: str | Iterable[str] | None = None,
    *,
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | os.PathLike[str] | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    ns: Sequence[str] = ("net",),
    filter: str | None = None,
    interface: str | None = None,
    count: int | None = None,
    snaplen: int | None = None,
    timer: float | None = None,
    max_bytes: int | None = None,
    args: Sequence[str] = (),
    engine: str | None = None,
    window: int | str | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    file: str | os.PathLike[str] | None = None,
    keep: bool = True,
    rotate_size: int | None = None,
    rotate_count: int | None = None,
    rotate_seconds: int | None = None,
) -> LiveCapture:
    """Start a capture in the background, and return at once.

    It ends by `stop`, at the end of its ``with`` block, at `count`, `timer` or `max_bytes`, when its target is gone,
    with ``%unload_ext podtracer_nb``, and with this process, however that ends.

    Parameters
    ----------
    pod
        One or several of: name, `ns/name`, `deploy/web`, `sts/db`, `ds/x`, `job/x`, `svc/api`, a glob.
    selector, namespace, all_namespaces, container, pid, netns, context, kubeconfig, ns
        The targets: as in `podtracer_nb.run`.
    filter, interface, count, snaplen, timer, max_bytes
        What is captured, and how much of it: as in `podtracer_nb.run`.
    args
        tcpdump's own words.
    engine
        `ring`: a ring of memory that the kernel fills, which loses no packet where tcpdump does and takes a tenth of
        its time; `tcpdump`; by default the ring where it can be had, else tcpdump and a note that says why.
    window
        What `df` holds: the last so many packets, or those of the last "30s" (and at most 5,000,000); by default
        100,000 packets.
    columns, layers
        As in `podtracer_nb.read_pcap`.
    file
        Where the bytes go, on this machine; default: the directory of recordings. The ring writes pcapng where the
        suffix says so.
    keep
        False keeps no file: the window is all that there is. The ring then takes 512 bytes of each packet, unless
        `snaplen` says otherwise: columns need no more, and payload is not copied.
    rotate_size, rotate_count
        tcpdump's -C and -W: begin another file when one has more than so many bytes; have at most so many files, the
        oldest is written over.
    rotate_seconds
        tcpdump's -G: begin another file with the first packet so many seconds after that which began the last one.
        `file` then has a time in strftime's words, such as ``web-%H%M%S.pcap``. With `rotate_count` and no
        `rotate_size` the capture ends after so many files.

    Returns
    -------
    LiveCapture
        It has begun.

    Raises
    ------
    PodtracerError
        As `podtracer_nb.run`, for what is found before the start.

    Examples
    --------
    >>> live = podtracer_nb.capture("web", namespace="shop", filter="port 8080")  # doctest: +SKIP
    >>> live.df.proto.value_counts()  # doctest: +SKIP
    >>> live.stop().read()  # doctest: +SKIP
    """
    words = dict(locals())  # all that it was called with, for `LiveCapture.again`
    if engine not in (None, "ring", "tcpdump"):
        raise InputError(f"engine={engine!r} is neither 'ring' nor 'tcpdump'")
    extent = Extent.parse(window)
    rotation = _rotation(rotate_size, rotate_count, rotate_seconds, file, keep)
    _check_columns(columns, layers)
    if not keep and file is not None:
        raise InputError("keep=False leaves no file: leave file out")
    where: dict[str, Any] = {
        "pod": pod, "selector": selector, "namespace": namespace, "all_namespaces": all_namespaces,
        "container": container, "pid": pid, "netns": netns, "context": context, "kubeconfig": kubeconfig, "ns": ns,
        "filter": filter, "interface": interface, "count": count, "timer": timer, "max_bytes": max_bytes,
        "file": None if rotation is not None else file, "keep": keep,
    }  # fmt: skip
    notes: list[str] = []
    session = None
    if engine != "tcpdump":
        theirs = list(args)
        if file is not None and Path(file).suffix.lower() in (".pcapng", ".ntar"):
            theirs[:0] = ["-w", os.fspath(file)]
        try:
            _refuse_ring(ns, engine)
            limited = snaplen or (None if keep else COLUMNS_SNAPLEN)
            session = open_session([("tcpdump", theirs)], **where, snaplen=limited, engine="ring")
        except (ToolFailed, PrivilegeError, NotOfTheRing) as error:
            if engine == "ring":
                raise
            notes.append(f"tcpdump captures, not the ring engine: {error}")
    if session is None:
        session = open_session([("tcpdump", args)], **where, snaplen=snaplen)
    try:
        if any(job.command.output != "packets" for job in session.jobs):
            raise InputError("these words make tcpdump print, and nothing is captured")
        live = LiveCapture(
            session,
            engine="ring" if session.tasks[0].options.engine == "ring" else "tcpdump",
            extent=extent,
            columns=columns,
            layers=layers,
            keep=keep,
            rotation=rotation,
            file=Path(file) if file is not None else None,
            notes=notes,
            at_end=_forget,
            again=lambda: _once_more(words),
        )
    except BaseException:
        session.close()
        raise
    with _lock:
        if not _running:
            atexit.unregister(stop_all)
            atexit.register(stop_all)
        _running.append(live)
    live.start()
    try:
        # What is sent from now on is captured.
        for job in session.jobs:
            job.run.said(job.tool.reports_after, _LISTENING)
    except BaseException:
        live.stop()
        raise
    return live


def _once_more(words: dict[str, Any]) -> LiveCapture:
    if words["file"] is not None:
        raise InputError(f"another capture would write over {words['file']}: start it in a cell, with another file")
    return capture(**words)


def _refuse_ring(ns: Sequence[str], engine: str | None) -> None:
    from podtracer_nb.packets import _ring

    if "mnt" in (ns.split(",") if isinstance(ns, str) else ns):
        raise NotOfTheRing("it is a program of this machine's Python, which the container (--ns mnt) has not got")
    if not _ring.compiled and engine is None:
        raise NotOfTheRing("it is not compiled here: install a C compiler and reinstall podtracer-nb")


def _rotation(
    size: int | None, count: int | None, seconds: int | None, file: str | os.PathLike[str] | None, keep: bool
) -> Rotation | None:
    if size is None and seconds is None:
        if count is not None:
            raise InputError(
                "rotate_count says how many files there are: "
                "say with rotate_size or rotate_seconds when another is begun"
            )
        return None
    for name, value in (("rotate_size", size), ("rotate_count", count), ("rotate_seconds", seconds)):
        if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            raise InputError(f"{name}={value!r} has to be a whole number greater than 0")
    if not keep:
        raise InputError("keep=False leaves no file, and there is none to rotate")
    if file is not None and Path(file).suffix.lower() in (".pcapng", ".ntar"):
        raise InputError("files that rotate are pcap: name them .pcap")
    rotation = Rotation(size, count, seconds)
    if seconds is not None and file is not None:
        now = time.time()
        names = {rotation.path(Path(file), 0, now + number * seconds) for number in range(3)}
        if len(names) < 3:  # noqa: PLR2004  all that were made
            raise InputError(
                f"files that rotate every {seconds} s would overwrite each other as {os.fspath(file)}: "
                "give the name a time, such as x-%Y%m%d-%H%M%S.pcap"
            )
    return rotation


def _check_columns(columns: Sequence[str] | None, layers: Sequence[str] | None) -> None:
    from podtracer_nb.packets import schema

    try:
        schema.chosen(columns, layers)
    except ValueError as error:
        raise InputError(str(error)) from error


def _forget(live: LiveCapture) -> None:
    with _lock:
        if live in _running:
            _running.remove(live)


def stop_all() -> None:
    """Stop every live capture, and wait until each has ended."""
    with _lock:
        running = list(_running)
    for each in running:
        each.order_stop()
    for each in running:
        each.stop()


def captures() -> pd.DataFrame:
    """Return the live captures that run.

    Returns
    -------
    pandas.DataFrame
        A row a capture, the oldest first: `targets` (str, separated by commas), `engine`, `state` (str), `started`
        (datetime64[ns, UTC]), `seconds` (float64), `packets`, `bytes` (int64), `rate` (float64; packets a second),
        `dropped_by_kernel` (Int64), `dropped_by_us`, `window` (int64; packets in it), `lag` (Float64; seconds), `files`
        (str).

    Examples
    --------
    >>> len(captures())
    0
    """
    import pandas as pd

    with _lock:
        running = list(_running)
    stats = [each.stats for each in running]
    return pd.DataFrame({
        "targets": pd.array([", ".join(each.targets) for each in running], dtype="str"),
        "engine": pd.array([each.engine for each in running], dtype="str"),
        "state": pd.array([each.state for each in stats], dtype="str"),
        "started": pd.Series([each.started for each in running], dtype="datetime64[ns, UTC]"),
        "seconds": pd.array([each.seconds for each in stats], dtype="float64"),
        "packets": pd.array([each.packets for each in stats], dtype="int64"),
        "bytes": pd.array([each.bytes for each in stats], dtype="int64"),
        "rate": pd.array([each.rate for each in stats], dtype="float64"),
        "dropped_by_kernel": pd.array([each.dropped_by_kernel for each in stats], dtype="Int64"),
        "dropped_by_us": pd.array([each.dropped_by_us for each in stats], dtype="int64"),
        "window": pd.array([each.window for each in stats], dtype="int64"),
        "lag": pd.array([each.lag for each in stats], dtype="Float64"),
        "files": pd.array([", ".join(map(str, each.files)) for each in running], dtype="str"),
    })  # fmt: skip
