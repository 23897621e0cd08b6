"""tshark(1): packets as any of its fields, typed; whole packets as it has them in JSON; the bytes of a stream.

`-T fields` is tshark's own machine-readable form, and the fastest: it is made for `-e` fields, or for a few usual ones
where nothing else is asked for. What a field is, tshark itself says (`tshark_fields`). `-T json` and `-T ek` are read
as they are, `-z follow,PROTO,ascii|raw,N` becomes the pieces of that stream, and `-w` (dumpcap's too) a capture. Other
forms (-V, -x, other -z, -T text|pdml|…) are given as lines.
Source: tshark(1) and ui/cli/tap-follow.c of Wireshark 3.4 to 4.4.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError, TargetError
from podtracer_nb.tools import tshark_fields as fields
from podtracer_nb.tools.arguments import options_of
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

STREAM = Table(
    "stream",
    (
        Column("number", "Int64", "", "number of the piece, from 1"),
        Column("direction", "category", "", "->: from node 0 to node 1; <-: back"),
        Column("src", "str", "", "who sent it: address:port"),
        Column("dst", "str", "", "to whom"),
        Column("length", "Int64", "bytes", "how long it is"),
        Column("payload", "str", "", "the bytes as text, a dot for what cannot be printed (ascii), or in hex (raw)"),
    ),
    key=("number",),
)
PACKETS = Table(
    "packets",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it was captured"),
        Column("number", "Int64", "", "its number in the capture"),
        Column("layers", "object", "", "all that tshark says of it, by layer; a field that stands twice is a list"),
    ),
    key=("number",),
)

_SHORT = "2M:a:A:b:B:c:C:d:De:E:f:F:gG:hH:i:Ij:J:K:lLnN:o:O:pPqQr:R:s:S:t:T:u:U:vVw:W:xX:y:Y:z:k"
_LONG = ["disable-protocol=", "enable-protocol=", "disable-heuristic=", "enable-heuristic=", "export-objects=", "color",
         "no-duplicate-keys", "elastic-mapping-filter=", "help", "version", "capture-comment=", "list-time-stamp-types",
         "time-stamp-type=", "print", "autostop=", "ring-buffer=", "snapshot-length=", "interface=", "read-file=",
         "hexdump=", "selected-frame=", "compress=", "log-level="]  # fmt: skip
_ENDS = {"-a", "-c", "-r", "--autostop", "--read-file", "-D", "-L", "-G", "-h", "-v", "--help", "--version"}
_PRINTS = {"-V", "-O", "-x", "-D", "-L", "-G", "-h", "-v", "--help", "--version", "-P", "--print", "--hexdump"}
# Named by us, so that no preference of the user's changes what the summary's columns are called.
_COLUMNS = 'gui.column.format:"Source","%s","Destination","%d","Protocol","%p","Info","%i"'
_USUAL = ("frame.number", "frame.time_epoch", "_ws.col.Source", "_ws.col.Destination", "_ws.col.Protocol", "frame.len",
          "_ws.col.Info")  # fmt: skip
_SEPARATED = ("separator=/t", f"aggregator={fields.AGGREGATOR}", "quote=n", "header=n", "bom=n")
_FORM = tuple(word for each in _SEPARATED for word in ("-E", each))
# frame.time and other absolute times are printed in the machine's zone; so it is UTC.
_LAUNCHER = ("env", "TZ=UTC0")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("tshark", options)
    given, _words = options_of(arguments, _SHORT, _LONG)
    if "-w" in given and not {"-P", "--print"} & set(given):
        return _capture("tshark", arguments, given)
    live = not {"-r", "--read-file"} & set(given)
    flush = ("-l",) if live and "-l" not in given else ()
    endless = not set(given) & _ENDS
    form = given.get("-T", "fields").partition("|")[0]
    follow = _followed(arguments)
    lines = Command(("tshark", *flush, *arguments), endless=endless)
    if options.text or set(given) & _PRINTS or ("-z" in given and not follow) or "--export-objects" in given:
        return lines
    if follow:
        quiet = () if "-q" in given else ("-q",)
        return Command(("tshark", *quiet, *arguments), output="table", parse=_stream, endless=endless)
    if form in ("json", "ek"):
        parse = _whole if form == "json" else _elastic
        return Command(("tshark", *flush, *arguments), output="table", parse=parse, suffix=f".{form}", endless=endless)
    if form != "fields":
        return lines
    names, rest = _asked(arguments)
    if not names:
        names, rest = list(_USUAL), ["-o", _COLUMNS, *rest]
    form_words = () if "-T" in given else ("-T", "fields")
    resolved = () if {"-n", "-N"} & set(given) else ("-n",)
    kept = () if fields.occurrence(arguments) is None else ("-E", f"occurrence={fields.occurrence(arguments)}")
    ask = tuple(word for name in names for word in ("-e", name))
    return Command(
        ("tshark", *flush, *resolved, *form_words, *_FORM, *kept, *ask, *rest),
        output="table",
        parse=functools.partial(fields.parse, tuple(names)),
        gather=functools.partial(fields.Gather, tuple(names)),
        suffix=".tsv",
        endless=endless,
        launcher=_LAUNCHER,
    )


def _asked(arguments: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the fields that were asked for, once each, and the words that are none of -e and -E."""
    names: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in ("-e", "-E") and words:
            value = words.pop(0)
        elif word.startswith(("-e", "-E")) and not word.startswith("--"):
            value = word[2:]
        else:
            rest.append(word)
            if word in _TAKES and words:
                rest.append(words.pop(0))
            continue
        if word.startswith("-e") and value not in names:
            names.append(value)
    return names, rest


_TAKES = {f"-{letter}" for letter, after in zip(_SHORT, _SHORT[1:] + " ", strict=True) if after == ":"}


def _followed(arguments: tuple[str, ...]) -> bool:
    """Tell whether the one statistic that is asked for is a stream in a form that we read."""
    taps = [after for word, after in itertools.pairwise(arguments) if word == "-z"]
    taps += [word[2:] for word in arguments if word.startswith("-z") and len(word) > len("-z")]
    return len(taps) == 1 and bool(re.match(r"follow,[\w.]+,(ascii|raw),", taps[0]))


def _capture(name: str, arguments: tuple[str, ...], given: dict[str, str]) -> Command:
    """Let the capture come to us; with a name it is left there, as a file of this machine."""
    if {"-b", "--ring-buffer"} & set(given):
        note = (f"{name} rotates {given['-w']}* on this machine: read the parts with podtracer_nb.read_pcap",)
        return Command((name, *arguments), notes=note, endless=not set(given) & _ENDS)
    words = list(arguments)
    at = next(at for at, word in enumerate(words) if word.startswith("-w") or re.fullmatch(r"-[a-zA-Z]*w.*", word))
    if words[at] == "-w":
        words[at + 1] = "-"
    elif words[at].startswith("-w"):
        words[at] = "-w-"
    else:
        raise InputError(f"{name}: write -w apart from other options, so that the capture can come here too")
    file = Path(given["-w"]) if given["-w"] != "-" else None
    notes = () if file is None else (f"{file} is on the machine that runs {name}, not in the target",)
    return Command(
        (name, *words), output="packets", suffix=".pcapng", file=file, notes=notes, endless=not set(given) & _ENDS
    )


def _dumpcap(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("dumpcap", options)
    given, _words = options_of(arguments, "a:b:B:c:C:dDf:ghi:Ik:LMN:npPqSs:tvw:y:Z:", _LONG)
    if {"-D", "-L", "-S", "-h", "-v", "-d", "--help", "--version"} & set(given):
        return Command(("dumpcap", *arguments))
    words = arguments if "-w" in given else (*arguments, "-w", "-")
    return _capture("dumpcap", words, {"-w": "-", **given})


def _stream(text: Text) -> Parsed:
    """Read the pieces of a stream, each after its length, or a line of hex each."""
    said = re.search(
        r"={20,}\nFollow: (?P<protocol>[\w.]+),(?P<form>\w+)\nFilter: (?P<filter>[^\n]*)\n"
        r"Node 0: (?P<node0>[^\n]*)\nNode 1: (?P<node1>[^\n]*)\n",
        text.stdout,
    )
    if said is None:
        if text.stdout.strip():
            raise Unreadable("it is no stream as tshark prints one")
        return Parsed(((STREAM, ()),))
    nodes = said["node0"], said["node1"]
    rows: list[Row] = []
    at, ends = said.end(), re.compile(r"={20,}\n?")
    while at < len(text.stdout) and not ends.match(text.stdout, at):
        if said["form"] == "raw":
            found = re.compile(r"(\t?)([0-9a-f]+)\n").match(text.stdout, at)
            length, payload = (len(found[2]) // 2, found[2]) if found else (0, "")
            end = found.end() if found else at
        else:
            found = re.compile(r"(\t?)(\d+)\n").match(text.stdout, at)
            length = int(found[2]) if found else 0
            end = (found.end() if found else at) + length
            payload = text.stdout[end - length : end]
            if text.stdout[end : end + 1] != "\n":
                found = None
            end += 1
        if found is None:
            raise Unreadable("a piece of the stream is not as long as tshark says")
        back = bool(found[1])
        rows.append({
            "number": len(rows) + 1, "direction": "<-" if back else "->", "src": nodes[back], "dst": nodes[not back],
            "length": length, "payload": payload,
        })  # fmt: skip
        at = end
    return Parsed(((STREAM, rows),), said.groupdict())


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep a name that stands several times, which JSON's own reader would take the last of."""
    found: dict[str, Any] = {}
    twice: set[str] = set()
    for name, value in pairs:
        if name in twice:
            found[name].append(value)
        elif name in found:
            found[name] = [found[name], value]
            twice.add(name)
        else:
            found[name] = value
    return found


def _whole(text: Text) -> Parsed:
    stdout = text.stdout.rstrip()
    if not stdout:
        return Parsed(((PACKETS, ()),))
    try:
        if not stdout.endswith("]"):
            stdout = stdout.rstrip(",") + "]"  # stopped in between; its last packet may be cut, and then it is no JSON
        packets = json.loads(stdout, object_pairs_hook=_pairs)
        rows = [_packet(each["_source"]["layers"]) for each in packets]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"it is no JSON as tshark writes ({error})") from error
    return Parsed(((PACKETS, rows),))


def _packet(layers: dict[str, Any]) -> Row:
    frame = layers.get("frame")
    frame = frame if isinstance(frame, dict) else {}
    return {
        "time": fields.moment(frame.get("frame.time_epoch")), "number": frame.get("frame.number"), "layers": layers,
    }  # fmt: skip


def _elastic(text: Text) -> Parsed:
    rows: list[Row] = []
    lines = text.stdout.split("\n")
    for line in lines[:-1]:  # the last one is empty, or was cut
        try:
            said: dict[str, Any] = json.loads(line, object_pairs_hook=_pairs) if line.strip() else {"index": None}
            if "layers" in said:
                frame = said["layers"].get("frame", {})
                time = fields.moment(frame.get("frame_frame_time_epoch")) or int(said["timestamp"]) * 1_000_000
                rows.append({"time": time, "number": frame.get("frame_frame_number"), "layers": said["layers"]})
            elif "index" not in said:
                raise Unreadable(f"{line[:60]!r} is neither an index nor a packet")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"it is no JSON as tshark writes for Elasticsearch ({error})") from error
    return Parsed(((PACKETS, rows),))


def _diagnose(stderr: str) -> PodtracerError | None:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    pointed = any(re.fullmatch(r"\^~*", line) for line in lines)  # at the place in a display filter: since 4.0
    for at, line in enumerate(lines):
        text = line.removeprefix("tshark: ").removeprefix("dumpcap: ")
        if text.startswith("Some fields aren't valid"):
            wrong = ", ".join(lines[at + 1 :])
            return InputError(f"tshark knows no field {wrong}: `tshark -G fields` lists them all")
        if (pointed and line.startswith("tshark: ")) or re.search(
            r"is neither a field nor a protocol name|was unexpected in this context|Invalid capture filter|"
            r"syntax error|can't parse", text,
        ):  # fmt: skip
            return InputError(f"tshark refuses: {text}; see wireshark-filter(4) for -Y and pcap-filter(7) for -f")
        if found := re.search(r'(?:no device named|on capture device) "([^"]+)"', text):
            return TargetError(f"no interface {found[1]} in the target, or it is not up")
        if "You don't have permission" in text or "Operation not permitted" in text:
            return PrivilegeError(f"tshark may not capture ({text}): it needs CAP_NET_RAW in the target's namespace")
    return None


def _summary(stderr: str) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, form in (("captured", r"^(\d+) packets? captured"), ("dropped_by_kernel", r"^(\d+) packets? dropped")):
        if found := re.findall(form, stderr, re.MULTILINE):
            counters[name] = int(found[-1])
    # dumpcap's own: Packets received/dropped on interface 'lo': 8/0 (pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0)
    if found := re.findall(r"^Packets received/dropped on interface .*?: (\d+)/(\d+)", stderr, re.MULTILINE):
        counters["dropped_by_kernel"] = sum(int(dropped) for _, dropped in found)
    return counters


TOOLS = (
    Tool(
        "tshark",
        "tshark",
        _prepare,
        purpose="packets as any of Wireshark's fields",
        variants=(Variant("", (fields.FIELDS,)), Variant("-T json, ek", (PACKETS,)), Variant("-z follow", (STREAM,))),
        needs=("CAP_NET_RAW",),
        diagnose=_diagnose,
        summary=_summary,
        prints=True,
    ),
    Tool(
        "dumpcap",
        "wireshark-common",
        _dumpcap,
        purpose="captures packets",
        needs=("CAP_NET_RAW",),
        diagnose=_diagnose,
        summary=_summary,
    ),
)
