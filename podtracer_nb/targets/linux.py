"""Whether namespaces can be entered on this machine at all."""

from __future__ import annotations

import sys

from podtracer_nb.errors import PrivilegeError

__all__ = ["is_linux", "need_linux"]


def is_linux() -> bool:
    """Tell whether this machine runs Linux; on any other, pods are reached by tracer pods only."""
    return sys.platform.startswith("linux")


def need_linux(what: str) -> None:
    """Refuse what only Linux has.

    Raises
    ------
    PrivilegeError
        This is another system.
    """
    if not is_linux():
        raise PrivilegeError(
            f"{what} needs Linux, and this is {sys.platform}: a pod of a cluster can be named, and is entered there"
        )
