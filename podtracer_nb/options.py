"""The one grammar: what both `podtracer …` in a shell and `%podtrace …` in a notebook are parsed with.

A click command tree whose commands do nothing but return a request: a frozen dataclass that says what was asked. The
faces (`cli`, `notebook`) carry it out, each in its own way.

    podtracer run TOOL [options] [-- ARGS…]        %podtrace TOOL [options] [-- ARGS…]

Everything after `--` belongs to the tool.
"""

from __future__ import annotations

import contextlib
import keyword
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn, TypeVar

import click

from podtracer_nb.errors import InputError

__all__ = [
    "CapturesRequest",
    "ChangesRequest",
    "CollectRequest",
    "Completion",
    "DemoRequest",
    "DoctorRequest",
    "HelpRequest",
    "ImpairRequest",
    "PodsRequest",
    "ReadRequest",
    "Request",
    "RunRequest",
    "ToolsRequest",
    "TracersRequest",
    "UseRequest",
    "VersionRequest",
    "complete",
    "parse",
]

NAMESPACE_KINDS = ("net", "uts", "ipc", "pid", "mnt")


def _keywords(request: Any, *only_of_a_face: str) -> dict[str, Any]:
    return {each.name: getattr(request, each.name) for each in fields(request) if each.name not in only_of_a_face}


@dataclass(frozen=True)
class RunRequest:
    """Run a tool inside one or several targets; a `tool` of None (a cell) takes the tool from each line."""

    tool: str | None
    arguments: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    selector: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    container: str | None = None
    pid: int | None = None
    netns: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    ns: tuple[str, ...] = ("net",)
    timer: float | None = None
    max_bytes: int | None = None
    file: str | None = None
    filter: str | None = None
    interface: str | None = None
    count: int | None = None
    snaplen: int | None = None
    text: bool = False
    parse: str | None = None
    every: float | None = None
    engine: str | None = None
    allow_change: bool = False
    via: str | None = None
    image: str | None = None
    tracer_namespace: str | None = None
    for_: float | None = None
    stdout: bool = False
    destination: str | None = None
    port: int | None = None
    out: str | None = None
    shell: bool = False
    from_pod: str | None = None
    to_pod: str | None = None
    bg: bool = False
    window: str | None = None
    keep: bool = True

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.run(tool, arguments, **keywords)` takes."""
        return _keywords(self, "tool", "arguments", *_NOT_RUN)

    def hold_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.hold(tool, arguments, **keywords)` takes."""
        return _keywords(self, "tool", "arguments", "out", "shell", *_NOT_HELD)

    def pair_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.iperf3(arguments, **keywords)` takes."""
        names = ("namespace", "context", "kubeconfig", "timer", "max_bytes", "file", "text")
        return {"from_": self.from_pod, "to": self.to_pod, **{name: getattr(self, name) for name in names}}

    def live_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.capture(**keywords)` takes, but for tcpdump's own words."""
        ours = ("tool", "arguments", "stdout", "out", "shell", "bg", "text", "parse", "every", "allow_change", "for_",
                "destination", "port", "from_pod", "to_pod", "via", "image", "tracer_namespace")  # fmt: skip
        return _keywords(self, *ours)


# What a face does itself, or another function than `run`.
_NOT_RUN = (
    "for_", "stdout", "destination", "port", "out", "shell", "from_pod", "to_pod", "bg", "window", "keep",
)  # fmt: skip

# What limits or shapes the output of a tool that runs, which a change that is held has not.
_NOT_HELD = (
    "timer", "max_bytes", "filter", "interface", "count", "snaplen", "text", "parse", "every", "stdout", "destination",
    "port", "from_pod", "to_pod", "engine", "bg", "window", "keep", "via", "image", "tracer_namespace",
)  # fmt: skip


@dataclass(frozen=True)
class ImpairRequest:
    """Make the link of one or several pods bad for a while."""

    pod: tuple[str, ...] = ()
    selector: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    container: str | None = None
    pid: int | None = None
    netns: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    delay: str | None = None
    jitter: str | None = None
    loss: str | None = None
    duplicate: str | None = None
    corrupt: str | None = None
    reorder: str | None = None
    rate: str | None = None
    interface: str = "eth0"
    for_: float | None = None
    out: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.impair(**keywords)` takes."""
        return _keywords(self, "out")


@dataclass(frozen=True)
class ChangesRequest:
    """List the changes that this notebook holds, or take all of them back."""

    undo: bool = False
    out: str | None = None


@dataclass(frozen=True)
class PodsRequest:
    """List the pods that can be named."""

    namespace: str | None = None
    selector: str | None = None
    all_namespaces: bool = False
    context: str | None = None
    kubeconfig: str | None = None
    show_labels: bool = False
    out: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.pods(**keywords)` takes."""
        return _keywords(self, "show_labels", "out")


@dataclass(frozen=True)
class ReadRequest:
    """Read a capture file."""

    path: str
    count: int | None = None
    columns: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    decap: bool = False
    resync: bool = False
    filter: str | None = None
    start: str | None = None
    stop: str | None = None
    sample: float | None = None
    seed: int = 0
    to: str | None = None
    overwrite: bool = False
    out: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.read_pcap(path, **keywords)` takes."""
        return _keywords(self, "path", "to", "overwrite", "out")


@dataclass(frozen=True)
class CollectRequest:
    """Receive captures from other nodes' podtracers."""

    dir: str
    port: int
    address: str
    tls_cert: str | None = None
    tls_key: str | None = None
    client_ca: str | None = None
    token_file: str | None = None
    insecure: bool = False
    max_bytes: int | None = None
    max_total: int | None = None
    rotate: bool = False
    max_clients: int = 256
    metrics_port: int | None = None


@dataclass(frozen=True)
class DemoRequest:
    """Start, stop or describe the demo pods."""

    action: str


@dataclass(frozen=True)
class DoctorRequest:
    """Check what podtracer needs here."""

    context: str | None = None
    kubeconfig: str | None = None
    out: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.doctor(**keywords)` takes."""
        return _keywords(self, "out")


@dataclass(frozen=True)
class ToolsRequest:
    """List the tools whose results become tables."""

    out: str | None = None


@dataclass(frozen=True)
class TracersRequest:
    """List or delete the tracer pods of this process."""

    delete: bool = False
    out: str | None = None


@dataclass(frozen=True)
class CapturesRequest:
    """List the captures that run in the background."""

    out: str | None = None


@dataclass(frozen=True)
class UseRequest:
    """Set the defaults of later lines in this notebook; empty values and no `clear`: show them."""

    values: dict[str, Any] = field(default_factory=dict)
    clear: bool = False


@dataclass(frozen=True)
class HelpRequest:
    """Show a help text."""

    text: str


@dataclass(frozen=True)
class VersionRequest:
    """Show the version, and which build of the dissector is in use."""


Request = (
    RunRequest
    | ImpairRequest
    | ChangesRequest
    | PodsRequest
    | ReadRequest
    | CollectRequest
    | DemoRequest
    | DoctorRequest
    | ToolsRequest
    | TracersRequest
    | CapturesRequest
    | UseRequest
    | HelpRequest
    | VersionRequest
)


@dataclass(frozen=True)
class Completion:
    """One way to go on: its text and what it is (`command`, `option`, `tool`, `value`)."""

    text: str
    kind: str


class _Duration(click.ParamType[float]):
    name = "duration"
    _form = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            text += "s"
        match = self._form.fullmatch(text)
        seconds = 0.0
        if match:
            for part, unit in zip(match.groups(), (3600.0, 60.0, 1.0, 0.001), strict=True):
                seconds += float(part or 0) * unit
        if not match or not 0 < seconds <= 366 * 86400:
            self.fail(f"{value!r} is not a duration; write 30s, 2m or 1h2m", param, ctx)
        return seconds


class _Size(click.ParamType[int]):
    name = "size"
    _units: Mapping[str, int] = {
        "": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
        "ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4,
    }  # fmt: skip

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+)\s*([kmgt]?i?)b?", str(value).strip().lower(), re.ASCII)
        if not match or match[2] not in self._units or int(match[1]) == 0:
            self.fail(f"{value!r} is not a size; write 500k, 20M or 1GiB", param, ctx)
        return int(match[1]) * self._units[match[2]]


class _Value(click.ParamType[str]):
    """A value that is a name of ours, so an option swallowed in its place is a mistake that can be told."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text or text.startswith("-") or not text.isprintable():
            self.fail(f"{text!r} is not a {self.name}", param, ctx)
        return text


class _Interface(click.ParamType[str]):
    name = "interface"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # IFNAMSIZ is 16 with the final NUL; "/" and white space are refused by dev_valid_name (net/core/dev.c).
        if not re.fullmatch(r"[^\s/:-][^\s/:]{0,14}", str(value)):
            self.fail(f"{value!r} is not an interface name", param, ctx)
        return str(value)


class _Kinds(click.ParamType[tuple[str, ...]]):
    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        kinds = tuple(dict.fromkeys(value if isinstance(value, tuple) else str(value).split(",")))
        if not kinds or any(kind not in NAMESPACE_KINDS for kind in kinds):
            self.fail(f"{value!r} is not a list of namespaces; choose from {','.join(NAMESPACE_KINDS)}", param, ctx)
        return kinds


class _Names(click.ParamType[tuple[str, ...]]):
    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(each.strip() for each in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r} is not a list of names; write time,src,dst", param, ctx)
        return names


class _Sample(click.ParamType[float]):
    name = "sample"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
            return int(text)
        if re.fullmatch(r"0?\.[0-9]+", text) and float(text) > 0:
            return float(text)
        self.fail(f"{value!r} is not a sample; write 10 for every tenth packet, 0.1 for a tenth of them", param, ctx)


class _Variable(click.ParamType[str]):
    name = "variable"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).isidentifier() or keyword.iskeyword(str(value)):
            self.fail(f"{value!r} is not a name for a variable", param, ctx)
        return str(value)


Function = TypeVar("Function", bound=Callable[..., Any])


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_cluster = _options(
    click.option("--context", type=_Value("context"), help="Context of the kubeconfig: which cluster."),
    click.option("--kubeconfig", type=_Value("file"), help="The kubeconfig file, in place of kubectl's."),
)
_scope = _options(
    click.option("-n", "--namespace", type=_Value("namespace"), help="Kubernetes namespace."),
    click.option("-l", "--selector", type=_Value("selector"), help="Label selector: app=web,tier!=db."),
    click.option("-A", "--all-namespaces", is_flag=True, help="Pods of every namespace."),
    _cluster,
)
_places = _options(
    click.option(
        "--pod",
        multiple=True,
        type=_Value("pod"),
        help="Pod: name, ns/name, deploy/web, sts/db, ds/x, job/x, svc/api, or a glob as web-*. Repeatable.",
    ),
    _scope,
    click.option("-c", "--container", type=_Value("container"), help="Container of the pod."),
    click.option("--pid", type=click.IntRange(min=1), help="A process on this machine, in place of a pod."),
    click.option("--netns", type=_Value("namespace"), help="A named network namespace, or the file of one."),
)
_targets = _options(
    _places,
    click.option(
        "--ns", type=_Kinds(), default=("net",), help="Namespaces to enter: net,uts,ipc,pid,mnt [default: net]."
    ),
)
_limits = _options(
    click.option("-t", "--timer", type=_Duration(), help="Stop after this long: 30s, 2m, 1h2m."),
    click.option("--max-bytes", type=_Size(), help="Stop after this much output: 20M, 1GiB."),
)
_output = _options(
    click.option("-f", "--file", type=_Value("file"), help="Leave the output in this file, on this machine."),
    click.option("-s", "--stdout", is_flag=True, help="Write the tool's own output to standard output."),
    click.option(
        "-d", "--destination", type=_Value("host"), help="Shell: send the output to the collector on this host."
    ),
    click.option("-p", "--port", type=click.IntRange(1, 65535), help="The collector's port [default: 51001]."),
    click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable."),
)
_packets = _options(
    click.option("-a", "--arguments", multiple=True, help="The tool's arguments in one string; or put them after --."),
    click.option("--filter", "filter_", help="Capture filter, as tcpdump's (pcap-filter(7))."),
    click.option("--interface", type=_Interface(), help="Interface to capture on."),
    # tcpdump's own limit is a C int.
    click.option(
        "--count", type=click.IntRange(min=1, max=2**31 - 1), help="Stop after so many packets; with --every, samples."
    ),
    click.option("--snaplen", type=click.IntRange(min=1, max=262144), help="Bytes kept of each packet."),
    click.option("--text", is_flag=True, help="The tool's printed lines, in place of packets or a table."),
    click.option("--parse", metavar="FORMAT", help="Lines of any tool as a table: json, jsonl, csv, tsv, kv, jc:NAME."),
    click.option(
        "--every", type=_Duration(), help="Run the tool again and again, so often: 200ms, 1s; one table of all."
    ),
    click.option(
        "--engine", type=click.Choice(["tcpdump", "ring"]), help="What captures: the ring loses nothing at high rates."
    ),
    click.option("--allow-change", is_flag=True, help="Let the tool alter the target."),
    click.option("--for", "for_", type=_Duration(), help="Take back after this long what the tool altered: 30s, 2m."),
    click.option(
        "--via", type=click.Choice(["here", "job"]), help="Run here, or in a tracer pod on the target's node."
    ),
    click.option("--image", type=_Value("image"), help="Image of tracer pods [default: the notebook's own]."),
    click.option("--tracer-namespace", type=_Value("namespace"), help="Namespace of tracer pods."),
    click.option("--shell", is_flag=True, help="Cell: its body is one shell script."),
    click.option("--from", "from_pod", type=_Value("pod"), help="iperf3: the pod that its client runs in."),
    click.option("--to", "to_pod", type=_Value("pod"), help="iperf3: the pod that its server runs in, meanwhile."),
    click.option("--bg", is_flag=True, help="Notebook: capture in the background; -o live, then live.df, live.stop()."),
    click.option("--window", type=_Value("window"), help="With --bg: what .df holds, 100000 (packets) or 30s."),
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
    if values["port"] is not None and values["destination"] is None:
        raise click.UsageError("-p is the port of a collector: name its host with -d")
    if not values["bg"] and (values["window"] is not None or not values["keep"]):
        raise click.UsageError("--window and --no-keep belong to --bg")
    if values["bg"] and (values["stdout"] or values["text"] or values["parse"] or values["every"] or values["shell"]):
        raise click.UsageError("--bg captures packets: leave -s, --text, --parse, --every and --shell out")
    if values["for_"] is not None:
        strange = [name for name in (*_NOT_HELD, "shell") if values[name] and name != "keep"]
        if strange:
            name = strange[0].replace("_", "-")
            raise click.UsageError(f"--for holds what a tool alters, which --{name} says nothing of: leave that out")
    return RunRequest(tool, (*given, *words), **values)


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
@click.option("--interface", type=_Interface(), default="eth0", help="Whose packets [default: eth0].")
@click.option("--for", "for_", type=_Duration(), help="How long: 30s, 2m [default: until Ctrl+C, or undone].")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put what is held into this variable.")
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
              "snaplen", "parse", "every", "destination")  # fmt: skip
    given = [name for name in others if values[name]]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} does not go with --from and --to: leave it out")


@grammar.command("pods")
@_scope
@click.option("--show-labels", is_flag=True, help="Shell: the labels too; a notebook's frame always has them.")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _pods(**values: Any) -> PodsRequest:
    """List the pods that can be named, with what is known of each."""
    return PodsRequest(**values)


@grammar.command("read")
@click.argument("path")
@click.option("--count", type=click.IntRange(min=1), help="Read only this many packets.")
@click.option("--filter", help="Only packets that this expression of pcap-filter(7) lets through.")
@click.option("--start", metavar="TIME", help="Only packets from this time on: '2026-01-31 12:00', UTC without a zone.")
@click.option("--stop", metavar="TIME", help="Only packets before this time.")
@click.option("--sample", type=_Sample(), help="Every n-th packet (10), or a fraction of all (0.01).")
@click.option("--seed", type=int, default=0, help="Another number is another fraction of the packets.")
@click.option("--columns", type=_Names(), help="Only these columns: time,src,dst.")
@click.option("--layers", type=_Names(), help="More columns, by layer: tunnel,tls,http,quic,dns.")
@click.option("--decap", is_flag=True, help="Describe the packets inside tunnels.")
@click.option("--resync", is_flag=True, help="Where the capture is damaged, go on with what looks like packets.")
@click.option("--to", type=_Value("folder"), metavar="FOLDER", help="Write Parquet there, whatever the capture's size.")
@click.option("--overwrite", is_flag=True, help="With --to: also into a folder that is not empty.")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _read(**values: Any) -> ReadRequest:
    """Read a capture file into a table, or into Parquet."""
    if values["overwrite"] and values["to"] is None:
        raise click.UsageError("--overwrite belongs to --to")
    if values["out"] is not None and values["to"] is not None:
        raise click.UsageError("-o takes a frame, and --to makes none: podtracer_nb.read_parquet reads what it wrote")
    return ReadRequest(**values)


@grammar.command("collect")
@click.option("--dir", type=_Value("directory"), default="captures", help="Where the captures go [default: captures].")
@click.option("--port", type=click.IntRange(0, 65535), default=51001, help="Where to listen [default: 51001].")
@click.option("--address", type=_Value("address"), default="0.0.0.0", help="On which address [default: all].")  # noqa: S104
@click.option("--tls-cert", type=_Value("file"), help="Its own certificate chain, PEM.")
@click.option("--tls-key", type=_Value("file"), help="The key of it, PEM.")
@click.option("--client-ca", type=_Value("file"), help="The authorities whose clients may send, PEM.")
@click.option("--token-file", type=_Value("file"), help="The token that clients have to say.")
@click.option("--insecure", is_flag=True, help="Anybody may send, unencrypted: for the original's podtracer.")
@click.option("--max-bytes", type=_Size(), help="The most of one capture: 20M, 1GiB.")
@click.option("--max-total", type=_Size(), help="The most of all captures.")
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
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _doctor(**values: Any) -> DoctorRequest:
    """Check rights, processes, runtimes, the cluster's API and tools; say what mends each that is missing."""
    return DoctorRequest(**values)


@grammar.command("tools")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _tools(out: str | None) -> ToolsRequest:
    """List the tools whose results become tables, and which of them are here."""
    return ToolsRequest(out)


@grammar.command("version")
def _version() -> VersionRequest:
    """Show the version, and which build of the dissector is in use."""
    return VersionRequest()


@click.command("use")
@_scope
@click.option("--pod", multiple=True, type=_Value("pod"), help="Pod of later lines.")
@click.option("-c", "--container", type=_Value("container"), help="Container of later lines.")
@click.option("--ns", type=_Kinds(), help="Namespaces that later lines enter.")
@click.option("-t", "--timer", type=_Duration(), help="Timer of later lines.")
@click.option("--clear", is_flag=True, help="Forget the defaults.")
def _use(clear: bool, **values: Any) -> UseRequest:
    """Set defaults for the lines that follow: %podtrace use -n demo. Alone: show them."""
    return UseRequest({name: value for name, value in values.items() if value}, clear)


@click.command("tracers")
@click.option("--delete", is_flag=True, help="Delete them.")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _tracers(**values: Any) -> TracersRequest:
    """List the tracer pods on other nodes that this notebook keeps for the next run there."""
    return TracersRequest(**values)


@click.command("changes")
@click.option("--undo", is_flag=True, help="Take all of them back.")
@click.option("-o", "--out", type=_Variable(), help="Put the frame into this variable.")
def _changes(undo: bool, out: str | None) -> ChangesRequest:
    """List what this notebook holds changed in pods: --for, impair; or take all of it back."""
    return ChangesRequest(undo, out)


@click.command("captures")
@click.option("-o", "--out", type=_Variable(), help="Notebook: put the frame into this variable.")
def _captures(out: str | None) -> CapturesRequest:
    """List the captures that run in the background (--bg)."""
    return CapturesRequest(out)


_EVERYWHERE = dict(grammar.commands)
_MAGIC = {**_EVERYWHERE, "use": _use, "captures": _captures, "changes": _changes, "tracers": _tracers}


def parse(words: Sequence[str], *, magic: bool = False, defaults: Mapping[str, object] | None = None) -> Request:
    """Parse one line's words into what it asks for.

    Parameters
    ----------
    words
        The words after `podtracer` or `%podtrace`, quotes already taken off.
    magic
        True in a notebook: `run` may be left out, and `use` exists.
    defaults
        Values for options that the line leaves out, by their names in `RunRequest` (`%podtrace use`).

    Raises
    ------
    InputError
        The words do not fit the grammar; one line says which, and the right form.

    Examples
    --------
    >>> parse(["run", "tcpdump", "--pod", "web", "--", "-c", "10"]).arguments
    ('-c', '10')
    """
    commands = _MAGIC if magic else _EVERYWHERE
    face = "%podtrace" if magic else "podtracer"
    name, rest = _split_command(list(words), commands, magic)
    if name is None:
        return HelpRequest(_help(grammar, face, magic))
    command = commands[name]
    shown = face if magic and name == "run" else f"{face} {name}"
    try:
        with click.Context(command, info_name=shown, help_option_names=["-h", "--help"]) as ctx:
            if _asks_help(rest):
                return HelpRequest(command.get_help(ctx))
            if name == "run":
                _own_words(rest, magic)
        ctx = command.make_context(
            shown, list(rest), help_option_names=["-h", "--help"], default_map=_applicable(rest, defaults)
        )
        with ctx:
            request: Request = command.invoke(ctx)
    except click.ClickException as error:
        _refuse(error, shown, name)
    if isinstance(request, RunRequest) and request.tool is None and not magic:
        raise InputError("no tool named; write podtracer run TOOL --pod POD -- ARGS")
    return request


def _split_command(
    words: list[str], commands: Mapping[str, click.Command], magic: bool
) -> tuple[str | None, list[str]]:
    if not words:
        return None, []
    if words[0] in ("-h", "--help") or (words[0] == "help" and len(words) == 1):
        return None, []
    if words[0] == "--version":
        return "version", []
    if words[0] in commands:
        return words[0], words[1:]
    # In a notebook the word may as well be a tool's name: only a very near one, alone, is taken for a slip.
    nearest = _nearest(words[0], commands, cutoff=0.8 if magic else 0.6)
    if magic and not (len(words) == 1 and nearest):
        return "run", words
    hint = f"; did you mean {nearest!r}?" if nearest else f"; commands: {', '.join(commands)}"
    if re.fullmatch(r"[a-z0-9_.+]+", words[0]) and not nearest:
        hint += f"; to run a tool: podtracer run {shlex.join(words[:1])} --pod POD"
    raise InputError(f"no such command {words[0]!r}{hint}")


def _nearest(word: str, among: Mapping[str, object], cutoff: float) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, list(among), n=1, cutoff=cutoff)
    return found[0] if found else None


def _asks_help(words: Sequence[str]) -> bool:
    ours = words[: words.index("--")] if "--" in words else words
    return "--help" in ours or "-h" in ours


def _applicable(words: Sequence[str], defaults: Mapping[str, object] | None) -> dict[str, Any]:
    """Leave out sticky targets where the line names its own."""
    values: dict[str, Any] = dict(defaults or {})
    ours = words[: words.index("--")] if "--" in words else words
    named = {word.split("=", 1)[0] for word in ours}
    if named & {"--pod", "-l", "--selector", "-A", "--all-namespaces", "--pid", "--netns", "--from", "--to"}:
        for name in ("pod", "selector", "all_namespaces"):
            values.pop(name, None)
    if named & {"--from", "--to"}:
        values.pop("container", None)
    if named & {"--pid", "--netns"}:
        for name in ("namespace", "container", "context", "kubeconfig"):
            values.pop(name, None)
    return values


def _own_words(words: Sequence[str], magic: bool) -> None:
    """Refuse words of the tool that stand before `--`, and show where they go."""
    if "--" in words:
        before, after = list(words[: words.index("--")]), list(words[words.index("--") + 1 :])
    else:
        before, after = list(words), []
    ours, theirs, tool = _divide(before)
    if theirs:
        line = shlex.join([*(["podtracer", "run"] if not magic else ["%podtrace"]), *([tool] if tool else []), *ours])
        form = f"{line} -- {shlex.join([*theirs, *after])}"
        raise click.UsageError(
            f"{theirs[0]!r} is not an option of podtracer; what belongs to {tool or 'the tool'} goes after --: {form}"
        )


def _divide(words: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Tell our words from the tool's: (ours, theirs, tool)."""
    takes_value = {
        name: not getattr(param, "is_flag", False)
        for param in _EVERYWHERE["run"].params
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }
    ours: list[str] = []
    theirs: list[str] = []
    tool: str | None = None
    position = 0
    while position < len(words):
        word = words[position]
        # A value of ours never sticks to its letter: `-nn` and `-c100` are the tool's, not a namespace or a container.
        name = word.split("=", 1)[0] if word.startswith("--") else word
        known = name in takes_value
        if word.startswith("-") and len(word) > 1 and known:
            valued = takes_value[name] and word == name
            value = words[position + 1] if valued and position + 1 < len(words) else None
            # `-n` and `-c` are tcpdump's too: a value that cannot be ours says that the option was not either.
            # A long option is nobody's but ours, and its value is judged as such.
            ambiguous = not name.startswith("--") and name != "-a"
            swallowed = value is not None and ambiguous and value.startswith("-") and value != "-"
            counted = name == "-c" and value is not None and value.isdigit()
            if swallowed:
                theirs.append(word)
                position += 1
                continue
            (theirs if counted else ours).extend(words[position : position + (2 if value is not None else 1)])
            position += 2 if value is not None else 1
            continue
        if word.startswith("-") and len(word) > 1:
            theirs.append(word)
            following = words[position + 1 : position + 2]
            if following and not following[0].startswith("-") and tool is not None:
                theirs += following
                position += 1
        elif tool is None:
            tool = word
        else:
            theirs.append(word)
        position += 1
    return ours, theirs, tool


def _refuse(error: click.ClickException, shown: str, name: str) -> NoReturn:
    message = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption) and name == "run":
        message = f"no such option {error.option_name}; the tool's own options go after --"
    hint = "" if " -- " in message or "; " in message else f"; see {shown} --help"
    raise InputError(f"{message[:1].lower()}{message[1:]}{hint}") from error


def _help(group: click.Group, face: str, magic: bool) -> str:
    with _extended(group, magic), click.Context(group, info_name=face, help_option_names=["-h", "--help"]) as ctx:
        text = group.get_help(ctx)
    if magic:
        text += (
            "\n\nrun may be left out:  %podtrace tcpdump --pod web -n demo -- -i eth0 -c 100"
            "\nas a value:           df = %podtrace tcpdump --pod web -n demo -- -c 100"
            "\na cell of commands:   %%podtrace --pod web -n demo        (or --shell: one script)"
        )
    return text


@contextlib.contextmanager
def _extended(group: click.Group, magic: bool) -> Iterator[None]:
    before = dict(group.commands)
    group.commands.update(_MAGIC if magic else {})
    try:
        yield
    finally:
        group.commands.clear()
        group.commands.update(before)


def complete(words: Sequence[str], incomplete: str, *, magic: bool = False) -> list[Completion]:
    """Return what may follow `words` of a line, beginning with `incomplete`.

    Names of pods and namespaces are not the grammar's to know: after `--pod` or `-n` this returns nothing.

    Examples
    --------
    >>> [each.text for each in complete(["run", "tcpdump"], "--all-n")]
    ['--all-namespaces']
    """
    commands = _MAGIC if magic else _EVERYWHERE
    if "--" in words:
        return []
    found: list[Completion] = []
    first = words[0] if words else None
    if first is None and not incomplete.startswith("-"):
        found += [Completion(name, "command") for name in commands]
        if magic:
            found.append(Completion("tcpdump", "tool"))
    else:
        command = commands[first] if first in commands else _EVERYWHERE["run"]
        previous = words[-1] if words else ""
        for param in command.params:
            if isinstance(param, click.Option) and previous in param.opts and not param.is_flag:
                listed = tuple(map(str, param.type.choices)) if isinstance(param.type, click.Choice) else ()
                choices = NAMESPACE_KINDS if param.name == "ns" else listed
                return [Completion(each, "value") for each in choices if each.startswith(incomplete)]
            if isinstance(param, click.Argument) and isinstance(param.type, click.Choice):
                found += [Completion(str(each), "value") for each in param.type.choices]
            if isinstance(param, click.Option):
                found += [Completion(each, "option") for each in param.opts if each.startswith("--")]
        found.append(Completion("--help", "option"))
        if first == "run" and len(words) == 1:
            found.append(Completion("tcpdump", "tool"))
    return [each for each in found if each.text.startswith(incomplete)]
