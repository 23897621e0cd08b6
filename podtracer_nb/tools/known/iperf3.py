"""iperf3(1), client and server: throughput by interval and stream, from its own JSON (`-J`; also `--json-stream`).

A server's output is one document after the other, one a test; they are told apart by the column `test`. An error is
told in the document, and by 3.12 with exit status 0: it becomes a note. A field that a version lacks is NA, and one
that it has beyond those here is a column of its own.
Source: iperf_api.c and iperf_client_api.c of iperf 3.1 to 3.18.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from podtracer_nb.tools.arguments import options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS", "given"]

_TEST = Column("test", "Int64", "", "number of the test, from 1, where a server had several", optional=True)
_AMOUNT = (
    Column("sender", "boolean", "", "whether the side that tells this sent; NA: this version does not say"),
    Column("start", "Float64", "s", "beginning, counted from the test's"),
    Column("end", "Float64", "s", "end"),
    Column("seconds", "Float64", "s", "what lies between them"),
    Column("bytes", "Int64", "bytes", "payload that was carried"),
    Column("bits_per_second", "Float64", "bit/s", "its rate"),
)
_UDP = (
    Column("packets", "Int64", "packets", "UDP: datagrams", optional=True),
    Column("jitter_ms", "Float64", "ms", "UDP: interarrival jitter, RFC 1889", optional=True),
    Column("lost_packets", "Int64", "packets", "UDP: datagrams that did not come", optional=True),
    Column("lost_percent", "Float64", "%", "UDP: their share", optional=True),
    Column("out_of_order", "Int64", "packets", "UDP: datagrams that a later one overtook", optional=True),
)
INTERVALS = Table(
    "intervals",
    (
        _TEST,
        Column("time", "datetime64[ns, UTC]", "", "end of the interval"),
        Column("stream", "Int64", "", "the stream, by its socket's number"),
        *_AMOUNT,
        Column("retransmits", "Int64", "segments", "segments that were sent again", optional=True),
        Column("snd_cwnd", "Int64", "bytes", "the congestion window", optional=True),
        Column("snd_wnd", "Int64", "bytes", "the window that the other side offers", optional=True),
        Column("rtt", "Int64", "µs", "smoothed round-trip time", optional=True),
        Column("rttvar", "Int64", "µs", "its variation", optional=True),
        Column("pmtu", "Int64", "bytes", "the path MTU", optional=True),
        *_UDP,
        Column("omitted", "boolean", "", "whether it is not counted in the sums (-O)"),
    ),
    key=("test", "stream", "start"),
)
STREAMS = Table(
    "streams",
    (
        _TEST,
        Column("stream", "Int64", "", "the stream, by its socket's number"),
        Column("role", "category", "", "sender, receiver, or udp: whose count this is"),
        *_AMOUNT,
        Column("retransmits", "Int64", "segments", "segments that were sent again", optional=True),
        Column("max_snd_cwnd", "Int64", "bytes", "the largest congestion window", optional=True),
        Column("max_snd_wnd", "Int64", "bytes", "the largest window that was offered", optional=True),
        Column("max_rtt", "Int64", "µs", "the longest round-trip time", optional=True),
        Column("min_rtt", "Int64", "µs", "the shortest", optional=True),
        Column("mean_rtt", "Int64", "µs", "their mean", optional=True),
        *_UDP,
    ),
    key=("test", "stream", "role"),
)
SUMMARY = Table(
    "summary",
    (
        _TEST,
        Column("sum", "category", "", "sum_sent, sum_received, sum, …: all streams together, as iperf3 calls it"),
        *_AMOUNT,
        Column("retransmits", "Int64", "segments", "segments that were sent again", optional=True),
        *_UDP,
    ),
    key=("test", "sum"),
)

_SHORT = "p:f:i:DI:1B:VJvhsc:ub:t:n:k:l:P:Rw:C:M:N46S:L:ZO:T:A:F:X:d"
_LONG = ["json", "json-stream", "server", "version", "help", "one-off", "daemon", "client=", "port=", "time="]
_STOPPED = "interrupt - "  # what it writes in place of an error when it is asked to stop


def given(arguments: Sequence[str]) -> dict[str, str]:
    """Return iperf3's options with their values."""
    return options_of(arguments, _SHORT, _LONG)[0]


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("iperf3", options)
    names = set(given(arguments)) | set(arguments)
    if names & {"-v", "--version", "-h", "--help"}:
        return Command(("iperf3", *arguments))
    ours = () if names & {"-J", "--json", "--json-stream"} else ("-J",)
    endless = bool(names & {"-s", "--server"}) and not names & {"-1", "--one-off"}
    return Command(("iperf3", *ours, *arguments), output="table", parse=_parse, suffix=".json", endless=endless)


def _parse(text: Text) -> Parsed:
    try:
        documents = _documents(text.stdout)
        tests = [each for each in documents if each.get("intervals") or each.get("end")]
        several = len(tests) > 1
        intervals: list[Row] = []
        streams: list[Row] = []
        summary: list[Row] = []
        for number, each in enumerate(tests, 1):
            of = {"test": number} if several else {}
            began = each.get("start", {}).get("timestamp", {}).get("timesecs")
            intervals += [{**of, **_interval(stream, began)} for one in each["intervals"] for stream in one["streams"]]
            end = each.get("end", {})
            streams += [{**of, **_stream(part, role)} for one in end.get("streams", ()) for role, part in one.items()]
            summary += [{**of, "sum": name, **part} for name, part in end.items() if name.startswith("sum")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"it is no report of iperf3's ({type(error).__name__}: {error})") from error
    errors = [str(each["error"]) for each in documents if "error" in each]
    notes = tuple(f"iperf3: {each}" for each in errors if not each.startswith(_STOPPED))
    facts = _facts(tests[-1] if tests else documents[-1]) if documents else {}
    if several:
        facts["tests"] = len(tests)
    return Parsed(((INTERVALS, intervals), (STREAMS, streams), (SUMMARY, summary)), facts, notes)


def _documents(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    decoder, at = json.JSONDecoder(), 0
    while True:
        begins = text.find("{", at)
        if text[at : begins if begins >= 0 else len(text)].strip("- \n\t"):
            raise ValueError(f"{text[at:].strip()[:60]!r} stands beside the JSON")
        if begins < 0:
            return _joined(found)
        value, at = decoder.raw_decode(text, begins)
        found.append(value)


def _joined(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return whole documents; `--json-stream` gives their parts, each as an event (since 3.17)."""
    whole: list[dict[str, Any]] = []
    for each in found:
        if "event" not in each:
            whole.append(each)
            continue
        event, data = each["event"], each.get("data")
        if event == "start" or not whole:
            whole.append({"intervals": [], "end": {}})
        if event == "interval":
            whole[-1]["intervals"].append(data)
        else:
            whole[-1][event] = data
    return whole


def _interval(stream: Mapping[str, Any], began: int | None) -> Row:
    row = {"stream": stream["socket"], **stream}
    del row["socket"]
    if began is not None:
        row["time"] = began * 1_000_000_000 + round(float(stream["end"]) * 1e9)
    return row


def _stream(part: Mapping[str, Any], role: str) -> Row:
    row = {"stream": part["socket"], "role": role, **part}
    del row["socket"]
    return row


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    start, end = document.get("start", {}), document.get("end", {})
    test = start.get("test_start", {})
    facts: dict[str, Any] = {
        name: start[name] for name in ("version", "system_info", "tcp_mss_default") if name in start
    }
    facts.update({name: value for name, value in test.items() if isinstance(value, str | int | float)})
    for name in ("connecting_to", "accepted_connection"):
        if name in start:
            facts[name] = start[name]
    for name, value in end.items():
        if name == "cpu_utilization_percent":
            facts[name] = {which: round(part, 3) for which, part in value.items()}
        elif name.endswith("_tcp_congestion"):
            facts[name] = value
    if "error" in document:
        facts["error"] = document["error"]
    return facts


TOOLS = (
    Tool(
        "iperf3",
        "iperf3",
        _prepare,
        purpose="throughput between two places; --from POD --to POD starts both ends",
        variants=(Variant("", (INTERVALS, STREAMS, SUMMARY)),),
        resolves=True,
    ),
)
