"""A pin is the target's namespaces and nobody else's, for as long as it is held."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from podtracer_nb import targets
from podtracer_nb.errors import InputError, TargetError, TargetGone
from tests.machine import needs
from tests.targets.namespaces import Holder, children, holder, until

pytestmark = needs("netns", "iproute2")


@pytest.fixture(scope="module")
def inside() -> Iterator[Holder]:
    with holder("net", "uts", "ipc") as held:
        yield held


def identity(pid: int, kind: str) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/ns/{kind}").stat()
    return status.st_dev, status.st_ino


def link(path: str) -> str:
    return f"{Path(path).readlink()}\n"


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def run(pin: targets.Pin, *argv: str) -> str:
    done = subprocess.run([*pin.nsenter, *argv], pass_fds=pin.pass_fds, capture_output=True, text=True, check=True)
    return done.stdout


def test_each_kind_asked_for_is_held_and_is_the_target_s(inside: Holder) -> None:
    (target,) = targets.resolve(pid=inside.pid)
    with targets.pin(target, ("uts", "net", "ipc")) as pin:
        assert pin.kinds == ("net", "uts", "ipc")
        for kind in pin.kinds:
            assert pin.identity[kind] == identity(inside.pid, kind)
        assert pin.notices == ()


def test_nsenter_s_words_lead_into_the_target(inside: Holder) -> None:
    (target,) = targets.resolve(pid=inside.pid)
    with targets.pin(target, ("net", "uts")) as pin:
        assert run(pin, "readlink", "/proc/self/ns/net") == link(f"/proc/{inside.pid}/ns/net")
        assert run(pin, "readlink", "/proc/self/ns/uts") == link(f"/proc/{inside.pid}/ns/uts")
        assert run(pin, "readlink", "/proc/self/ns/ipc") == link("/proc/self/ns/ipc")


def test_an_ordinary_user_s_namespace_is_entered_through_its_user_namespace(inside: Holder) -> None:
    (target,) = targets.resolve(pid=inside.pid)
    with targets.pin(target) as pin:
        assert ("user" in pin.fds) == (os.geteuid() != 0)
        assert run(pin, "id", "-u") == "0\n"


def test_pid_and_mount_namespaces_show_the_container_as_it_sees_itself() -> None:
    with holder("net", "pid", "mount") as inside:
        (target,) = targets.resolve(pid=inside.pid)
        with targets.pin(target, ("net", "pid", "mnt")) as pin:
            assert pin.forks
            assert run(pin, "readlink", "/proc/1/ns/pid") == link(f"/proc/{inside.pid}/ns/pid")
            assert int(run(pin, "readlink", "/proc/self")) < 50


def test_a_pin_outlives_its_process(inside: Holder) -> None:
    with holder("net") as short_lived:
        (target,) = targets.resolve(pid=short_lived.pid)
        pin = targets.pin(target)
    with pin:
        assert "lo" in run(pin, "ip", "-br", "link")


def test_a_reused_process_id_is_refused(inside: Holder) -> None:
    (target,) = targets.resolve(pid=inside.pid)
    assert target.start_time is not None
    with pytest.raises(TargetGone, match="is another one now"):
        targets.pin(dataclasses.replace(target, start_time=target.start_time - 1))


def test_a_process_that_has_ended_is_refused() -> None:
    with holder("net") as short_lived:
        (target,) = targets.resolve(pid=short_lived.pid)
    with pytest.raises(TargetGone, match="is gone"):
        targets.pin(target)


def test_a_zombie_has_no_namespaces_any_more() -> None:
    with subprocess.Popen(["true"]) as ended:
        until(lambda: b") Z" in Path(f"/proc/{ended.pid}/stat").read_bytes())
        (target,) = targets.resolve(pid=ended.pid)
        with pytest.raises(TargetGone):
            targets.pin(target)


def test_a_namespace_file_serves_as_well_as_a_process(inside: Holder) -> None:
    (target,) = targets.resolve(netns=f"/proc/{inside.pid}/ns/net")
    with targets.pin(target) as pin:
        assert pin.identity["net"] == identity(inside.pid, "net")
    with pytest.raises(InputError, match="has no uts"):
        targets.pin(target, ("net", "uts"))


def test_a_file_that_is_no_network_namespace_is_refused(inside: Holder, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (Path("/etc/passwd"), fifo, Path(f"/proc/{inside.pid}/ns/uts")):
        (target,) = targets.resolve(netns=str(path))
        with pytest.raises(TargetError):
            targets.pin(target)


def test_our_own_network_is_never_entered_unsaid() -> None:
    (target,) = targets.resolve(pid=os.getpid())
    with targets.pin(target) as pin:
        assert "this machine's own network namespace" in pin.notices[0]
        assert run(pin, "readlink", "/proc/self/ns/net") == link("/proc/self/ns/net")
    with pytest.raises(TargetError, match="which is not the pod's"):
        targets.pin(dataclasses.replace(target, source="demo", pod="web", namespace="demo"))


@pytest.mark.parametrize("kinds", [(), ("user",), ("net", "cgroup"), ("--net",)])
def test_unknown_kinds_are_refused(kinds: tuple[str, ...]) -> None:
    (target,) = targets.resolve(pid=os.getpid())
    with pytest.raises(InputError, match="choose from net, uts, ipc, pid, mnt"):
        targets.pin(target, kinds)


def test_pins_and_refusals_leave_no_descriptor_open(inside: Holder) -> None:
    (target,) = targets.resolve(pid=inside.pid)
    assert target.start_time is not None
    before = open_descriptors()
    for _ in range(20):
        targets.pin(target, ("net", "uts", "ipc")).close()
        with pytest.raises(TargetGone):
            targets.pin(dataclasses.replace(target, start_time=1))
    assert open_descriptors() == before
    assert children(inside.pid) == []
