"""ip's output for people, where there is no JSON: busybox's ip, an ip before 4.14, and `ip xfrm` of every version.

What has a JSON elsewhere is given in that form, so that one table is made of both. Source: networking/libiproute of
busybox 1.35; ip/ipaddress.c, ip/iproute.c, ip/ipxfrm.c of iproute2 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from podtracer_nb.tools.table import Row, Unreadable

__all__ = ["READERS", "xfrm"]

_HEADER = re.compile(r"(\d+): ([^\s:@]+)(?:@([^\s:]+))?: <([^>]*)>(.*)")
_ADDRESS = re.compile(r"(inet6?) (\S+?)(?: peer (\S+?))?(?:/(\d+))?((?: .*)?)")
_LIFETIMES = re.compile(r"valid_lft (\S+) preferred_lft (\S+)")
_TYPES = (
    "unicast", "local", "broadcast", "multicast", "anycast", "blackhole", "unreachable", "prohibit", "throw", "nat",
)  # fmt: skip
_ROUTE_FLAGS = ("onlink", "linkdown", "dead", "pervasive", "offload", "offload_failed", "trap", "rt_offload", "notify")
_ROUTE_NAMES = {"via": "gateway", "proto": "protocol", "src": "prefsrc"}
_RULE_NAMES = {"from": "src", "to": "dst", "lookup": "table", "pref": "priority"}
_FOREVER = (1 << 32) - 1


def _pairs(words: list[str], flags: tuple[str, ...] = (), whole: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return words as names with values, and those of `flags` by themselves."""
    pairs: dict[str, Any] = {}
    found = []
    rest = iter(words)
    for word in rest:
        if word in flags:
            found.append(word)
            continue
        value = next(rest, None)
        if value is None:
            raise Unreadable(f"{word!r} has no value in {(whole or ' '.join(words))[:80]!r}")
        pairs[word] = value
    return pairs, found


def _parts(text: str) -> list[str]:
    """Return the lines, those that -o put into one taken apart again."""
    return [part for line in text.splitlines() for part in line.split("\\")]


def _link_blocks(text: str) -> list[dict[str, Any]]:
    links: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    for line in _parts(text):
        words = line.strip()
        header = _HEADER.fullmatch(line)
        # With -o, each address stands behind its interface.
        short = re.match(r"(\d+): (\S+)\s+(?=inet)", line)
        if header:
            last = {"ifindex": int(header[1]), "ifname": header[2], "flags": header[4].split(","), "addr_info": []}
            last.update({"link": header[3]} if header[3] else {})
            pairs, _ = _pairs(header[5].split(), ("promiscuity",))
            names = {"qlen": "txqlen", "state": "operstate"}
            last.update({names.get(name, name): value for name, value in pairs.items()})
            links[header[2]] = last
            continue
        if short:
            last = links.setdefault(short[2], {"ifindex": int(short[1]), "ifname": short[2], "addr_info": []})
            words = line[short.end() :].strip()
        if words:
            _detail(words, last)
    return list(links.values())


def _detail(words: str, link: dict[str, Any]) -> None:
    """Read a line that follows a link's first: its hardware address, an address, an address's lifetimes."""
    if not link:
        raise Unreadable(f"{words[:60]!r} belongs to no link")
    hardware = re.fullmatch(r"link/(\S+)(?: (\S+))?(?: (?:brd|peer) (\S+))?.*", words)
    address = _ADDRESS.fullmatch(words)
    lifetimes = _LIFETIMES.match(words)
    if hardware:
        link["link_type"] = hardware[1]
        link.update({"address": hardware[2]} if hardware[2] else {})
        link.update({"broadcast": hardware[3]} if hardware[3] else {})
    elif address:
        link["addr_info"].append(_one_address(address))
    elif lifetimes and link["addr_info"]:
        for name, value in zip(("valid_life_time", "preferred_life_time"), lifetimes.groups(), strict=True):
            seconds = value.removesuffix("sec")
            if value != "forever" and not seconds.isdigit():
                raise Unreadable(f"{value!r} is no lifetime")
            link["addr_info"][-1][name] = _FOREVER if value == "forever" else int(seconds)
    else:
        raise Unreadable(f"{words[:60]!r} is no line of ip that we know")


def _one_address(found: re.Match[str]) -> dict[str, Any]:
    family, local, peer, prefix, rest = found.groups()
    one: dict[str, Any] = {"family": family, "local": local, "prefixlen": int(prefix) if prefix else None}
    one.update({"address": peer} if peer else {})
    words = iter(rest.split())
    for word in words:
        if word in ("brd", "scope", "metric", "flags", "any"):
            one["broadcast" if word == "brd" else word] = next(words, None)
        elif family == "inet" and one.get("scope") and word not in ("secondary", "dynamic", "noprefixroute"):
            one["label"] = word
        else:
            one[word] = True
    if one["prefixlen"] is None:
        one["prefixlen"] = 32 if family == "inet" else 128
    return one


def _routes(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in _parts(text):
        words = line.split()
        if not words:
            continue
        if words[0] == "nexthop" and rows:
            pairs, flags = _pairs(words[1:], _ROUTE_FLAGS, line)
            rows[-1].setdefault("nexthops", []).append(_renamed(pairs, _ROUTE_NAMES, flags))
            continue
        if words[0] == "cache" and rows:
            rows[-1]["cache"] = words[1:]
            continue
        kind = {"type": words.pop(0)} if words[0] in _TYPES else {}
        if not words or not re.fullmatch(r"default|[\da-fA-F:.]+(/\d+)?", words[0]):
            raise Unreadable(f"{line[:60]!r} is no route")
        pairs, flags = _pairs(words[1:], _ROUTE_FLAGS, line)
        rows.append({**kind, "dst": words[0], **_renamed(pairs, _ROUTE_NAMES, flags)})
    return rows


def _renamed(pairs: Mapping[str, Any], names: Mapping[str, str], flags: list[str]) -> dict[str, Any]:
    return {**{names.get(name, name): value for name, value in pairs.items()}, "flags": flags}


def _neighbours(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        words = line.split()
        if words[1:2] != ["dev"] or words[2:3] == words[-1:]:
            raise Unreadable(f"{line[:60]!r} is no neighbour")
        dst, *words = words
        state = [words.pop()] if words[-1].isupper() else []
        pairs, flags = _pairs(words, ("router", "proxy", "extern_learn", "offload", "managed"), line)
        row = {"dst": dst, **pairs, **dict.fromkeys(flags), "state": state}
        if "used" in pairs:
            row.update(zip(("used", "confirmed", "updated"), str(pairs["used"]).split("/"), strict=False))
        if "ref" in row:
            row["refcnt"] = row.pop("ref")
        rows.append(row)
    return rows


def _rules(text: str) -> list[dict[str, Any]]:
    rows = []
    for line in text.splitlines():
        found = re.fullmatch(r"(\d+):\s+(.*)", line)
        if found is None:
            raise Unreadable(f"{line[:60]!r} is no rule")
        words = found[2].split()
        actions = ("blackhole", "unreachable", "prohibit", "not", "[detached]", "unicast", "nop")
        pairs, flags = _pairs(words, actions, line)
        row: dict[str, Any] = {"priority": found[1]}
        row.update({_RULE_NAMES.get(name, name): value for name, value in pairs.items()})
        if "fwmark" in row and "/" in row["fwmark"]:
            row["fwmark"], _, row["fwmask"] = row["fwmark"].partition("/")
        for flag in flags:
            row.update({"not": True} if flag == "not" else {"action": flag})
        rows.append(row)
    return rows


def xfrm(text: str) -> list[Row]:
    """Return a row a state or policy of `ip xfrm`: what stands on its first lines by name, each further line as text.

    Raises
    ------
    Unreadable
        A line is not one of its.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("src "):
            blocks.append([line])
        elif not line.strip():
            continue
        elif not blocks or not line[0].isspace():
            raise Unreadable(f"{line[:60]!r} is no line of ip xfrm that we know")
        elif re.match(r"\t[\t ]|\s{2}", line):
            blocks[-1][-1] += f" {line.strip()}"  # it belongs to the line before
        else:
            blocks[-1].append(line.strip())
    return [_xfrm_row(block) for block in blocks]


def _xfrm_row(lines: list[str]) -> Row:
    row: dict[str, Any] = {}
    for line in lines:
        words = line.split()
        if words[0] in ("src", "proto", "dir"):
            # `spi 0x00000100(256)` and `flag  (0x00000000)` with -s: the number once more, for people.
            kept = [re.sub(r"\(\w+\)$", "", word) for word in words if not re.fullmatch(r"\(\w+\)", word)]
            names = iter(kept)
            for name in names:
                value = next(names, "")
                row[name.replace("-", "_")] = value
            continue
        name, _, value = line.partition(":") if re.match(r"[\w -]+:( |$)", line) else line.partition(" ")
        name = re.sub(r"\W+", "_", name)
        row[name] = f"{row[name]}; {value.strip()}" if name in row else value.strip()
    if "src" not in row or "dst" not in row:
        raise Unreadable(f"{lines[0][:60]!r} is no line of ip xfrm that we know")
    return row


READERS: Mapping[str, Callable[[str], list[dict[str, Any]]]] = {
    "address": _link_blocks,
    "link": _link_blocks,
    "route": _routes,
    "neighbor": _neighbours,
    "rule": _rules,
}
"""The text of an object of ip → what `-j` would have said."""
