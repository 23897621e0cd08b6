"""The README's commands, run as they are written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from podtracer_nb import demo
from tests.house.checkout import ROOT, blocks
from tests.machine import needs


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Return an activated environment of this very Python, with a demo and recordings of its own; no demo is left."""
    activated = tmp_path / "bin"
    activated.mkdir()
    for name in ("python", "podtracer"):
        (activated / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} {"-m podtracer_nb.cli " if name == "podtracer" else ""}"$@"\n'
        )
        (activated / name).chmod(0o755)
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "recordings"))
    monkeypatch.setenv("PATH", f"{activated}{os.pathsep}{os.environ['PATH']}")
    yield dict(os.environ)
    demo.down()


@needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump")
def test_the_shell_commands_run_as_written(environment: Mapping[str, str], tmp_path: Path) -> None:
    commands = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
    ours = [line for line in commands if not line.startswith("make ")]
    assert ours[0] == "podtracer demo up" and ours[-1] == "podtracer demo down"
    work = tmp_path / "work"
    work.mkdir()
    said = {}
    for line in ours:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=work,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
        said[line] = done.stdout
    assert "web" in said["podtracer pods -n demo"]
    assert (work / "test.pcap").stat().st_size > 24, "-w leaves its file where the command was run"
    by_words = {line: out for line, out in said.items() if " ss " in line or " read " in line or "resolv" in line}
    assert any("LISTEN" in out for out in by_words.values())
    assert any("nameserver 10.88.0.53" in out for out in by_words.values())
    assert any(len(out.splitlines()) == 6 for out in by_words.values()), "five packets and their header"


@needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump", "iperf3")
def test_the_python_blocks_run_as_written(environment: Mapping[str, str], tmp_path: Path) -> None:
    demo.up()
    cells = blocks("README.md", "python")
    assert cells[0].startswith("%load_ext podtracer_nb")
    script = tmp_path / "cells.ipy"
    # One after the other, as in a notebook; after each the table is there.
    told = "\nprint(len(df), 'packets in', type(df).__name__)\n"
    script.write_text(told.join([*cells, ""]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=nocolor", str(script)],
        cwd=tmp_path,
        env={**environment, "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.count("100 packets in DataFrame") == len(cells), done.stdout + done.stderr


def test_each_make_command_is_one_that_the_makefile_has() -> None:
    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", (ROOT / "README.md").read_text(encoding="utf-8")))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{word}:", makefile, re.M) for word in named), named


def test_continuous_integration_runs_the_two_commands_as_both_kinds_of_user() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for line in ("make test", "make demo", "as_user make test", "as_user make demo", "make lint"):
        assert re.search(rf"^{line}$", script, re.M), line


def test_each_file_that_it_points_to_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pointed = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert pointed
    assert [name for name in pointed if not (ROOT / name).exists()] == []
    assert all((ROOT / name).stat().st_size < 300_000 for name in pointed)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make: apt-get install make")
def test_make_alone_lists_what_there_is_and_changes_nothing(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "make demo" in done.stdout
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(shutil.which("make") is None, reason="no make: apt-get install make")
def test_a_missing_program_is_one_line_that_says_how_to_have_it(tmp_path: Path) -> None:
    """As an ordinary user, or where there is no apt-get: nothing can be installed, so the line is all."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "id", "echo"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    done = subprocess.run(
        [str(shutil.which("make")), "programs", "PROGRAMS=no-such-program:its-package", "SHELL=/bin/sh"],
        cwd=tmp_path,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "not installed here: its-package; as root: apt-get install its-package\n" in done.stderr
