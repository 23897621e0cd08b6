"""The progress of many targets in a notebook: one table with live counters, updated in place."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podtracer_nb.notebook.display import Banner

if TYPE_CHECKING:
    from podtracer_nb.tools import Progress

__all__ = ["TargetsTable"]

_HEADINGS = ("target", "node", "packets", "bytes", "dropped", "state")
_LEFT = "text-align:left;padding:0 .8em 0 0;overflow-wrap:anywhere"
_RIGHT = "text-align:right;padding:0 .8em 0 0;font-variant-numeric:tabular-nums"
_LOUD = "font-weight:600;color:var(--jp-error-color0,#b71c1c)"
_BOX = "max-height:24em;overflow:auto;font-size:90%;color:var(--jp-ui-font-color1,#212121)"


@dataclass(frozen=True)
class TargetsTable:
    """How far each target is, below the line of the whole; what did not go well comes first."""

    line: Banner
    progress: Progress

    def __repr__(self) -> str:
        """Return the line of the whole: text cannot be updated in place, and a table of it would pile up."""
        return repr(self.line)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the table as HTML, and the line of the whole as text."""
        from podtracer_nb.tools.progress import cells, ordered

        rows = []
        for one in ordered(self.progress):
            loud = one.state not in ("running", "stopping", "ended") or bool(one.drops)
            rows.append(_row("td", cells(one), loud=loud))
        table = (
            f'<div class="podtracer-targets" style="{_BOX}"><table style="border-collapse:collapse">'
            f"<thead>{_row('th', _HEADINGS)}</thead><tbody>{''.join(rows)}</tbody></table></div>"
        )
        line = self.line._repr_mimebundle_(include, exclude)
        return {"text/html": line["text/html"] + table, "text/plain": repr(self)}


def _row(tag: str, values: tuple[str, ...], *, loud: bool = False) -> str:
    styles = [_RIGHT if 2 <= at <= 4 else _LEFT for at in range(len(values))]  # noqa: PLR2004 - the numbers
    if loud:
        styles[-1] += f";{_LOUD}"
    words = (f'<{tag} style="{style}">{html.escape(text)}</{tag}>' for style, text in zip(styles, values, strict=True))
    return f"<tr>{''.join(words)}</tr>"
