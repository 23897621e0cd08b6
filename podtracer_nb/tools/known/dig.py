"""dig(1): the records of each answer, a row each; what is said of a message is a row of the table `queries`.

Own parser of dig's usual form, which all versions since 9.0 print: its own YAML (`+yaml`) is there since 9.16 only and
until 9.18 is none where a text holds `: ` (records were not quoted), and jc drops what it cannot place. The options
that change the form (+short, +noall +answer, +multiline, +trace, +ttlunits) are read as well, but for +yaml.
host(1) and nslookup(1) are given as lines. Source: bin/dig/dig.c of BIND 9.11 to 9.20.
"""

from __future__ import annotations

import re
from typing import Any

from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

ANSWERS = Table(
    "answers",
    (
        Column("query", "Int64", "", "which message it stands in, from 1"),
        Column("section", "category", "", "answer, authority, additional; NA where dig was not to say"),
        Column("name", "str", "", "the owner's name; NA with +short"),
        Column("ttl", "Int64", "s", "how long it may be kept"),
        Column("class", "category", "", "IN, CH, …"),
        Column("type", "category", "", "A, AAAA, CNAME, SRV, …"),
        Column("data", "str", "", "the record's data as in a zone file: RFC 1035, 5.1"),
    ),
    key=("query", "section", "name", "type", "data"),
)
QUERIES = Table(
    "queries",
    (
        Column("query", "Int64", "", "number of the message, from 1"),
        Column("name", "str", "", "what was asked for"),
        Column("class", "category", "", "its class"),
        Column("type", "category", "", "its type"),
        Column("rcode", "category", "", "NOERROR, NXDOMAIN, SERVFAIL, …: RFC 6895"),
        Column("opcode", "category", "", "QUERY, NOTIFY, …"),
        Column("id", "Int64", "", "the message's id"),
        Column("flags", "str", "", "qr aa tc rd ra ad cd"),
        Column("query_time", "Float64", "ms", "from the question to the answer"),
        Column("server", "str", "", "who answered: address#port"),
        Column("protocol", "category", "", "UDP, TCP, TLS, HTTPS (since 9.18)", optional=True),
        Column("size", "Int64", "bytes", "length of the message"),
        Column("edns", "str", "", "EDNS as dig says it: version, flags, UDP size", optional=True),
        Column("options", "str", "", "other lines of the OPT pseudosection: COOKIE, EDE, NSID, …", optional=True),
        Column("error", "str", "", "what came in place of an answer", optional=True),
    ),
    key=("query",),
)

_HEADER = re.compile(r";; ->>HEADER<<- opcode: (\S+), status: ([^\s,]+), id: (\d+)")
_COUNTS = re.compile(r";; flags:([^;]*); (?:QUERY|ZONE): \d+")
_SECTION = re.compile(r";; (QUESTION|ANSWER|AUTHORITY|ADDITIONAL|ZONE|PREREQUISITE|UPDATE|OPT PSEUDO) ?SECTION:")
_RECEIVED = re.compile(r";; Received (\d+) bytes from (\S+?)\((?:[^()]*)\) in (\d+) (ms|us)")
_RECORD = re.compile(
    r"(?P<name>\S+)\s+(?:(?P<ttl>\d+|(?:\d+[wdhms])+)\s+)?(?P<class>IN|CH|HS|NONE|ANY|CLASS\d+)\s+(?P<type>[A-Z][A-Z0-9-]*)"
    r"(?:\s+(?P<data>.*\S))?\s*", re.DOTALL
)  # fmt: skip
_ERROR = re.compile(
    r"(?:;; |; )?(communications error to .*|connection timed out; .*|no servers could be reached"
    r"|Connection to .* failed.*|Transfer failed\..*)"
)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("dig", options)
    if {"-v", "-h"} & set(arguments) or any(word.startswith("+yaml") for word in arguments):
        return Command(("dig", *arguments))
    return Command(("dig", *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    if not text.stdout.strip():
        return Parsed(((ANSWERS, ()), (QUERIES, ())))
    reading = _Reading(short=any(re.fullmatch(r"\+shor?t?", word) for word in text.arguments))
    for line in _whole(text.stdout):
        reading.take(line)
    queries = [query for query in reading.queries if len(query) > 1]
    facts: dict[str, Any] = {}
    if len(queries) == 1:
        facts = {name: value for name, value in queries[0].items() if name != "query"}
    elif queries:
        facts = {"queries": len(queries), "rcodes": [each.get("rcode") for each in queries]}
    notes = tuple(dict.fromkeys(f"dig: {each['error']}" for each in queries if "error" in each))
    return Parsed(((ANSWERS, reading.rows), (QUERIES, queries)), facts, notes)


def _whole(text: str) -> list[str]:
    """Return lines; of +multiline those that a parenthesis holds together as one, without their comments."""
    lines: list[str] = []
    held: list[str] = []
    for line in text.splitlines():
        bare = re.sub(r'"(?:\\.|[^"\\])*"|\\.', lambda each: "x" * len(each[0]), line)
        if held or ("(" in bare and not line.startswith(";")):
            comment = bare.find(";")
            held.append(
                (line[:comment] if comment >= 0 else line).strip() if held else line[: comment % (len(line) + 1)]
            )
            joined = " ".join(held)
            plain = re.sub(r'"(?:\\.|[^"\\])*"|\\.', "", joined)
            if plain.count("(") <= plain.count(")"):
                lines.append(re.sub(r"\s*\(\s*|\s*\)\s*", " ", joined).rstrip())
                held = []
        else:
            lines.append(line)
    if held:
        lines.append(" ".join(held))
    return lines


class _Reading:
    """Takes dig's lines one by one, and knows which message and which section they are in."""

    def __init__(self, *, short: bool) -> None:
        self.short = short
        self.rows: list[Row] = []
        self.queries: list[dict[str, Any]] = [{"query": 1}]
        self.section: str | None = None

    @property
    def now(self) -> dict[str, Any]:
        return self.queries[-1]

    def _next(self) -> None:
        self.queries.append({"query": len(self.queries) + 1})
        self.section = None

    def take(self, line: str) -> None:
        if not line.strip():
            self.section = None if self.section == "opt pseudo" else self.section
        elif line.startswith(";"):
            self._comment(line)
        elif self.short:
            self._short(line)
        else:
            found = _RECORD.fullmatch(line)
            error = _ERROR.fullmatch(line)
            if found is None and error is None:
                raise Unreadable(f"{line[:80]!r} is no record that dig prints")
            if error is not None:
                self.now["error"] = error[1]
            elif found is not None:
                row: dict[str, Any] = {"query": self.now["query"], "section": self.section, **found.groupdict()}
                row["ttl"] = _seconds(found["ttl"])
                self.rows.append(row)

    def _short(self, line: str) -> None:
        found = re.fullmatch(r"(.*) from server (\S+) in (\d+) (?:ms|us)\.", line)
        if found:
            self.now["server"] = found[2]
        self.rows.append({"query": self.now["query"], "data": found[1] if found else line})

    def _comment(self, line: str) -> None:
        if found := _HEADER.match(line):
            if "rcode" in self.now:
                self._next()
            self.now.update(opcode=found[1], rcode=found[2], id=int(found[3]))
        elif found := _COUNTS.match(line):
            self.now["flags"] = found[1].strip()
        elif found := _SECTION.match(line):
            self.section = found[1].lower()
        elif self.section == "opt pseudo" and line.startswith("; "):
            name = "edns" if line.startswith("; EDNS:") else "options"
            value = line.removeprefix("; EDNS:").removeprefix("; ").strip()
            self.now[name] = f"{self.now[name]}; {value}" if name in self.now else value
        elif found := re.fullmatch(r";(?!;)(\S+)\s+(\S+)\s+(\S+)", line):
            if self.section in ("question", "zone"):
                self.now.update({"name": found[1], "class": found[2], "type": found[3]})
        else:
            self._measured(line)

    def _measured(self, line: str) -> None:
        """Take what is said of a message's way: how long it took, from whom, how large."""
        if found := re.match(r";; Query time: (\d+) (msec|usec)", line):
            self.now["query_time"] = int(found[1]) / (1 if found[2] == "msec" else 1000)
        elif found := re.match(r";; SERVER: (\S+?)\([^()]*\)(?: \((\w+)\))?", line):
            self.now["server"] = found[1]
            if found[2]:
                self.now["protocol"] = found[2]
        elif found := re.match(r";; MSG SIZE\s+rcvd: (\d+)", line):
            self.now["size"] = int(found[1])
        elif found := _RECEIVED.match(line):
            self.now.update(size=int(found[1]), server=found[2])
            self.now["query_time"] = int(found[3]) / (1 if found[4] == "ms" else 1000)
            self._next()
        elif found := _ERROR.fullmatch(line):
            self.now["error"] = found[1]


def _seconds(ttl: str | None) -> int | None:
    if ttl is None:
        return None
    if ttl.isdigit():
        return int(ttl)
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([wdhms])", ttl))


TOOLS = (
    Tool(
        "dig",
        "bind9-dnsutils",
        _prepare,
        purpose="what DNS answers",
        variants=(Variant("", (ANSWERS, QUERIES)),),
        version=("-v",),
        resolves=True,
    ),
    Tool("host", "bind9-host", purpose="what DNS answers, in words", version=("-V",), resolves=True),
    Tool("nslookup", "bind9-dnsutils", purpose="what DNS answers, in words", version=("-version",), resolves=True),
)
