"""`podtracer` as a process, on real demo pods."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import podtracer_nb
from tests.cli.conftest import Podtracer
from tests.machine import needs
from tests.targets.namespaces import holder, until

PODTRACER = [sys.executable, "-m", "podtracer_nb"]
HOSTNAME = "/proc/sys/kernel/hostname"

pytestmark = needs("netns", "dnsmasq", "tcpdump", "iproute2", "ping")


def one_line(stderr: bytes) -> str:
    text = stderr.decode()
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


def test_the_original_form_works_to_the_letter(podtracer: Podtracer, tmp_path: Path) -> None:
    file = tmp_path / "test.pcap"
    done = podtracer("run", "tcpdump", "-a", f"-i eth0 -c 20 -w {file}", "--pod", "web", "-n", "demo")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert b"20 packets" in done.stderr
    frame = podtracer_nb.read_pcap(file)
    assert len(frame) == 20
    assert set(frame.src.dropna()) | set(frame.dst.dropna()) >= {"10.88.0.10"} or frame.ip_version.isin([6]).any()
    assert (
        "20 packets"
        in subprocess.run(["tcpdump", "-r", str(file), "--count"], capture_output=True, text=True, check=True).stdout
    )


def test_packets_are_printed_as_they_come(podtracer: Podtracer) -> None:
    done = podtracer("run", "tcpdump", "--pod", "client", "-n", "demo", "--filter", "port 53", "--count", "4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 5
    assert any("query" in line and "demo.svc.cluster.local" in line for line in lines)


@pytest.mark.parametrize("words", [["--", "-i", "eth9"], ["-t", "1ms", "--", "udp port 9"]])
def test_a_table_without_a_packet_has_no_header_either(podtracer: Podtracer, words: list[str]) -> None:
    for pods in (["--pod", "web"], ["--pod", "web", "--pod", "api"]):
        assert podtracer("run", "tcpdump", *pods, "-n", "demo", *words).stdout == b""


def test_s_gives_the_tools_own_bytes(podtracer: Podtracer) -> None:
    done = podtracer("run", "tcpdump", "--pod", "web", "-n", "demo", "-s", "--", "-c", "5")
    assert done.returncode == 0, done.stderr
    assert len(podtracer_nb.read_pcap(done.stdout)) == 5


def test_f_leaves_the_output_in_the_file_with_its_metadata_beside_it(podtracer: Podtracer, tmp_path: Path) -> None:
    done = podtracer("run", "tcpdump", "--pod", "web", "-n", "demo", "-f", "x.pcap", "--", "-c", "5")
    assert done.returncode == 0, done.stderr
    assert len(podtracer_nb.read_pcap(tmp_path / "x.pcap")) == 5
    metadata = json.loads((tmp_path / "x.pcap.json").read_text())
    assert metadata["target"]["pod"] == "web"


def test_t_ends_the_run_and_the_file_is_whole(podtracer: Podtracer, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = podtracer("run", "tcpdump", "--pod", "web", "-n", "demo", "-t", "1s", "-f", "x.pcap")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 10
    assert b"stopped by its timer" in done.stderr
    frame = podtracer_nb.read_pcap(tmp_path / "x.pcap")
    assert frame.attrs["podtracer"]["capture"]["damage"] is None


def test_what_the_kernel_still_held_when_the_time_was_up_is_in_the_capture(
    podtracer: Podtracer, tmp_path: Path
) -> None:
    podtracer("run", "tcpdump", "--pod", "web", "-n", "demo", "-t", "2s", "-f", "x.pcap")
    started = datetime.fromisoformat(json.loads((tmp_path / "x.pcap.json").read_text())["started"])
    # The demo's client is never silent for so long; tcpdump alone would miss up to the last second.
    assert podtracer_nb.read_pcap(tmp_path / "x.pcap").time.iloc[-1] > started + timedelta(seconds=1.5)


def test_any_other_tool_prints_what_it_prints(podtracer: Podtracer) -> None:
    done = podtracer("run", "ip", "--pod", "web", "-n", "demo", "--", "-br", "addr", "show", "eth0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"eth0")


def test_the_tools_exit_status_is_ours(podtracer: Podtracer) -> None:
    done = podtracer("run", "sh", "--pod", "web", "-n", "demo", "--", "-c", "echo out; echo err >&2; exit 7")
    assert done.returncode == 7
    assert done.stdout == b"out\n"
    assert done.stderr.startswith(b"err\n")


def test_a_note_of_our_own_launcher_is_told_once_in_the_last_line(podtracer: Podtracer) -> None:
    done = podtracer("run", "sh", "--pod", "web", "-n", "demo", "--", "-c", "echo 'podtracer: looked up here' >&2")
    assert done.stderr.decode().splitlines()[-1].count("looked up here") == 1


def test_the_tools_words_never_meet_a_shell(podtracer: Podtracer, tmp_path: Path) -> None:
    done = podtracer("run", "echo", "--pod", "web", "-n", "demo", "--", f"$(touch {tmp_path}/evil); `id`")
    assert done.stdout.decode() == f"$(touch {tmp_path}/evil); `id`\n"
    assert not (tmp_path / "evil").exists()


def test_with_pid_and_mnt_a_tool_sees_the_container_as_it_sees_itself(podtracer: Podtracer) -> None:
    done = podtracer("run", "cat", "--pod", "web", "-n", "demo", "--ns", "net,pid,mnt", "--", "/etc/resolv.conf")
    assert done.returncode == 0, done.stderr
    assert b"demo.svc.cluster.local" in done.stdout


def test_labels_globs_and_owners_name_pods(podtracer: Podtracer) -> None:
    for words in (
        ["-l", "app=web"],
        ["--pod", "we*"],
        ["--pod", "deploy/web"],
        ["--pod", "svc/web"],
        ["--pod", "demo/web"],
    ):
        done = podtracer("run", "cat", *words, "-n", "demo", "--ns", "uts", "--", HOSTNAME)
        assert done.stdout == b"web\n", (words, done.stderr)


def test_several_pods_at_once(podtracer: Podtracer) -> None:
    done = podtracer("run", "cat", "--pod", "web", "--pod", "api", "-n", "demo", "--ns", "uts", "--", HOSTNAME)
    assert sorted(done.stdout.splitlines()) == [b"demo/api: api", b"demo/web: web"]


def test_pods_are_listed(podtracer: Podtracer) -> None:
    done = podtracer("pods", "-n", "demo")
    assert done.returncode == 0
    assert all(name in done.stdout for name in (b"web", b"api", b"dns", b"client"))


def test_read_prints_a_capture(podtracer: Podtracer, tmp_path: Path) -> None:
    podtracer("run", "tcpdump", "--pod", "web", "-n", "demo", "-f", "x.pcap", "--", "-c", "5")
    done = podtracer("read", "x.pcap")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 6
    assert b"interpreted" in podtracer("version").stdout or b"compiled" in podtracer("version").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "tcpdump", "--pod", "wbe", "-n", "demo"], "web"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "-c", "nginx"], "nginx"),
        (["run", "tcpdump", "--pod", "--help", "-n", "demo", "-t"], ""),
        (["run", "no-such-tool", "--pod", "web", "-n", "demo"], "not installed"),
        (["run", "/etc/passwd", "--pod", "web", "-n", "demo"], "/etc/passwd is no program"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "--filter", "prot 80"], "filter"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "--filter", "-z /evil.sh"], "filter"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "--", "prot", "80"], "filter"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "--", "-i", "eth9"], "eth9"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "-t", "soon"], "duration"),
        (["run", "tcpdump", "--pod", "web", "-n", "demo", "-f", "/no/such/directory/x.pcap"], "/no/such/directory"),
        (["run", "tcpdump", "--pid", "4194304"], "4194304"),
        (["run", "tcpdump", "--netns", "no-such"], "no-such"),
        (["read", "no-such.pcap"], "no-such.pcap"),
        (["read", "/etc/passwd"], "/etc/passwd"),
        (["read", ""], "'' is not a capture file"),
        (["read", "/etc"], "/etc"),
        (["tcpdump"], "podtracer run tcpdump"),
        (["captures"], "in a notebook it is %podtrace captures"),
        (["demo"], "up, down, status"),
    ],
)
def test_what_cannot_be_is_one_line(podtracer: Podtracer, words: list[str], line: str) -> None:
    done = podtracer(*words)
    if "--help" in words:
        assert done.returncode == 0
        return
    assert done.returncode in (1, 2)
    assert line in one_line(done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_captured(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "x.pcap"
    words = ["run", "tcpdump", "--pod", "web", "-n", "demo", "-f", str(file)]
    with subprocess.Popen(
        [*PODTRACER, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for_packets(file)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    assert b"interrupted" in stderr
    assert podtracer_nb.read_pcap(file).attrs["podtracer"]["capture"]["damage"] is None


def test_killed_outright_it_leaves_no_tool_and_a_whole_file(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "killed.pcap"
    words = ["run", "tcpdump", "--pod", "web", "-n", "demo", "-f", str(file)]
    with subprocess.Popen(
        [*PODTRACER, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for_packets(file)
        process.kill()
    deadline = time.monotonic() + 5
    while not (metadata := file.with_name("killed.pcap.json")).exists() or "parent-gone" not in metadata.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(podtracer_nb.read_pcap(file)) > 0
    assert podtracer_nb.read_pcap(file).attrs["podtracer"]["capture"]["damage"] is None


def test_a_daemons_closed_descriptors_break_nothing(environment: dict[str, str]) -> None:
    line = f"{sys.executable} -m podtracer_nb run echo --pod web -n demo -- hello <&-"
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"hello\n", done.stderr


def test_who_reads_no_more_ends_the_run(environment: dict[str, str]) -> None:
    line = f"{sys.executable} -m podtracer_nb run sh --pod web -n demo -- -c 'while :; do echo y; done' | head -n 3"
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"y\ny\ny\n"
    assert b"Traceback" not in done.stderr


def wait_for_packets(file: Path, size: int = 2000) -> None:
    """Wait until the capture has grown: a condition, with a deadline."""
    deadline = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < size:
        assert time.monotonic() < deadline, "no packet came"
        time.sleep(0.02)


@needs("netns", "iproute2")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT])
def test_a_closed_terminal_ends_a_run_as_an_interrupt_does(number: signal.Signals, tmp_path: Path) -> None:
    with holder("net") as held:
        words = ["run", "sh", "--pid", str(held.pid), "-f", str(tmp_path / "left.txt"), "--", "-c"]
        script = "trap 'echo flushed; exit 0' INT; echo begun; while :; do sleep 0.1; done"
        with subprocess.Popen(
            [sys.executable, "-m", "podtracer_nb", *words, script], stderr=subprocess.PIPE, text=True
        ) as process:
            until(lambda: (tmp_path / "left.txt").exists() and "begun" in (tmp_path / "left.txt").read_text())
            process.send_signal(number)
            said = process.communicate(timeout=20)[1]
    assert (tmp_path / "left.txt").read_text() == "begun\nflushed\n"
    assert "interrupted" in said and "Traceback" not in said


@needs("netns", "iproute2")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_reason_to_fail(closed: str, tmp_path: Path) -> None:
    with holder("net") as held:
        line = f"{sys.executable} -m podtracer_nb run ip --pid {held.pid} -f {tmp_path}/out.txt -- -br link {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert (tmp_path / "out.txt").read_text().startswith("lo ")
