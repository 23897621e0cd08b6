"""Join the demo pods to a bridge, and make one link bad. Runs in the node's namespaces, with pyroute2, and ends.

Reads one JSON object: `{"bridge", "gateways": ["10.88.0.1/24", …], "nft", "bad": {"pod", "loss_percent", "delay_ms"},
"pods": [{"name", "pid", "mac", "addresses": ["10.88.0.10/24", …]}]}`. Writes one: what the bad link is made of.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import Any

from pyroute2 import IPRoute, NetlinkError, netns  # type: ignore[import-untyped]  # it has no types

# The address is usable at once, without the second that duplicate address detection takes (linux/if_addr.h).
IFA_F_NODAD = 0x02


def add_addresses(route: IPRoute, index: int, addresses: list[str]) -> None:
    """Give a link its addresses."""
    for address in addresses:
        host, length = address.split("/")
        flags = {"flags": IFA_F_NODAD} if ":" in host else {}
        route.addr("add", index=index, address=host, prefixlen=int(length), **flags)


def make_bridge(route: IPRoute, order: dict[str, Any]) -> int:
    """Make the node's bridge and return its index."""
    route.link("set", index=route.link_lookup(ifname="lo")[0], state="up")
    route.link("add", ifname=order["bridge"], kind="bridge", br_stp_state=0, br_mcast_snooping=0)
    index: int = route.link_lookup(ifname=order["bridge"])[0]
    add_addresses(route, index, order["gateways"])
    route.link("set", index=index, state="up")
    return index


def plug_in(route: IPRoute, bridge: int, pod: dict[str, Any]) -> None:
    """Lay a veth pair from the bridge to eth0 of the pod."""
    near = f"veth-{pod['name']}"
    far = {"ifname": "eth0", "address": pod["mac"], "net_ns_pid": pod["pid"]}
    route.link("add", ifname=near, kind="veth", peer=far)
    route.link("set", index=route.link_lookup(ifname=near)[0], master=bridge, state="up")


def configure_pod(pod: dict[str, Any], gateways: list[str], delay: dict[str, Any] | None) -> None:
    """Bring up lo and eth0 in the pod's network namespace, with its default routes."""
    netns.setns(f"/proc/{pod['pid']}/ns/net", flags=0)
    with IPRoute() as route:
        for name in ("lo", "eth0"):
            route.link("set", index=route.link_lookup(ifname=name)[0], state="up")
        eth0 = route.link_lookup(ifname="eth0")[0]
        add_addresses(route, eth0, pod["addresses"])
        for gateway in gateways:
            host = gateway.split("/")[0]
            anywhere = "::/0" if ":" in host else "0.0.0.0/0"
            route.route("add", dst=anywhere, gateway=host, oif=eth0)
        if delay:
            route.tc("add", "netem", index=eth0, handle="1:", **delay)


def spoil(route: IPRoute, order: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Make one pod's link bad: netem where the kernel has it, else a random drop on the bridge.

    Returns what is reported, and the netem options for the pod's own end (None without netem).
    """
    bad = order["bad"]
    near = f"veth-{bad['pod']}"
    # Microseconds, half of the delay in each direction; percent.
    delay = {"delay": bad["delay_ms"] * 500, "jitter": bad["delay_ms"] * 100, "loss": bad["loss_percent"]}
    report = {"pod": bad["pod"], "loss_percent": bad["loss_percent"], "delay_ms": bad["delay_ms"], "argv": []}
    try:
        route.tc("add", "netem", index=route.link_lookup(ifname=near)[0], handle="1:", **delay)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.EOPNOTSUPP):  # "Specified qdisc kind is unknown" is ENOENT
            raise
    else:
        return report | {"way": "netem"}, delay
    if order["nft"] is None:
        sys.exit(
            "the kernel has no netem and nft is not installed, so no link can be made bad: apt-get install nftables"
        )
    drop = f"meta protocol {{ ip, ip6 }} numgen random mod 1000 < {bad['loss_percent'] * 10} counter drop"
    rules = f"""
        table bridge {order["table"]} {{
            chain forward {{
                type filter hook forward priority 0;
                iifname "{near}" {drop}
                oifname "{near}" {drop}
            }}
        }}"""
    done = subprocess.run([order["nft"], "-f", "-"], input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        sys.exit(f"the kernel has no netem and refused a random drop ({why}): load sch_netem or nf_tables")
    return report | {"way": "nftables", "argv": ["--delay-ms", str(bad["delay_ms"])]}, None


def main() -> None:
    """Do what the order on stdin says, and report."""
    order = json.load(sys.stdin)
    try:
        with IPRoute() as route:
            bridge = make_bridge(route, order)
            for pod in order["pods"]:
                plug_in(route, bridge, pod)
            report, delay = spoil(route, order)
        # One way: this process ends in the last pod's namespace, and nobody misses it.
        for pod in order["pods"]:
            configure_pod(pod, order["gateways"], delay if pod["name"] == report["pod"] else None)
    except NetlinkError as error:
        sys.exit(f"the kernel refused the demo's links: {os.strerror(error.code)}; it needs bridge, veth and IPv6")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
