"""How a live capture is shown where it is a cell's value."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podtracer_nb.tools.live.capture import LiveCapture

__all__ = ["as_html", "words"]

_LOUD = "font-weight:600;color:var(--jp-error-color0,#b71c1c)"
_MOST = 20  # targets, files


def words(live: LiveCapture) -> list[str]:
    """Return what it is, how it is getting on, and what went wrong, in a few words each."""
    stats = live.stats
    found = [
        f"{live.engine} of {', '.join(live.targets)}",
        stats.state if stats.state != "ended" else live.ending,
        f"{stats.seconds:.1f} s",
        f"{stats.packets:,} packets",
        f"{stats.rate:,.0f}/s" if stats.state != "ended" else "",
        f"{stats.dropped_by_kernel:,} dropped by the kernel" if stats.dropped_by_kernel else "",
        f"{stats.dropped_by_us:,} missed by callbacks" if stats.dropped_by_us else "",
        *(str(error) for error in live.errors),
        *live.all_notes(),
        f"file: {', '.join(map(str, live.files))}" if live.files else "no file",
    ]
    return [each for each in found if each]


def as_html(live: LiveCapture) -> str:
    """Return a table of how it is getting on, with no script, no style sheet and no network."""
    stats = live.stats
    ended = stats.state == "ended"
    dropped = "not known yet" if stats.dropped_by_kernel is None else f"{stats.dropped_by_kernel:,}"
    lost = bool(stats.dropped_by_kernel)
    rows: list[tuple[str, str, bool]] = [
        ("state", f"ended: {live.ending}" if ended and live.ending != "ended" else stats.state, False),
        ("where", _listed(live.targets), False),
        ("engine", live.engine, False),
        ("since", f"{live.started:%Y-%m-%d %H:%M:%S} UTC, {stats.seconds:.1f} s", False),
        ("captured", f"{stats.packets:,} packets, {stats.bytes:,} bytes", False),
    ]
    if not ended:
        rows.append(("rate", f"{stats.rate:,.0f} packets/s, {stats.byte_rate:,.0f} bytes/s", False))
    rows += [
        ("dropped by the kernel", dropped, lost),
        ("missed by callbacks", f"{stats.dropped_by_us:,}", bool(stats.dropped_by_us)),
        ("lag", "-" if stats.lag is None else f"{stats.lag * 1e3:.0f} ms", False),
        ("in the window (.df)", f"{stats.window:,} packets", False),
    ]
    if stats.skipped:
        rows.append(("came while paused", f"{stats.skipped:,} packets", False))
    rows.append(("file", _listed(map(str, live.files)) or "none is kept", False))
    rows += [("note", note, False) for note in live.all_notes()]
    rows += [("failed", str(error), True) for error in live.errors]
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left;overflow-wrap:anywhere{f";{_LOUD}" if loud else ""}">{html.escape(text)}</td></tr>'
        for name, text, loud in rows
    )
    return (
        '<table class="podtracer-live" style="font-size:90%"><caption style="text-align:left;caption-side:top">'
        f"A live capture, as it was when this was shown</caption><tbody>{body}</tbody></table>"
    )


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = len(found) - _MOST
    return ", ".join(found[:_MOST]) + (f" and {more} more" if more > 0 else "")
