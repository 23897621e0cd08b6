"""mtr(8): the way to an address with each hop's loss and times, from its own JSON (`--json`, since 0.87).

Until 0.93 its numbers are text in JSON; they are read as numbers. Source: ui/report.c of mtr 0.87 to 0.95.
"""

from __future__ import annotations

import json
from typing import Any

from podtracer_nb.tools.arguments import options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

# mtr's own names of its fields (-o), and ours: (letter's heading, name, dtype, unit, meaning).
_FIELDS = (
    ("Loss%", "loss", "Float64", "%", "how many probes had no answer"),
    ("Snt", "sent", "Int64", "probes", "how many were sent"),
    ("Rcv", "received", "Int64", "probes", "how many were answered"),
    ("Drop", "dropped", "Int64", "probes", "how many were not"),
    ("Last", "last", "Float64", "ms", "the last round-trip time"),
    ("Avg", "avg", "Float64", "ms", "their mean"),
    ("Best", "best", "Float64", "ms", "the shortest"),
    ("Wrst", "worst", "Float64", "ms", "the longest"),
    ("StDev", "stdev", "Float64", "ms", "their standard deviation"),
    ("Gmean", "geometric_mean", "Float64", "ms", "their geometric mean"),
    ("Jttr", "jitter", "Float64", "ms", "the last difference of two"),
    ("Javg", "jitter_avg", "Float64", "ms", "the mean difference"),
    ("Jmax", "jitter_worst", "Float64", "ms", "the largest difference"),
    ("Jint", "jitter_interarrival", "Float64", "ms", "interarrival jitter: RFC 1889"),
)
HOPS = Table(
    "hops",
    (
        Column("destination", "str", "", "the way to which of several", optional=True),
        Column("hop", "Int64", "hops", "how many hops away"),
        Column("host", "str", "", "who answered, by name where it has one; NA where nobody did"),
        Column("address", "str", "", "its address, where both are known (-b)", optional=True),
        Column("ASN", "str", "", "its autonomous system (-z)", optional=True),
        *(Column(name, dtype, unit, meaning, optional=True) for _, name, dtype, unit, meaning in _FIELDS),
    ),
    key=("hop",),
)
_SHORT = "hv46F:rwxtglCjpnbo:y:zi:c:s:B:Q:eI:a:f:m:U:uTSP:L:Z:G:M:"
_LONG = ["help", "version", "report", "report-wide", "xml", "curses", "gtk", "raw", "csv", "json", "split", "no-dns",
         "show-ips", "filename=", "interface=", "address=", "first-ttl=", "max-ttl=", "max-unknown=", "udp", "sctp",
         "tcp", "port=", "localport=", "psize=", "bitpattern=", "interval=", "gracetime=", "tos=", "mpls", "timeout=",
         "mark=", "report-cycles=", "order=", "ipinfo=", "aslookup", "displaymode=", "inet", "inet6"]  # fmt: skip
# Other forms of output than ours, which the user asked for.
_FORMS = {"-x", "--xml", "-C", "--csv", "-l", "--raw", "-p", "--split", "-h", "--help", "-v", "--version"}


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("mtr", options)
    if _FORMS & set(options_of(arguments, _SHORT, _LONG)[0]):
        return Command(("mtr", *arguments))
    # The last form named is the one that counts: -r before it does no harm.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words = (*arguments[:end], "--json", *arguments[end:])
    return Command(("mtr", *words), output="table", parse=_parse, suffix=".json")


def _parse(text: Text) -> Parsed:
    if not text.stdout.strip():
        return Parsed(((HOPS, ()),))
    try:
        reports = _documents(text.stdout)
        several = len(reports) > 1
        rows = [
            {**({"destination": report["mtr"]["dst"]} if several else {}), **_row(hub)}
            for report in reports
            for hub in report["hubs"]
        ]
        facts = {"destinations": [each["mtr"]["dst"] for each in reports]} if several else dict(reports[0]["mtr"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"it is no report of mtr's ({type(error).__name__}: {error})") from error
    return Parsed(((HOPS, rows),), facts)


def _documents(text: str) -> list[dict[str, Any]]:
    """Return the reports: one document a destination, one after the other."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        found.append(value["report"])
    return found


def _row(hub: dict[str, Any]) -> Row:
    names = {theirs: ours for theirs, ours, *_rest in _FIELDS}
    row: dict[str, Any] = {"hop": hub["count"], "host": hub["host"] if hub["host"] != "???" else None}
    if row["host"] and row["host"].endswith(")") and " (" in row["host"]:
        row["host"], _blank, address = row["host"].removesuffix(")").partition(" (")
        row["address"] = address
    for name, value in hub.items():
        if name not in ("count", "host"):
            row[names.get(name, name)] = value
    return row


TOOLS = (
    Tool(
        "mtr",
        "mtr-tiny",
        _prepare,
        purpose="the way to an address, with each hop's loss and delay",
        variants=(Variant("", (HOPS,)),),
        needs=("CAP_NET_RAW",),
        resolves=True,
    ),
)
