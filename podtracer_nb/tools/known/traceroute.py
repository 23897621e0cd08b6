"""traceroute(8): the way to an address, a row a hop; each probe is a row of the table `probes`.

Own parser: there is no machine-readable form, and jc's loses what is said after a time (`!H`, `F=1400`) when several
routers answer one hop. Linux's traceroute 2.0 and 2.1 and busybox's print a hop's probes in the same words.
Source: traceroute.c of traceroute 2.1.2, networking/traceroute.c of busybox 1.35.
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
        Column("address", "str", "", "who answered first; NA where nobody did"),
        Column("host", "str", "", "its name, where it was looked up", optional=True),
        Column("addresses", "object", "", "all who answered, where they are several", optional=True),
        Column("sent", "Int64", "probes", "how many probes were sent"),
        Column("loss", "Float64", "%", "how many of them had no answer"),
        Column("best", "Float64", "ms", "the shortest round-trip time"),
        Column("avg", "Float64", "ms", "their mean"),
        Column("worst", "Float64", "ms", "the longest"),
        Column("rtt", "object", "ms", "each probe's round-trip time, None where no answer came"),
        Column("annotation", "str", "", "!H, !N, !X: unreachable, prohibited; F=1400: the path MTU; [AS…], <MPLS…>"),
    ),
    key=("hop",),
)
PROBES = Table(
    "probes",
    (
        Column("hop", "Int64", "hops", "how many hops away"),
        Column("probe", "Int64", "", "number of the probe, from 1"),
        Column("address", "str", "", "who answered"),
        Column("host", "str", "", "its name, where it was looked up", optional=True),
        Column("rtt", "Float64", "ms", "round-trip time; NA where no answer came"),
        Column("annotation", "str", "", "what stands after the time"),
    ),
    key=("hop", "probe"),
)

_SHORT = "46dFITnrAeUDVhf:g:i:m:N:p:t:l:w:q:s:z:M:O:P:"
_LONG = ["mtu", "back", "version", "help", "sport=", "fwmark=", "first=", "gateway=", "interface=", "max-hops=",
         "sim-queries=", "port=", "tos=", "flowlabel=", "wait=", "queries=", "source=", "sendwait=", "module=",
         "options=", "protocol=", "udp", "udplite", "dccp", "tcp", "icmp", "extensions", "as-path-lookups"]  # fmt: skip
_HEADER = re.compile(r"traceroute to (?P<host>\S+) \((?P<address>\S+)\), (?P<max>\d+) hops max,? ?(?P<rest>.*)")
_TOKEN = re.compile(
    r"\s*(?:(?P<lost>\*)(?=\s|$)|(?P<rtt>\d+(?:\.\d+)?) ms(?=\s|$)"
    r"|(?P<note>!\S*|F=\d+|<[^>]*>|\[[^\]]*\]|'[^']*'|\(\d+\))"
    r"|(?P<host>[^\s()!<*]+)(?: \((?P<address>[^\s()]+)\))?)"
)


def _prepare(name: str) -> Any:
    def prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
        refuse_capture_options(name, options)
        if set(options_of(arguments, _SHORT, _LONG)[0]) & {"-V", "--version", "--help"}:
            return Command((name, *arguments))
        return Command((name, *arguments), output="table", parse=_parse)

    return prepare


def _parse(text: Text) -> Parsed:
    facts: dict[str, Any] = {}
    probes: list[dict[str, Any]] = []
    hop = 0
    for line in text.stdout.splitlines():
        if found := _HEADER.match(line):
            facts.update(host=found["host"], address=found["address"], max_hops=int(found["max"]))
        elif found := re.match(r"\s*(\d+)(?=\s)(.*)", line):
            hop = int(found[1])
            probes += _probes(hop, found[2], 0)
        elif line.strip() and hop:  # busybox and others go on in the next line where a router changes
            probes += _probes(hop, line, sum(each["hop"] == hop for each in probes))
        elif line.strip():
            raise Unreadable(f"{line[:80]!r} is no line of a traceroute that we know")
    if not probes and text.stdout.strip() and not facts:
        raise Unreadable("no line of it is a traceroute's")
    hops = [_hop([each for each in probes if each["hop"] == hop]) for hop in dict.fromkeys(p["hop"] for p in probes)]
    return Parsed(((HOPS, hops), (PROBES, probes)), facts)


def _probes(hop: int, line: str, before: int) -> list[dict[str, Any]]:
    """Read a line's probes; `before` of this hop were in the lines above."""
    probes: list[dict[str, Any]] = []
    who: dict[str, Any] = {}
    of_who, waits = "", False  # what stands between an address and its first time, [AS…] or <MPLS…>; until there is one
    at = 0
    while line[at:].strip():
        found = _TOKEN.match(line, at)
        if found is None:
            raise Unreadable(f"{line[at : at + 60]!r} of hop {hop} is nothing that a traceroute prints")
        at = found.end()
        if found["host"]:
            if waits:
                raise Unreadable(f"{found['host']!r} of hop {hop} stands where a time should")
            named = found["address"] not in (None, found["host"])
            who = {"address": found["address"] or found["host"], **({"host": found["host"]} if named else {})}
            of_who, waits = "", True
        elif found["note"] and (waits or not probes):
            of_who = f"{of_who} {found['note']}".strip()
        elif found["note"]:
            probes[-1]["annotation"] = f"{probes[-1]['annotation'] or ''} {found['note']}".strip()
        else:
            if found["rtt"] and not who:
                raise Unreadable(f"a time of hop {hop} is nobody's")
            number = before + len(probes) + 1
            answered = who if found["rtt"] else {}
            probes.append({"hop": hop, "probe": number, "rtt": found["rtt"], "annotation": of_who or None, **answered})
            of_who, waits = "", False
    return probes


def _hop(probes: list[dict[str, Any]]) -> Row:
    times = [float(each["rtt"]) if each["rtt"] else None for each in probes]
    answered = [each for each in times if each is not None]
    who = list(dict.fromkeys(each["address"] for each in probes if "address" in each))
    row: dict[str, Any] = {
        "hop": probes[0]["hop"],
        "address": who[0] if who else None,
        "sent": len(probes),
        "loss": 100 * (1 - len(answered) / len(probes)),
        "best": min(answered, default=None),
        "avg": sum(answered) / len(answered) if answered else None,
        "worst": max(answered, default=None),
        "rtt": times,
        "annotation": " ".join(dict.fromkeys(each["annotation"] for each in probes if each["annotation"])) or None,
    }
    names = [each["host"] for each in probes if "host" in each]
    if names:
        row["host"] = names[0]
    if len(who) > 1:
        row["addresses"] = who
    return row


def _tool(name: str) -> Tool:
    return Tool(
        name,
        "traceroute",
        _prepare(name),
        purpose="the way to an address",
        variants=(Variant("", (HOPS, PROBES)),),
        resolves=True,
    )


TOOLS = (_tool("traceroute"), _tool("traceroute6"))
