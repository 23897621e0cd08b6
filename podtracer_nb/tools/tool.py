"""The shape of a tool: how what the user asked becomes one argv, and what that argv gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podtracer_nb.errors import PodtracerError

__all__ = ["Command", "Options", "Tool"]


@dataclass(frozen=True)
class Options:
    """What our own parameters ask of a tool; a value of these never becomes an option of the tool."""

    filter: str | None = None
    interface: str | None = None
    count: int | None = None
    snaplen: int | None = None
    text: bool = False

    def given(self) -> tuple[str, ...]:
        """Return the names of those that were given."""
        return tuple(name for name in ("filter", "interface", "count", "snaplen", "text") if getattr(self, name))


@dataclass(frozen=True)
class Command:
    """One argv, ready to run inside a target.

    Attributes
    ----------
    argv
        The tool's words, the program first.
    linger
        Seconds that the tool needs, after the order to stop, to have all that happened before it.
    launcher
        Words that start `argv` where it cannot start by itself.
    output
        What standard output carries: `packets` (a capture file's bytes) or `lines`.
    suffix
        Ending of the recording's file name.
    file
        Where the recording has to be left because the argv said so, or None.
    check
        An argv that ends at once and fails where this one would (a filter that does not compile), or None.
    notes
        What the user should know about how the argv was changed.
    """

    argv: tuple[str, ...]
    output: Literal["packets", "lines"] = "lines"
    suffix: str = ".txt"
    file: Path | None = None
    check: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    linger: float = 0.0


@dataclass(frozen=True)
class Tool:
    """A program that we know.

    Attributes
    ----------
    name
        The program's name.
    package
        Debian's package of it, for the line that says what to install; empty where we do not know.
    prepare
        ``(arguments, options, unprivileged) -> Command``; `unprivileged` says that root of a user namespace runs it.
    diagnose
        What the tool wrote to standard error → the error to raise, or None where it says nothing we know.
    summary
        What the tool wrote to standard error → its own counters.
    reports_after
        Text on standard error after which the tool answers SIGUSR1 with its counters; empty: it never does.
    """

    name: str
    package: str
    prepare: Callable[[tuple[str, ...], Options, bool], Command]
    diagnose: Callable[[str], PodtracerError | None] = lambda _: None
    summary: Callable[[str], dict[str, int]] = lambda _: {}
    reports_after: str = ""
