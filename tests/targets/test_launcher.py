"""The launcher: an ordinary user's process that enters namespaces through the one program that has capabilities."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podtracer_nb.targets import capabilities, procfs
from tests.house.checkout import ROOT
from tests.machine import needs
from tests.targets.namespaces import holder

NOBODY = 65534
FIVE = ("sys_admin", "sys_ptrace", "net_raw", "setuid", "setgid")
# linux/capability.h: revision 2, permitted only; those five, and one that the bounding set will not allow.
_PERMITTED = sum(1 << procfs.CAPABILITIES[f"CAP_{name.upper()}"] for name in (*FIVE, "net_admin"))
_XATTR = struct.pack("<IIIII", 0x02000000, _PERMITTED, 0, 0, 0)

pytestmark = [
    needs("netns", "iproute2"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that carries capabilities"),
]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


# In a mount namespace of its own: a file system on which file capabilities count (many are mounted nosuid), with the
# launcher in it, and this Python where any user may reach it, wherever it is installed.
_SCRIPT = """
set -e
mount -t tmpfs -o mode=755 podtracer-test {place}
mkdir {place}/bin {place}/base {place}/packages {place}/source
mkdir -m 777 {place}/home
cp {setpriv} {place}/bin/{program}
{python} -c 'import os, sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex(sys.argv[2]))' \
    {place}/bin/{program} {xattr}
mount --bind {base} {place}/base
mount --bind {packages} {place}/packages
cp -r {package} {place}/source/
cd {place}
exec {setpriv} --reuid={nobody} --regid={nobody} --clear-groups --bounding-set=-all,{bounding} {extra} \
    env -i PATH={place}/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME={place}/home PODTRACER_HOST_ROOT=/nowhere \
    PYTHONPATH={place}/source:{place}/packages PYTHONDONTWRITEBYTECODE=1 \
    {place}/base/bin/python{version} -m podtracer_nb.cli "$@"
"""


@pytest.fixture
def run() -> Iterator[Run]:
    """Return a function that runs `podtracer` as nobody, with a launcher on PATH and a bounding set of five."""
    place = Path(tempfile.mkdtemp(prefix="podtracer-test-", dir="/run"))
    place.chmod(0o755)

    def start(*words: str, bounding: tuple[str, ...] = FIVE, extra: str = "") -> subprocess.CompletedProcess[str]:
        script = _SCRIPT.format(
            place=place, setpriv=shutil.which("setpriv"), program=capabilities.PROGRAM, python=sys.executable,
            xattr=_XATTR.hex(), base=sys.base_prefix, packages=sysconfig.get_path("purelib"),
            package=ROOT / "podtracer_nb", nobody=NOBODY, bounding=",".join(f"+{name}" for name in bounding),
            extra=extra, version=sysconfig.get_python_version(),
        )  # fmt: skip
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    yield start
    place.rmdir()


def test_an_ordinary_user_runs_a_tool_in_root_s_namespace(run: Run) -> None:
    with holder("net") as held:
        done = run("run", "ip", "--pid", str(held.pid), "--", "-br", "link")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lo ") and len(done.stdout.splitlines()) == 1


@needs("tcpdump")
def test_it_captures_and_the_filter_is_checked_there_too(run: Run) -> None:
    with holder("net") as held:
        words = ("run", "tcpdump", "--pid", str(held.pid), "-t", "1s", "--interface", "lo")
        assert run(*words, "--filter", "icmp").returncode == 0
        refused = run(*words, "--filter", "nonsense of mine")
    assert refused.returncode == 2 and "filter" in refused.stderr and "Traceback" not in refused.stderr


@needs("dig")
def test_a_tool_that_looks_names_up_is_given_the_target_s_resolver(run: Run, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.99\n")
    with holder("net", "mount") as held:
        enter = ["nsenter", f"--target={held.pid}", "--mount", "mount", "--bind"]
        subprocess.run([*enter, tmp_path / "resolv.conf", "/etc/resolv.conf"], check=True)
        done = run("run", "dig", "--pid", str(held.pid), "--", "+tries=1", "+time=1", "web")
    assert "127.0.0.99#53" in done.stdout and "this machine's" not in done.stderr, done.stderr


def test_the_tool_has_what_the_bounding_set_allows_and_the_caller_nothing(run: Run) -> None:
    with holder("net") as held:
        done = run("run", "grep", "--pid", str(held.pid), "--", "Cap", "/proc/self/status")
    sets = dict(line.split(":\t") for line in done.stdout.splitlines())
    five = sum(1 << procfs.CAPABILITIES[f"CAP_{name.upper()}"] for name in FIVE)
    assert {name: int(value, 16) for name, value in sets.items()} == dict.fromkeys(sets, five)


def test_without_its_capabilities_it_says_what_is_missing(run: Run) -> None:
    with holder("net") as held:
        done = run("run", "ip", "--pid", str(held.pid), bounding=("net_raw",))
        assert done.returncode == 1 and "CAP_SYS_PTRACE" in done.stderr and "Traceback" not in done.stderr
        done = run("run", "ip", "--pid", str(held.pid), extra="--no-new-privs")
        assert done.returncode == 1 and "CAP_SYS_PTRACE" in done.stderr and "Traceback" not in done.stderr


def test_the_doctor_knows_the_launcher(run: Run) -> None:
    whole = run("doctor")
    assert f"/bin/{capabilities.PROGRAM}" in whole.stdout
    assert "CAP_SYS_CHROOT" in whole.stdout.split("no ", 1)[1]
    without = run("doctor", extra="--no-new-privs")
    assert without.returncode == 1 and "MISSING  capabilities: no CAP_SYS_ADMIN" in without.stdout


def test_a_file_without_capabilities_permits_none(tmp_path: Path) -> None:
    file = tmp_path / "plain"
    file.touch()
    assert capabilities.permitted(str(file)) == 0
    os.setxattr(file, "security.capability", _XATTR)
    assert capabilities.permitted(str(file)) == _PERMITTED
