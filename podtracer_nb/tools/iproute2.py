"""What ip, bridge and tc have in common: options before the words, words that may be shortened, monitors.

Source: ip/ip.c, bridge/bridge.c, tc/tc.c and lib/utils.c (`matches`) of iproute2 6.1.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podtracer_nb.errors import InputError
from podtracer_nb.tools.table import Column, Parsed, Table, Text, Unreadable

__all__ = ["EVENTS", "UTC", "document", "events", "first", "listed", "objects", "scalar", "split", "written_out"]

# A monitor's -ts is local time (lib/utils.c, print_timestamp).
UTC = ("env", "TZ=UTC0")

EVENTS = Table(
    "events",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it happened"),
        Column("object", "category", "", "what changed: link, address, route, neighbour, …"),
        Column("deleted", "boolean", "", "whether it is gone"),
        Column("interface", "str", "", "the interface it is about, where the line names one"),
        Column("text", "str", "", "what the tool says of it, in one line"),
    ),
)

# Options with a value, with the letters they need at the least (-b is -batch, -br is -brief).
_VALUED = {"-family": 2, "-netns": 2, "-batch": 2, "-rcvbuf": 3, "-loops": 2, "-conf": 3, "-cf": 3}
# What a monitor's label or the first words of its line stand for.
_OBJECTS = {
    "LINK": "link", "ADDR": "address", "ROUTE": "route", "MROUTE": "mroute", "NEIGH": "neighbour", "RULE": "rule",
    "NETCONF": "netconf", "NSID": "nsid", "PREFIX": "prefix", "NEXTHOP": "nexthop", "NEXTHOPBUCKET": "nexthop bucket",
    "STATS": "stats", "ADDRLABEL": "addrlabel", "MDB": "mdb", "VLAN": "vlan", "qdisc": "qdisc", "class": "class",
    "filter": "filter", "chain": "chain", "action": "action",
}  # fmt: skip
_STAMP = re.compile(r"(?:\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)\] ?)?(?:\[(\w+)\])?(.*)")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options, each with one dash, and the other words.

    Examples
    --------
    >>> split(["--json", "-f", "inet", "-s", "a", "show"])
    (['-json', '-f', '-s'], ['a', 'show'])

    Raises
    ------
    InputError
        It reads its commands from a file.
    """
    words, options = list(arguments), []
    while words and words[0].startswith("-") and words[0] != "-":
        option = re.sub("^--", "-", words.pop(0))
        if option == "-":
            break  # `--` ends the options
        options.append(option)
        full = [each for each, least in _VALUED.items() if len(option) >= least and each.startswith(option)]
        if "-batch" in full:
            raise InputError("-batch reads its commands from a file, which cannot be judged: give them one by one")
        if full and words:
            words.pop(0)
    return options, words


def first(word: str, known: Iterable[str]) -> str:
    """Return the first known word that begins with `word`, as iproute2's `matches` has it; empty where none does."""
    return next((each for each in known if word and each.startswith(word)), "")


def written_out(words: Sequence[str], objects: Mapping[str, Sequence[str]]) -> tuple[str, str, list[str]]:
    """Return an object, what is done with it, and the rest, shortened words written out.

    Nothing to do is `show`; a word that is not known stays as it is.

    Examples
    --------
    >>> written_out(["a", "d", "192.0.2.1/24", "dev", "lo"], {"address": ("add", "delete", "show")})
    ('address', 'delete', ['192.0.2.1/24', 'dev', 'lo'])
    """
    if not words:
        return "", "", []
    kind = first(words[0], objects) or words[0]
    if len(words) == 1:
        return kind, "show", []
    return kind, first(words[1], objects.get(kind, ())) or words[1], list(words[2:])


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of `-j`'s document, without the empty ones that stand for what was left out.

    Raises
    ------
    Unreadable
        It is no list of objects.
    """
    # bridge 6.1 opens the list, and never closes it where the kernel refuses.
    try:
        rows = json.loads("[]" if text.strip() in ("", "[") else text)
    except ValueError as error:
        raise Unreadable(f"it is no JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise Unreadable("its JSON is no list of objects")
    return [each for each in rows if each]


def listed(text: str) -> list[dict[str, Any]]:
    """Return what `-j` lists; nothing where that is no JSON, for an undo that is then not known."""
    try:
        return objects(text)
    except Unreadable:
        return []


def events(text: Text) -> Parsed:
    """Read what a monitor wrote with `-ts` or `-t`; without, a line's time is when it arrived.

    Raises
    ------
    Unreadable
        A line belongs to nothing before it.
    """
    rows: list[dict[str, Any]] = []
    arrived = iter([time for time, stream, line in text.lines() if stream == "stdout" and line.strip()])
    stamped: datetime.datetime | None = None
    for line in text.stdout.splitlines():
        if not line.strip():
            continue
        time = next(arrived, None)
        if line.startswith("Timestamp: "):
            stamped = _moment(line)
            continue
        if line[0].isspace():
            if not rows:
                raise Unreadable(f"{line[:60]!r} continues what is not there")
            rows[-1]["text"] += " " + " ".join(line.split())
            continue
        found = _STAMP.fullmatch(line)
        stamp, label, said = found.groups() if found else (None, None, line)
        rows.append(_event(stamp or stamped or time, label, said))
    return Parsed(((EVENTS, rows),))


def _moment(line: str) -> datetime.datetime:
    """Read what -t writes ahead of each event (lib/utils.c, print_timestamp)."""
    found = re.fullmatch(r"Timestamp: (\w+ \w+ +\d+ [\d:]+ \d{4}) (\d+) usec", line)
    try:
        seconds = datetime.datetime.strptime(found[1] if found else "", "%a %b %d %H:%M:%S %Y")
    except ValueError as error:
        raise Unreadable(f"{line[:60]!r} is no time") from error
    return seconds.replace(tzinfo=datetime.UTC) + datetime.timedelta(microseconds=int(found[2] if found else 0))


def _event(time: Any, label: str | None, said: str) -> dict[str, Any]:
    said = " ".join(said.replace("\\", " ").split())
    deleted = re.match(r"[Dd]eleted |delete ", said)
    rest = said[deleted.end() :] if deleted else said
    word = label or rest.partition(" ")[0]
    named = re.match(r"\d+: ([^\s:@]+)", rest) or re.search(r"(?:^|\s)dev (\S+)", rest)
    return {
        "time": time,
        "object": _OBJECTS.get(word, label.lower() if label else None),
        "deleted": deleted is not None,
        "interface": named[1] if named else None,
        "text": said,
    }


def document(text: str) -> bool:
    """Tell whether `text` is JSON and not what people read."""
    return text.lstrip()[:1] in ("[", "{")


def scalar(value: Any) -> Any:
    """Return a list of words as one, and anything else that is no single value as its JSON."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, list | dict) else value
