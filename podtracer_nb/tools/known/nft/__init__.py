"""nft(8): the packet filter's rules with their counters, sets, named objects; a monitor of changes.

From nft's text with handles and numeric priorities (`-a -y`), whose own words for a rule people know; why not from its
JSON is said in `ruleset`. `-j` among the words is heeded: then its JSON is read, a rule's expressions as JSON. What is
added is told with its handle (`-e -a`), by which it can be deleted again. Source: nft(8), src/main.c and src/rule.c of
nftables 1.0.6.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError, ToolFailed
from podtracer_nb.tools.iproute2 import document
from podtracer_nb.tools.known.nft import ruleset
from podtracer_nb.tools.parsing import flat, known_form
from podtracer_nb.tools.table import Column, Parsed, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

EVENTS = Table(
    "events",
    (
        Column("time", "datetime64[ns, UTC]", "", "when it was told"),
        Column("action", "category", "", "add, delete, …; trace"),
        Column("kind", "category", "", "table, chain, rule, element, …"),
        Column("family", "category", "", "ip, ip6, inet, …"),
        Column("table", "str", "", "the table"),
        Column("text", "str", "", "what nft says of it"),
        Column("generation", "Int64", "", "the ruleset's number after it"),
        Column("process", "str", "", "who did it: its process id and name", optional=True),
    ),
)

_VALUED = "fIDd"
_LONG = {
    "file": "f", "includepath": "I", "define": "D", "debug": "d", "interactive": "i", "json": "j", "check": "c",
    "handle": "a", "version": "v", "help": "h", "echo": "e", "numeric-priority": "y",
}  # fmt: skip
_FAMILIES = ("ip", "ip6", "inet", "arp", "bridge", "netdev")
_KINDS = ("table", "chain", "rule", "set", "map", "element", "counter", "quota", "limit", "flowtable", "meter")
_TABLES = (
    ruleset.RULES, ruleset.CHAINS, ruleset.SETS, ruleset.ELEMENTS, ruleset.OBJECTS, ruleset.TABLES,
)  # fmt: skip
_SETS = (ruleset.SETS, ruleset.ELEMENTS)
# What is listed → the tables that it tells of.
_LISTED: dict[str, tuple[Table, ...]] = {
    "ruleset": _TABLES, "table": _TABLES, "chain": (ruleset.RULES, ruleset.CHAINS), "tables": (ruleset.TABLES,),
    "chains": (ruleset.CHAINS,), **dict.fromkeys(("sets", "set", "maps", "map", "meters", "meter"), _SETS),
    **dict.fromkeys(
        ("counters", "counter", "quotas", "quota", "limits", "limit", "flowtables", "flowtable", "ct"),
        (ruleset.OBJECTS,),
    ),
}  # fmt: skip
_LOOKS = ("list", "monitor", "describe")


def _split(arguments: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the letters of the options, the file of -f, and the command's words, however they were put together."""
    words, letters, file = list(arguments), "", ""
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            letter = next((each for long, each in _LONG.items() if name and long.startswith(name)), "")
            group = letter or "?"
        else:
            group, value = word[1:], ""
        for at, letter in enumerate(group):
            letters += letter
            if letter in _VALUED:
                value = value or group[at + 1 :] or (words.pop(0) if words else "")
                file = value if letter == "f" else file
                break
    return letters, file, " ".join(words).replace("\n", " ; ").split()


def _commands(words: Sequence[str]) -> list[list[str]]:
    """Return the commands, which semicolons and new lines part; within braces they do not."""
    text = ruleset.quoted(" ".join(words))
    found, depth, begin = [], 0, 0
    for at, letter in enumerate(f"{text};"):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == ";" and depth <= 0:
            found.append(text[begin:at].split())
            begin = at + 1
    return [each for each in found if each]


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("nft", options)
    letters, _file, words = _split(arguments)
    plain = Command(("nft", *arguments))
    if not words or set(letters) & set("hvVcf?"):
        return plain
    command = words[0]
    if command == "monitor":
        return Command(("nft", *_missing("a", letters), *arguments), output="table", parse=_monitor, endless=True)
    if command in ("add", "insert", "create", "replace"):
        return Command(("nft", *_missing("ea", letters), *arguments))
    known = words[1] if len(words) > 1 and command in ("list", "reset") else ""
    if known not in _LISTED or len(_commands(words)) != 1:
        return plain

    def parse(text: Text) -> Parsed:
        with known_form():
            written = text.stdout
            found = _document(written) if document(written) else ruleset.read(written, names=known == "tables")
        if known in ("chains", "tables"):  # names without what is in them
            found.chains = [{**row, "rules": None} for row in found.chains]
            found.tables = [{**row, "chains": None} for row in found.tables]
        rows = vars(found)
        return Parsed(tuple((table, rows[table.name]) for table in _LISTED[known]))

    return Command(("nft", *_missing("ay", letters), *arguments), output="table", parse=parse)


def _missing(wanted: str, letters: str) -> tuple[str, ...]:
    return tuple(f"-{letter}" for letter in wanted if letter not in letters)


def _document(text: str) -> ruleset.Ruleset:
    """Return the rows of nft's JSON (libnftables-json(5))."""
    listed = json.loads(text)["nftables"]
    pairs = [(kind, dict(each)) for one in listed for kind, each in one.items() if kind != "metainfo"]
    found = ruleset.Ruleset()
    chains: dict[tuple[Any, ...], dict[str, Any]] = {}
    tables: list[dict[str, Any]] = []
    for kind, each in pairs:
        row: dict[str, Any] = {name: value for name, value in each.items() if name not in ("expr", "elem")}
        if kind == "table":
            tables.append({**flat(each), "table": row["name"], "chains": 0})
        elif kind == "chain":
            row["chain"], row["priority"] = row.pop("name"), row.pop("prio", None)
            row["device"] = row.pop("dev", None)
            chains[row["family"], row["table"], row["chain"]] = {**row, "rules": 0}
        elif kind == "rule":
            chain = chains.get((row["family"], row["table"], row["chain"]), {})
            base = {name: chain.get(name) for name in ("hook", "priority", "policy")}
            if chain:
                chain["rules"] += 1
            counts: Mapping[str, Any] = next(
                (one["counter"] for one in _expressions(each) if _is_object(one.get("counter"))), {}
            )
            found.rules.append({**row, **base, **counts, "rule": json.dumps(each.get("expr", []))})
        elif kind in ("set", "map", "meter"):
            elements = each.get("elem", [])
            row["set"], row["kind"] = row.pop("name"), kind
            found.sets.append({**row, "elements": len(elements)})
            where = {name: row[name] for name in ("family", "table", "set")}
            found.elements.extend({**where, "element": one} for one in elements)
        else:
            found.objects.append({**flat(row), "kind": kind, "text": json.dumps(each)})
    found.chains.extend(chains.values())
    for table in tables:
        same = [each for each in found.chains if (each["family"], each["table"]) == (table["family"], table["table"])]
        table["chains"] = len(same)
    found.tables.extend(tables)
    return found


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _expressions(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in rule.get("expr", ()) if _is_object(each)]


def _monitor(text: Text) -> Parsed:
    rows: list[dict[str, Any]] = []
    fresh = 0
    arrived = iter([time for time, stream, line in text.lines() if stream == "stdout" and line.strip()])
    for line in text.stdout.splitlines():
        if not line.strip():
            continue
        time = next(arrived, None)
        generation = re.fullmatch(r"# new generation (\d+)(?: by process (\d+) \((.*)\))?", line)
        if generation:
            # It follows what was done in it.
            for row in rows[fresh:]:
                row["generation"] = generation[1]
                row["process"] = f"{generation[2]} {generation[3]}" if generation[2] else None
            fresh = len(rows)
        elif line[0].isspace() or line.startswith("}"):
            if not rows:
                raise Unreadable(f"{line[:60]!r} continues what is not there")
            rows[-1]["text"] += f" {line.strip()}"
        elif line.startswith("{"):
            raise Unreadable("it is JSON: leave -j out")
        elif not line.startswith("#"):
            rows.append({"time": time, **_event(line)})
    return Parsed(((EVENTS, rows),))


def _event(line: str) -> dict[str, Any]:
    words = line.split()
    if words[0] == "trace":
        found = re.match(r"trace id \S+ (\w+) (\S+)", line)
        return {"action": "trace", "text": line, **({"family": found[1], "table": found[2]} if found else {})}
    at = 2 if set(words[1:2]) & set(_KINDS) else len(words)
    known = bool(set(words[at : at + 1]) & set(_FAMILIES))
    return {
        "action": words[0],
        "kind": words[1] if len(words) > 1 else None,
        "family": words[at] if known else None,
        "table": words[at + 1] if known and len(words) > at + 1 else None,
        "text": line,
    }


def _change(arguments: tuple[str, ...]) -> Change | None:
    letters, file, words = _split(arguments)
    if set(letters) & set("hvV?") and not words and not file:
        return None
    if "i" in letters:
        raise InputError("nft -i reads commands from a terminal, which there is none of: give them one by one")
    if "c" in letters:
        return None  # it checks, and applies nothing
    if file:
        return Change(f"runs the commands of {shlex.quote(file)}")
    commands = _commands(words)
    altering = [each for each in commands if each[0] not in _LOOKS]
    if not altering:
        return None
    if len(altering) > 1 or letters:
        return Change("alters the packet filter")
    return _undone(words)


def _undone(words: Sequence[str]) -> Change:
    """Return the change of one command, with what deletes again what it adds and was not there before."""
    verb, kind, *rest = [*words, "", ""][: max(len(words), 2)]
    what = {
        "add": "adds to the packet filter", "insert": "adds to the packet filter",
        "create": "adds to the packet filter",
        "delete": "deletes from the packet filter", "flush": "deletes from the packet filter",
        "reset": "sets counters of the packet filter to zero",
    }.get(verb, "alters the packet filter")  # fmt: skip
    family = [rest[0]] if rest and rest[0] in _FAMILIES else []
    named = rest[len(family) :]
    if verb in ("add", "insert") and kind == "rule" and named[2:]:
        undo = ("nft", "delete", "rule", *family, *named[:2], "handle", "{handle}")
        return Change(what, undo, told=r"(?m)# handle (?P<handle>\d+)\s*$")
    # `create` refuses what is there already, where `add` is content with it.
    count = {"table": 1, "chain": 2, "set": 2, "map": 2, "counter": 2, "quota": 2, "limit": 2, "flowtable": 2}.get(kind)
    if verb == "create" and count and len(named) >= count:
        return Change(what, ("nft", "delete", kind, *family, *(each.rstrip(";") for each in named[:count])))
    if verb == "create" and kind == "element":
        return Change(what, ("nft", "delete", "element", *rest))
    return Change(what)


def _diagnose(stderr: str) -> PodtracerError | None:
    if "Operation not permitted" in stderr or "you must be root" in stderr:
        return PrivilegeError("nft may not look: it needs CAP_NET_ADMIN in the target's network namespace")
    lines = [line for line in stderr.splitlines() if "Error: " in line]
    return ToolFailed(lines[0].partition("Error: ")[2]) if lines else None


TOOLS = (
    Tool(
        "nft",
        "nftables",
        _prepare,
        purpose="the packet filter's rules, counters and sets",
        variants=(Variant("list", _TABLES), Variant("monitor", (EVENTS,))),
        change=_change,
        needs=("CAP_NET_ADMIN",),
        diagnose=_diagnose,
    ),
)
