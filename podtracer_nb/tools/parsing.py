"""Any tool's output as a table, in a format that the user names: `--parse json|jsonl|csv|tsv|kv|jc:NAME`."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from podtracer_nb.errors import InputError
from podtracer_nb.tools.table import Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Command, Options, refuse_capture_options

__all__ = ["FORMATS", "command", "flat", "jc_rows", "json_rows", "known_form"]

_ROWS = Table("rows")


def command(name: str, arguments: tuple[str, ...], options: Options) -> Command:
    """Return the argv of a tool whose output is in the format that the user names.

    Raises
    ------
    InputError
        There is no such format.
    """
    refuse_capture_options(name, options)
    read = _reader(str(options.parse))

    def parse(text: Text) -> Parsed:
        rows = read(text.stdout)
        if not rows and text.stdout.strip():
            raise Unreadable(f"no {options.parse} was found in it")
        return Parsed(((_ROWS, rows),))

    return Command((name, *arguments), output="table", parse=parse)


def json_rows(text: str) -> list[Row]:
    """Return the rows of one JSON document: a list's elements, or an object as one row.

    Raises
    ------
    Unreadable
        It is no JSON.

    Examples
    --------
    >>> json_rows('[{"a": 1}, {"a": 2}]')
    [{'a': 1}, {'a': 2}]
    """
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"it is no JSON ({error})") from error
    return [_row(each) for each in (value if isinstance(value, list) else [value])]


def _row(value: Any) -> Row:
    return value if isinstance(value, dict) else {"value": value}


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return an object's members as one row: those of a member that is an object itself carry its name in front.

    Examples
    --------
    >>> flat({"dev": "eth0", "stats64": {"rx": {"bytes": 5}}, "flags": ["UP"], "no-carrier": True})
    {'dev': 'eth0', 'stats64_rx_bytes': 5, 'flags': ['UP'], 'no_carrier': True}
    """
    row: dict[str, Any] = {}
    for name, each in value.items():
        word = prefix + re.sub(r"\W+", "_", name).strip("_")
        if isinstance(each, Mapping):
            row.update(flat(each, f"{word}_"))
        else:
            row[word] = each
    return row


@contextlib.contextmanager
def known_form() -> Iterator[None]:
    """Say that JSON has a form we do not know, where the code inside finds it so.

    Examples
    --------
    >>> with known_form():
    ...     [each["name"] for each in json_rows('[{"nom": 1}]')]
    Traceback (most recent call last):
    podtracer_nb.tools.table.Unreadable: its JSON has another form than we know (KeyError: 'name')
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"its JSON has another form than we know ({type(error).__name__}: {error})") from error


def _json_lines(text: str) -> list[Row]:
    return [row for line in text.splitlines() if line.strip() for row in json_rows(line)]


def _separated(separator: str, text: str) -> list[Row]:
    try:
        return list(csv.DictReader(io.StringIO(text), delimiter=separator, strict=True))
    except csv.Error as error:
        raise Unreadable(str(error)) from error


def _pairs(text: str) -> list[Row]:
    """Read `name=value`, `name: value` or `name value`, one a line; an empty line begins the next row."""
    rows: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if not line.strip():
            rows.append({})
            continue
        found = re.match(r"\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*)", line) or re.match(r"\s*(\S+)\s+(.*)", line)
        if found is None:
            raise Unreadable(f"{line[:60]!r} is no name with a value")
        rows[-1][found[1]] = found[2].strip()
    return [row for row in rows if row]


def jc_rows(name: str, text: str) -> list[Row]:
    """Return the rows that jc's parser `name` finds.

    Raises
    ------
    InputError
        jc has no such parser.
    Unreadable
        The parser fails, or finds nothing where there is something.
    """
    import jc

    if name not in jc.parser_mod_list():
        raise InputError(f"jc has no parser {name!r}: its names are in `jc --help`")
    if not text.strip():
        return []
    try:
        value = jc.parse(name, text, quiet=True)
    except Exception as error:
        # jc's parsers raise whatever their code happens to meet.
        raise Unreadable(f"jc's parser {name} fails: {type(error).__name__}: {error}") from error
    rows = [_row(each) for each in (value if isinstance(value, list) else [value] if value else [])]
    if not any(each not in (None, "", [], {}) for row in rows for each in row.values()):
        # Some of them give an object whose members are all empty.
        raise Unreadable(f"jc's parser {name} finds nothing in it")
    return rows


FORMATS: dict[str, Callable[[str], Sequence[Row]]] = {
    "json": json_rows,
    "jsonl": _json_lines,
    "csv": functools.partial(_separated, ","),
    "tsv": functools.partial(_separated, "\t"),
    "kv": _pairs,
}


def _reader(form: str) -> Callable[[str], Sequence[Row]]:
    if form.startswith("jc:"):
        name = form.removeprefix("jc:").replace("-", "_")
        import jc

        if name not in jc.parser_mod_list():
            raise InputError(f"jc has no parser {name!r}: its names are in `jc --help`")
        return functools.partial(jc_rows, name)
    if form not in FORMATS:
        raise InputError(f"--parse {form!r} is none of {', '.join(FORMATS)}, jc:NAME")
    return FORMATS[form]
