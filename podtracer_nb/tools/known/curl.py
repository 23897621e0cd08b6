"""curl(1): a row a transfer, with the time of each phase, from its own JSON (`-w '%{json}'`, since 7.70).

What comes from the server is thrown away (`-o /dev/null`) and its progress bar is left out (`-sS`), unless the
arguments say where it is to go; with `-w` or `-o -` of the user's own, curl's lines are given.
curl's times count from the transfer's beginning; the phases between them are ours: dns, tcp, tls, server, transfer.
Source: src/tool_writeout.c of curl 7.70 to 8.14; time_* as in curl(1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["TOOLS"]

_TIMES = ("namelookup", "connect", "appconnect", "pretransfer", "starttransfer", "total")
TRANSFERS = Table(
    "transfers",
    (
        Column("url", "str", "", "what was asked for"),
        Column("http_code", "Int64", "", "the last answer's status; 0: none came"),
        Column("exitcode", "Int64", "", "curl's own: 0, or why the transfer failed (since 7.75)"),
        Column("errormsg", "str", "", "that in words (since 7.75)"),
        Column("dns", "Float64", "ms", "until the name was looked up"),
        Column("tcp", "Float64", "ms", "from there until TCP was connected"),
        Column("tls", "Float64", "ms", "from there until TLS was agreed upon; NA without"),
        Column("server", "Float64", "ms", "from the request until the first byte of the answer"),
        Column("transfer", "Float64", "ms", "from there to the end"),
        *(Column(f"time_{name}", "Float64", "s", f"curl's time_{name}, from the beginning") for name in _TIMES),
        Column("time_redirect", "Float64", "s", "all steps before the last of a redirection"),
        Column("size_download", "Int64", "bytes", "body that came"),
        Column("size_upload", "Int64", "bytes", "body that went"),
        Column("size_header", "Int64", "bytes", "headers that came"),
        Column("size_request", "Int64", "bytes", "request that went"),
        Column("speed_download", "Float64", "bytes/s", "mean rate"),
        Column("speed_upload", "Float64", "bytes/s", "mean rate"),
        Column("remote_ip", "str", "", "who answered"),
        Column("remote_port", "Int64", "", "their port"),
        Column("local_ip", "str", "", "our address"),
        Column("local_port", "Int64", "", "our port"),
        Column("http_version", "str", "", "of the answer: 1.1, 2, 3"),
        Column("method", "category", "", "of the last request"),
        Column("num_redirects", "Int64", "", "redirections that were followed"),
        Column("num_connects", "Int64", "", "connections that were made"),
        Column("ssl_verify_result", "Int64", "", "0: the certificate was verified, or there was none"),
        Column("content_type", "str", "", "the answer's Content-Type"),
        Column("urlnum", "Int64", "", "number of the transfer in its line, from 0 (since 7.75)"),
        Column("url_effective", "str", "", "what was asked for at last"),
        Column("filename_effective", "str", "", "where the body went"),
    ),
    key=("urlnum",),
)

_MARK = "podtracer "
# Options with a value, as far as they bear on where a word is a value; curl(1).
_VALUED = frozenset("AbcCdDeEFHhKmoPQrtTuUwxXyYz")
_FORMS = {"-w", "--write-out", "-V", "--version", "-h", "--help", "-M", "--manual", "--libcurl"}
_OUTPUT = {"-o", "--output", "-O", "--remote-name", "--remote-name-all", "-J", "--remote-header-name", "--output-dir"}
_WRITES = {"-o": "--output", "-D": "--dump-header", "-c": "--cookie-jar", "--trace": "", "--trace-ascii": "",
           "--stderr": "", "--hsts": "", "--alt-svc": "", "--etag-save": ""}  # fmt: skip


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("curl", options)
    given = list(_options(arguments))
    names = {name for name, _value in given}
    dashed = any(name in ("-o", "--output") and value == "-" for name, value in given)
    if names & _FORMS or dashed:
        return Command(("curl", *arguments), notes=_notes(given))
    argv = ["curl"]
    for number, part in enumerate(_operations(arguments)):
        # What is said before --next (-:) counts until there only.
        argv += ["--next"] if number else []
        argv += ["-sS", "-w", f"\\n{_MARK}%{{json}}\\n"]
        if not {name for name, _value in _options(part)} & _OUTPUT:
            # One for each URL; as many as could be URLs, which does no harm.
            words = sum(not word.startswith("-") for word in part) + sum(word.startswith("--url") for word in part)
            argv += ["-o", "/dev/null"] * words
        argv += part
    return Command(tuple(argv), output="table", parse=_parse, notes=_notes(given))


def _operations(arguments: tuple[str, ...]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in arguments:
        if word in ("-:", "--next"):
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _options(arguments: tuple[str, ...] | list[str]) -> Iterator[tuple[str, str]]:
    """Give each option and its value, as far as curl's short options tell it; a long one's is the next word."""
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word.startswith("--") and len(word) > len("--"):
            name, _, value = word.partition("=")
            yield name, value or (words[0] if words else "")
        elif word.startswith("-") and len(word) > 1:
            for at, letter in enumerate(word[1:], 2):
                if letter in _VALUED:
                    value = word[at:] or (words.pop(0) if words else "")
                    yield f"-{letter}", value
                    break
                yield f"-{letter}", ""


def _notes(given: list[tuple[str, str]]) -> tuple[str, ...]:
    """Say which files are this machine's and not the target's."""
    notes = []
    longs = {long: short for short, long in _WRITES.items() if long}
    for name, value in given:
        short = longs.get(name, name)
        if short in _WRITES and value not in ("-", "/dev/null", ""):
            notes.append(f"{value} is on the machine that runs curl, not in the target")
        elif name in ("-O", "--remote-name", "--remote-name-all"):
            notes.append("what -O writes is on the machine that runs curl, in its working directory, not in the target")
        elif name in ("-T", "--upload-file") and value not in ("-", "."):
            notes.append(f"{value} is read on the machine that runs curl, not in the target")
    return tuple(dict.fromkeys(notes))


def _parse(text: Text) -> Parsed:
    rows: list[Row] = []
    version = None
    for line in text.stdout.splitlines():
        if not line.startswith(_MARK):
            continue
        try:
            said = json.loads(line.removeprefix(_MARK))
            rows.append(_row(said))
            version = said.get("curl_version", version)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise Unreadable(f"it is no JSON as curl writes since 7.70 ({error})") from error
    if text.stdout.strip() and not rows:
        raise Unreadable("it holds no JSON as curl writes since 7.70")
    return Parsed(((TRANSFERS, rows),), {"curl_version": version} if version else {})


def _row(said: dict[str, Any]) -> Row:
    row = {
        name: value for name, value in said.items() if name != "curl_version" and not (name == "certs" and not value)
    }
    # Until 7.76 there was no `url`, only what it had become.
    row.setdefault("url", row.get("url_effective"))
    for name in ("remote_ip", "local_ip"):
        row[name] = row.get(name) or None
    return {**row, **_phases(said)}


def _phases(said: Mapping[str, Any]) -> dict[str, float | None]:
    """Return how long each phase took in ms; NA where the transfer did not come to it."""
    at = {name: float(said.get(f"time_{name}") or 0) for name in _TIMES}
    tls = at["appconnect"] > 0

    def between(begin: str, end: str) -> float | None:
        if not at[end]:
            return None
        return round((at[end] - at[begin]) * 1000, 3)

    return {
        "dns": round(at["namelookup"] * 1000, 3) if at["namelookup"] else None,
        "tcp": between("namelookup", "connect"),
        "tls": between("connect", "appconnect") if tls else None,
        "server": between("pretransfer", "starttransfer"),
        "transfer": between("starttransfer", "total") if at["starttransfer"] else None,
    }


TOOLS = (
    Tool(
        "curl",
        "curl",
        _prepare,
        purpose="an HTTP request, and how long each of its phases takes",
        variants=(Variant("", (TRANSFERS,)),),
        resolves=True,
    ),
)
