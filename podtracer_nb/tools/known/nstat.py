"""nstat(8) of iproute2: the kernel's SNMP counters of a network namespace, from its own JSON (`-j`, since 3.18).

Left to itself nstat gives what came since it was run last, by anybody, and writes that down in a file of the user's;
we add `-a -s -z`: all counters, as they are, and nothing is left behind. `-r`, `-n` and `-d` are about that file.
Source: nstat(8) and misc/nstat.c of iproute2 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from podtracer_nb.errors import InputError
from podtracer_nb.tools.net_tools import letters
from podtracer_nb.tools.parsing import json_rows
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

COUNTERS = Table(
    "counters",
    (
        Column("name", "str", "", "IpInReceives, TcpRetransSegs, …: snmp_counter.rst of the kernel, RFC 4293, 4022"),
        Column(
            "value",
            "Int64",
            "",
            "since the namespace was made; gauges, as TcpCurrEstab, nstat leaves out",
            counter=True,
        ),
    ),
    key=("name",),
)

_LONG = {
    "ignore": "a", "scan": "d", "json": "j", "nooutput": "n", "pretty": "p", "reset": "r", "noupdate": "s",
    "interval": "t", "version": "V", "zeros": "z", "help": "h",
}  # fmt: skip


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("nstat", options)
    given = letters(arguments, "dt", _LONG)
    refused = [f"-{each}" for each in ("d", "n", "r") if each in given]
    if refused:
        raise InputError(
            f"nstat {refused[0]} is about a file of its history, or leaves a daemon behind: "
            "counters are given as they are, and the difference of two runs is what came between them"
        )
    if given.keys() & {"V", "h"}:
        return Command(("nstat", *arguments))
    ours = tuple(f"-{each}" for each in "jasz" if each not in given)
    return Command(("nstat", *ours, *arguments), output="table", parse=_parse, suffix=".json")


def _parse(text: Text) -> Parsed:
    rows: list[Row] = []
    for source in json_rows(text.stdout):
        for counters in source.values():
            if not isinstance(counters, Mapping):
                raise Unreadable("its JSON is no object of counters")
            rows += [{"name": name, "value": value} for name, value in counters.items()]
    return Parsed(((COUNTERS, rows),))


TOOLS = (
    Tool(
        "nstat",
        "iproute2",
        _prepare,
        purpose="the kernel's counters: IP, ICMP, TCP, UDP",
        variants=(Variant("", (COUNTERS,)),),
        version=("-V",),
    ),
)
