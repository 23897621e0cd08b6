"""A list of packets without a kernel: a table of the first rows, as HTML of bounded size and as text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

__all__ = ["as_html", "as_text"]

_LONGEST = 90
_MOST_BYTES = 30_000

# The tints lie over the page's own colour, so that they suit a light and a dark one.
_TINTS = {
    "tcp": "rgba(120,94,240,.13)", "udp": "rgba(86,180,233,.18)", "dns": "rgba(0,114,178,.22)",
    "http": "rgba(0,158,115,.18)", "tls": "rgba(204,121,167,.16)", "arp": "rgba(240,228,66,.22)",
    "icmp": "rgba(230,159,0,.20)", "opening": "rgba(128,128,128,.22)", "reset": "rgba(213,94,0,.35)",
    "repeated": "rgba(213,94,0,.22)", "error": "rgba(213,94,0,.35)",
}  # fmt: skip


def as_html(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], tints: Sequence[str]) -> str:
    """Return a table that needs no script, no style sheet and no network.

    Parameters
    ----------
    caption
        What it shows and what it leaves out.
    columns, rows
        The heads, and the cells' texts.
    tints
        What each row is marked as.

    Examples
    --------
    >>> "&lt;b&gt;" in as_html("1 packet", ["src"], [["<b>"]], ["tcp"])
    True
    """
    head = "".join(f'<th scope="col" style="text-align:left">{html.escape(name)}</th>' for name in columns)
    body: list[str] = []
    size = 0
    for cells, tint in zip(rows, tints, strict=True):
        shown = "".join(f"<td>{html.escape(_short(text))}</td>" for text in cells)
        line = f'<tr style="text-align:left;background:{_TINTS.get(tint, "none")}">{shown}</tr>'
        size += len(line.encode())
        if size > _MOST_BYTES:
            caption += f" (here only {len(body):,}, for the page's size)"
            break
        body.append(line)
    return (
        '<div class="podtracer-static" style="overflow-x:auto"><table cellpadding="3" style="border-collapse:collapse;'
        'font-size:12px;font-family:monospace;white-space:pre">'
        f'<caption style="text-align:left;caption-side:top">{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def as_text(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same as lines of text.

    Examples
    --------
    >>> print(as_text("1 packet", ["src", "length"], [["10.0.0.1", "60"]]))
    1 packet
    src       length
    10.0.0.1  60
    """
    lines = [list(columns), *([_short(text) for text in cells] for cells in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    shown = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([caption, *shown])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def cut(value: Mapping[str, Sequence[str]], columns: Sequence[str]) -> list[list[str]]:
    """Return columns of texts as rows."""
    return [list(cells) for cells in zip(*(value[name] for name in columns), strict=True)]
