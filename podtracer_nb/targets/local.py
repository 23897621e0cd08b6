"""Targets of this machine: the demo's pods, as their state file tells, processes, and named network namespaces.

``podtracer demo up`` writes the state file, everyone else reads it. Both go through `DemoState`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from podtracer_nb.errors import DemoError, InputError, TargetNotFound
from podtracer_nb.targets import procfs
from podtracer_nb.targets.nearest import not_found
from podtracer_nb.targets.procfs import Process
from podtracer_nb.targets.target import Target

__all__ = [
    "DemoContainer",
    "DemoPod",
    "DemoState",
    "Process",
    "demo_file",
    "netns_target",
    "process_target",
    "read_demo",
    "remove_demo",
    "state_directory",
    "write_demo",
]

_VERSION = 1
#: Where ip-netns(8) keeps named network namespaces.
_NAMED = Path("/run/netns")


@dataclass(frozen=True)
class DemoContainer:
    """One container of a demo pod: a name and its process."""

    name: str
    pid: int
    start_time: int


@dataclass(frozen=True)
class DemoPod:
    """One pod of the demo, in the words of the state file."""

    name: str
    namespace: str
    uid: str
    labels: dict[str, str]
    node: str
    ips: tuple[str, ...]
    owner: str
    services: tuple[str, ...]
    phase: str
    interfaces: tuple[str, ...]
    containers: tuple[DemoContainer, ...]

    def target(self, container: str | None = None) -> Target:
        """Return the pod as a target, by one of its containers, else its first."""
        chosen = next((one for one in self.containers if one.name == container), self.containers[0])
        return Target(
            pod=self.name,
            namespace=self.namespace,
            uid=self.uid,
            container=chosen.name,
            containers=tuple(one.name for one in self.containers),
            node=self.node,
            runtime="demo",
            ip=self.ips,
            labels=dict(self.labels),
            owner=self.owner,
            services=self.services,
            phase=self.phase,
            pid=chosen.pid,
            start_time=chosen.start_time,
            source="demo",
            interfaces=self.interfaces,
        )


@dataclass(frozen=True)
class DemoState:
    """What ``demo.json`` holds. The demo is there as long as its keeper is."""

    keeper: Process
    node: str
    pods: tuple[DemoPod, ...] = field(default=())

    def to_json(self) -> str:
        """Return the file's text."""
        keeper = {"pid": self.keeper.pid, "start_time": self.keeper.start_time}
        return json.dumps({"version": _VERSION, **asdict(self), "keeper": keeper}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> DemoState:
        """Read the file's text; ValueError, KeyError or TypeError where it is not one."""
        data = json.loads(text)
        if data["version"] != _VERSION:
            raise ValueError(f"version {data['version']} where {_VERSION} is known")
        pods = tuple(
            DemoPod(
                **{
                    **pod,
                    **{word: tuple(pod[word]) for word in ("ips", "services", "interfaces")},
                    "containers": tuple(DemoContainer(**container) for container in pod["containers"]),
                }
            )
            for pod in data["pods"]
        )
        return cls(Process(**data["keeper"]), data["node"], pods)


def state_directory() -> Path:
    """Return the directory of our state files, private to the user; it need not exist.

    ``$PODTRACER_STATE``, else ``/run/podtracer`` as root, else ``$XDG_RUNTIME_DIR/podtracer``, else
    ``/tmp/podtracer-UID``.

    Raises
    ------
    DemoError
        The directory exists and is another user's: what it says about pids cannot be trusted.
    """
    uid = os.geteuid()
    if chosen := os.environ.get("PODTRACER_STATE"):
        directory = Path(chosen)
    elif uid == 0:
        directory = Path("/run/podtracer")
    elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
        directory = Path(runtime, "podtracer")
    else:
        directory = Path(f"/tmp/podtracer-{uid}")  # noqa: S108 - private and its owner checked below
    try:
        status = directory.lstat()
    except FileNotFoundError:
        return directory
    if (not chosen and stat.S_ISLNK(status.st_mode)) or status.st_uid != uid:
        raise DemoError(f"{directory} belongs to user id {status.st_uid}, not to us: remove it or set PODTRACER_STATE")
    return directory


def demo_file() -> Path:
    """Return the path of the demo's state file."""
    return state_directory() / "demo.json"


def read_demo() -> DemoState | None:
    """Return the running demo's state, or None where no demo runs.

    Raises
    ------
    DemoError
        The state file cannot be read.
    """
    if not hasattr(os, "geteuid"):  # Windows: no pods can be here
        return None
    path = demo_file()
    try:
        state = DemoState.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DemoError(
            f"{path} cannot be read ({error}): run `podtracer demo down`, then `podtracer demo up`"
        ) from error
    return state if state.keeper.alive else None


def write_demo(state: DemoState) -> Path:
    """Write the demo's state file whole or not at all, private to the user; return its path."""
    path = demo_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(state.to_json())
    fresh.replace(path)
    return path


def remove_demo() -> None:
    """Remove the demo's state file, and our state directory where nothing else is in it."""
    path = demo_file()
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def process_target(pid: int) -> Target:
    """Return a running process as a target.

    Raises
    ------
    InputError
        The number cannot be a process id.
    TargetNotFound
        There is no such process.
    """
    if pid <= 0:
        raise InputError(f"{pid} is no process id: give a positive number")
    started = procfs.start_time(pid)
    if started is None:
        raise TargetNotFound(f"no process {pid} on this machine: look it up with ps or pgrep")
    return Target(pod=f"pid-{pid}", node=socket.gethostname(), pid=pid, start_time=started, source="pid")


def netns_target(name: str) -> Target:
    """Return a network namespace as a target: a name as ip-netns(8) has them, or a file's path (with a slash).

    Raises
    ------
    InputError
        The text is neither.
    TargetNotFound
        There is no such namespace.
    """
    if not name or name.startswith("-") or "\0" in name or name in (".", ".."):
        raise InputError(
            f"{name!r} is no network namespace: give a name under {_NAMED} or a file's path with a slash in it"
        )
    if "/" in name:
        path = Path(name).absolute()
        if not path.exists():
            raise TargetNotFound(f"no network namespace file {name}: look under {_NAMED} and /proc/PID/ns/net")
    else:
        path = _NAMED / name
        known = tuple(sorted(entry.name for entry in _NAMED.iterdir())) if _NAMED.is_dir() else ()
        if name not in known:
            raise not_found("network namespace", name, known, empty=f"{_NAMED} holds none")
    return Target(
        pod=re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-"), node=socket.gethostname(), source="netns", netns_path=path
    )
