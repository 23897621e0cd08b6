"""iptables(8), ip6tables(8), each also by its -legacy and -nft: rules and chains with their counters.

Own parser of `-L -v -x -n --line-numbers` and of `-S -v`, whose words we add: exact numbers, no look-ups of names. It
has no JSON, and jc's parser (1.26) shifts the columns of a rule that has no target. A protocol is told by its name,
which 1.8.9 has as a number and others not. Source: iptables(8), iptables/iptables.c and xshared.c of iptables 1.8.9.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from podtracer_nb.errors import PodtracerError, PrivilegeError, ToolFailed
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

_CHAIN = (
    Column("table", "category", "", "filter, nat, mangle, raw, security"),
    Column("chain", "str", "", "the chain"),
)
_COUNTS = (
    Column("packets", "UInt64", "packets", "counted", counter=True),
    Column("bytes", "UInt64", "bytes", "counted", counter=True),
)
RULES = Table(
    "rules",
    (
        *_CHAIN,
        Column("num", "Int64", "", "its number in the chain, from 1"),
        *_COUNTS,
        Column("target", "str", "", "what is done: ACCEPT, DROP, the chain that is jumped to; NA: only counted"),
        Column("protocol", "category", "", "tcp, udp, all, …; ! before it: any other"),
        Column("opt", "category", "", "--, or -f for fragments"),
        Column("in", "str", "", "the interface that packets came in by; *: any"),
        Column("out", "str", "", "the interface that they leave by"),
        Column("source", "str", "", "from there"),
        Column("destination", "str", "", "to there"),
        Column("extra", "str", "", "what else it matches, and how its target does it"),
    ),
    key=("table", "chain", "num"),
)
SPECIFICATIONS = Table(
    "rules",
    (
        *_CHAIN,
        Column("num", "Int64", "", "its number in the chain, from 1"),
        *_COUNTS,
        Column("target", "str", "", "what is done; NA: only counted"),
        Column("rule", "str", "", "the words that make it"),
    ),
    key=("table", "chain", "num"),
)
CHAINS = Table(
    "chains",
    (
        *_CHAIN,
        Column("policy", "category", "", "what becomes of packets at its end; NA: a chain that is only jumped to"),
        *_COUNTS,
        Column("references", "Int64", "rules", "how many jump to it", optional=True),
    ),
    key=("table", "chain"),
)

_CHANGES = {
    "A": "append", "D": "delete", "I": "insert", "R": "replace", "F": "flush", "Z": "zero", "N": "new-chain",
    "X": "delete-chain", "E": "rename-chain", "P": "policy",
}  # fmt: skip
_LOOKS = {"L": "list", "S": "list-rules", "C": "check", "V": "version", "h": "help"}
_VALUED = "ACDIRNPEtpsdjgmoicMW"
_PROTOCOLS = {
    "0": "all", "1": "icmp", "2": "igmp", "4": "ipencap", "6": "tcp", "17": "udp", "33": "dccp", "41": "ipv6",
    "47": "gre", "50": "esp", "51": "ah", "58": "ipv6-icmp", "89": "ospf", "132": "sctp", "136": "udplite",
}  # fmt: skip


def _letters(arguments: Sequence[str]) -> list[str]:
    """Return the options by their letters, those of words that are other options' values left out."""
    found: list[str] = []
    longs = {**_CHANGES, **_LOOKS, "v": "verbose", "x": "exact", "n": "numeric", "t": "table"}
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("--") and len(word) > len("--"):
            name = word[2:].partition("=")[0]
            exact = [letter for letter, long in longs.items() if long == name]
            # getopt_long takes any beginning that is unambiguous; --line-numbers is no option of a letter.
            found += exact or [letter for letter, long in longs.items() if long.startswith(name)]
            found += ["#"] if "line-numbers".startswith(name) and len(name) > len("li") else []
        elif re.match(r"-[A-Za-z]", word):
            for at, letter in enumerate(word[1:], 2):
                found.append(letter)
                if letter in _VALUED:
                    # A chain's name may follow the letter; so may a cluster's other options, of none of these.
                    skip = at == len(word)
                    break
    return found


def _prepare(name: str, arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options(name, options)
    letters = _letters(arguments)
    commands = set(letters) & {*_CHANGES, *_LOOKS}
    if commands not in ({"L"}, {"S"}):
        return Command((name, *arguments))
    table = _table(arguments)
    chain = _chain_of(arguments)
    if commands == {"S"}:
        ours = [] if "v" in letters else ["-v"]
        read = functools.partial(_specifications, table)
    else:
        ours = [f"-{letter}" for letter in "vxn" if letter not in letters]
        ours += [] if "#" in letters else ["--line-numbers"]
        read = functools.partial(_listing, table, chain)
    return Command((name, *arguments, *ours), output="table", parse=read)


def _table(arguments: Sequence[str]) -> str:
    for at, word in enumerate(arguments):
        if word in ("-t", "--table"):
            return next(iter(arguments[at + 1 : at + 2]), "filter")
        found = re.fullmatch(r"(?:-t|--table=)(.+)", word)
        if found:
            return found[1]
    return "filter"


def _chain_of(arguments: Sequence[str]) -> str | None:
    """Return the chain that is to be listed, whose name a listing of one rule does not say."""
    for word, after in zip(arguments, [*arguments[1:], "-"], strict=True):
        if re.fullmatch(r"-[a-zA-Z]*L|--list", word) and not after.startswith("-"):
            return after
    return None


_HEAD = re.compile(
    r"Chain (?P<chain>\S+) \((?:policy (?P<policy>\S+)(?: (?P<packets>\d+) packets, (?P<bytes>\d+) bytes)?"
    r"|(?P<references>-?\d+) references)\)"
)
_RULE = re.compile(
    r"(?P<num>\d+) +(?P<packets>\d+) +(?P<bytes>\d+) (?P<target>\S*) +(?P<protocol>!?\S+) +"
    r"(?:(?P<opt>--|-f|!f|----) +)?(?P<in>\S+) +(?P<out>\S+) +(?P<source>\S+) +"
    r"(?P<destination>\S+)(?: +(?P<extra>.*?))? *"
)


def _listing(table: str, asked: str | None, text: Text) -> Parsed:
    rules: list[Row] = []
    chains: list[Row] = []
    chain = asked
    for line in text.stdout.splitlines():
        head, rule = _HEAD.fullmatch(line), _RULE.fullmatch(line)
        if head:
            chain = head["chain"]
            chains.append({"table": table, **head.groupdict()})
        elif rule and chain:
            row: dict[str, Any] = {"table": table, "chain": chain, **rule.groupdict()}
            negated, name = ("!", row["protocol"][1:]) if row["protocol"][0] == "!" else ("", row["protocol"])
            row["protocol"] = negated + _PROTOCOLS.get(name, name)
            rules.append({**row, "target": row["target"] or None, "extra": row["extra"] or ""})
        elif line.strip() and not line.startswith(("num ", "#")):
            raise Unreadable(f"{line[:60]!r} is no line of iptables that we know")
    if not rules and not chains and re.search(r"^[^#\s]", text.stdout, re.MULTILINE):
        raise Unreadable("it has neither a chain nor a rule")
    return Parsed(((RULES, rules), (CHAINS, chains)))


def _specifications(table: str, text: Text) -> Parsed:
    rules: list[Row] = []
    chains: list[Row] = []
    numbers: dict[str, int] = {}
    for line in text.stdout.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r"-([PNA]) (\S+)(?: (.*))?", line)
        if found is None:
            raise Unreadable(f"{line[:60]!r} is no line of iptables -S that we know")
        kind, chain, rest = found[1], found[2], found[3] or ""
        # What stands in quotes is a comment's or a log prefix's; iptables writes a quote in it as \".
        bare = re.sub(r'"(?:\\.|[^"\\])*"', lambda quote: "_" * len(quote[0]), rest)
        counts = re.search(r"(?:^| )-c (\d+) (\d+)(?= |$)", bare)
        row: dict[str, Any] = {"table": table, "chain": chain}
        if counts:
            row.update(packets=counts[1], bytes=counts[2])
            rest, bare = (each[: counts.start()] + each[counts.end() :] for each in (rest, bare))
        if kind in "PN":
            chains.append({**row, "policy": rest.strip() or None})
            continue
        target = re.search(r"(?:^| )-[jg] (\S+)", bare)
        numbers[chain] = numbers.get(chain, 0) + 1
        rules.append({**row, "num": numbers[chain], "target": target[1] if target else None, "rule": rest.strip()})
    return Parsed(((SPECIFICATIONS, rules), (CHAINS, chains)))


def _change(name: str, arguments: tuple[str, ...]) -> Change | None:
    letters = set(_letters(arguments))
    altering = letters & set(_CHANGES)
    if not altering:
        return None if letters & set(_LOOKS) or not arguments else Change("may alter the packet filter")
    return Change("alters the packet filter", _undo(name, arguments) if len(altering) == 1 else None)


def _undo(name: str, arguments: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what takes it back: -D of the same rule, -X of a new chain; of a long option's beginning, nothing."""
    words = list(arguments)
    at = next((at for at, word in enumerate(words) if word in _UNDONE), None)
    if at is None or at + 1 >= len(words):
        return None
    undone = _UNDONE[words[at]]
    if words[at] in ("-I", "--insert") and re.fullmatch(r"\d+", next(iter(words[at + 2 : at + 3]), "")):
        del words[at + 2]  # where to put it
    words[at] = undone
    return (name, *words)


_UNDONE = {
    "-A": "-D", "--append": "-D", "-I": "-D", "--insert": "-D", "-N": "-X", "--new-chain": "-X",
}  # fmt: skip


def _diagnose(stderr: str) -> PodtracerError | None:
    if "Permission denied (you must be root)" in stderr or "Operation not permitted" in stderr:
        return PrivilegeError("iptables may not look: it needs CAP_NET_ADMIN, and CAP_NET_RAW for -legacy")
    if "Table does not exist" in stderr:
        return ToolFailed("this node's kernel lacks that table (module iptable_NAME), or has no such")
    return None


def _tool(name: str) -> Tool:
    return Tool(
        name,
        "iptables",
        functools.partial(_prepare, name),
        purpose="rules of iptables with their counters",
        variants=(Variant("-L", (RULES, CHAINS)), Variant("-S", (SPECIFICATIONS, CHAINS))),
        change=functools.partial(_change, name),
        needs=("CAP_NET_ADMIN", "CAP_NET_RAW"),
        diagnose=_diagnose,
    )


TOOLS = tuple(_tool(f"{name}{make}") for name in ("iptables", "ip6tables") for make in ("", "-legacy", "-nft"))
