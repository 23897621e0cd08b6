"""`-f` in a shell: folders, whose files name themselves, a disk without room, and buckets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from podtracer_nb import read_pcap
from podtracer_nb.packets import DamageWarning
from tests import s3
from tests.cluster.fixtures import wait_for
from tests.machine import needs
from tests.targets.namespaces import holder
from tests.tools import inside

WORDS = [sys.executable, "-m", "podtracer_nb", "run"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    recordings = {"PODTRACER_RECORDINGS": str(tmp_path / "recordings"), "PODTRACER_STATE": str(tmp_path / "state")}
    return {**os.environ, **recordings, "KUBECONFIG": os.devnull}


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Iterator[s3.Server]:
    with s3.running(tmp_path) as found:
        found.make("captures")
        environment |= found.environment
        yield found


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WORDS, *words], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_in_a_folder_every_run_has_a_file_of_its_own(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "out" / "today"
    for number in (1, 2):
        done = run(environment, "echo", "--pid", str(os.getpid()), "-f", f"{folder}/", "--", str(number))
        assert done.returncode == 0, done.stderr
    files = sorted(folder.glob("*.txt"))
    assert [each.read_text() for each in files] == ["1\n", "2\n"]
    assert all(each.name.startswith(f"pid-{os.getpid()}_") for each in files)


# What is written first is the description, with its reserve of 32 KiB; then output, and what tells when it came.
@needs("netns", "tcpdump")
@pytest.mark.parametrize(
    ("words", "free"),
    [*(("tcpdump -i any", free) for free in (0, 8, 32, 36)), *(("echo hello", free) for free in (0, 8, 32))],
)
def test_on_a_disk_that_is_full_from_the_start_nothing_is_left_but_the_line_that_says_so(
    environment: dict[str, str], tmp_path: Path, words: str, free: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    fill = f'mount -t tmpfs -o size=400k none "$0" && head -c {(400 - free) * 1024} /dev/zero > "$0/full" && cd "$0"'
    tool, arguments = words.split(" ", 1)
    line = f'{fill} && {{ "$@" {tool} --pid $$ -f x.out -- {arguments}; echo "status $?"; ls; }}'
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    inside = ["unshare", "--mount", "--net", *user, "sh", "-c", line, str(disk), *WORDS]
    done = subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["status", "1", "full"], done.stderr
    (said,) = done.stderr.splitlines()
    assert ("No space left on device" in said or f"the disk of {disk} is full" in said) and "make room" in said


@needs("netns", "tcpdump", "ping")
def test_on_a_disk_that_fills_up_the_line_tells_how_many_packets_had_room(
    environment: dict[str, str], tmp_path: Path
) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept.pcap"
    disk.mkdir()
    line = (
        'set -e; mount -t tmpfs -o size=400k none "$0"; cd "$0"; ip link set lo up; set +e;'
        " ping -q -s 1400 -i 0.005 127.0.0.1 >/dev/null & sent=$!;"
        f' "$@" tcpdump --pid $$ -f x.pcap -t 20 -- -i lo -U; echo "status $?"; kill $sent; cp x.pcap {kept}'
    )
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    inside = ["unshare", "--mount", "--net", *user, "sh", "-c", line, str(disk), *WORDS]
    done = subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["status", "1"], done.stderr
    told = re.search(r"the disk is full: \S*x\.pcap ends at what had room, ([\d,]+) of ([\d,]+) packets", done.stderr)
    assert told is not None, done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)  # where the last one is cut
        assert len(read_pcap(kept)) == int(told[1].replace(",", "")) < int(told[2].replace(",", ""))


@needs("netns", "tcpdump", "ping")
def test_on_a_terminal_a_capture_into_a_file_tells_the_tool_s_own_count(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with holder("net") as held:
        words = ["tcpdump", "--pid", str(held.pid), "-f", str(tmp_path / "x.pcap"), "-t", "5", "--", "-i", "lo"]
        ping = [*inside.words(held), "ping", "-q", "-i", "0.02", "-w", "8", "127.0.0.1"]
        with subprocess.Popen(ping, stdout=subprocess.DEVNULL):
            terminal, end = os.openpty()
            program = subprocess.Popen([*WORDS, *words], env=environment, stdout=end, stderr=end)
            os.close(end)
            shown = b""
            with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
                while data := os.read(terminal, 4096):
                    shown += data
            os.close(terminal)
    assert program.wait() == 0, shown
    counts = [int(each) for each in re.findall(rb"s: (\d+) packets, ", shown)]
    assert counts and counts[-1] > 50, shown


@needs("s3")
def test_a_bucket_takes_the_output_in_parts_and_has_all_of_it(server: s3.Server, environment: dict[str, str]) -> None:
    where = ("--pid", str(os.getpid()), "-f", "s3://captures/a/b")
    for _ in range(2):
        done = run(environment, "seq", *where, "--", "4000000")
        assert done.returncode == 0, done.stderr
        assert "s3://captures/a/b/pid-" in done.stderr
    found = server.objects("captures")
    assert len(found) == 2, "the second writes nothing over"
    for each in found:
        assert each.parent.name == "b"
        taken = each.read_bytes()
        assert taken.endswith(b"3999999\n4000000\n") and taken.count(b"\n") == 4_000_000
        assert s3.parts(each) > 1


@needs("s3")
def test_what_goes_to_a_bucket_is_not_held_in_memory(server: s3.Server, environment: dict[str, str]) -> None:
    peaks = []
    for count in (1_000, 30_000_000):
        where = ("--pid", str(os.getpid()), "-f", "s3://captures/large")
        program = os.posix_spawn(WORDS[0], [*WORDS, "seq", *where, "--", str(count)], environment)
        _, status, used = os.wait4(program, 0)
        assert status == 0
        peaks.append(used.ru_maxrss * 1024)
    largest = max(each.stat().st_size for each in server.objects("captures"))
    assert largest > 250_000_000
    assert peaks[1] - peaks[0] < 60_000_000


@needs("s3", "tcpdump", "netns")
@pytest.mark.skipif(os.geteuid() != 0, reason="captures on this machine's own interfaces")
def test_a_capture_that_is_ended_is_whole_in_the_bucket(
    server: s3.Server, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ["tcpdump", "--pid", str(os.getpid()), "-f", "s3://captures", "--", "-U", "-i", "lo", "-w", "-"]
    program = subprocess.Popen([*WORDS, *words], env=environment, stderr=subprocess.PIPE, text=True)
    recordings = tmp_path / "recordings"

    def has_packets() -> bool:
        socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)).close()  # what there is to capture
        return any(each.stat().st_size > 1000 for each in recordings.glob("*.pcap"))

    wait_for("packets", has_packets)
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=60)
    (file,) = server.objects("captures")
    assert file.name.startswith(f"pid-{os.getpid()}_lo_") and file.suffix == ".pcap", said
    frame = read_pcap(file)
    assert len(frame) > 0 and frame.attrs["podtracer"]["capture"]["damage"] is None


@needs("s3")
def test_a_bucket_that_is_not_there_is_told_before_anything_runs(
    server: s3.Server, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run(environment, "touch", "--pid", str(os.getpid()), "-f", "s3://nowhere/x", "--", str(tmp_path / "ran"))
    assert done.returncode == 2
    assert "there is no bucket nowhere" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_server_that_does_not_answer_is_one_line(environment: dict[str, str]) -> None:
    environment |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    done = run(environment, "echo", "--pid", str(os.getpid()), "-f", "s3://captures/x", "--", "1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("podtracer: s3://captures/x cannot be written")


@needs("netns")
@pytest.mark.parametrize("end", [("--count", "3"), ("-t", "3")], ids=["count", "timer"])
def test_a_sampled_tool_that_never_succeeds_is_a_failure_however_its_series_ends(
    environment: dict[str, str], end: tuple[str, str]
) -> None:
    words = ["sh", "--pid", str(os.getpid()), "--every", "50ms", *end, "--", "-c"]
    failed = run(environment, *words, "echo and why >&2; exit 3")
    assert failed.returncode == 3 and "and why" in failed.stderr
    assert "sh ended with exit status 3" in failed.stderr
    assert run(environment, *words, "true").returncode == 0
