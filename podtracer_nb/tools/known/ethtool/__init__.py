"""ethtool(8): an interface's settings, driver, offloads and the driver's own counters, as tables.

Own parsers of its text: `--json` of 6.1 is for a few of its commands, and jc's parser (1.26) finds the settings, and in
every other command's output nothing. Where there is a JSON (`-k`, and ever more in later versions) it is read when
`--json` is among the words. Values that a driver does not have are NA ("n/a", "Unknown!"). Source: ethtool(8),
ethtool.c and netlink/*.c of ethtool 6.1.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError, TargetError, ToolFailed
from podtracer_nb.tools.iproute2 import document, objects, scalar
from podtracer_nb.tools.known.ethtool import changes
from podtracer_nb.tools.parsing import flat, known_form
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

_INTERFACE = Column("interface", "str", "", "its name")

SETTINGS = Table(
    "settings",
    (
        _INTERFACE,
        Column("speed", "Int64", "Mbit/s", "of the link; NA: not known"),
        Column("duplex", "category", "", "Full or Half"),
        Column("autonegotiation", "boolean", "", "whether both ends agree on these by themselves"),
        Column("port", "category", "", "Twisted Pair, FIBRE, …"),
        Column("link", "boolean", "", "whether a link is detected"),
    ),
    key=("interface",),
)
DRIVER = Table(
    "driver",
    (
        _INTERFACE,
        Column("driver", "str", "", "the kernel's driver of it"),
        Column("version", "str", "", "its version; the kernel's where it has none"),
        Column("firmware_version", "str", "", "of the device's firmware"),
        Column("bus_info", "str", "", "where the device is: a PCI address"),
    ),
    key=("interface",),
)
FEATURES = Table(
    "features",
    (
        _INTERFACE,
        Column("feature", "str", "", "an offload: tcp-segmentation-offload, …"),
        Column("active", "boolean", "", "whether it is on"),
        Column("fixed", "boolean", "", "whether that cannot be altered"),
        Column("requested", "boolean", "", "what was asked for, where that is not what is"),
    ),
    key=("interface", "feature"),
)
STATISTICS = Table(
    "statistics",
    (
        _INTERFACE,
        Column("name", "str", "", "the driver's own name of it"),
        Column("value", "UInt64", "", "its value", counter=True),
    ),
    key=("interface", "name"),
)


def _sizes(name: str, unit: str, meaning: str) -> Table:
    return Table(
        name,
        (
            _INTERFACE,
            Column("parameter", "str", "", meaning),
            Column("current", "Int64", unit, "what it is"),
            Column("maximum", "Int64", unit, "what it can be", optional=True),
            Column("setting", "category", "", "what it is, where that is no number: on, off", optional=True),
        ),
        key=("interface", "parameter"),
    )


RINGS = _sizes("rings", "descriptors", "rx, tx, …: which ring buffer")
CHANNELS = _sizes("channels", "queues", "rx, tx, other, combined: which queues")
COALESCING = _sizes("coalescing", "", "how interrupts are put off: -usecs in microseconds, -frames in packets")
PAUSE = Table(
    "pause",
    (
        _INTERFACE,
        Column("autonegotiate", "boolean", "", "whether both ends agree on it by themselves"),
        Column("rx", "boolean", "", "whether it obeys pause frames"),
        Column("tx", "boolean", "", "whether it sends them"),
    ),
    key=("interface",),
)
TIMESTAMPING = Table(
    "timestamping",
    (
        _INTERFACE,
        Column("capabilities", "object", "", "software-transmit, hardware-receive, …"),
        Column("clock", "Int64", "", "number of its PTP clock; NA: none"),
        Column("transmit_modes", "object", "", "which packets the device can stamp when they leave"),
        Column("receive_filters", "object", "", "which packets the device can stamp when they come"),
    ),
    key=("interface",),
)
MODULE = Table(
    "module",
    (
        _INTERFACE,
        Column("field", "str", "", "what the module tells of itself"),
        Column("value", "str", "", "in ethtool's words"),
        Column("number", "Float64", "", "its number, where it begins with one"),
    ),
    key=("interface", "field"),
)

Block = tuple[str, list[str]]


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("ethtool", options)
    command, names = changes.command_of(arguments)
    read = _READERS.get(command)
    if read is None or not names:
        return Command(("ethtool", *arguments), endless=command == "--monitor")
    name = names[0]

    def parse(text: Text) -> Parsed:
        if text.stdout.strip() in ("", "no stats available", "No data available"):
            return Parsed(((_TABLES[command], []),))
        if document(text.stdout):
            with known_form():
                return _document(_TABLES[command], text.stdout)
        rows = list(read(text.stdout, name))
        if not rows:
            raise Unreadable("nothing that we know is in it")
        return Parsed(((_TABLES[command], rows),))

    return Command(("ethtool", *arguments), output="table", parse=parse)


def _document(table: Table, text: str) -> Parsed:
    """Read `--json`, which 6.1 has for `-k`, `-a` and groups of `-S`, and later versions for more."""
    rows: list[Row] = []
    for each in objects(text):
        interface = each.pop("ifname", None)
        if table is FEATURES:
            features = [(name, value) for name, value in each.items() if isinstance(value, Mapping)]
            rows += [{"interface": interface, "feature": name, **value} for name, value in features]
        elif table is STATISTICS:
            rows += [{"interface": interface, "name": name, "value": value} for name, value in flat(each).items()]
        elif table in (RINGS, CHANNELS, COALESCING):
            rows += _parameters(interface, each)
        else:
            rows.append({"interface": interface, **{name: scalar(value) for name, value in flat(each).items()}})
    return Parsed(((table, rows),))


def _parameters(interface: Any, each: Mapping[str, Any]) -> list[Row]:
    """Return a row a parameter; its maximum is a member of its own: `rx-max`."""
    rows: dict[str, dict[str, Any]] = {}
    for name, value in flat(each).items():
        word = name.removesuffix("_max")
        row = rows.setdefault(word, {"interface": interface, "parameter": word})
        if isinstance(value, bool) or not isinstance(value, int):
            row["setting"] = ("on" if value else "off") if isinstance(value, bool) else value
        else:
            row["current" if word == name else "maximum"] = value
    return list(rows.values())


def _blocks(text: str, head: str, name: str) -> Iterator[Block]:
    """Give each interface's name, or the one that was asked for where the heading has none, and its lines."""
    found = list(re.finditer(rf"^(?:{head})(?: for| on)? ?(\S*):[ \t]*$", text, re.MULTILINE))
    if not found:
        raise Unreadable("its heading is not there")
    for each, after in zip(found, [*found[1:], None], strict=True):
        end = after.start() if after else len(text)
        yield each[1] or name, [line for line in text[each.end() : end].splitlines() if line.strip()]


def _pair(line: str) -> tuple[str, str]:
    name, colon, value = line.strip().partition(":")
    if not colon:
        raise Unreadable(f"{line[:60]!r} is no line of ethtool that we know")
    return name.strip(), value.strip()


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _boolean(value: str) -> bool | None:
    return {"on": True, "yes": True, "off": False, "no": False}.get(value.lower())


def _settings(text: str, name: str) -> Iterator[Row]:
    for interface, lines in _blocks(text, "Settings", name):
        row: dict[str, Any] = {"interface": interface}
        last = ""
        for line in lines:
            # Further link modes stand below the first, indented to its value.
            if re.match(r"\t {2,}\S", line) and last:
                row[last] += f" {line.strip()}"
                continue
            word, value = _pair(line)
            last = _word(word)
            row[last] = value
        yield _typed(row)


def _typed(row: dict[str, Any]) -> Row:
    speed = re.fullmatch(r"(\d+)Mb/s", row.pop("speed", ""))
    row["speed"] = int(speed[1]) if speed else None
    duplex = row.pop("duplex", None)
    row["duplex"] = None if duplex is None or duplex.startswith("Unknown") else duplex
    row["autonegotiation"] = _boolean(row.pop("auto_negotiation", ""))
    row["link"] = _boolean(row.pop("link_detected", "").partition(" ")[0])
    return row


def _driver(text: str, name: str) -> Iterator[Row]:
    pairs = dict(_pair(line) for line in text.splitlines() if line.strip())
    if "driver" not in pairs:
        raise Unreadable("it names no driver")
    row: dict[str, Any] = {"interface": name}
    for word, value in pairs.items():
        row[_word(word)] = _boolean(value) if word.startswith("supports-") else value or None
    yield row


def _features(text: str, name: str) -> Iterator[Row]:
    for interface, lines in _blocks(text, "Features", name):
        for line in lines:
            found = re.fullmatch(r"\s*(\S+): (on|off)(?: \[(fixed|not requested|requested (?:on|off))\])?", line)
            if found is None:
                raise Unreadable(f"{line[:60]!r} is no feature")
            wanted = _boolean(found[3].partition(" ")[2]) if (found[3] or "").startswith("requested") else None
            active = found[2] == "on"
            row = {"interface": interface, "feature": found[1], "active": active, "fixed": found[3] == "fixed"}
            yield {**row, "requested": active if wanted is None else wanted}


def _statistics(text: str, name: str) -> Iterator[Row]:
    for interface, lines in _blocks(text, r"(?:NIC|PHY) statistics|Standard stats", name):
        for line in lines:
            found = re.fullmatch(r"\s*(\S.*?): *(\d+|0x[\da-f]+)", line)
            if found is None:
                raise Unreadable(f"{line[:60]!r} is no counter")
            yield {"interface": interface, "name": found[1], "value": int(found[2], 0)}


def _numbers(head: str, text: str, name: str) -> Iterator[Row]:
    """Read `-g` and `-l`: the same names below `Pre-set maximums` and below `Current hardware settings`."""
    for interface, lines in _blocks(text, head, name):
        rows: dict[str, dict[str, Any]] = {}
        part = "current"
        for line in lines:
            if re.match(r"Pre-set maximums|Current hardware settings", line):
                part = "maximum" if line.startswith("Pre") else "current"
                continue
            word, value = _pair(line)
            row = rows.setdefault(_word(word), {"interface": interface, "parameter": _word(word)})
            if re.fullmatch(r"\d+", value):
                row[part] = int(value)
            elif value not in ("n/a", ""):
                row["setting"] = value
        yield from rows.values()


def _coalescing(text: str, name: str) -> Iterator[Row]:
    for interface, lines in _blocks(text, "Coalesce parameters", name):
        for line in lines:
            # Two on a line: `Adaptive RX: off  TX: n/a`, `CQE mode RX: n/a  TX: n/a`.
            double = re.fullmatch(r"(.*) RX: (\S+)\s+TX: (\S+)", line.strip())
            pairs = [(f"{double[1]} RX", double[2]), (f"{double[1]} TX", double[3])] if double else [_pair(line)]
            for word, value in pairs:
                row: dict[str, Any] = {"interface": interface, "parameter": _word(word).replace("_", "-")}
                if value.isdigit():
                    row["current"] = int(value)
                elif value != "n/a":
                    row["setting"] = value
                yield row


def _pause(text: str, name: str) -> Iterator[Row]:
    for interface, lines in _blocks(text, "Pause parameters", name):
        pairs = {_word(word): value for word, value in map(_pair, lines)}
        if "rx" not in pairs:
            raise Unreadable("it says nothing of pause frames")
        typed = {word: _boolean(value) for word, value in pairs.items() if _boolean(value) is not None}
        yield {"interface": interface, **pairs, **typed}


def _timestamping(text: str, name: str) -> Iterator[Row]:
    names = {
        "Capabilities": "capabilities",
        "Hardware Transmit Timestamp Modes": "transmit_modes",
        "Hardware Receive Filter Modes": "receive_filters",
    }
    for interface, lines in _blocks(text, "Time stamping parameters", name):
        row: dict[str, Any] = {"interface": interface, "capabilities": [], "transmit_modes": [], "receive_filters": []}
        last = ""
        for line in lines:
            if line[0].isspace():
                if not last:
                    raise Unreadable(f"{line[:60]!r} belongs to nothing")
                row[last].append(line.split()[0])
                continue
            word, value = _pair(line)
            last = names.get(word, "")
            if word in ("PTP Hardware Clock", "Hardware timestamp provider index"):
                row["clock"] = int(value) if value.isdigit() else None
            elif not last:
                row[_word(word)] = value
        yield row


def _module(text: str, name: str) -> Iterator[Row]:
    for line in text.splitlines():
        if not line.strip():
            continue
        word, value = _pair(line)
        if re.search(r" for \S+$", word) and not value:
            raise Unreadable(f"{line[:60]!r} is of another command")
        number = re.match(r"-?\d+(?:\.\d+)?(?![\dx.])", value)
        yield {"interface": name, "field": word, "value": value, "number": float(number[0]) if number else None}


_READERS: Mapping[str, Callable[[str, str], Iterator[Row]]] = {
    "": _settings,
    "-i": _driver,
    "-k": _features,
    "-S": _statistics,
    "--phy-statistics": _statistics,
    "-g": functools.partial(_numbers, "Ring parameters"),
    "-l": functools.partial(_numbers, "Channel parameters"),
    "-c": _coalescing,
    "-a": _pause,
    "-T": _timestamping,
    "-m": _module,
}
_TABLES: Mapping[str, Table] = {
    "": SETTINGS, "-i": DRIVER, "-k": FEATURES, "-S": STATISTICS, "--phy-statistics": STATISTICS, "-g": RINGS,
    "-l": CHANNELS, "-c": COALESCING, "-a": PAUSE, "-T": TIMESTAMPING, "-m": MODULE,
}  # fmt: skip


def _diagnose(stderr: str) -> PodtracerError | None:
    if "Operation not permitted" in stderr:
        return PrivilegeError("ethtool may not do that: it needs CAP_NET_ADMIN in the target's network namespace")
    if re.search(r"[Nn]o such device", stderr):
        return TargetError("no such interface in the target: `ip link` lists them")
    if "Operation not supported" in stderr:
        return ToolFailed("the interface's driver does not have this (Operation not supported)")
    if "bad command line argument" in stderr:
        return InputError("ethtool does not take these words: its options are in ethtool(8), JSON only for some")
    return None


def _variants() -> Sequence[Variant]:
    return [Variant(form, (table,)) for form, table in _TABLES.items() if form != "--phy-statistics"]


TOOLS = (
    Tool(
        "ethtool",
        "ethtool",
        _prepare,
        purpose="an interface's speed, offloads, driver's counters",
        variants=tuple(_variants()),
        change=changes.change,
        diagnose=_diagnose,
    ),
)
