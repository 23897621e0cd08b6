"""From a job's output to its frame, and from several targets' frames to one."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from podtracer_nb import analysis as _accessor  # noqa: F401  a frame is born with `df.podtrace`
from podtracer_nb import execution, packets
from podtracer_nb.errors import CaptureError, InputError, ToolFailed
from podtracer_nb.targets import Pin, departed
from podtracer_nb.tools import clocks
from podtracer_nb.tools.inside import resolver
from podtracer_nb.tools.job import Counted, Job, last_line
from podtracer_nb.tools.lines import Lines
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.sampling import Series, samples
from podtracer_nb.tools.table import Parsed, Text, Unreadable, united
from podtracer_nb.tools.tool import Options

__all__ = ["EMPTY", "constant", "made", "merge", "read_job", "settle", "table"]

# A classic pcap's header (pcap-savefile(5)): what a capture that ended before its first byte would have begun with.
EMPTY = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000")

_COUNTED_AFTERWARDS = 2 << 30  # bytes, a second's or two's work
_one_counts = threading.Lock()


def read_job(job: Job) -> pd.DataFrame:
    """Read one job to its end and return its frame, with provenance."""
    if job.task.every is not None and job.sampled:
        frame = _samples(job)
    else:
        frame = {"packets": _packets, "table": _table, "lines": _lines}[job.command.output](job)
    described = frame.attrs.get("podtracer", {})
    if "capture" in described:
        # It was read while it grew, as a stream; its bytes are in the recording.
        described["capture"]["path"] = str(job.recording)
    settled = settle(job)
    settled["notes"] += described.pop("notes", [])
    if "unreadable" in described:
        settled["notes"].insert(0, f"{job.tool.name}'s output is in no form that we know: {described['unreadable']}")
    frame.attrs["podtracer"] = {**described, **settled}
    return frame


def settle(job: Job) -> dict[str, Any]:
    """Wait for a job's end and return its provenance.

    Raises
    ------
    PodtracerError
        The tool failed and left no packets: what it wrote to standard error, said in one line. The disk was full from
        the start: nothing is left there.
    """
    status = job.run.wait()
    packets_only = job.command.output == "packets"
    if status.reason == "disk" and job.change is None and not (job.count.packets if packets_only else status.bytes):
        execution.remove_recording(job.recording)
        where = f"of {job.recording.parent}" if isinstance(job.pin, Pin) else f"of node {job.target.node}"
        raise ToolFailed(
            f"the disk {where} is full: it had room for nothing of what {job.tool.name} in {job.target.label} wrote; "
            "make room, or name another file"
        )
    if status.reason == "exit" and status.exit_code and not job.gone and isinstance(job.pin, Pin):
        # Its interface went with the pod, faster than anybody could look.
        job.gone = departed(job.pin)
    provenance = job.provenance(status)
    # Of samples, each ended by itself, however their series did.
    by_itself = job.sampled or (status.reason == "exit" and not job.interrupted)
    failed = status.exit_code not in (0, None) and by_itself
    if failed and job.tool.name == "tcpdump" and not job.count.packets:
        stderr = job.run.stderr
        raise job.tool.diagnose(stderr) or ToolFailed(
            f"{job.tool.name} failed in {job.target.label} (exit status {status.exit_code}): "
            f"{job.gone or last_line(stderr)}",
            provenance,
        )
    if failed:
        known = (job.command.diagnose or job.tool.diagnose)(job.run.stderr)
        if known is not None and not status.bytes:
            raise known
        line = f"{job.tool.name} ended with exit status {status.exit_code}"
        # A note of ours among the tool's words is told by itself.
        words = "\n".join(each for each in job.run.stderr.splitlines() if not each.startswith(resolver.NOTE))
        said = str(known) if known else last_line(words) if words.strip() else ""
        provenance["notes"].append(f"{line}: {said}" if said else line)
    if status.signal and status.reason == "exit" and not job.interrupted:
        provenance["notes"].append(f"{job.tool.name} was killed by signal {status.signal}")
    if status.reason == "disk":
        kept = _kept(job) if packets_only else 0
        captured = provenance["drops"].get("captured")
        part = f", {kept:,} of {captured:,} packets" if kept and captured else ""
        provenance["notes"].append(f"the disk is full: {job.recording} ends at what had room{part}")
    return provenance


def _kept(job: Job) -> int:
    """Return how many packets are in a capture, 0 where that takes long; what was only passed on is counted there."""
    if not isinstance(job.count, Counted):
        return job.count.packets
    if job.recording.stat().st_size > _COUNTED_AFTERWARDS:
        return 0
    with (
        _one_counts,  # what catch_warnings changes is every thread's
        job.recording.open("rb") as file,
        contextlib.suppress(packets.FormatError),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", packets.DamageWarning)  # that it is cut is what this is about
        reader = packets.Reader(file, columns=["length"])
        return sum(len(chunk) for chunk in reader.chunks(keep=False))
    return 0


def _packets(job: Job) -> pd.DataFrame:
    reader = packets.Reader(job.run.stdout)
    job.count = reader
    try:
        return reader.read_all().frame()
    except packets.FormatError as error:
        status = job.run.wait()
        if status.bytes:
            raise ToolFailed(f"{job.tool.name} wrote what is no capture: {error}", str(job.recording)) from error
        return packets.read(EMPTY)


def _table(job: Job) -> pd.DataFrame:
    """Return a tool's first table; where its output is in no form that we know, its lines and a note that says so."""
    parse = job.command.parse
    if parse is None:
        return _lines(job)
    counted = job.count = Counted()
    gathering = job.command.gather() if job.command.gather is not None else None
    try:
        for output in job.run.events():
            counted.bytes += len(output.data)
            if gathering is not None and output.stream == "stdout":
                gathering.add(output.data)
        gathered = gathering.parsed() if gathering is not None else None
    except Unreadable:
        gathered = None  # the whole is read once more below, and says what it is
    status = job.run.wait()
    if gathered is not None:
        return made(gathered)
    text = Text(
        job.task.arguments,
        job.recording.read_bytes().decode("utf-8", errors="replace"),
        job.run.stderr,
        status.exit_code if status.reason == "exit" else None,
        status.started,
        lambda: _collected(job).timed(),
    )
    try:
        return made(parse(text))
    except Unreadable as error:
        frame = _lines(job)
        frame.attrs["podtracer"] = {"unreadable": str(error)}
        return frame


def _samples(job: Job) -> pd.DataFrame:
    """Return all samples' rows, read as they come."""
    counted = job.count = Counted()
    series = Series(job.task.arguments, job.command.parse, job.task.every or 0.0)
    for each in samples(job.run.stdout):
        series.add(each)
        counted.bytes += len(each.stdout)
    frame = series.frame()
    frame.attrs["podtracer"]["notes"] = series.notes()
    return frame


def made(parsed: Parsed) -> pd.DataFrame:
    """Return the first table's frame; its provenance says what the table is and what else there is."""
    table, rows = parsed.tables[0]
    frame = table.frame(rows)
    frame.attrs["podtracer"] = {
        "table": {"name": table.name, "key": [name for name in table.key if name in frame]},
        "units": {each.name: each.unit for each in table.columns if each.unit and each.name in frame},
        "tables": [each.name for each, _ in parsed.tables],
        "facts": dict(parsed.facts),
        "notes": list(parsed.notes),
    }
    return frame


def table(meta: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return another table of a run, read again from its recordings; with several targets, with the column `target`.

    Raises
    ------
    InputError
        There is no such table.
    CaptureError
        A recording is gone.
    """
    if name not in meta.get("tables", ()):
        has = ", ".join(meta.get("tables", ())) or "none: its output was not a table"
        raise InputError(f"no table {name!r} in this result; it has {has}")
    arguments = tuple(meta["arguments"])
    command = find(meta["tool"]).command(arguments, Options(parse=meta.get("parse")), False)
    parts = []
    for path, target in zip(meta["recordings"], meta["targets"], strict=True):
        if command.parse is None:
            raise InputError(f"{meta['tool']} gives no tables any more: this frame is of another version")
        try:
            written = Path(path).read_bytes()
        except OSError as error:
            raise CaptureError(f"the recording {path} cannot be read: {error.strerror}") from error
        if "every" in meta:
            series = Series(arguments, command.parse, meta["every"], name)
            for each in samples(io.BytesIO(written)):
                series.add(each)
            part = series.frame()
        else:
            text = Text(
                arguments,
                written.decode("utf-8", errors="replace"),
                meta["stderr"],
                meta["exit_code"],
                datetime.fromisoformat(meta["started"]),
            )
            found = {each.name: each.frame(rows) for each, rows in command.parse(text).tables}
            part = found[name] if name in found else pd.DataFrame()
        if len(meta["targets"]) > 1:
            label = f"{target.get('namespace', '')}/{target['pod']}".removeprefix("/")
            part.insert(0, "target", label)
        parts.append(part)
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _lines(job: Job) -> pd.DataFrame:
    return _collected(job).frame()


def _collected(job: Job) -> Lines:
    lines = Lines()
    counted = job.count = Counted()
    for output in job.run.events():
        lines.add(output)
        counted.bytes += len(output.data)
        if job.interrupted and not job.run.running:
            # The tool has ended and left more than anybody wants to wait for: the rest stays in the recording.
            break
    return lines


def merge(frames: Sequence[pd.DataFrame], jobs: Sequence[Job]) -> pd.DataFrame:
    """Return one frame of several targets' frames, with the columns `target` and `node` (category).

    Packets and lines are in the order of their time, and a packet's index keeps its number in its own target's capture;
    rows without a time stay in the order of the targets, and are numbered anew.
    """
    labels = [job.target.label for job in jobs]
    if len(frames) == 1:
        frame = frames[0]
        frame.attrs["podtracer"] = _combined([frame.attrs["podtracer"]], labels)
        return frame
    parts = [frame.copy(deep=False) for frame in frames]
    united(parts)
    nodes = [job.target.node for job in jobs]
    for part, label, node in zip(parts, labels, nodes, strict=True):
        part.insert(0, "target", constant(label, labels, len(part)))
        part.insert(1, "node", constant(node, nodes, len(part)))
        part.attrs = {}
    times = [name for name in ("sample_time", "time") if all(name in part.columns for part in parts)]
    merged = pd.concat(parts, ignore_index="time" not in times)
    if times:
        merged = merged.sort_values(times[0], kind="stable", ignore_index="time" not in times)
    merged.attrs["podtracer"] = _combined([frame.attrs["podtracer"] for frame in frames], labels)
    return merged


def constant(value: str, values: Sequence[str], rows: int) -> Any:
    """Return a category column that has one of some values in all its rows."""
    return pd.Categorical([value], categories=list(dict.fromkeys(values))).repeat(rows)


def _combined(each: Sequence[dict[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
    """Return one provenance of several runs of one tool: what each has of its own as a list, or by its target."""
    drops: dict[str, int] = {}
    for one in each:
        for name, count in one["drops"].items():
            drops[name] = drops.get(name, 0) + count
    first = each[0]
    return {
        "tool": first["tool"],
        "argv": first["argv"],
        "arguments": first["arguments"],
        "targets": [one["target"] for one in each],
        "started": min(one["started"] for one in each),
        "ended": max(one["ended"] for one in each),
        "seconds": max(one["seconds"] for one in each),
        "recordings": [one["recording"] for one in each],
        "sha256": [one["sha256"] for one in each],
        "bytes": sum(one["bytes"] for one in each),
        "exit_code": next((one["exit_code"] for one in each if one["exit_code"]), first["exit_code"]),
        "signal": next((one["signal"] for one in each if one["signal"]), first["signal"]),
        "reason": first["reason"],
        "interrupted": any(one["interrupted"] for one in each),
        "drops": drops,
        "notes": list(dict.fromkeys(note for one in each for note in one["notes"])),
        "stderr": "".join(one["stderr"] for one in each)[-2000:],
        **{word: first[word] for word in ("parse", "every", "engine", "table", "tables", "units") if word in first},
        **clocks.of_all(each),
        **_changes(each),
        **_apart("capture", "captures", each),
        **_facts(each, labels),
    }


def _changes(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what was altered: one change where it is the same everywhere, a list where the undo or the end differ."""
    found = [one["change"] for one in each if "change" in one]
    if not found:
        return {}
    return {"change": found[0]} if all(one == found[0] for one in found) else {"changes": found}


def _facts(each: Sequence[dict[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
    """Return what the tools said of the whole: of one target as it is, of several by target."""
    if not any("facts" in one for one in each):
        return {}
    facts = [one.get("facts", {}) for one in each]
    return {"facts": facts[0] if len(each) == 1 else dict(zip(labels, facts, strict=True))}


def _apart(one_word: str, many_words: str, each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if one_word not in each[0]:
        return {}
    return {one_word: each[0][one_word]} if len(each) == 1 else {many_words: [one.get(one_word) for one in each]}
