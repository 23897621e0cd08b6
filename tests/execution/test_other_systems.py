"""On macOS and Windows all can be imported and captures read; what needs Linux says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.execution.other_system import on, started
from tests.packets.captures import SEEDS, capture

SYSTEMS = ["darwin", "win32"]
MODULES = ("cli", "collector", "demo", "execution", "notebook", "notebook.widgets", "packets", "tools", "tools.live")

every_system = pytest.mark.parametrize("system", SYSTEMS)


@every_system
def test_every_part_is_imported(system: str) -> None:
    names = [f"podtracer_nb.{name}" for name in MODULES]
    assert on(system, f"import importlib; print(len([importlib.import_module(name) for name in {names}]))") == "9\n"


@every_system
def test_a_capture_is_read_and_its_packets_are_at_hand(system: str, tmp_path: Path) -> None:
    linktype, packets = next(iter(SEEDS.values()))
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(packets, linktype))
    code = f"import podtracer_nb; df = podtracer_nb.read_pcap({str(path)!r}); print(len(df), df.podtrace.raw(1).hex())"
    assert on(system, code).split() == [str(len(packets)), bytes(packets[0]).hex()]


@every_system
@pytest.mark.parametrize("words", [["run", "ss", "--pid", "1"], ["run", "ss", "--netns", "x"], ["demo", "up"]])
def test_what_needs_linux_here_is_one_line(system: str, words: list[str]) -> None:
    done = started(system, f"from podtracer_nb import cli; cli.main({words})")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "needs Linux" in done.stderr


@every_system
def test_doctor_says_what_there_is(system: str) -> None:
    done = started(system, "from podtracer_nb import cli; cli.main(['doctor'])", KUBECONFIG="/nonexistent")
    assert "Traceback" not in done.stderr
    assert "tracer pods" in done.stdout
    assert "cluster" in done.stdout


@every_system
def test_a_recording_is_written_by_one_run_at_a_time(system: str, tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from podtracer_nb.execution import files\n"
        "from podtracer_nb.execution.recording import open_recording\n"
        f"path = Path({str(tmp_path / 'x.pcap')!r})\n"
        "written = open_recording(path)\n"
        "os.write(written, b'0123456789')\n"
        "read = os.open(path, os.O_RDONLY)\n"
        "buffer = memoryview(bytearray(4))\n"
        "print(files.read_at(read, 3, 4), files.read_into_at(read, buffer, 8), bytes(buffer[:2]))\n"
        "scratch = files.scratch('x')\n"
        "print(files.write_at(scratch, b'abc', 5), files.read_at(scratch, 9, 0))"
    )
    assert on(system, code).splitlines() == ["b'456' 2 b'89'", "3 b'\\x00\\x00\\x00\\x00\\x00abc'"]


def test_what_is_hidden_is_hidden() -> None:
    assert on("win32", "import os; print(hasattr(os, 'pread'))") == "False\n"
    done = subprocess.run(
        [sys.executable, "-m", "tests.execution.other_system", "win32", "import fcntl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No module named 'fcntl'" in done.stderr
