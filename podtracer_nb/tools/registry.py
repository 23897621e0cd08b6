"""Which tools there are: ours, those that other packages bring, and any other program by its name."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from podtracer_nb import execution
from podtracer_nb.errors import InputError, PackageMissing
from podtracer_nb.tools.tool import Tool

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GROUP", "OTHER_NAMES", "find", "known", "list_tools", "tool_version"]

GROUP = "podtracer_nb.tools"
"""The entry-point group by which another package brings tools: each entry is a `Tool` or a tuple of them."""

# Tools in the file of another: everything else is in the file of its own name.
OTHER_NAMES = {
    "ip6tables": "iptables", "traceroute6": "traceroute", "tracepath6": "tracepath", "ping6": "ping", "host": "dig",
    "nslookup": "dig", "iptables-legacy": "iptables", "ip6tables-legacy": "iptables", "iptables-nft": "iptables",
    "ip6tables-nft": "iptables", "dumpcap": "tshark", "domainname": "hostname",
}  # fmt: skip

# Debian's packages of tools that we do not know but people run in pods, for the line that says what to install.
_PACKAGES = {"ps": "procps", "ipset": "ipset", "nmap": "nmap", "socat": "socat", "iftop": "iftop"}


@functools.cache
def _files() -> frozenset[str]:
    from podtracer_nb.tools import known as folder

    return frozenset(each.name for each in pkgutil.iter_modules(folder.__path__))


@functools.cache
def _brought() -> Mapping[str, Tool]:
    """Return the tools that other packages bring."""
    found: dict[str, Tool] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except ImportError as error:
            raise PackageMissing(f"the tool {entry.name} of {entry.value} cannot be loaded: {error}") from error
        for each in (loaded,) if isinstance(loaded, Tool) else tuple(loaded):
            if not isinstance(each, Tool):
                raise InputError(f"the entry point {entry.name} of {GROUP} gives no Tool but {type(each).__name__}")
            found[each.name] = each
    return found


def find(name: str) -> Tool:
    """Return the tool `name`: one that we know, or any other program, whose lines are given.

    Raises
    ------
    InputError
        It is no program's name.

    Examples
    --------
    >>> find("tcpdump").package, find("hostname").prepare
    ('tcpdump', None)
    """
    if not name or name.startswith("-") or "\0" in name:
        raise InputError(f"{name!r} is not the name of a tool")
    program = Path(name).name
    if program in _brought():
        return _named(_brought()[program], name)
    module = OTHER_NAMES.get(program, program)
    if module in _files():
        tools: tuple[Tool, ...] = importlib.import_module(f"podtracer_nb.tools.known.{module}").TOOLS
        for each in tools:
            if each.name == program:
                return _named(each, name)
    return Tool(name, _PACKAGES.get(program, ""))


def _named(tool: Tool, name: str) -> Tool:
    """Return the tool as it was called: by a path, that very file is run."""
    if name == tool.name:
        return tool
    raise InputError(f"name the tool as {tool.name}, without a path: what is found on PATH is run")


def known() -> Iterator[Tool]:
    """Give every tool that we know, and those that other packages bring, by name."""
    found = dict(_brought())
    for module in _files():
        for each in importlib.import_module(f"podtracer_nb.tools.known.{module}").TOOLS:
            found.setdefault(each.name, each)
    yield from (found[name] for name in sorted(found))


def list_tools() -> pd.DataFrame:
    """List the tools whose results become tables, and which of them this machine has.

    Returns
    -------
    pandas.DataFrame
        A row a tool: `tool`, `purpose`, `available` (bool), `version`, `path`, `package` (Debian's), `needs`
        (capabilities beyond those to enter), `gives` (str; its forms and their tables).

    Examples
    --------
    >>> import podtracer_nb
    >>> "tcpdump" in set(podtracer_nb.list_tools().tool)
    True
    """
    import pandas as pd

    rows = []
    for each in known():
        path = shutil.which(each.name, path=execution.search_path())
        gives = "; ".join(
            f"{one.form}: {', '.join(table.name for table in one.tables)}".removeprefix(": ") for one in each.variants
        )
        rows.append(
            {
                "tool": each.name,
                "purpose": each.purpose,
                "available": path is not None,
                "version": tool_version(path, each.version) if path else None,
                "path": path,
                "package": each.package,
                "needs": ", ".join(each.needs),
                "gives": gives,
            }
        )
    text = dict.fromkeys(("tool", "purpose", "version", "path", "package", "needs", "gives"), "str")
    return pd.DataFrame(rows).astype({**text, "available": "bool"})


def tool_version(path: str, words: tuple[str, ...]) -> str | None:
    """Return the version that a program tells, or None."""
    try:
        done = subprocess.run(
            [path, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+(\.\d+)+[\w.+~-]*|\d{8}", done.stdout)
    return found[0] if found else None
