"""A process's container and pod, told by its control group: every layout that runtimes and kernels give."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podtracer_nb.targets import procfs

ID = "3f" * 32
OTHER = "4a" * 32
POD = "0b8a3d9e-1c2f-4f6a-9a53-2f0e9a6c7d11"
FLAT = POD.replace("-", "_")

PLAIN, SLICE = f"/kubepods/burstable/pod{POD}", f"/kubepods.slice/kubepods-burstable-pod{FLAT}.slice"

LAYOUTS = {
    "version 1, cgroupfs": f"12:memory:{PLAIN}/{ID}\n3:cpu,cpuacct:{PLAIN}/{ID}\n",
    "version 1, cgroupfs, guaranteed": f"4:pids:/kubepods/pod{POD}/{ID}\n",
    "version 2, systemd, containerd": f"0::{SLICE}/cri-containerd-{ID}.scope\n",
    "version 2, systemd, CRI-O": f"0::{SLICE}/crio-{ID}.scope\n",
    "version 2, systemd, crun below it": f"0::{SLICE}/crio-{ID}.scope/container\n",
    "version 1, systemd, docker": f"9:devices:{SLICE}/docker-{ID}.scope\n",
    "CRI-O, cgroupfs": f"7:cpuset:{PLAIN}/crio-{ID}\n",
    "containerd, in its own slice": f"1:name=systemd:/system.slice/containerd.service{SLICE}:cri-containerd:{ID}\n",
    "hybrid": f"1:name=systemd:{PLAIN}/{ID}\n0::/\n",
    "another control group namespace": f"0::/../../pod{POD}/{ID}\n",
    "a control group of its own below": f"0::{PLAIN}/{ID}/system.slice/nginx.service\n",
    "a second kubelet's root": f"5:freezer:/second{PLAIN}/{ID}\n",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_names_its_container(layout: str) -> None:
    assert procfs.in_container(layout, ID, [POD])
    assert procfs.in_container(layout, ID)
    assert not procfs.in_container(layout, OTHER, [POD])
    assert not procfs.in_container(layout, ID, [POD.replace("0b8a", "0b8b")])


def test_a_static_pod_s_group_is_named_after_its_configuration() -> None:
    digest = "d41d8cd98f00b204e9800998ecf8427e"
    assert procfs.in_container(f"0::/kubepods/burstable/pod{digest}/{ID}\n", ID, [POD, digest])


@pytest.mark.parametrize(
    "groups",
    [
        "",
        "0::/\n",
        f"0::/kubepods.slice/kubepods-pod{FLAT}.slice/crio-conmon-{ID}.scope\n",
        f"0::/kubepods/pod{POD}/{ID}0\n",
        f"0::/kubepods/pod{POD}/a{ID}\n",
        f"0::/kubepods/pod{POD}x/{ID}\n",
        f"0::/user.slice/pod{POD}\n1:name=systemd:/{ID}\n",  # the two stand in different paths
    ],
)
def test_what_only_looks_like_it_is_not_it(groups: str) -> None:
    assert not procfs.in_container(groups, ID, [POD])


def test_a_pod_s_sandbox_is_known_by_the_pod_alone() -> None:
    assert procfs.in_container(f"0::{SLICE}/cri-containerd-{OTHER}.scope\n", None, [POD])
    assert not procfs.in_container(f"0::{SLICE}/crio-conmon-{OTHER}.scope\n", None, [POD])
    assert not procfs.in_container(f"0::{SLICE}\n", None, [POD])


def entry(proc: Path, pid: int, started: int, groups: str) -> None:
    """Make a process's directory in the shape of proc(5)."""
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    (directory / "cgroup").write_text(groups)
    (directory / "stat").write_text(f"{pid} (a) b) S 1 {' '.join(['0'] * 17)} {started} 0\n")


def test_the_container_s_first_process_is_found_without_a_runtime(tmp_path: Path) -> None:
    mine = f"0::/kubepods/pod{POD}/{ID}\n"
    entry(tmp_path, 40, 900, mine)
    entry(tmp_path, 50, 700, mine)  # started first, with the larger number
    entry(tmp_path, 60, 600, f"0::/kubepods/pod{POD}/{OTHER}\n")
    entry(tmp_path, 70, 500, f"0::/kubepods.slice/crio-conmon-{ID}.scope\n")
    (tmp_path / "self").mkdir()
    assert procfs.find_container(ID, [POD], tmp_path) == (50, 700)
    assert procfs.find_container("5b" * 32, [POD], tmp_path) is None
    assert procfs.containers(tmp_path) == {ID, OTHER, POD}


def test_the_node_s_processes_are_where_the_pod_mounted_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_HOST_ROOT", str(tmp_path))
    assert procfs.host_proc() == Path("/proc")
    entry(tmp_path / "proc", 1, 1, "0::/\n")
    assert procfs.host_proc() == tmp_path / "proc"


def test_a_process_that_ends_is_not_taken_for_one_that_gets_its_number() -> None:
    started = procfs.start_time(os.getpid())
    assert started is not None
    assert procfs.Process(os.getpid(), started).alive
    assert not procfs.Process(os.getpid(), started + 1).alive
