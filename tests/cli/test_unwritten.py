"""Standard output that takes nothing more: its reader has gone, or its disk is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packets.captures import SEEDS, capture

COMMANDS = [["version"], ["--help"], ["read", "x.pcap"], ["run", "echo", "--pid", str(os.getpid()), "--", "hello"]]


def ended(stdout: int, words: list[str], folder: Path) -> tuple[int, str]:
    (folder / "x.pcap").write_bytes(capture(SEEDS["EN10MB"][1]))
    # Python itself writes when its buffer is full or at the very end, unless it is told otherwise.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    recordings = {"PODTRACER_RECORDINGS": str(folder / "recordings"), "KUBECONFIG": os.devnull}
    done = subprocess.run(
        [sys.executable, "-m", "podtracer_nb", *words],
        env=buffered | recordings,
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_reader_that_has_gone_is_nobody_to_tell(words: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert ended(writing, words, tmp_path) == (128 + signal.SIGPIPE, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_full_disk_behind_it_is_one_line(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        told = ended(full.fileno(), words, tmp_path)
    assert told == (1, "podtracer: the output could not be written: No space left on device\n")
