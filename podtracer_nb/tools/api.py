"""The Python face: the same words as the grammar's, as keyword arguments."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.tools.job import Job, Task, describe
from podtracer_nb.tools.large import spoken
from podtracer_nb.tools.progress import Progress
from podtracer_nb.tools.session import Session
from podtracer_nb.tools.tool import Change, Options

if TYPE_CHECKING:
    import pandas as pd

_LARGEST = 1 << 53  # far more of anything than a run can have
_LONGEST_WORD = 131_072  # MAX_ARG_STRLEN: execve(2)

__all__ = ["open_session", "pods", "read_pcap", "run", "run_together", "tracers"]


def open_session(
    commands: Sequence[tuple[str, Sequence[str]]],
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
    hold: float | None = None,
    change: Change | None = None,
    keep: bool = True,
    apart: bool = False,
) -> Session[object]:
    """Resolve the targets and start every tool in each; the caller reads the session's jobs. See `run` and `hold`."""
    for _, args in commands:
        if isinstance(args, str) or not all(isinstance(word, str) for word in args):
            raise InputError("args is a list of words: ['-i', 'eth0', '-c', '5'], not one string, and no numbers")
    if pid is not None and not isinstance(pid, int):
        raise InputError(f"pid={pid!r} has to be a number")
    for name, value in (
        ("timer", timer),
        ("every", every),
        ("max_bytes", max_bytes),
        ("max_total", max_total),
        ("count_total", count_total),
        ("count", count),
        ("snaplen", snaplen),
    ):
        if value is not None and not (isinstance(value, int | float) and 0 < value < _LARGEST):
            raise InputError(f"{name}={value!r} has to be a number greater than 0")
    for name, word in (("filter", filter), ("interface", interface), ("parse", parse), ("image", image)):
        if word is not None and not isinstance(word, str):
            raise InputError(f"{name}={word!r} has to be text")
    if via not in (None, "here", "job", "debug"):
        raise InputError(f"via={via!r} is none of 'here', 'job' and 'debug'")
    if engine not in (None, "ring", "tcpdump"):
        raise InputError(f"engine={engine!r} is neither 'ring' nor 'tcpdump'")
    if isinstance(ns, str):
        ns = ns.split(",")
    named = (pod,) if isinstance(pod, str) else tuple(pod or ())
    words = [word for tool, args in commands for word in (tool, *args)]
    words += [*named, *(os.fspath(each) for each in (file, netns, kubeconfig) if each is not None)]
    words += [each for each in (selector, namespace, container, filter, interface, context) if each is not None]
    for each in words:
        _check_text(each)
    chosen = targets.resolve(
        pods=named,
        selector=selector,
        namespace=namespace,
        all_namespaces=all_namespaces,
        container=container,
        pid=pid,
        netns=os.fspath(netns) if netns is not None else None,
        context=context,
        kubeconfig=os.fspath(kubeconfig) if kubeconfig is not None else None,
    )
    options = Options(filter, interface, count, snaplen, text, parse, engine=engine if engine != "tcpdump" else None)
    return Session(
        [Task(tool, tuple(args), options, every, change) for tool, args in commands],
        chosen,
        kinds=tuple(ns),
        limits=execution.Limits(seconds=timer, bytes=max_bytes),
        file=_file(file) if file is not None else None,
        allow_change=allow_change,
        via=via,
        placement=execution.Placement(tracer_namespace, image),
        hold=hold,
        keep=keep,
        apart=apart,
        max_total=max_total,
        count_total=count_total,
    )


def _file(file: str | os.PathLike[str]) -> Path:
    """Return the path of `file`; a folder, which ends with a slash, is made."""
    text = os.fspath(file)
    if "://" in text:
        raise InputError(f"file={text!r}: only a shell's podtracer, or --job, sends its output to a bucket or a claim")
    path = Path(text)
    if text.endswith("/"):
        try:
            path.expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {text} cannot be made ({error.strerror}): name another") from error
    return path


def _check_text(word: object) -> None:
    """Refuse what no program's argument and no file's name can be."""
    if not isinstance(word, str):
        raise InputError(f"{word!r} has to be text")
    try:
        size = len(os.fsencode(word))
    except UnicodeEncodeError:
        raise InputError(f"{word[:40]!r} holds half of a character, which no program can be given") from None
    if "\0" in word:
        raise InputError(f"{word[:40]!r} holds a NUL byte, which no program can be given")
    if size >= _LONGEST_WORD:
        raise InputError(f"a word of {size:,} bytes is longer than Linux lets an argument be: put it into a file")


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


def pods(
    namespace: str | None = None,
    *,
    selector: str | None = None,
    all_namespaces: bool = False,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Return the pods that can be named: the demo's, and a cluster's in one call to its API.

    Parameters
    ----------
    namespace, selector, all_namespaces
        Which, as kubectl has these words.
    context, kubeconfig
        Which cluster; by default what kubectl takes.

    Returns
    -------
    pandas.DataFrame
        A row a pod: `pod`, `namespace`, `node`, `ip`, `phase`, `owner`, `containers`, `services`, `labels` (str;
        several values are separated by commas), `host_network` (bool: it shares its node's network), `interfaces`
        (str; those that Multus attached, or the demo's), `traceable` (bool: tools can run in it from here), `reason`
        (str; why not).

    Raises
    ------
    InputError, TargetNotFound
        A value that cannot be right; no such namespace.
    ClusterError, PrivilegeError
        The cluster's API cannot be asked; it refuses.

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.pods("demo").pod.tolist()  # doctest: +SKIP
    ['api', 'client', 'dns', 'web']
    """
    import pandas as pd

    found = targets.pods(
        namespace=namespace,
        selector=selector,
        all_namespaces=all_namespaces,
        context=context,
        kubeconfig=os.fspath(kubeconfig) if kubeconfig is not None else None,
    )
    reasons = targets.untraceable(found)
    text: dict[str, list[str]] = {
        "pod": [each.pod for each in found],
        "namespace": [each.namespace for each in found],
        "node": [each.node for each in found],
        "ip": [",".join(each.ip) for each in found],
        "phase": [each.phase for each in found],
        "owner": [each.owner for each in found],
        "containers": [",".join(each.containers) for each in found],
        "services": [",".join(each.services) for each in found],
        "labels": [",".join(f"{name}={value}" for name, value in each.labels.items()) for each in found],
        "interfaces": [",".join(each.interfaces) for each in found],
        "reason": reasons,
    }
    frame = pd.DataFrame(text, dtype="str")
    frame.insert(9, "host_network", pd.Series([each.host_network for each in found], dtype=bool))
    frame.insert(11, "traceable", pd.Series([not reason for reason in reasons], dtype=bool))
    return frame


def tracers() -> pd.DataFrame:
    """List the tracer pods on other nodes that this process keeps for the next run there.

    Returns
    -------
    pandas.DataFrame
        A row a tracer pod: `node`, `namespace`, `pod`, `image` (str), `since` (datetime64[ns, UTC]), `alive` (bool).

    Raises
    ------
    ClusterError, PrivilegeError
        The cluster's API cannot be asked.

    Examples
    --------
    >>> import podtracer_nb
    >>> len(podtracer_nb.tracers())
    0
    """
    import pandas as pd

    kept = execution.tracers()
    text = {name: [getattr(each, name) for each in kept] for name in ("node", "namespace", "pod", "image")}
    frame = pd.DataFrame(text, dtype="str")
    frame["since"] = pd.to_datetime([each.since for each in kept], unit="s", utc=True).astype("datetime64[ns, UTC]")
    frame["alive"] = pd.Series([each.alive() for each in kept], dtype=bool)
    return frame


def read_pcap(
    source: str | os.PathLike[str] | bytes | BinaryIO | list[str | os.PathLike[str]],
    *,
    count: int | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
    resync: bool = False,
    filter: str | None = None,
    start: object = None,
    stop: object = None,
    sample: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Read a capture into a frame.

    Parameters
    ----------
    source
        A path, a capture's bytes, a binary stream such as a pipe, a pattern (`ring.pcap*`) or a list of paths: pcap or
        pcapng, also compressed by gzip, Zstandard or LZ4.
    count
        Read only this many packets.
    columns
        Names of the columns to be read; by default those of `podtracer_nb.packets.schema.COLUMNS`.
    layers
        Columns to be read beside them, by layer: tunnel, label, transport, tls, http, dns, quic.
    decap
        Let the columns describe the packet inside a tunnel, and `outer_src` and its like what is outermost.
    resync
        Where the capture is damaged, go on with the next bytes that look like packets.
    filter
        Make rows only of the packets that this expression of pcap-filter(7) lets through; tcpdump compiles it. They
        keep their number and offset in the capture.
    start, stop
        Only packets from this time on, and before that one: a text, datetime or Timestamp; UTC where it has no zone.
    sample
        Of those, only the first and every n-th (a whole number), or about this fraction (below 1, chosen by a hash of
        the packet's number and `seed`: the same ones every time).
    seed
        For another fraction of the packets.

    Returns
    -------
    pandas.DataFrame
        A row a packet, index `frame` (its number from 1), with the columns of `podtracer_nb.packets.schema`;
        `attrs["podtracer"]["capture"]` describes the file, and what is damaged in it.

    Raises
    ------
    CaptureError
        No such file, or not a capture that is read; one line says what it looks like.
    InputError
        A value that cannot be right; a filter that tcpdump does not compile, or no tcpdump.

    Examples
    --------
    >>> import podtracer_nb
    >>> header = bytes.fromhex("d4c3b2a1020004000000000000000000000004000100" + "0000")
    >>> len(podtracer_nb.read_pcap(header))
    0
    """
    from podtracer_nb import analysis as _accessor  # noqa: F401  a frame is born with `df.podtrace`
    from podtracer_nb import packets

    with spoken(source):
        selection = packets.Selection(filter, start, stop, sample, seed)
        choice = packets.Choice(count, columns, layers, decap, resync, selection)
        return packets.read(source, **choice.keywords())
