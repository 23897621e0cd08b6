"""A dashboard without a kernel: a drawing and tables of what it showed last, as HTML of bounded size and as text."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from podtracer_nb.analysis.activity import KINDS
from podtracer_nb.notebook.display import duration, quantity, size
from podtracer_nb.notebook.widgets import svg

__all__ = ["as_html", "as_text"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 760.0, 210.0, 64.0, 12.0, 24.0
_LONGEST = 60
_MOST_TARGETS = 4


def as_html(told: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    """Return what was told, with no script, no style sheet and no network.

    Parameters
    ----------
    told
        What `LiveDashboard` tells its page.
    colours
        Of each kind.
    """
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_short(text))}</td>' for text in row)}</tr>" for row in _talkers(told)
    )
    facts = "".join(
        f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th><td>{html.escape(text)}</td></tr>'
        for name, text in _facts(told)
    )
    style = 'cellpadding="3" style="border-collapse:collapse;font-size:12px;font-family:monospace;text-align:left"'
    heads = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in _HEADS)
    return (
        f'<div class="podtracer-static" style="overflow-x:auto"><p>{html.escape(_says(told))}</p>'
        f"{_drawing(told, colours)}"
        f'<table {style}><caption style="text-align:left;caption-side:top">{html.escape(_caption(told))}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f'<table {style}><caption style="text-align:left;caption-side:top">TCP, DNS and the capture itself</caption>'
        f"<tbody>{facts}</tbody></table></div>"
    )


def as_text(told: Mapping[str, Any]) -> str:
    """Return the same as lines of text, without the drawing."""
    lines = [_says(told), *(f"{name}: {text}" for name, text in _facts(told))]
    if told["talkers"]:
        lines.append(_caption(told))
        lines += ["  ".join(_short(text) for text in row) for row in _talkers(told)]
    return "\n".join(lines)


_HEADS = ("from", "to", "packets", "bytes")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _says(told: Mapping[str, Any]) -> str:
    stats, targets = told["stats"], told["targets"]
    who = ", ".join(targets[:_MOST_TARGETS])
    if len(targets) > _MOST_TARGETS:
        who += f" and {len(targets) - _MOST_TARGETS} more"
    state = told["why"] or stats["state"]
    parts = [who, state, duration(stats["seconds"]), quantity(stats["packets"], "packet"), size(stats["bytes"])]
    if stats["state"] != "ended":
        parts.append(f"{stats['rate']:,.0f} packets/s")
    return " · ".join(parts)


def _caption(told: Mapping[str, Any]) -> str:
    count, others = told["pairs"]
    left = count - len(told["talkers"])
    text = f"Who sent most to whom in the last {duration(told['span'])}"
    if left > 0:
        text += f"; {quantity(left, 'pair')} more left out"
    if others:
        text += f"; {quantity(others, 'packet')} of pairs that were too many to count"
    return text


def _talkers(told: Mapping[str, Any]) -> list[list[str]]:
    return [[source, to, f"{packets:,}", size(octets)] for source, to, packets, octets in told["talkers"]]


def _milliseconds(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / 1e6:.1f} ms"


def _facts(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    stats, dns = told["stats"], told["dns"]
    dropped = stats["dropped_by_kernel"]
    most = sorted(dns["codes"].items(), key=lambda each: -each[1])[:5]
    codes = ", ".join(f"{count:,} {code}" for code, count in most)
    return [
        *((name, f"{count:,}") for name, count in told["trouble"].items()),
        ("DNS delay", f"median {_milliseconds(dns['median'])}, 95 % within {_milliseconds(dns['p95'])}, "
                      f"longest {_milliseconds(dns['longest'])}"),
        ("DNS", f"{dns['queries']:,} queries, {dns['answers']:,} answers{f' ({codes})' if codes else ''}, "
                f"{dns['unanswered']:,} unanswered"),
        ("dropped by the kernel", "not known" if dropped is None else f"{dropped:,}"),
        ("missed by callbacks", f"{stats['dropped_by_us']:,}"),
        ("lag", "-" if stats["lag"] is None else f"{stats['lag'] * 1e3:.0f} ms"),
    ]  # fmt: skip


def _drawing(told: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    steps = np.asarray(told["steps"], np.int64).reshape(len(told["steps"]), -1)[:, : len(KINDS)]
    rates = steps / told["width"]
    top = np.cumsum(rates, axis=1)
    most = max(1.0, float(top[:, -1].max(initial=0.0)))
    across = np.linspace(_LEFT, _WIDTH - 8, max(len(steps), 2))[: len(steps)]
    down = _HEIGHT - _BOTTOM
    floor = np.full(len(steps), down)
    body = [svg.line(_LEFT, down, _WIDTH - 8, down, css="life")]
    for number, kind in enumerate(KINDS):
        if not steps[:, number].any():
            continue
        height = down - top[:, number] / most * (down - _TOP)
        points = [f"{x:.0f} {y:.1f}" for x, y in zip(across, height, strict=True)]
        points += [f"{x:.0f} {y:.1f}" for x, y in zip(across[::-1], floor[::-1], strict=True)]
        tip = f"{kind}: {quantity(int(steps[:, number].sum()), 'packet')}"
        body.append(f'<path d="M{" L".join(points)} z" fill="{colours[kind]}"><title>{tip}</title></path>')
        floor = height
    body.append(svg.text(_LEFT - 4, _TOP + 8, f"{most:,.0f}/s", anchor="end"))
    body.append(svg.text(_LEFT - 4, down, "0", anchor="end"))
    body.append(svg.text(_LEFT, _HEIGHT - 8, f"{duration(told['span'])} before the end", css="soft"))
    place = _WIDTH - 8
    for number, kind in reversed(list(enumerate(KINDS))):
        words = f"{kind} {int(steps[:, number].sum()):,}"
        place -= 8 * len(words) + 22
        body.append(f'<rect x="{place:.0f}" y="{_HEIGHT - 17:.0f}" width="10" height="10" fill="{colours[kind]}"/>')
        body.append(svg.text(place + 14, _HEIGHT - 8, words))
    return svg.document(_WIDTH, _HEIGHT, f"Packets a second by protocol, at most {most:,.0f}", body)
