"""`podtracer read`: which packets, which columns, and Parquet; errors are one line, and nothing half is left."""

from __future__ import annotations

import bz2
import lzma
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import podtracer_nb
from tests.machine import needs
from tests.packets.captures import SEEDS, capture, header, record

PACKETS = SEEDS["EN10MB"][1]
COMMAND = [sys.executable, "-m", "podtracer_nb", "read"]


def read(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False, timeout=60
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.pcap"
    file.write_bytes(capture(PACKETS))
    return file


def test_a_capture_becomes_a_folder_of_parquet(path: Path, tmp_path: Path) -> None:
    done = read(path, "--to", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "25 packets in 1 part in out\n"
    assert len(podtracer_nb.read_parquet(tmp_path / "out")) == 25
    assert podtracer_nb.read_parquet(tmp_path / "out").podtrace.raw(3) == PACKETS[2]


@needs("tcpdump")
def test_packets_and_columns_are_chosen_by_words(path: Path, tmp_path: Path) -> None:
    done = read(path, "--filter", "udp", "--columns", "src,dport", "--layers", "tunnel", "--count", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["frame", "src", "dport"]
    assert [line[0] for line in lines[1:]] == podtracer_nb.read_pcap(path, filter="udp", count=2).index.astype(
        str
    ).tolist()
    done = read(path, "--sample", "10", "--to", "out", cwd=tmp_path)
    assert "3 packets" in done.stderr
    time = podtracer_nb.read_pcap(path)["time"].iloc[20].isoformat()
    assert read(path, "--start", time, cwd=tmp_path).stderr == "5 packets\n"
    assert read(path, "--stop", time, "--sample", "0.5", "--seed", "3", cwd=tmp_path).returncode == 0


def test_a_capture_without_a_packet_is_told_and_has_no_table(tmp_path: Path) -> None:
    (tmp_path / "none.pcap").write_bytes(header())
    done = read("none.pcap", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 packets\n")


@pytest.mark.parametrize("more", [[], ["--to", "out"]])
def test_the_last_line_names_what_is_not_dissected_and_nothing_else_is_said(tmp_path: Path, more: list[str]) -> None:
    for linktype, match in ((105, "IEEE802_11 (105)"), (999, "999")):
        (tmp_path / "x.pcap").write_bytes(capture(PACKETS[:3], linktype))
        done = read("x.pcap", *more, *(["--overwrite"] if more else []), cwd=tmp_path)
        assert done.returncode == 0
        (said,) = done.stderr.splitlines()
        assert said.startswith("3 packets") and f"link type {match} is not dissected" in said


@pytest.mark.parametrize("more", [[], ["--to", "out"]])
def test_of_several_files_the_last_line_says_which_are_damaged_and_which_were_passed_over(
    path: Path, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "cut.pcap").write_bytes(path.read_bytes()[:-5])
    (tmp_path / "text.pcap").write_text("hello")
    done = read("*.pcap", *more, cwd=tmp_path)
    assert done.returncode == 0
    (said,) = done.stderr.splitlines()
    assert said.startswith("49 packets") and "cut.pcap is damaged at byte" in said
    assert said.count("damaged") == 1 and "passed over: text.pcap is not a capture" in said


@pytest.mark.parametrize(
    ("words", "status", "match"),
    [
        (["--overwrite"], 2, "--overwrite belongs to --to"),
        (["--sample", "0"], 2, "not a sample"),
        (["--sample", "-1"], 2, "not a sample"),
        (["--sample", "1.5"], 2, "not a sample"),
        (["--columns", "a,,b"], 2, "not a list of names"),
        (["--columns", "nope"], 2, "nope"),
        (["--layers", "nope"], 2, "nope"),
        (["--start", "soon"], 2, "not a time"),
        (["--to", ""], 2, "not a folder"),
        (["--to", "x.pcap"], 2, "is a file"),
        (["--to", "full"], 2, "not empty"),
        (["--to", "/proc/out"], 1, "/proc/out"),
        (["--filter", "tpc port 80"], 2, "syntax error"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    path: Path, tmp_path: Path, words: Sequence[str], status: int, match: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    done = read(path, *words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert match in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["full", "x.pcap"]


def foreign() -> dict[str, tuple[bytes, str]]:
    """Return files that are no captures that are read, and what the line says that they look like."""
    erf = bytes(4) + struct.pack("<I", 1_700_000_000) + struct.pack("!BBHHH", 2, 4, 80, 0, 60) + bytes(64)
    return {
        "empty": (b"", "is empty"),
        "erf": (erf, "an ERF capture"),
        "text": (b"12:00:00.000 IP 10.0.0.1 > 10.0.0.2: ICMP echo request\n", "text ('12:00:00.000 IP"),
        "zeros": (bytes(100), "zeros"),
        "noise": (b"\x81\x92\xa3\xb4" * 9, "nothing known (first bytes 81 92 a3 b4"),
        "cut": (header()[:10], "cut short inside its header: 10 of 24 bytes"),
        "bzip2": (bz2.compress(header()), "bzip2-compressed"),
        "xz": (lzma.compress(header()), "xz-compressed"),
    }


@pytest.mark.parametrize("name", foreign())
@pytest.mark.parametrize("more", [[], ["--to", "out"]])
def test_what_is_no_capture_is_told_in_a_line_by_what_it_looks_like(tmp_path: Path, name: str, more: list[str]) -> None:
    data, match = foreign()[name]
    (tmp_path / name).write_bytes(data)
    told(read(name, *more, cwd=tmp_path), name, match)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def told(done: subprocess.CompletedProcess[str], name: str, match: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"podtracer: {name}"), done.stderr
    assert match in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@needs("tshark")
@pytest.mark.parametrize(
    ("format_", "match"),
    [
        ("snoop", "a Solaris snoop capture: convert it with `editcap"),
        ("netmon1", "a Microsoft Network Monitor capture"),
        ("netmon2", "a Microsoft Network Monitor capture"),
        ("5views", "an Accellent 5Views capture"),
        ("ngsniffer", "a Sniffer capture"),
        ("ngwsniffer_2_0", "a Sniffer capture"),
        ("visual", "a Visual Networks capture"),
        ("k12text", "text ("),
    ],
)
def test_other_tools_captures_are_told_by_name(path: Path, tmp_path: Path, format_: str, match: str) -> None:
    subprocess.run(["editcap", "-F", format_, path, tmp_path / "other"], check=True, capture_output=True)
    told(read("other", cwd=tmp_path), "other", match)


def test_a_directory_and_a_missing_file_are_told_in_a_line(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    told(read("folder", cwd=tmp_path), "folder", "is a directory: give its files, as in folder/*.pcap")
    told(read("none.pcap", cwd=tmp_path), "none.pcap", "No such file")
    told(read("none*", cwd=tmp_path), "none*", "no file is named so")
    told(read("none*", "--to", "out", cwd=tmp_path), "none*", "no file is named so")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "x.pcap"]


def test_a_folder_is_written_over_only_when_asked(path: Path, tmp_path: Path) -> None:
    assert read(path, "--to", "out", cwd=tmp_path).returncode == 0
    assert read(path, "--to", "out", "--count", "3", cwd=tmp_path).returncode == 2
    assert read(path, "--to", "out", "--count", "3", "--overwrite", cwd=tmp_path).returncode == 0
    assert len(podtracer_nb.read_parquet(tmp_path / "out")) == 3


def test_an_interrupt_keeps_whole_parts_and_says_how_many(tmp_path: Path) -> None:
    for ending in (signal.SIGINT, signal.SIGTERM):
        out = tmp_path / ending.name
        with subprocess.Popen(
            [*COMMAND, "/dev/stdin", "--to", str(out)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None and process.stderr is not None
            process.stdin.write(header() + b"".join(record(packet) for packet in PACKETS) * 8000)
            process.stdin.flush()
            process.send_signal(ending)
            said = process.stderr.read().decode()
            process.stdin.close()
        assert process.returncode == 128 + signal.SIGINT, said
        assert said.startswith("interrupted; ") and said.count("\n") == 1
        rows = len(podtracer_nb.read_parquet(out))
        assert rows > 0 and f"{rows:,} packets" in said


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(header() + b"".join(record(packet) for packet in PACKETS) * 400)
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.argv[1:] = "
    )
    run = f"{limited}['read', {str(path)!r}, '--to', 'out']; runpy.run_module('podtracer_nb.cli', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("podtracer: the disk is full: out has 0 whole parts") and done.stderr.count("\n") == 1
    assert [each for each in (tmp_path / "out").iterdir() if not each.name.startswith("part-")] == []
