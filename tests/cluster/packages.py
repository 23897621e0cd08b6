"""What Debian has of a node is installed from Debian, when this is root and something is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.commands import SEARCH, run, say
from tests.cluster.layout import ClusterError

# A program, or a file where there is none on the PATH, and the package that brings it.
RUNNING = {
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "mount": "mount",
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "busybox": "busybox-static",
}
RUNNING_CRIO = {
    "conmon": "conmon",
    "skopeo": "skopeo",
    "/usr/lib/*/libseccomp.so.2": "libseccomp2",
    "/usr/lib/*/libsqlite3.so.0": "libsqlite3-0",
}
BUILDING = {
    "gcc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
    "pkg-config": "pkg-config",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "/usr/include/sqlite3.h": "libsqlite3-dev",
}
# Debian's services ask this file whether they may start at installation; the cluster starts its own, by hand.
_POLICY = Path("/usr/sbin/policy-rc.d")


def _here(what: str) -> bool:
    if what.startswith("/"):
        return any(Path("/").glob(what.lstrip("/")))
    return shutil.which(what, path=SEARCH) is not None


def missing(wanted: Mapping[str, str]) -> list[str]:
    """Return the packages of `wanted` that this machine lacks."""
    return sorted({package for what, package in wanted.items() if not _here(what)})


@contextmanager
def _no_services_started() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def install(*wanted: Mapping[str, str]) -> None:
    """Install what of `wanted` is missing, or say the line that does."""
    packages = sorted({package for each in wanted for package in missing(each)})
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"not installed here; as root: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with _no_services_started():
        run(["apt-get", "update", "-qq"], environment=quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], environment=quiet)
    still = sorted({package for each in wanted for package in missing(each)})
    if still:
        raise ClusterError(f"installed, and still not found: {' '.join(still)}")
