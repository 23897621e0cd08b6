"""Whose clock a time is by: what is said of other nodes' clocks, how far apart runs started, and times brought to ours.

Nothing is brought to our clock unless that is asked for: a time in a frame is otherwise the one in the recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from podtracer_nb.execution import Clock

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.tools.job import Job

__all__ = ["align", "of_all", "words"]

_NS = 1_000_000_000


def words(clock: Clock) -> dict[str, Any]:
    """Return a clock for a provenance: how far it is ahead of this machine's, in seconds, and how sure that is.

    Examples
    --------
    >>> words(Clock(offset_ns=1_500_000, uncertainty_ns=200_000))
    {'offset_seconds': 0.0015, 'uncertainty_seconds': 0.0002, 'applied': False}
    """
    return {
        "offset_seconds": clock.offset_ns / _NS,
        "uncertainty_seconds": clock.uncertainty_ns / _NS,
        "applied": False,
    }


def align(frame: pd.DataFrame, job: Job) -> None:
    """Bring a frame's times to this machine's clock, and say so in its provenance; ours stay as they are."""
    import pandas as pd

    known = frame.attrs["podtracer"].get("clock")
    if known is None or job.run.clock is None:
        return
    for name in ("time", "sample_time"):
        if name in frame.columns:
            frame[name] = (frame[name] - pd.Timedelta(job.run.clock.offset_ns, "ns")).astype(frame[name].dtype)
    known["applied"] = True


def of_all(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the nodes' clocks, and how far apart several runs were started by ours, of their provenances."""
    clocks: dict[str, dict[str, Any]] = {}
    begun = []
    for one in each:
        known = one.get("clock")
        offset, uncertainty = (known["offset_seconds"], known["uncertainty_seconds"]) if known else (0.0, 0.0)
        begun.append((datetime.fromisoformat(one["started"]).timestamp() - offset, uncertainty))
        node = one["target"].get("node", "")
        if known and (node not in clocks or uncertainty < clocks[node]["uncertainty_seconds"]):
            clocks[node] = dict(known)
    first, last = min(begun), max(begun)
    start = {"skew_seconds": round(last[0] - first[0], 6), "uncertainty_seconds": round(first[1] + last[1], 6)}
    return {**({"clocks": clocks} if clocks else {}), **({"start": start} if len(each) > 1 else {})}
