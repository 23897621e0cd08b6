"""The kinds of values that options take, each with a sentence for what it is not."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["NAMESPACE_KINDS", "Duration", "Interface", "Kinds", "Names", "Sample", "Size", "Value", "Variable"]

NAMESPACE_KINDS = ("net", "uts", "ipc", "pid", "mnt")


class Duration(click.ParamType[float]):
    name = "duration"
    _form = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            text += "s"
        match = self._form.fullmatch(text)
        seconds = 0.0
        if match:
            for part, unit in zip(match.groups(), (3600.0, 60.0, 1.0, 0.001), strict=True):
                seconds += float(part or 0) * unit
        if not match or not 0 < seconds <= 366 * 86400:
            self.fail(f"{value!r} is not a duration; write 30s, 2m or 1h2m", param, ctx)
        return seconds


class Size(click.ParamType[int]):
    name = "size"
    _units: Mapping[str, int] = {
        "": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
        "ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4,
    }  # fmt: skip

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+)\s*([kmgt]?i?)b?", str(value).strip().lower(), re.ASCII)
        if not match or match[2] not in self._units or int(match[1]) == 0:
            self.fail(f"{value!r} is not a size; write 500k, 20M or 1GiB", param, ctx)
        return int(match[1]) * self._units[match[2]]


class Value(click.ParamType[str]):
    """A value that is a name of ours, so an option swallowed in its place is a mistake that can be told."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text or text.startswith("-") or not text.isprintable():
            self.fail(f"{text!r} is not a {self.name}", param, ctx)
        return text


class Interface(click.ParamType[str]):
    name = "interface"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # IFNAMSIZ is 16 with the final NUL; "/" and white space are refused by dev_valid_name (net/core/dev.c).
        if not re.fullmatch(r"[^\s/:-][^\s/:]{0,14}", str(value)):
            self.fail(f"{value!r} is not an interface name", param, ctx)
        return str(value)


class Kinds(click.ParamType[tuple[str, ...]]):
    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        kinds = tuple(dict.fromkeys(value if isinstance(value, tuple) else str(value).split(",")))
        if not kinds or any(kind not in NAMESPACE_KINDS for kind in kinds):
            self.fail(f"{value!r} is not a list of namespaces; choose from {','.join(NAMESPACE_KINDS)}", param, ctx)
        return kinds


class Names(click.ParamType[tuple[str, ...]]):
    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(each.strip() for each in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r} is not a list of names; write time,src,dst", param, ctx)
        return names


class Sample(click.ParamType[float]):
    name = "sample"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
            return int(text)
        if re.fullmatch(r"0?\.[0-9]+", text) and float(text) > 0:
            return float(text)
        self.fail(f"{value!r} is not a sample; write 10 for every tenth packet, 0.1 for a tenth of them", param, ctx)


class Variable(click.ParamType[str]):
    name = "variable"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).isidentifier() or keyword.iskeyword(str(value)):
            self.fail(f"{value!r} is not a name for a variable", param, ctx)
        return str(value)
