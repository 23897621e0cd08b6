"""What a line can ask for: a frozen dataclass each."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

__all__ = [
    "HERE_ONLY",
    "NOT_HELD",
    "UNATTENDED",
    "CapturesRequest",
    "ChangesRequest",
    "CollectRequest",
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
]


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
    max_total: int | None = None
    count_total: int | None = None
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
    align_clocks: bool = False
    job: bool = False
    schedule: str | None = None
    dry_run: bool = False
    secret: str | None = None
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
        return _keywords(self, "tool", "arguments", *NOT_RUN)

    def hold_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.hold(tool, arguments, **keywords)` takes."""
        return _keywords(self, "tool", "arguments", "out", "shell", *NOT_HELD)

    def pair_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.iperf3(arguments, **keywords)` takes."""
        names = ("namespace", "context", "kubeconfig", "timer", "max_bytes", "file", "text")
        return {"from_": self.from_pod, "to": self.to_pod, **{name: getattr(self, name) for name in names}}

    def unattended_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.tools.unattended.made(words, **keywords)` takes."""
        names = ("pod", "selector", "namespace", "all_namespaces", "container", "context", "kubeconfig", "timer",
                 "file", "destination", "secret", "schedule", "dry_run", "image", "tracer_namespace")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def live_keywords(self) -> dict[str, Any]:
        """Return the keyword arguments that `podtracer_nb.capture(**keywords)` takes, but for tcpdump's own words."""
        ours = ("tool", "arguments", "stdout", "out", "shell", "bg", "text", "parse", "every", "allow_change", "for_",
                "destination", "port", "from_pod", "to_pod", "via", "image", "tracer_namespace", "max_total",
                "count_total", "align_clocks", *UNATTENDED)  # fmt: skip
        return _keywords(self, *ours)


# What makes a Job of a run.
UNATTENDED = ("job", "schedule", "dry_run", "secret")

# What means this machine, or somebody who waits: a run that is unattended has neither.
HERE_ONLY = ("pid", "netns", "stdout", "shell", "bg", "from_pod", "to_pod", "for_", "via", "align_clocks", "window")

# What a face does itself, or another function than `run`.
NOT_RUN = (
    "for_", "stdout", "destination", "port", "out", "shell", "from_pod", "to_pod", "bg", "window", "keep", *UNATTENDED,
)  # fmt: skip

# What limits or shapes the output of a tool that runs, which a change that is held has not.
NOT_HELD = (
    "timer", "max_bytes", "max_total", "count_total", "align_clocks",
    "filter", "interface", "count", "snaplen", "text", "parse", "every", "stdout", "destination",
    "port", "from_pod", "to_pod", "engine", "bg", "window", "keep",
    *UNATTENDED,
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
    via: str | None = None
    image: str | None = None
    tracer_namespace: str | None = None
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
