"""What this machine can do, as pytest marks: `@needs("netns", "tcpdump")`.

A test whose need is not met is skipped with the reason. `PODTRACER_REQUIRE=netns,tcpdump` turns such a skip into a
failure: continuous integration sets it, so that nothing is skipped there unnoticed.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest


def _program(name: str, package: str) -> Callable[[], str | None]:
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return lambda: None if shutil.which(name, path=search) else f"no {name}: apt-get install {package}"


def _netns() -> str | None:
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        done = subprocess.run(
            ["unshare", *mapped, "--net", "true"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError as error:
        return f"network namespaces cannot be made: {error}"
    return None if done.returncode == 0 else f"network namespaces cannot be made: {done.stderr.strip()}"


def _compiler() -> str | None:
    return None if shutil.which("cc") or shutil.which("gcc") else "no C compiler: apt-get install gcc python3-dev"


def chromium() -> str | None:
    """Return the browser that tests drive, or None."""
    return shutil.which("chromium")


def _chromium() -> str | None:
    if chromium() is None:
        return "no chromium: apt-get install chromium fonts-dejavu-core"
    return None if importlib.util.find_spec("playwright") else "no playwright: pip install playwright"


def _kubectl() -> str | None:
    from tests.deploy.manifests import kubectl_program

    found = shutil.which(kubectl_program())
    return None if found else "no kubectl: python -m tests.cluster build"


def cluster_kubeconfig() -> str:
    """Return the kubeconfig of the cluster that tests may make and delete things in.

    The one that `make cluster-up` made; another only where that is meant, by `make test-cluster` or
    PODTRACER_REQUIRE: a kubeconfig that happens to be exported is somebody's production.
    """
    named = os.environ.get("KUBECONFIG") if "cluster" in required() else None
    return named or "/run/podtracer-cluster/kubeconfig"


def _cluster() -> str | None:
    from tests.deploy.manifests import kubectl_program

    kubeconfig = cluster_kubeconfig()
    if not os.access(kubeconfig.split(os.pathsep)[0], os.R_OK):
        return "no cluster: make cluster-up"
    try:
        done = subprocess.run(
            [kubectl_program(), f"--kubeconfig={kubeconfig}", "get", "--raw", "/readyz"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no cluster: make cluster-up ({error})"
    return None if done.returncode == 0 else f"no cluster answers: make cluster-up ({done.stderr.strip()[-200:]})"


#: The folder of it in the cache of the tests' programs.
S3_SERVER = "s3-server-1.8.0"


def s3_server() -> str | None:
    """Return the S3-compatible server that tests start, or None: `python -m tests.s3` builds it."""
    from tests.cluster.layout import cache

    return shutil.which("versitygw") or shutil.which(cache() / S3_SERVER / "bin" / "versitygw")


NEEDS: dict[str, Callable[[], str | None]] = {
    "netns": _netns,
    "compiler": _compiler,
    "tcpdump": _program("tcpdump", "tcpdump"),
    "tshark": _program("tshark", "tshark"),
    "dnsmasq": _program("dnsmasq", "dnsmasq-base"),
    "ping": _program("ping", "iputils-ping"),
    "iproute2": _program("ip", "iproute2"),
    "tracepath": _program("tracepath", "iputils-tracepath"),
    "traceroute": _program("traceroute", "traceroute"),
    "mtr": _program("mtr", "mtr-tiny"),
    "iperf3": _program("iperf3", "iperf3"),
    "dig": _program("dig", "bind9-dnsutils"),
    "curl": _program("curl", "curl"),
    "openssl": _program("openssl", "openssl"),
    "nc": _program("nc", "netcat-openbsd"),
    "ngrep": _program("ngrep", "ngrep"),
    "busybox": _program("busybox", "busybox-static"),
    "net-tools": _program("netstat", "net-tools"),
    "lsof": _program("lsof", "lsof"),
    "sysctl": _program("sysctl", "procps"),
    "ethtool": _program("ethtool", "ethtool"),
    "conntrack": _program("conntrack", "conntrack"),
    "nftables": _program("nft", "nftables"),
    "iptables": _program("iptables", "iptables"),
    "chromium": _chromium,
    "kubectl": _kubectl,
    "cluster": _cluster,
    "s3": lambda: None if s3_server() else "no S3 server: python -m tests.s3",
}


@functools.cache
def missing(need: str) -> str | None:
    """Return why this machine cannot serve `need`, or None where it can."""
    return NEEDS[need]()


def required() -> frozenset[str]:
    """Return the needs that may not be skipped (`PODTRACER_REQUIRE`)."""
    return frozenset(word for word in os.environ.get("PODTRACER_REQUIRE", "").replace(" ", "").split(",") if word)


def needs(*words: str) -> pytest.MarkDecorator:
    """Mark a test as one that needs each of `words` (see `NEEDS`)."""
    unknown = set(words) - set(NEEDS)
    if unknown:
        raise ValueError(f"unknown needs: {sorted(unknown)}; known: {sorted(NEEDS)}")
    return pytest.mark.needs(*words)
