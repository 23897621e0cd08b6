"""The commands and their options, which do nothing but return a request."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from podtracer_nb.options.requests import (
    HERE_ONLY,
    NOT_HELD,
    CapturesRequest,
    ChangesRequest,
    CollectRequest,
    DemoRequest,
    DoctorRequest,
    ImpairRequest,
    PodsRequest,
    ReadRequest,
    RunRequest,
    ToolsRequest,
    TracersRequest,
    UseRequest,
    VersionRequest,
)
from podtracer_nb.options.values import Duration, Interface, Kinds, Names, Sample, Size, Value, Variable

__all__ = ["EVERYWHERE", "MAGIC", "grammar"]

Function = TypeVar("Function", bound=Callable[..., Any])


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_cluster = _options(
    click.option("--context", type=Value("context"), help="Context of the kubeconfig: which cluster."),
    click.option("--kubeconfig", type=Value("file"), help="The kubeconfig file, in place of kubectl's."),
)
_scope = _options(
    click.option("-n", "--namespace", type=Value("namespace"), help="Kubernetes namespace."),
    click.option("-l", "--selector", type=Value("selector"), help="Label selector: app=web,tier!=db."),
    click.option("-A", "--all-namespaces", is_flag=True, help="Pods of every namespace."),
    _cluster,
)
_places = _options(
    click.option(
        "--pod",
        multiple=True,
        type=Value("pod"),
        help="Pod: name, ns/name, deploy/web, sts/db, ds/x, job/x, svc/api, or a glob as web-*. Repeatable.",
    ),
    _scope,
    click.option("-c", "--container", type=Value("container"), help="Container of the pod."),
    click.option("--pid", type=click.IntRange(min=1), help="A process on this machine, in place of a pod."),
    click.option("--netns", type=Value("namespace"), help="A named network namespace, or the file of one."),
)
_targets = _options(
    _places,
    click.option(
        "--ns", type=Kinds(), default=("net",), help="Namespaces to enter: net,uts,ipc,pid,mnt [default: net]."
    ),
)
_limits = _options(
    click.option("-t", "--timer", type=Duration(), help="Stop after this long: 30s, 2m, 1h2m."),
    click.option("--max-bytes", type=Size(), help="Stop after this much output: 20M, 1GiB."),
    click.option("--max-total", type=Size(), help="Stop all targets when they have written this much together."),
    click.option(
        "--count-total", type=click.IntRange(min=1), help="Stop all targets when they have so many packets together."
    ),
)
_output = _options(
    click.option(
        "-f",
        "--file",
        type=Value("file"),
        help="Leave the output in this file; FOLDER/ names it itself; shell: s3://BUCKET/PREFIX; --job: pvc://CLAIM/PATH.",
    ),
    click.option("-s", "--stdout", is_flag=True, help="Write the tool's own output to standard output."),
    click.option(
        "-d", "--destination", type=Value("host"), help="Shell: send the output to the collector on this host."
    ),
    click.option("-p", "--port", type=click.IntRange(1, 65535), help="The collector's port [default: 51001]."),
    click.option(
        "-o", "--out", type=Variable(), help="Notebook: put the frame into this variable; with --dry-run: yaml, json."
    ),
)
_unattended = _options(
    click.option("--job", is_flag=True, help="Let a Job on the target's node run it, and return at once."),
    click.option("--schedule", metavar="CRON", help="Let a CronJob make such Jobs: '*/15 * * * *'."),
    click.option("--dry-run", is_flag=True, help="Print the Job or CronJob, -o yaml or json, and make none."),
    click.option("--secret", type=Value("Secret"), help="Secret with the Job's credentials, of a bucket or collector."),
)
_tracing = _options(
    click.option(
        "--via",
        type=click.Choice(["here", "job", "debug"]),
        help="Run here, in a tracer pod on the target's node, or in the pod itself, which changes it.",
    ),
    click.option("--image", type=Value("image"), help="Image of tracer pods [default: the notebook's own]."),
    click.option("--tracer-namespace", type=Value("namespace"), help="Namespace of tracer pods."),
)
_packets = _options(
    click.option("-a", "--arguments", multiple=True, help="The tool's arguments in one string; or put them after --."),
    click.option("--filter", "filter_", help="Capture filter, as tcpdump's (pcap-filter(7))."),
    click.option("--interface", type=Interface(), help="Interface to capture on."),
    # tcpdump's own limit is a C int.
    click.option(
        "--count", type=click.IntRange(min=1, max=2**31 - 1), help="Stop after so many packets; with --every, samples."
    ),
    click.option("--snaplen", type=click.IntRange(min=1, max=262144), help="Bytes kept of each packet."),
    click.option("--text", is_flag=True, help="The tool's printed lines, in place of packets or a table."),
    click.option("--parse", metavar="FORMAT", help="Lines of any tool as a table: json, jsonl, csv, tsv, kv, jc:NAME."),
    click.option(
        "--every", type=Duration(), help="Run the tool again and again, so often: 200ms, 1s; one table of all."
    ),
    click.option(
        "--engine", type=click.Choice(["tcpdump", "ring"]), help="What captures: the ring loses nothing at high rates."
    ),
    click.option("--allow-change", is_flag=True, help="Let the tool alter the target."),
    click.option("--for", "for_", type=Duration(), help="Take back after this long what the tool altered: 30s, 2m."),
    _tracing,
    click.option("--align-clocks", is_flag=True, help="Notebook: bring other nodes' times to this machine's clock."),
    click.option("--shell", is_flag=True, help="Cell: its body is one shell script."),
    click.option("--from", "from_pod", type=Value("pod"), help="iperf3: the pod that its client runs in."),
    click.option("--to", "to_pod", type=Value("pod"), help="iperf3: the pod that its server runs in, meanwhile."),
    click.option("--bg", is_flag=True, help="Notebook: capture in the background; -o live, then live.df, live.stop()."),
    click.option("--window", type=Value("window"), help="With --bg: what .df holds, 100000 (packets) or 30s."),
    click.option("--keep/--no-keep", default=True, help="With --bg: leave the bytes in a file, or not."),
)


@click.group(
    "podtracer",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: podtracer run tcpdump --pod web -n demo -- -i eth0 -c 100",
)
def grammar() -> None:
    """Run network tools inside a pod's namespaces, without changing the pod."""


@grammar.command(
    "run",
    options_metavar="[OPTIONS]",
    epilog="Everything after -- belongs to the tool: podtracer run tcpdump --pod web -- -i eth0 port 80",
)
@click.argument("tool", required=False)
@click.argument("words", nargs=-1, metavar="[-- ARGS]...")
@_targets
@_packets
@_limits
@_output
@_unattended
def _run(tool: str | None, words: tuple[str, ...], arguments: tuple[str, ...], **values: Any) -> RunRequest:
    """Run TOOL inside the target: tcpdump becomes packets, a tool of `tools` a table, any other its lines."""
    given: list[str] = []
    for text in arguments:
        try:
            given += shlex.split(text)
        except ValueError as error:
            raise click.UsageError(f"-a {text!r}: {str(error).lower()}") from error
    values["filter"] = values.pop("filter_")
    _one_place(values)
    if values["from_pod"] is not None or values["to_pod"] is not None:
        _check_pair(tool, values)
    if values["file"] is not None and values["stdout"]:
        raise click.UsageError("-f and -s both say where the output goes: give one of them")
    _check_unattended(values)
    if values["port"] is not None and values["destination"] is None:
        raise click.UsageError("-p is the port of a collector: name its host with -d")
    if not values["bg"] and (values["window"] is not None or not values["keep"]):
        raise click.UsageError("--window and --no-keep belong to --bg")
    if values["bg"] and (values["stdout"] or values["text"] or values["parse"] or values["every"] or values["shell"]):
        raise click.UsageError("--bg captures packets: leave -s, --text, --parse, --every and --shell out")
    if values["bg"] and (values["max_total"] or values["count_total"] or values["align_clocks"]):
        raise click.UsageError(
            "--bg keeps to limits of each target, and shows times as they were recorded: leave "
            "--max-total, --count-total and --align-clocks out"
        )
    if values["for_"] is not None:
        strange = [name for name in (*NOT_HELD, "shell") if values[name] and name != "keep"]
        if strange:
            name = strange[0].replace("_", "-")
            raise click.UsageError(f"--for holds what a tool alters, which --{name} says nothing of: leave that out")
    return RunRequest(tool, (*given, *words), **values)


def _check_unattended(values: dict[str, Any]) -> None:
    """Refuse what does not go with a Job, and what only goes with one."""
    values["job"] = values["job"] or values["schedule"] is not None
    file = values["file"] or ""
    if not values["job"]:
        if values["dry_run"] or values["secret"] is not None:
            raise click.UsageError("--dry-run and --secret belong to --job and --schedule: add one of them")
        if file.startswith("pvc://"):
            raise click.UsageError("-f pvc://… is a claim that a Job mounts: add --job, or name a file")
        return
    strange = [name for name in HERE_ONLY if values[name]]
    if strange:
        name = strange[0].rstrip("_").replace("_", "-")
        raise click.UsageError(
            f"--job runs it in the cluster with nobody there, where --{name} means nothing: leave it out"
        )
    if values["schedule"] is not None and values["timer"] is None:
        raise click.UsageError("--schedule needs -t: how long each run may last")
    if file and not file.startswith(("pvc://", "s3://")):
        raise click.UsageError(
            f"a Job has no file {file} of yours: write -f pvc://CLAIM/PATH, s3://BUCKET/PREFIX or -d HOST"
        )
    if file and values["destination"] is not None:
        raise click.UsageError("-f and -d both say where the output goes: give one of them")
    if values["secret"] is not None and not file.startswith("s3://") and values["destination"] is None:
        raise click.UsageError("--secret has the credentials of a bucket (-f s3://…) or a collector (-d): name one")
    if values["dry_run"] and values["out"] not in (None, "yaml", "json"):
        raise click.UsageError("with --dry-run -o is a format, as kubectl has it: yaml or json")


def _one_place(values: Mapping[str, Any]) -> None:
    """Refuse two ways to say where."""
    if values["pid"] is not None and values["netns"] is not None:
        raise click.UsageError("--pid and --netns both name a place: give one of them")
    if (values["pid"] is not None or values["netns"] is not None) and (
        values["pod"] or values["selector"] or values["all_namespaces"] or values["context"] or values["kubeconfig"]
    ):
        raise click.UsageError(
            "--pod, -l, -A and --context name pods, --pid and --netns a place: give one or the other"
        )


@grammar.command("impair", epilog="Example: podtracer impair --pod web -n demo --delay 50ms --loss 1% --for 30s")
@_places
@click.option("--delay", metavar="TIME", help="How much later each packet leaves: 50ms.")
@click.option("--jitter", metavar="TIME", help="By how much the delay varies: 10ms.")
@click.option("--loss", metavar="PERCENT", help="How many packets are lost: 1%.")
@click.option("--duplicate", metavar="PERCENT", help="How many packets are sent twice.")
@click.option("--corrupt", metavar="PERCENT", help="How many packets get a bit turned over.")
@click.option("--reorder", metavar="PERCENT", help="How many packets overtake those that are delayed.")
@click.option("--rate", metavar="RATE", help="Bits a second at the most: 10mbit.")
@click.option("--interface", type=Interface(), default="eth0", help="Whose packets [default: eth0].")
@click.option("--for", "for_", type=Duration(), help="How long: 30s, 2m [default: until Ctrl+C, or undone].")
@_tracing
@click.option("-o", "--out", type=Variable(), help="Notebook: put what is held into this variable.")
def _impair(**values: Any) -> ImpairRequest:
    """Delay, lose, double, damage, reorder or slow what leaves a pod, until it is undone."""
    _one_place(values)
    return ImpairRequest(**values)


def _check_pair(tool: str | None, values: Mapping[str, Any]) -> None:
    """Refuse what does not go with the two ends of a measurement."""
    if tool != "iperf3":
        raise click.UsageError("--from and --to are for iperf3: --pod names where any other tool runs")
    if values["from_pod"] is None or values["to_pod"] is None:
        raise click.UsageError("--from and --to name the two ends: give both")
    others = ("pod", "selector", "all_namespaces", "container", "pid", "netns", "filter", "interface", "count",
              "snaplen", "parse", "every", "destination", "max_total", "count_total",
              "align_clocks")  # fmt: skip
    given = [name for name in others if values[name]]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} does not go with --from and --to: leave it out")


@grammar.command("pods")
@_scope
@click.option("--show-labels", is_flag=True, help="Shell: the labels too; a notebook's frame always has them.")
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _pods(**values: Any) -> PodsRequest:
    """List the pods that can be named, with what is known of each."""
    return PodsRequest(**values)


@grammar.command("read")
@click.argument("path")
@click.option("--count", type=click.IntRange(min=1), help="Read only this many packets.")
@click.option("--filter", help="Only packets that this expression of pcap-filter(7) lets through.")
@click.option("--start", metavar="TIME", help="Only packets from this time on: '2026-01-31 12:00', UTC without a zone.")
@click.option("--stop", metavar="TIME", help="Only packets before this time.")
@click.option("--sample", type=Sample(), help="Every n-th packet (10), or a fraction of all (0.01).")
@click.option("--seed", type=int, default=0, help="Another number is another fraction of the packets.")
@click.option("--columns", type=Names(), help="Only these columns: time,src,dst.")
@click.option("--layers", type=Names(), help="More columns, by layer: tunnel,tls,http,quic,dns.")
@click.option("--decap", is_flag=True, help="Describe the packets inside tunnels.")
@click.option("--resync", is_flag=True, help="Where the capture is damaged, go on with what looks like packets.")
@click.option("--to", type=Value("folder"), metavar="FOLDER", help="Write Parquet there, whatever the capture's size.")
@click.option("--overwrite", is_flag=True, help="With --to: also into a folder that is not empty.")
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _read(**values: Any) -> ReadRequest:
    """Read a capture file into a table, or into Parquet."""
    if not values["path"]:
        raise click.UsageError("'' is not a capture file")
    if values["overwrite"] and values["to"] is None:
        raise click.UsageError("--overwrite belongs to --to")
    if values["out"] is not None and values["to"] is not None:
        raise click.UsageError("-o takes a frame, and --to makes none: podtracer_nb.read_parquet reads what it wrote")
    return ReadRequest(**values)


@grammar.command("collect")
@click.option("--dir", type=Value("directory"), default="captures", help="Where the captures go [default: captures].")
@click.option("--port", type=click.IntRange(0, 65535), default=51001, help="Where to listen [default: 51001].")
@click.option("--address", type=Value("address"), default="0.0.0.0", help="On which address [default: all].")  # noqa: S104
@click.option("--tls-cert", type=Value("file"), help="Its own certificate chain, PEM.")
@click.option("--tls-key", type=Value("file"), help="The key of it, PEM.")
@click.option("--client-ca", type=Value("file"), help="The authorities whose clients may send, PEM.")
@click.option("--token-file", type=Value("file"), help="The token that clients have to say.")
@click.option("--insecure", is_flag=True, help="Anybody may send, unencrypted: for the original's podtracer.")
@click.option("--max-bytes", type=Size(), help="The most of one capture: 20M, 1GiB.")
@click.option("--max-total", type=Size(), help="The most of all captures.")
@click.option("--rotate", is_flag=True, help="At --max-total the oldest finished captures make room.")
@click.option(
    "--max-clients", type=click.IntRange(1, 4096), default=256, help="Captures at the same time [default: 256]."
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve /metrics for Prometheus there.")
def _collect(**values: Any) -> CollectRequest:
    """Receive captures that `podtracer run … -d HOST -p PORT` sends, each into a file of its own."""
    tls = {name: values[name] for name in ("tls_cert", "tls_key", "client_ca")}
    if values["insecure"] and (any(tls.values()) or values["token_file"]):
        raise click.UsageError("--insecure lets anybody in: leave the certificates and the token out, or --insecure")
    missing = [f"--{name.replace('_', '-')}" for name, value in tls.items() if value is None]
    if not values["insecure"] and missing:
        raise click.UsageError(f"{missing[0]} is missing; --insecure lets anybody in, unencrypted")
    if values["rotate"] and values["max_total"] is None:
        raise click.UsageError("--rotate needs --max-total")
    return CollectRequest(**values)


@grammar.command("demo")
@click.argument("action", type=click.Choice(["up", "down", "status"]))
def _demo(action: str) -> DemoRequest:
    """Pods without a cluster: network namespaces with real servers and clients in them."""
    return DemoRequest(action)


@grammar.command("doctor")
@_cluster
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _doctor(**values: Any) -> DoctorRequest:
    """Check rights, processes, runtimes, the cluster's API and tools; say what mends each that is missing."""
    return DoctorRequest(**values)


@grammar.command("tools")
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _tools(out: str | None) -> ToolsRequest:
    """List the tools whose results become tables, and which of them are here."""
    return ToolsRequest(out)


@grammar.command("version")
def _version() -> VersionRequest:
    """Show the version, and which build of the dissector is in use."""
    return VersionRequest()


@click.command("use")
@_scope
@click.option("--pod", multiple=True, type=Value("pod"), help="Pod of later lines.")
@click.option("-c", "--container", type=Value("container"), help="Container of later lines.")
@click.option("--ns", type=Kinds(), help="Namespaces that later lines enter.")
@click.option("-t", "--timer", type=Duration(), help="Timer of later lines.")
@click.option("--clear", is_flag=True, help="Forget the defaults.")
def _use(clear: bool, **values: Any) -> UseRequest:
    """Set defaults for the lines that follow: %podtrace use -n demo. Alone: show them."""
    return UseRequest({name: value for name, value in values.items() if value}, clear)


@click.command("tracers")
@click.option("--delete", is_flag=True, help="Delete them.")
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _tracers(**values: Any) -> TracersRequest:
    """List the tracer pods on other nodes that this notebook keeps for the next run there."""
    return TracersRequest(**values)


@click.command("changes")
@click.option("--undo", is_flag=True, help="Take all of them back.")
@click.option("-o", "--out", type=Variable(), help="Put the frame into this variable.")
def _changes(undo: bool, out: str | None) -> ChangesRequest:
    """List what this notebook holds changed in pods: --for, impair; or take all of it back."""
    return ChangesRequest(undo, out)


@click.command("captures")
@click.option("-o", "--out", type=Variable(), help="Notebook: put the frame into this variable.")
def _captures(out: str | None) -> CapturesRequest:
    """List the captures that run in the background (--bg)."""
    return CapturesRequest(out)


EVERYWHERE = dict(grammar.commands)
MAGIC = {**EVERYWHERE, "use": _use, "captures": _captures, "changes": _changes, "tracers": _tracers}
