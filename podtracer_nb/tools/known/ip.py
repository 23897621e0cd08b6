"""ip(8) of iproute2: addresses, links, routes, neighbours, rules, from its own JSON (`-j`), which it has since 4.14.

busybox's ip knows no `-j`; it says so and nothing else, and its lines are given.
Source: ip(8) and ip/ip*.c of iproute2 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podtracer_nb.errors import InputError
from podtracer_nb.tools.parsing import json_rows
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

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
        Column("flags", "object", "", "what more is said of it: dynamic, tentative, …", optional=True),
    ),
    key=("interface", "family", "address", "prefix"),
)

# Objects and what each gives; ip takes any unambiguous beginning of a word, the first of these (ip/ip.c, cmds[]).
_OBJECTS = ("address", "addrlabel", "link", "route", "rule", "neighbor", "neighbour", "netns", "xfrm")
_VALUED = ("-f", "-family", "-n", "-netns", "-b", "-batch", "-rc", "-rcvbuf", "-l", "-loops")
_LOOKS = ("show", "list", "lst", "get", "help", "save", "showdump", "monitor", "state", "policy", "count")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("ip", options)
    words = _words(arguments)
    parse = _PARSERS.get(words[0]) if words else None
    if parse is None or _altered(arguments):
        return Command(("ip", *arguments))
    return Command(("ip", "-j", *arguments), output="table", parse=parse, suffix=".json")


def _words(arguments: tuple[str, ...]) -> list[str]:
    """Return the words that are no options of ip itself, the object's name written out."""
    words = list(arguments)
    while words and words[0].startswith("-"):
        if words.pop(0) in _VALUED and words:
            words.pop(0)
    found = [each for each in _OBJECTS if words and each.startswith(words[0])]
    return [found[0], *words[1:]] if found else words


def _altered(arguments: tuple[str, ...]) -> bool:
    words = _words(arguments)
    return len(words) > 1 and not any(each.startswith(words[1]) for each in _LOOKS)


def _change(arguments: tuple[str, ...]) -> Change | None:
    if "-b" in arguments or "-batch" in arguments:
        raise InputError("ip -batch reads its commands from a file, which cannot be judged: give them one by one")
    if not _altered(arguments):
        return None
    words = _words(arguments)
    undo = None
    if words[:2] == ["address", "add"]:
        undo = ("ip", "address", "del", *words[2:])
    return Change(f"alters the {words[0]}", undo)


def _addresses(text: Text) -> Parsed:
    rows: list[Row] = []
    for link in json_rows(text.stdout):
        for each in link.get("addr_info", ()):
            if each:
                rows.append(_address(link, each))
    return Parsed(((ADDRESSES, rows),))


def _address(link: Mapping[str, Any], each: Mapping[str, Any]) -> Row:
    row: dict[str, Any] = {"ifindex": link.get("ifindex"), "interface": link.get("ifname"), **each}
    row["address"], row["prefix"] = row.pop("local", None), row.pop("prefixlen", None)
    lifetime = row.pop("valid_life_time", None)
    row["valid_lifetime"] = None if lifetime == _FOREVER else lifetime
    return row


_FOREVER = (1 << 32) - 1  # INFINITY_LIFE_TIME of linux/if_addr.h
_PARSERS: dict[str, Callable[[Text], Parsed]] = {"address": _addresses}

TOOLS = (
    Tool(
        "ip",
        "iproute2",
        _prepare,
        purpose="addresses, links, routes, neighbours, rules",
        variants=(Variant("addr", (ADDRESSES,)),),
        change=_change,
        version=("-V",),
    ),
)
