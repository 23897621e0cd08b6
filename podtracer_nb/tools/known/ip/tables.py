"""ip's tables, and the rows of its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from podtracer_nb.tools.iproute2 import scalar
from podtracer_nb.tools.parsing import flat
from podtracer_nb.tools.table import Column, Row, Table

__all__ = [
    "ADDRESSES",
    "LINKS",
    "MULTICAST",
    "NEIGHBOURS",
    "NETNS",
    "NEXTHOPS",
    "POLICIES",
    "ROUTES",
    "RULES",
    "STATES",
    "addresses",
    "links",
    "memberships",
    "neighbours",
    "nexthops",
    "plain",
    "routes",
    "rules",
]

Objects = Sequence[Mapping[str, Any]]

ADDRESSES = Table(
    "addresses",
    (
        Column("ifindex", "Int64", "", "number of the interface"),
        Column("interface", "str", "", "its name"),
        Column("family", "category", "", "inet or inet6"),
        Column("address", "str", "", "the address, without its prefix"),
        Column("prefix", "Int64", "bits", "length of the network's prefix"),
        Column("scope", "category", "", "global, link, host, …"),
        Column("valid_lifetime", "Int64", "s", "seconds it is still valid; NA: for ever", optional=True),
        Column("preferred_lifetime", "Int64", "s", "seconds it is still preferred; NA: for ever", optional=True),
        Column("broadcast", "str", "", "the network's broadcast address", optional=True),
        Column("peer", "str", "", "the address at the other end", optional=True),
        Column("label", "str", "", "its label: the interface, or an alias of it", optional=True),
        Column("flags", "object", "", "what more is said of it: dynamic, tentative, …", optional=True),
    ),
    key=("interface", "family", "address", "prefix"),
)


def _counters() -> Iterator[Column]:
    for way, words in (("rx", "received"), ("tx", "sent")):
        yield Column(f"{way}_bytes", "UInt64", "bytes", f"{words}", counter=True, optional=True)
        yield Column(f"{way}_packets", "UInt64", "packets", f"{words}", counter=True, optional=True)
        yield Column(f"{way}_errors", "UInt64", "packets", f"bad ones {words}", counter=True, optional=True)
        yield Column(f"{way}_dropped", "UInt64", "packets", f"dropped instead of {words}", counter=True, optional=True)
    for name in (
        "rx_multicast", "rx_over_errors", "rx_length_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors",
        "rx_missed_errors", "rx_compressed", "rx_nohandler", "tx_carrier_errors", "tx_collisions", "tx_aborted_errors",
        "tx_fifo_errors", "tx_window_errors", "tx_heartbeat_errors", "tx_compressed", "tx_carrier_changes",
    ):  # fmt: skip
        unit = "changes" if name.endswith("changes") else "packets"
        meaning = "rtnl_link_stats64 of linux/if_link.h"
        yield Column(name, "UInt64", unit, meaning, counter=True, optional=True)


LINKS = Table(
    "links",
    (
        Column("ifindex", "Int64", "", "number of the interface"),
        Column("interface", "str", "", "its name"),
        Column("kind", "category", "", "veth, bridge, vxlan, vlan, bond, …; told with -d", optional=True),
        Column("state", "category", "", "UP, DOWN, UNKNOWN, LOWERLAYERDOWN, … (RFC 2863)"),
        Column("flags", "object", "", "UP (set by people), LOWER_UP (there is a carrier), BROADCAST, …"),
        Column("mtu", "Int64", "bytes", "the longest packet that it sends"),
        Column("address", "str", "", "its hardware address"),
        Column("master", "str", "", "the bridge or bond that it is a port of", optional=True),
        Column("link", "str", "", "the interface that it lies on; a veth's other end", optional=True),
        Column("link_index", "Int64", "", "its number, where it is in another namespace", optional=True),
        Column("link_netnsid", "Int64", "", "that namespace's number here", optional=True),
        Column("qdisc", "category", "", "its queueing discipline"),
        Column("txqlen", "Int64", "packets", "length of its transmit queue", optional=True),
        Column("link_type", "category", "", "ether, loopback, none, …", optional=True),
        *_counters(),
    ),
    key=("interface",),
)
ROUTES = Table(
    "routes",
    (
        Column("family", "category", "", "inet or inet6"),
        Column("type", "category", "", "unicast where it is not told; local, broadcast, blackhole, …"),
        Column("dst", "str", "", "the destination, default for all"),
        Column("gateway", "str", "", "where to; NA: on the link itself"),
        Column("interface", "str", "", "out of which interface"),
        Column("src", "str", "", "the source address that is preferred", optional=True),
        Column("table", "category", "", "the routing table"),
        Column("protocol", "category", "", "who made it: kernel, boot, static, dhcp, …", optional=True),
        Column("scope", "category", "", "link, host, global", optional=True),
        Column("metric", "Int64", "", "the smaller goes first", optional=True),
        Column("nexthop", "Int64", "", "number of the way, from 0, where a route has several", optional=True),
        Column("weight", "Int64", "", "its share among them", optional=True),
        Column("mtu", "Int64", "bytes", "the path's MTU, where it is set", optional=True),
        Column("flags", "object", "", "onlink, linkdown, dead, …", optional=True),
    ),
    key=("family", "table", "dst", "metric", "interface", "nexthop"),
)
NEIGHBOURS = Table(
    "neighbours",
    (
        Column("dst", "str", "", "the neighbour's address"),
        Column("interface", "str", "", "behind which interface"),
        Column("lladdr", "str", "", "its hardware address; NA: not known"),
        Column("state", "category", "", "REACHABLE, STALE, DELAY, PROBE, FAILED, INCOMPLETE, PERMANENT, NOARP"),
        Column("used", "Int64", "s", "since it was last used", optional=True),
        Column("confirmed", "Int64", "s", "since it was last confirmed", optional=True),
        Column("updated", "Int64", "s", "since it last changed", optional=True),
        Column("probes", "Int64", "probes", "sent without an answer", optional=True),
        Column("references", "Int64", "", "who uses it", optional=True),
    ),
    key=("dst", "interface"),
)
RULES = Table(
    "rules",
    (
        Column("priority", "Int64", "", "the smaller is asked first"),
        Column("family", "category", "", "inet or inet6"),
        Column("src", "str", "", "for packets from there, with its prefix; all for any"),
        Column("dst", "str", "", "for packets to there; NA: any", optional=True),
        Column("table", "category", "", "the routing table to look in"),
        Column("action", "category", "", "what is done in place of that", optional=True),
        Column("fwmark", "str", "", "for packets with this mark", optional=True),
        Column("fwmask", "str", "", "under this mask", optional=True),
        Column("iif", "str", "", "for packets that came in there", optional=True),
        Column("oif", "str", "", "for sockets bound to that", optional=True),
    ),
    key=("family", "priority", "src", "dst", "table"),
)
NEXTHOPS = Table(
    "nexthops",
    (
        Column("id", "Int64", "", "its number"),
        Column("gateway", "str", "", "where to"),
        Column("interface", "str", "", "out of which interface"),
        Column("group", "str", "", "the numbers of those it consists of, each with its weight: 1/2,3", optional=True),
        Column("scope", "category", "", "link, host, global", optional=True),
        Column("flags", "object", "", "onlink, dead, …", optional=True),
    ),
    key=("id",),
)
MULTICAST = Table(
    "memberships",
    (
        Column("ifindex", "Int64", "", "number of the interface"),
        Column("interface", "str", "", "its name"),
        Column("family", "category", "", "inet, inet6, or link for a hardware address"),
        Column("address", "str", "", "the group"),
        Column("users", "Int64", "", "how many joined, where it is more than one", optional=True),
    ),
    key=("interface", "family", "address"),
)
NETNS = Table(
    "namespaces",
    (
        Column("name", "str", "", "its name under /run/netns, on this machine"),
        Column("id", "Int64", "", "its number here, where it has one", optional=True),
    ),
    key=("name",),
)
STATES = Table(
    "states",
    (
        Column("src", "str", "", "source of the tunnel"),
        Column("dst", "str", "", "its destination"),
        Column("proto", "category", "", "esp, ah, comp, …"),
        Column("spi", "str", "", "security parameters index"),
        Column("reqid", "str", "", "which policies ask for it"),
        Column("mode", "category", "", "transport, tunnel, …"),
    ),
    key=("dst", "proto", "spi"),
)
POLICIES = Table(
    "policies",
    (
        Column("src", "str", "", "for packets from there"),
        Column("dst", "str", "", "to there"),
        Column("dir", "category", "", "in, out, fwd"),
        Column("action", "category", "", "allow where it is not told; block", optional=True),
        Column("priority", "Int64", "", "the smaller goes first"),
        Column("tmpl", "str", "", "what states it asks for, separated by semicolons", optional=True),
    ),
    key=("src", "dst", "dir", "priority"),
)

_FOREVER = (1 << 32) - 1  # INFINITY_LIFE_TIME of linux/if_addr.h


def _family(address: str) -> str | None:
    return "inet6" if ":" in address else "inet" if address[:1].isdigit() else None


def addresses(found: Objects) -> list[Row]:
    """Return a row an address."""
    return [_address(link, each) for link in found for each in link.get("addr_info", ()) if each]


def _address(link: Mapping[str, Any], each: Mapping[str, Any]) -> Row:
    row: dict[str, Any] = {"ifindex": link.get("ifindex"), "interface": link.get("ifname")}
    flags = []
    names = {"local": "address", "prefixlen": "prefix", "index": "ifindex", "dev": "interface", "address": "peer"}
    for name, value in flat(each).items():
        if name in ("valid_life_time", "preferred_life_time"):
            row[name.replace("life_time", "lifetime")] = None if value == _FOREVER else value
        elif value is True:
            flags.append(name)  # dynamic, tentative, nodad: members of their own (ip/ipaddress.c)
        else:
            row[names.get(name, name)] = value
    row.setdefault("family", _family(str(row.get("address", ""))))
    row = {name: value for name, value in row.items() if value is not None or not name.endswith("_lifetime")}
    return {**row, "flags": flags} if flags else row


def links(found: Objects) -> list[Row]:
    """Return a row a link; a kind's own data are columns with its name in front: `vxlan_id`, `bridge_stp_state`."""
    rows: list[Row] = []
    for each in found:
        link = {
            name: value for name, value in each.items() if name not in ("addr_info", "linkinfo", "stats64", "stats")
        }
        # With -o and for addresses of one family, a link of nothing but addresses is told.
        if "ifname" not in link:
            continue
        row: dict[str, Any] = flat(link)
        row["interface"], row["state"] = row.pop("ifname"), row.pop("operstate", None)
        info = each.get("linkinfo", {})
        if info:
            row["kind"] = info.get("info_kind")
            row.update(flat(info.get("info_data", {}), f"{info.get('info_kind')}_"))
            slave = info.get("info_slave_kind")
            row.update({"slave_kind": slave} if slave else {})
            row.update(flat(info.get("info_slave_data", {}), f"{slave}_slave_"))
        row.update(flat(each.get("stats64") or each.get("stats") or {}))
        rows.append(row)
    return rows


def routes(found: Objects, table: str | None, family: str | None) -> list[Row]:
    """Return a row a way: a route with several next hops is as many rows.

    `table` and `family` are what was asked for, which ip then leaves out.
    """
    rows: list[Row] = []
    for each in found:
        route = {name: value for name, value in each.items() if name not in ("nexthops", "metrics", "cache")}
        for metrics in each.get("metrics", ()):
            route.update(metrics)
        route.update({"cached": scalar(each["cache"])} if each.get("cache") else {})
        route.setdefault("table", table)
        route["family"] = _route_family(each) or family or "inet"
        ways = each.get("nexthops") or [{}]
        for number, way in enumerate(ways):
            row = _way({**route, **way, "flags": [*route.get("flags", ()), *way.get("flags", ())]})
            rows.append({**row, "nexthop": number} if each.get("nexthops") else row)
    return rows


def _way(route: Mapping[str, Any]) -> Row:
    row = flat(route)
    row["interface"], row["src"] = row.pop("dev", None), row.pop("prefsrc", None)
    # A gateway of the other family (RFC 8950) stands in a member of its own.
    row["gateway"] = row.pop("gateway", row.pop("via_host", None))
    row["type"] = row.get("type", "unicast")
    if "from" in row:
        row["from"] = scalar(row["from"])
    if not row["flags"]:
        del row["flags"]
    return {name: value for name, value in row.items() if name != "src" or value is not None}


def _route_family(route: Mapping[str, Any]) -> str | None:
    ways = [route, *route.get("nexthops", ())]
    known = [_family(str(each.get(name, ""))) for each in ways for name in ("dst", "gateway", "prefsrc")]
    # `pref` is of IPv6 routers alone (RFC 4191).
    return "inet6" if "pref" in route else next((each for each in known if each), None)


def neighbours(found: Objects) -> list[Row]:
    """Return a row a neighbour."""
    rows: list[Row] = []
    for each in found:
        row = flat(each)
        row["interface"], row["state"] = row.pop("dev", None), scalar(row.pop("state", None))
        if "refcnt" in row:
            row["references"] = row.pop("refcnt")
        rows.append({name: True if value is None and name != "state" else value for name, value in row.items()})
    return rows


def rules(found: Objects, family: str | None) -> list[Row]:
    """Return a row a rule."""
    rows: list[Row] = []
    for each in found:
        row = flat(each)
        for name in ("src", "dst"):
            length = row.pop(f"{name}len", None)
            if length is not None:
                row[name] = f"{row[name]}/{length}"
        told = _family(row.get("src", "")) or _family(row.get("dst", ""))
        rows.append({**row, "family": told or family or "inet"})
    return rows


def nexthops(found: Objects) -> list[Row]:
    """Return a row a next hop."""
    rows: list[Row] = []
    for each in found:
        row = flat({name: value for name, value in each.items() if name != "group"})
        row["interface"] = row.pop("dev", None)
        row["gateway"] = row.pop("gateway", row.pop("via_host", None))
        if "group" in each:
            row["group"] = ",".join(
                f"{one['id']}/{one['weight']}" if "weight" in one else str(one["id"]) for one in each["group"]
            )
        if not row.get("flags"):
            row.pop("flags", None)
        rows.append(row)
    return rows


def memberships(found: Objects) -> list[Row]:
    """Return a row a multicast group that an interface listens to."""
    rows: list[Row] = []
    for each in found:
        for one in each.get("maddr", ()):
            row = {"ifindex": each.get("ifindex"), "interface": each.get("ifname"), **one}
            if "link" in row:
                row["family"], row["address"] = "link", row.pop("link")
            rows.append(row)
    return rows


def plain(found: Objects) -> list[Row]:
    """Return a row an object, its members by their names, an interface's name as everywhere."""
    names = {"ifname": "interface", "dev": "interface"}
    return [{names.get(name, name): value for name, value in flat(each).items()} for each in found]
