"""ifconfig(8) of net-tools and busybox: interfaces with their counters, and their addresses; settings are changes.

It has no JSON. jc's parser (1.26) keeps one IPv6 address of several in the style of busybox and of net-tools before
2.0, so both styles are read here. Source: lib/interface.c of net-tools 2.10 and 1.60, networking/interface.c of
busybox 1.35.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from podtracer_nb.tools import net_tools
from podtracer_nb.tools.net_tools import COUNTERS
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["ADDRESSES", "INTERFACES", "TOOLS", "interfaces"]

INTERFACES = Table(
    "interfaces",
    (
        Column("interface", "str", "", "its name; with a colon, an alias for another address"),
        Column("flags", "object", "", "UP, BROADCAST, RUNNING, …"),
        Column("mtu", "Int64", "bytes", "largest packet"),
        Column("metric", "Int64", "", "its cost", optional=True),
        Column("link", "category", "", "Ethernet, Local Loopback, …"),
        Column("mac", "str", "", "hardware address, as it was written"),
        Column("txqueuelen", "Int64", "packets", "that may wait to be sent"),
        *(
            Column(f"{way}_{what}", "Int64", "bytes" if what == "bytes" else "packets", meaning, counter=True)
            for way, side, more in (
                ("rx", "received", ("frame", "with a broken frame")),
                ("tx", "sent", ("carrier", "lost for want of a carrier")),
            )
            for what, meaning in (
                ("packets", side), ("bytes", side), ("errors", "in error"), ("dropped", f"dropped, not {side}"),
                ("overruns", "the device was overrun"), more,
            )
        ),
        Column("collisions", "Int64", "packets", "that met another", counter=True),
        Column("other", "object", "", "lines that say something else", optional=True),
    ),
    key=("interface",),
)  # fmt: skip

ADDRESSES = Table(
    "addresses",
    (
        Column("interface", "str", "", "whose it is"),
        Column("family", "category", "", "inet or inet6"),
        Column("address", "str", "", "the address, without its prefix"),
        Column("prefix", "Int64", "bits", "length of the network's prefix"),
        Column("broadcast", "str", "", "to all of the network"),
        Column("destination", "str", "", "the other end of a point-to-point link", optional=True),
        Column("scope", "category", "", "inet6: global, link, host, site"),
    ),
    key=("interface", "family", "address"),
)

_HEAD = re.compile(r"(\S+): flags=\d+<([A-Z0-9_,]*)>(?:  metric (\d+))?  mtu (\d+)")
_OLD_HEAD = re.compile(r"(\S+) +Link encap:(.+?)(?:  HWaddr (\S+))?\s*")
_INET = re.compile(r"inet (\S+)  netmask (\S+)(?:  broadcast (\S+))?(?:  destination (\S+))?")
_OLD_INET = re.compile(r"inet addr:(\S+)(?: +P-t-P:(\S+))?(?: +Bcast:(\S+))?(?: +Mask:(\S+))?")
_INET6 = re.compile(r"inet6 (\S+)  prefixlen (\d+)  scopeid 0x[0-9a-f]+<([a-z0-9,]*)>")
_OLD_INET6 = re.compile(r"inet6 addr: (\S+)/(\d+) Scope:(\S+)")
_LINK = re.compile(r"(\w+)(?: ([0-9A-Fa-f:-]+))?  txqueuelen (\d+)  \((.+)\)")
_OLD_FLAGS = re.compile(r"((?:[A-Z0-9-]+ )+) ?MTU:(\d+)  Metric:(\d+)")
_OLD_QUEUE = re.compile(r"collisions:(\d+) txqueuelen:(\d+)")
_PACKETS = re.compile(r"(RX|TX) packets:? ?(\d+)  bytes (\d+) \(.*\)")
_ERRORS = re.compile(r"(RX|TX) errors (\d+)  dropped (\d+) +overruns (\d+)  (?:frame|carrier) (\d+)"
                     r"(?:  collisions (\d+))?")  # fmt: skip
_OLD_PACKETS = re.compile(r"(RX|TX) packets:(\d+) errors:(\d+) dropped:(\d+) overruns:(\d+) (?:frame|carrier):(\d+)")
_OLD_BYTES = re.compile(r"RX bytes:(\d+) \(.*?\)  TX bytes:(\d+) \(.*?\)")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("ifconfig", options)
    if _words(arguments)[1:] or {"-V", "--version", "-h", "--help"} & set(arguments):
        return Command(("ifconfig", *arguments))
    return Command(("ifconfig", *arguments), output="table", parse=_parse)


def _words(arguments: Sequence[str]) -> list[str]:
    return [each for each in arguments if each not in ("-a", "-s", "-v", "--all", "--short", "--verbose")]


def _parse(text: Text) -> Parsed:
    if text.stdout.startswith("Iface"):
        return Parsed(((COUNTERS, net_tools.counters(text.stdout)),))
    found, addresses = interfaces(text.stdout)
    return Parsed(((INTERFACES, found), (ADDRESSES, addresses)))


def interfaces(text: str) -> tuple[list[Row], list[Row]]:
    r"""Return interfaces and addresses, of both styles.

    Raises
    ------
    Unreadable
        It is no output of ifconfig.

    Examples
    --------
    >>> found, addresses = interfaces("lo: flags=73<UP,LOOPBACK,RUNNING>  mtu 65536\n"
    ...                               "        inet 127.0.0.1  netmask 255.0.0.0\n")
    >>> found[0]["mtu"], addresses[0]["address"], addresses[0]["prefix"]
    ('65536', '127.0.0.1', 8)
    """
    rows: list[dict[str, Any]] = []
    addresses: list[Row] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line.startswith((" ", "\t")):
            rows.append(_begun(line))
        elif not rows:
            raise Unreadable(f"{line[:60]!r} is of no interface")
        else:
            _take(rows[-1], addresses, line.strip())
    for row in rows:
        if "mtu" not in row:
            raise Unreadable(f"{row['interface']} has no MTU")
    return list(rows), addresses


def _begun(line: str) -> dict[str, Any]:
    if found := _HEAD.fullmatch(line.rstrip()):
        name, flags, metric, mtu = found.groups()
        row: dict[str, Any] = {"interface": name, "flags": flags.split(",") if flags else [], "mtu": mtu}
        return {**row, "metric": metric} if metric else row
    if found := _OLD_HEAD.fullmatch(line):
        return {"interface": found[1], "link": found[2].strip(), "mac": found[3]}
    raise Unreadable(f"{line[:60]!r} begins no interface")


def _take(row: dict[str, Any], addresses: list[Row], line: str) -> None:
    """Take one line of an interface; one that nobody knows is kept as it is."""
    if line.startswith("inet"):
        addresses.append(_address(row["interface"], line))
    elif found := _PACKETS.fullmatch(line):
        way = found[1].lower()
        row[f"{way}_packets"], row[f"{way}_bytes"] = found.groups()[1:]
    elif found := _ERRORS.fullmatch(line):
        _errors(row, found[1].lower(), *found.groups()[1:5])
        if found[6]:
            row["collisions"] = found[6]
    elif found := _OLD_PACKETS.fullmatch(line):
        row[f"{found[1].lower()}_packets"] = found[2]
        _errors(row, found[1].lower(), *found.groups()[2:])
    elif found := _OLD_BYTES.fullmatch(line):
        row["rx_bytes"], row["tx_bytes"] = found.groups()
    elif found := _OLD_QUEUE.fullmatch(line):
        row["collisions"], row["txqueuelen"] = found.groups()
    elif found := _OLD_FLAGS.fullmatch(line):
        row["flags"], row["mtu"], row["metric"] = found[1].split(), found[2], found[3]
    elif found := _LINK.fullmatch(line):
        _, row["mac"], row["txqueuelen"], row["link"] = found.groups()
    else:
        row.setdefault("other", []).append(line)


def _errors(row: dict[str, Any], way: str, *numbers: str) -> None:
    names = ("errors", "dropped", "overruns", "frame" if way == "rx" else "carrier")
    row.update({f"{way}_{name}": number for name, number in zip(names, numbers, strict=True)})


def _address(interface: str, line: str) -> Row:
    row: dict[str, Any] = {"interface": interface}
    if found := _INET.fullmatch(line):
        address, mask, broadcast, destination = found.groups()
    elif found := _OLD_INET.fullmatch(line):
        address, destination, broadcast, mask = found.groups()
    elif found := _INET6.fullmatch(line) or _OLD_INET6.fullmatch(line):
        address, prefix, scope = found.groups()
        _checked(address, 6)
        return {**row, "family": "inet6", "address": address, "prefix": prefix, "scope": scope.lower() or None}
    else:
        raise Unreadable(f"{line[:60]!r} is no address")
    _checked(address, 4)
    row |= {"family": "inet", "address": address, "prefix": _length(mask), "broadcast": broadcast}
    return {**row, "destination": destination} if destination else row


def _checked(address: str, version: int) -> None:
    try:
        found = ipaddress.ip_address(address).version
    except ValueError as error:
        raise Unreadable(f"{address[:40]!r} is no address") from error
    if found != version:
        raise Unreadable(f"{address} is no address of IPv{version}")


def _length(mask: str | None) -> int | None:
    if mask is None:
        return None
    try:
        return ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen
    except ValueError as error:
        raise Unreadable(f"{mask[:40]!r} is no mask") from error


def _change(arguments: tuple[str, ...]) -> Change | None:
    words = _words(arguments)
    if not words[1:] or {"-V", "--version", "-h", "--help"} & set(arguments):
        return None
    name, given = words[0], words[1:]
    what = f"alters the interface {name}"
    if given[:1] == ["inet6"]:
        given = given[1:]
    if len(given) == 2 and given[0] in ("add", "del"):  # noqa: PLR2004
        return Change(what, ("ifconfig", name, "del" if given[0] == "add" else "add", given[1]))
    undo = functools.partial(_as_before, name, tuple(given))
    return Change(what, before=("ifconfig", name), undo_from=undo)


def _as_before(name: str, given: tuple[str, ...], text: str) -> tuple[str, ...] | None:
    """Return the argv that sets what those words set to what it was; None where that cannot be said."""
    rows, addresses = interfaces(text)
    if not rows:
        return None
    row = rows[0]
    undo: list[str] = []
    address: tuple[str, ...] = ()
    rest = list(given)
    while rest:
        word = rest.pop(0)
        plain = word.removeprefix("-")
        if word in ("up", "down"):
            undo.append("up" if "UP" in row["flags"] else "down")
        elif word in ("mtu", "txqueuelen", "metric"):
            if row.get(word) is None or not rest:
                return None
            rest.pop(0)
            undo += [word, str(row[word])]
        elif plain in ("promisc", "allmulti", "arp"):
            # NOARP is the flag of what is off.
            on = plain.upper() in row["flags"] if plain != "arp" else "NOARP" not in row["flags"]
            undo.append(plain if on else f"-{plain}")
        elif word == "hw" and len(rest) > 1 and row.get("mac"):
            undo += ["hw", rest.pop(0), row["mac"]]
            rest.pop(0)
        elif (word in ("netmask", "broadcast") and rest) or re.fullmatch(r"[\d.]+(/\d+)?", word):
            if word in ("netmask", "broadcast"):
                rest.pop(0)
            address = _former(name, addresses)
        else:
            return None
    if address == ("down",):
        return ("ifconfig", name, "down")
    return ("ifconfig", name, *address, *undo) if address or undo else None


def _former(name: str, addresses: list[Row]) -> tuple[str, ...]:
    """Return the words that set the IPv4 address an interface had; 0.0.0.0 takes it away, an alias by being down."""
    had = [each for each in addresses if each["family"] == "inet" and each["interface"] == name]
    if not had:
        return ("down",) if ":" in name else ("0.0.0.0",)  # noqa: S104
    mask = str(ipaddress.ip_network(f"0.0.0.0/{had[0]['prefix']}").netmask)
    broadcast = ("broadcast", had[0]["broadcast"]) if had[0]["broadcast"] else ()
    return (had[0]["address"], "netmask", mask, *broadcast)


TOOLS = (
    Tool(
        "ifconfig",
        "net-tools",
        _prepare,
        purpose="interfaces, their counters and addresses",
        variants=(Variant("", (INTERFACES, ADDRESSES)), Variant("-s", (COUNTERS,))),
        change=_change,
        version=("-V",),
    ),
)
