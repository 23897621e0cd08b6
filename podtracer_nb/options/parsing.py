"""From a line's words to its request, or to one sentence about what does not fit."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import click

from podtracer_nb.errors import InputError
from podtracer_nb.options.grammar import EVERYWHERE, MAGIC, grammar
from podtracer_nb.options.requests import HelpRequest, Request, RunRequest

__all__ = ["parse"]


def parse(words: Sequence[str], *, magic: bool = False, defaults: Mapping[str, object] | None = None) -> Request:
    """Parse one line's words into what it asks for.

    Parameters
    ----------
    words
        The words after `podtracer` or `%podtrace`, quotes already taken off.
    magic
        True in a notebook: `run` may be left out, and `use` exists.
    defaults
        Values for options that the line leaves out, by their names in `RunRequest` (`%podtrace use`).

    Raises
    ------
    InputError
        The words do not fit the grammar; one line says which, and the right form.

    Examples
    --------
    >>> parse(["run", "tcpdump", "--pod", "web", "--", "-c", "10"]).arguments
    ('-c', '10')
    """
    commands = MAGIC if magic else EVERYWHERE
    face = "%podtrace" if magic else "podtracer"
    name, rest = _split_command(list(words), commands, magic)
    if name is None:
        return HelpRequest(_help(grammar, face, magic))
    command = commands[name]
    shown = face if magic and name == "run" else f"{face} {name}"
    try:
        with click.Context(command, info_name=shown, help_option_names=["-h", "--help"]) as ctx:
            if _asks_help(rest):
                return HelpRequest(command.get_help(ctx))
            if name == "run":
                _own_words(rest, magic)
        ctx = command.make_context(
            shown, list(rest), help_option_names=["-h", "--help"], default_map=_applicable(rest, defaults)
        )
        with ctx:
            request: Request = command.invoke(ctx)
    except click.ClickException as error:
        _refuse(error, shown, name)
    if isinstance(request, RunRequest) and request.tool is None and not magic:
        raise InputError("no tool named; write podtracer run TOOL --pod POD -- ARGS")
    return request


def _split_command(
    words: list[str], commands: Mapping[str, click.Command], magic: bool
) -> tuple[str | None, list[str]]:
    if not words:
        return None, []
    if words[0] in ("-h", "--help") or (words[0] == "help" and len(words) == 1):
        return None, []
    if words[0] == "--version":
        return "version", []
    if words[0] in commands:
        return words[0], words[1:]
    # In a notebook the word may as well be a tool's name: only a very near one, alone, is taken for a slip.
    nearest = _nearest(words[0], commands, cutoff=0.8 if magic else 0.6)
    if magic and not (len(words) == 1 and nearest):
        return "run", words
    if words[0] in MAGIC:
        raise InputError(f"no such command {words[0]!r} in a shell; in a notebook it is %podtrace {words[0]}")
    hint = f"; did you mean {nearest!r}?" if nearest else f"; commands: {', '.join(commands)}"
    if re.fullmatch(r"[a-z0-9_.+]+", words[0]) and not nearest:
        hint += f"; to run a tool: podtracer run {shlex.join(words[:1])} --pod POD"
    raise InputError(f"no such command {words[0]!r}{hint}")


def _nearest(word: str, among: Mapping[str, object], cutoff: float) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, list(among), n=1, cutoff=cutoff)
    return found[0] if found else None


def _asks_help(words: Sequence[str]) -> bool:
    ours = words[: words.index("--")] if "--" in words else words
    return "--help" in ours or "-h" in ours


def _applicable(words: Sequence[str], defaults: Mapping[str, object] | None) -> dict[str, Any]:
    """Leave out sticky targets where the line names its own."""
    values: dict[str, Any] = dict(defaults or {})
    ours = words[: words.index("--")] if "--" in words else words
    named = {word.split("=", 1)[0] for word in ours}
    if named & {"--pod", "-l", "--selector", "-A", "--all-namespaces", "--pid", "--netns", "--from", "--to"}:
        for name in ("pod", "selector", "all_namespaces"):
            values.pop(name, None)
    if named & {"--from", "--to"}:
        values.pop("container", None)
    if named & {"--pid", "--netns"}:
        for name in ("namespace", "container", "context", "kubeconfig"):
            values.pop(name, None)
    return values


def _own_words(words: Sequence[str], magic: bool) -> None:
    """Refuse words of the tool that stand before `--`, and show where they go."""
    if "--" in words:
        before, after = list(words[: words.index("--")]), list(words[words.index("--") + 1 :])
    else:
        before, after = list(words), []
    ours, theirs, tool = _divide(before)
    if theirs:
        line = shlex.join([*(["podtracer", "run"] if not magic else ["%podtrace"]), *([tool] if tool else []), *ours])
        form = f"{line} -- {shlex.join([*theirs, *after])}"
        raise click.UsageError(
            f"{theirs[0]!r} is not an option of podtracer; what belongs to {tool or 'the tool'} goes after --: {form}"
        )


def _divide(words: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Tell our words from the tool's: (ours, theirs, tool)."""
    takes_value = {
        name: not getattr(param, "is_flag", False)
        for param in EVERYWHERE["run"].params
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }
    ours: list[str] = []
    theirs: list[str] = []
    tool: str | None = None
    position = 0
    while position < len(words):
        word = words[position]
        # A value of ours never sticks to its letter: `-nn` and `-c100` are the tool's, not a namespace or a container.
        name = word.split("=", 1)[0] if word.startswith("--") else word
        known = name in takes_value
        if word.startswith("-") and len(word) > 1 and known:
            valued = takes_value[name] and word == name
            value = words[position + 1] if valued and position + 1 < len(words) else None
            # `-n` and `-c` are tcpdump's too: a value that cannot be ours says that the option was not either.
            # A long option is nobody's but ours, and its value is judged as such.
            ambiguous = not name.startswith("--") and name != "-a"
            option = value is not None and value.startswith("-") and not re.match(r"-(\d|$)", value)
            swallowed = ambiguous and option
            counted = name == "-c" and value is not None and value.isdigit()
            if swallowed:
                theirs.append(word)
                position += 1
                continue
            (theirs if counted else ours).extend(words[position : position + (2 if value is not None else 1)])
            position += 2 if value is not None else 1
            continue
        if word.startswith("-") and len(word) > 1:
            theirs.append(word)
            following = words[position + 1 : position + 2]
            if following and not following[0].startswith("-") and tool is not None:
                theirs += following
                position += 1
        elif tool is None:
            tool = word
        else:
            theirs.append(word)
        position += 1
    return ours, theirs, tool


def _refuse(error: click.ClickException, shown: str, name: str) -> NoReturn:
    message = re.sub(r"\s*\n\s*", " ", error.format_message().rstrip("."))  # click lists choices one a line
    if isinstance(error, click.NoSuchOption) and name == "run":
        message = f"no such option {error.option_name}; the tool's own options go after --"
    hint = "" if " -- " in message or "; " in message else f"; see {shown} --help"
    raise InputError(f"{message[:1].lower()}{message[1:]}{hint}") from error


def _help(group: click.Group, face: str, magic: bool) -> str:
    with _extended(group, magic), click.Context(group, info_name=face, help_option_names=["-h", "--help"]) as ctx:
        text = group.get_help(ctx)
    if magic:
        text += (
            "\n\nrun may be left out:  %podtrace tcpdump --pod web -n demo -- -i eth0 -c 100"
            "\nas a value:           df = %podtrace tcpdump --pod web -n demo -- -c 100"
            "\na cell of commands:   %%podtrace --pod web -n demo        (or --shell: one script)"
        )
    return text


@contextlib.contextmanager
def _extended(group: click.Group, magic: bool) -> Iterator[None]:
    before = dict(group.commands)
    group.commands.update(MAGIC if magic else {})
    try:
        yield
    finally:
        group.commands.clear()
        group.commands.update(before)
