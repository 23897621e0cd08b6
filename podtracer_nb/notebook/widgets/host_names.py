"""Which hosts are shown where there is not room for all, and the names that stand for their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from podtracer_nb.errors import InputError

__all__ = ["Names", "host_names", "hosts_of"]

Names = Mapping[str, str] | pd.DataFrame | None
"""A dict of names by address, or what `podtracer_nb.pods` returns, or none."""


def host_names(given: Names) -> dict[str, str]:
    """Return names by address.

    Raises
    ------
    InputError
        It is a frame without the columns `ip` and `pod`.

    Examples
    --------
    >>> host_names(pd.DataFrame({"ip": ["10.0.0.1,fd00::1"], "pod": ["web"]}))
    {'10.0.0.1': 'web', 'fd00::1': 'web'}
    """
    if given is None:
        return {}
    if isinstance(given, pd.DataFrame):
        if not {"ip", "pod"} <= set(given.columns):
            raise InputError("names are a dict, or a frame with the columns ip and pod, as podtracer_nb.pods returns")
        pairs = zip(given["ip"], given["pod"], strict=True)
        return {each: str(pod) for ips, pod in pairs if isinstance(ips, str) for each in ips.split(",") if each}
    return {str(address): str(name) for address, name in given.items()}


def hosts_of(pairs: Iterable[tuple[str, str]], most: int) -> list[str]:
    """Return the hosts of the first pairs, each once, as many as there is room for; who is shown has a peer.

    Examples
    --------
    >>> hosts_of([("a", "b"), ("c", "d"), ("b", "e")], 3)
    ['a', 'b', 'e']
    """
    hosts: dict[str, None] = {}
    for pair in pairs:
        new = {host: None for host in pair if host not in hosts}
        if len(hosts) + len(new) <= most:
            hosts |= new
        if len(hosts) == most:
            break
    return list(hosts)
