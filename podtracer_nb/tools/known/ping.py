"""ping(8): a row a reply, an error or an answer that did not come; loss and round-trip times as facts.

Own parser: ping has no machine-readable form, and jc's parser of it leaves out ICMP errors of routers and reads no
IPv6 scope. iputils (20180629 to 20250605), busybox and GNU inetutils print the same words in slightly different
order. To iputils' we add `-D`, the time of each line, and `-O`, a line for an answer that has not come when the next
request leaves; the others know neither, and a line's time is then when it arrived here.
Source: ping.c and ping_common.c of iputils, networking/ping.c of busybox 1.35.
"""

from __future__ import annotations

import re
from typing import Any

from podtracer_nb.tools.arguments import is_busybox, options_of
from podtracer_nb.tools.table import Column, Parsed, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS", "nanoseconds"]

REPLIES = Table(
    "replies",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it came, or was found missing"),
        Column("seq", "Int64", "", "number of the request; iputils counts from 1, busybox from 0"),
        Column("rtt", "Float64", "ms", "round-trip time; NA where no answer came"),
        Column("ttl", "Int64", "hops", "time to live, or hop limit, that the answer arrived with"),
        Column("bytes", "Int64", "bytes", "length of the ICMP message that came"),
        Column("address", "str", "", "who sent it, with its scope: fe80::1%eth0"),
        Column("host", "str", "", "the name of that address, where ping looked it up", optional=True),
        Column("duplicate", "boolean", "", "whether this request was answered before"),
        Column("error", "str", "", "what came in place of an answer, or is wrong with it"),
    ),
    key=("seq",),
)

_SHORT = "h?4bRT:6F:N:3aABc:CdDe:fHi:I:l:Lm:M:nOp:qQ:rs:S:t:UvVw:W:"
# Where -D and -O are no help: nothing is printed a reply, or another thing than replies.
_SILENT = {"-q", "-f", "-V", "-h", "-?"}

_TIME = r"(?:\[(?P<time>\d+\.\d+)\] )?"
_WHO = r"(?:(?P<host>[^\s()]+) \((?P<named>[^\s()]+)\)|(?P<address>[^\s()]+?))"
_REPLY = re.compile(
    rf"{_TIME}(?P<bytes>\d+) bytes from {_WHO}: (?:icmp_)?seq=(?P<seq>\d+)(?: ttl=(?P<ttl>\d+))?"
    r"(?: time[=<](?P<rtt>[\d.]+) ms)?(?P<rest>.*)"
)
_ERROR = re.compile(rf"{_TIME}From {_WHO}:? icmp_seq=(?P<seq>\d+) (?P<error>\S.*)")
_SILENCE = re.compile(rf"{_TIME}no answer yet for icmp_seq=(?P<seq>\d+)")
_HEADER = re.compile(r"PING (?P<host>[^\s(]*) ?\((?:[^\s()]+ \()?(?P<address>[^\s()]+)\)")
_COUNTS = re.compile(r"(?P<transmitted>\d+) packets transmitted, (?P<received>\d+)(?: packets)? received(?P<rest>.*)")
_TIMES = re.compile(
    r"(?:rtt|round-trip) min/avg/max(?:/(?:mdev|stddev))? = ([\d.]+)/([\d.]+)/([\d.]+)(?:/([\d.]+))? ms"
)
_NO_ANSWER = "no answer"


def _prepare(name: str) -> Any:
    def prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
        refuse_capture_options(name, options)
        given, _words = options_of(arguments, _SHORT)
        plain = options.foreign or is_busybox(name) or _SILENT & set(given)
        ours = () if plain else tuple(word for word in ("-D", "-O") if word not in given)
        if set(given) & {"-V", "-h", "-?"}:
            return Command((name, *arguments))
        endless = not set(given) & {"-c", "-w"}
        return Command((name, *ours, *arguments), output="table", parse=_parse, endless=endless)

    return prepare


def nanoseconds(seconds: str) -> int:
    """Return seconds as ping and tshark print them in nanoseconds, without a float between.

    Examples
    --------
    >>> nanoseconds("1795612026.563229")
    1795612026563229000
    """
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def _parse(text: Text) -> Parsed:
    arrived = {line: time for time, stream, line in reversed(_timed(text)) if stream == "stdout"}
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    silent: dict[int, dict[str, Any]] = {}
    read = False
    for line in text.stdout.splitlines():
        row = _row(line)
        if row is None:
            if re.search(r"seq=\d", line):
                raise Unreadable(f"{line[:80]!r} is no line of a ping that we know")
            read = _said(line, facts) or read
            continue
        if row["time"] is None:
            row["time"] = arrived.get(line)
        if row["error"] == _NO_ANSWER:
            silent[row["seq"]] = row
        elif row["seq"] in silent and row["address"] is not None:
            rows.remove(silent.pop(row["seq"]))  # it came late
        rows.append(row)
    if text.stdout.strip() and not rows and not read:
        raise Unreadable("no line of it is a ping's")
    return Parsed(((REPLIES, rows),), facts)


def _timed(text: Text) -> list[tuple[int, str, str]]:
    return list(text.lines())


def _row(line: str) -> dict[str, Any] | None:
    found = _REPLY.fullmatch(line) or _ERROR.fullmatch(line) or _SILENCE.fullmatch(line)
    if found is None:
        return None
    said = found.groupdict()
    rest = said.get("rest", "") or ""
    wrong = re.sub(r"[()!]", "", rest.replace("(DUP!)", "")).strip().lower()
    row: dict[str, Any] = {
        "time": nanoseconds(said["time"]) if said["time"] else None,
        "seq": int(said["seq"]),
        "rtt": said.get("rtt"),
        "ttl": said.get("ttl"),
        "bytes": said.get("bytes"),
        "address": said.get("named") or said.get("address"),
        "duplicate": "(DUP!)" in rest,
        "error": said.get("error", (wrong or None) if "rest" in said else _NO_ANSWER),
    }
    return {**row, "host": said["host"]} if said.get("host") else row


def _said(line: str, facts: dict[str, Any]) -> bool:
    """Take what a line says of the whole run, and tell whether it says anything that we know."""
    if found := _HEADER.match(line):
        # Debian's prints no name in it for some of those that the resolver completed.
        facts.update({"host": found["host"]} if found["host"] else {}, address=found["address"])
    elif found := _COUNTS.match(line):
        facts.update(transmitted=int(found["transmitted"]), received=int(found["received"]))
        for name, form in (("duplicates", r"\+(\d+) duplicates"), ("errors", r"\+(\d+) errors"),
                           ("loss_percent", r"([\d.]+)% packet loss"), ("time_ms", r"time (\d+)ms")):  # fmt: skip
            if part := re.search(form, found["rest"]):
                facts[name] = float(part[1]) if name == "loss_percent" else int(part[1])
    elif found := _TIMES.match(line):
        names = ("rtt_min_ms", "rtt_avg_ms", "rtt_max_ms", "rtt_mdev_ms")
        facts.update({name: float(value) for name, value in zip(names, found.groups(), strict=True) if value})
    else:
        return False
    return True


def _tool(name: str) -> Tool:
    return Tool(
        name,
        "iputils-ping",
        _prepare(name),
        purpose="whether an address answers, and how fast",
        variants=(Variant("", (REPLIES,)),),
        version=("-V",),
        resolves=True,
    )


TOOLS = (_tool("ping"), _tool("ping6"))
