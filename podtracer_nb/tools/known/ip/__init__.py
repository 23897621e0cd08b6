"""ip(8) of iproute2: addresses, links, routes, neighbours, rules and all else, from its own JSON (`-j`).

It has that since 4.14 (2017). busybox's ip knows no `-j`, nor `-s`, `-d` and `-br`: it is asked first whether it does,
and what it writes for people is read otherwise, as is `ip xfrm`, which has no JSON at all. Its monitor has none either:
its lines are told apart by `label` and timed by `-ts`. jc has a parser of the text of routes alone. Source: ip(8) and
ip/*.c of iproute2 6.1; read so far: 6.1 and busybox 1.35.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from podtracer_nb.errors import PodtracerError, ToolFailed
from podtracer_nb.tools import iproute2
from podtracer_nb.tools.known.ip import tables, text
from podtracer_nb.tools.known.ip.changes import CHANGES
from podtracer_nb.tools.parsing import known_form
from podtracer_nb.tools.table import Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["OBJECTS", "TOOLS"]

_SHOW = ("show", "lst", "list")

#: ip's objects and what can be done with each, both in the order in which ip compares them with a word's beginning.
OBJECTS: dict[str, tuple[str, ...]] = {
    "address": ("add", "change", "chg", "replace", "delete", *_SHOW, "flush", "save", "showdump", "restore", "help"),
    "addrlabel": ("list", "show", "add", "delete", "flush", "help"),
    "maddress": ("add", "delete", *_SHOW, "help"),
    "route": (
        "list",
        "show",
        "lst",
        "add",
        "change",
        "chg",
        "replace",
        "prepend",
        "append",
        "test",
        "delete",
        "get",
        "flush",
        "save",
        "restore",
        "showdump",
        "help",
    ),
    "rule": ("list", "lst", "show", "save", "restore", "add", "delete", "flush", "help"),
    "neighbor": ("add", "change", "chg", "replace", "delete", "get", *_SHOW, "flush", "help"),
    "neighbour": ("add", "change", "chg", "replace", "delete", "get", *_SHOW, "flush", "help"),
    "ntable": ("change", "chg", *_SHOW, "help"),
    "ntbl": ("change", "chg", *_SHOW, "help"),
    "link": ("add", "set", "change", "replace", "delete", *_SHOW, "xstats", "afstats", "property", "help"),
    "l2tp": ("add", "delete", *_SHOW, "help"),
    "fou": ("add", "delete", "show", "help"),
    "ila": ("add", "delete", "list", "help"),
    "macsec": ("show", "add", "set", "delete", "offload", "help"),
    "tunnel": ("add", "change", "delete", *_SHOW, "prl", "6rd", "help"),
    "tunl": ("add", "change", "delete", *_SHOW, "prl", "6rd", "help"),
    "tuntap": ("add", "delete", *_SHOW, "help"),
    "token": ("list", "lst", "show", "set", "delete", "get", "help"),
    "tcpmetrics": ("delete", "flush", "list", "show", "lst", "help"),
    "tcp_metrics": ("delete", "flush", "list", "show", "lst", "help"),
    "monitor": (),
    "xfrm": ("state", "policy", "monitor", "help"),
    "mroute": ("list", "lst", "show", "help"),
    "mrule": ("list", "lst", "show", "save", "restore", "add", "delete", "flush", "help"),
    "netns": ("list", "show", "lst", "list-id", "help", "add", "set", "delete", "identify", "pids", "exec", "monitor"),
    "netconf": (*_SHOW, "help"),
    "vrf": ("identify", "pids", "exec", "show", "lst", "list", "help"),
    "sr": ("hmac", "tunsrc", "help"),
    "nexthop": ("add", "replace", "delete", "list", "show", "lst", "get", "flush", "bucket", "help"),
    "mptcp": ("endpoint", "limits", "monitor", "help"),
    "ioam": ("namespace", "schema", "monitor", "help"),
    "help": (),
    "stats": ("help", "show", "set"),
}
_LOOKS = frozenset((*_SHOW, "get", "help", "test", "list-id", "identify", "pids", "xstats", "afstats", "count"))
# Objects of two words: what is done is the third.
_DEEPER = {
    "xfrm": ("add", "update", "allocspi", "delete", "deleteall", "delall", *_SHOW, "get", "flush", "count", "help"),
    "mptcp": ("add", "delete", *_SHOW, "flush", "change", "set", "help"),
    "sr": ("show", "set", "help"),
    "ioam": ("show", "add", "delete", "set", "help"),
}


Found = list[dict[str, Any]]
Made = tuple[tuple[Table, Sequence[Row]], ...]

_KINDS: dict[str, tuple[Table, Callable[[Found], list[Row]]]] = {
    "link": (tables.LINKS, tables.links),
    "neighbor": (tables.NEIGHBOURS, tables.neighbours),
    "nexthop": (tables.NEXTHOPS, tables.nexthops),
    "maddress": (tables.MULTICAST, tables.memberships),
    "netns": (tables.NETNS, tables.plain),
}


def _read(arguments: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the object, what is done with it, and the rest of the words."""
    _, words = iproute2.split(arguments)
    kind, verb, rest = iproute2.written_out(words, OBJECTS)
    if kind == "monitor" or verb == "monitor":
        return kind, "monitor", words[1:]
    if kind in _DEEPER and verb != "help" and len(words) > 1:
        second = {"sa": "state"}.get(words[1]) or iproute2.first(words[1], OBJECTS[kind]) or words[1]
        return f"{kind} {second}", _verb(rest, _DEEPER[kind]), rest[1:]
    if kind == "nexthop" and verb == "bucket":
        return "nexthop bucket", _verb(rest, ("list", "show", "lst", "get", "help")), rest[1:]
    return {"neighbour": "neighbor", "tunl": "tunnel", "ntbl": "ntable"}.get(kind, kind), verb, rest


def _verb(rest: Sequence[str], verbs: Sequence[str]) -> str:
    return iproute2.first(rest[0], verbs) or rest[0] if rest else "show"


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("ip", options)
    given, words = iproute2.split(arguments)
    kind, verb, rest = _read(arguments)
    if kind == "monitor":
        return _monitor(arguments, given, words)
    plain = Command(("ip", *arguments), endless=verb == "monitor")
    if verb not in (*_SHOW, "get") or any(each.startswith("-V") for each in given) or not words:
        return plain
    parse = _reader(kind, verb, rest, given)
    if kind.startswith("xfrm"):
        return Command(plain.argv, output="table", parse=parse)
    return Command(
        ("ip", "-j", *arguments),
        output="table",
        parse=parse,
        suffix=".json",
        probe=("ip", "-j", "-V"),
        otherwise=plain.argv,
    )


def _monitor(arguments: tuple[str, ...], given: Sequence[str], words: list[str]) -> Command:
    """Have it say of each line which object it is about, and when it was."""
    at = len(arguments) - len(words) + 1
    label = () if "label" in words[1:] or "help" in words[1:] or "file" in words[1:] else ("label",)
    stamp = () if any(each.startswith("-t") for each in given) else ("-ts",)
    argv = ("ip", *stamp, *arguments[:at], *label, *arguments[at:])
    return Command(argv, output="table", parse=iproute2.events, launcher=iproute2.UTC, endless="help" not in words)


def _reader(kind: str, verb: str, rest: Sequence[str], given: Sequence[str]) -> Callable[[Text], Parsed]:
    family = _family(given)

    def parse(written: Text) -> Parsed:
        if kind in ("xfrm state", "xfrm policy"):
            table = tables.STATES if kind == "xfrm state" else tables.POLICIES
            return Parsed(((table, text.xfrm(written.stdout)),))
        if not written.stdout.strip() or iproute2.document(written.stdout):
            found = iproute2.objects(written.stdout)
        elif kind in text.READERS:
            found = text.READERS[kind](written.stdout)
        else:
            raise Unreadable(f"this ip has no JSON for {kind}")
        with known_form():
            return Parsed(_tables(kind, found, _table_of(verb, rest), family))

    return parse


def _tables(kind: str, found: Found, table: str | None, family: str | None) -> Made:
    if kind == "address":
        return ((tables.ADDRESSES, tables.addresses(found)), (tables.LINKS, tables.links(found)))
    if kind == "route":
        return ((tables.ROUTES, tables.routes(found, table, family)),)
    if kind == "rule":
        return ((tables.RULES, tables.rules(found, family)),)
    known, rows = _KINDS.get(kind, (Table(kind.replace(" ", "_")), tables.plain))
    return ((known, rows(found)),)


def _family(given: Sequence[str]) -> str | None:
    return "inet6" if "-6" in given else "inet" if "-4" in given else None


def _table_of(verb: str, rest: Sequence[str]) -> str | None:
    """Return the routing table that was asked for: ip leaves out of each route what all have in common."""
    if verb == "get":
        return None
    for word, value in itertools.pairwise(rest):
        if word == "table" or (len(word) > 1 and "table".startswith(word)):
            return value
    return "main"


def _change(arguments: tuple[str, ...]) -> Change | None:
    given, words = iproute2.split(arguments)
    kind, verb, rest = _read(arguments)
    if not words or kind == "help" or verb == "monitor" or verb in _LOOKS:
        return None
    if verb in ("save", "showdump"):
        return None
    if verb == "exec":
        return Change("runs another program in another namespace")
    # Of its own options an undo needs the family only; -n would name another namespace.
    own = tuple(each for each in given if each in ("-4", "-6"))
    make = CHANGES.get((kind, verb)) if all(each in ("-4", "-6") for each in given) else None
    change = make(own, rest) if make else None
    return change or Change(f"alters the {kind}")


def _diagnose(stderr: str) -> PodtracerError | None:
    if "BusyBox" in stderr:
        return ToolFailed("this ip is busybox's, which does not know all of these words: apt-get install iproute2")
    return None


TOOLS = (
    Tool(
        "ip",
        "iproute2",
        _prepare,
        purpose="addresses, links, routes, neighbours, rules",
        variants=(
            Variant("addr", (tables.ADDRESSES, tables.LINKS)),
            Variant("link", (tables.LINKS,)),
            Variant("route", (tables.ROUTES,)),
            Variant("neigh", (tables.NEIGHBOURS,)),
            Variant("rule", (tables.RULES,)),
            Variant("nexthop", (tables.NEXTHOPS,)),
            Variant("maddress", (tables.MULTICAST,)),
            Variant("netns", (tables.NETNS,)),
            Variant("xfrm state", (tables.STATES,)),
            Variant("xfrm policy", (tables.POLICIES,)),
            Variant("monitor", (iproute2.EVENTS,)),
        ),
        change=_change,
        version=("-V",),
        diagnose=_diagnose,
    ),
)
