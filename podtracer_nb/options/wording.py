"""From a request back to the words of its line, for a run that is carried out elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from podtracer_nb.options.grammar import EVERYWHERE
from podtracer_nb.options.requests import UNATTENDED, RunRequest
from podtracer_nb.options.values import Duration

__all__ = ["unattended_words", "words"]

_RENAMED = {"filter_": "filter"}
_NOT_OPTIONS = ("tool", "words", "arguments")


def words(request: RunRequest, leave_out: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the words that `parse` makes an equal request of.

    Parameters
    ----------
    request
        What a line asked for.
    leave_out
        Options, by their names in `RunRequest`, that the words are not to have.

    Examples
    --------
    >>> words(RunRequest("tcpdump", ("-c", "10"), pod=("web",), timer=90.0))
    ('run', 'tcpdump', '--pod', 'web', '-t', '90s', '--', '-c', '10')
    """
    line = ["run", str(request.tool)]
    left_out = {*leave_out, *_NOT_OPTIONS}
    for param in EVERYWHERE["run"].params:
        name = _RENAMED.get(str(param.name), str(param.name))
        if not isinstance(param, click.Option) or name in left_out:
            continue
        value = getattr(request, name)
        if value is None or value == RunRequest.__dataclass_fields__[name].default:
            continue
        if param.is_flag:
            line.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            for each in value if param.multiple else (value,):
                line += [param.opts[0], _text(each, param)]
    return (*line, "--", *request.arguments) if request.arguments else tuple(line)


def unattended_words(request: RunRequest) -> tuple[str, ...]:
    """Return the words of a run for a Job, without which pods and where to: `tools.unattended` says that."""
    keywords = [name for name in request.unattended_keywords() if name not in ("timer", "destination")]
    return words(request, (*keywords, *UNATTENDED, "out"))


def _text(value: Any, param: click.Option) -> str:
    if isinstance(param.type, Duration):
        return f"{value:.3f}".rstrip("0").rstrip(".") + "s"
    return ",".join(value) if isinstance(value, tuple) else str(value)
