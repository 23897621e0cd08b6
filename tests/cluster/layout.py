"""Where everything lies: paths, names and addresses of the cluster, and its two nodes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# One cluster a machine: its state is where any process on the machine finds it, and all of it is below two folders.
RUN = Path("/run/podtracer-cluster")
DATA = Path("/var/lib/podtracer-cluster")
LOGS = RUN / "logs"
CERTIFICATES = RUN / "certificates"
PROGRAMS = RUN / "bin"
KUBECONFIG = RUN / "kubeconfig"
VOLUMES = DATA / "volumes"
# Written last by `up`; without it whatever is here is a half-finished one.
READY = RUN / "ready.json"

# All that is started inherits this variable, shims and conmons too: after a crash it tells our processes from others'.
MARK = ("PODTRACER_CLUSTER", str(RUN))
# Names that begin so are ours: bridges, CNI networks, cgroups.
PREFIX = "podtracer"
NFT_TABLE = "podtracer_cluster"
CGROUP = "podtracer-cluster"

SERVICES = "10.78.0.0/24"
KUBERNETES_SERVICE = "10.78.0.1"
API_PORT = 16443
ETCD_PORT = 12379


@dataclass(frozen=True)
class Node:
    """A node: one kubelet, one container runtime, one bridge with its own subnet."""

    letter: str
    runtime: str
    address: str  # of the bridge: the node's InternalIP, and its pods' gateway
    subnet: str
    standard_socket: Path  # where a machine of its own would have the runtime's socket

    @property
    def name(self) -> str:
        return f"node-{self.letter}"

    @property
    def bridge(self) -> str:
        return f"{PREFIX}-{self.letter}"

    @property
    def socket(self) -> Path:
        return RUN / self.runtime / f"{self.runtime}.sock"

    @property
    def data(self) -> Path:
        return DATA / self.name

    @property
    def cgroup(self) -> str:
        return f"/{CGROUP}/{self.name}"

    @property
    def cni(self) -> Path:
        return RUN / self.name / "cni"


NODES = (
    Node("a", "containerd", "10.77.1.1", "10.77.1.0/24", Path("/run/containerd/containerd.sock")),
    Node("b", "crio", "10.77.2.1", "10.77.2.0/24", Path("/run/crio/crio.sock")),
)
# The API server listens here only: an address of this machine that nothing outside it has a route to.
API = f"https://{NODES[0].address}:{API_PORT}"


def cache() -> Path:
    """Return the folder of what was compiled; it outlives the cluster and the work tree."""
    if named := os.environ.get("PODTRACER_CLUSTER_CACHE"):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "podtracer-cluster"


class ClusterError(Exception):
    """What went wrong, in one line, and the tail of the log that tells more."""
