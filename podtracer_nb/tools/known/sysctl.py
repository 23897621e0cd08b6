"""sysctl(8) of procps and busybox: the kernel's parameters; `NAME=VALUE` and files of them are changes.

Its lines are `name = value`; jc's parser (1.26) makes a number of what only looks like one (010 becomes 10), so they
are read here. Those of net.* are the network namespace's own, all others the whole node's. Source: sysctl(8) of procps
4.0.
"""

from __future__ import annotations

import re

from podtracer_nb.tools.net_tools import letters
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

PARAMETERS = Table(
    "parameters",
    (
        Column("name", "str", "", "net.ipv4.ip_forward, …"),
        Column("value", "str", "", "as the kernel writes it; several numbers have tabs between them"),
        Column("number", "Int64", "", "the value where it is one whole number"),
    ),
    key=("name",),
)

_LONG = {
    "all": "a", "binary": "b", "ignore": "e", "names": "N", "values": "n", "load": "p", "quiet": "q", "write": "w",
    "pattern": "r", "system": "--system", "version": "V", "help": "h", "deprecated": "--deprecated",
    "dry-run": "--dry-run",
}  # fmt: skip
_LINE = re.compile(r"([\w][\w./:@*-]*) = (.*)")
_LARGEST = 1 << 63


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("sysctl", options)
    # -n gives values without names, -N names without values, -b not even lines.
    if letters(arguments, "r", _LONG).keys() & {"n", "N", "b", "V", "h", "d", "q"}:
        return Command(("sysctl", *arguments))
    return Command(("sysctl", *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    return Parsed(((PARAMETERS, _rows(text.stdout)),))


def _rows(text: str) -> list[Row]:
    rows: list[Row] = []
    for line in text.splitlines():
        # The kernel's names have a dot; `name =` stands before each line of a value that has several.
        found = _LINE.fullmatch(line) or _LINE.fullmatch(f"{line} ")
        if found is None or "." not in found[1].replace("/", "."):
            if line.startswith("* Applying ") and line.endswith("..."):
                continue
            raise Unreadable(f"{line[:60]!r} is no name with a value")
        name, value = found[1], found[2].rstrip(" ")
        if rows and rows[-1]["name"] == name:
            rows[-1] = {"name": name, "value": f"{rows[-1]['value']}\n{value}", "number": None}
            continue
        whole = re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", value)
        number = int(value) if whole and -_LARGEST <= int(value) < _LARGEST else None
        rows.append({"name": name, "value": value, "number": number})
    return rows


def _change(arguments: tuple[str, ...]) -> Change | None:
    given = letters(arguments, "r", _LONG)
    if given.keys() & {"--dry-run"}:
        return None
    if given.keys() & {"p", "f", "--system"}:
        return Change("sets the parameters of a file, those of the whole node among them")
    names = [word.partition("=")[0].strip() for word in arguments if "=" in word and not word.startswith("-")]
    if not names:
        return None
    what = f"sets {', '.join(names)}"
    if not all(re.match(r"net[./]", name) for name in names):
        what += " of the whole node"
    return Change(what, before=("sysctl", *names), undo_from=_as_before)


def _as_before(text: str) -> tuple[str, ...] | None:
    """Return the argv that sets the values which were there."""
    rows = _rows(text)
    return ("sysctl", "-w", *(f"{row['name']}={row['value']}" for row in rows)) if rows else None


TOOLS = (
    Tool(
        "sysctl",
        "procps",
        _prepare,
        purpose="the kernel's parameters, those of the network",
        variants=(Variant("", (PARAMETERS,)),),
        change=_change,
    ),
)
