"""The shape of a tool: how what the user asked becomes one argv, and what that argv gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.tools.inside.hold import filled
from podtracer_nb.tools.table import Parsed, Table, Text

__all__ = ["Change", "Command", "Gathering", "Options", "Tool", "Variant"]


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
    foreign
        Whether the program is the target's own, which may be any version (`--ns mnt`), and not this machine's.
    engine
        What captures in tcpdump's place: `ring`; None and `tcpdump` are tcpdump itself.
    """

    filter: str | None = None
    interface: str | None = None
    count: int | None = None
    snaplen: int | None = None
    text: bool = False
    parse: str | None = None
    foreign: bool = False
    engine: str | None = None

    def given(self) -> tuple[str, ...]:
        """Return the names of those that were given and are a capture's."""
        return tuple(name for name in ("filter", "interface", "count", "snaplen") if getattr(self, name))


class Gathering(Protocol):
    """Reads output while it comes."""

    def add(self, data: bytes) -> None:
        """Take the next bytes of standard output."""

    def parsed(self) -> Parsed | None:
        """Return what all of them say; None: only the whole, read at once by `parse`, tells."""


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
    gather
        Makes what reads standard output while the tool writes it, in place of `parse` at the end; or None.
    suffix
        Ending of the recording's file name.
    file
        Where the recording has to be left because the argv said so, or None.
    check
        An argv that ends at once and fails where this one would (a filter that does not compile), or None.
    probe, otherwise
        An argv that ends at once and fails where the program, of another version or make, does not know the options
        that we added, and the argv in that place. `parse` reads what either writes.
    notes
        What the user should know about how the argv was changed.
    launcher
        Words that start `argv` where it cannot start by itself.
    linger
        Seconds that the tool needs, after the order to stop, to have all that happened before it.
    endless
        Whether it runs until it is stopped: a capture without a count, a server, a monitor. Beside others that end by
        themselves it is stopped when they have ended.
    diagnose
        What it wrote to standard error → the error, where that needs the argv; None: as the tool has it.
    """

    argv: tuple[str, ...]
    output: Literal["packets", "table", "lines"] = "lines"
    parse: Callable[[Text], Parsed] | None = None
    gather: Callable[[], Gathering] | None = None
    suffix: str = ".txt"
    file: Path | None = None
    check: tuple[str, ...] | None = None
    probe: tuple[str, ...] | None = None
    otherwise: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    linger: float = 0.0
    endless: bool = False
    diagnose: Callable[[str], PodtracerError | None] | None = None


@dataclass(frozen=True)
class Change:
    r"""What an argv would alter in its target.

    Attributes
    ----------
    what
        In words, to be read after "this": `adds an address`.
    undo
        The argv that takes it back, or None where there is none.
    before, undo_from
        Where the undo depends on what was there: an argv that shows it and alters nothing, and a function that makes
        the undo of what that wrote (None: there is no undo after all; InputError: this must not be done).
    restores
        Whether the undo brings back what was there before, whatever is there now. Then it is run after a failed change,
        too, which may have been made in part.
    told
        Where the undo depends on what the change itself writes: a regular expression with named groups that is searched
        there; `{name}` in a word of `undo` stands for what the group matched.

    Examples
    --------
    >>> Change("adds an address", ("ip", "address", "del", "192.0.2.1/24", "dev", "eth0")).what
    'adds an address'
    >>> Change("sets a kernel parameter", before=("sysctl", "-n", "net.ipv4.ip_forward"), restores=True,
    ...     undo_from=lambda old: ("sysctl", "-w", f"net.ipv4.ip_forward={old.strip()}")).undo_from("0\n")
    ('sysctl', '-w', 'net.ipv4.ip_forward=0')
    >>> Change("adds a rule", ("nft", "delete", "rule", "inet", "t", "c", "handle", "{handle}"),
    ...     told=r"# handle (?P<handle>\d+)").after("add rule inet t c accept # handle 7").undo
    ('nft', 'delete', 'rule', 'inet', 't', 'c', 'handle', '7')
    """

    what: str
    undo: tuple[str, ...] | None = None
    before: tuple[str, ...] | None = None
    undo_from: Callable[[str], tuple[str, ...] | None] | None = None
    restores: bool = False
    told: str = ""

    def after(self, output: str) -> Change:
        """Return it with the undo that is known when the change has written `output`."""
        return replace(self, undo=filled(self.undo, self.told, output), told="") if self.undo and self.told else self


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
    prints
        Whether `prepare` itself makes the printed lines that `text` asks for, because they need words of their own.
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
    prints: bool = False

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
        if self.prepare is None:
            return _plain(self.name)(arguments, options, unprivileged)
        prepared = self.prepare(arguments, options, unprivileged)
        if not options.text or self.prints:
            return prepared
        return Command((self.name, *arguments), notes=prepared.notes, endless=prepared.endless)
