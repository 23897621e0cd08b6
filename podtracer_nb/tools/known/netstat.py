"""netstat(8) of net-tools and busybox: sockets, routes (`-r`), interfaces (`-i`), counters (`-s`), groups (`-g`).

It has no JSON. jc's parser (1.26) knows neither `-s` nor `-g` nor `-W`, without which long addresses are cut; all
are read here. We add `-n`, and `-W` where it is known: busybox's has none, and cuts nothing.
Source: netstat.c and statistics.c of net-tools 2.10, networking/netstat.c of busybox 1.35.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from podtracer_nb.tools import net_tools
from podtracer_nb.tools.known.ifconfig import ADDRESSES, INTERFACES, interfaces
from podtracer_nb.tools.net_tools import COUNTERS, ROUTES, letters
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

SOCKETS = Table(
    "sockets",
    (
        Column("proto", "category", "", "tcp, tcp6, udp, udp6, raw, unix, …"),
        Column("recv_q", "Int64", "bytes", "received and not yet read"),
        Column("send_q", "Int64", "bytes", "sent and not acknowledged"),
        Column("local_address", "str", "", "an address"),
        Column("local_port", "Int64", "", "NA: any"),
        Column("foreign_address", "str", "", "the other end's"),
        Column("foreign_port", "Int64", "", "NA: any"),
        Column("state", "category", "", "ESTABLISHED, LISTEN, …; of a raw socket a number; NA: it has none"),
        Column("user", "str", "", "owner", optional=True),
        Column("inode", "Int64", "", "the socket's number", optional=True),
        Column("pid", "Int64", "", "one process that has it open; NA: it may not be seen", optional=True),
        Column("process", "str", "", "its name; with the pid 19 letters at most", optional=True),
        Column("context", "str", "", "SELinux context", optional=True),
        Column("timer", "category", "", "off, on (retransmission), keepalive, timewait, probe", optional=True),
        Column("timer_expires", "Float64", "s", "until it expires", optional=True),
        Column("timer_retrans", "Int64", "", "retransmissions so far", optional=True),
        Column("timer_probes", "Int64", "", "probes so far", optional=True),
        Column("refcnt", "Int64", "", "unix: references", optional=True),
        Column("flags", "str", "", "unix: ACC waits for connections, …", optional=True),
        Column("type", "category", "", "unix: STREAM, DGRAM, SEQPACKET", optional=True),
        Column("path", "str", "", "unix: its name", optional=True),
    ),
    key=("proto", "local_address", "local_port", "foreign_address", "foreign_port", "inode"),
)
STATISTICS = Table(
    "statistics",
    (
        Column("protocol", "category", "", "Ip, Icmp, Tcp, Udp, TcpExt, …"),
        Column("name", "str", "", "netstat's own sentence, without the number"),
        Column("value", "Int64", "", "since the namespace was made; some are gauges", counter=True),
    ),
    key=("protocol", "name"),
)
GROUPS = Table(
    "groups",
    (
        Column("interface", "str", "", "where it is joined"),
        Column("refcnt", "Int64", "", "how often"),
        Column("group", "str", "", "the multicast address"),
    ),
    key=("interface", "group"),
)

_LONG = {
    "route": "r", "interfaces": "i", "groups": "g", "statistics": "s", "masquerade": "M", "verbose": "v", "wide": "W",
    "numeric": "n", "symbolic": "N", "extend": "e", "programs": "p", "timers": "o", "continuous": "c", "listening": "l",
    "all": "a", "fib": "F", "cache": "C", "context": "Z", "tcp": "t", "udp": "u", "raw": "w", "unix": "x",
    "version": "V", "help": "h", "udplite": "U", "sctp": "S", "protocol": "A", "inet6": "6", "inet": "4",
}  # fmt: skip
_INET = re.compile(
    r"((?:tcp|udp|udpl|udplite|sctp|raw|icmp)6?)\s+(-?\d+)\s+(-?\d+) +(\S+) +(\S+)"
    r"(?: +([A-Z][A-Z0-9_]*|\d+)(?=\s|$))?(.*)"
)
_UNIX = re.compile(r"unix +(\d+) +\[([A-Z ]*)\] +([A-Z]+)(?: +([A-Z]+))? +(\d+)(?: (.*)|)")
_PROGRAM = re.compile(r"(-|\d+/.*)", re.DOTALL)
_TIMER = re.compile(r"(.*?) ?\b(off|on|keepalive|timewait|probe|unkn-\d+) \((\d+\.\d+)/(-?\d+)/(-?\d+)\)\s*")
_HEADING = re.compile(r"Active (Internet connections|UNIX domain sockets) \(.*\)")
_COUNT = re.compile(r"(.*?)(?<![\w.])(-?\d+)(?![\w.])(.*)")
_PROGRAM_WIDTH = 20  # PROGNAME_WIDTH of netstat.c: padded to it, cut to one less


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("netstat", options)
    given = letters(arguments, "A", _LONG)
    parse = next((each for letter, each in _PARSERS.items() if letter in given), _sockets)
    if given.keys() & {"V", "h", "c", "M"}:
        return Command(("netstat", *arguments), endless="c" in given)
    numeric = () if "n" in given else ("-n",)
    narrow = ("netstat", *numeric, *arguments)
    return Command(
        narrow if "W" in given else ("netstat", "-W", *narrow[1:]),
        output="table",
        parse=parse,
        probe=None if "W" in given else ("netstat", "-W", "-V"),
        otherwise=narrow,
    )


def _routes(text: Text) -> Parsed:
    return Parsed(((ROUTES, net_tools.routes(text.stdout)),))


def _interfaces(text: Text) -> Parsed:
    if "flags=" in text.stdout or "Link encap" in text.stdout:
        found, addresses = interfaces(text.stdout.removeprefix("Kernel Interface table\n"))
        return Parsed(((INTERFACES, found), (ADDRESSES, addresses)))
    return Parsed(((COUNTERS, net_tools.counters(text.stdout)),))


def _groups(text: Text) -> Parsed:
    rows: list[Row] = []
    for line in text.stdout.splitlines():
        words = line.split()
        if not words or words[0] == "Interface" or set(line) <= {"-", " "} or "Group Memberships" in line:
            continue
        if len(words) != 3:  # noqa: PLR2004
            raise Unreadable(f"{line[:60]!r} is no membership")
        rows.append(dict(zip(("interface", "refcnt", "group"), words, strict=True)))
    return Parsed(((GROUPS, rows),))


def _statistics(text: Text) -> Parsed:
    rows: list[Row] = []
    protocol, within = None, ""
    for line in text.stdout.splitlines():
        said = line.strip()
        if line[:1].strip() and said.endswith(":"):
            protocol, within = said[:-1], ""
        elif said and protocol is None:
            raise Unreadable(f"{said[:60]!r} is of no protocol")
        elif said.endswith(":"):
            within = said[:-1]
        elif said:
            nested = within if line.startswith((" " * 8, "\t\t")) else ""
            rows.append({"protocol": protocol, **_counted(said, nested)})
    return Parsed(((STATISTICS, rows),))


def _counted(said: str, within: str) -> Row:
    """Return the sentence without its number: `Forwarding: 2`, `5 segments received`, `Detected reordering 3 times`."""
    name, colon, value = said.rpartition(": ")
    if not colon or not re.fullmatch(r"-?\d{1,20}", value):
        found = _COUNT.fullmatch(said)
        if found is None:
            raise Unreadable(f"{said[:60]!r} counts nothing")
        name, value = " ".join(f"{found[1]} {found[3]}".split()), found[2]
    return {"name": f"{within}: {name}" if within else name, "value": value}


_PARSERS: dict[str, Callable[[Text], Parsed]] = {
    "r": _routes, "i": _interfaces, "s": _statistics, "g": _groups,
}  # fmt: skip


def _sockets(text: Text) -> Parsed:
    rows: list[Row] = []
    header = ""
    for line in text.stdout.splitlines():
        if line.startswith("Proto "):
            header = line
        elif line.startswith("unix "):
            rows.append(_unix_socket(line, header))
        elif found := _INET.fullmatch(line) if header else None:
            rows.append(_socket(found, header))
        elif line.strip() and not _HEADING.fullmatch(line.strip()):
            raise Unreadable(f"{line[:60]!r} is no socket")
    return Parsed(((SOCKETS, rows),))


def _socket(found: re.Match[str], header: str) -> Row:
    proto, received, sent, local, foreign, state, rest = found.groups()
    row: dict[str, Any] = {"proto": proto, "recv_q": received, "send_q": sent}
    row["local_address"], row["local_port"] = _endpoint(local)
    row["foreign_address"], row["foreign_port"] = _endpoint(foreign)
    if state and state.isdecimal() and "raw" not in proto:
        # A UDP socket that is not connected has no state: this is its user.
        state, rest = None, f" {state}{rest}"
    row["state"] = state
    words = rest
    if "Timer" in header:
        timed = _TIMER.fullmatch(words)
        if timed is None:
            raise Unreadable(f"{words[:60]!r} has no timer")
        words = timed[1]
        row["timer"], row["timer_expires"], row["timer_retrans"], row["timer_probes"] = timed.groups()[1:]
    if "Inode" in header:
        user = re.match(r"\s*(\S+)\s+(\d+)(?:\s|$)", words)
        if user is None:
            raise Unreadable(f"{words[:60]!r} has no user with an inode")
        row["user"], row["inode"], words = user[1], user[2], words[user.end() :]
    if "PID/Program" in header:
        words = _program(row, words.strip())
    elif words.strip():
        raise Unreadable(f"{words[:60]!r} stands under no header")
    return row


def _endpoint(text: str) -> tuple[str | None, str | None]:
    address, colon, port = text.rpartition(":")
    if not colon or not address or not re.fullmatch(r"\*|\d{1,5}", port) or not re.fullmatch(r"[\w.:%*-]+", address):
        raise Unreadable(f"{text[:60]!r} is no address with a port")
    return address, None if port == "*" else port


def _program(row: dict[str, Any], words: str) -> str:
    found = _PROGRAM.fullmatch(words)
    if found is None:
        raise Unreadable(f"{words[:60]!r} is no process")
    pid, _, name = found[1].partition("/")
    row["pid"], row["process"] = (None, None) if pid == "-" else (pid, name.strip())
    return ""


def _unix_socket(line: str, header: str) -> Row:
    found = _UNIX.fullmatch(line)
    if found is None:
        raise Unreadable(f"{line[:60]!r} is no unix socket")
    count, flags, kind, state, inode, rest = found.groups()
    row: dict[str, Any] = {
        "proto": "unix", "refcnt": count, "flags": flags.strip() or None, "type": kind, "state": state, "inode": inode,
    }  # fmt: skip
    path = rest or ""
    if "PID/Program" in header:
        # The inode is padded to eight, the program to its width; what follows is the path, which may hold spaces.
        path = path[max(0, 8 - len(inode)) :]
        _program(row, path[:_PROGRAM_WIDTH].rstrip())
        path = path[_PROGRAM_WIDTH:]
    row["path"] = path.strip() or None
    return row


TOOLS = (
    Tool(
        "netstat",
        "net-tools",
        _prepare,
        purpose="sockets, routes, interfaces, counters",
        variants=(
            Variant("", (SOCKETS,)),
            Variant("-r", (ROUTES,)),
            Variant("-i", (COUNTERS,)),
            Variant("-s", (STATISTICS,)),
            Variant("-g", (GROUPS,)),
        ),
        version=("-V",),
    ),
)
