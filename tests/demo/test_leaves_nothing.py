"""Whatever dies, and whenever: no process, no namespace, no state file is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import demo
from podtracer_nb.demo import pods
from podtracer_nb.errors import DemoError
from tests.demo.machine_state import network_namespaces, processes_of, until
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2")


def program(source: str, **pipes: int) -> subprocess.Popen[bytes]:
    """Start Python code elsewhere, with an interpreter that finds this very package."""
    path = os.pathsep.join([str(Path(podtracer_nb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}
    return subprocess.Popen([sys.executable, "-c", source], cwd="/", env=environment, **pipes)


def nothing_left(state: Path, before: set[str]) -> bool:
    """Return whether the demo with this state file is gone as if it had never been."""
    return not processes_of(state) and not state.exists() and network_namespaces() <= before


def parent(pid: int) -> int:
    """Return the pid of a process' parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


DEATHS: dict[str, Callable[[int], int]] = {
    "the keeper, process 1 of the node": lambda keeper: keeper,
    "the unshare that started the keeper": parent,
    "the warden outside": lambda keeper: parent(parent(keeper)),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_killed_keeper_takes_everything_with_it(death: str, state: Path, namespaces_before: set[str]) -> None:
    keeper = demo.up().keeper
    assert keeper is not None
    os.kill(DEATHS[death](keeper), signal.SIGKILL)
    until(lambda: nothing_left(state, namespaces_before), f"nothing is left after the death of {death}")


# The warden alone; with unshare and keeper; while the pods are made; with all of them, before they serve.
@pytest.mark.parametrize("processes", [1, 3, 5, 9, 11])
def test_an_up_that_is_killed_mid_way_leaves_nothing(processes: int, state: Path, namespaces_before: set[str]) -> None:
    with program("from podtracer_nb import demo; demo.up(); input()", stdin=subprocess.PIPE) as up:
        until(lambda: len(processes_of(state)) >= processes, f"{processes} processes of the demo are there")
        assert not state.exists()
        up.kill()
        up.communicate()
    until(lambda: nothing_left(state, namespaces_before), "nothing is left")


def test_an_interrupted_up_leaves_nothing(state: Path, namespaces_before: set[str]) -> None:
    with program("from podtracer_nb import demo; demo.up()", stderr=subprocess.PIPE) as up:
        until(lambda: len(processes_of(state)) >= len(pods.PODS), "pods are being made")
        up.send_signal(signal.SIGINT)
        _, complaint = up.communicate()
    assert b"KeyboardInterrupt" in complaint
    assert nothing_left(state, namespaces_before)  # at once: up itself has waited for it
    assert not state.parent.exists()


def test_a_demo_outlives_the_program_that_started_it(state: Path) -> None:
    with program("from podtracer_nb import demo; demo.up()") as up:
        assert up.wait() == 0
    assert demo.status().running
    assert state.exists()


def test_a_pod_that_does_not_start_is_named_with_its_last_words(
    state: Path, namespaces_before: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "dnsmasq"
    broken.write_text("#!/bin/sh\necho 'dnsmasq: no luck today' >&2\nexit 3\n")
    broken.chmod(0o755)
    found = pods.find_programs()
    monkeypatch.setattr(pods, "find_programs", lambda: replace(found, dnsmasq=str(broken)))
    with pytest.raises(DemoError, match="pod dns ended at once: dnsmasq: no luck today"):
        demo.up()
    assert nothing_left(state, namespaces_before)


def test_pods_that_do_not_serve_in_time_are_given_up(
    state: Path, namespaces_before: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "dnsmasq"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    found = pods.find_programs()
    monkeypatch.setattr(pods, "find_programs", lambda: replace(found, dnsmasq=str(silent)))
    with pytest.raises(DemoError, match="pod client was not ready in time: no answer yet: "):
        demo.up(timeout=2)
    assert nothing_left(state, namespaces_before)


def test_a_state_file_that_is_removed_by_hand_ends_the_demo(state: Path, namespaces_before: set[str]) -> None:
    demo.up()
    state.unlink()
    until(lambda: nothing_left(state, namespaces_before), "the keeper has seen that nobody can find it any more")
