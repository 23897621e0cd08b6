"""tc(8) of iproute2: queueing disciplines, classes and filters with their counters.

From its own JSON (`-j -s`); of classes 6.1 has none (later versions have), and an own parser reads their lines (jc has
no parser of tc). What each kind adds are columns of its own name. `-s` is added, since a queue without its counters
says little. Source: tc(8), tc/tc_qdisc.c, tc_class.c, tc_filter.c, tc_util.c of iproute2 6.1.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, ToolFailed
from podtracer_nb.tools import iproute2
from podtracer_nb.tools.parsing import flat, known_form
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

_COUNTERS = (
    Column("bytes", "UInt64", "bytes", "sent", counter=True, optional=True),
    Column("packets", "UInt64", "packets", "sent", counter=True, optional=True),
    Column("drops", "UInt64", "packets", "dropped", counter=True, optional=True),
    Column("overlimits", "UInt64", "times", "that it had to wait", counter=True, optional=True),
    Column("requeues", "UInt64", "packets", "put back", counter=True, optional=True),
    Column("backlog", "UInt64", "bytes", "waiting now", optional=True),
    Column("qlen", "UInt64", "packets", "waiting now", optional=True),
)
_RATES = (
    Column("rate", "Float64", "bit/s", "what it is let through with", optional=True),
    Column("ceil", "Float64", "bit/s", "what it may borrow up to", optional=True),
)
QDISCS = Table(
    "qdiscs",
    (
        Column("interface", "str", "", "the interface whose queue it is"),
        Column("kind", "category", "", "pfifo, tbf, htb, fq_codel, netem, …"),
        Column("handle", "str", "", "its own: 1:"),
        Column("parent", "str", "", "the class that it is in, or root"),
        *_COUNTERS,
        _RATES[0],
        Column("limit", "UInt64", "", "how much may wait: packets, or bytes for bfifo", optional=True),
    ),
    key=("interface", "handle", "parent"),
)
CLASSES = Table(
    "classes",
    (
        Column("interface", "str", "", "the interface whose queue it is in; NA where one was asked for by name"),
        Column("kind", "category", "", "htb, hfsc, …"),
        Column("handle", "str", "", "its own: 1:20"),
        Column("parent", "str", "", "the class that it is in, or root"),
        Column("leaf", "str", "", "the qdisc in it", optional=True),
        *_COUNTERS,
        *_RATES,
        Column("lended", "UInt64", "packets", "sent within its own rate", counter=True, optional=True),
        Column("borrowed", "UInt64", "packets", "sent with what others left", counter=True, optional=True),
        Column("giants", "UInt64", "packets", "longer than its MTU", counter=True, optional=True),
    ),
    key=("interface", "handle"),
)
FILTERS = Table(
    "filters",
    (
        Column("interface", "str", "", "NA where one was asked for by name", optional=True),
        Column("parent", "str", "", "the qdisc or class whose packets it sorts"),
        Column("protocol", "category", "", "which packets it looks at"),
        Column("pref", "Int64", "", "the smaller is asked first"),
        Column("kind", "category", "", "u32, flower, matchall, bpf, …"),
        Column("chain", "Int64", "", "the chain that it is in", optional=True),
        Column("flowid", "str", "", "the class that it sorts into", optional=True),
        Column("packets", "UInt64", "packets", "that its actions saw", counter=True, optional=True),
        Column("bytes", "UInt64", "bytes", "that its actions saw", counter=True, optional=True),
        Column("drops", "UInt64", "packets", "that its actions dropped", counter=True, optional=True),
        Column("handle", "str", "", "the filter's own number, where its kind has one", optional=True),
    ),
    key=("interface", "parent", "pref", "protocol", "handle"),
)

_SHOW = ("show", "lst", "list")
_VERBS = ("add", "change", "replace", "link", "delete", *_SHOW, "get", "flush", "help")
# In the order of tc/tc.c; `tc qdisc add` takes any beginning of both words.
_OBJECTS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("qdisc", "class", "filter", "chain", "actions", "monitor", "exec", "help"), _VERBS
)
_RATED = ("rate", "ceil", "peakrate", "maxrate", "rate_rate")
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("tc", options)
    given, words = iproute2.split(arguments)
    kind, verb, rest = iproute2.written_out(words, _OBJECTS)
    plain = ("tc", *arguments)
    told = _told_of(kind, rest)
    if kind == "monitor":
        stamp = () if any(each.startswith("-t") for each in given) else ("-ts",)
        argv = ("tc", *stamp, *arguments)
        return Command(argv, output="table", parse=iproute2.events, launcher=iproute2.UTC, endless="help" not in words)
    graph = any(each.startswith("-g") for each in given)
    looks = verb in (*_SHOW, "get") and kind in ("qdisc", "class", "filter", "chain", "actions")
    if not looks or graph or any(each.startswith("-V") for each in given):
        return Command(plain, diagnose=told)
    counted = any("-statistics".startswith(each) and len(each) > 1 for each in given)
    counts: tuple[str, ...] = () if counted else ("-s",)
    interface = _after(rest, "dev") or None

    def parse(text: Text) -> Parsed:
        if text.stdout.strip() and not iproute2.document(text.stdout):
            table, rows = _lines(kind, text.stdout)
        else:
            with known_form():
                table, rows = _objects(kind, iproute2.objects(text.stdout))
        return Parsed(((table, [{**row, "interface": row.get("interface") or interface} for row in rows]),))

    return Command(
        ("tc", "-j", *counts, *arguments),
        output="table",
        parse=parse,
        suffix=".json",
        probe=("tc", "-j", "-V"),
        otherwise=("tc", *counts, *arguments),
        diagnose=told,
    )


def _after(words: Sequence[str], *names: str) -> str:
    return next((value for name, value in itertools.pairwise(words) if name in names), "")


def _objects(kind: str, found: list[dict[str, Any]]) -> tuple[Table, list[Row]]:
    if kind == "filter":
        return FILTERS, [_filter(each) for each in found]
    rows: list[Row] = []
    for each in found:
        row = flat({name: value for name, value in each.items() if name not in ("options", "stats", "root")})
        options = flat(each.get("options") or {})
        row.update({name if name not in row else f"option_{name}": value for name, value in options.items()})
        row.update(flat(each.get("stats") or {}))
        # Its JSON has them in bytes a second, its words in bits (tc_util.c, tc_print_rate).
        row.update({name: row[name] * 8 for name in _RATED if isinstance(row.get(name), int)})
        row["interface"] = row.pop("dev", None)
        # 6.1 says `dev`, `handle`, `kind` of a qdisc; later ones `class` and `handle` of a class.
        row["kind"] = row.pop("class", row.get("kind"))
        row["parent"] = "root" if each.get("root") else row.get("parent")
        if str(row.get("leaf", "")).startswith("0x"):
            row["leaf"] = f"{row['leaf'][2:]}:"  # a handle everywhere else
        rows.append({name: iproute2.scalar(value) for name, value in row.items()})
    return {"qdisc": QDISCS, "class": CLASSES}.get(kind, Table(f"{kind.removesuffix('s')}s")), rows


def _filter(each: Mapping[str, Any]) -> Row:
    """Return a filter's row; the counters are those of the first of its actions that has some."""
    options = dict(each.get("options") or {})
    actions = options.pop("actions", None)
    row = flat({name: value for name, value in each.items() if name not in ("options", "root")})
    row.update({name if name not in row else f"option_{name}": value for name, value in flat(options).items()})
    row["interface"] = row.pop("dev", None)
    if "parent" not in row:
        row["parent"] = "root" if each.get("root") else None
    if "fh" in row:
        row["handle"] = row.pop("fh")
    if isinstance(actions, list):
        counts: Mapping[str, Any] = next((one["stats"] for one in actions if "stats" in one), {})
        row.update({name: counts[name] for name in ("packets", "bytes", "drops") if name in counts})
        row["actions"] = json.dumps(actions)
    return {name: iproute2.scalar(value) for name, value in row.items()}


_HEAD = re.compile(r"(qdisc|class) (\S+) (\S+)(.*)")
_SENT = re.compile(
    r"\s*Sent (\d+) bytes (\d+) pkts? \(dropped (\d+), overlimits (\d+)(?:,)? requeues (\d+)\)\s*"
)  # fmt: skip
_BACKLOG = re.compile(r"\s*(?:rate \S+ \S+ )?backlog (\S+)b (\d+)p(?: requeues (\d+))?\s*")


def _lines(kind: str, text: str) -> tuple[Table, list[Row]]:
    """Read what tc prints for people: of classes, and of all where it has no JSON."""
    if kind not in ("qdisc", "class"):
        raise Unreadable(f"this tc has no JSON for {kind}")
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        head, sent, backlog = _HEAD.fullmatch(line), _SENT.fullmatch(line), _BACKLOG.fullmatch(line)
        if head and head[1] == kind:
            rows.append({"kind": head[2], "handle": head[3], **_options(head[4].split())})
        elif sent and rows:
            names = ("bytes", "packets", "drops", "overlimits", "requeues")
            rows[-1].update(zip(names, map(int, sent.groups()), strict=True))
        elif backlog and rows:
            rows[-1].update(backlog=int(_number(backlog[1])), qlen=int(backlog[2]))
        elif line.strip() and rows and line[0].isspace():
            rows[-1].update(_more(line))
        elif line.strip():
            raise Unreadable(f"{line[:60]!r} is no line of tc that we know")
    return (QDISCS if kind == "qdisc" else CLASSES), list(rows)


def _options(words: list[str]) -> dict[str, Any]:
    """Read the rest of a first line: names with values, and words by themselves where no value can follow."""
    row: dict[str, Any] = {}
    rest = iter([*words])
    for word in rest:
        if word in ("root", "ingress") and "parent" not in row:
            row["parent"] = word
            continue
        if re.fullmatch(r"-+", word):
            continue  # what ingress and clsact print in place of options
        value = next(rest, None)
        name = {"dev": "interface"}.get(word, re.sub(r"\W+", "_", word))
        row[name] = True if value is None else _value(name, value)
    return row


def _value(name: str, value: str) -> Any:
    if name in _RATED:
        found = re.fullmatch(r"([\d.]+)([KMGTkmgt]?i?)([Bb]it|[Bb]ps|bit)", value)
        if found is None:
            return None if value == "unlimited" else _refuse(name, value)
        return float(found[1]) * _UNITS[found[2].lower()] * (1 if found[3].lower() == "bit" else 8)
    if name == "limit":
        found = re.fullmatch(r"(\d+)[pb]?", value)
        return int(found[1]) if found else value
    return value


def _refuse(name: str, value: str) -> Any:
    raise Unreadable(f"{name} {value!r} is no rate that we know")


def _number(value: str) -> float:
    """Return a size in bytes; tc counts its K in 1024 (tc_util.c, print_size)."""
    found = re.fullmatch(r"([\d.]+)([KMG]?)", value)
    if found is None:
        raise Unreadable(f"{value!r} is no size that we know")
    return float(found[1]) * {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}[found[2]]


def _more(line: str) -> dict[str, Any]:
    """Read a further line of counters: `lended: 8 borrowed: 0`; of another form it is kept as text."""
    pairs = re.findall(r"(\w+): (-?\d+)(?=\s|$)", line)
    rest = re.sub(r"\w+: -?\d+(?=\s|$)", "", line).strip()
    return {**{name: int(value) for name, value in pairs}, **({"more": rest} if rest else {})}


def _change(arguments: tuple[str, ...]) -> Change | None:
    given, words = iproute2.split(arguments)
    kind, verb, rest = iproute2.written_out(words, _OBJECTS)
    if not words or kind in ("monitor", "help") or verb in (*_SHOW, "get", "help"):
        return None
    if kind == "exec":
        raise InputError("tc exec runs another program: run that by its own name")
    what = Change(f"alters the {kind.removesuffix('s')}{'es' if kind == 'class' else 's'}")
    if given:
        return what
    if kind == "qdisc" and verb in ("add", "replace"):
        return _queue_added(what.what, verb, rest)
    if kind == "class" and verb == "add" and _after(rest, "classid"):
        return Change(what.what, ("tc", "class", "del", "dev", _after(rest, "dev"), "classid", _after(rest, "classid")))
    if kind == "filter" and verb == "add":
        return _filter_added(what.what, rest)
    return what


def _place(rest: Sequence[str]) -> tuple[str, ...]:
    """Return the words that say which queue is meant: root, ingress, clsact, or a parent."""
    found = next((each for each in rest if each in ("root", "ingress", "clsact", "egress")), "")
    parent = _after(rest, "parent")
    return (found,) if found else ("parent", parent) if parent else ()


def _queue_added(what: str, verb: str, rest: Sequence[str]) -> Change:
    device, place = _after(rest, "dev"), _place(rest)
    undo = ("tc", "qdisc", "del", "dev", device, *place)
    if not device or not place:
        return Change(what)
    if verb == "add":
        return Change(what, undo)  # where a qdisc was set, an add is refused

    def undo_from(before: str) -> tuple[str, ...] | None:
        # The kernel's own, with handle 0:, comes back by itself.
        there = [each for each in iproute2.listed(before) if each.get("handle") != "0:"]
        taken = [each for each in there if place[-1] == ("root" if each.get("root") else each.get("parent"))]
        ingress = [each for each in there if each.get("kind") == place[-1]]
        return None if taken or ingress else undo

    return Change(what, None, ("tc", "-j", "qdisc", "show", "dev", device), undo_from)


def _filter_added(what: str, rest: Sequence[str]) -> Change:
    device, place = _after(rest, "dev"), _place(rest)
    pref = _after(rest, "pref", "prio", "preference", "priority")
    if not device:
        return Change(what)

    def undo_from(before: str) -> tuple[str, ...] | None:
        there = {str(each.get("pref")) for each in iproute2.listed(before)}
        if (pref and pref in there) or (not pref and there):
            return None
        return ("tc", "filter", "del", "dev", device, *place, *(("pref", pref) if pref else ()))

    return Change(what, None, ("tc", "-j", "filter", "show", "dev", device, *place), undo_from)


def _told_of(kind: str, rest: Sequence[str]) -> Callable[[str], PodtracerError | None]:
    """Return what reads tc's standard error, knowing which kind of queue or filter was asked for."""
    named = iter(rest)
    wanted = ""
    for word in named:
        if word in _VALUED:
            next(named, None)
        elif word not in ("root", "egress"):
            wanted = word
            break

    def diagnose(stderr: str) -> PodtracerError | None:
        module = f"{'cls' if kind == 'filter' else 'sch'}_{wanted}"
        # sch_api.c and cls_api.c of the kernel, and what tc says where the kernel gives only an error's number.
        unknown = "kind is unknown" in stderr or "TC classifier not found" in stderr
        if wanted and (unknown or ("No such file or directory" in stderr and "Cannot find" not in stderr)):
            return ToolFailed(f"this node's kernel lacks {wanted} (module {module}): modprobe {module} on the node")
        return None

    return diagnose


_VALUED = (
    "dev", "handle", "parent", "pref", "prio", "preference", "priority", "protocol", "classid", "chain", "block",
    "estimator", "ingress_block", "egress_block",
)  # fmt: skip


TOOLS = (
    Tool(
        "tc",
        "iproute2",
        _prepare,
        purpose="queues and their drops; delay and loss",
        variants=(
            Variant("qdisc", (QDISCS,)),
            Variant("class", (CLASSES,)),
            Variant("filter", (FILTERS,)),
            Variant("monitor", (iproute2.EVENTS,)),
        ),
        change=_change,
        version=("-V",),
    ),
)
