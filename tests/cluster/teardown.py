"""Takes the cluster down: first each part by its own way out, then whatever a crash left, then a look at what remains.

Everything is known as ours by where it lies, by the mark in its environment, or by a record; nothing by its program's
name alone, since others may run a containerd on the same machine.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tests.cluster import cgroups, network, processes
from tests.cluster.commands import run, say
from tests.cluster.layout import DATA, NODES, PROGRAMS, RUN

# Kept by hard-wired names outside our folders: CNI's results, the kubelet's links to logs, sockets of shims, and the
# cache in which skopeo notes what it has copied.
_CNI_RESULTS = Path("/var/lib/cni/results")
_LOG_LINKS = Path("/var/log/containers")
_SHIM_SOCKETS = Path("/run/containerd/s")
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_BLOB_CACHE = Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb")
_FOLDERS = (
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _LOG_LINKS,
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent,
    _DEVICE_PLUGINS,
    _DEVICE_PLUGINS.parent,
    _BLOB_CACHE.parent,
    _BLOB_CACHE.parent.parent,
    Path("/run/crio"),
    Path("/run/netns"),
)
_BEFORE = RUN / "before.json"


def remember() -> None:
    """Write down which of the things that have no name of ours were here before the cluster."""
    names = sorted(path.name for path in Path("/run/netns").glob("cni-*"))
    folders = [str(path) for path in (*_FOLDERS, _BLOB_CACHE) if path.exists()]
    _BEFORE.write_text(json.dumps({"namespaces": names, "folders": folders}))


def _before(what: str) -> list[str]:
    try:
        return list(json.loads(_BEFORE.read_text())[what])
    except (OSError, ValueError, KeyError):
        return []


def remember_socket(path: Path) -> None:
    """Write down that a socket outside our folders is a second name of one of ours."""
    status = path.stat()
    (RUN / f"second-name-{path.name}.json").write_text(json.dumps([str(path), status.st_dev, status.st_ino]))


def second_names() -> list[Path]:
    """Return the sockets outside our folders that are still what was written down."""
    found = []
    for record in RUN.glob("second-name-*.json"):
        name, device, inode = json.loads(record.read_text())
        path = Path(name)
        if path.exists() and (path.stat().st_dev, path.stat().st_ino) == (device, inode):
            found.append(path)
    return found


def _mounts() -> list[str]:
    """Return the mounts below our folders, the last made first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
        if target.startswith((f"{RUN}/", f"{DATA}/")):
            found.append(target)
    return found[::-1]


def _cni_results() -> list[Path]:
    """Return CNI's records of our pods: of our networks by their name, of a pod's loopback by the pod's uid."""
    found = [path for node in NODES for path in _CNI_RESULTS.glob(f"{node.bridge}-*")]
    pods = {path.name for node in NODES for path in (node.data / "kubelet" / "pods").glob("*")}
    for path in _CNI_RESULTS.glob("cni-loopback-*"):
        uid = re.search(r'"K8S_POD_UID","([^"]+)"', path.read_text(errors="replace"))
        if uid is not None and uid[1] in pods:
            found.append(path)
    return found


def _namespaces() -> list[Path]:
    """Return the network namespaces in /run/netns that containerd made for our pods.

    Known from three places, since a crash may come between any two of them: the pod's bundle in our own state folder,
    CNI's result for our own network, and the link to our own bridge.
    """
    found = set(network.namespaces())
    bundles = (RUN / "containerd").glob("io.containerd.runtime.v2.task/k8s.io/*/config.json")
    for path in [*bundles, *_cni_results()]:
        try:
            text = path.read_text()
        except OSError:
            continue
        found.update(Path("/run/netns") / name for name in re.findall(r'/netns/(cni-[0-9a-f-]+)"', text))
    before = _before("namespaces")
    return sorted(path for path in found if path.exists() and path.name not in before)


def _shim_sockets() -> list[Path]:
    found = []
    for address in (RUN / "containerd").glob("io.containerd.runtime.v2.task/k8s.io/*/address"):
        path = Path(address.read_text().removeprefix("unix://"))
        if path.parent == _SHIM_SOCKETS and path.exists():
            found.append(path)
    return found


def _log_links() -> list[Path]:
    if not _LOG_LINKS.is_dir():
        return []
    return [path for path in _LOG_LINKS.iterdir() if path.is_symlink() and str(path.readlink()).startswith(f"{DATA}/")]


def _device_sockets() -> list[Path]:
    # The kubelet's, by a name that cannot be set; a kubelet of someone else's has its folder before ours comes.
    if str(_DEVICE_PLUGINS) in _before("folders") or not _BEFORE.exists():
        return []
    return [path for path in _DEVICE_PLUGINS.glob("*") if path.name in ("kubelet.sock", "DEPRECATION")]


def _blob_cache() -> list[Path]:
    if str(_BLOB_CACHE) in _before("folders") or not _BEFORE.exists() or not _BLOB_CACHE.exists():
        return []
    return [_BLOB_CACHE]


def _files() -> list[Path]:
    """Return every file of the cluster's that lies outside its own folders."""
    outside = (_cni_results, _shim_sockets, _log_links, _device_sockets, _blob_cache, second_names)
    return [path for each in outside for path in each()]


def _remove_pods() -> None:
    """Have each runtime that still answers remove its pods, with their namespaces, addresses and mounts."""
    # A first process of a container ignores SIGTERM unless it asks for it: a runtime would wait for each.
    processes.kill(cgroups.processes(monitors=False))
    for node in NODES:
        if processes.pid(node.runtime) is None or not (PROGRAMS / "remove-sandboxes").exists():
            continue
        done = run([PROGRAMS / "remove-sandboxes", f"unix://{node.socket}"], check=False, timeout=60)
        if done.returncode != 0:
            say(f"{node.runtime} could not remove all of its pods: {done.stderr.strip()[-500:]}")


def down() -> list[str]:
    """Take everything down and return what is left, which should be nothing."""
    if RUN.exists():
        # Kubelets first: they would start anew what the runtimes are told to end.
        processes.stop(*(f"kubelet-{node.name}" for node in NODES))
        _remove_pods()
        controllers = [name for name in processes.names() if name.startswith("kube-")]
        # The API server would see its watches to their end; there is no one left to care.
        processes.stop(*controllers, *(node.runtime for node in NODES), "etcd", timeout=3)
    # What a crash left behind: daemons without a record, shims and conmons, and all that runs in the pods' groups.
    for _ in range(3):
        if not (alive := {*processes.marked(), *cgroups.processes()}):
            break
        processes.kill(alive)
    for namespace in _namespaces():
        run(["ip", "netns", "delete", namespace.name], check=False)
    network.down()
    for path in _files():
        path.unlink(missing_ok=True)
    for target in _mounts():
        if run(["umount", target], check=False).returncode != 0:
            run(["umount", "--lazy", target], check=False)
    cgroups.remove()
    network.restore_sysctls()
    before = _before("folders")
    if _BEFORE.exists():
        for folder in _FOLDERS:
            if str(folder) not in before and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    # Never through a mount that is still there: what lies behind it may be a pod's hostPath.
    if not _mounts():
        shutil.rmtree(DATA, ignore_errors=True)
    # The records go last, and only when nothing is left that the next `down` would need them for.
    if leftovers() == [str(RUN)]:
        shutil.rmtree(RUN, ignore_errors=True)
    return leftovers()


def leftovers() -> list[str]:
    """Return all of the cluster's that is still on this machine, a line each."""
    found = [f"process {pid}: {_command(pid)}" for pid in sorted({*processes.marked(), *cgroups.processes()})]
    found += [f"mount {target}" for target in _mounts()]
    found += [f"network namespace {path}" for path in _namespaces()]
    found += [f"link {name}" for name in network.links()]
    found += network.rules()
    found += [f"control group {path}" for path in cgroups.groups()]
    found += [str(path) for path in _files()]
    found += [str(folder) for folder in (RUN, DATA) if folder.exists()]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:120]
    except OSError:
        return "gone meanwhile"
