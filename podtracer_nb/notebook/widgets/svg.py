"""Pieces of SVG: text that cannot become markup, and colours that follow JupyterLab's theme where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

__all__ = ["COLOURS", "arrow", "document", "line", "text"]

# Okabe and Ito (2008): told apart by people who see fewer colours, on light and on dark.
COLOURS = {
    "tcp": "#785ef0", "udp": "#2f8fc9", "dns": "#0072b2", "http": "#009e73", "tls": "#b5608c", "arp": "#9a8f00",
    "icmp": "#c07f00", "opening": "#808080", "reset": "#d55e00", "repeated": "#d55e00", "error": "#d55e00",
    "other": "#808080",
}  # fmt: skip

# Inside an image there are no variables of the page: then these are the colours of a light page.
_STYLE = (
    ".podtracer-svg{background:var(--jp-layout-color0,#fff);font:12px monospace}"
    ".podtracer-svg text{fill:var(--jp-ui-font-color0,#1a1a1a)}"
    ".podtracer-svg .soft{fill:var(--jp-ui-font-color2,#616161)}"
    ".podtracer-svg .life{stroke:var(--jp-border-color1,#bdbdbd)}"
    ".podtracer-svg .page{fill:var(--jp-layout-color0,#fff)}"
)


def document(width: float, height: float, title: str, body: Sequence[str]) -> str:
    """Return an SVG of its own, with a title that is read out.

    Examples
    --------
    >>> document(10, 10, "a < b", [])[:60]
    '<svg xmlns="http://www.w3.org/2000/svg" class="podtracer-svg'
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="podtracer-svg" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" style="max-width:100%;height:auto" aria-label={quoteattr(title)}>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<rect class="page" width="100%" height="100%"/>{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", css: str = "", longest: int = 60) -> str:
    """Return a line of text; one that is too long ends in dots, and is whole in its tooltip.

    Examples
    --------
    >>> text(1, 2, "<b>")
    '<text x="1.0" y="2.0" text-anchor="start">&lt;b&gt;</text>'
    """
    short = words if len(words) <= longest else f"{words[: longest - 1]}…"
    more = "" if short == words else f"<title>{escape(words)}</title>"
    named = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(short)}{more}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, css: str) -> str:
    """Return a line of the style `css`."""
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def arrow(x1: float, x2: float, y: float, colour: str, tooltip: str, *, width: float = 1.5) -> str:
    """Return a level arrow, its head drawn: markers take no colour of their own in every browser."""
    back = 7 if x2 > x1 else -7
    return (
        f'<g stroke="{colour}" fill="{colour}"><title>{escape(tooltip)}</title>'
        f'<line x1="{x1:.1f}" y1="{y:.1f}" x2="{x2 - back / 2:.1f}" y2="{y:.1f}" stroke-width="{width:.1f}"/>'
        f'<path d="M{x2:.1f} {y:.1f} l{-back} -4 v8 z" stroke="none"/></g>'
    )
