"""`podtracer` while Python still loads it: an interrupt ends it as any program ends, without a word of Python's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PODTRACER = Path(sys.executable).with_name("podtracer")
LOADED = "import time:"
"""How Python tells, on standard error and at once, of a module that it has loaded: PYTHONPROFILEIMPORTTIME."""


def interrupted_when_loaded(module: str, *words: str) -> tuple[int, str]:
    """Interrupt `podtracer` as soon as it has loaded a module; return its exit status and its own words."""
    with subprocess.Popen(
        [PODTRACER, *words],
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said, seen = [], False
        for line in process.stderr:
            if not line.startswith(LOADED):
                said.append(line)
            elif not seen and line.split("|")[-1].strip() == module:
                seen = True
                process.send_signal(signal.SIGINT)
    assert seen, f"{module} was not loaded: {said}"
    return process.returncode, "".join(said)


@pytest.mark.parametrize(
    "module", ["datetime", "click", "podtracer_nb.options", "numpy", "pandas", "podtracer_nb.execution"]
)
@pytest.mark.parametrize("words", [["run", "tcpdump", "--netns", "none"], ["read", "none.pcap"]])
def test_an_interrupt_before_anything_has_begun_ends_it_without_a_word(module: str, words: list[str]) -> None:
    assert interrupted_when_loaded(module, *words) == (128 + signal.SIGINT, "")


def test_an_ignored_interrupt_stays_ignored() -> None:
    line = f"trap '' INT; exec {PODTRACER} version"
    with subprocess.Popen(
        ["sh", "-c", line], env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        for loaded in process.stderr:
            if loaded.rstrip().endswith(("click", "numpy")):
                process.send_signal(signal.SIGINT)
        assert process.stdout.read().startswith("podtracer ")
    assert process.returncode == 0
