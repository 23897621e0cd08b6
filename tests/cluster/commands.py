"""Runs a program to its end, with an error that says which and why; and says what happens, a line a step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.layout import ClusterError

# Debian keeps ip, nft and others in sbin, which is not on every PATH.
SEARCH = os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_STARTED = time.monotonic()


def say(line: str) -> None:
    """Print one line of progress, with the seconds since the start."""
    print(f"cluster: {time.monotonic() - _STARTED:5.1f} s  {line}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv`, its output captured; with `check` a failure is a `ClusterError` that shows the output's end."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "PATH": SEARCH, **(environment or {})},
            cwd=directory,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if check:
            raise ClusterError(f"{words[0]}: {error}") from error
        return subprocess.CompletedProcess(words, 127, "", str(error))
    if check and done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterError(f"exit status {done.returncode}: {' '.join(words)}\n{output}")
    return done
