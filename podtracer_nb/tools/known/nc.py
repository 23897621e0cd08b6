"""nc(1): whether ports are open (`-z`), a row a port; anything else as lines.

Own parser of what it writes to standard error with `-v`, which we add: there is no machine-readable form and no parser
of jc's. OpenBSD's netcat (Debian's netcat-openbsd 1.105 to 1.229) and the traditional one say it each in its own words;
busybox's has no `-z` as Debian builds it. Source: netcat.c of both.
"""

from __future__ import annotations

import re

from podtracer_nb.tools.arguments import is_busybox, options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

PORTS = Table(
    "ports",
    (
        Column("host", "str", "", "as it was asked for"),
        Column("address", "str", "", "its address, where it is told"),
        Column("port", "Int64", "", "the port"),
        Column("protocol", "category", "", "tcp or udp"),
        Column("open", "boolean", "", "whether it is open; for udp: nothing said that it is closed"),
        Column("service", "str", "", "the port's name in services(5)"),
        Column("error", "str", "", "why it is not open"),
    ),
    key=("host", "address", "port", "protocol"),
)

_SHORT = "46bCDdFhklNnrStUuvZzI:i:M:m:O:P:p:q:s:T:V:W:w:X:x:c:e:g:G:o"
# OpenBSD's words: connection_info(), main(); then the traditional one's: doconnect().
_FORMS = (
    re.compile(
        r"Connection to (?P<host>\S+)(?: \((?P<address>\S+)\))? (?P<port>\d+) port "
        r"\[(?P<protocol>tcp|udp)/(?P<service>[^\]]*)\] (?P<open>succeeded)!"
    ),
    re.compile(
        r"\S*nc\S*: connect to (?P<host>\S+)(?: \((?P<address>\S+)\))? port (?P<port>\d+) \((?P<protocol>tcp|udp)\) "
        r"(?:failed|timed out): (?P<error>.*)"
    ),
    re.compile(r"\S*nc\S*: getaddrinfo(?: for host \"(?P<host>[^\"]*)\" port (?P<port>\d+))?: (?P<error>.*)"),
    re.compile(r"(?P<host>\S+) \[(?P<address>[^\]]+)\] (?P<port>\d+) \((?P<service>[^)]*)\) (?P<open>open)"),
    re.compile(r"(?P<host>\S+) \[(?P<address>[^\]]+)\] (?P<port>\d+) \((?P<service>[^)]*)\) : (?P<error>.*)"),
)
_TIMED_OUT = "Operation now in progress"  # errno of a connect(2) that was given up; it says nothing to anybody


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("nc", options)
    given, _words = options_of(arguments, _SHORT)
    if "-z" not in given or is_busybox("nc"):
        return Command(("nc", *arguments), endless="-l" in given)
    ours = () if "-v" in given else ("-v",)
    return Command(("nc", *ours, *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    # All of it where it was just run: of the text of standard error the middle of a long one is left out.
    lines = [line for _, stream, line in text.lines() if stream == "stderr"] or text.stderr.splitlines()
    given, words = options_of(text.arguments, _SHORT)
    rows: list[Row] = []
    for line in lines:
        found = next((match for form in _FORMS if (match := form.fullmatch(line))), None)
        if found is not None:
            said = found.groupdict()
            protocol = said.get("protocol") or ("udp" if "-u" in given else "tcp")
            error = "timed out" if said.get("error") == _TIMED_OUT else said.get("error")
            service = said.get("service") if said.get("service") not in ("*", "?") else None
            row = {name: said.get(name) for name in ("host", "address", "port")}
            row["host"] = row["host"] or next(iter(words), None)
            rows.append({**row, "protocol": protocol, "open": "open" in said, "service": service, "error": error})
    if not rows and any(line.strip() for line in lines):
        raise Unreadable("no line of it says whether a port is open")
    return Parsed(((PORTS, rows),))


TOOLS = (
    Tool(
        "nc",
        "netcat-openbsd",
        _prepare,
        purpose="whether a port is open (-z)",
        variants=(Variant("-z", (PORTS,)),),
        version=("-h",),
        resolves=True,
    ),
)
