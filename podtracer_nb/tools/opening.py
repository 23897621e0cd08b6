"""From the words that were given to a session whose tools run: they are checked, and the targets resolved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError
from podtracer_nb.tools.job import Task
from podtracer_nb.tools.session import Session
from podtracer_nb.tools.tool import Change, Options

__all__ = ["open_session"]

_LARGEST = 1 << 53  # far more of anything than a run can have
_LONGEST_WORD = 131_072  # MAX_ARG_STRLEN: execve(2)


def open_session(
    commands: Sequence[tuple[str, Sequence[str]]],
    *,
    pod: str | Iterable[str] | None = None,
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | os.PathLike[str] | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    ns: Sequence[str] = ("net",),
    timer: float | None = None,
    max_bytes: int | None = None,
    max_total: int | None = None,
    count_total: int | None = None,
    file: str | os.PathLike[str] | None = None,
    filter: str | None = None,
    interface: str | None = None,
    count: int | None = None,
    snaplen: int | None = None,
    text: bool = False,
    parse: str | None = None,
    every: float | None = None,
    engine: str | None = None,
    allow_change: bool = False,
    via: str | None = None,
    image: str | None = None,
    tracer_namespace: str | None = None,
    hold: float | None = None,
    change: Change | None = None,
    keep: bool = True,
    apart: bool = False,
) -> Session[object]:
    """Resolve the targets and start every tool in each; the caller reads the session's jobs. See `run` and `hold`."""
    for _, args in commands:
        if isinstance(args, str) or not all(isinstance(word, str) for word in args):
            raise InputError("args is a list of words: ['-i', 'eth0', '-c', '5'], not one string, and no numbers")
    if pid is not None and not isinstance(pid, int):
        raise InputError(f"pid={pid!r} has to be a number")
    for name, value in (
        ("timer", timer),
        ("every", every),
        ("max_bytes", max_bytes),
        ("max_total", max_total),
        ("count_total", count_total),
        ("count", count),
        ("snaplen", snaplen),
    ):
        if value is not None and not (isinstance(value, int | float) and 0 < value < _LARGEST):
            raise InputError(f"{name}={value!r} has to be a number greater than 0")
    for name, word in (("filter", filter), ("interface", interface), ("parse", parse), ("image", image)):
        if word is not None and not isinstance(word, str):
            raise InputError(f"{name}={word!r} has to be text")
    if via not in (None, "here", "job", "debug"):
        raise InputError(f"via={via!r} is none of 'here', 'job' and 'debug'")
    if engine not in (None, "ring", "tcpdump"):
        raise InputError(f"engine={engine!r} is neither 'ring' nor 'tcpdump'")
    if isinstance(ns, str):
        ns = ns.split(",")
    named = (pod,) if isinstance(pod, str) else tuple(pod or ())
    words = [word for tool, args in commands for word in (tool, *args)]
    words += [*named, *(os.fspath(each) for each in (file, netns, kubeconfig) if each is not None)]
    words += [each for each in (selector, namespace, container, filter, interface, context) if each is not None]
    for each in words:
        _check_text(each)
    chosen = targets.resolve(
        pods=named,
        selector=selector,
        namespace=namespace,
        all_namespaces=all_namespaces,
        container=container,
        pid=pid,
        netns=os.fspath(netns) if netns is not None else None,
        context=context,
        kubeconfig=os.fspath(kubeconfig) if kubeconfig is not None else None,
    )
    options = Options(filter, interface, count, snaplen, text, parse, engine=engine if engine != "tcpdump" else None)
    return Session(
        [Task(tool, tuple(args), options, every, change) for tool, args in commands],
        chosen,
        kinds=tuple(ns),
        limits=execution.Limits(seconds=timer, bytes=max_bytes),
        file=_file(file) if file is not None else None,
        allow_change=allow_change,
        via=via,
        placement=execution.Placement(tracer_namespace, image),
        hold=hold,
        keep=keep,
        apart=apart,
        max_total=max_total,
        count_total=count_total,
    )


def _file(file: str | os.PathLike[str]) -> Path:
    """Return the path of `file`; a folder, which ends with a slash, is made."""
    text = os.fspath(file)
    if "://" in text:
        raise InputError(f"file={text!r}: only a shell's podtracer, or --job, sends its output to a bucket or a claim")
    path = Path(text)
    if text.endswith("/"):
        try:
            path.expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {text} cannot be made ({error.strerror}): name another") from error
    return path


def _check_text(word: object) -> None:
    """Refuse what no program's argument and no file's name can be."""
    if not isinstance(word, str):
        raise InputError(f"{word!r} has to be text")
    try:
        size = len(os.fsencode(word))
    except UnicodeEncodeError:
        raise InputError(f"{word[:40]!r} holds half of a character, which no program can be given") from None
    if "\0" in word:
        raise InputError(f"{word[:40]!r} holds a NUL byte, which no program can be given")
    if size >= _LONGEST_WORD:
        raise InputError(f"a word of {size:,} bytes is longer than Linux lets an argument be: put it into a file")
