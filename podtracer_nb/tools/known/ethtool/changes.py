"""Which of ethtool's commands was asked for, what those that set something alter, and what takes that back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from podtracer_nb.tools.tool import Change

__all__ = ["change", "command_of"]

# Commands that only look, by all their names (ethtool.c, args[]); the first is how they are called here.
_LOOKS = (
    ("-i", "--driver"), ("-k", "--show-features", "--show-offload"), ("-S", "--statistics"), ("--phy-statistics",),
    ("-g", "--show-ring"), ("-l", "--show-channels"), ("-c", "--show-coalesce"), ("-a", "--show-pause"),
    ("-T", "--show-time-stamping"), ("-m", "--dump-module-eeprom", "--module-info"), ("-d", "--register-dump"),
    ("-e", "--eeprom-dump"), ("-n", "-u", "--show-nfc", "--show-ntuple"), ("-x", "--show-rxfh-indir", "--show-rxfh"),
    ("-P", "--show-permaddr"), ("-w", "--get-dump"), ("--show-priv-flags",), ("--show-eee",), ("--get-phy-tunable",),
    ("--get-tunable",), ("--show-fec",), ("--show-tunnels",), ("--show-module",), ("--get-plca-cfg",),
    ("--get-plca-status",), ("--show-mm",), ("--show-pse",), ("--get-hwtimestamp-cfg",), ("--monitor",),
    ("-h", "--help"), ("--version",),
)  # fmt: skip
_SETS = (
    ("-s", "--change"), ("-K", "--features", "--offload"), ("-G", "--set-ring"), ("-L", "--set-channels"),
    ("-C", "--coalesce"), ("-A", "--pause"),
)  # fmt: skip
_NAMES = {name: names[0] for names in (*_LOOKS, *_SETS) for name in names}
_READ = frozenset(names[0] for names in _LOOKS)


def command_of(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command by its short name, empty for the settings, and the words after it.

    Examples
    --------
    >>> command_of(["--json", "--show-features", "eth0"]), command_of(["eth0"])
    (('-k', ['eth0']), ('', ['eth0']))
    """
    words = list(arguments)
    while words and words[0] in ("--json", "-I", "--include-statistics", "--debug"):
        if words.pop(0) == "--debug" and words:
            words.pop(0)
    if not words or not words[0].startswith("-"):
        return "", words
    return _NAMES.get(words[0], words[0]), words[1:]


def change(arguments: tuple[str, ...]) -> Change | None:
    """Return what these words alter; a command that is not known is taken for one that sets something."""
    command, words = command_of(arguments)
    if not command or command in _READ:
        return None
    if command in ("-Q", "--per-queue") and {"--show-coalesce", "-c"} & set(words):
        return None
    what = f"sets the interface's {_WHAT[command]}" if command in _WHAT else "alters the interface"
    if command not in _WAS or not words:
        return Change(what)
    show, was = _WAS[command]
    device, asked = words[0], words[1:]

    def undo(before: str) -> tuple[str, ...] | None:
        found = was(before, asked)
        return ("ethtool", command, device, *found) if found else None

    return Change(what, None, ("ethtool", show, device), undo, restores=True)


_WHAT = {
    "-s": "link settings", "-K": "offloads", "-G": "ring buffers", "-L": "queues", "-C": "interrupt coalescing",
    "-A": "pause frames",
}  # fmt: skip


def _features(before: str, _: Sequence[str]) -> list[str]:
    """Return all that can be set: a feature stands for several, and one is turned off where another is needed."""
    lines = before.splitlines()[1:]
    words: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        found = re.fullmatch(r"(\s*)(\S+): (on|off)(?: \[requested (on|off)\])?", line)
        # A name with others below it is all of them.
        if found and not (after.startswith("\t") and not found[1]):
            words += [found[2], found[4] or found[3]]
    return words


def _numbers(before: str, asked: Sequence[str]) -> list[str]:
    current = before.partition("Current hardware settings:")[2]
    values = dict(re.findall(r"^([\w ]+):\s+(\d+|on|off)\s*$", current, re.MULTILINE))
    known = {name.lower().replace(" ", "-"): value for name, value in values.items()}
    return _those(known, asked)


def _pause(before: str, asked: Sequence[str]) -> list[str]:
    values = dict(re.findall(r"^(\w+):\s+(on|off)\s*$", before, re.MULTILINE))
    return _those(
        {{"autonegotiate": "autoneg"}.get(name.lower(), name.lower()): values[name] for name in values}, asked
    )


def _coalescing(before: str, asked: Sequence[str]) -> list[str]:
    known = dict(re.findall(r"^([a-z][\w-]+): (\d+)\s*$", before, re.MULTILINE))
    for way in ("RX", "TX"):
        adaptive = re.search(rf"^Adaptive.* {way}: (on|off)\b", before, re.MULTILINE)
        known.update({f"adaptive-{way.lower()}": adaptive[1]} if adaptive else {})
    return _those(known, asked)


def _those(known: Mapping[str, str], asked: Sequence[str]) -> list[str]:
    """Return what was, of the names that are set now; nothing where one of them is not known."""
    names = list(asked[::2])
    return [word for name in names for word in (name, known[name])] if all(name in known for name in names) else []


_WAS: Mapping[str, tuple[str, Callable[[str, Sequence[str]], list[str]]]] = {
    "-K": ("-k", _features),
    "-G": ("-g", _numbers),
    "-L": ("-l", _numbers),
    "-C": ("-c", _coalescing),
    "-A": ("-a", _pause),
}
