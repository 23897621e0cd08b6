"""From a job's output to its frame, and from several targets' frames to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from podtracer_nb import analysis as _accessor  # noqa: F401  a frame is born with `df.podtrace`
from podtracer_nb import packets
from podtracer_nb.errors import ToolFailed
from podtracer_nb.targets import departed
from podtracer_nb.tools.lines import Lines
from podtracer_nb.tools.session import Counted, Job, last_line

__all__ = ["merge", "read_job", "settle"]

# A classic pcap's header (pcap-savefile(5)): what a capture that ended before its first byte would have begun with.
_EMPTY = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000")


def read_job(job: Job) -> pd.DataFrame:
    """Read one job to its end and return its frame, with provenance."""
    frame = _packets(job) if job.command.output == "packets" else _lines(job)
    made = frame.attrs.get("podtracer", {})
    if "capture" in made:
        # It was read while it grew, as a stream; its bytes are in the recording.
        made["capture"]["path"] = str(job.recording)
    frame.attrs["podtracer"] = {**made, **settle(job)}
    return frame


def settle(job: Job) -> dict[str, Any]:
    """Wait for a job's end and return its provenance.

    Raises
    ------
    PodtracerError
        The tool failed and left no packets: what it wrote to standard error, said in one line.
    """
    status = job.run.wait()
    if status.reason == "exit" and status.exit_code and not job.gone:
        # Its interface went with the pod, faster than anybody could look.
        job.gone = departed(job.pin)
    provenance = job.provenance(status)
    failed = status.exit_code not in (0, None) and status.reason == "exit" and not job.interrupted
    if failed and job.tool.name == "tcpdump" and not job.count.packets:
        stderr = job.run.stderr
        raise job.tool.diagnose(stderr) or ToolFailed(
            f"{job.tool.name} failed in {job.target.label} (exit status {status.exit_code}): "
            f"{job.gone or last_line(stderr)}",
            provenance,
        )
    if failed:
        line = f"{job.tool.name} ended with exit status {status.exit_code}"
        said = last_line(job.run.stderr) if job.run.stderr.strip() else ""
        provenance["notes"].append(f"{line}: {said}" if said else line)
    if status.signal and status.reason == "exit" and not job.interrupted:
        provenance["notes"].append(f"{job.tool.name} was killed by signal {status.signal}")
    if status.reason == "disk":
        provenance["notes"].append(f"the disk is full: {job.recording} ends at what had room")
    return provenance


def _packets(job: Job) -> pd.DataFrame:
    reader = packets.Reader(job.run.stdout)
    job.count = reader
    try:
        return reader.read_all().frame()
    except packets.FormatError as error:
        status = job.run.wait()
        if status.bytes:
            raise ToolFailed(f"{job.tool.name} wrote what is no capture: {error}", str(job.recording)) from error
        return packets.read(_EMPTY)


def _lines(job: Job) -> pd.DataFrame:
    lines = Lines()
    counted = job.count = Counted()
    for output in job.run.events():
        lines.add(output)
        counted.bytes += len(output.data)
        if job.interrupted and not job.run.running:
            # The tool has ended and left more than anybody wants to wait for: the rest stays in the recording.
            break
    return lines.frame()


def merge(frames: Sequence[pd.DataFrame], jobs: Sequence[Job]) -> pd.DataFrame:
    """Return one frame of several targets' frames, by time, with the columns `target` and `node` (category).

    The index keeps each packet's number in its own target's capture.
    """
    if len(frames) == 1:
        frame = frames[0]
        provenance = frame.attrs["podtracer"]
        frame.attrs["podtracer"] = _combined([provenance], provenance.get("capture"))
        return frame
    parts = [frame.copy(deep=False) for frame in frames]
    for name in parts[0].columns:
        if isinstance(parts[0][name].dtype, pd.CategoricalDtype):
            # Frames' dictionaries differ; concat of different categories would decay to plain strings.
            union = parts[0][name].cat.categories
            for part in parts[1:]:
                union = union.append(part[name].cat.categories.difference(union, sort=False))
            for part in parts:
                part[name] = part[name].cat.set_categories(union)
    labels = [job.target.label for job in jobs]
    nodes = [job.target.node for job in jobs]
    for part, label, node in zip(parts, labels, nodes, strict=True):
        part.insert(0, "target", _constant(label, labels, len(part)))
        part.insert(1, "node", _constant(node, nodes, len(part)))
        part.attrs = {}
    merged = pd.concat(parts).sort_values("time", kind="stable")
    merged.attrs["podtracer"] = _combined([frame.attrs["podtracer"] for frame in frames], None)
    return merged


def _constant(value: str, values: Sequence[str], rows: int) -> Any:
    return pd.Categorical([value], categories=list(dict.fromkeys(values))).repeat(rows)


def _combined(each: Sequence[dict[str, Any]], capture: dict[str, Any] | None) -> dict[str, Any]:
    """Return one provenance of several runs of one tool."""
    drops: dict[str, int] = {}
    for one in each:
        for name, count in one["drops"].items():
            drops[name] = drops.get(name, 0) + count
    first = each[0]
    return {
        "tool": first["tool"],
        "argv": first["argv"],
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
        **({"capture": capture} if capture else {"captures": [one.get("capture") for one in each]}),
    }
