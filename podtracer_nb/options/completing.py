"""What may follow the words of a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from podtracer_nb.options.grammar import EVERYWHERE, MAGIC
from podtracer_nb.options.values import NAMESPACE_KINDS

__all__ = ["Completion", "complete"]


@dataclass(frozen=True)
class Completion:
    """One way to go on: its text and what it is (`command`, `option`, `tool`, `value`)."""

    text: str
    kind: str


def complete(words: Sequence[str], incomplete: str, *, magic: bool = False) -> list[Completion]:
    """Return what may follow `words` of a line, beginning with `incomplete`.

    Names of pods and namespaces are not the grammar's to know: after `--pod` or `-n` this returns nothing.

    Examples
    --------
    >>> [each.text for each in complete(["run", "tcpdump"], "--all-n")]
    ['--all-namespaces']
    """
    commands = MAGIC if magic else EVERYWHERE
    if "--" in words:
        return []
    found: list[Completion] = []
    first = words[0] if words else None
    if first is None and not incomplete.startswith("-"):
        found += [Completion(name, "command") for name in commands]
        if magic:
            found.append(Completion("tcpdump", "tool"))
    else:
        command = commands[first] if first in commands else EVERYWHERE["run"]
        previous = words[-1] if words else ""
        for param in command.params:
            if isinstance(param, click.Option) and previous in param.opts and not param.is_flag:
                listed = tuple(map(str, param.type.choices)) if isinstance(param.type, click.Choice) else ()
                choices = NAMESPACE_KINDS if param.name == "ns" else listed
                return [Completion(each, "value") for each in choices if each.startswith(incomplete)]
            if isinstance(param, click.Argument) and isinstance(param.type, click.Choice):
                found += [Completion(str(each), "value") for each in param.type.choices]
            if isinstance(param, click.Option):
                found += [Completion(each, "option") for each in param.opts if each.startswith("--")]
        found.append(Completion("--help", "option"))
        if first == "run" and len(words) == 1:
            found.append(Completion("tcpdump", "tool"))
    return [each for each in found if each.text.startswith(incomplete)]
