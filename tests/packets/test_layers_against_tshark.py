"""Tunnels, labels and applications behind every link type: each column equals what tshark reads of the same headers.

tshark lists the fields of all headers of a packet, our columns are those of the outermost (or with `decap=True` of the
innermost) packet: `frame.protocols` tells which of tshark's are.
"""

from __future__ import annotations

import csv
import io
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scapy.contrib.geneve import GENEVE
from scapy.contrib.mpls import MPLS
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.layers.vxlan import VXLAN

from podtracer_nb.packets import schema
from tests.machine import needs
from tests.packets.captures import CLIENT, CLIENT6, ETHER, LAYERED, SEEDS, SERVER, SERVER6, capture, client_hello, quic
from tests.packets.test_against_tshark import protocol, theirs

pytestmark = needs("tshark")

V4, V6 = IP(src=CLIENT, dst=SERVER, id=9, ttl=61), IPv6(src=CLIENT6, dst=SERVER6, hlim=62)
INNER4 = IP(src="192.168.1.1", dst="192.168.1.2", ttl=3) / TCP(sport=1000, dport=2000, flags="SA", seq=5, ack=6)
INNER6 = IPv6(src="fd01::1", dst="fd01::2", hlim=4) / UDP(sport=1001, dport=2001) / b"inside"
WEB = TCP(sport=40000, dport=443, flags="PA", seq=77, ack=78)
MDNS = UDP(sport=5353, dport=5353)


def old_hello(version: bytes, extensions: bytes = b"") -> bytes:
    """Return a ClientHello that offers no newer version than the one in its header."""
    body = version + bytes(32) + b"\0" + b"\0\2\0\x2f" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions if extensions else b""
    return b"\x16\3\1" + struct.pack("!HB", len(body) + 4, 1) + len(body).to_bytes(3, "big") + body


def old_server_hello(alpn: bytes) -> bytes:
    extensions = struct.pack("!HHHB", 16, len(alpn) + 3, len(alpn) + 1, len(alpn)) + alpn
    body = b"\3\3" + bytes(32) + b"\0\xc0\x2f\0" + struct.pack("!H", len(extensions)) + extensions
    return b"\x16\3\3" + struct.pack("!HB", len(body) + 4, 2) + len(body).to_bytes(3, "big") + body


MORE = {
    "mDNS query": V4 / MDNS / DNS(id=0, qd=DNSQR(qname="web.local", qtype="PTR")),
    "mDNS response": V6 / MDNS / DNS(qr=1, aa=1, qd=[], an=DNSRR(rrname="web.local", rdata=SERVER)),
    "time exceeded": IP(src=SERVER, dst=CLIENT) / ICMP(type=11, code=0) / V4 / TCP(sport=40000, dport=80, seq=3),
    "source quench of ICMP": IP(src=SERVER, dst=CLIENT) / ICMP(type=4) / V4 / ICMP(type=8, id=3, seq=4),
    "too big": V6 / ICMPv6PacketTooBig(mtu=1280) / IPv6(src=SERVER6, dst=CLIENT6) / TCP(sport=80, dport=40000),
    # Each in a connection of its own: tshark dissects nothing that looks sent again.
    "SSL 3.0": V4 / TCP(sport=40011, dport=443, flags="PA") / old_hello(b"\3\0"),
    "TLS 1.2": V6 / WEB / old_hello(b"\3\3", struct.pack("!HHHBH", 0, 8, 6, 0, 3) + b"a.b"),
    "TLS 1.2, chosen": V4 / TCP(sport=443, dport=40012, flags="PA") / old_server_hello(b"http/1.1"),
    "TLS elsewhere": V4 / TCP(sport=40000, dport=8443, flags="PA") / client_hello(b"other.port"),
    "HEAD": V6 / TCP(sport=40001, dport=80, flags="PA") / b"HEAD / HTTP/1.0\r\n\r\n",
    "POST": V4 / TCP(sport=40002, dport=80, flags="PA") / b"POST /x HTTP/1.1\r\nHost: [fd00::1]\r\nA: b\r\n\r\n{}",
    "HTTP 100": V4 / TCP(sport=80, dport=40003, flags="PA") / b"HTTP/1.1 100 Continue\r\n\r\n",
    "QUIC 2": V6 / UDP(sport=40000, dport=443) / quic(0x6B3343CF, b"\1" * 20, b""),
    "SCTP over IPv6": V6 / SCTP(sport=5, dport=6, tag=7) / SCTPChunkInit(),
    "IGMP 3": IP(src=CLIENT, dst="224.0.0.22", proto=2, options=b"\x94\4\0\0")
    / b"\x22\0\0\0\0\0\0\1\4\0\0\0\xef\1\2\3",
    "IGMP query": IP(src=CLIENT, dst="224.0.0.1", ttl=1, proto=2) / b"\x11\x64\0\0\0\0\0\0",
    "GRE key": V6 / GRE(key_present=1, key=0xFFFFFFFE) / INNER4,
    "GRE without": V4 / GRE() / INNER6,
    "GRE of MPLS": V4 / GRE(proto=0x8847) / MPLS(label=5, s=1) / INNER4,
    "VXLAN of ARP": V6 / UDP(sport=5, dport=4789) / VXLAN(vni=3) / Ether() / ARP(psrc="9.9.9.1", pdst="9.9.9.2"),
    "GENEVE of IP": V4 / UDP(sport=5, dport=6081) / GENEVE(vni=2**24 - 1, proto=0x0800) / INNER4,
    "GENEVE of IPv6": V6 / UDP(sport=5, dport=6081) / GENEVE(vni=0, proto=0x86DD) / INNER6,
    "IPv6 in IPv6": V6 / IPv6ExtHdrHopByHop() / INNER6,
    "DNS in IP": V4 / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=4, dport=53) / DNS(qd=DNSQR(qname="a.b")),
    "TLS in VXLAN": V4 / UDP(sport=5, dport=4789) / VXLAN(vni=8) / Ether() / V6 / WEB / client_hello(b"inside"),
}  # fmt: skip
LABELLED = {
    "PPPoE LCP": ETHER / PPPoE(sessionid=3) / PPP(proto=0xC021) / b"\1\1\0\4",
    "MPLS of three": ETHER / MPLS(label=2**20 - 1, s=0) / MPLS(label=1, s=0) / MPLS(label=17, s=1) / V6 / WEB,
}
# Every packet as (EtherType, what follows it).
PACKETS: dict[str, tuple[int, bytes]] = {
    **{name: (int.from_bytes(data[12:14], "big"), data[14:]) for name, data in LAYERED.items()},
    **{name: (0x0800 if isinstance(each, IP) else 0x86DD, bytes(each)) for name, each in MORE.items()},
    **{name: (int.from_bytes(bytes(each)[12:14], "big"), bytes(each)[14:]) for name, each in LABELLED.items()},
}
MACS = bytes(ETHER)[:12]
FAMILY = {0x0800: 2, 0x86DD: 30}
PPP_KIND = {0x0800: b"\0\x21", 0x86DD: b"\0\x57"}
LINKS: dict[str, tuple[int, Callable[[int], bytes | None]]] = {
    "EN10MB": (1, lambda kind: MACS + kind.to_bytes(2, "big")),
    "802.1Q": (1, lambda kind: MACS + b"\x81\0\0\x64" + kind.to_bytes(2, "big")),
    "802.1ad": (1, lambda kind: MACS + b"\x88\xa8\0\x65\x81\0\0\x64" + kind.to_bytes(2, "big")),
    "LINUX_SLL": (113, lambda kind: struct.pack("!HHH8sH", 4, 1, 6, MACS[6:] + b"\0\0", kind)),
    "LINUX_SLL2": (276, lambda kind: struct.pack("!HHIHBB8s", kind, 0, 7, 1, 4, 6, MACS[6:] + b"\0\0")),
    "RAW": (101, lambda kind: b"" if kind in FAMILY else None),
    "NULL": (0, lambda kind: FAMILY[kind].to_bytes(4, "little") if kind in FAMILY else None),
    "LOOP": (108, lambda kind: FAMILY[kind].to_bytes(4, "big") if kind in FAMILY else None),
    "PPP": (9, lambda kind: b"\xff\3" + PPP_KIND[kind] if kind in FAMILY else None),
    "PPP without HDLC": (9, PPP_KIND.get),
    "Cisco HDLC": (50, lambda kind: b"\x0f\0" + kind.to_bytes(2, "big") if kind in FAMILY else None),
    "IPV4": (228, lambda kind: b"" if kind == 0x0800 else None),
    "IPV6": (229, lambda kind: b"" if kind == 0x86DD else None),
}

EVERY = [column for columns in (schema.COLUMNS, *schema.LAYERS.values()) for column in columns if column.wireshark]
FIELDS = sorted(
    {field for column in EVERY for field in column.wireshark.split()} | {"frame.protocols", "ieee8021ad.id"}
)
FIELDS += ["tls.handshake.version", "tls.handshake.extensions.supported_version"]
NETWORKS = {"ip", "ipv6", "arp"}
# Wireshark's name of a protocol in frame.protocols, where its fields have another.
NAMED = {"pppoe": {"pppoes", "pppoe"}, "dns": {"dns", "mdns"}, "vxlan": {"vxlan"}, "eth": {"eth"}}
VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}

# (column, packet) → why the two differ on purpose.
EXCEPTIONS = {("igmp_group", "IGMP 3"): "a report of version 3 has several groups, and the column none of them"}
# Tunnels that `decap=True` leaves closed → why.
CLOSED = {"GRE of MPLS": "a provider's label stack inside GRE (RFC 4023): only IP and Ethernet inside are opened"}


def tshark(path: Path, occurrence: str) -> list[dict[str, str]]:
    options = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE"]
    options += ["tcp.relative_sequence_numbers:FALSE", "tls.desegment_ssl_records:FALSE"]
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", f"occurrence={occurrence}", "-E", "header=y"]
    argv += ["-E", "quote=d", "-E", "aggregator= "]
    for kind in ("udp.port==8472,vxlan", "udp.port==443,quic", "tcp.port==8443,tls"):
        argv += ["-d", kind]
    argv += [part for option in options for part in ("-o", option)]
    argv += [part for field in FIELDS for part in ("-e", field)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))


def outermost(protocols: list[str]) -> set[str]:
    """Return the protocols ahead of the packet inside: what is behind the first network layer has no other."""
    seen = False
    for at, name in enumerate(protocols):
        if seen and name in {*NETWORKS, "eth", "mpls"}:
            return set(protocols[:at])
        seen = seen or name in NETWORKS
    return set(protocols)


def innermost(protocols: list[str]) -> set[str]:
    """Return the protocols of the packet inside: from the last network layer on."""
    last = max((at for at, name in enumerate(protocols) if name in NETWORKS), default=0)
    return set(protocols[last:])


def of(packet: dict[str, str], there: set[str]) -> dict[str, str]:
    """Return a packet's fields of some protocols only."""
    kept = {}
    for field, value in packet.items():
        prefix = field.split(".")[0]
        kept[field] = value if prefix == "frame" or NAMED.get(prefix, {prefix}) & there else ""
    return kept


def expected(column: schema.Column, packet: dict[str, str]) -> Any:
    """Return what tshark says of a column, as the column has it."""
    if column.name == "tls_type":
        return {"1": "ClientHello", "2": "ServerHello"}.get(packet["tls.handshake.type"])
    value = theirs(column, packet)
    return value.replace(":", "") if value is not None and column.name in {"quic_dcid", "quic_scid"} else value


@pytest.fixture(scope="module", params=LINKS)
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a capture of every packet that the link type can carry, and their names."""
    linktype, head = LINKS[request.param]
    carried = {name: head(kind) for name, (kind, _) in PACKETS.items()}
    names = [name for name, ahead in carried.items() if ahead is not None]
    path = tmp_path_factory.mktemp("layers") / "x.pcap"
    path.write_bytes(capture([(carried[name] or b"") + PACKETS[name][1] for name in names], linktype))
    return path, names


def compare(
    frame: pd.DataFrame, names: list[str], said: list[dict[str, str]], columns: list[schema.Column], part: Any
) -> list[str]:
    """Return each difference in a line."""
    wrong = []
    assert len(frame) == len(said) == len(names)
    for name, number, whole in zip(names, frame.index, said, strict=True):
        packet = of(whole, part(whole["frame.protocols"].split(":")))
        for column in columns:
            ours = frame.loc[number, column.name]
            ours = None if pd.isna(ours) else ours
            if (column.name, name) in EXCEPTIONS or (
                column.name == "tls_cipher" and packet["tls.handshake.type"] == "1"
            ):
                assert ours is None
                continue
            if column.name == "dns_rcode" and not ours:
                assert packet["dns.flags.response"] in {"", "0", "False"}
                continue
            if column.name == "proto":
                protocol(ours, packet)
                continue
            if ours != expected(column, packet):
                wrong.append(f"{name}: {column.name} is {ours!r}, tshark has {expected(column, packet)!r}")
    return wrong


def test_every_column_of_the_outermost_packet(
    read: Callable[..., pd.DataFrame], captured: tuple[Path, list[str]]
) -> None:
    path, names = captured
    frame = read(path, layers=list(schema.LAYERS))
    assert frame["error"].isna().all(), frame["error"].dropna()
    assert compare(frame, names, tshark(path, "f"), EVERY, outermost) == []


OF_IP = {"src", "dst", "ip_version", "ip_ttl", "ip_id", "sport", "dport", "payload_length", "arp_op"}
OPENED = [column for column in EVERY if column.name in OF_IP or column.name.startswith(("tcp_", "dns_", "icmp_"))]


def test_every_column_of_the_innermost_packet(
    read: Callable[..., pd.DataFrame], captured: tuple[Path, list[str]]
) -> None:
    path, names = captured
    frame = read(path, layers=list(schema.LAYERS), decap=True)
    # What an error quotes is no packet inside.
    tunnelled = (frame["tunnel"] != "ICMP error").fillna(True) & ~frame["proto"].isin(["ICMP", "ICMPv6"])
    tunnelled &= pd.Series([name not in CLOSED for name in names], index=frame.index)
    chosen = [name for name, there in zip(names, tunnelled, strict=True) if there]
    said = [each for each, there in zip(tshark(path, "l"), tunnelled, strict=True) if there]
    assert compare(frame[tunnelled.to_numpy(bool)], chosen, said, OPENED, innermost) == []


def test_what_icmp_errors_quote(read: Callable[..., pd.DataFrame], captured: tuple[Path, list[str]]) -> None:
    path, names = captured
    frame = read(path, layers=["tunnel"])
    quoted = (frame["tunnel"] == "ICMP error").fillna(False).to_numpy(bool)
    assert quoted.sum() >= (1 if "ICMPv6 error" in names else 0) + (1 if "ICMP error" in names else 0)
    for number, said in zip(
        frame.index[quoted], [s for s, q in zip(tshark(path, "l"), quoted, strict=True) if q], strict=True
    ):
        row = frame.loc[number]
        version = "ip" if row["ip_version"] == 4 else "ipv6"
        assert (row["inner_src"], row["inner_dst"]) == (said[f"{version}.src"], said[f"{version}.dst"])
        ports = [None if pd.isna(row[f"inner_{end}"]) else str(row[f"inner_{end}"]) for end in ("sport", "dport")]
        there = [said[f"tcp.{end}port"] or said[f"udp.{end}port"] or None for end in ("src", "dst")]
        assert ports == there


def test_the_newest_version_of_tls(read: Callable[..., pd.DataFrame], captured: tuple[Path, list[str]]) -> None:
    path, names = captured
    frame = read(path, columns=["tls_version"])
    found = 0
    for name, number, whole in zip(names, frame.index, tshark(path, "a"), strict=True):
        said = of(whole, outermost(whole["frame.protocols"].split(":")))
        offered = [int(each, 0) for each in said["tls.handshake.extensions.supported_version"].split()]
        versions = [each for each in offered if each in VERSIONS] or [
            int(v, 0) for v in said["tls.handshake.version"].split()
        ]
        ours = frame["tls_version"].loc[number]
        assert (None if pd.isna(ours) else ours) == (VERSIONS[max(versions)] if versions else None), name
        found += bool(versions)
    assert found >= 1


def test_no_column_with_a_field_of_wireshark_s_stays_without_a_comparison() -> None:
    """Each of them is compared on packets that have it: here, or by the seeds' test."""
    from podtracer_nb import packets

    values: set[str] = set()
    for data in (
        capture([MACS + kind.to_bytes(2, "big") + data for kind, data in PACKETS.values()]),
        *(capture(seeds, linktype) for linktype, seeds in SEEDS.values()),
    ):
        frame = packets.read(data, layers=list(schema.LAYERS))
        values |= {name for name in frame.columns if frame[name].notna().any()}
    assert {column.name for column in EVERY} <= values
