r"""lsof(8): which process has which socket or file open, from its own output for programs (`-F`).

jc's parser (1.26) reads the columns for people, which have no end where a name holds a space. We add `-n -P` and
`-F0` with the fields below; in a `-i` that is a network namespace's, sockets of others have no name.
Source: lsof(8), "OUTPUT FOR OTHER PROGRAMS", of lsof 4.95.
"""

from __future__ import annotations

import re
from typing import Any

from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

FILES = Table(
    "files",
    (
        Column("process", "str", "", "the command's name"),
        Column("pid", "Int64", "", "the process"),
        Column("ppid", "Int64", "", "its parent", optional=True),
        Column("pgid", "Int64", "", "its group", optional=True),
        Column("tid", "Int64", "", "the task (-K)", optional=True),
        Column("uid", "Int64", "", "its owner"),
        Column("user", "str", "", "the owner's name", optional=True),
        Column("fd", "str", "", "file descriptor, or cwd, txt, mem, …"),
        Column("access", "category", "", "r read, w write, u both", optional=True),
        Column("lock", "category", "", "kind of its lock", optional=True),
        Column("type", "category", "", "IPv4, IPv6, unix, sock, REG, …"),
        Column("protocol", "category", "", "TCP, UDP, …", optional=True),
        Column("local_address", "str", "", "an address; *: any", optional=True),
        Column("local_port", "Int64", "", "NA: any", optional=True),
        Column("remote_address", "str", "", "the other end's", optional=True),
        Column("remote_port", "Int64", "", "the other end's", optional=True),
        Column("state", "category", "", "ESTABLISHED, LISTEN, …", optional=True),
        Column("recv_q", "Int64", "bytes", "received and not yet read", optional=True),
        Column("send_q", "Int64", "bytes", "sent and not acknowledged", optional=True),
        Column("name", "str", "", "lsof's NAME", optional=True),
        Column("device", "str", "", "of a socket its inode; of a file the device's number, hexadecimal", optional=True),
        Column("size", "Int64", "bytes", "of a file", optional=True),
        Column("offset", "str", "", "of a file: 0t decimal, 0x hexadecimal", optional=True),
        Column("inode", "Int64", "", "of a file", optional=True),
    ),
    key=("pid", "fd", "type", "name"),
)

# Fields that are asked for, by their letters; a process's, then a file's.
_PROCESS = {"p": "pid", "g": "pgid", "R": "ppid", "c": "process", "u": "uid", "L": "user", "K": "tid", "M": "task"}
_FILE = {
    "f": "fd", "a": "access", "l": "lock", "t": "type", "d": "device", "D": "device", "s": "size", "o": "offset",
    "i": "inode", "P": "protocol", "n": "name",
}  # fmt: skip
_TCP = {"ST": "state", "QR": "recv_q", "QS": "send_q"}
_FIELDS = "pcgRuLKfaltdDsoiPnT"
_END = re.compile(r"(\*|\[[0-9A-Fa-f:.]+(?:%[^\]\s]+)?\]|[\w.-]+):(\*|\d+)")
# Options without a value, which may stand together: those that give no list of open files are told among them.
_TOGETHER = re.compile(r"-([abChlnNoOPRtUvVX?]+)(i.*)?")


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("lsof", options)
    repeats = any(re.match(r"[+-]r", word) for word in arguments)
    clusters = [found[1] for word in arguments if (found := _TOGETHER.fullmatch(word))]
    other = any(set(each) & set("hvt?") for each in clusters)
    if repeats or other or any(word.startswith("-F") for word in arguments):
        return Command(("lsof", *arguments), endless=repeats)
    return Command(("lsof", "-n", "-P", f"-F0{_FIELDS}", *arguments), output="table", parse=_parse)


def _parse(text: Text) -> Parsed:
    rows: list[Row] = []
    process: dict[str, Any] = {}
    for line in text.stdout.split("\n"):
        if not line:
            continue
        if not line.endswith("\0"):
            raise Unreadable(f"{line[:60]!r} is no set of fields")
        fields = line[:-1].split("\0")
        if line[0] == "p":
            process = _named(fields, _PROCESS)
        elif line[0] == "f" and process:
            rows.append(_file(process, fields))
        else:
            raise Unreadable(f"{line[:60]!r} is neither a process nor a file of one")
    return Parsed(((FILES, rows),))


def _named(fields: list[str], names: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for each in fields:
        if not each:
            raise Unreadable("a field has no letter")
        value = each[1:]
        if value.strip():
            # What nobody described keeps lsof's letter.
            row[names.get(each[0], f"field_{each[0]}")] = value
    return row


def _file(process: dict[str, Any], fields: list[str]) -> Row:
    row = {**process, **_named([each for each in fields if each[:1] != "T"], _FILE)}
    for each in fields:
        if each.startswith("T"):
            key, equals, value = each[1:].partition("=")
            if not equals:
                raise Unreadable(f"{each[:40]!r} says nothing of TCP")
            row[_TCP.get(key, f"tcp_{key.lower()}")] = value
    if row.get("type") in ("IPv4", "IPv6") and "name" in row:
        _ends(row)
    return row


def _ends(row: dict[str, Any]) -> None:
    """Take a socket's addresses from its name, where it has the form of them."""
    local, _, remote = row["name"].partition("->")
    for way, text in (("local", local), ("remote", remote)):
        found = _END.fullmatch(text)
        if found is not None:
            row[f"{way}_address"] = found[1].strip("[]")
            row[f"{way}_port"] = None if found[2] == "*" else found[2]


TOOLS = (
    Tool(
        "lsof",
        "lsof",
        _prepare,
        purpose="which process has which socket or file open",
        variants=(Variant("", (FILES,)),),
        version=("-v",),
    ),
)
