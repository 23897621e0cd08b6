"""arp(8) of net-tools and busybox: IPv4 neighbours with their hardware addresses; `-s`, `-d` and `-f` are changes.

It has no JSON. jc's parser (1.26) takes the hardware address of an incomplete entry for its type, so both styles are
read here: net-tools' columns, and BSD's sentences (`-a`, and all that busybox has). We add `-n`.
Source: arp.c of net-tools 2.10, networking/arp.c of busybox 1.35.
"""

from __future__ import annotations

import functools
import re

from podtracer_nb.tools.net_tools import letters
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

NEIGHBOURS = Table(
    "neighbours",
    (
        Column("address", "str", "", "the neighbour's IPv4 address"),
        Column("name", "str", "", "its name, where it was looked up", optional=True),
        Column("hwtype", "category", "", "ether, …"),
        Column("hwaddress", "str", "", "NA: it did not answer, or the entry is published for others"),
        Column("flags", "str", "", "C complete, M permanent, P published; NA: incomplete"),
        Column("mask", "str", "", "of published entries", optional=True),
        Column("interface", "str", "", "where it is"),
    ),
    key=("address", "interface", "flags"),
)

_VALUED = "iHtAp"
_LONG = {
    "all": "a", "numeric": "n", "verbose": "v", "version": "V", "help": "h", "device": "i", "hw-type": "H",
    "protocol": "A", "set": "s", "delete": "d", "file": "f", "use-device": "D", "symbolic": "N",
}  # fmt: skip
_SENTENCE = re.compile(
    r"(\S+) \(([\d.]+)\) at (\S+)(?: \[(\w+)\])?((?: +(?:PERM|PUB|PUP|TRAIL))*)(?: netmask ([\d.]+))? +on (\S+)"
)
_HARDWARE = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2})*")
_COUNTED = re.compile(r"Entries: \d+\s+Skipped: \d+\s+Found: \d+")
_FLAGS = re.compile(r"[CMPTU*!]+")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("arp", options)
    given = letters(arguments, _VALUED, _LONG)
    if given.keys() & {"s", "d", "f", "V", "h"}:
        return Command(("arp", *arguments))
    numeric = () if "n" in given else ("-n",)
    return Command(("arp", *numeric, *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    return Parsed(((NEIGHBOURS, _rows(text.stdout)),))


def _rows(text: str) -> list[Row]:
    rows: list[Row] = []
    headed = False
    for line in text.splitlines():
        words = line.split()
        if words[:3] == ["Address", "HWtype", "HWaddress"]:
            headed = True
        elif found := _SENTENCE.fullmatch(line.strip()):
            rows.append(_sentence(found))
        elif not words or _COUNTED.fullmatch(line.strip()):
            continue
        elif headed:
            rows.append(_columns(words))
        else:
            raise Unreadable(f"{line[:60]!r} is no neighbour")
    return rows


def _sentence(found: re.Match[str]) -> Row:
    name, address, hardware, kind, words, mask, interface = found.groups()
    known = _HARDWARE.fullmatch(hardware) is not None
    flags = ("C" if known else "") + ("M" if "PERM" in words else "") + ("P" if "PU" in words else "")
    return {
        "address": address,
        **({} if name == "?" else {"name": name}),
        "hwtype": kind,
        "hwaddress": hardware if known else None,
        "flags": flags or None,
        **({"mask": mask} if mask else {}),
        "interface": interface,
    }


def _columns(words: list[str]) -> Row:
    if len(words) == 3 and words[1] == "(incomplete)":  # noqa: PLR2004
        return {"address": words[0], "hwtype": None, "hwaddress": None, "flags": None, "interface": words[2]}
    if len(words) not in (5, 6) or not _FLAGS.fullmatch(words[3]):
        raise Unreadable(f"{' '.join(words)[:60]!r} is no neighbour")
    known = _HARDWARE.fullmatch(words[2]) is not None
    if not known and words[2] not in ("<from_interface>", "*"):
        raise Unreadable(f"{words[2][:40]!r} is no hardware address")
    row: dict[str, str | None] = {
        "address": words[0],
        "hwtype": None if words[1] == "*" else words[1],
        "hwaddress": words[2] if known else None,
        "flags": words[3],
        "interface": words[-1],
    }
    if len(words) == 6:  # noqa: PLR2004
        row["mask"] = words[4]
    return row


def _change(arguments: tuple[str, ...]) -> Change | None:
    given = letters(arguments, _VALUED, _LONG)
    if "f" in given:
        return Change("sets ARP entries from a file")
    sets, deletes = "s" in given, "d" in given
    if not sets and not deletes:
        return None
    words = _words(arguments)
    what = "sets an ARP entry" if sets else "deletes an ARP entry"
    if not words:
        return Change(what)
    place = ("-i", given["i"]) if given.get("i") else ()
    if "pub" in words:
        host = words[0]
        return Change(what, ("arp", *place, "-d", host, "pub") if sets else None)
    undo = functools.partial(_as_before, words[0], place, sets)
    return Change(what, before=("arp", "-n", *place, "-a"), undo_from=undo)


def _words(arguments: tuple[str, ...]) -> list[str]:
    """Return the words that are neither options nor their values."""
    words: list[str] = []
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word[-1] in _VALUED and not word.startswith("--")
        else:
            words.append(word)
    return words


def _as_before(host: str, place: tuple[str, ...], sets: bool, text: str) -> tuple[str, ...] | None:
    """Return what puts back the entry that was there: one that was learned comes back by itself."""
    rows = [] if "no match found" in text else _rows(text)
    kept = [row for row in rows if row["address"] == host and "M" in (row["flags"] or "") and row["hwaddress"]]
    if kept:
        return ("arp", *(place or ("-i", kept[0]["interface"])), "-s", host, kept[0]["hwaddress"])
    return ("arp", *place, "-d", host) if sets else None


TOOLS = (
    Tool(
        "arp",
        "net-tools",
        _prepare,
        purpose="IPv4 neighbours and their hardware addresses",
        variants=(Variant("", (NEIGHBOURS,)),),
        change=_change,
        version=("-V",),
    ),
)
