"""What stands in a tool's own words: which options were given, with what values, and what is none."""

from __future__ import annotations

import getopt
import shutil
from collections.abc import Sequence
from pathlib import Path

from podtracer_nb import execution

__all__ = ["is_busybox", "options_of"]


def options_of(arguments: Sequence[str], short: str, long: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Return the options with their last values, and the other words: getopt(3).

    Of words that do not fit, which the tool itself will refuse, what looks like an option is one.

    Examples
    --------
    >>> options_of(["-nc3", "web"], "nc:")
    ({'-n': '', '-c': '3'}, ['web'])
    """
    try:
        given, words = getopt.gnu_getopt(list(arguments), short, list(long))
    except getopt.GetoptError:
        dashed = {word: "" for word in arguments if word.startswith("-")}
        return dashed, [word for word in arguments if not word.startswith("-")]
    return dict(given), words


def is_busybox(name: str) -> bool:
    """Tell whether this machine's program of that name is busybox's."""
    path = shutil.which(name, path=execution.search_path())
    return path is not None and Path(path).resolve().name.startswith("busybox")
