"""The ring engine in tcpdump's place: `inside/ring.py`, told by tcpdump's own words as far as it has them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from podtracer_nb.errors import InputError
from podtracer_nb.packets import _ring
from podtracer_nb.tools.inside import ring as program
from podtracer_nb.tools.tool import Command

__all__ = ["NotOfTheRing", "command"]

# Words that ask for what the ring does anyway, or for nothing of a capture's.
_IDLE = {
    "-n", "-U", "--packet-buffered", "-Z", "--relinquish-privileges", "-K", "--dont-verify-checksums", "-q", "-e",
    "-t", "-v", "-l", "-#", "--number", "--nano", "-S", "--absolute-tcp-sequence-numbers", "--immediate-mode",
}  # fmt: skip
_SHORT = {
    "--interface": "-i", "--snapshot-length": "-s", "--buffer-size": "-B", "--no-promiscuous-mode": "-p",
}  # fmt: skip
_KNOWN = {"-i", "-s", "-c", "-B", "-p", "-w"}


class NotOfTheRing(InputError):
    """Something was asked for that tcpdump can and the ring engine cannot."""


def command(given: Sequence[tuple[str, str]], ours: Sequence[str], filter: str, *, text: bool) -> Command:
    """Return the ring's argv.

    Parameters
    ----------
    given
        tcpdump's options, as getopt gives them.
    ours
        The words of our own parameters.
    filter
        A pcap-filter(7) expression, or nothing.
    text
        Whether tcpdump's printed lines were asked for.

    Raises
    ------
    NotOfTheRing
        An option that the ring has not got.
    InputError
        A number that is none.
    """
    if text:
        raise NotOfTheRing("--text is tcpdump's own print: leave --engine ring out")
    words = list(ours)
    file: Path | None = None
    for long, value in given:
        name = _SHORT.get(long, long)
        if name in _IDLE:
            continue
        if name not in _KNOWN:
            raise NotOfTheRing(f"the ring engine has no {long}: leave --engine ring out, and tcpdump captures")
        if name == "-w":
            file = Path(value) if value != "-" else None
            continue
        if name in ("-s", "-c", "-B") and not (value.isascii() and value.isdigit()):
            raise InputError(f"{long} takes a number, not {value!r}")
        words += [name] if name == "-p" else [name, value]
    pcapng = file is not None and file.suffix.lower() in (".pcapng", ".ntar")
    if pcapng:
        words.append("--pcapng")
    # Interpreted it needs the names of Cython's pure-Python mode, an installed package.
    python = [sys.executable, "-I", "-S"] if _ring.compiled else [sys.executable, "-I"]
    rest = ["--", filter] if filter else []
    start = (*python, program.__file__, _ring.__file__)
    return Command(
        (*start, *words, *rest),
        output="packets",
        suffix=".pcapng" if pcapng else ".pcap",
        file=file,
        check=(*start, "--check", *words, *rest),
        notes=() if file is None else (f"{file} is on this machine, not in the target",),
        endless="-c" not in words,
    )
