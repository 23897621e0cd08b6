"""A network namespace to run in, and programs of their own that start runs and come to harm."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import targets
from tests.targets.namespaces import Holder, holder

PREAMBLE = """
import os, sys, time, pathlib
from podtracer_nb import errors, execution, targets
def pinned(pid, *kinds):
    (target,) = targets.resolve(pid=int(pid))
    return targets.pin(target, kinds or ("net",))
"""


@pytest.fixture(scope="session")
def inside() -> Iterator[Holder]:
    with holder("net") as held:
        yield held


@pytest.fixture(scope="session")
def pin(inside: Holder) -> Iterator[targets.Pin]:
    (target,) = targets.resolve(pid=inside.pid)
    with targets.pin(target) as held:
        yield held


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "recording"


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python program that uses the package; `words` before it say in which surroundings."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: object, words: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        root = Path(podtracer_nb.__file__).parents[1]
        started.append(
            subprocess.Popen(
                [*words, sys.executable, "-c", PREAMBLE + source, *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": str(root)},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)
