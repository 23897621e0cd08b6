"""The notebook's face: `%podtrace`, `%%podtrace`, their banner, their progress and their completion.

`load` and `unload` are what `%load_ext podtracer_nb` and `%unload_ext podtracer_nb` call.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from podtracer_nb.notebook.completion import IDENTIFIER, KnownPods, PodtraceMatcher
from podtracer_nb.notebook.magics import PodtraceMagics, RunInterrupted

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["KnownPods", "PodtraceMagics", "PodtraceMatcher", "RunInterrupted", "load", "unload"]

_NAME = "podtrace"


def load(shell: InteractiveShell) -> None:
    """Register the magics and the completion with an IPython shell; a second time replaces the first.

    Examples
    --------
    >>> from IPython.core.interactiveshell import InteractiveShell
    >>> shell = InteractiveShell()
    >>> load(shell)
    >>> "podtrace" in shell.magics_manager.magics["line"]
    True
    >>> unload(shell)
    """
    _take_away(shell)
    magics = PodtraceMagics(shell)
    shell.register_magics(magics)
    shell.Completer.custom_matchers.append(PodtraceMatcher(magics).matcher)


def unload(shell: InteractiveShell) -> None:
    """Take away what `load` registered, stop the captures in the background, and take back what is held in pods."""
    _take_away(shell)
    live = sys.modules.get("podtracer_nb.tools.live")  # loaded where there can be any
    if live is not None:
        live.stop_all()
    if "podtracer_nb.tools.held" in sys.modules:  # else there is none
        from podtracer_nb.tools import undo_all

        undo_all()


def _take_away(shell: InteractiveShell) -> None:
    manager = shell.magics_manager
    manager.registry.pop(PodtraceMagics.__name__, None)
    for kind in ("line", "cell"):
        manager.magics[kind].pop(_NAME, None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", None) != IDENTIFIER]
