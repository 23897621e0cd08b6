"""The demo's four pods: who they are, what runs in them, and what they ask the node for."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podtracer_nb.errors import DemoError
from podtracer_nb.targets import local

__all__ = [
    "BAD_LINK",
    "INSIDE",
    "NAMESPACE",
    "NFT_TABLE",
    "NODE",
    "PODS",
    "BadLink",
    "Pod",
    "Programs",
    "find_programs",
    "plan",
    "record",
    "search_path",
]

NAMESPACE = "demo"
NODE = "demo-node"
ZONE = f"{NAMESPACE}.svc.cluster.local"
GATEWAYS = ("10.88.0.1/24", "fd00:88::1/64")
# The table of nftables that has the bad link's drop rules and their counters.
NFT_TABLE = "podtracer_demo"
INSIDE = Path(__file__).parent / "inside"


@dataclass(frozen=True)
class Pod:
    """One pod as it is planned."""

    name: str
    host: int  # the last number of its addresses, read as decimal in IPv4 and the same digits in IPv6
    owner: str
    services: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def ips(self) -> tuple[str, str]:
        """Its IPv4 and IPv6 address."""
        return f"10.88.0.{self.host}", f"fd00:88::{self.host}"


@dataclass(frozen=True)
class BadLink:
    """What is wrong with one pod's link."""

    pod: str
    loss_percent: int
    delay_ms: int


@dataclass(frozen=True)
class Programs:
    """Where the programs are that the demo runs."""

    unshare: str
    mount: str
    dnsmasq: str
    ping: str
    nft: str | None  # not needed where the kernel has netem


# The client is last: when it has its answers, everything serves.
PODS = (
    Pod("dns", 53, "DaemonSet/dns", ("dns",), {"app": "dns", "k8s-app": "kube-dns"}),
    Pod("api", 11, "Deployment/api", ("api",), {"app": "api", "tier": "backend"}),
    Pod("web", 10, "Deployment/web", ("web",), {"app": "web", "tier": "frontend"}),
    Pod("client", 100, "Deployment/client", (), {"app": "client", "tier": "outside"}),
)
BAD_LINK = BadLink("api", loss_percent=2, delay_ms=30)


def search_path() -> str:
    """Return PATH with the sbin directories, which Debian leaves off an ordinary user's."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find_programs() -> Programs:
    """Find the programs that the demo runs.

    Raises
    ------
    DemoError
        When one is missing: its name and the line that installs it.
    """
    search = search_path()
    packages = {"unshare": "util-linux", "mount": "mount", "dnsmasq": "dnsmasq-base", "ping": "iputils-ping"}
    found = {program: shutil.which(program, path=search) for program in packages}
    missing = [program for program, path in found.items() if path is None]
    if missing:
        names, line = ", ".join(missing), " ".join(packages[program] for program in missing)
        raise DemoError(f"the demo pods need {names}, not installed here: apt-get install {line}")
    paths = {program: path for program, path in found.items() if path is not None}
    return Programs(**paths, nft=shutil.which("nft", path=search))


def _argv(pod: Pod, programs: Programs) -> list[str]:
    python = [sys.executable, "-I", "-S"]
    match pod.name:
        case "dns":
            # In debug mode dnsmasq stays in the foreground and stays root: in a user namespace there is nobody else.
            argv = [
                programs.dnsmasq,
                "--no-daemon",
                "--conf-file=/dev/null",
                "--pid-file=",
                "--no-resolv",
                "--no-hosts",
            ]
            argv += ["--local=/#/", "--local-ttl=5"]  # nothing is forwarded: what is not known here does not exist
            argv += [f"--host-record={other.name}.{ZONE},{','.join(other.ips)}" for other in PODS if other.services]
            return [*argv, f"--srv-host=_http._tcp.web.{ZONE},web.{ZONE},80"]
        case "web":
            return [*python, str(INSIDE / "http_servers.py"), "web", "80"]
        case "api":
            return [*python, str(INSIDE / "http_servers.py"), "api", "8080"]
        case _:
            return [*python, str(INSIDE / "client.py"), programs.ping]


def _files(pod: Pod) -> dict[str, str]:
    dns = next(other for other in PODS if other.name == "dns")
    names = "".join(f"{address}\t{pod.name}.{ZONE} {pod.name}\n" for address in pod.ips)
    return {
        # What a kubelet writes: three search domains and ndots:5, with the queries for missing names that they cause.
        "/etc/resolv.conf": f"search {ZONE} svc.cluster.local cluster.local\n"
        f"nameserver {dns.ips[0]}\noptions ndots:5 timeout:1 attempts:3\n",
        "/etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{names}",
        "/etc/hostname": f"{pod.name}\n",
        # The machine's own may ask systemd-resolved or mDNS, through sockets that reach out of the pod.
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    }


def _mac(pod: Pod) -> str:
    # Locally administered (02), then the IPv4 address, as many CNI plugins do.
    return ":".join(f"{byte:02x}" for byte in (2, 0x58, *ipaddress.IPv4Address(pod.ips[0]).packed))


def plan(programs: Programs, *, timeout: float) -> dict[str, Any]:
    """Return all that the keeper needs to know, as it is sent to it."""
    namespaces = ["--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    lengths = [gateway.split("/")[1] for gateway in GATEWAYS]
    return {
        "node": NODE,
        "timeout": timeout,
        "path": search_path(),
        "unshare_node": [programs.unshare, *user, *namespaces],
        "unshare_pod": [programs.unshare, *namespaces],
        "pods": [{"name": pod.name, "argv": _argv(pod, programs), "files": _files(pod)} for pod in PODS],
        "links": {
            "bridge": "demo0",
            "gateways": list(GATEWAYS),
            "nft": programs.nft,
            "table": NFT_TABLE,
            "bad": {"pod": BAD_LINK.pod, "loss_percent": BAD_LINK.loss_percent, "delay_ms": BAD_LINK.delay_ms},
            "pods": [
                {
                    "name": pod.name,
                    "mac": _mac(pod),
                    "addresses": [f"{ip}/{length}" for ip, length in zip(pod.ips, lengths, strict=True)],
                }
                for pod in PODS
            ],
        },
    }


def record(pod: Pod, process: Mapping[str, int]) -> local.DemoPod:
    """Return the pod as the state file holds it; `process` is its first process' pid and start time."""
    return local.DemoPod(
        name=pod.name,
        namespace=NAMESPACE,
        uid=str(uuid.uuid4()),
        labels=dict(pod.labels),
        node=NODE,
        ips=pod.ips,
        owner=pod.owner,
        services=pod.services,
        phase="Running",
        interfaces=("eth0",),
        containers=(local.DemoContainer(pod.name, **process),),
    )
