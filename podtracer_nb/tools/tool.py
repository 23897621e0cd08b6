"""The shape of a tool: how what the user asked becomes one argv, and what that argv gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.tools.table import Parsed, Table, Text

__all__ = ["Change", "Command", "Options", "Tool", "Variant"]


@dataclass(frozen=True)
class Options:
    """What our own parameters ask of a tool; a value of these never becomes an option of the tool.

    Attributes
    ----------
    filter, interface, count, snaplen
        tcpdump's: which packets, where, how many, how much of each.
    text
        The tool's own printed lines, in place of a table or packets.
    parse
        How lines become a table: `json`, `jsonl`, `csv`, `tsv`, `kv`, `jc:NAME`; in place of what we know of the tool.
    engine
        What captures in tcpdump's place: `ring`; None and `tcpdump` are tcpdump itself.
    """

    filter: str | None = None
    interface: str | None = None
    count: int | None = None
    snaplen: int | None = None
    text: bool = False
    parse: str | None = None
    engine: str | None = None

    def given(self) -> tuple[str, ...]:
        """Return the names of those that were given and are a capture's."""
        return tuple(name for name in ("filter", "interface", "count", "snaplen") if getattr(self, name))


@dataclass(frozen=True)
class Command:
    """One argv, ready to run inside a target.

    Attributes
    ----------
    argv
        The tool's words, the program first.
    output
        What standard output carries: `packets` (a capture file's bytes), `table` (what `parse` reads) or `lines`.
    parse
        What the tool wrote → its tables; raises `Unreadable` for a form that it does not know.
    suffix
        Ending of the recording's file name.
    file
        Where the recording has to be left because the argv said so, or None.
    check
        An argv that ends at once and fails where this one would (a filter that does not compile), or None.
    notes
        What the user should know about how the argv was changed.
    launcher
        Words that start `argv` where it cannot start by itself.
    linger
        Seconds that the tool needs, after the order to stop, to have all that happened before it.
    endless
        Whether it runs until it is stopped: a capture without a count, a server, a monitor. Beside others that end by
        themselves it is stopped when they have ended.
    """

    argv: tuple[str, ...]
    output: Literal["packets", "table", "lines"] = "lines"
    parse: Callable[[Text], Parsed] | None = None
    suffix: str = ".txt"
    file: Path | None = None
    check: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    linger: float = 0.0
    endless: bool = False


@dataclass(frozen=True)
class Change:
    """What an argv would alter in its target.

    Attributes
    ----------
    what
        In words, to be read after "this": `adds an address`.
    undo
        The argv that takes it back, or None where there is none.
    """

    what: str
    undo: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Variant:
    """What one form of a tool's command line gives: for the list of tools, and for people.

    Attributes
    ----------
    form
        The words that it is chosen by: `addr`, `-i`, empty for all.
    tables
        What it gives.
    """

    form: str
    tables: tuple[Table, ...]


def _plain(name: str) -> Callable[[tuple[str, ...], Options, bool], Command]:
    def prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
        refuse_capture_options(name, options)
        return Command((name, *arguments))

    return prepare


def refuse_capture_options(name: str, options: Options) -> None:
    """Refuse --filter, --interface, --count and --snaplen for a tool that has its own words for such things."""
    if options.given():
        words = ", ".join(f"--{each}" for each in options.given())
        raise InputError(f"{words} is for tcpdump; {name} takes its own options after --")
    if options.engine is not None:
        raise InputError(f"--engine is for tcpdump, not for {name}")


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
        None: the words as they are, and lines.
    purpose
        What people use it for, in a few words.
    variants
        What its tables are.
    change
        The arguments → what they would alter in the target, or None where they only look.
    needs
        Capabilities beyond those to enter: `CAP_NET_ADMIN`.
    version
        Words that make it tell its version.
    resolves
        Whether it looks names up, and so is given the target's own resolv.conf.
    diagnose
        What the tool wrote to standard error → the error to raise, or None where it says nothing we know.
    summary
        What the tool wrote to standard error → its own counters.
    reports_after
        Text on standard error after which the tool answers SIGUSR1 with its counters; empty: it never does.
    """

    name: str
    package: str = ""
    prepare: Callable[[tuple[str, ...], Options, bool], Command] | None = None
    purpose: str = ""
    variants: tuple[Variant, ...] = ()
    change: Callable[[tuple[str, ...]], Change | None] = lambda _: None
    needs: tuple[str, ...] = ()
    version: tuple[str, ...] = ("--version",)
    resolves: bool = False
    diagnose: Callable[[str], PodtracerError | None] = lambda _: None
    summary: Callable[[str], dict[str, int]] = lambda _: {}
    reports_after: str = ""

    def command(self, arguments: tuple[str, ...], options: Options, unprivileged: bool) -> Command:
        """Return the argv for what was asked, with `text` and `parse` heeded.

        Raises
        ------
        InputError
            The words cannot be right.
        """
        from podtracer_nb.tools import parsing  # it needs this module

        if options.parse is not None:
            return parsing.command(self.name, arguments, options)
        if self.prepare is None or (options.text and self.name != "tcpdump"):
            return _plain(self.name)(arguments, options, unprivileged)
        return self.prepare(arguments, options, unprivileged)
