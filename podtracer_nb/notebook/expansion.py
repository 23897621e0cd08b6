"""A magic's line → words: quotes off, then `{name}` replaced by the notebook's value, word by word.

IPython's own expansion works on the text before it is parsed: it damages the braces of JSON and of shells, and a value
with a space in it falls apart into several words. Here the line is split first, so a value stays one word, whatever
it holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from podtracer_nb.errors import InputError

__all__ = ["expand", "split"]

_NAME = r"[^\W\d]\w*"
_FIELD = rf"{_NAME}(?:\.{_NAME}|\[[^\[\]{{}}]+\])*"
# ${x} is a shell's own; a run of braces is taken whole, so that {{x}} and {{{x}}} mean what they mean in an f-string.
_BRACES = re.compile(rf"(?<![${{])(\{{+)({_FIELD})(\}}+)")
_STEP = re.compile(rf"\.({_NAME})|\[([^\[\]]+)\]")


def split(line: str, names: Mapping[str, Any]) -> list[str]:
    """Return the words of a magic's line, with `{name}` expanded in each.

    Parameters
    ----------
    line
        What stands after ``%podtrace``.
    names
        The notebook's variables.

    Raises
    ------
    InputError
        A quote is not closed, a name is not defined, or a value would be read as an option of ours.

    Examples
    --------
    >>> split('tcpdump --pod {pod} -- "tcp port {port}"', {"pod": "web", "port": 80})
    ['tcpdump', '--pod', 'web', '--', 'tcp port 80']
    """
    words: list[str] = []
    ours = True
    previous = ""
    for word in _quotes_off(line):
        if ours and previous in ("-a", "--arguments"):
            words.append(_expand_arguments(word, names))
        elif ours and word.startswith("--arguments="):
            words.append("--arguments=" + _expand_arguments(word.removeprefix("--arguments="), names))
        elif ours and word.startswith("-a") and word != "-a":
            words.append("-a" + _expand_arguments(word.removeprefix("-a"), names))
        else:
            words.append(expand(word, names))
            if ours and words[-1].startswith("-") and not word.startswith("-"):
                raise InputError(
                    f"{word} is {words[-1]!r}, which would be read as an option; what belongs to the tool goes after --"
                )
            ours = ours and word != "--"
        previous = word
    return words


def expand(text: str, names: Mapping[str, Any]) -> str:
    """Return `text` with `{name}`, `{name.attribute}` and `{name[key]}` replaced by their values.

    ``{{name}}`` stands for ``{name}`` itself. Braces around anything else stay as they are.

    Raises
    ------
    InputError
        A name is not defined, or what it holds cannot stand in an argument.

    Examples
    --------
    >>> expand('{ports[0]} {"json": {}}', {"ports": [80, 443]})
    '80 {"json": {}}'
    """

    def replace(match: re.Match[str]) -> str:
        opening, field, closing = match.groups()
        pairs = min(len(opening), len(closing))
        inner = _value(field, names) if pairs % 2 else field
        # What exceeds the pairs belongs to the text around them, as in {"a":{x}}.
        return "{" * (len(opening) - pairs + pairs // 2) + inner + "}" * (len(closing) - pairs + pairs // 2)

    return _BRACES.sub(replace, text)


def _quotes_off(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{str(error).lower()} in {line.strip()!r}; close it, or put a backslash before it") from error


def _expand_arguments(text: str, names: Mapping[str, Any]) -> str:
    """Expand in the one string of `-a`, which is split again later: a value must stay one word there too."""
    if not _BRACES.search(text):
        return text
    return shlex.join(expand(word, names) for word in _quotes_off(text))


def _value(field: str, names: Mapping[str, Any]) -> str:
    name = re.match(_NAME, field)
    assert name is not None  # noqa: S101  _BRACES matched it
    if name[0] not in names:
        raise InputError(
            f"{{{field}}}: no variable {name[0]!r} here; define it, or write {{{{{field}}}}} for the braces"
        )
    value = names[name[0]]
    try:
        for attribute, key in _STEP.findall(field[name.end() :]):
            value = getattr(value, attribute) if attribute else value[_key(key)]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{{{field}}}: {type(error).__name__}: {error}; look at {name[0]!r} first") from error
    text = str(value)
    if "\0" in text:
        raise InputError(f"{{{field}}} holds a NUL character, which no argument of a program can hold; take it out")
    return text


def _key(text: str) -> int | str:
    """Return the key as `str.format` reads it: a number, or else the text; quotes were taken off with the word's."""
    return int(text) if re.fullmatch(r"-?\d+", text, re.ASCII) else text.strip("'\"")
