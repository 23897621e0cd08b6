"""A way through real network namespaces: client, router, server, with every kind of place that cannot be reached.

client 10.1.0.2 ── 10.1.0.1 router 10.2.0.1 ── 10.2.0.2 server        IPv6: fd01::2, fd01::1, fd02::1, fd02::2
10.3.0.0/24 unreachable, 10.4.0.0/24 prohibited, 10.5.0.0/24 swallowed, by the router; behind it the MTU is 1400
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.targets.namespaces import until

CLIENT, ROUTER, SERVER = "10.1.0.2", "10.1.0.1", "10.2.0.2"
UNREACHABLE, PROHIBITED, SWALLOWED = "10.3.0.9", "10.4.0.9", "10.5.0.9"
MTU = 1400


@dataclass(frozen=True)
class Place:
    """A network namespace, by the process that holds it."""

    pid: int
    enter: tuple[str, ...]

    def run(self, *words: str) -> str:
        """Run a program in it, to its end."""
        done = subprocess.run([*self.enter, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def running(self, *words: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
        """Run a program in it for as long as the block."""
        with subprocess.Popen(
            [*self.enter, *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def listens(self, port: int, protocol: str = "tcp") -> bool:
        """Whether anything is bound to a port here: proc_net_tcp.rst."""
        return any(
            line.split()[1].endswith(f":{port:04X}") and line.split()[3] in ("0A", "07")
            for name in (protocol, f"{protocol}6")
            for line in Path(f"/proc/{self.pid}/net/{name}").read_text().splitlines()[1:]
        )


@dataclass(frozen=True)
class Way:
    """The three places."""

    client: Place
    router: Place
    server: Place


@contextlib.contextmanager
def _place(outer: int | None) -> Iterator[Place]:
    mapped = os.geteuid() != 0
    words = ["unshare", *(["--user", "--map-root-user"] if mapped and outer is None else []), "--net"]
    if outer is not None:
        # All three have one user namespace, so that a link may go from one to another.
        user = ["--user", "--preserve-credentials"] if mapped else []
        words = ["nsenter", f"--target={outer}", *user, "--net", "--", *words]
    script = "ip link set lo up; echo ready; exec cat"
    with subprocess.Popen([*words, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            enter = ("nsenter", f"--target={process.pid}", *(("--user", "--preserve-credentials") if mapped else ()))
            yield Place(process.pid, (*enter, "--net", "--"))
        finally:
            process.stdin.close()  # the end of its input ends cat
            process.wait(10)


_SYSCTL = """
import pathlib
for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
    pathlib.Path("/proc/sys", name).write_text("1")
pathlib.Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")
"""


@contextlib.contextmanager
def way() -> Iterator[Way]:
    """Make the three namespaces and the way through them."""
    with _place(None) as router, _place(router.pid) as client, _place(router.pid) as server:
        for number, place in ((1, client), (2, server)):
            router.run(*f"ip link add r{number} type veth peer name eth0 netns {place.pid}".split())
            for end, interface, host in ((router, f"r{number}", 1), (place, "eth0", 2)):
                end.run(*f"ip address add 10.{number}.0.{host}/24 dev {interface}".split())
                end.run(*f"ip address add fd0{number}::{host}/64 dev {interface} nodad".split())
                end.run(*f"ip link set {interface} up".split())
            place.run(*f"ip route add default via 10.{number}.0.1".split())
            place.run(*f"ip -6 route add default via fd0{number}::1".split())
        # A process of the namespace sees its own sysctls in any /proc: they go by the reader's namespace.
        router.run(sys.executable, "-c", _SYSCTL)
        for end, interface in ((router, "r2"), (server, "eth0")):
            end.run(*f"ip link set {interface} mtu {MTU}".split())
        for kind, network in (("unreachable", UNREACHABLE), ("prohibit", PROHIBITED), ("blackhole", SWALLOWED)):
            router.run(*f"ip route add {kind} {network.rpartition('.')[0]}.0/24".split())
        for place in (client, router, server):
            # A link-local address may not be used before nobody else was found to have it (RFC 4862, 5.4).
            until(lambda place=place: not place.run("ip", "-6", "address", "show", "tentative"))  # type: ignore[misc]
        yield Way(client, router, server)


def listening(place: Place, port: int, protocol: str = "tcp") -> None:
    """Return when something is bound to a port."""
    until(lambda: place.listens(port, protocol))
