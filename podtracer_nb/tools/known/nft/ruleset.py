"""The text of `nft -a -y list …` → tables, chains, rules, sets, elements and named objects.

The text and not the JSON: nft 1.0.6 writes none for a chain that is bound to a rule, breaks off in the middle of a
table with the flag `dormant`, fails an assertion for hooks, and tells of what iptables-nft made no more than `xt`. The
text has each rule in the words that nft takes. jc's parser of it (since 1.26) finds the same rules, which the tests
compare, but leaves out named objects and takes a listing that was cut off for a whole one. Source: src/rule.c of
nftables 1.0.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from podtracer_nb.tools.table import Column, Row, Table, Unreadable

__all__ = ["CHAINS", "ELEMENTS", "OBJECTS", "RULES", "SETS", "TABLES", "Ruleset", "elements_of", "quoted", "read"]

_WHERE = (
    Column("family", "category", "", "ip, ip6, inet, arp, bridge, netdev"),
    Column("table", "str", "", "the table"),
)
_HOOK = (
    Column("hook", "category", "", "where packets come by: input, forward, …; NA: only where it is jumped to"),
    Column("priority", "Int64", "", "the smaller goes first"),
    Column("policy", "category", "", "what becomes of packets at its end"),
)
_HANDLE = Column("handle", "Int64", "", "its number, by which it is deleted")
_COUNTS = (
    Column("packets", "UInt64", "packets", "counted; NA: it has no counter", counter=True),
    Column("bytes", "UInt64", "bytes", "counted", counter=True),
)
RULES = Table(
    "rules",
    (
        *_WHERE,
        Column("chain", "str", "", "the chain"),
        _HANDLE,
        *_HOOK,
        *_COUNTS,
        Column("rule", "str", "", "the rule in nft's words"),
        Column("comment", "str", "", "its comment", optional=True),
    ),
    key=("family", "table", "chain", "handle"),
)
CHAINS = Table(
    "chains",
    (
        *_WHERE,
        Column("chain", "str", "", "its name"),
        _HANDLE,
        Column("type", "category", "", "filter, nat, route; NA: only jumped to"),
        *_HOOK,
        Column("device", "str", "", "the interface whose packets come by", optional=True),
        Column("rules", "Int64", "rules", "how many it has"),
    ),
    key=("family", "table", "chain"),
)
SETS = Table(
    "sets",
    (
        *_WHERE,
        Column("set", "str", "", "its name"),
        _HANDLE,
        Column("kind", "category", "", "set, map or meter"),
        Column("type", "str", "", "of its elements"),
        Column("flags", "str", "", "interval, timeout, dynamic, constant", optional=True),
        Column("elements", "Int64", "elements", "how many it has"),
    ),
    key=("family", "table", "set"),
)
ELEMENTS = Table(
    "elements",
    (
        *_WHERE,
        Column("set", "str", "", "the set or map"),
        Column("element", "str", "", "the element, or a map's key"),
        Column("value", "str", "", "what a map has for it", optional=True),
        Column("packets", "UInt64", "packets", "counted", counter=True, optional=True),
        Column("bytes", "UInt64", "bytes", "counted", counter=True, optional=True),
        Column("more", "str", "", "timeout, expires, comment, …", optional=True),
    ),
    key=("family", "table", "set", "element"),
)
OBJECTS = Table(
    "objects",
    (
        *_WHERE,
        Column("kind", "category", "", "counter, quota, limit, ct helper, flowtable, …"),
        Column("name", "str", "", "its name"),
        _HANDLE,
        *_COUNTS,
        Column("text", "str", "", "what it is, in nft's words"),
    ),
    key=("family", "table", "kind", "name"),
)
TABLES = Table(
    "tables",
    (
        *_WHERE,
        _HANDLE,
        Column("flags", "str", "", "dormant, owner", optional=True),
        Column("chains", "Int64", "chains", "how many it has"),
    ),
    key=("family", "table"),
)


@dataclass
class Ruleset:
    """The rows of every table."""

    rules: list[Row] = field(default_factory=list)
    chains: list[Row] = field(default_factory=list)
    sets: list[Row] = field(default_factory=list)
    elements: list[Row] = field(default_factory=list)
    objects: list[Row] = field(default_factory=list)
    tables: list[Row] = field(default_factory=list)


_TABLE = re.compile(r"table (\w+) (\S+)( \{)?(?: # handle (\d+))?")
_OBJECT = re.compile(r"([a-z]+(?: [a-z]+)?) (\S+) \{(?: # handle (\d+))?")
_BASE = re.compile(r"type (\w+) hook (\w+)((?: .*?)?) priority ([^;]+);(?: policy (\w+);)?")
_HANDLE_AT_END = re.compile(r"\s*# handle (\d+)$")


def quoted(text: str) -> str:
    """Return the text with what stands in quotes blanked out, as long as it was; nft's strings have no escapes.

    Examples
    --------
    >>> quoted('log prefix "a{b" drop')
    'log prefix "   " drop'
    """
    return re.sub(r'"[^"]*"', lambda found: '"' + " " * (len(found[0]) - 2) + '"', text)


def _statements(text: str) -> Iterator[str]:
    """Give the lines, each with those that its braces keep open: but for the block of a table or an object."""
    whole: list[str] = []
    depth = 0
    for line in text.splitlines():
        words = line.strip()
        if not words or (not whole and words.startswith("#")):
            continue
        bare = quoted(words)
        opens = not whole and (_TABLE.fullmatch(words) or (_OBJECT.fullmatch(words) and "=" not in bare))
        if opens or (not whole and words == "}"):
            yield words
            continue
        whole.append(words)
        depth += bare.count("{") - bare.count("}")
        if depth < 0:
            raise Unreadable(f"{words[:60]!r} closes what was not opened")
        if depth == 0:
            yield " ".join(whole)
            whole = []
    if whole:
        raise Unreadable(f"{whole[0][:60]!r} is never closed")


def read(text: str, *, names: bool = False) -> Ruleset:
    """Return the rows of a listing; of `list tables`, the `names` of tables without a block.

    Raises
    ------
    Unreadable
        It is no listing of nft.
    """
    found = Ruleset()
    table: dict[str, Any] | None = None
    block: tuple[str, dict[str, Any]] | None = None
    inside: list[str] = []
    for line in _statements(text):
        head, opened = _TABLE.fullmatch(line), _OBJECT.fullmatch(line)
        if table is None:
            if head is None or bool(head[3]) == names:
                raise Unreadable(f"{line[:60]!r} is no table of nft")
            row: dict[str, Any] = {"family": head[1], "table": head[2], "handle": head[4], "chains": 0}
            found.tables.append(row)
            table = row if head[3] else None
        elif block is None and line == "}":
            table = None
        elif block is None and opened:
            own = {"family": table["family"], "table": table["table"], "handle": opened[3]}
            block, inside = (opened[1], {**own, "name": opened[2]}), []
        elif block is None:
            word, _, value = line.rstrip(";").partition(" ")
            table[word] = value
        elif line == "}":
            _close(found, table, *block, inside)
            block = None
        else:
            inside.append(line)
    if table is not None:
        raise Unreadable("it ends in the middle of a table")
    return found


def _close(found: Ruleset, table: dict[str, Any], kind: str, own: dict[str, Any], lines: list[str]) -> None:
    if kind == "chain":
        table["chains"] += 1
        own["chain"] = own.pop("name")
        _chain(found, own, lines)
    elif kind in ("set", "map", "meter"):
        own["set"] = own.pop("name")
        _set(found, kind, own, lines)
    else:
        text = "; ".join(lines)
        found.objects.append({**own, "kind": kind, "text": text, **_counted(text)})


def _counted(text: str) -> dict[str, int]:
    """Return the first counter's values; a counter that has a name is an object of its own."""
    counts = re.search(r"\bpackets (\d+) bytes (\d+)", quoted(text))
    return {"packets": int(counts[1]), "bytes": int(counts[2])} if counts else {}


def _chain(found: Ruleset, own: dict[str, Any], lines: list[str]) -> None:
    base: dict[str, Any] = {}
    rules: list[Row] = []
    for line in lines:
        hook = _BASE.fullmatch(line)
        if hook and not rules:
            if not re.fullmatch(r"-?\d+", hook[4].strip()):
                raise Unreadable(f"the priority {hook[4]!r} is no number")
            base.update(type=hook[1], hook=hook[2], priority=int(hook[4]), policy=hook[5])
            device = re.search(r"devices? (?:= )?(.*)", hook[3])
            base.update({"device": device[1].replace('"', "")} if device else {})
            continue
        if not rules and re.fullmatch(r'(?:flags \w+;|comment "[^"]*"|policy \w+;)', line):
            word, _, value = line.rstrip(";").partition(" ")
            base[word] = value.strip('"')
            continue
        rules.append(_rule(own, base, line))
    found.rules.extend(rules)
    found.chains.append({**own, **base, "rules": len(rules)})


def _rule(own: dict[str, Any], base: dict[str, Any], line: str) -> Row:
    at = _HANDLE_AT_END.search(quoted(line))
    rule = line[: at.start()] if at else line
    comment = re.search(r' comment "([^"]*)"$', rule)
    counts = re.search(r"\bcounter packets (\d+) bytes (\d+)", quoted(rule))
    return {
        **own,
        **{name: base.get(name) for name in ("hook", "priority", "policy")},
        "handle": at[1] if at else None,
        "rule": rule,
        **({"packets": int(counts[1]), "bytes": int(counts[2])} if counts else {}),
        **({"comment": comment[1]} if comment else {}),
    }


def _set(found: Ruleset, kind: str, own: dict[str, Any], lines: list[str]) -> None:
    row: dict[str, Any] = {**own, "kind": kind, "elements": 0}
    for line in lines:
        if line.startswith("elements = {"):
            each = list(elements_of(line.removeprefix("elements = ").strip()))
            row["elements"] = len(each)
            where = {name: own[name] for name in ("family", "table", "set")}
            found.elements.extend({**where, **_element(one, kind)} for one in each)
            continue
        word, _, value = line.partition(" ")
        row[word] = value.strip('"')
    found.sets.append(row)


def elements_of(text: str) -> Iterator[str]:
    """Give the elements between braces, whatever stands in their quotes or in braces of their own.

    Examples
    --------
    >>> list(elements_of('{ 1, 2 comment "a, b", { 3, 4 } }'))
    ['1', '2 comment "a, b"', '{ 3, 4 }']
    """
    inner, bare = text[1:-1], quoted(text)[1:-1]
    depth = begin = 0
    for at, letter in enumerate(f"{bare},"):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            one = inner[begin:at].strip()
            if one:
                yield one
            begin = at + 1


_MORE = re.compile(r" (?=(?:timeout|expires|comment|counter|limit|quota|last) )")


def _element(text: str, kind: str) -> Row:
    key, colon, value = _halves(text) if kind == "map" else (text, "", "")
    parts = [_MORE.search(quoted(each)) for each in (key, value)]
    row: dict[str, Any] = {"element": key[: parts[0].start()] if parts[0] else key, **_counted(text)}
    if colon:
        row["value"] = value[: parts[1].start()] if parts[1] else value
    more = [each[part.end() :] for each, part in zip((key, value), parts, strict=True) if part]
    return {**row, "more": " ".join(more)} if more else row


def _halves(text: str) -> tuple[str, str, str]:
    at = quoted(text).find(" : ")
    return (text[:at], ":", text[at + 3 :]) if at >= 0 else (text, "", "")
