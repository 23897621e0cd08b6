"""What is said about a run, on standard error, and its exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podtracer_nb.tools import Job, Progress

__all__ = ["FAILED", "banner", "exit_code", "progress", "say"]

FAILED = 1


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)


def progress(report: Progress) -> None:
    """Show how far one run is, in a line of the terminal that the next report replaces."""
    if report.done:
        sys.stderr.write("\r\x1b[K")
    elif report.elapsed > 1:
        packets = "" if report.packets is None else f"{report.packets:,} packets, "
        sys.stderr.write(f"\r\x1b[K{report.elapsed:.0f} s: {packets}{report.bytes:,} bytes")
    sys.stderr.flush()


def banner(job: Job, provenance: dict[str, Any]) -> str:
    """Return what a run came to, in a line."""
    from podtracer_nb.tools import ENDINGS

    drops = provenance["drops"]
    words = [f"{job.target.label}: {provenance['tool']}"]
    if "captured" in drops:
        words.append(f"{drops['captured']:,} packet{'' if drops['captured'] == 1 else 's'}")
    words.append(f"{provenance['bytes']:,} bytes in {provenance['seconds']:.1f} s")
    lost = drops.get("dropped_by_kernel", 0) + drops.get("dropped_by_interface", 0)
    if lost:
        words.append(f"LOST {lost:,} PACKETS (dropped by the kernel)")
    if job.interrupted:
        words.append("interrupted")
    elif provenance["reason"] != "exit":
        words.append(ENDINGS.get(provenance["reason"], provenance["reason"]))
    words += provenance["notes"]
    words.append(f"recording {provenance['recording']}")
    return " · ".join(words)


def exit_code(provenance: dict[str, Any], *, sampled: bool) -> int:
    """Return the tool's own exit status; that of a run which was ended from outside tells whether it was as asked."""
    if provenance["reason"] in ("disk", "target-gone", "tracer-gone"):
        return FAILED
    by_itself = provenance["reason"] == "exit" and not provenance["interrupted"]
    if by_itself and provenance["signal"]:
        return 128 + int(provenance["signal"])
    # Each of the samples ended by itself, however their series did.
    return int(provenance["exit_code"] or 0) if by_itself or sampled else 0
