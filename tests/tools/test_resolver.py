"""A tool that looks names up is given the target's own resolv.conf, and nothing else of the target's files."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import targets
from podtracer_nb.targets import opening
from podtracer_nb.tools.inside import resolver
from tests.machine import needs
from tests.targets.namespaces import holder

HERE = Path("/etc/resolv.conf")
PINGS = ["-n", "-4", "-c", "1"]


@needs("netns", "iproute2", "dnsmasq", "ping")
@pytest.mark.usefixtures("demo_pods")
class TestInAPod:
    def test_a_name_is_found_by_the_pod_s_resolver_and_search_list(self) -> None:
        before = HERE.read_bytes()
        frame = podtracer_nb.run("ping", [*PINGS, "web"], pod="client", namespace="demo")
        assert frame.attrs["podtracer"]["facts"]["address"] == "10.88.0.10"
        assert frame.attrs["podtracer"]["notes"] == []
        assert HERE.read_bytes() == before

    @needs("curl")
    def test_so_does_curl_in_as_many_words(self) -> None:
        frame = podtracer_nb.run("curl", ["http://web/fast"], pod="client", namespace="demo")
        assert (frame.http_code[0], frame.remote_port[0]) == (200, 80)
        assert frame.remote_ip[0] in ("10.88.0.10", "fd00:88::10")

    @needs("dig")
    def test_and_dig_asks_the_pod_s_server(self) -> None:
        frame = podtracer_nb.run("dig", ["+search", "api"], pod="client", namespace="demo")
        assert frame.data.tolist() == ["10.88.0.11"]
        assert frame.attrs["podtracer"]["facts"]["server"] == "10.88.0.53#53"

    def test_in_the_pod_s_own_mount_namespace_nothing_is_laid(self) -> None:
        frame = podtracer_nb.run("ping", [*PINGS, "web"], pod="client", namespace="demo", ns=("net", "mnt"))
        assert frame.attrs["podtracer"]["facts"]["address"] == "10.88.0.10"

    def test_a_tool_that_looks_nothing_up_has_this_machine_s(self) -> None:
        frame = podtracer_nb.run("cat", [str(HERE)], pod="client", namespace="demo")
        assert "\n".join(frame.line) == HERE.read_text().rstrip("\n")


def launched(text: str, *program: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [*before, sys.executable, "-I", "-S", resolver.__file__, text, *program]
    return subprocess.run(words, capture_output=True, text=True, check=False)


MAPPED = () if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user")


@needs("netns")
class TestTheProgram:
    def test_the_text_lies_over_ours_for_the_program_alone(self) -> None:
        text = "search lab\nnameserver 192.0.2.53\n"
        done = launched(text, "cat", str(HERE), before=MAPPED)
        assert (done.stdout, done.stderr, done.returncode) == (text, "", 0)
        assert HERE.read_text() != text

    def test_nothing_of_it_is_left_mounted_and_proc_is_proc_again(self) -> None:
        done = launched("nameserver 192.0.2.53\n", "cat", "/proc/self/mountinfo", before=MAPPED)
        mounted = [line.split()[4] for line in done.stdout.splitlines()]
        assert str(HERE.resolve()) in mounted
        assert not [line for line in done.stdout.splitlines() if line.split()[4] == "/proc" and "tmpfs" in line]
        assert (
            str(HERE.resolve())
            not in [
                line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - tmpfs " in line
            ]
            or HERE.read_text() != "nameserver 192.0.2.53\n"
        )

    def test_names_are_looked_up_in_files_and_dns_alone(self) -> None:
        text = "passwd: files\nhosts:   files mdns4_minimal [NOTFOUND=return] resolve dns\nnetworks: files\n"
        assert resolver.files_and_dns(text) == "passwd: files\nhosts: files dns\nnetworks: files\n"

    def test_where_the_kernel_refuses_the_program_runs_and_a_line_says_so(self) -> None:
        before = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
        if before and subprocess.run([*before, sys.executable, "-V"], capture_output=True, check=False).returncode:
            before = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
        done = launched("nameserver 192.0.2.53\n", "cat", str(HERE), before=before)
        assert done.returncode == 0 and done.stdout == HERE.read_text()
        assert done.stderr.startswith(resolver.NOTE) and "Operation not permitted" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_a_program_that_is_not_there_is_a_line(self) -> None:
        done = launched("nameserver 192.0.2.53\n", "podtracer-no-such-program", before=MAPPED)
        assert done.returncode == 1 and "Traceback" not in done.stderr


@contextlib.contextmanager
def root_with(tmp_path: Path, script: str) -> Iterator[int]:
    """Give a process in a root of its own: `script` lays out its /etc, in a mount namespace."""
    (tmp_path / "etc").mkdir()
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # It stays outside of its root and only another process of it is in: what it needs to run is not in there.
    source = (
        f"import os, sys\nos.chdir({str(tmp_path)!r})\n{script}\nos.chroot('.')\nos.chdir('/')\n"
        "os.write(1, b'ready\\n')\nos.read(0, 1)\n"
    )
    words = ["unshare", *mapped, "--net", "--mount", sys.executable, "-c", source]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(10)


def read_of(pid: int) -> str | None:
    (target,) = targets.resolve(pid=pid)
    with targets.pin(target) as held:
        return held.resolver


@needs("netns")
class TestWhatIsRead:
    def test_a_file(self, tmp_path: Path) -> None:
        with root_with(tmp_path, "open('etc/resolv.conf', 'w').write('nameserver 192.0.2.1\\n')") as pid:
            assert read_of(pid) == "nameserver 192.0.2.1\n"

    def test_a_link_is_followed_inside_the_target_s_root(self, tmp_path: Path) -> None:
        script = (
            "os.makedirs('run/x'); open('run/x/stub', 'w').write('nameserver 192.0.2.2\\n')\n"
            "os.symlink('/run/y', 'etc/resolv.conf'); os.symlink('../../run/./x/stub', 'run/y')"
        )
        with root_with(tmp_path, script) as pid:
            assert read_of(pid) == "nameserver 192.0.2.2\n"

    @pytest.mark.parametrize(
        "script",
        [
            "",
            "os.symlink('/etc/hostname', 'etc/resolv.conf')",  # there is one here, not there
            "os.symlink('resolv.conf', 'etc/resolv.conf')",
            "os.symlink('/proc/self/root/etc/hostname', 'etc/resolv.conf')",
            "os.mkfifo('etc/resolv.conf')",
            "os.mkdir('etc/resolv.conf')",
        ],
        ids=["none", "a link out", "a loop", "a way out by proc", "a pipe", "a directory"],
    )
    def test_nothing_of_ours_and_nothing_that_is_no_file(self, tmp_path: Path, script: str) -> None:
        with root_with(tmp_path, script) as pid:
            assert read_of(pid) is None

    @needs("ping", "iproute2")
    def test_where_there_is_none_a_note_says_so(self, tmp_path: Path) -> None:
        with root_with(tmp_path, "") as pid:
            frame = podtracer_nb.run("ping", ["-c", "1", "127.0.0.1"], pid=pid)
        assert any("no /etc/resolv.conf" in note for note in frame.attrs["podtracer"]["notes"])

    def test_its_descriptor_comes_through_a_launcher_as_well(self, tmp_path: Path) -> None:
        with root_with(tmp_path, "open('etc/resolv.conf', 'w').write('nameserver 192.0.2.3\\n')") as pid:
            opened = opening.open_through(["env"], opening.Wanted(pid, None, ("net",)))
        try:
            assert opened.resolver is not None and os.pread(opened.resolver, 99, 0) == b"nameserver 192.0.2.3\n"
        finally:
            for each in (*opened.fds.values(), opened.resolver or 0):
                if each:
                    os.close(each)

    def test_a_target_with_our_own_file_needs_nothing(self) -> None:
        with holder("net") as held:
            frame = podtracer_nb.run("nslookup", ["-version"], pid=held.pid)
        assert frame.attrs["podtracer"]["notes"] == []
