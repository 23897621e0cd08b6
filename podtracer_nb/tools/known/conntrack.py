"""conntrack(8): tracked connections, and events of them, both directions of each in one row.

Own parser of its text. Its XML leaves out what tells ICMP flows apart, and of events the fraction of a second. jc's
parser (since 1.26) finds the same values, which the tests compare, but passes over a line that it does not know
without a word, and so over every expectation. To what is listed we add `-o extended,id,ktimestamp`, to events
`timestamp` too; counters and start are there where the node counts them (net.netfilter.nf_conntrack_acct and
nf_conntrack_timestamp). Source: conntrack(8), src/conntrack.c of conntrack-tools 1.4.7 and
src/conntrack/snprintf_default.c of libnetfilter_conntrack 1.0.9.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

from podtracer_nb.errors import PodtracerError, PrivilegeError, ToolFailed
from podtracer_nb.tools.iproute2 import UTC
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]


def _direction(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(f"{prefix}src", "str", "", f"source of {whose} packets"),
        Column(f"{prefix}dst", "str", "", f"destination of {whose} packets"),
        Column(f"{prefix}sport", "UInt16", "", f"source port of {whose} packets"),
        Column(f"{prefix}dport", "UInt16", "", f"destination port of {whose} packets"),
    )


def _counts(prefix: str, whose: str) -> tuple[Column, ...]:
    return (
        Column(f"{prefix}packets", "UInt64", "packets", f"{whose} so far", counter=True, optional=True),
        Column(f"{prefix}bytes", "UInt64", "bytes", f"{whose} so far, with IP headers", counter=True, optional=True),
    )


_FLOW = (
    Column("family", "category", "", "ipv4 or ipv6"),
    Column("proto", "category", "", "tcp, udp, icmp, …"),
    Column("state", "category", "", "of the protocol: ESTABLISHED, TIME_WAIT, …; NA where it has none"),
    *_direction("", "the opener's"),
    *_direction("reply_", "the answering"),
    Column("status", "object", "", "ASSURED: it went both ways; UNREPLIED: nothing came back; OFFLOAD, …"),
    Column("timeout", "Int64", "s", "until it is forgotten, if nothing comes"),
    *_counts("", "the opener's"),
    *_counts("reply_", "the answers'"),
    Column("type", "Int64", "", "ICMP type", optional=True),
    Column("code", "Int64", "", "ICMP code", optional=True),
    Column("icmp_id", "Int64", "", "ICMP identifier", optional=True),
    Column("reply_type", "Int64", "", "ICMP type of the answer", optional=True),
    Column("reply_code", "Int64", "", "ICMP code of the answer", optional=True),
    Column("reply_icmp_id", "Int64", "", "ICMP identifier of the answer", optional=True),
    Column("mark", "UInt32", "", "its mark", optional=True),
    Column("zone", "Int64", "", "its zone", optional=True),
    Column("use", "Int64", "", "who refers to it", optional=True),
    Column("id", "UInt32", "", "its number in the kernel", optional=True),
    Column("start", "datetime64[ns, UTC]", "", "when it began, to the second", optional=True),
    Column("stop", "datetime64[ns, UTC]", "", "when it ended", optional=True),
    Column("age", "Int64", "s", "since it began", optional=True),
)
_KEY = ("family", "proto", "src", "dst", "sport", "dport", "zone", "id")
FLOWS = Table("flows", _FLOW, key=_KEY)
EVENTS = Table(
    "events",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it happened"),
        Column("event", "category", "", "NEW, UPDATE, DESTROY"),
        *_FLOW,
    ),
)
EXPECTATIONS = Table("expectations", (Column("timeout", "Int64", "s", "until it is forgotten"), *_FLOW[1:2]))
CPUS = Table(
    "cpus",
    (
        Column("cpu", "Int64", "", "its number"),
        *(
            Column(name, "UInt64", unit, meaning, counter=True, optional=True)
            for name, unit, meaning in (
                ("found", "packets", "of known connections"),
                ("invalid", "packets", "that could not be tracked"),
                ("insert", "connections", "put into the table"),
                ("insert_failed", "connections", "that could not be put there: another had the same addresses"),
                ("drop", "packets", "dropped, since the table was full or a new entry could not be made"),
                ("early_drop", "connections", "thrown out to make room"),
                ("error", "packets", "of ICMP errors that were wrong"),
                ("search_restart", "times", "that a search began anew, since the table changed meanwhile"),
                (
                    "clash_resolve",
                    "connections",
                    "that met one like them when they were put in, and were joined",
                ),
                ("chaintoolong", "connections", "not put in, since their hash chain was too long"),
            )
        ),
    ),
    key=("cpu",),
)
COUNT = Table("count", (Column("entries", "UInt64", "entries", "how many are in the table"),))

_SHORT = {"L": "list", "G": "get", "D": "delete", "I": "create", "A": "add", "U": "update", "E": "event", "F": "flush"}
_SHORT |= {"C": "count", "S": "stats", "V": "version", "h": "help"}
_LOOKS = frozenset(("list", "get", "event", "count", "stats", "version", "help"))
_LONG = {"--dump": "list", **{f"--{name}": name for name in _SHORT.values() if name != "list"}}
_TABLES = ("conntrack", "expect", "dying", "unconfirmed")
# Options with a value that stand in one word with it, or ahead of it.
_VALUED = "sdrqpftulmcengjwbo"


def _commands(arguments: Sequence[str]) -> set[str]:
    """Return the commands among the words; a word that is an option's value is none."""
    found = set()
    valued = False
    for word in arguments:
        if valued:
            valued = False
        elif word.startswith("--"):
            name = word.partition("=")[0]
            # getopt_long takes any beginning that is unambiguous.
            found |= {_LONG[each] for each in _LONG if each.startswith(name) and len(name) > len("--d")}
            valued = "=" not in word and not any(each.startswith(name) for each in (*_LONG, "--zero", "--help"))
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 2):
                if letter in _SHORT:
                    found.add(_SHORT[letter])
                elif letter in _VALUED:
                    valued = at == len(word)
                    break
    return found


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("conntrack", options)
    commands = _commands(arguments)
    plain = Command(("conntrack", *arguments), endless="event" in commands)
    if len(commands) != 1 or "-z" in arguments:
        return plain
    command = next(iter(commands))
    if command == "stats":
        return Command(plain.argv, output="table", parse=_cpus)
    if command == "count":
        return Command(plain.argv, output="table", parse=_count)
    if command not in ("list", "get", "event") or any(
        each in ("xml", "save") for word in arguments for each in re.split(r"[,=]", word)
    ):
        return plain
    expects = "expect" in arguments
    ours = ["id", "extended"] if not expects else []
    ours += ["timestamp"] if command == "event" else ["ktimestamp"] if not expects else []
    extra = ("-o", ",".join(ours)) if ours else ()
    table = EXPECTATIONS if expects else EVENTS if command == "event" else FLOWS

    def parse(text: Text) -> Parsed:
        return Parsed(((table, [_flow(line) for line in text.stdout.splitlines() if line.strip()]),))

    return Command(
        ("conntrack", *arguments, *extra),
        output="table",
        parse=parse,
        launcher=UTC,
        endless=command == "event",
    )


_HEAD = re.compile(
    r"(?:\[(?P<time>\d+\.\d+)\s*\]\s*)?(?:\[(?P<event>[A-Z]+)\]\s*)?(?:(?P<family>ipv[46]|unknown)\s+\d+\s+)?"
    r"(?P<proto>[\w-]+)\s+(?P<number>\d+)(?:\s+(?P<timeout>\d+))?(?:\s+(?P<state>[A-Z][A-Z_0-9]*))?(?=\s|$)(?P<rest>.*)"
)
_STAMP = re.compile(r"\[(start|stop)=([^\]]*)\]")
_NAMES = {"delta-time": "age", "secctx": "secctx"}


def _flow(line: str) -> Row:
    found = _HEAD.fullmatch(line.strip())
    if found is None:
        return _expectation(line)
    row: dict[str, Any] = {name: found[name] for name in ("proto", "timeout", "state")}
    row["family"] = found["family"] if found["family"] != "unknown" else None
    if found["event"]:
        row["event"] = found["event"]
    if found["time"]:
        whole, _, fraction = found["time"].partition(".")
        row["time"] = int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    rest = found["rest"]
    for name, when in _STAMP.findall(rest):
        row[name] = _moment(when)
    row["status"] = re.findall(r"\[([A-Z_]+)\]", rest)
    _tuples(re.sub(r"\[[^\]]*\]", " ", rest).split(), row, line)
    row["family"] = row["family"] or ("ipv6" if ":" in row.get("src", "") else "ipv4")
    return row


def _moment(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(text.strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise Unreadable(f"{text!r} is no time") from error


def _tuples(words: Sequence[str], row: dict[str, Any], line: str) -> None:
    """Read `name=value` words: what comes a second time, from `src` on, is of the packets that come back."""
    prefix, seen = "", False
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Unreadable(f"{word!r} is no name with a value in {line[:80]!r}")
        if name == "src":
            prefix = "reply_" if seen else ""
            seen = True
        if name in ("mark", "use", "zone", "delta-time", "secctx", "helper", "labels"):
            prefix = ""
        # An ICMP tuple has an `id` of its own; the connection's is after both.
        if name == "id" and ("code" in row or "reply_code" in row) and not {"use", "mark"} & row.keys():
            name = "icmp_id"
            if prefix + name in row or f"{prefix}code" not in row:
                name, prefix = "id", ""
        if name == "id":
            prefix = ""
        row[prefix + _NAMES.get(name, name.replace("-", "_"))] = value


def _expectation(line: str) -> Row:
    """Read an expectation: `TIMEOUT proto=N src=… dst=… mask-src=…`."""
    found = re.fullmatch(r"\s*(?:\[(?P<event>[A-Z]+)\]\s*)?(?P<timeout>\d+|-)\s+(?P<rest>proto=.*)", line)
    if found is None:
        raise Unreadable(f"{line[:80]!r} is no line of conntrack that we know")
    row: dict[str, Any] = {"timeout": found["timeout"] if found["timeout"] != "-" else None}
    if found["event"]:
        row["event"] = found["event"]
    for word in found["rest"].split():
        name, equals, value = word.partition("=")
        row[name.replace("-", "_")] = value if equals else True
    return row


def _cpus(text: Text) -> Parsed:
    rows = []
    for line in text.stdout.splitlines():
        pairs = re.findall(r"(\w+)=(\d+)", line)
        if not pairs or pairs[0][0] != "cpu":
            if re.fullmatch(r"entries\s+\d+", line.strip()):
                continue
            raise Unreadable(f"{line[:60]!r} is no line of conntrack -S")
        rows.append(dict(pairs))
    return Parsed(((CPUS, rows),))


def _count(text: Text) -> Parsed:
    if not re.fullmatch(r"\s*\d+\s*", text.stdout):
        raise Unreadable("it is no count")
    return Parsed(((COUNT, [{"entries": text.stdout.strip()}]),))


def _change(arguments: tuple[str, ...]) -> Change | None:
    commands = _commands(arguments)
    if "-z" in arguments or "--zero" in arguments:
        return Change("sets the counters of tracked connections to zero")
    if commands and commands <= _LOOKS:
        return None
    if not commands:
        return None  # conntrack itself refuses to do nothing
    return Change("alters the table of tracked connections")


def _diagnose(stderr: str) -> PodtracerError | None:
    if "Operation not permitted" in stderr or "must be root" in stderr:
        return PrivilegeError("conntrack may not look: it needs CAP_NET_ADMIN in the target's network namespace")
    if "Operation failed" in stderr:
        return ToolFailed(stderr.strip().rpartition("Operation failed: ")[2])
    return None


TOOLS = (
    Tool(
        "conntrack",
        "conntrack",
        _prepare,
        purpose="tracked connections, NAT",
        variants=(
            Variant("-L", (FLOWS,)),
            Variant("-E", (EVENTS,)),
            Variant("-S", (CPUS,)),
            Variant("-C", (COUNT,)),
            Variant("-L expect", (EXPECTATIONS,)),
        ),
        change=_change,
        needs=("CAP_NET_ADMIN",),
        version=("-V",),
        diagnose=_diagnose,
    ),
)
