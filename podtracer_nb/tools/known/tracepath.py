"""tracepath(8): the way to an address and its path MTU, a row a line of it.

Own parser: there is no machine-readable form, and jc reads no scope and not `-b`, which we add for the names with
their addresses. Source: tracepath.c of iputils 20180629 to 20250605; busybox has none.
"""

from __future__ import annotations

import re
from typing import Any

from podtracer_nb.tools.arguments import options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

HOPS = Table(
    "hops",
    (
        Column("hop", "Int64", "hops", "how many hops away"),
        Column("address", "str", "", "who answered; NA where nobody did, or only a name was printed"),
        Column("host", "str", "", "its name", optional=True),
        Column("rtt", "Float64", "ms", "round-trip time"),
        Column("pmtu", "Int64", "bytes", "the path MTU, where this line found it"),
        Column("asymmetric", "Int64", "hops", "hops of the way back, where they are another number", optional=True),
        Column("reached", "boolean", "", "whether this is the end of the way"),
        Column("error", "str", "", "no reply; !H, !N, !P, !A: host, network, protocol unreachable, prohibited; …"),
    ),
    key=("hop", "address"),
)

# `?` after the hop: its number was guessed from the answer's hop limit.
_LINE = re.compile(r"\s*(?P<hop>\d+)(?P<guessed>\?)?:\s+(?P<rest>\S.*?)\s*")
_ANSWER = re.compile(r"(?P<who>\[LOCALHOST\]|\S+)(?: +\((?P<address>[^\s()]+)\))?(?P<more>(?: +.*)?)")
_END = re.compile(r"\s*(?:Resume: |Too many hops: )?pmtu (\d+)(?: hops (\d+))?(?: back (\d+))?\s*")
_SHORT = "46nbh?l:m:p:V"


def _prepare(name: str) -> Any:
    def prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
        refuse_capture_options(name, options)
        given = set(options_of(arguments, _SHORT)[0])
        if given & {"-V", "-h", "-?"}:
            return Command((name, *arguments))
        ours = () if given & {"-n", "-b"} or options.foreign else ("-b",)
        return Command((name, *ours, *arguments), output="table", parse=_parse)

    return prepare


def _parse(text: Text) -> Parsed:
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    for line in text.stdout.splitlines():
        if found := _LINE.fullmatch(line):
            rows.append(_row(int(found["hop"]), found["rest"]))
        elif found := _END.fullmatch(line):
            facts.update({name: int(value) for name, value in zip(("pmtu", "hops", "back"), found.groups(), strict=True)
                          if value})  # fmt: skip
            if "Too many hops" in line:
                facts["too_many_hops"] = True
        elif line.strip():
            raise Unreadable(f"{line[:80]!r} is no line of a tracepath that we know")
    return Parsed(((HOPS, rows),), facts)


def _row(hop: int, said: str) -> Row:
    row: dict[str, Any] = {"hop": hop, "reached": False}
    if said in ("no reply", "send failed") or said.startswith("reply received"):
        return {**row, "error": said}
    found = _ANSWER.fullmatch(said)
    if found is None:
        raise Unreadable(f"{said[:80]!r} is no hop of a tracepath that we know")
    who, address = found["who"], found["address"]
    if who != "[LOCALHOST]":
        named = address is not None or not _is_address(who)
        row["address"] = address or (None if named else who)
        if named and who not in ("???", address):
            row["host"] = who
    words = found["more"].split()
    while words:
        word = words.pop(0)
        if re.fullmatch(r"[\d.]+ms", word):
            row["rtt"] = word.removesuffix("ms")
        elif word in ("pmtu", "asymm") and words:
            row["pmtu" if word == "pmtu" else "asymmetric"] = words.pop(0)
        elif word == "reached":
            row["reached"] = True
        else:  # !H and its like; words for what was refused
            row["error"] = f"{row.get('error', '')} {word}".strip()
    return row


def _is_address(word: str) -> bool:
    return bool(re.fullmatch(r"[\d.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%\S+)?", word))


def _tool(name: str) -> Tool:
    return Tool(
        name,
        "iputils-tracepath",
        _prepare(name),
        purpose="the way to an address, and its path MTU",
        variants=(Variant("", (HOPS,)),),
        version=("-V",),
        resolves=True,
    )


TOOLS = (_tool("tracepath"), _tool("tracepath6"))
