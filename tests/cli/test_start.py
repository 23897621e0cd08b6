"""`podtracer` while Python still loads it: an interrupt ends it as any program ends, without a word of Python's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PODTRACER = Path(sys.executable).with_name("podtracer")
LOADED = b"import time:"
"""How Python tells, on standard error and at once, of a module that it has loaded: PYTHONPROFILEIMPORTTIME."""


def interrupted_when_loaded(module: str, *words: str) -> tuple[int, bytes]:
    """Interrupt `podtracer` as soon as it has loaded a module; return its exit status and its own words.

    It is some sixty modules ahead of us at most: its pipe holds no more, and we read nothing in advance.
    """
    with subprocess.Popen(
        [PODTRACER, *words],
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
        pipesize=4096,
    ) as process:
        assert process.stderr is not None
        said, seen = [], False
        for line in process.stderr:
            if not line.startswith(LOADED):
                said.append(line)
            elif not seen and line.split(b"|")[-1].strip() == module.encode():
                seen = True
                process.send_signal(signal.SIGINT)
    assert seen, f"{module} was not loaded: {said}"
    return process.returncode, b"".join(said)


# Behind each of them there are far more modules to come than the pipe holds.
@pytest.mark.parametrize("module", ["datetime", "click", "podtracer_nb.options", "numpy", "pandas.core.frame"])
@pytest.mark.parametrize("words", [["run", "tcpdump", "--netns", "none"], ["read", "none.pcap"]])
def test_an_interrupt_before_anything_has_begun_ends_it_without_a_word(module: str, words: list[str]) -> None:
    assert interrupted_when_loaded(module, *words) == (128 + signal.SIGINT, b"")


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
