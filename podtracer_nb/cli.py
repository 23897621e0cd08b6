"""`podtracer`: the grammar in a shell. Results go to standard output, everything about them to standard error."""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from podtracer_nb import options
from podtracer_nb.errors import InputError, PodtracerError

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.tools import Job, Progress, Session
    from podtracer_nb.tools.bucket import Bucket

__all__ = ["main"]

_FAILED = 1
_MISUSED = 2
_CHUNK = 1 << 20


def main(words: list[str] | None = None) -> None:
    """Run one command and exit: 0, the tool's own exit status, 1 for an error of ours, 2 for words that do not fit."""
    for descriptor in range(3):
        # A daemon's may be closed; a file of ours that took such a number would be taken for it by the tool.
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has no object for one that was closed.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    warnings.showwarning = lambda message, *_, **__: _say(f"podtracer: {message}")  # a user's, without our source
    try:
        request = options.parse(sys.argv[1:] if words is None else words)
        _load(request)
        _end_in_order()
        status = _carry_out(request)
        sys.stdout.flush()
    except InputError as error:
        _say(f"podtracer: {error}")
        status = _MISUSED
    except PodtracerError as error:
        _say(f"podtracer: {error}")
        status = _FAILED
    except KeyboardInterrupt:
        _say("podtracer: interrupted")
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE  # who read our output has gone (`| head`); there is nobody to tell
    except OSError as error:
        _say(f"podtracer: {error.filename or 'the output could not be written'}: {error.strerror}")
        status = _FAILED
    try:
        sys.stdout.flush()
    except OSError:
        # It was told above. The interpreter flushes standard output once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _load(request: options.Request) -> None:
    """Import what a command needs: most of the time that it takes, in which nothing has begun that could be kept."""
    match request:
        case options.DemoRequest():
            import podtracer_nb.demo
        case options.CollectRequest():
            import podtracer_nb.collector
        case options.VersionRequest():
            import podtracer_nb.packets
        case options.HelpRequest():
            pass
        case _:
            import podtracer_nb.tools  # noqa: F401


def _end_in_order() -> None:
    """Have whatever ends a process end what it has begun: the tool flushes, what was captured stays.

    Not before all is imported: an interrupt inside an import may be swallowed there, or printed.
    """
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's SIGHUP stays ignored
            signal.signal(number, signal.default_int_handler)


def _carry_out(request: options.Request) -> int:
    match request:
        case options.HelpRequest(text):
            print(text)
        case options.VersionRequest():
            _version()
        case options.RunRequest(job=True):
            _unattended(request)
        case options.RunRequest(for_=None):
            return _run(request)
        case options.RunRequest() | options.ImpairRequest():
            return _hold(request)
        case options.PodsRequest():
            from podtracer_nb.tools import pods

            listed = pods(**request.keywords())
            if listed.empty and request.selector is not None:
                _say(f"no pods with labels {request.selector} here; --show-labels shows what labels pods have")
            elif listed.empty:
                from podtracer_nb.targets.kubeconfig import not_there

                _say(f"no pods here; -A looks in all namespaces, `podtracer demo up` starts the demo's{not_there()}")
            else:
                hidden = [] if request.show_labels else ["labels"]
                print(listed.drop(columns=hidden).to_string(index=False))
        case options.ReadRequest():
            from podtracer_nb import packets

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", packets.DamageWarning)  # the last line tells of it
                return _read(request) if request.to is None else _to_parquet(request)
        case options.ToolsRequest():
            from podtracer_nb.tools import list_tools

            print(list_tools().drop(columns=["path", "gives"]).to_string(index=False, na_rep="-"))
        case options.CollectRequest():
            _collect(request)
        case options.DemoRequest(action):
            _demo(action)
        case options.DoctorRequest():
            return _doctor(request)
    return 0


def _version() -> None:
    from importlib.metadata import version

    from podtracer_nb import packets

    build = "compiled" if packets.compiled else "interpreted: slow; install a C compiler and podtracer-nb again"
    print(f"podtracer {version('podtracer-nb')} (dissector {build})")


def _doctor(request: options.DoctorRequest) -> int:
    """Print each finding as it is made; the exit status tells whether anything is missing."""
    from podtracer_nb.tools.diagnosis import checks

    missing = 0
    for each in checks(**request.keywords()):
        mark = {"ok": "ok      ", "missing": "MISSING ", "optional": "limited "}[each.state]
        print(f"{mark} {each.subject}: {each.finding}")
        if each.state != "ok":
            print(f"{' ' * 9} prevents: {each.prevents}")
            print(f"{' ' * 9} mended by: {each.remedy}", flush=True)
        missing += each.state == "missing"
    return _FAILED if missing else 0


def _demo(action: str) -> None:
    from podtracer_nb import demo

    print({"up": demo.up, "down": demo.down, "status": demo.status}[action]())


def _collect(request: options.CollectRequest) -> None:
    from podtracer_nb.collector import Collector, Limits, ServerTrust

    trust = None
    if not request.insecure:
        trust = ServerTrust(str(request.tls_cert), str(request.tls_key), str(request.client_ca), request.token_file)
    host = f"[{request.address}]" if ":" in request.address else request.address
    limits = Limits(request.max_bytes, request.max_total, request.max_clients, request.rotate)
    with Collector(
        request.dir, f"{host}:{request.port}", trust, limits=limits, metrics_port=request.metrics_port
    ) as collector:
        how = "with TLS" if trust else "UNENCRYPTED, from anybody"
        _say(f"collecting on port {collector.port}, {how}, into {request.dir}")
        collector.wait()


def _send(job: Job, *, host: str, port: int) -> None:
    """Send the output to a collector as it comes; the recording stays here, too."""
    from podtracer_nb.collector import ClientTrust, Sender
    from podtracer_nb.collector.sender import CHUNK
    from podtracer_nb.tools.job import Counted

    trust = ClientTrust.from_environment()
    counted = job.count = Counted()

    def chunks(position: int) -> Iterator[bytes]:
        tail = job.run.tail(position)
        while data := tail.read(CHUNK):
            counted.bytes = max(counted.bytes, position + len(data))
            counted.packets = int(counted.bytes > _PCAP_HEADER)
            position += len(data)
            yield data

    name = f"{job.target.namespace}/{job.target.pod}".removeprefix("/")
    sender = Sender(host, port, name, trust, suffix=job.command.suffix)
    sent = sender.send(chunks, lambda: job.run.wait().sha256)
    words = f"{job.target.label}: {sent.bytes:,} bytes sent to {sender.address}"
    _say(words + ("" if trust else ", unencrypted") + (f", verified ({sent.sha256[:12]})" if sent.sha256 else ""))


def _bucket(request: options.RunRequest) -> Bucket | None:
    """Return the bucket that `-f` names, asked for before anything is started."""
    from podtracer_nb.tools import bucket

    return bucket.Bucket(str(request.file)) if bucket.is_bucket(request.file) else None


def _upload(job: Job, *, bucket: Bucket) -> None:
    """Send the output to a bucket as it comes; the recording stays here, too."""
    place = bucket.take(job, _chunks(job))
    _say(f"{job.target.label}: {job.count.bytes:,} bytes in {place}")


def _read(request: options.ReadRequest) -> int:
    from podtracer_nb.tools import read_pcap

    frame = read_pcap(request.path, **request.keywords())
    if request.columns is not None:
        frame.to_csv(sys.stdout, sep="\t")
    else:
        for line in _packet_table(frame, headed=True):
            print(line)
    sys.stdout.flush()  # the table, and then what is said of it
    read = f"{len(frame):,} packet{'' if len(frame) == 1 else 's'}"
    _say("; ".join([read, *_of_capture(frame.attrs["podtracer"]["capture"])]))
    return 0


def _to_parquet(request: options.ReadRequest) -> int:
    from podtracer_nb.tools import to_parquet

    written = to_parquet(request.path, str(request.to), overwrite=request.overwrite, **request.keywords())
    many = "" if len(written.parts) == 1 else "s"
    words = [f"{written.packets:,} packets in {len(written.parts)} part{many} in {written.folder}"]
    if written.interrupted:
        words.insert(0, "interrupted")
    _say("; ".join([*words, *_of_capture(written.info)]))
    return 128 + signal.SIGINT if written.interrupted else 0


def _of_capture(info: dict[str, Any]) -> list[str]:
    """Return what a reader of a capture must not miss."""
    from podtracer_nb import packets

    words = []
    if lacking := packets.undissected(info):
        words.append(f"link type {lacking} is not dissected: packets have their time and lengths only")
    for file in info.get("files", [info]):
        damage = file["damage"]
        if "format" not in file:
            words.append(f"passed over: {damage['reason']}")
        elif damage:
            name = f"{file['path']} is " if "files" in info else ""
            words.append(f"{name}damaged at byte {damage['offset']}: {damage['reason']}")
    return words


def _unattended(request: options.RunRequest) -> None:
    from podtracer_nb.tools import unattended

    if request.out is not None and not request.dry_run:
        raise InputError("-o is for a notebook, or a format with --dry-run")
    made = unattended.made(str(request.tool), options.unattended_words(request), **request.unattended_keywords())
    if request.dry_run:
        print(unattended.manifests(made, request.out or "yaml"))
    else:
        print("\n".join(line for each in made for line in each.lines()))


def _run(request: options.RunRequest) -> int:
    from podtracer_nb.tools import Lines
    from podtracer_nb.tools.api import open_session

    if request.bg:
        raise InputError("--bg is for a notebook, whose next cells look at the capture; in a shell end the line with &")
    if request.out is not None or request.shell:
        raise InputError("-o and --shell are for a notebook; in a shell leave the output in a file with -f FILE")
    if request.tool is None:
        raise InputError("no tool named; write podtracer run TOOL --pod POD -- ARGS")
    if request.align_clocks:
        raise InputError("--align-clocks is for a notebook's frame: a recording keeps the times of its own node")
    # The original's `-w -` goes to the collector, the file or the bucket that is named, not to standard output.
    wants_stdout = request.stdout or (request.destination is None and request.file is None and _dash(request.arguments))
    wants_stdout = wants_stdout and request.destination is None
    if wants_stdout and sys.stdout.isatty() and not request.text:
        raise InputError("-s writes the tool's own bytes: send them into a file or a program, as in -s | tcpdump -r -")
    # In a shell a tool's own words are what is wanted, but of a format that was named.
    text = request.text or (request.parse is None and PurePath(request.tool).name != "tcpdump")
    with ExitStack() as opened:
        tool, bucket = request.tool, _bucket(request)
        if bucket is not None:
            request = replace(request, file=None)
        if request.from_pod is not None:
            from podtracer_nb.tools.throughput import open_pair

            session, _ = opened.enter_context(open_pair(request.arguments, **{**request.pair_keywords(), "text": text}))
        else:
            words = {name: value for name, value in request.keywords().items() if name != "align_clocks"}
            session = open_session([(tool, request.arguments)], **{**words, "text": text}, apart=True)
            opened.enter_context(session)
        kept = request.file is not None or session.jobs[0].command.file is not None
        if wants_stdout and len(session.jobs) > 1:
            raise InputError("-s writes one target's output: name one pod")
        several = len(session.jobs) + len(session.failed) > 1
        read = _copy if wants_stdout else _keep if kept else functools.partial(_print, named=several)
        if request.destination is not None:
            read = functools.partial(_send, host=request.destination, port=request.port or _COLLECTOR)
        elif bucket is not None:
            read = functools.partial(_upload, bucket=bucket)
        # A table would run into what is printed on the same terminal.
        table = several and (read is _keep or not sys.stdout.isatty())
        shown = Lines(sys.stderr) if table else None if several else _progress
        results = session.each(lambda job: _settled(job, read, session), shown if sys.stderr.isatty() else None)
    codes = []
    for target, error in session.failed:
        _say(f"podtracer: {target.label}: {error}")
        codes.append(_FAILED)
    for job, result in zip(session.jobs, results, strict=True):
        if isinstance(result, PodtracerError) and several:
            _say(f"podtracer: {job.target.label}: {result}")
            codes.append(_FAILED)
        elif isinstance(result, BaseException):
            raise result
        elif isinstance(result, dict):
            _say(_banner(job, result))
            codes.append(_exit_code(result))
    return max(codes, default=0)


def _hold(request: options.RunRequest | options.ImpairRequest) -> int:
    """Hold a change until its time is over or somebody interrupts, and take it back."""
    from podtracer_nb.tools import hold, impair

    if request.out is not None:
        raise InputError("-o is for a notebook")
    if isinstance(request, options.ImpairRequest):
        held = impair(**request.keywords())
    elif request.tool is None or request.shell:
        raise InputError("no tool named; write podtracer run TOOL --allow-change --for 30s --pod POD -- ARGS")
    else:
        held = hold(request.tool, request.arguments, **request.hold_keywords())
    where = ", ".join(held.targets)
    until = "until Ctrl+C" if request.for_ is None else f"for {request.for_:g} s, or until Ctrl+C"
    try:
        _say(" · ".join([f"{where}: {held.what}", *held.notices, f"held {until}"]))
        held.wait()
    except KeyboardInterrupt:
        held.undo()
    _say(f"{where}: undone")
    return 0


def _dash(arguments: tuple[str, ...]) -> bool:
    """Whether the tool's own words ask for standard output, as in `-w -`."""
    return "-w-" in arguments or ("-w", "-") in itertools.pairwise(arguments)


def _settled(job: Job, read: Callable[[Job], None], session: Session[Any]) -> dict[str, Any]:
    """Read a job's output, then wait for its end and return its provenance."""
    from podtracer_nb.tools.frames import settle

    try:
        read(job)
    except BrokenPipeError:
        session.stop()
        raise
    return settle(job)


def _copy(job: Job) -> None:
    """Write the tool's own bytes to standard output as they come."""
    out = sys.stdout.buffer
    for data in _chunks(job):
        out.write(data)
        out.flush()


def _keep(job: Job) -> None:
    """Print nothing: the recording is the result."""
    for _ in _chunks(job):
        pass


def _chunks(job: Job) -> Iterator[memoryview]:
    """Yield a job's standard output as it comes, counted."""
    from podtracer_nb.tools.job import Counted

    counted = job.count = Counted()
    view = memoryview(bytearray(_CHUNK))
    while count := job.run.stdout.readinto(view):
        counted.bytes += count
        # A capture's records are counted only by who reads them; that there are any tells a failure from a capture.
        counted.packets = int(counted.bytes > _PCAP_HEADER)
        yield view[:count]


_COLLECTOR = 51001  # the port of the original's data endpoint
_PCAP_HEADER = 24  # bytes: pcap-savefile(5)
_printing = threading.Lock()


def _print(job: Job, *, named: bool) -> None:
    """Print what comes; with several targets each line after the name of the one that it is from."""
    before = f"{job.target.label}: " if named else ""
    if job.sampled:
        _print_samples(job, before)
    elif job.command.output == "packets":
        _print_packets(job, before)
    elif job.command.output == "table":
        _print_table(job, before)
    else:
        _print_lines(job, before)


def _print_lines(job: Job, before: str) -> None:
    from podtracer_nb.tools.job import Counted

    counted = job.count = Counted()
    rests = {"stdout": b"", "stderr": b""}
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}

    def write(stream: str, data: bytes) -> None:
        with _printing:
            streams[stream].write(data)
            streams[stream].flush()

    for output in job.run.events():
        counted.bytes += len(output.data)
        if not before:
            write(output.stream, output.data)
            continue
        *lines, rests[output.stream] = (rests[output.stream] + output.data).split(b"\n")
        write(output.stream, b"".join(before.encode() + line + b"\n" for line in lines))
    for stream, rest in rests.items():
        if rest:
            write(stream, before.encode() + rest + b"\n")


def _print_samples(job: Job, before: str) -> None:
    from podtracer_nb.tools.job import Counted
    from podtracer_nb.tools.sampling import samples

    counted = job.count = Counted()
    for each in samples(job.run.stdout):
        counted.bytes += len(each.stdout)
        moment = datetime.datetime.fromtimestamp(each.time_ns / 1e9, datetime.UTC)
        with _printing:
            print(f"{before}--- {moment:%H:%M:%S.%f} sample {each.sample}")
            for line in each.stdout.splitlines():
                print(before + line)
            sys.stdout.flush()
            for line in each.stderr.splitlines():
                _say(before + line)


def _print_table(job: Job, before: str) -> None:
    """Print the table that a format makes of the output; the output itself where it makes none."""
    from podtracer_nb.tools.frames import read_job

    frame = read_job(job)
    unreadable = "unreadable" in frame.attrs["podtracer"]
    text = frame.line[frame.stream == "stdout"] if unreadable else frame.to_string(index=False, na_rep="-").splitlines()
    with _printing:
        sys.stderr.write(job.run.stderr)
        for line in text:
            print(before + line)
        sys.stdout.flush()
    if unreadable:
        _say(before + frame.attrs["podtracer"]["notes"][0])


def _print_packets(job: Job, before: str) -> None:
    from podtracer_nb import packets

    reader = packets.Reader(job.run.stdout)
    job.count = reader
    headed = True
    try:
        for chunk in reader.chunks(keep=False):
            with _printing:
                for line in _packet_table(chunk, headed=headed):
                    print(before + line)
                sys.stdout.flush()
            headed = headed and chunk.empty
    except packets.FormatError:
        # tcpdump ended before its first byte: its own words say why, and `settle` turns them into a line.
        if job.run.wait().bytes:
            raise


def _packet_table(frame: pd.DataFrame, *, headed: bool) -> list[str]:
    """Return a line a packet: its number, time (UTC), protocol, endpoints, and what the protocol says.

    The first packet has the columns' names above it, where the table begins with it.
    """
    import pandas as pd

    def text(value: Any) -> str:
        return "" if pd.isna(value) else str(value)

    lines = [f"{'frame':>7}  {'time':<15}  {'proto':<6}  packet"] if headed and not frame.empty else []
    for row in frame.itertuples():
        ports = [f".{port}" if (port := text(value)) else "" for value in (row.sport, row.dport)]
        ends = [f"{text(row.src) or text(row.eth_src)}{ports[0]}", f"{text(row.dst) or text(row.eth_dst)}{ports[1]}"]
        words = [" > ".join(ends)] if any(ends) else []
        if text(row.tcp_flags):
            words.append(f"[{row.tcp_flags}] seq {row.tcp_seq} ack {text(row.tcp_ack) or '-'}")
        if text(row.dns_qname):
            words.append(f"{'answer' if row.dns_response else 'query'} {text(row.dns_qtype)} {row.dns_qname}")
        if text(row.icmp_type):
            words.append(f"type {row.icmp_type} code {row.icmp_code}")
        if text(row.error):
            words.append(f"({row.error})")
        words.append(f"length {row.length}")
        lines.append(f"{row.Index:>7}  {row.time:%H:%M:%S.%f}  {text(row.proto) or '?':<6}  {' '.join(words)}")
    return lines


def _progress(report: Progress) -> None:
    if report.done:
        sys.stderr.write("\r\x1b[K")
    elif report.elapsed > 1 and not sys.stdout.isatty():
        packets = "" if report.packets is None else f"{report.packets:,} packets, "
        sys.stderr.write(f"\r\x1b[K{report.elapsed:.0f} s: {packets}{report.bytes:,} bytes")
    sys.stderr.flush()


def _banner(job: Job, provenance: dict[str, Any]) -> str:
    from podtracer_nb.tools import ENDINGS

    drops = provenance["drops"]
    words = [f"{job.target.label}: {provenance['tool']}"]
    if "captured" in drops:
        words.append(f"{drops['captured']:,} packet{'' if drops['captured'] == 1 else 's'}")
    words.append(f"{provenance['bytes']:,} bytes in {provenance['seconds']:.1f} s")
    lost = drops.get("dropped_by_kernel", 0) + drops.get("dropped_by_interface", 0)
    if lost:
        words.append(f"LOST {lost:,} PACKETS (dropped by the kernel)")
    if job.interrupted:
        words.append("interrupted")
    elif provenance["reason"] != "exit":
        words.append(ENDINGS.get(provenance["reason"], provenance["reason"]))
    words += provenance["notes"]
    words.append(f"recording {provenance['recording']}")
    return " · ".join(words)


def _exit_code(provenance: dict[str, Any]) -> int:
    if provenance["reason"] != "exit" or provenance["interrupted"]:
        return _FAILED if provenance["reason"] in ("disk", "target-gone", "tracer-gone") else 0
    if provenance["signal"]:
        return 128 + int(provenance["signal"])
    return int(provenance["exit_code"] or 0)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
