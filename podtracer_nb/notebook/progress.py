"""The line that tells how a long run is getting on, and gives way to the banner at its end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from podtracer_nb.notebook.display import Banner, of_progress
from podtracer_nb.notebook.targets_table import TargetsTable

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from podtracer_nb.tools import Progress
    from podtracer_nb.tools.progress import Lines

__all__ = ["ProgressLine"]

QUIET_SECONDS = 1.0
"""A run shorter than this shows its banner only."""

UPDATE_SECONDS = 0.25
"""A Jupyter server drops messages by their number, silently: four a second are far below that."""

LOG_SECONDS = 10.0
"""Between two lines where what was written cannot be changed any more."""


class ProgressLine:
    """One line, shown in the way that the front end can bear.

    In a kernel it is one display that is updated in place, and at the end becomes the banner: an executed notebook
    keeps the banner only. In a terminal it is one line of standard error, erased at the end. Written to a file or a
    pipe it is a plain line every ten seconds.

    Parameters
    ----------
    shell
        The IPython shell that the run was started from.
    tool
        The tool's name.
    bounded
        Whether the run ends by itself; if not, the line says how it is ended.
    """

    def __init__(self, shell: InteractiveShell, tool: str, *, bounded: bool) -> None:
        self._in_kernel = getattr(shell, "kernel", None) is not None
        self._tool = tool
        self._bounded = bounded
        self._display: Any = None
        self._written = False
        self._table: Lines | None = None
        self._last: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Show the state, unless it is too early or too soon after the last one."""
        now = time.monotonic()
        terminal = not self._in_kernel and sys.stderr.isatty()
        pause = UPDATE_SECONDS if self._in_kernel or terminal else LOG_SECONDS
        # A little less than the pause: a caller that ticks at the same rate must not lose every other tick.
        if progress.done or progress.elapsed < QUIET_SECONDS or (self._last and now - self._last < pause * 0.9):
            return
        self._last = now
        line = of_progress(progress, self._tool, bounded=self._bounded)
        if self._in_kernel:
            self._show(line if len(progress.each) < 2 else TargetsTable(line, progress))  # noqa: PLR2004
        elif terminal and len(progress.each) > 1:
            from podtracer_nb.tools.progress import Lines

            self._table = self._table or Lines(sys.stderr)
            self._table(progress)
        elif terminal:
            sys.stderr.write(f"\r\x1b[2K{line!r}")
            sys.stderr.flush()
            self._written = True
        else:
            print(repr(line), file=sys.stderr, flush=True)

    def close(self, banner: Banner | None = None) -> None:
        """Take the line away and show the banner in its place."""
        if self._written:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._written = False
        if self._table is not None:
            self._table.clear()
            sys.stderr.flush()
            self._table = None
        if self._display is not None or banner is not None:
            self._show(banner or Banner(()))
        self._display = None

    def _show(self, line: Banner | TargetsTable) -> None:
        from IPython.display import display  # loaded already where there is a shell

        if self._display is not None:
            self._display.update(line)
        elif self._in_kernel:
            self._display = display(line, display_id=True)  # type: ignore[no-untyped-call]  # IPython's
        else:
            display(line)  # type: ignore[no-untyped-call]  # IPython's
