"""tcpdump(1): its capture, read as packets.

Without ``-w`` we add ``-w -``; with ``-w FILE`` the same bytes are left in FILE. tcpdump's own printed lines come with
`text`. Source: tcpdump(1) and tcpdump.c of tcpdump 4.99.
"""

from __future__ import annotations

import getopt
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError, TargetError, ToolFailed
from podtracer_nb.tools.inside import allow_setgroups
from podtracer_nb.tools.tool import Command, Options, Tool

__all__ = ["TCPDUMP", "TOOLS", "rotating"]

_SHORT = "aAbB:c:C:dDeE:fF:G:hHi:Ij:JKlLm:M:nNOpqQ:r:s:StT:uUvV:w:W:xXy:Yz:Z:#"
_LONG = [
    "buffer-size=", "list-interfaces", "list-remote-interfaces=", "help", "interface=", "monitor-mode",
    "time-stamp-type=", "list-time-stamp-types", "micro", "nano", "dont-verify-checksums", "list-data-link-types",
    "no-optimize", "no-promiscuous-mode", "direction=", "snapshot-length=", "absolute-tcp-sequence-numbers",
    "packet-buffered", "linktype=", "immediate-mode", "debug", "relinquish-privileges=", "number", "print", "version",
    "time-stamp-precision=", "lengths", "count",
]  # fmt: skip

# These print something and end, or print and never write a capture.
_PRINTS = {
    "-D", "-L", "-J", "-d", "-h", "--list-interfaces", "--list-remote-interfaces", "--list-data-link-types",
    "--list-time-stamp-types", "--help", "--version",
}  # fmt: skip
_ROTATES = {"-C", "-G"}

# KiB of kernel buffer: tcpdump's default of 2 MiB is filled in 1.3 ms at 13 Gbit/s.
_BUFFER = "16384"

# The kernel hands a block of packets over when it is full, or after the second that tcpdump asks for (packet_mmap.rst
# of the kernel): stopped at once, tcpdump never sees the last of them.
_LINGER = 1.1

# As uid 0 tcpdump calls setgroups(2) whatever -Z says, and ends when that fails, as it does in a user namespace.
_LAUNCHER = allow_setgroups.__file__


def _prepare(arguments: tuple[str, ...], options: Options, unprivileged: bool) -> Command:
    try:
        given, words = getopt.gnu_getopt(list(arguments), _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise InputError(f"tcpdump: {error}; see man tcpdump for its options") from error
    names = {name for name, _ in given}
    if options.engine == "ring":
        from podtracer_nb.tools import ring  # it loads pandas

        if options.filter is not None and words:
            raise InputError("the filter is given twice, by filter= and in the arguments: give it once")
        filter = options.filter if options.filter is not None else " ".join(words)
        command = ring.command(given, _ours(options, names), filter, text=options.text)
        return replace(command, launcher=(sys.executable, "-I", "-S", _LAUNCHER) if unprivileged else ())
    return replace(
        _command(given, words, names, options, unprivileged),
        launcher=(sys.executable, "-I", "-S", _LAUNCHER) if unprivileged else (),
        linger=0.0 if names & (_PRINTS | {"-r", "--immediate-mode"}) else _LINGER,
        endless=options.count is None and not names & (_PRINTS | {"-r", "-c"}),
    )


def _command(
    given: list[tuple[str, str]], words: list[str], names: set[str], options: Options, unprivileged: bool
) -> Command:
    if options.filter is not None and words:
        raise InputError("the filter is given twice, by filter= and in the arguments: give it once")
    if options.filter is not None and "\0" in options.filter:
        raise InputError("the filter holds a NUL byte")
    rest = tuple(["--", options.filter] if options.filter is not None else ["--", *words] if words else [])
    ours = _ours(options, names)
    theirs = tuple(word for name, value in given for word in _words(name, value))
    if options.text or names & _PRINTS:
        # Looking up names would hold every line up until the pod's resolver answers, or does not.
        lined = () if names & _PRINTS else tuple(word for word in ("-l", "-n") if word not in names)
        return Command(("tcpdump", *_privileges(names, unprivileged), *lined, *ours, *theirs, *rest))
    check = _check(given, ours, rest)
    last = [value for name, value in given if name == "-w"][-1:]
    file = Path(last[0]) if last and last[0] != "-" else None
    if names & _ROTATES:
        if file is None:
            raise InputError("tcpdump: -C and -G rotate files: name them with -w FILE")
        notes = (f"tcpdump rotates {file}* on this machine: read the parts with podtracer_nb.read_pcap",)
        # The files after the first are opened when tcpdump has become its own user, who may not write here.
        argv = ("tcpdump", *_privileges(names, True), *ours, *theirs, *rest)
        return Command(argv, check=check, notes=notes)
    theirs = tuple(word for name, value in given if name not in ("-w", "-U", "--packet-buffered", "--print")
                   for word in _words(name, value))  # fmt: skip
    machine = ["-w", "-", "-U"]
    if not names & {"-B", "--buffer-size"} and "-r" not in names:
        machine += ["-B", _BUFFER]
    return Command(
        ("tcpdump", *machine, *_privileges(names, unprivileged), *ours, *theirs, *rest),
        output="packets",
        suffix=".pcap",
        file=file,
        check=check,
        notes=() if file is None else (f"{file} is on the machine that runs tcpdump, not in the target",),
    )


def rotating(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take -w, -C, -G and -W out of tcpdump's words: return the others, and the keywords of `podtracer_nb.capture`."""
    try:
        given, words = getopt.gnu_getopt(list(arguments), _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise InputError(f"tcpdump: {error}; see man tcpdump for its options") from error
    ours: dict[str, Any] = {}
    rest: list[str] = []
    for name, value in given:
        if name == "-w" and value != "-":
            ours["file"] = value
        elif name == "-C":
            ours["rotate_size"] = _millions(value)
        elif name == "-G":
            ours["rotate_seconds"] = int(value) if value.isascii() and value.isdigit() else value
        elif name == "-W":
            ours["rotate_count"] = int(value) if value.isascii() and value.isdigit() else value
        elif name != "-w":
            rest += _words(name, value)
    return [*rest, *(["--", *words] if words else [])], ours


def _millions(value: str) -> int:
    """Return the bytes that -C says: millions, or with a suffix units of 1024."""
    found = re.fullmatch(r"(\d+)([kmgKMG]?)", value, re.ASCII)
    if not found:
        raise InputError(f"tcpdump: -C takes a size in millions of bytes, not {value!r}")
    units = {"": 10**6, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    return int(found[1]) * units[found[2].lower()]


def _words(name: str, value: str) -> list[str]:
    if name.startswith("--"):
        return [f"{name}={value}" if value else name]
    return [name, value] if name[1] + ":" in _SHORT else [name]


def _ours(options: Options, names: set[str]) -> tuple[str, ...]:
    """Our own parameters as words: each value is the value of an option and can be nothing else."""
    words: list[str] = []
    for value, name, others in (
        (options.interface, "-i", {"-i", "--interface"}),
        (options.count, "-c", {"-c"}),
        (options.snaplen, "-s", {"-s", "--snapshot-length"}),
    ):
        if value is not None:
            if names & others:
                raise InputError(f"tcpdump's {name} is given twice, by our own parameter and in the arguments")
            words += [name, str(value)]
    if options.interface is not None and not re.fullmatch(r"[^\s/:-][^\s/:]{0,14}", options.interface):
        raise InputError(f"{options.interface!r} is not an interface name")
    return tuple(words)


def _privileges(names: set[str], unprivileged: bool) -> tuple[str, ...]:
    """Keep root where tcpdump has no user to become: no such user, or one that is not mapped."""
    if names & {"-Z", "--relinquish-privileges"}:
        return ()
    try:
        import pwd

        pwd.getpwnam("tcpdump")
    except ModuleNotFoundError:  # Windows, where nothing is run: the node's side asks again
        return ()
    except KeyError:
        return ("-Z", "root")
    return ("-Z", "root") if unprivileged else ()


def _check(given: list[tuple[str, str]], ours: tuple[str, ...], rest: tuple[str, ...]) -> tuple[str, ...] | None:
    """Compile the filter on the interface itself (``-d``), whose link type it depends on."""
    if not rest:
        return None
    kept = {"-i", "--interface", "-y", "--linktype", "-s", "--snapshot-length", "-r"}
    words = [word for name, value in given if name in kept for word in _words(name, value)]
    interface = [word for at, word in enumerate(ours) if word == "-i" or (at and ours[at - 1] == "-i")]
    return ("tcpdump", "-d", *interface, *words, *rest)


def _diagnose(stderr: str) -> PodtracerError | None:  # noqa: PLR0911 - a return an error
    for line in stderr.splitlines():
        text = line.removeprefix("tcpdump: ")
        if "can't parse filter expression" in text or "expression rejects all packets" in text:
            return InputError(f"the filter is not one: {text.removeprefix(chr(39))}; its language is pcap-filter(7)")
        if re.search(r"syntax error|unknown (host|port|network|protocol)|illegal|is not valid|not supported", text):
            return InputError(f"tcpdump refuses: {text}; the filter's language is pcap-filter(7)")
        gone = re.search(r"(\S+): (No such device exists|That device (doesn't exist|is not up))", text)
        if gone:
            return TargetError(f"no interface {gone[1]} in the target, or it is not up")
        if "You don't have permission" in text or "Operation not permitted" in text or "Permission denied" in text:
            return PrivilegeError(f"tcpdump may not capture ({text}): it needs CAP_NET_RAW in the target's namespace")
        if "Couldn't find user" in text:
            return ToolFailed(f"{text}; add -Z root to tcpdump's arguments")
        if text.startswith("ring: "):
            return ToolFailed(f"the ring engine cannot be used here ({text}): leave --engine out, and tcpdump captures")
    return None


def _summary(stderr: str) -> dict[str, int]:
    counters: dict[str, int] = {}
    for name, words in (
        ("captured", r"packets? captured"),
        ("received", r"packets? received by filter"),
        ("dropped_by_kernel", r"packets? dropped by kernel"),
        ("dropped_by_interface", r"packets? dropped by interface"),
    ):
        # One a line at the end; all on one line, after its name, when it is asked in between.
        found = re.findall(rf"(?:^|^tcpdump: |, )(\d+) {words}", stderr, re.MULTILINE)
        if found:
            counters[name] = int(found[-1])
    return counters


# tcpdump installs its handler for SIGUSR1 before it says what it listens on.
TCPDUMP = Tool(
    "tcpdump",
    "tcpdump",
    _prepare,
    purpose="captures packets",
    needs=("CAP_NET_RAW",),
    diagnose=_diagnose,
    summary=_summary,
    reports_after="listening on",
    prints=True,
)
TOOLS = (TCPDUMP,)
