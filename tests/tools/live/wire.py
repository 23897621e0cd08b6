"""Two namespaces with a wire between them, as root and as an ordinary user: real interfaces, real packets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.targets.namespaces import Holder, holder

__all__ = ["Wire", "wire"]

_FLOOD = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
count, pause, data = int(sys.argv[1]), float(sys.argv[2]), bytes(int(sys.argv[3]))
begun = time.monotonic()
for number in range(count):
    sender.sendto(data, ("10.99.0.2", 10000 + number % 50))
    if pause and number % 100 == 99:
        time.sleep(max(0.0, begun + number * pause - time.monotonic()))
"""

_TAGGED = """
import socket, struct, sys
count, tci, tpid = map(int, sys.argv[1:])
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sender.bind(("eth0", 0))
for number in range(count):
    echo = struct.pack(">BBHHH", 8, 0, 0, 1, number) + bytes(56)
    ends = bytes([10, 99, 10, 1]), bytes([10, 99, 10, 2])
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), number, 0, 64, 1, 0, *ends)
    sender.send(bytes.fromhex("ffffffffffff020000000001") + struct.pack(">HHH", tpid, tci, 0x0800) + ip + echo)
"""


@dataclass(frozen=True)
class Wire:
    """`near` has the interface eth0 with 10.99.0.1, `far` its other end with 10.99.0.2 (and fd99::1, fd99::2)."""

    near: Holder
    far: Holder

    def command(self, *words: str, where: Holder | None = None) -> list[str]:
        """Return the words that run a program there; by default in `near`."""
        return [*_enter(where or self.near), *words]

    def inside(self, *words: str, where: Holder | None = None) -> None:
        """Run a program there to its end."""
        subprocess.run(self.command(*words, where=where), check=True, capture_output=True, timeout=60)

    def ping(self, count: int, address: str = "10.99.0.2") -> None:
        """Send so many pings, a few milliseconds apart, and get as many answers."""
        self.inside("ping", "-q", "-c", str(count), "-i", "0.002", address)

    def flood(self, count: int, pause: float = 0.0, size: int = 100) -> None:
        """Send so many datagrams."""
        self.inside(sys.executable, "-I", "-S", "-c", _FLOOD, str(count), str(pause), str(size))

    def tagged(self, count: int, tci: int, tpid: int = 0x8100) -> None:
        """Send so many pings with an 802.1Q or 802.1ad tag, whose answers do not come.

        The receiving kernel takes the tag off, whether it knows VLANs or not: __netif_receive_skb_core, net/core/dev.c.
        """
        self.inside(sys.executable, "-I", "-S", "-c", _TAGGED, str(count), str(tci), str(tpid))


def _enter(where: Holder) -> list[str]:
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    return ["nsenter", f"--target={where.pid}", *user, "--net", "--"]


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Make the two namespaces and the wire, for as long as the block lasts."""
    with holder("net") as near, _beside(near) as far:
        made = Wire(near, far)
        made.inside("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(far.pid))
        for side, last in ((near, 1), (far, 2)):
            made.inside("ip", "addr", "add", f"10.99.0.{last}/24", "dev", "eth0", where=side)
            made.inside("ip", "addr", "add", f"fd99::{last}/64", "dev", "eth0", "nodad", where=side)
            made.inside("ip", "link", "set", "eth0", "up", where=side)
        yield made


@contextlib.contextmanager
def _beside(near: Holder) -> Iterator[Holder]:
    """Make another network namespace, of the same user namespace: only then a wire can lead there."""
    user = ["--user", "--preserve-credentials"] if os.geteuid() else []
    words = ["nsenter", f"--target={near.pid}", *user, "--", "unshare", "--net", "sh", "-c"]
    shell = "ip link set lo up; echo ready; exec cat"
    with subprocess.Popen([*words, shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield Holder(process.pid)
        finally:
            process.stdin.close()
            process.wait(10)
