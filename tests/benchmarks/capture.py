"""The capture that everything is measured on: mixed traffic of a few thousand hosts, the same bytes every time."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["write"]

_GATEWAY = bytes.fromhex("020000000001")
_CLIENTS = 3000
_SERVERS = 60
_NAMES = 800
_FLOWS = 300
_FLOW_PACKETS = 200
_PAYLOAD = random.Random(7).randbytes(4096)

Packet = tuple[bytes, int]


@dataclass(frozen=True)
class Flow:
    """Two ends that talk for a while: what all packets between them have in common, one way and the other."""

    forth: bytes
    back: bytes
    ends: tuple[bytes, bytes]
    six: bool
    port: int
    service: int


class Traffic:
    """Makes packets of one seed. Each method returns a packet's headers and the size of the payload after them.

    Some hundred flows are alive at a time and take turns, and packets of one flow come in trains (Jain and Routhier,
    1986), as they do on a pod's or a node's link.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._time = 1_000_000_000
        self._clients4 = [bytes([10, 0, *divmod(n, 256)]) for n in range(_CLIENTS)]
        self._servers4 = [bytes([10, 96, 0, n]) for n in range(_SERVERS)]
        self._clients6 = [bytes.fromhex("fd000088") + bytes(8) + n.to_bytes(4, "big") for n in range(1, _CLIENTS)]
        self._servers6 = [bytes.fromhex("fd000096") + bytes(8) + n.to_bytes(4, "big") for n in range(1, _SERVERS)]
        self._macs = [b"\x02\x42" + n.to_bytes(4, "big") for n in range(_CLIENTS)]
        self._names = [
            b"".join(
                bytes([len(label)]) + label
                for label in (f"svc-{n}".encode(), f"team{n % 17}".encode(), b"svc", b"cluster", b"local")
            )
            + b"\0"
            for n in range(_NAMES)
        ]
        self._flows = [self._new_flow() for _ in range(_FLOWS)]

    def _new_flow(self) -> Flow:
        pick = self._random.random
        six = pick() < 0.15
        clients, servers = (self._clients6, self._servers6) if six else (self._clients4, self._servers4)
        place = int(pick() * len(clients))
        tag = struct.pack("!HH", 0x8100, 100 + int(pick() * 4)) if pick() < 0.05 else b""
        mac = self._macs[place]
        return Flow(
            _GATEWAY + mac + tag,
            mac + _GATEWAY + tag,
            (clients[place], servers[int(pick() * len(servers))]),
            six,
            32768 + int(pick() * 28000),
            (80, 443, 8080, 5432)[int(pick() * 4)],
        )

    def flow(self) -> Flow:
        """Return one of the flows that are alive; now and then a new one takes its place."""
        place = int(self._random.random() * _FLOWS)
        if self._random.random() < 1 / _FLOW_PACKETS:
            self._flows[place] = self._new_flow()
        return self._flows[place]

    def ip(self, flow: Flow, protocol: int, size: int, forth: bool) -> bytes:
        """Return link and IP header for `size` bytes of payload, one way or the other."""
        link = flow.forth if forth else flow.back
        source, destination = flow.ends if forth else flow.ends[::-1]
        if flow.six:
            return link + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, size, protocol, 64) + source + destination
        identification = int(self._random.random() * 65536)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, identification, 0x4000, 64, protocol, 0)
        return link + b"\x08\x00" + header + source + destination

    def tcp(self) -> Iterator[Packet]:
        """Yield a train of TCP segments: acknowledgments, full and odd sizes, handshakes, selective acknowledgments."""
        flow = self.flow()
        forth = self._random.random() < 0.5
        kind = self._random.random()
        yield self._segment(flow, forth, kind)
        while kind >= 0.13 and self._random.random() < 0.75:
            # Full segments come in a row, and so do the acknowledgments of such a row.
            yield self._segment(flow, forth, kind)

    def _segment(self, flow: Flow, forth: bool, kind: float) -> Packet:
        pick = self._random.random
        self._time += 1
        stamps = struct.pack("!II", self._time & 0xFFFFFFFF, (self._time - 70) & 0xFFFFFFFF)
        kind = pick()
        payload = 0
        if kind < 0.05:
            flags = 0x02 if kind < 0.025 else 0x12
            options = b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + stamps + b"\x01\x03\x03\x07"
        elif kind < 0.09:
            flags = 0x10
            left = int(pick() * 2**31)
            options = b"\x01\x01\x08\x0a" + stamps + b"\x01\x01\x05\x0a" + struct.pack("!II", left, left + 1448)
        elif kind < 0.13:
            flags = (0x11, 0x14, 0x04)[int(pick() * 3)]
            options = b"" if flags == 0x04 else b"\x01\x01\x08\x0a" + stamps
        else:
            options = b"\x01\x01\x08\x0a" + stamps
            flags = 0x10 if kind < 0.50 else 0x18
            if kind >= 0.50:
                payload = 1448 if kind < 0.83 else 1 + int(pick() * 1000)
        ports = (flow.port, flow.service) if forth else (flow.service, flow.port)
        header = struct.pack(
            "!HHIIBBHHH",
            *ports,
            int(pick() * 2**32),
            int(pick() * 2**32),
            (20 + len(options)) << 2,
            flags,
            int(pick() * 65536),
            0,
            0,
        )
        return self.ip(flow, 6, len(header) + len(options) + payload, forth) + header + options, payload

    def udp(self) -> Iterator[Packet]:
        """Yield a datagram of no protocol in particular."""
        pick = self._random.random
        payload = int(pick() ** 2 * 1400)
        flow = self.flow()
        ports = struct.pack("!HHHH", flow.port, flow.service, 8 + payload, 0)
        yield self.ip(flow, 17, 8 + payload, True) + ports, payload

    def dns(self) -> Iterator[Packet]:
        """Yield a question and the response to it."""
        pick = self._random.random
        flow = self.flow()
        name = self._names[int(pick() ** 2 * _NAMES)]
        kind = (1, 28, 33)[int(pick() * 3)]
        identification, port, found = int(pick() * 65536), 1024 + int(pick() * 60000), pick() < 0.9
        question = name + struct.pack("!HH", kind, 1)
        answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + self._servers4[0]
        message = struct.pack("!HHHHHH", identification, 0x0100, 1, 0, 0, 0) + question
        header = struct.pack("!HHHH", port, 53, 8 + len(message), 0)
        yield self.ip(flow, 17, 8 + len(message), True) + header + message, 0
        message = struct.pack("!HHHHHH", identification, 0x8580 if found else 0x8583, 1, found, 0, 0) + question
        message += answer * found
        header = struct.pack("!HHHH", 53, port, 8 + len(message), 0)
        yield self.ip(flow, 17, 8 + len(message), False) + header + message, 0

    def icmp(self) -> Iterator[Packet]:
        """Yield an echo request and its reply."""
        flow = self.flow()
        sequence = int(self._random.random() * 65536)
        for reply in (False, True):
            kind = 128 + reply if flow.six else 8 - 8 * reply
            header = struct.pack("!BBHHH", kind, 0, 0, 77, sequence)
            yield self.ip(flow, 58 if flow.six else 1, 64, not reply) + header, 56

    def arp(self) -> Iterator[Packet]:
        """Yield a question for an address, and its answer."""
        place = int(self._random.random() * _CLIENTS)
        head = struct.pack("!HHBB", 1, 0x0800, 6, 4)
        asker, answerer = self._macs[place] + self._clients4[place], _GATEWAY + self._servers4[0]
        question = head + b"\0\1" + asker + bytes(6) + self._servers4[0]
        yield b"\xff" * 6 + self._macs[place] + b"\x08\x06" + question, 0
        yield self._macs[place] + _GATEWAY + b"\x08\x06" + head + b"\0\2" + answerer + asker, 0


def write(path: Path, packets: int, seed: int = 1) -> None:
    """Write a classic pcap file of mixed traffic: three in four packets TCP, the rest UDP, DNS, ICMP, ARP.

    Parameters
    ----------
    path
        Where to.
    packets
        How many.
    seed
        Of the random choices; the same seed gives the same bytes.
    """
    traffic = Traffic(seed)
    chooser = random.Random(seed + 1)
    kinds = [traffic.tcp] * 50 + [traffic.udp] * 28 + [traffic.dns] * 13 + [traffic.icmp] * 5 + [traffic.arp] * 4
    microseconds = 1_750_000_000_000_000
    record = struct.Struct("<IIII")
    left = packets
    with path.open("wb", buffering=1 << 20) as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        while left:
            for headers, payload in itertools.islice(chooser.choice(kinds)(), left):
                left -= 1
                microseconds += 1 + int(chooser.random() * 20)
                size = len(headers) + payload
                file.write(record.pack(*divmod(microseconds, 1_000_000), size, size) + headers + _PAYLOAD[:payload])
