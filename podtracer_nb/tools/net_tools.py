"""Tables that several programs of net-tools and busybox print: routes and interfaces' counters, under a header each."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from podtracer_nb.tools.table import Column, Row, Table, Unreadable

__all__ = ["COUNTERS", "ROUTES", "counters", "letters", "routes"]

ROUTES = Table(
    "routes",
    (
        Column("destination", "str", "", "the network's address; 0.0.0.0 or :: is the default"),
        Column("prefix", "Int64", "bits", "length of the network's prefix"),
        Column("gateway", "str", "", "NA: the network is at the interface"),
        Column("genmask", "str", "", "IPv4: the network's mask", optional=True),
        Column("flags", "str", "", "U up, G gateway, H host, D and M by redirect, ! rejected, … : route(8)"),
        Column("metric", "Int64", "", "of several the least is taken", optional=True),
        Column("ref", "Int64", "", "references", optional=True),
        Column("use", "Int64", "", "look-ups", counter=True, optional=True),
        Column("interface", "str", "", "NA: none"),
        Column(
            "interface_begins", "str", "", "in place of it, where the program cuts it to six letters", optional=True
        ),
        Column("mss", "Int64", "bytes", "segment size of TCP", optional=True),
        Column("window", "Int64", "bytes", "window of TCP", optional=True),
        Column("irtt", "Int64", "ms", "round-trip time to begin with", optional=True),
    ),
    key=("destination", "prefix", "gateway", "metric", "interface"),
)

COUNTERS = Table(
    "interfaces",
    (
        Column("interface", "str", "", "its name"),
        Column("mtu", "Int64", "bytes", "largest packet"),
        Column("met", "Int64", "", "metric", optional=True),
        *(
            Column(f"{way}_{what}", "Int64", "packets", meaning, counter=True)
            for way, side in (("rx", "received"), ("tx", "sent"))
            for what, meaning in (
                ("ok", side),
                ("err", f"not {side} for an error"),
                ("drp", f"dropped before they were {side}"),
                ("ovr", f"not {side}: the device was overrun"),
            )
        ),
        Column("flg", "str", "", "B broadcast, L loopback, M multicast, R running, U up, …: netstat(8)"),
    ),
    key=("interface",),
)

# Headers' words and ours; "Next Hop" is two words, and so are read apart.
_WORDS = {"iface": "interface", "if": "interface", "flag": "flags", "met": "metric", "hop": "gateway"}
_CUT = 6  # net-tools' -ee writes "%-6.6s": lib/inet_gr.c


def letters(arguments: Sequence[str], valued: str = "", words: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the short options of a command line with their values; long ones by the letters that `words` has for them.

    Examples
    --------
    >>> letters(["-rn", "-A", "inet6", "--route", "word"], "A", {"route": "r"})
    {'r': '', 'n': '', 'A': 'inet6'}
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            known = [each for each in (words or {}) if each.startswith(name)]
            letter = (words or {})[known[0]] if known else word
            found[letter] = value or (rest.pop(0) if letter in valued and rest else "")
        elif word.startswith("-") and len(word) > 1:
            for at, letter in enumerate(word[1:], start=2):
                found[letter] = ""
                if letter in valued:
                    found[letter] = word[at:] or (rest.pop(0) if rest else "")
                    break
    return found


def routes(text: str) -> list[Row]:
    r"""Return the routes of `route` and `netstat -r`, of both families.

    Raises
    ------
    Unreadable
        It is no table of routes.

    Examples
    --------
    >>> text = "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n"
    >>> routes(text + "10.77.0.0       10.9.0.2        255.255.0.0     UG    5      0        0 eth0\n")[0]["prefix"]
    16
    """
    rows: list[Row] = []
    header: list[str] | None = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Destination"]:
            header = ["destination", *(_WORDS.get(each.lower(), each.lower()) for each in words[1:] if each != "Next")]
            if not {"gateway", "flags", "interface"} <= set(header):
                raise Unreadable(f"{line.strip()!r} is no header of routes that we know")
        elif re.fullmatch(r"Kernel IP(v6)? routing (table|cache)", line.strip()) or not words:
            header = None
        elif header is None or len(words) != len(header):
            raise Unreadable(f"{line[:60]!r} is no route")
        else:
            rows.append(_route(dict(zip(header, words, strict=True)), cut=header[-1] != "interface"))
    return rows


def _route(row: dict[str, Any], *, cut: bool) -> Row:
    if not re.fullmatch(r"[A-Za-z!]+", row["flags"]):
        raise Unreadable(f"{row['flags']!r} are no flags of a route")
    for name, value in row.items():
        if value == "-" or (name == "interface" and value == "*"):
            row[name] = None
    destination, slash, prefix = str(row["destination"]).partition("/")
    try:
        if slash:
            row["destination"], row["prefix"] = destination, int(prefix)
        elif row.get("genmask"):
            row["prefix"] = ipaddress.ip_network(f"0.0.0.0/{row['genmask']}").prefixlen
        ipaddress.ip_address(destination)
        if row["gateway"] in ("0.0.0.0", "::", "*"):  # noqa: S104 - nothing is bound to it
            row["gateway"] = None
    except ValueError as error:
        raise Unreadable(f"a route has what is no address: {error}") from error
    if cut and row["interface"] and len(row["interface"]) == _CUT:
        row["interface_begins"], row["interface"] = row["interface"], None
    return row


def counters(text: str) -> list[Row]:
    r"""Return the interfaces of `netstat -i` and `ifconfig -s`.

    Raises
    ------
    Unreadable
        It is no table of interfaces.

    Examples
    --------
    >>> text = "Iface MTU RX-OK RX-ERR RX-DRP RX-OVR TX-OK TX-ERR TX-DRP TX-OVR Flg\n"
    >>> counters(text + "lo 65536 22 0 0 0 22 0 0 0 LRU\n")[0]["rx_ok"]
    '22'
    """
    rows: list[Row] = []
    header: list[str] | None = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Iface"]:
            header = ["interface", *(each.lower().replace("-", "_") for each in words[1:])]
        elif line.strip() == "Kernel Interface table" or not words:
            continue
        elif header is not None and "no statistics available" in line:
            rows.append({"interface": words[0].removesuffix(":"), "mtu": words[1]})
        elif header is None or len(words) != len(header):
            raise Unreadable(f"{line[:60]!r} is no interface with its counters")
        else:
            rows.append(dict(zip(header, words, strict=True)))
    return rows
