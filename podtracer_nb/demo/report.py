"""How the demo is: its pods, and what its bad link has dropped so far."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from podtracer_nb.demo import pods
from podtracer_nb.errors import TargetGone
from podtracer_nb.targets import Pin, Target, local, pin

__all__ = ["DemoStatus", "Link", "PodStatus", "status"]


@dataclass(frozen=True)
class PodStatus:
    """One demo pod as it is now.

    Attributes
    ----------
    name, owner
        Its name, and `Kind/name` of what owns it.
    ips
        Its IPv4 and IPv6 address.
    services
        The services that it answers for.
    pid
        Its first process, as this machine counts.
    running
        Whether that process is still the one that was started.
    """

    name: str
    owner: str
    ips: tuple[str, ...]
    services: tuple[str, ...]
    pid: int
    running: bool


@dataclass(frozen=True)
class Link:
    """The bad link.

    Attributes
    ----------
    pod
        Whose link it is.
    way
        `netem` (the kernel delays and drops), or `nftables` (a random drop on the bridge, and a delay in the server).
    loss_percent
        How many of a hundred packets are dropped, in each direction.
    delay_ms
        How late an answer comes because of it, about, in milliseconds.
    dropped
        Packets dropped so far; of netem, only those on the way to the pod.
    """

    pod: str
    way: str
    loss_percent: int
    delay_ms: int
    dropped: int

    def __str__(self) -> str:
        """Return one line for people."""
        made_of = {
            "netem": "netem",
            "nftables": "nftables random drop, and a delay in the server: the kernel has no netem",
        }[self.way]
        bad = f"{self.loss_percent} % loss, about {self.delay_ms} ms delay"
        packets = "1 packet" if self.dropped == 1 else f"{self.dropped} packets"
        return f"{self.pod}, {bad} ({made_of}); {packets} dropped so far"


@dataclass(frozen=True)
class DemoStatus:
    """What there is of the demo.

    Attributes
    ----------
    running
        Whether there is a demo.
    changed
        Whether this call made it so: False from `up` when it was up, from `down` when there was nothing to end.
    node, keeper
        The node's name, and the pid of the process that keeps everything alive.
    pods
        The pods.
    link
        The bad link; None where neither nft nor tc is there to ask.
    """

    running: bool
    changed: bool = False
    node: str = ""
    keeper: int | None = None
    pods: tuple[PodStatus, ...] = ()
    link: Link | None = None

    def __str__(self) -> str:
        """Return some lines for people."""
        if not self.running:
            return "the demo is down" if self.changed else "no demo is running: podtracer demo up"
        lines = [f"the demo is up: namespace {pods.NAMESPACE}, node {self.node}"]
        for pod in self.pods:
            state = f"pid {pod.pid}" if pod.running else "its process has ended"
            lines.append(f"  {pod.name:<8}{pod.ips[0]:<14}{pod.ips[1]:<16}{pod.owner:<20}{state}")
        return "\n".join([*lines, f"  bad link: {self.link}"] if self.link else lines)


def status() -> DemoStatus:
    """Return how the demo is.

    Raises
    ------
    DemoError
        Its state file cannot be read.

    Examples
    --------
    >>> from podtracer_nb import demo
    >>> print(demo.status())
    no demo is running: podtracer demo up
    """
    state = local.read_demo()
    if state is None:
        return DemoStatus(running=False)
    found = []
    for pod in state.pods:
        first = local.Process(pod.containers[0].pid, pod.containers[0].start_time)
        found.append(PodStatus(pod.name, pod.owner, pod.ips, pod.services, first.pid, running=first.alive))
    try:
        link = _link(state.keeper)
    except TargetGone:  # ended while we looked
        return DemoStatus(running=False)
    return DemoStatus(running=True, node=state.node, keeper=state.keeper.pid, pods=tuple(found), link=link)


def _link(keeper: local.Process) -> Link | None:
    """Ask the kernel, in the node's network namespace, what the bad link is made of and what it has dropped."""
    bad = pods.BAD_LINK
    search = pods.search_path()
    nft, tc = shutil.which("nft", path=search), shutil.which("tc", path=search)
    node = Target(pod=pods.NODE, node=pods.NODE, pid=keeper.pid, start_time=keeper.start_time)
    with pin(node) as node_namespace:
        if nft is not None:
            found = _ask(node_namespace, [nft, "-j", "list", "table", "bridge", pods.NFT_TABLE])
            rules = [item["rule"] for item in (found or {}).get("nftables", []) if "rule" in item]
            counters = [part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part]
            if counters:
                return Link(bad.pod, "nftables", bad.loss_percent, bad.delay_ms, sum(counters))
        if tc is not None:
            disciplines = _ask(node_namespace, [tc, "-j", "-s", "qdisc", "show", "dev", f"veth-{bad.pod}"]) or []
            drops = [one.get("drops", 0) for one in disciplines if one.get("kind") == "netem"]
            if drops:
                return Link(bad.pod, "netem", bad.loss_percent, bad.delay_ms, sum(drops))
    return None


def _ask(place: Pin, argv: list[str]) -> Any:
    """Return what a program printed as JSON inside a namespace, or None where it had nothing to say."""
    done = subprocess.run(
        [*place.nsenter, *argv],
        pass_fds=place.pass_fds,
        env=os.environ | {"PATH": pods.search_path()},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None
