"""ngrep(8): a row a packet whose payload matches.

Own parser: there is no machine-readable form and none of jc's. We add `-q -t -l -W single`: one line a packet, with its
time, as it comes; with `-x`, or another `-W`, a packet is several lines, and they are given as they are. ngrep prints
the machine's local time, which is made UTC by running it so. Source: ngrep.c of ngrep 1.45 to 1.48.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from podtracer_nb.tools.arguments import options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

PACKETS = Table(
    "packets",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it was captured"),
        Column("proto", "category", "", "TCP, UDP, ICMP, ICMPv6, IGMP; ?: another"),
        Column("src", "str", "", "from which address"),
        Column("sport", "Int64", "", "from which port"),
        Column("dst", "str", "", "to which address"),
        Column("dport", "Int64", "", "to which port"),
        # Never `flags`, which pandas owns.
        Column("tcp_flags", "category", "", "as ngrep writes them: S A F R P U"),
        Column("icmp_type", "Int64", "", "ICMP's type", optional=True),
        Column("icmp_code", "Int64", "", "ICMP's code", optional=True),
        Column("fragment", "str", "", "of a fragment: its length and offset", optional=True),
        Column("payload", "str", "", "the payload, a dot for what cannot be printed"),
    ),
)

_SHORT = "hNXViwqpevxlDtTRMs:n:c:d:A:I:O:S:P:F:W:K:LuC"
_PROTOCOLS = {"T": "TCP", "U": "UDP", "I": "ICMP", "I6": "ICMPv6", "G": "IGMP"}
_LINE = re.compile(
    r"(?P<proto>[A-Z]\d?|\?)(?:\(\d+\))? (?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}) "
    r"(?P<src>\S+) -> (?P<dst>\S+)(?P<rest>(?: .*)?)", re.DOTALL
)  # fmt: skip
_SAID = re.compile(r"(interface|filter|match|dont match|don't match|input|output)(?: \(\w+\))?: (.*)")


def _prepare(arguments: tuple[str, ...], options: Options, unprivileged: bool) -> Command:
    refuse_capture_options("ngrep", options)
    given, _words = options_of(arguments, _SHORT)
    # ngrep becomes nobody, which needs a user that a user namespace does not map.
    root: tuple[str, ...] = ("-R",) if unprivileged and "-R" not in given else ()
    endless = not {"-n", "-I", "-V", "-h"} & set(given)
    if options.text or {"-x", "-W", "-V", "-h", "-T"} & set(given):
        flush = ("-l",) if "-l" not in given else ()
        return Command(("ngrep", *root, *flush, *arguments), endless=endless)
    ours = ("-q", "-t", "-l", "-W", "single")
    notes = (f"{given['-O']} is on the machine that runs ngrep, not in the target",) if "-O" in given else ()
    return Command(
        ("ngrep", *root, *ours, *arguments), output="table", parse=_parse, endless=endless, notes=notes,
        launcher=("env", "TZ=UTC0"),
    )  # fmt: skip


def _parse(text: Text) -> Parsed:
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    # A payload in a single line holds no line feed.
    for line in text.stdout.split("\n"):
        if found := _LINE.fullmatch(line):
            rows.append(_row(found.groupdict()))
        elif found := re.fullmatch(r"(\d+) received, (\d+) matched", line):
            facts.update(received=int(found[1]), matched=int(found[2]))
        elif found := _SAID.fullmatch(line):
            facts[found[1]] = found[2]
        elif line.strip("# ") not in ("", "exit"):
            raise Unreadable(f"{line[:80]!r} is no line of an ngrep that we know")
    return Parsed(((PACKETS, rows),), facts)


def _row(said: dict[str, str]) -> Row:
    rest = said["rest"].removeprefix(" ")
    proto = _PROTOCOLS.get(said["proto"], said["proto"])
    row: dict[str, Any] = {"time": _time(said["time"]), "proto": proto}
    ports = proto in ("TCP", "UDP")
    for end, port in (("src", "sport"), ("dst", "dport")):
        address, colon, number = said[end].rpartition(":")
        if ports and colon and number.isdigit():
            row[end], row[port] = address, number
        else:
            row[end] = said[end]
    if proto == "TCP" and (found := re.match(r"\[([A-Z]*)\](?: |$)", rest)):
        row["tcp_flags"], rest = found[1], rest[found.end() :]
    elif proto.startswith("ICMP") and (found := re.match(r"(\d+):(\d+)(?: |$)", rest)):
        row["icmp_type"], row["icmp_code"], rest = found[1], found[2], rest[found.end() :]
    if found := re.match(r"\+([0-9a-f]*@\d+:\d+)(?: |$)", rest):
        row["fragment"], rest = found[1], rest[found.end() :]
    return {**row, "payload": rest}


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)


TOOLS = (
    Tool(
        "ngrep",
        "ngrep",
        _prepare,
        purpose="packets whose payload matches",
        variants=(Variant("", (PACKETS,)),),
        needs=("CAP_NET_RAW",),
        version=("-V",),
        prints=True,
    ),
)
