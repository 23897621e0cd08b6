"""Programs in a test's namespace: commands that set it up, and a Python that holds sockets open in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from tests.targets.namespaces import Holder


def words(held: Holder) -> list[str]:
    """Return the words that start a program in the holder's namespaces, as root of them."""
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={held.pid}", "--net", *user]


def command(held: Holder, line: str) -> str:
    """Run a command of plain words there, and return what it wrote."""
    done = subprocess.run([*words(held), *line.split()], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def program(held: Holder, source: str, *arguments: str) -> Iterator[str]:
    """Run Python source there until the block ends; gives the line that it prints when it is ready."""
    ending = "\nimport sys\nsys.stdin.read()\n"
    argv = [*words(held), sys.executable, "-c", source + ending, *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the program ended before it was ready"
            yield line.strip()
        finally:
            process.stdin.close()
            process.wait(10)
