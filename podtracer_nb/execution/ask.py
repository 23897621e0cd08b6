"""A short question to a target: a program that looks at something and ends, without a recording."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from podtracer_nb.execution.launch import search_path
from podtracer_nb.targets import Pin

__all__ = ["ask"]


def ask(pin: Pin, argv: Sequence[str], *, seconds: float = 10.0) -> subprocess.CompletedProcess[str]:
    r"""Run a program inside a target to its end, and return what it said.

    Parameters
    ----------
    pin
        The target's namespaces.
    argv
        The program and its words.
    seconds
        How long it may take.

    Returns
    -------
    subprocess.CompletedProcess
        Its exit status (nsenter's, where that could not run it), standard output and standard error.

    Raises
    ------
    subprocess.TimeoutExpired
        It did not end, and was killed.

    Examples
    --------
    >>> import os
    >>> from podtracer_nb import targets
    >>> (own,) = targets.resolve(pid=os.getpid())
    >>> with targets.pin(own) as held:
    ...     ask(held, ["echo", "hello"]).stdout
    'hello\n'
    """
    return subprocess.run(
        [*pin.launcher, *pin.nsenter, *argv],
        pass_fds=pin.pass_fds,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        env={**os.environ, "LC_ALL": "C", "PATH": search_path()},
        check=False,
    )
