"""bridge(8) of iproute2: a bridge's ports, forwarding database, VLANs and multicast groups, from its JSON (`-j`).

Where the kernel refuses a dump, 6.1 writes the beginning of a list and no end, which is read as an empty one. Source:
bridge(8), bridge/*.c of iproute2 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podtracer_nb.tools import iproute2
from podtracer_nb.tools.parsing import flat, known_form
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

PORTS = Table(
    "ports",
    (
        Column("ifindex", "Int64", "", "number of the port's interface"),
        Column("interface", "str", "", "its name"),
        Column("master", "str", "", "the bridge that it is a port of"),
        Column("state", "category", "", "forwarding, blocking, learning, listening, disabled"),
        Column("flags", "object", "", "the interface's: UP, LOWER_UP, …"),
        Column("mtu", "Int64", "bytes", "the longest packet that it sends"),
        Column("priority", "Int64", "", "of the spanning tree protocol"),
        Column("cost", "Int64", "", "of the spanning tree protocol"),
        Column("link", "str", "", "the interface that it lies on; a veth's other end", optional=True),
    ),
    key=("interface",),
)
FORWARDING = Table(
    "forwarding",
    (
        Column("address", "str", "", "the hardware address"),
        Column("interface", "str", "", "the port behind which it is"),
        Column("master", "str", "", "the bridge; NA: an entry of the interface itself"),
        Column("vlan", "Int64", "", "in which VLAN", optional=True),
        Column("dst", "str", "", "the other end of the tunnel that it is behind", optional=True),
        Column("vni", "Int64", "", "in which of the tunnel's networks", optional=True),
        Column("state", "category", "", "permanent (the port's own), static; empty: learnt"),
        Column("flags", "object", "", "self, extern_learn, offload, sticky, …"),
        Column("used", "Int64", "s", "since it was last used", optional=True),
        Column("updated", "Int64", "s", "since it last changed", optional=True),
    ),
    key=("address", "interface", "master", "vlan", "dst"),
)
VLANS = Table(
    "vlans",
    (
        Column("interface", "str", "", "the port, or the bridge itself"),
        Column("vlan", "Int64", "", "the VLAN's number"),
        Column("last", "Int64", "", "the last number, where several are told as one", optional=True),
        Column("flags", "object", "", "PVID: untagged packets are of it; Egress Untagged: its packets leave untagged"),
        Column("rx_bytes", "UInt64", "bytes", "received", counter=True, optional=True),
        Column("rx_packets", "UInt64", "packets", "received", counter=True, optional=True),
        Column("tx_bytes", "UInt64", "bytes", "sent", counter=True, optional=True),
        Column("tx_packets", "UInt64", "packets", "sent", counter=True, optional=True),
    ),
    key=("interface", "vlan"),
)
GROUPS = Table(
    "groups",
    (
        Column("bridge", "str", "", "the bridge"),
        Column("interface", "str", "", "the port behind which somebody listens"),
        Column("group", "str", "", "the multicast group"),
        Column("src", "str", "", "to packets from there alone", optional=True),
        Column("vlan", "Int64", "", "in which VLAN", optional=True),
        Column("state", "category", "", "temp: learnt; permanent"),
        Column("flags", "object", "", "offload, fast_leave, …"),
    ),
    key=("bridge", "interface", "group", "vlan"),
)
ROUTERS = Table(
    "routers",
    (
        Column("bridge", "str", "", "the bridge"),
        Column("interface", "str", "", "the port behind which there is a multicast router"),
    ),
    key=("bridge", "interface"),
)
NETWORKS = Table(
    "networks",
    (
        Column("interface", "str", "", "the VXLAN device"),
        Column("vni", "Int64", "", "the network's number"),
        Column("last", "Int64", "", "the last number, where several are told as one", optional=True),
    ),
    key=("interface", "vni"),
)

_SHOW = ("show", "lst", "list")
# In the order of bridge/bridge.c and of each object's file.
_OBJECTS: dict[str, tuple[str, ...]] = {
    "link": ("set", *_SHOW, "help"),
    "fdb": ("add", "append", "replace", "delete", "get", *_SHOW, "flush", "help"),
    "mdb": ("add", "replace", "delete", *_SHOW, "get", "flush", "help"),
    "vlan": ("add", "delete", "set", *_SHOW, "tunnelshow", "global", "help"),
    "vni": ("add", "delete", *_SHOW, "help"),
    "monitor": (),
    "help": (),
}


def _read(arguments: Sequence[str]) -> tuple[str, str, list[str]]:
    kind, verb, rest = iproute2.written_out(iproute2.split(arguments)[1], _OBJECTS)
    if verb == "global":
        done = iproute2.first(rest[0], ("set", *_SHOW)) or rest[0] if rest else "show"
        return "vlan global", done, rest[1:]
    return kind, verb, rest


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("bridge", options)
    given, words = iproute2.split(arguments)
    kind, verb, _rest = _read(arguments)
    plain = ("bridge", *arguments)
    if kind == "monitor":
        # bridge has -timestamp, and no -tshort.
        stamp = () if any(each.startswith("-t") for each in given) else ("-t",)
        argv = ("bridge", *stamp, *arguments)
        endless = "help" not in words
        return Command(argv, output="table", parse=iproute2.events, launcher=iproute2.UTC, endless=endless)
    reader = _READERS.get(kind)
    if reader is None or verb not in (*_SHOW, "get") or any(each.startswith("-V") for each in given):
        return Command(plain)

    def parse(text: Text) -> Parsed:
        if text.stdout.strip() and not iproute2.document(text.stdout):
            raise Unreadable(f"this bridge has no JSON for {kind}")
        with known_form():
            return Parsed(reader(iproute2.objects(text.stdout)))

    return Command(
        ("bridge", "-j", *arguments),
        output="table",
        parse=parse,
        suffix=".json",
        probe=("bridge", "-j", "-V"),
        otherwise=plain,
    )


Tables = tuple[tuple[Table, list[Row]], ...]
Objects = list[dict[str, Any]]


def _named(each: Mapping[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in flat(each).items()}


def _ports(found: Objects) -> Tables:
    return ((PORTS, [_named(each, ifname="interface") for each in found]),)


def _forwarding(found: Objects) -> Tables:
    return ((FORWARDING, [_named(each, ifname="interface", mac="address") for each in found]),)


def _vlans(found: Objects) -> Tables:
    rows: list[Row] = []
    for each in found:
        above = {name: value for name, value in each.items() if name not in ("vlans", "ifname")}
        for one in each.get("vlans", ()):
            row = _named(one, vlanEnd="last")
            rows.append({"interface": each.get("ifname"), **above, **row, "flags": row.get("flags", [])})
    return ((VLANS, rows),)


def _groups(found: Objects) -> Tables:
    groups: list[Row] = []
    routers: list[Row] = []
    names = {"dev": "bridge", "port": "interface", "grp": "group", "vid": "vlan"}
    for each in found:
        groups += [_named(one, **names) for one in each.get("mdb", ())]
        for bridge, ports in each.get("router", {}).items():
            routers += [{"bridge": bridge, **_named(port, port="interface")} for port in ports]
    return ((GROUPS, groups), (ROUTERS, routers))


def _networks(found: Objects) -> Tables:
    rows: list[Row] = []
    for each in found:
        for one in each.get("vnis", ()):
            rows.append({"interface": each.get("ifname"), **_named(one, vniEnd="last")})
    return ((NETWORKS, rows),)


_READERS: Mapping[str, Callable[[Objects], Tables]] = {
    "link": _ports,
    "fdb": _forwarding,
    "vlan": _vlans,
    "vlan global": _vlans,
    "mdb": _groups,
    "vni": _networks,
}


def _change(arguments: tuple[str, ...]) -> Change | None:
    given, words = iproute2.split(arguments)
    kind, verb, rest = _read(arguments)
    if not words or kind in ("monitor", "help") or verb in (*_SHOW, "get", "help", "tunnelshow"):
        return None
    what = {"fdb": "forwarding database", "mdb": "multicast database"}.get(kind, kind)
    # An entry that is there already is refused (NLM_F_EXCL), but for VLANs.
    exact = kind in ("fdb", "mdb") and verb in ("add", "append") and not given
    return Change(f"alters the {what}", ("bridge", kind, "del", *rest) if exact else None)


TOOLS = (
    Tool(
        "bridge",
        "iproute2",
        _prepare,
        purpose="a bridge's ports, forwarding database, VLANs",
        variants=(
            Variant("link", (PORTS,)),
            Variant("fdb", (FORWARDING,)),
            Variant("vlan", (VLANS,)),
            Variant("mdb", (GROUPS, ROUTERS)),
            Variant("vni", (NETWORKS,)),
            Variant("monitor", (iproute2.EVENTS,)),
        ),
        change=_change,
        version=("-V",),
    ),
)
