"""Filter expressions (pcap-filter(7)), compiled by the compiler that everybody's are: libpcap's, through tcpdump."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess

__all__ = ["FilterError", "program"]

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, constant: bpf(4)."""

_SECONDS = 60  # a name in an expression is looked up
_SNAPLEN = 262_144
_WORDS = 4
_REJECT: tuple[Instruction, ...] = ((0x06, 0, 0, 0),)


class FilterError(ValueError):
    """The filter expression cannot be compiled; the message says why."""


@functools.lru_cache(maxsize=64)
def program(expression: str, linktype: int) -> tuple[Instruction, ...]:
    """Return the classic BPF program of a filter expression, for captures of one link type.

    Parameters
    ----------
    expression
        As tcpdump takes it; names in it are looked up as tcpdump does.
    linktype
        The LINKTYPE_ number.

    Raises
    ------
    FilterError
        The expression is not right for this link type, or tcpdump is not installed.

    Examples
    --------
    >>> from podtracer_nb.packets import bpf
    >>> bpf.program("less 100", 1)  # doctest: +SKIP
    ((128, 0, 0, 0), (37, 0, 1, 100), (6, 0, 0, 0), (6, 0, 0, 262144))
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    tcpdump = shutil.which("tcpdump", path=path)
    if tcpdump is None:
        raise FilterError("a filter is compiled by tcpdump, which is not installed here: install tcpdump")
    if "\0" in expression:
        raise FilterError("a filter has no NUL characters")
    # An empty capture tells the link type by its number, whatever this tcpdump calls it.
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, linktype)
    try:
        done = subprocess.run(
            [tcpdump, "-r", "-", "-ddd", "--", expression],
            input=header,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise FilterError(f"the filter {expression!r} was not compiled within {_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["tcpdump gave no reason"]
        if "expression rejects all packets" in said[-1]:
            return _REJECT
        raise FilterError(f"the filter {expression!r} is not one: {said[-1].removeprefix('tcpdump: ')}")
    lines = done.stdout.decode().split("\n")
    instructions = [tuple(int(word) for word in line.split()) for line in lines[1:] if line]
    if len(instructions) != int(lines[0]) or any(len(each) != _WORDS for each in instructions):
        raise FilterError(f"tcpdump -ddd printed something else than a program for {expression!r}")
    return tuple((each[0], each[1], each[2], each[3]) for each in instructions)
