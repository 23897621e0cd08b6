"""The line for a name that does not exist: with the nearest ones that do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from podtracer_nb.errors import TargetNotFound

__all__ = ["not_found"]

_SHOWN = 3


def not_found(what: str, name: str, known: Iterable[str], *, where: str = "", empty: str = "") -> TargetNotFound:
    """Make the error for a name that does not exist.

    Parameters
    ----------
    what, name
        What was looked for: "pod", "web".
    known
        All names that exist.
    where
        Where it was looked for: "in namespace demo".
    empty
        What to say where nothing is known at all.

    Returns
    -------
    TargetNotFound
        To be raised; its `nearest` holds the names closest to `name`, best first.

    Examples
    --------
    >>> not_found("pod", "wbe-0", ["web-0", "api-0"]).nearest
    ('web-0',)
    """
    names = sorted(set(known))
    # A prefix or suffix is what people type of generated names such as web-7d9f-x2x: closer than any edit distance.
    parts = [one for one in names if name and name in one]
    nearest = tuple(dict.fromkeys([*parts, *difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.5)]))[:_SHOWN]
    if nearest:
        hint = f"nearest: {', '.join(nearest)}"
    elif names:
        hint = f"there are: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"  # noqa: PLR2004 - fits on a line
    else:
        hint = empty or "there are none"
    return TargetNotFound(f"no {what} {name}{f' {where}' if where else ''}; {hint}", nearest)
