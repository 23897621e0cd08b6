"""Where recordings lie, and which files cannot be one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podtracer_nb import targets
from podtracer_nb.errors import InputError
from podtracer_nb.execution import new_recording_path, recordings_directory, start
from tests.machine import needs


def test_the_directory_is_the_one_named_else_the_state_directory_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert recordings_directory() == tmp_path / "chosen"
    monkeypatch.delenv("PODTRACER_RECORDINGS")
    assert recordings_directory() == tmp_path / "state/podtracer/recordings"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert recordings_directory() == tmp_path / "home/.local/state/podtracer/recordings"
    assert recordings_directory().stat().st_mode & 0o777 == 0o700


def test_names_sort_by_time_never_meet_and_hold_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path))
    paths = [new_recording_path("/usr/bin/tcpdump", "../we b/ü", ".pcap") for _ in range(100)]
    assert len(set(paths)) == 100
    stamps = [path.name[:22] for path in paths]
    assert stamps == sorted(stamps)
    assert {path.parent for path in paths} == {tmp_path}
    assert paths[0].name.endswith("-tcpdump-..-we-b-.pcap")


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path / "file/below"))
    with pytest.raises(InputError, match="set PODTRACER_RECORDINGS"):
        recordings_directory()


@needs("netns")
def test_what_cannot_hold_a_growing_recording_is_refused_before_anything_starts(
    pin: targets.Pin, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/dev/null")
    refused = [fifo, tmp_path / "directory", tmp_path / "link", Path("/dev/stdout"), Path("/proc/self/fd/1"),
               tmp_path / "none/x", Path("/proc/x"), Path("/dev/null")]  # fmt: skip
    for path in refused:
        with pytest.raises(InputError):
            start(pin, ["true"], recording=path)
    assert not list((tmp_path / "directory").iterdir())


@needs("netns")
def test_a_file_that_another_run_is_writing_is_refused_until_that_has_ended(pin: targets.Pin, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_text("older and longer than what comes")
    with start(pin, ["sleep", "1000"], recording=file), pytest.raises(InputError, match="by another run"):
        start(pin, ["true"], recording=file)
    with start(pin, ["echo", "new"], recording=file) as run:
        run.wait()
    assert file.read_text() == "new\n"
