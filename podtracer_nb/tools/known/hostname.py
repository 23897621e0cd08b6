"""hostname: the name of a UTS namespace, which is this machine's own unless `--ns` has uts.

hostname(1): with a name, or `-F FILE`, it sets it; everything else shows.
"""

from __future__ import annotations

from podtracer_nb.tools.tool import Change, Tool

__all__ = ["TOOLS"]


def _change(arguments: tuple[str, ...]) -> Change | None:
    sets = any(word in ("-F", "--file", "-b", "--boot") or not word.startswith("-") for word in arguments)
    return Change("sets the host name, this machine's own where --ns has no uts,") if sets else None


TOOLS = (
    Tool("hostname", "hostname", purpose="the name of a UTS namespace", change=_change),
    Tool("domainname", "hostname", purpose="the NIS domain name of a UTS namespace", change=_change),
)
