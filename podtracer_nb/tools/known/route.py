"""route(8) of net-tools and busybox: the kernel's routes; `add` and `del` are changes.

It has no JSON. jc's parser (1.26) keeps an interface that `-ee` cut to six letters, and "-" where there is none, so the
table is read here; it is that of `netstat -r`. We add `-n`. Source: route.c, lib/inet_gr.c, lib/inet6_gr.c of net-tools
2.10, networking/route.c of busybox 1.35.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from podtracer_nb.tools import net_tools
from podtracer_nb.tools.net_tools import ROUTES, letters
from podtracer_nb.tools.table import Parsed, Text
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

_LONG = {"numeric": "n", "extend": "e", "verbose": "v", "version": "V", "help": "h", "inet6": "6", "inet": "4"}
_VERBS = ("add", "del", "delete", "flush")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("route", options)
    given = letters(arguments, "A", _LONG)
    if _verb(arguments) is not None or given.keys() & {"V", "h"}:
        return Command(("route", *arguments))
    numeric = () if "n" in given else ("-n",)
    return Command(("route", *numeric, *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    return Parsed(((ROUTES, net_tools.routes(text.stdout)),))


def _verb(arguments: Sequence[str]) -> int | None:
    """Return where the word is that says what to do to a route."""
    return next((at for at, word in enumerate(arguments) if word in _VERBS), None)


def _change(arguments: tuple[str, ...]) -> Change | None:
    at = _verb(arguments)
    if at is None:
        return None
    before, verb, after = arguments[:at], arguments[at], arguments[at + 1 :]
    six = bool(letters(before, "A", _LONG).keys() & {"6"}) or "inet6" in before
    if verb == "flush":
        return Change("flushes the routes")
    if verb == "add":
        return Change("adds a route", ("route", *before, "del", *after))
    if six:
        return Change("deletes a route", ("route", *before, "add", *after) if "dev" in after else None)
    return Change("deletes a route", before=("route", "-n"), undo_from=functools.partial(_added_again, after))


def _added_again(words: Sequence[str], text: str) -> tuple[str, ...] | None:
    """Return the argv that adds the one route which those words name, as it was; None: none, or one of several."""
    rest = [each for each in words if each not in ("-net", "-host")]
    if not rest:
        return None
    target, options = rest[0], dict(zip(rest[1::2], rest[2::2], strict=False))
    address, _, prefix = target.partition("/")
    asked = {
        "destination": "0.0.0.0" if target == "default" else address,  # noqa: S104
        "genmask": options.get("netmask"),
        "gateway": options.get("gw"),
        "interface": options.get("dev"),
        "metric": options.get("metric"),
        "prefix": int(prefix) if prefix.isdecimal() else None,
    }
    found = [
        row
        for row in net_tools.routes(text)
        if all(value is None or row.get(name) == value for name, value in asked.items())
    ]
    if len(found) != 1:
        return None
    row = found[0]
    host = "H" in row["flags"]
    return (
        "route", "add", "-host" if host else "-net", row["destination"],
        *(() if host else ("netmask", row["genmask"])),
        *(("gw", row["gateway"]) if row["gateway"] else ()),
        *(("metric", row["metric"]) if row.get("metric") else ()),
        *(("reject",) if "!" in row["flags"] else ()),
        *(("dev", row["interface"]) if row["interface"] else ()),
    )  # fmt: skip


TOOLS = (
    Tool(
        "route",
        "net-tools",
        _prepare,
        purpose="routes",
        variants=(Variant("", (ROUTES,)),),
        change=_change,
        version=("-V",),
    ),
)
