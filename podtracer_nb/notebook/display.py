"""What a run says of itself in a notebook: one line, as HTML where that is shown and as text everywhere else."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.packets.parquet import Written
    from podtracer_nb.tools import Progress

__all__ = ["Banner", "Part", "defaults_line", "duration", "of_progress", "of_reading", "of_run", "quantity", "size"]

_LOUD = "font-weight:600;color:var(--jp-error-color0,#b71c1c)"
_QUIET = "font-size:90%;color:var(--jp-ui-font-color2,#616161);overflow-wrap:anywhere"


@dataclass(frozen=True)
class Part:
    """One statement of a banner; a loud one is what a reader must not miss."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Banner:
    """One line about a run.

    Examples
    --------
    >>> Banner((Part("demo/web"), Part("100 packets")))
    demo/web · 100 packets
    """

    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        """Return the line as text; a loud part carries a mark."""
        return " · ".join(f"⚠ {part.text}" if part.loud else part.text for part in self.parts)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Return the line as HTML and as text."""
        shown = (
            f'<span style="{_LOUD}">⚠ {html.escape(part.text)}</span>' if part.loud else html.escape(part.text)
            for part in self.parts
        )
        return {
            "text/html": f'<div class="podtracer-banner" style="{_QUIET}">{" · ".join(shown)}</div>'
            if self.parts
            else "",
            "text/plain": repr(self),
        }


def of_run(frame: pd.DataFrame, defaults: Mapping[str, object], command: str | None = None) -> Banner:
    """Return the banner of a finished run.

    Parameters
    ----------
    frame
        What `podtracer_nb.run` returned; its provenance is read.
    defaults
        The sticky defaults in force.
    command
        The line of a cell that this run belongs to.
    """
    meta: Mapping[str, Any] = frame.attrs.get("podtracer", {})
    parts = [Part(command)] if command else []
    parts.append(Part(_targets(meta.get("targets") or ())))
    unit = "packet" if meta.get("capture") or "caplen" in frame.columns else "row" if "table" in meta else "line"
    parts.append(Part(quantity(len(frame), unit)))
    if meta.get("bytes") is not None:
        parts.append(Part(size(meta["bytes"])))
    seconds = _seconds(meta)
    if seconds is not None:
        parts.append(Part(duration(seconds)))
    parts += _drops(meta.get("drops") or {}, len(frame))
    parts += _ending(meta)
    parts += _damage(meta.get("capture") or {})
    recordings = [str(path) for path in meta.get("recordings") or ()]
    if recordings:
        more = f" and {len(recordings) - 1} more" if len(recordings) > 1 else ""
        parts.append(Part(f"recording: {recordings[0]}{more}"))
    parts += _notes(meta)
    if defaults:
        parts.append(Part(f"defaults: {defaults_line(defaults)}"))
    return Banner(tuple(parts))


def of_reading(frame: pd.DataFrame, path: str) -> Banner:
    """Return the banner of a capture file that was read."""
    capture: Mapping[str, Any] = frame.attrs.get("podtracer", {}).get("capture") or {}
    parts = [Part(path), Part(quantity(len(frame), "packet"))]
    if capture.get("bytes") is not None:
        parts.append(Part(size(capture["bytes"])))
    return Banner((*parts, *_damage(capture)))


def of_writing(written: Written) -> Banner:
    """Return the banner of a capture that was written as Parquet."""
    parts = [Part(str(written.folder)), Part(quantity(written.packets, "packet")), Part(size(written.bytes))]
    parts.append(Part(quantity(len(written.parts), "part")))
    if written.interrupted:
        parts.append(Part("interrupted", loud=True))
    return Banner((*parts, *_damage(written.info)))


def of_progress(progress: Progress, tool: str, *, bounded: bool) -> Banner:
    """Return the line shown while a run goes on: elapsed, packets, bytes, drops."""
    parts = [Part(tool), Part(duration(progress.elapsed))]
    if progress.packets is not None:
        parts.append(Part(quantity(progress.packets, "packet")))
    parts.append(Part(size(progress.bytes)))
    if progress.drops is not None:
        parts.append(Part(f"{progress.drops:,} dropped", loud=progress.drops > 0))
    if progress.targets > 1:
        parts.append(Part(f"{progress.targets} targets"))
    if not bounded:
        parts.append(Part("interrupt to stop and keep the result"))
    return Banner(tuple(parts))


def defaults_line(defaults: Mapping[str, object]) -> str:
    """Return sticky defaults in the words that set them.

    Examples
    --------
    >>> defaults_line({"namespace": "demo", "pod": ("web", "api"), "all_namespaces": True, "timer": 90.0})
    '-n demo --pod web --pod api -A -t 90s'
    """
    short = {"namespace": "-n", "selector": "-l", "container": "-c", "timer": "-t", "all_namespaces": "-A"}
    words: list[str] = []
    for name, value in defaults.items():
        option = short.get(name, "--" + name.replace("_", "-"))
        if value is True:
            words.append(option)
        elif name == "pod" and isinstance(value, Sequence) and not isinstance(value, str):
            for each in value:
                words += [option, str(each)]
        elif isinstance(value, tuple):
            words += [option, ",".join(map(str, value))]
        elif name == "timer" and isinstance(value, float):
            words += [option, f"{value:g}s"]
        else:
            words += [option, str(value)]
    return shlex.join(words)


def quantity(count: int, unit: str) -> str:
    """Return a count with its unit: `1 packet`, `1,200 packets`."""
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


def size(count: int) -> str:
    """Return a number of bytes in the largest decimal unit that leaves one digit before the point.

    Examples
    --------
    >>> size(999), size(45_200), size(3_000_000)
    ('999 B', '45.2 kB', '3.0 MB')
    """
    if count < 1000:  # noqa: PLR2004  the step of the units
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:  # noqa: PLR2004  what still rounds to 999.9
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """Return a duration: `2.4 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _targets(targets: Sequence[Mapping[str, Any]]) -> str:
    shown = 3
    labels = [_label(target) for target in targets[:shown]]
    more = len(targets) - shown
    return ", ".join(labels) + (f" and {more} more" if more > 0 else "") if labels else "no target"


def _label(target: Mapping[str, Any]) -> str:
    name = f"{target['namespace']}/{target['pod']}" if target.get("namespace") else str(target.get("pod", ""))
    return f"{name} on {target['node']}" if target.get("node") and target.get("namespace") else name


def _seconds(meta: Mapping[str, Any]) -> float | None:
    import pandas as pd  # only where there is a frame, so pandas is loaded

    if meta.get("seconds") is not None:
        return float(meta["seconds"])
    if not meta.get("started") or not meta.get("ended"):
        return None
    return float((pd.Timestamp(meta["ended"]) - pd.Timestamp(meta["started"])).total_seconds())


def _drops(drops: Mapping[str, Any], rows: int) -> list[Part]:
    parts = []
    for name, who in (("dropped_by_kernel", "the kernel"), ("dropped_by_interface", "the interface")):
        dropped = int(drops.get(name) or 0)
        if dropped:
            share = dropped / (rows + dropped)
            text = f"{quantity(dropped, 'packet')} dropped by {who} ({share:.1%}): the table has gaps"
            parts.append(Part(text, loud=True))
    return parts


def _ending(meta: Mapping[str, Any]) -> list[Part]:
    reason = meta.get("reason")
    from podtracer_nb.tools import ENDINGS  # only where there is a frame, so it is loaded

    if meta.get("interrupted"):
        return [Part("interrupted", loud=True)]
    wanted = ("timer", "bytes")  # what the user asked for
    return [Part(ENDINGS[reason], loud=reason not in wanted)] if reason in ENDINGS else []


def _notes(meta: Mapping[str, Any]) -> list[Part]:
    """Return the notes; loud where they tell of a failure: the tool's, the disk's, or one target's of several."""
    troubled = meta.get("reason") == "disk" or (meta.get("reason") == "exit" and bool(meta.get("exit_code")))
    notes = [str(note) for note in meta.get("notes") or ()]
    return [Part(note, loud=troubled or " failed: " in note) for note in notes]


def _damage(capture: Mapping[str, Any]) -> list[Part]:
    from podtracer_nb import packets  # only where there is a capture, so it is loaded

    parts = []
    if lacking := packets.undissected(capture):
        parts.append(Part(f"link type {lacking} is not dissected", loud=True))
    if damage := capture.get("damage"):
        parts.append(Part(f"damaged at byte {damage['offset']:,}: {damage['reason']}", loud=True))
    return parts
