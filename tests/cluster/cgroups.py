"""Each node's own place in the control groups, in every hierarchy there is (version 1, or the one of version 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.layout import CGROUP, RUN, Node

_ROOT = Path("/sys/fs/cgroup")
_HUGETLB = _ROOT / "hugetlb"
_MOUNTED = RUN / "mounted-hugetlb"


def _unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> Iterator[Path]:
    if _unified():
        yield _ROOT
        return
    for path in sorted(_ROOT.iterdir()):
        if path.is_dir() and not path.is_symlink() and (path / "cgroup.procs").exists():
            yield path


def mount_hugetlb() -> None:
    """Mount the one controller that CRI-O insists on and small machines leave out."""
    if _unified() or _HUGETLB.is_mount() or "\nhugetlb\t" not in Path("/proc/cgroups").read_text():
        return
    _MOUNTED.touch()
    _HUGETLB.mkdir(exist_ok=True)
    run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", _HUGETLB])


def make(node: Node) -> None:
    """Make the node's group: the kubelet wants to find its root in every hierarchy."""
    for hierarchy in _hierarchies():
        path = hierarchy
        for part in node.cgroup.strip("/").split("/"):
            if _unified():
                # cgroup-v2: a group's controllers are those that its parent hands down.
                controllers = (path / "cgroup.controllers").read_text().split()
                (path / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
            path = path / part
            path.mkdir(exist_ok=True)
            if hierarchy.name == "cpuset" and not _unified():
                # cpuset(7): a new group has no processor and no memory, and so can have no process.
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (path / name).write_text((path.parent / name).read_text())


def groups() -> list[Path]:
    """Return the cluster's groups that are there, inner ones first."""
    found: list[Path] = []
    for hierarchy in _hierarchies():
        top = hierarchy / CGROUP
        if top.is_dir():
            found += sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            found.append(top)
    return found


def processes(*, monitors: bool = True) -> list[int]:
    """Return every process in the cluster's groups: containers, and with `monitors` the conmons beside them."""
    found: set[int] = set()
    for group in groups():
        if not monitors and group.name.startswith("crio-conmon-"):
            continue
        try:
            # cgroup.procs shows a process of an outer PID namespace as 0, which to kill(2) means our own group.
            found.update(pid for word in (group / "cgroup.procs").read_text().split() if (pid := int(word)) > 0)
        except OSError:
            continue
    return sorted(found)


def remove() -> None:
    """Remove the cluster's groups, and the hierarchy that was mounted for them."""
    for group in groups():
        try:
            group.rmdir()
        except OSError:
            continue
    if _MOUNTED.exists() and _HUGETLB.is_mount():
        run(["umount", _HUGETLB], check=False)
        if not _HUGETLB.is_mount():
            _HUGETLB.rmdir()
