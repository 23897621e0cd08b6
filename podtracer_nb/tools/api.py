"""`run` and `run_together`: the grammar's words as keyword arguments, and a frame of what the tools said."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from podtracer_nb import targets
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.tools.job import Job, describe
from podtracer_nb.tools.opening import open_session
from podtracer_nb.tools.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["gather", "run", "run_together"]


def run(
    tool: str,
    args: Sequence[str] = (),
    *,
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
    timer: float | None = None,
    max_bytes: int | None = None,
    max_total: int | None = None,
    count_total: int | None = None,
    file: str | os.PathLike[str] | None = None,
    filter: str | None = None,
    interface: str | None = None,
    count: int | None = None,
    snaplen: int | None = None,
    text: bool = False,
    parse: str | None = None,
    every: float | None = None,
    engine: str | None = None,
    allow_change: bool = False,
    via: str | None = None,
    image: str | None = None,
    tracer_namespace: str | None = None,
    align_clocks: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Run a network tool inside a target's namespaces and return its output as a frame.

    Parameters
    ----------
    tool
        The program: `tcpdump` gives packets, those of `podtracer_nb.list_tools` their tables, any other its lines.
    args
        The program's own words, given to it as they are, never through a shell.
    pod
        One or several of: name, `ns/name`, `deploy/web`, `sts/db`, `ds/x`, `job/x`, `svc/api`, a glob.
    selector, namespace, all_namespaces, container
        Which pods, as kubectl has these words.
    pid, netns
        In place of a pod: a process on this machine; a network namespace by name or file.
    context, kubeconfig
        Which cluster: a context of the kubeconfig, and the file; by default what kubectl takes.
    ns
        Namespaces to enter: any of net, uts, ipc, pid, mnt.
    timer
        Seconds after which the tool is asked to stop.
    max_bytes
        Bytes of output after which the tool is asked to stop, in each target.
    max_total
        Bytes of output of all targets together after which all are asked to stop; it is looked at four times a second.
    count_total
        The same of packets: what was captured until then is kept, and may be more than that. Each capture is read once
        more to count them.
    file
        Where to leave the recording, on this machine; default: the directory of recordings. In a folder, which is made
        where the name ends with a slash, it is called NAMESPACE_POD_INTERFACE_TIME and nothing is written over.
    filter, interface, count, snaplen
        tcpdump's: a pcap-filter(7) expression, checked before anything starts; the interface; how many packets; how
        many bytes of each.
    text
        The tool's printed lines, in place of packets or a table.
    parse
        How the lines of any tool become a table: json, jsonl, csv, tsv, kv, jc:NAME.
    every
        Seconds between two samples: the tool is run again and again until `timer` or `count`, and the frame has all
        samples' rows, with `sample_time` and each counter's rate.
    engine
        What captures for tcpdump: `tcpdump` itself, or `ring`, which loses no packet where tcpdump does.
    allow_change
        Let a tool alter the target (`ip addr add`, `sysctl -w`), which is refused otherwise.
    via
        `here`, or `job`: by a tracer pod on the target's node. By default here where the target is here.
    image, tracer_namespace
        Of which image tracer pods are, and in which namespace: by default the notebook's own.
    align_clocks
        Bring the times of other nodes' packets and lines to this machine's clock, by the measured offset, which is in
        ``attrs["podtracer"]["clocks"]`` in any case, with its uncertainty.
    progress
        Called about four times a second with a `Progress`, and once at the end.

    Returns
    -------
    pandas.DataFrame
        tcpdump: a row a packet, with the columns of `podtracer_nb.packets.schema`. A tool of `list_tools`: its
        table; where its output is in no form that we know, and for any other tool, its lines: `time`
        (datetime64[ns, UTC]), `stream` (category), `line` (str). Several targets: also `target`, `node` (category),
        rows by time. `attrs["podtracer"]` says what was run, where, when, what it dropped and where the bytes are; of
        several targets also how far apart they started, and which `failed`: the frame is of the others.

    Raises
    ------
    InputError
        A value that cannot be right, found before anything was started.
    TargetError
        No such pod, container, process or namespace; no such interface in it.
    ClusterError
        The cluster's API cannot be asked.
    PrivilegeError
        The kernel or the API refuses.
    ToolError
        The tool is missing, or failed without a packet.

    Examples
    --------
    >>> import podtracer_nb
    >>> frame = podtracer_nb.run("cat", ["/proc/net/dev"], pid=1)  # doctest: +SKIP
    """
    from podtracer_nb.tools import frames

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
        timer=timer,
        max_bytes=max_bytes,
        max_total=max_total,
        count_total=count_total,
        file=file,
        filter=filter,
        interface=interface,
        count=count,
        snaplen=snaplen,
        text=text,
        parse=parse,
        every=every,
        engine=engine,
        allow_change=allow_change,
        via=via,
        image=image,
        tracer_namespace=tracer_namespace,
        apart=True,
    )
    with session:
        results = session.each(frames.read_job, progress)
    return gather(session.jobs, results, session.failed, align_clocks=align_clocks)


def run_together(
    commands: Sequence[tuple[str, Sequence[str]]],
    *,
    progress: Callable[[Progress], None] | None = None,
    **where: Any,
) -> dict[str, pd.DataFrame | PodtracerError]:
    """Run several tools inside the same targets at the same time, on one clock.

    A capture, or what else runs until it is stopped, is stopped when those that end by themselves have ended; with
    `every` it runs once beside the samples.

    Parameters
    ----------
    commands
        ``(tool, args)`` of each.
    progress, where
        As in `run`.

    Returns
    -------
    dict
        By the command's words: its frame, as `run` returns it, or the error that it ended with. A command that is there
        more than once has a number after its words.

    Raises
    ------
    PodtracerError
        As `run`; what is found before the start starts none of them.

    Examples
    --------
    >>> podtracer_nb.run_together([("tcpdump", []), ("ping", ["-c", "3", "api"])], pod="web")  # doctest: +SKIP
    """
    from podtracer_nb.tools import frames

    if not commands:
        raise InputError("no command to run: give a list of (tool, args)")
    align = bool(where.pop("align_clocks", False))
    session = open_session(commands, **where, apart=True)
    with session:
        results = session.each(frames.read_job, progress)
    found: dict[str, pd.DataFrame | PodtracerError] = {}
    for number, (tool, args) in enumerate(commands):
        words = text = shlex.join([tool, *args])
        again = 1
        while words in found:
            again += 1
            words = f"{text} #{again}"
        try:
            at = session.of(number)
            found[words] = gather(
                [session.jobs[each] for each in at], [results[each] for each in at], session.failed, align_clocks=align
            )
        except PodtracerError as error:
            found[words] = error
    return found


def gather(
    jobs: Sequence[Job],
    results: Sequence[object],
    lacking: Sequence[tuple[targets.Target, PodtracerError]] = (),
    *,
    align_clocks: bool = False,
) -> pd.DataFrame:
    """Return one frame of every job that gave one; an error of some of several targets becomes a note.

    Parameters
    ----------
    jobs, results
        A session's, or those of one of its tasks.
    lacking
        The targets where nothing could be started, and why.
    align_clocks
        Bring the times of other nodes to this machine's clock.

    Raises
    ------
    PodtracerError
        No target gave a frame: the first one's error.
    """
    import pandas as pd

    from podtracer_nb.tools import clocks, frames

    whole = [(job, result) for job, result in zip(jobs, results, strict=True) if isinstance(result, pd.DataFrame)]
    failed = [(job.target, r) for job, r in zip(jobs, results, strict=True) if isinstance(r, BaseException)]
    failed += lacking
    for _, error in failed:
        if not whole or not isinstance(error, PodtracerError):
            raise error
    if align_clocks:
        for job, frame in whole:
            clocks.align(frame, job)
    merged = frames.merge([frame for _, frame in whole], [job for job, _ in whole])
    provenance = merged.attrs["podtracer"]
    provenance["notes"] += [f"{target.label} failed: {error}" for target, error in failed]
    if failed:
        provenance["failed"] = [
            {**describe(target), "error": type(error).__name__, "message": str(error)} for target, error in failed
        ]
    return merged
