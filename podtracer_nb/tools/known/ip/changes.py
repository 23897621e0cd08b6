"""What takes back what ip alters, where that is exact: what is added goes, what is deleted comes back as it was shown.

An `add` of what is there already fails (NLM_F_EXCL of rtnetlink(7)), so that what it added was not there before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podtracer_nb.tools import iproute2
from podtracer_nb.tools.tool import Change

__all__ = ["CHANGES"]

_FLAGS = ("linkdown", "dead", "offload", "rt_offload", "trap", "notify", "offload_failed")


def _opposite(kind: str, what: str) -> Callable[[tuple[str, ...], Sequence[str]], Change]:
    return lambda own, rest: Change(what, ("ip", *own, kind, "del", *rest))


def _after(rest: Sequence[str], *names: str) -> str:
    """Return the word after one of these names, or nothing."""
    return next((value for name, value in itertools.pairwise(rest) if name in names), "")


def _address_deleted(own: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    device = _after(rest, "dev")
    if not device or not rest or "/" not in rest[0]:
        return None

    def undo(before: str) -> tuple[str, ...] | None:
        found = [each for link in iproute2.listed(before) for each in link.get("addr_info", ()) if each]
        same = [each for each in found if f"{each.get('local')}/{each.get('prefixlen')}" == rest[0]]
        # An address with a lifetime of less than for ever is somebody's who renews it.
        if len(same) != 1 or same[0].get("dynamic"):
            return None
        words = [rest[0]]
        for name, word in (("address", "peer"), ("broadcast", "brd"), ("scope", "scope"), ("metric", "metric")):
            words += [word, str(same[0][name])] if name in same[0] else []
        if same[0]["family"] == "inet" and "label" in same[0]:
            words += ["label", same[0]["label"]]
        words += [word for word in ("nodad", "home", "noprefixroute", "mngtmpaddr", "autojoin") if same[0].get(word)]
        return ("ip", "address", "add", *words, "dev", device)

    before = ("ip", "-j", *own, "address", "show", "dev", device)
    return Change("deletes an address, and the routes that have it as their source", None, before, undo)


def _route_deleted(own: tuple[str, ...], rest: Sequence[str]) -> Change:
    """Give back the one route that `ip route show` has for the same words, in the words that it is shown with."""
    kinds = ("unicast", "local", "broadcast", "multicast", "blackhole", "unreachable", "prohibit", "throw")
    words = list(rest[1:] if rest[:1] and rest[0] in kinds else rest)
    words = words[1:] if words[:1] == ["to"] else words
    table = _after(words, "table") or "main"
    dst = words[0] if words else ""
    family = own or (("-6",) if ":" in " ".join(rest) else ())
    asked = ("ip", "-o", "-d", *family, "route", "show", "table", table, "exact", dst)

    def undo(before: str) -> tuple[str, ...] | None:
        lines = before.splitlines()
        if len(lines) != 1:
            return None
        shown = [word for word in lines[0].replace("\\", " ").split() if word not in _FLAGS]
        # Ways through next hop objects are told with what they are made of, which may not be given.
        if "nhid" in shown or "expires" in shown:
            return None
        at = shown.index("nexthop") if "nexthop" in shown else len(shown)
        named = [] if "table" in shown else ["table", table]
        return ("ip", *family, "route", "add", *shown[:at], *named, *shown[at:])

    return Change("deletes a route", None, asked, undo)


def _neighbour_deleted(own: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    device = _after(rest, "dev")
    if not rest or not device or "proxy" in rest:
        return None

    def undo(before: str) -> tuple[str, ...] | None:
        found = [each for each in iproute2.listed(before) if "lladdr" in each]
        if len(found) != 1:
            return None
        state = found[0]["state"][0].lower()
        return ("ip", "neigh", "replace", rest[0], "lladdr", found[0]["lladdr"], "dev", device, "nud", state)

    asked = ("ip", "-j", *own, "neigh", "show", "nud", "all", "to", rest[0], "dev", device)
    return Change("deletes a neighbour", None, asked, undo)


def _rule_deleted(own: tuple[str, ...], rest: Sequence[str]) -> Change:
    def undo(before: str) -> tuple[str, ...] | None:
        lines = [line for line in before.splitlines() if line.strip()]
        found = re.fullmatch(r"(\d+):\s+(.*)", lines[0]) if len(lines) == 1 else None
        if found is None or "[" in found[2]:
            return None
        return ("ip", *own, "rule", "add", "pref", found[1], *found[2].split())

    return Change("deletes a routing rule", None, ("ip", *own, "rule", "show", *rest), undo)


# What `ip link set` sets → the member of `ip -j link` that holds what it was.
_SET: Mapping[str, str] = {
    "mtu": "mtu", "txqueuelen": "txqlen", "txqlen": "txqlen", "qlen": "txqlen", "address": "address",
    "alias": "ifalias", "group": "group",
}  # fmt: skip


def _link_set(_: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    words = list(rest)
    device = _after(words, "dev")
    if device:
        at = words.index("dev")
        del words[at : at + 2]
    elif words:
        device = words.pop(0)
    settings: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word in ("up", "down"):
            settings["up"] = word
        elif word in ("multicast", "arp", "promisc", *_SET) and words:
            settings[word] = words.pop(0)
        else:
            return None

    def undo(before: str) -> tuple[str, ...] | None:
        found = iproute2.listed(before)
        if len(found) != 1:
            return None
        put = [word for name in settings for word in _was(found[0], name)]
        return ("ip", "link", "set", "dev", device, *put) if put else None

    what = (
        "alters the link" if settings.get("up") != "down" else "takes the link down, and the routes by it away for good"
    )
    return Change(what, None, ("ip", "-j", "link", "show", "dev", device), undo, restores=True)


def _was(link: Mapping[str, Any], name: str) -> list[str]:
    flags = link.get("flags", ())
    if name == "up":
        return ["up" if "UP" in flags else "down"]
    if name == "arp":
        return ["arp", "off" if "NOARP" in flags else "on"]
    if name in ("multicast", "promisc"):
        return [name, "on" if name.upper() in flags else "off"]
    return [name, str(link.get(_SET[name], ""))]


def _link_added(_: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    """Find the name: after `name` or `dev`, or by itself ahead of the type."""
    words = list(rest)
    name = ""
    while words and words[0] != "type":
        word = words.pop(0)
        if word in ("name", "dev"):
            name = words.pop(0) if words else ""
        elif word in ("link", "txqueuelen", "address", "broadcast", "mtu", "index", "numtxqueues", "numrxqueues"):
            del words[:1]
        elif word in ("parentdev", "netns", "txqlen"):
            return None  # it is not here afterwards
        else:
            name = word
    return Change("adds a link", ("ip", "link", "del", "dev", name)) if name and words else None


def _nexthop_added(own: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    number = _after(rest, "id")
    return Change("adds a next hop", ("ip", *own, "nexthop", "del", "id", number)) if number else None


def _neighbour_added(own: tuple[str, ...], rest: Sequence[str]) -> Change | None:
    device = _after(rest, "dev")
    if not rest or not device or "proxy" in rest:
        return None
    return Change("adds a neighbour", ("ip", *own, "neigh", "del", rest[0], "dev", device))


#: (object, what is done) → what makes the change of the family's option and the rest of the words.
CHANGES: Mapping[tuple[str, str], Callable[[tuple[str, ...], Sequence[str]], Change | None]] = {
    ("address", "add"): _opposite("address", "adds an address"),
    ("address", "delete"): _address_deleted,
    ("route", "add"): _opposite("route", "adds a route"),
    ("route", "delete"): _route_deleted,
    ("rule", "add"): _opposite("rule", "adds a routing rule"),
    ("rule", "delete"): _rule_deleted,
    ("neighbor", "add"): _neighbour_added,
    ("neighbor", "delete"): _neighbour_deleted,
    ("link", "add"): _link_added,
    ("link", "set"): _link_set,
    ("link", "change"): _link_set,
    ("nexthop", "add"): _nexthop_added,
    ("maddress", "add"): _opposite("maddress", "adds a multicast address"),
}
