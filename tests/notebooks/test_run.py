"""The runner as a process: what it starts it ends, however it is ended itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from podtracer_nb import demo
from tests.demo.machine_state import until
from tests.house.checkout import ROOT
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump")
RUN = [sys.executable, str(ROOT / "notebooks" / "run.py")]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Return an environment with a demo, recordings and a Jupyter of its own."""
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    yield dict(os.environ)
    demo.down()


@contextlib.contextmanager
def started(words: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start the runner; a test that fails leaves it no longer than itself."""
    process = subprocess.Popen(
        [*RUN, *words],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def end(process: subprocess.Popen[str]) -> str:
    """Ask it to end, as a terminal that closes or a service that stops does; return what it still said."""
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=60)[0]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what it says up to a line with these words; a test that waits in vain ends with what was said."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return said
    raise AssertionError(f"ended without saying {words!r}:\n{''.join(said)}")


def test_lab_serves_the_notebook_with_the_pods_up_and_takes_them_down(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    with started(["lab", "--no-browser", "--port=0", "--ip=127.0.0.1"], environment) as process:
        read_until(process, "is running at")
        assert demo.status().running
        (description,) = (tmp_path / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json")
        server = json.loads(description.read_text(encoding="utf-8"))
        # It says that it is running a moment before it listens.
        until(lambda: listens(server["port"]), "JupyterLab listens")
        address = f"{server['url']}api/contents/01-quickstart.ipynb?content=0&token={server['token']}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert json.load(answer)["type"] == "notebook"
        assert "the demo is down" in end(process)
    assert not demo.status().running


def test_ended_in_the_middle_it_still_takes_the_pods_down(environment: Mapping[str, str], tmp_path: Path) -> None:
    with started(["demo", "--folder", str(tmp_path / "left")], environment) as process:
        read_until(process, "executing")
        assert demo.status().running
        end(process)
    assert process.returncode != 0
    assert not demo.status().running


def test_pods_that_were_up_before_stay_up(environment: Mapping[str, str], tmp_path: Path) -> None:
    demo.up()
    with started(["demo", "--folder", str(tmp_path / "left")], environment) as process:
        read_until(process, "is up")
        end(process)
    assert demo.status().running


def test_a_missing_program_is_one_line(environment: Mapping[str, str], tmp_path: Path) -> None:
    bare = {**environment, "PATH": str(tmp_path)}
    done = subprocess.run([*RUN, "demo"], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("DemoError: the demo pods need ") and done.stderr.count("\n") == 1
