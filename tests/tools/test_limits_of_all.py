"""Limits of all targets together: all are stopped at once, what they have is kept, and the frame says why it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import demo
from podtracer_nb.errors import InputError
from tests.machine import needs

pytestmark = needs("netns", "iproute2", "tcpdump")

ENOUGH = 30
SAID = f"stopped: all targets together have captured {ENOUGH} packets"


@pytest.fixture(autouse=True)
def pods(demo_pods: demo.DemoStatus) -> demo.DemoStatus:
    """The client asks web all the time, and web asks api."""
    return demo_pods


def test_so_many_packets_of_all_targets_together_stop_all_and_those_are_kept() -> None:
    frame = podtracer_nb.run("tcpdump", ["-i", "eth0"], pod=("web", "api"), namespace="demo", count_total=ENOUGH)
    told = frame.attrs["podtracer"]
    assert len(frame) >= ENOUGH
    assert SAID in str(told["notes"])
    assert frame.target.nunique() == 2
    assert sum(len(podtracer_nb.read_pcap(each)) for each in told["recordings"]) == len(frame)


def test_those_of_files_that_nobody_reads_meanwhile_are_counted_too(tmp_path: Path) -> None:
    words = ["--pod", "web", "--pod", "api", "-n", "demo", "-f", f"{tmp_path}/", "--count-total", str(ENOUGH)]
    argv = [sys.executable, "-m", "podtracer_nb.cli", "run", "tcpdump", *words, "--", "-i", "eth0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(SAID) == 2
    captures = [podtracer_nb.read_pcap(each) for each in tmp_path.glob("*.pcap")]
    assert sum(len(each) for each in captures) >= ENOUGH
    assert all(each.attrs["podtracer"]["capture"]["damage"] is None for each in captures)


def test_what_captures_nothing_has_no_such_limit() -> None:
    with pytest.raises(InputError, match="count_total counts packets"):
        podtracer_nb.run("ss", pod="web", namespace="demo", count_total=ENOUGH)


def test_captures_whose_reader_has_failed_are_not_counted_on_for_ever() -> None:
    words = ["--pod", "web", "-n", "demo", "-s", "--count-total", str(10**9), "--", "-i", "eth0", "-U"]
    argv = [sys.executable, "-m", "podtracer_nb.cli", "run", "tcpdump", *words]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr
