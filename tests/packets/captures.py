"""Captures made of scapy's packets, byte by byte as the tests want them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Timestamp
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

__all__ = [
    "CLIENT",
    "CLIENT6",
    "ETHER",
    "LAYERED",
    "SEEDS",
    "SERVER",
    "SERVER6",
    "block",
    "capture",
    "client_hello",
    "enhanced",
    "header",
    "interface",
    "modified",
    "obsolete",
    "pcapng",
    "quic",
    "record",
    "section",
    "server_hello",
    "simple",
    "sll",
    "sll2",
]

CLIENT, SERVER = "10.88.0.14", "10.88.0.10"
CLIENT6, SERVER6 = "fd00:88::14", "fd00:88::10"
ETHER = Ether(src="02:00:00:00:00:14", dst="02:00:00:00:00:10")

_MAGIC = {1000: 0xA1B2C3D4, 1: 0xA1B23C4D}


def header(linktype: int = 1, order: str = "<", unit: int = 1000, snaplen: int = 262_144) -> bytes:
    """Return the header of a capture; `unit` is what the record's time fraction counts, in ns."""
    return struct.pack(order + "IHHiIII", _MAGIC[unit], 2, 4, 0, 0, snaplen, linktype)


def record(
    packet: Packet | bytes,
    *,
    order: str = "<",
    seconds: int = 1_700_000_000,
    fraction: int = 0,
    length: int | None = None,
    keep: int | None = None,
) -> bytes:
    """Return one record: `length` on the wire, `keep` bytes of it captured."""
    data = bytes(packet)
    kept = data if keep is None else data[:keep]
    wire = len(data) if length is None else length
    return struct.pack(order + "IIII", seconds, fraction, len(kept), wire) + kept


def capture(packets: Iterable[Packet | bytes], linktype: int = 1, order: str = "<", unit: int = 1000) -> bytes:
    """Return a capture, its packets a second apart."""
    return header(linktype, order, unit) + b"".join(
        record(packet, order=order, seconds=1_700_000_000 + n, fraction=n) for n, packet in enumerate(packets)
    )


def sll(packet: Packet, ethertype: int, mac: bytes = b"\x02\0\0\0\0\x14") -> bytes:
    """Return a packet with a LINUX_SLL header."""
    return struct.pack("!HHH8sH", 0, 1, len(mac), mac.ljust(8, b"\0"), ethertype) + bytes(packet)


def sll2(packet: Packet, ethertype: int, interface: int = 7, mac: bytes = b"\x02\0\0\0\0\x14") -> bytes:
    """Return a packet with a LINUX_SLL2 header."""
    return struct.pack("!HHIHBB8s", ethertype, 0, interface, 1, 0, len(mac), mac.ljust(8, b"\0")) + bytes(packet)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """Return one option of a pcapng block."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """Return one pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """Return a pcapng section header."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    linktype: int = 1, order: str = "<", snaplen: int = 0, options: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    """Return a pcapng interface description."""
    body = struct.pack(order + "HHI", linktype, 0, snaplen)
    return block(1, body + b"".join(option(code, value, order) for code, value in options), order)


def enhanced(
    packet: Packet | bytes,
    *,
    which: int = 0,
    ticks: int = 1_700_000_000_000_000,
    order: str = "<",
    length: int | None = None,
    options: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """Return a pcapng enhanced packet block."""
    data = bytes(packet)
    wire = len(data) if length is None else length
    body = struct.pack(order + "IIIII", which, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire) + data
    body += bytes(-len(body) % 4) + b"".join(option(code, value, order) for code, value in options)
    return block(6, body, order)


def simple(packet: Packet | bytes, order: str = "<", length: int | None = None) -> bytes:
    """Return a pcapng simple packet block."""
    data = bytes(packet)
    return block(3, struct.pack(order + "I", len(data) if length is None else length) + data, order)


def obsolete(packet: Packet | bytes, which: int = 0, ticks: int = 1_700_000_000_000_000, order: str = "<") -> bytes:
    """Return a pcapng packet block, which enhanced ones have taken the place of."""
    data = bytes(packet)
    return block(
        2, struct.pack(order + "HHIIII", which, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + data, order
    )


def pcapng(packets: Iterable[Packet | bytes], linktype: int = 1, order: str = "<") -> bytes:
    """Return a pcapng capture with the times that `capture` gives."""
    return (
        section(order)
        + interface(linktype, order)
        + b"".join(
            enhanced(packet, ticks=(1_700_000_000 + n) * 10**6 + n, order=order) for n, packet in enumerate(packets)
        )
    )


def modified(packets: Iterable[Packet | bytes], order: str = "<", which: int = 7) -> bytes:
    """Return a modified (Kuznetzov) pcap capture."""
    return struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 262_144, 1) + b"".join(
        struct.pack(
            order + "IIIIIHBB", 1_700_000_000 + n, n, len(bytes(packet)), len(bytes(packet)), which, 0x800, 0, 0
        )
        + bytes(packet)
        for n, packet in enumerate(packets)
    )


_V4, _V6 = IP(src=CLIENT, dst=SERVER, id=7), IPv6(src=CLIENT6, dst=SERVER6)
_QUESTION = DNS(id=0x1234, qd=DNSQR(qname="web.demo.svc.cluster.local", qtype="AAAA"))
_RESPONSE = DNS(
    id=0x1234,
    qr=1,
    aa=1,
    rcode=3,
    qd=DNSQR(qname="web.demo.svc.cluster.local", qtype="A"),
    an=DNSRR(rrname="web.demo.svc.cluster.local", rdata=SERVER),
)
_TO_DNS, _FROM_DNS = UDP(sport=40000, dport=53), UDP(sport=53, dport=40000)
_SYN = TCP(
    sport=40000,
    dport=80,
    flags="SEC",
    seq=0xFFFFFFF0,
    window=64240,
    options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0xFFFFFFFF, 0)), ("NOP", None), ("WScale", 7)],
)
_SACK = TCP(
    sport=80,
    dport=40000,
    flags="A",
    seq=5,
    ack=6,
    options=[
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (1, 2)),
        ("NOP", None),
        ("NOP", None),
        ("SAck", (100, 200, 300, 400)),
    ],
)
_DATA = TCP(
    sport=80, dport=40000, flags="PA", seq=9, ack=8, options=[("NOP", None), ("NOP", None), ("Timestamp", (70, 60))]
)
_CHAIN = IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=[SERVER6]) / IPv6ExtHdrDestOpt()


def _dns_over_tcp() -> Packet:
    message = bytes(_QUESTION)
    return ETHER / _V4 / TCP(sport=40001, dport=53, flags="PA") / Raw(struct.pack("!H", len(message)) + message)


def _quoting() -> Packet:
    return ETHER / IP(src=SERVER, dst=CLIENT) / ICMP(type=3, code=3) / _V4 / UDP(sport=40000, dport=9) / b"quoted"


_ETHERNET: Sequence[Packet | bytes] = (
    ETHER / ARP(op=1, psrc=CLIENT, pdst=SERVER, hwsrc=ETHER.src),
    ETHER / ARP(op=2, psrc=SERVER, pdst=CLIENT, hwsrc=ETHER.dst, hwdst=ETHER.src),
    ETHER / _V4 / _SYN,
    ETHER / _V4 / _SACK,
    ETHER / _V4 / _DATA / b"HTTP/1.1 200 OK\r\n\r\n",
    ETHER / _V4 / TCP(sport=1, dport=2, flags=""),
    ETHER / _V4 / UDP(sport=5000, dport=6000) / b"payload",
    ETHER / _V4 / _TO_DNS / _QUESTION,
    ETHER / _V4 / _FROM_DNS / _RESPONSE,
    _dns_over_tcp(),
    ETHER / _V4 / ICMP(type=8, code=0, id=1, seq=2) / b"ping",
    _quoting(),
    ETHER / IP(src=CLIENT, dst=SERVER, ttl=1, options=[IPOption_NOP(), IPOption_Timestamp()]) / UDP(sport=1, dport=2),
    ETHER / IP(src=CLIENT, dst=SERVER, id=9, flags="MF") / UDP(sport=5, dport=6, len=48, chksum=0) / bytes(16),
    ETHER / IP(src=CLIENT, dst=SERVER, id=9, flags="MF", frag=3, proto=17) / bytes(16),
    ETHER / IP(src=CLIENT, dst=SERVER, id=9, frag=5, proto=17) / bytes(8),
    ETHER / IP(src=CLIENT, dst=SERVER, proto=132) / bytes(20),
    ETHER / Dot1Q(vlan=100) / _V4 / UDP(sport=7, dport=8) / b"tagged",
    ETHER / Dot1AD(vlan=200) / Dot1Q(vlan=100) / _V6 / _SYN,
    ETHER / _V6 / _CHAIN / UDP(sport=9, dport=10) / b"after the chain",
    ETHER / _V6 / IPv6ExtHdrFragment(m=1, id=3) / UDP(sport=11, dport=12, len=40, chksum=1) / bytes(16),
    ETHER / _V6 / IPv6ExtHdrFragment(offset=3, id=3, nh=17) / bytes(16),
    ETHER / _V6 / ICMPv6EchoRequest(id=1, seq=2, data=b"ping"),
    ETHER
    / IPv6(src=CLIENT6, dst="ff02::1:ff00:10")
    / ICMPv6ND_NS(tgt=SERVER6)
    / ICMPv6NDOptSrcLLAddr(lladdr=ETHER.src),
    ETHER / _V6 / _TO_DNS / _QUESTION,
)

SEEDS: dict[str, tuple[int, list[bytes]]] = {
    "EN10MB": (1, [bytes(packet) for packet in _ETHERNET]),
    "LINUX_SLL": (113, [sll(_V4 / _SYN, 0x0800), sll(_V6 / _TO_DNS / _QUESTION, 0x86DD)]),
    "LINUX_SLL2": (276, [sll2(_V4 / _DATA, 0x0800), sll2(_V6 / _FROM_DNS / _RESPONSE, 0x86DD, interface=0)]),
    "RAW": (101, [bytes(_V4 / _SYN), bytes(_V6 / _CHAIN / _FROM_DNS / _RESPONSE)]),
    "NULL": (0, [b"\2\0\0\0" + bytes(_V4 / _SYN), b"\0\0\0\x1e" + bytes(_V6 / _TO_DNS / _QUESTION)]),
    "LOOP": (108, [b"\0\0\0\2" + bytes(_V4 / _DATA), b"\0\0\0\x18" + bytes(_V6 / _SYN)]),
    "PPP": (
        9,
        [
            b"\xff\x03\0\x21" + bytes(_V4 / _SYN),
            b"\0\x57" + bytes(_V6 / _SYN),
            b"\x21" + bytes(_V4 / _DATA),
            b"\xff\x03\xc0\x21\1\1\0\4",
        ],
    ),
    "PPP_HDLC": (50, [b"\xff\x03\0\x21" + bytes(_V4 / _SYN), b"\x0f\0\x08\0" + bytes(_V4 / _DATA)]),
}
"""Linktype and packets that between them reach every branch of the dissector that whole packets can reach."""


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def client_hello(name: bytes = b"web.demo.svc", more: bytes = b"") -> bytes:
    """Return a TLS record with a ClientHello that offers TLS 1.3, and h2."""
    extensions = _extension(0x0A0A, b"") + _extension(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name)
    extensions += _extension(16, b"\0\x0c\x02h2\x08http/1.1") + _extension(43, b"\6\x1a\x1a\3\4\3\3") + more
    body = b"\3\3" + bytes(32) + b"\x20" + bytes(32) + b"\0\4\x13\1\x13\2" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    return b"\x16\3\1" + struct.pack("!HB", len(body) + 4, 1) + len(body).to_bytes(3, "big") + body


def server_hello() -> bytes:
    """Return a TLS record with a ServerHello that chooses TLS 1.3."""
    extensions = _extension(43, b"\3\4")
    body = b"\3\3" + bytes(32) + b"\0\x13\1\0" + struct.pack("!H", len(extensions)) + extensions
    return b"\x16\3\3" + struct.pack("!HB", len(body) + 4, 2) + len(body).to_bytes(3, "big") + body


def quic(version: int = 1, destination: bytes = b"\1\2\3\4\5\6\7\x08", source: bytes = b"\x09\x0a") -> bytes:
    """Return the start of a QUIC packet with a long header."""
    head = struct.pack("!BIB", 0xC3, version, len(destination)) + destination + bytes([len(source)]) + source
    return head + b"\0\x20" + bytes(32)


def _layered() -> dict[str, bytes]:
    from scapy.contrib.geneve import GENEVE, GeneveOptions
    from scapy.contrib.mpls import MPLS
    from scapy.layers.inet6 import ICMPv6DestUnreach
    from scapy.layers.l2 import GRE
    from scapy.layers.ppp import PPP, PPPoE
    from scapy.layers.sctp import SCTP, SCTPChunkInit
    from scapy.layers.vxlan import VXLAN

    inner4 = IP(src="192.168.1.1", dst="192.168.1.2") / TCP(sport=1000, dport=2000, flags="S", seq=5)
    inner6 = IPv6(src="fd01::1", dst="fd01::2") / UDP(sport=1001, dport=2001) / b"inside"
    link = Ether(src="02:00:00:00:01:01", dst="02:00:00:00:01:02")
    web = TCP(sport=40000, dport=443, flags="PA")
    packets = {
        "IP in IP": ETHER / _V4 / inner4,
        "IPv6 in IP": ETHER / _V4 / inner6,
        "IP in IPv6": ETHER / _V6 / inner4,
        "GRE": ETHER / _V4 / GRE(key_present=1, key=0x01020304, seqnum_present=1, chksum_present=1) / inner6,
        "GRE Ethernet": ETHER / _V4 / GRE(proto=0x6558) / link / Dot1Q(vlan=5) / inner4,
        "VXLAN": ETHER / _V4 / UDP(sport=5555, dport=4789) / VXLAN(vni=4097) / link / inner4,
        "VXLAN of Linux": ETHER / _V6 / UDP(sport=5555, dport=8472) / VXLAN(vni=1) / link / inner6,
        "GENEVE": ETHER
        / _V4
        / UDP(sport=5555, dport=6081)
        / GENEVE(vni=77, proto=0x6558, options=[GeneveOptions(data=b"1234")])
        / link
        / inner4,
        "two tunnels": ETHER / _V4 / GRE() / IP(src="1.1.1.1", dst="2.2.2.2") / inner4,
        "VXLAN ARP": ETHER
        / _V4
        / UDP(sport=5555, dport=4789)
        / VXLAN(vni=9)
        / link
        / ARP(psrc="9.9.9.1", pdst="9.9.9.2"),
        "IPv6 chain": ETHER / _V4 / IPv6(src="fd01::1", dst="fd01::2") / _CHAIN / UDP(sport=1001, dport=2001),
        "IPv6 fragment": ETHER / _V4 / IPv6(src="fd01::1") / IPv6ExtHdrFragment(offset=3, nh=17) / bytes(8),
        "VXLAN in GRE": ETHER
        / _V4
        / GRE()
        / IP(src="1.1.1.1", dst="2.2.2.2")
        / UDP(sport=5555, dport=4789)
        / VXLAN()
        / link
        / inner4,
        "GENEVE in IP": ETHER / _V4 / IP() / UDP(sport=5555, dport=6081) / GENEVE(vni=7, proto=0x6558) / link / inner6,
        "ICMP error": _quoting(),
        "ICMPv6 error": ETHER / _V6 / ICMPv6DestUnreach() / IPv6(src=SERVER6, dst=CLIENT6) / UDP(sport=9, dport=8),
        "MPLS": ETHER / MPLS(label=100, s=0) / MPLS(label=200, s=1) / _V4 / UDP(sport=7, dport=8),
        "MPLS IPv6": ETHER / MPLS(label=100, s=1) / _V6 / _SYN,
        "PPPoE": ETHER / PPPoE(sessionid=0x1234) / PPP(proto=0x21) / _V4 / UDP(sport=7, dport=8),
        "PPPoE IPv6": ETHER / PPPoE(sessionid=1) / PPP(proto=0x57) / _V6 / _SYN,
        "SCTP": ETHER / _V4 / SCTP(sport=38412, dport=38413, tag=0xDEADBEEF) / SCTPChunkInit(),
        "IGMP": ETHER / IP(src=CLIENT, dst="224.0.0.22", ttl=1, proto=2) / b"\x16\0\0\0\xef\1\2\3",
        "ClientHello": ETHER / _V4 / web / client_hello(),
        "ServerHello": ETHER / _V4 / TCP(sport=443, dport=40000, flags="PA") / server_hello(),
        "request": ETHER
        / _V4
        / TCP(sport=40000, dport=80, flags="PA")
        / b"GET /a?b=c HTTP/1.1\r\nAccept: */*\r\nhOst:  web.demo:80\r\n\r\n",
        "response": ETHER / _V4 / TCP(sport=80, dport=40009, flags="PA") / b"HTTP/1.1 404 Not Found\r\n\r\n",
        "QUIC": ETHER / _V4 / UDP(sport=40000, dport=443) / quic(),
    }
    return {name: bytes(packet) for name, packet in packets.items()}


LAYERED: dict[str, bytes] = _layered()
"""Ethernet packets that between them reach every branch of the layers that are read where they are asked for."""
