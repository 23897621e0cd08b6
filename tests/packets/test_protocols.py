"""What each protocol puts into the packet table, as written by hand from what scapy was told to send."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from podtracer_nb import packets
from podtracer_nb.packets import schema
from tests.packets.captures import CLIENT, CLIENT6, ETHER, SEEDS, SERVER, SERVER6, capture, header, record, sll, sll2

Read = Callable[..., pd.DataFrame]
V4, V6 = IP(src=CLIENT, dst=SERVER, id=7, ttl=63), IPv6(src=CLIENT6, dst=SERVER6, hlim=62)
PORTS = {"sport": 5000, "dport": 6000}


def one(read: Read, packet: Packet | bytes, linktype: int = 1) -> dict[str, Any]:
    """Read a capture of one packet; return the columns that are there."""
    frame = read(capture([packet], linktype))
    assert len(frame) == 1
    return {name: value for name, value in frame.iloc[0].items() if not pd.isna(value)}


def has(row: dict[str, Any], **values: Any) -> bool:
    wrong = {name: row.get(name) for name, value in values.items() if row.get(name) != value}
    assert not wrong
    return True


def lacks(row: dict[str, Any], *names: str) -> bool:
    assert not set(names) & set(row)
    return True


# ------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize("name", SEEDS)
def test_columns_and_dtypes_are_the_schema_s(read: Read, name: str) -> None:
    linktype, packets = SEEDS[name]
    for chosen in (packets, []):
        frame = read(capture(chosen, linktype))
        assert [(c, str(t)) for c, t in frame.dtypes.items()] == [(c.name, c.dtype) for c in schema.COLUMNS]
        assert frame.index.name == schema.INDEX
        assert frame.index.tolist() == list(range(1, len(chosen) + 1))


def test_source_and_destination_share_one_dictionary(read: Read) -> None:
    frame = read(capture(SEEDS["EN10MB"][1]))
    assert frame["src"].dtype == frame["dst"].dtype
    assert frame["eth_src"].dtype == frame["eth_dst"].dtype
    there = [SERVER, CLIENT]
    assert (frame["src"] == frame["dst"]).sum() == 0
    assert set(there) <= set(frame["src"].cat.categories)


def test_what_a_packet_lacks_is_na(read: Read) -> None:
    row = one(read, ETHER / V4 / UDP(**PORTS))
    assert set(row) == {
        *("time", "length", "caplen", "offset", "eth_src", "eth_dst", "ethertype", "src", "dst", "proto"),
        *("ip_version", "ip_ttl", "ip_id", "sport", "dport", "payload_length"),
    }


def test_a_value_of_zero_is_a_value(read: Read) -> None:
    tcp = TCP(sport=0, dport=0, seq=0, ack=0, window=0, flags="", options=[("Timestamp", (0, 0)), ("WScale", 0)])
    row = one(
        read,
        Ether(src="00:00:00:00:00:00", dst="00:00:00:00:00:00") / IP(src="0.0.0.0", dst="0.0.0.0", id=0, ttl=0) / tcp,
    )
    has(row, eth_src="00:00:00:00:00:00", src="0.0.0.0", ip_ttl=0, ip_id=0, sport=0, dport=0, payload_length=0)
    has(row, tcp_flags="", tcp_seq=0, tcp_ack=0, tcp_window=0, tcp_tsval=0, tcp_tsecr=0, tcp_wscale=0)
    has(one(read, ETHER / V4 / ICMP(type=0, code=0)), icmp_type=0, icmp_code=0)


def test_the_largest_values_fit(read: Read) -> None:
    options = [
        ("MSS", 0xFFFF),
        ("WScale", 0xFF),
        ("Timestamp", (0xFFFFFFFF, 0xFFFFFFFE)),
        ("SAck", (0xFFFFFFFD, 0xFFFFFFFC)),
    ]
    tcp = TCP(sport=0xFFFF, dport=0xFFFE, seq=0xFFFFFFFF, ack=0xFFFFFFFE, window=0xFFFF, flags=0x1FF, options=options)
    row = one(read, Ether(src="ff:ff:ff:ff:ff:ff") / IP(src="255.255.255.255", dst=SERVER, id=0xFFFF, ttl=255) / tcp)
    has(
        row,
        sport=0xFFFF,
        dport=0xFFFE,
        tcp_seq=0xFFFFFFFF,
        tcp_ack=0xFFFFFFFE,
        tcp_window=0xFFFF,
        tcp_flags="FSRPAUECN",
    )
    has(row, tcp_mss=0xFFFF, tcp_wscale=0xFF, tcp_tsval=0xFFFFFFFF, tcp_tsecr=0xFFFFFFFE)
    has(row, tcp_sack_left=0xFFFFFFFD, tcp_sack_right=0xFFFFFFFC, ip_ttl=255, ip_id=0xFFFF, src="255.255.255.255")
    both = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    has(one(read, ETHER / IPv6(src=both, dst=both, hlim=255) / UDP(**PORTS)), src=both, dst=both, ip_ttl=255)


# ---------------------------------------------------------------------------------------- records and times


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("unit", "resolution"), [(1000, "us"), (1, "ns")])
def test_byte_orders_and_resolutions(read: Read, order: str, unit: int, resolution: str) -> None:
    data = bytes(ETHER / V4 / UDP(**PORTS))
    frame = read(
        header(1, order, unit, snaplen=96)
        + record(data, order=order, seconds=1_700_000_000, fraction=999_999, length=1500)
        + record(data, order=order, seconds=0xFFFFFFFF, fraction=1)
    )
    assert [t.value for t in frame["time"]] == [1_700_000_000 * 10**9 + 999_999 * unit, 0xFFFFFFFF * 10**9 + unit]
    assert frame["length"].tolist() == [1500, 42]
    assert frame["caplen"].tolist() == [42, 42]
    assert frame["offset"].tolist() == [40, 98]
    info = frame.attrs["podtracer"]["capture"]
    assert info["byte_order"] == {"<": "little", ">": "big"}[order]
    assert (info["resolution"], info["snaplen"], info["linktype"], info["packets"]) == (resolution, 96, 1, 2)
    assert info["damage"] is None


def test_a_linktype_not_known_keeps_times_and_lengths(read: Read) -> None:
    with pytest.warns(packets.LinktypeWarning, match=r"USER0 \(147\)") as caught:
        row = one(read, b"whatever", linktype=147)
    assert len(caught) == 1
    assert set(row) == {"time", "length", "caplen", "offset", "error"}
    has(row, length=8, caplen=8, error="unsupported link type")


@pytest.mark.parametrize("keep", range(1, 98, 3))
def test_a_packet_cut_by_the_snaplen_keeps_what_is_whole(read: Read, keep: int) -> None:
    packet = SEEDS["EN10MB"][1][8]
    whole = read(capture([packet]))
    cut = read(header() + record(packet, fraction=0, keep=keep))
    there = [name for name in cut.columns if name not in {"caplen", "error"} and not pd.isna(cut[name].iloc[0])]
    pd.testing.assert_frame_equal(cut[there].astype(object), whole[there].astype(object))
    # A question ends where the answers begin, and those have no column.
    question = 14 + 20 + 8 + 12 + 28 + 4
    assert (cut["error"].iloc[0] == "truncated") == (keep < question)


# ---------------------------------------------------------------------------------------------- link layers


def test_ethernet(read: Read) -> None:
    row = one(read, ETHER / V4 / UDP(**PORTS))
    has(row, eth_src="02:00:00:00:00:14", eth_dst="02:00:00:00:00:10", ethertype=0x0800)


def test_an_ethertype_without_columns_is_kept(read: Read) -> None:
    has(one(read, Ether(type=0x88B5) / b"experiment"), ethertype=0x88B5)
    has(one(read, Ether(type=0x88CC) / b"\0\0"), ethertype=0x88CC, proto="LLDP")
    row = one(read, Ether(type=0x0026) / b"\x42\x42\x03")
    lacks(row, "ethertype", "src")
    has(row, proto="LLC")


def test_a_vlan_tag(read: Read) -> None:
    has(one(read, ETHER / Dot1Q(vlan=100, prio=7) / V4 / UDP(**PORTS)), vlan=100, ethertype=0x0800, src=CLIENT, **PORTS)


def test_stacked_vlan_tags_give_the_outermost(read: Read) -> None:
    row = one(read, ETHER / Dot1AD(vlan=4095) / Dot1Q(vlan=0) / V6 / UDP(**PORTS))
    has(row, vlan=4095, ethertype=0x86DD, src=CLIENT6, **PORTS)


def test_cooked_captures(read: Read) -> None:
    row = one(read, sll(V4 / UDP(**PORTS), 0x0800), 113)
    has(row, eth_src="02:00:00:00:00:14", ethertype=0x0800, src=CLIENT, **PORTS)
    lacks(row, "eth_dst", "interface", "error")


def test_cooked_captures_of_several_interfaces(read: Read) -> None:
    frame = read(capture([sll2(V6 / UDP(**PORTS), 0x86DD, n) for n in (7, 0xFFFFFFFF, 7)], 276))
    assert frame["interface"].tolist() == ["7", "4294967295", "7"]
    assert frame["src"].tolist() == [CLIENT6] * 3
    assert frame["eth_dst"].isna().all()


def test_more_interfaces_than_a_byte_numbers(read: Read) -> None:
    frame = read(capture([sll2(V4, 0x0800, n) for n in range(1000)], 276))
    assert frame["interface"].tolist() == [str(n) for n in range(1000)]


def test_cooked_addresses_of_other_sizes_are_no_mac_address(read: Read) -> None:
    lacks(one(read, sll(V4 / UDP(**PORTS), 0x0800, mac=b""), 113), "eth_src")
    lacks(one(read, sll2(V4 / UDP(**PORTS), 0x0800, mac=b"12345678"), 276), "eth_src")


@pytest.mark.parametrize("linktype", [12, 101, 228])
def test_raw_captures(read: Read, linktype: int) -> None:
    row = one(read, V4 / UDP(**PORTS), linktype)
    has(row, src=CLIENT, dst=SERVER, proto="UDP", **PORTS)
    lacks(row, "eth_src", "eth_dst", "ethertype", "error")
    has(one(read, V6 / UDP(**PORTS), 101), src=CLIENT6, ip_version=6)
    has(one(read, b"\x50" + bytes(40), 101), error="malformed IP")


# ------------------------------------------------------------------------------------------------- internet


def test_arp(read: Read) -> None:
    row = one(read, ETHER / ARP(op=1, psrc=CLIENT, pdst=SERVER))
    has(row, ethertype=0x0806, proto="ARP", arp_op="request", src=CLIENT, dst=SERVER)
    lacks(row, "ip_version", "ip_ttl", "sport", "error")
    has(one(read, ETHER / ARP(op=2, psrc=SERVER, pdst=CLIENT)), arp_op="reply", src=SERVER)
    lacks(one(read, ETHER / ARP(op=1, ptype=0x1234, psrc=CLIENT, pdst=SERVER)), "src", "dst", "error")


def test_ipv4(read: Read) -> None:
    row = one(read, ETHER / V4 / UDP(**PORTS))
    has(row, src=CLIENT, dst=SERVER, proto="UDP", ip_version=4, ip_ttl=63, ip_id=7)
    lacks(row, "ip_frag")
    has(one(read, ETHER / IP(src=CLIENT, dst=SERVER, proto=132) / bytes(12)), proto="SCTP")
    has(one(read, ETHER / IP(src=CLIENT, dst=SERVER, proto=253) / bytes(12)), proto="IP-253")


def test_ipv4_options_are_passed_over(read: Read) -> None:
    options = [IPOption_NOP() for _ in range(40)]
    has(
        one(read, ETHER / IP(src=CLIENT, dst=SERVER, options=options) / UDP(**PORTS) / b"four"),
        payload_length=4,
        **PORTS,
    )


def test_only_the_first_ipv4_fragment_has_ports(read: Read) -> None:
    def part(**fields: Any) -> Packet:
        return ETHER / IP(src=CLIENT, dst=SERVER, id=9, proto=17, **fields)

    udp = bytes(UDP(**PORTS, len=56)) + bytes(16)
    frame = read(
        capture(
            [part(flags="MF") / udp, part(flags="MF", frag=3) / udp, part(frag=6) / udp, part(flags="DF") / udp[:8]]
        )
    )
    assert frame["ip_frag"].tolist()[:3] == ["first", "middle", "last"]
    assert pd.isna(frame["ip_frag"].iloc[3])
    assert frame["sport"].isna().tolist() == [False, True, True, False]
    assert frame["dport"].isna().tolist() == [False, True, True, False]
    assert frame["payload_length"].iloc[0] == 48
    assert frame["proto"].tolist() == ["UDP"] * 4
    assert frame["error"].isna().tolist()[:3] == [True, True, True]


def test_total_length_zero_means_what_the_record_says(read: Read) -> None:
    row = one(read, ETHER / IP(src=CLIENT, dst=SERVER, len=0) / TCP(**PORTS) / bytes(70_000))
    has(row, payload_length=70_000, length=70_054, **PORTS)
    lacks(row, "error")


def test_padding_of_a_short_frame_is_no_payload(read: Read) -> None:
    packet = bytes(ETHER / V4 / TCP(**PORTS, flags="A"))
    has(one(read, packet.ljust(60, b"\0")), length=60, payload_length=0)


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (IP(ihl=4) / UDP(), "malformed IPv4"),
        (IP(version=5) / UDP(), "malformed IPv4"),
        (IP(len=19) / UDP(), "malformed IPv4"),
        (IP(len=2000) / UDP(), "malformed IPv4"),
        (IP() / UDP(len=7), "malformed UDP"),
        (IP() / UDP(len=900), "malformed UDP"),
        (IP() / TCP(dataofs=4), "malformed TCP"),
        (IP() / TCP(dataofs=15), "malformed TCP"),
        (IP(proto=6) / b"1234", "malformed TCP"),
        (IP(proto=17) / b"1234", "malformed UDP"),
        (IP(proto=1) / b"1", "malformed ICMP"),
    ],
)
def test_lengths_that_lie_are_named(read: Read, packet: Packet, error: str) -> None:
    has(one(read, ETHER / packet), error=error)


def test_ipv6(read: Read) -> None:
    row = one(read, ETHER / V6 / UDP(**PORTS))
    has(row, ethertype=0x86DD, src=CLIENT6, dst=SERVER6, proto="UDP", ip_version=6, ip_ttl=62, **PORTS)
    lacks(row, "ip_id", "ip_frag", "error")


def test_ipv6_extension_headers_are_walked(read: Read) -> None:
    row = one(read, ETHER / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(**PORTS) / b"four")
    has(row, proto="UDP", payload_length=4, **PORTS)
    lacks(row, "error")
    long = ETHER / V6
    for _ in range(100):
        long /= IPv6ExtHdrDestOpt()
    has(one(read, long / TCP(**PORTS)), proto="TCP", **PORTS)


def test_only_the_first_ipv6_fragment_has_ports(read: Read) -> None:
    def part(**fields: Any) -> Packet:
        return ETHER / V6 / IPv6ExtHdrFragment(id=3, nh=17, **fields) / Raw(udp)

    udp = bytes(UDP(**PORTS, len=72)) + bytes(16)
    frame = read(capture([part(m=1), part(m=1, offset=3), part(offset=6)]))
    assert frame["ip_frag"].tolist() == ["first", "middle", "last"]
    assert frame["sport"].isna().tolist() == [False, True, True]
    assert frame["proto"].tolist() == ["UDP"] * 3
    assert frame["error"].isna().all()
    # RFC 6946: an atomic fragment, whole with a fragment header, is no fragment.
    lacks(one(read, ETHER / V6 / IPv6ExtHdrFragment(id=3) / UDP(**PORTS)), "ip_frag")


# ------------------------------------------------------------------------------------------------ transport


@pytest.mark.parametrize("flags", ["S", "SA", "A", "PA", "FA", "R", "RA", "FPAU", "SEC", "FSRPAUECN"])
def test_tcp_flags_are_letters(read: Read, flags: str) -> None:
    has(one(read, ETHER / V4 / TCP(flags=flags)), tcp_flags=flags)


def test_tcp(read: Read) -> None:
    row = one(read, ETHER / V6 / TCP(**PORTS, seq=1, ack=2, window=3, flags="PA") / b"four")
    has(row, proto="TCP", tcp_seq=1, tcp_ack=2, tcp_window=3, payload_length=4, **PORTS)
    lacks(row, "tcp_mss", "tcp_wscale", "tcp_tsval", "tcp_tsecr", "tcp_sack_left", "tcp_sack_right", "error")


def test_tcp_options(read: Read) -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (3, 4)), ("NOP", None), ("WScale", 7)]
    row = one(read, ETHER / V4 / TCP(flags="S", options=options))
    has(row, tcp_mss=1460, tcp_tsval=3, tcp_tsecr=4, tcp_wscale=7)
    lacks(row, "tcp_sack_left", "error")
    row = one(read, ETHER / V4 / TCP(options=[("NOP", None), ("NOP", None), ("SAck", (10, 20, 30, 40))]))
    has(row, tcp_sack_left=10, tcp_sack_right=20)


def test_a_tcp_option_that_is_too_long_ends_the_options(read: Read) -> None:
    head = struct.pack("!HHIIBBHHH", 5000, 6000, 0, 0, 6 << 4, 0x10, 0, 0, 0)
    has(
        one(read, ETHER / IP(src=CLIENT, dst=SERVER, proto=6) / (head + b"\x02\x28\x05\xb4")),
        error="malformed TCP",
        **PORTS,
    )
    has(one(read, ETHER / IP(src=CLIENT, dst=SERVER, proto=6) / (head + b"\x02\x00\x05\xb4")), error="malformed TCP")
    lacks(one(read, ETHER / IP(src=CLIENT, dst=SERVER, proto=6) / (head + b"\x00\x02\x00\x05")), "error", "tcp_mss")


def test_udp(read: Read) -> None:
    has(one(read, ETHER / V4 / UDP(**PORTS) / b"payload"), proto="UDP", payload_length=7, **PORTS)


def test_icmp(read: Read) -> None:
    row = one(read, ETHER / V4 / ICMP(type=3, code=13) / V4 / UDP(**PORTS))
    has(row, proto="ICMP", icmp_type=3, icmp_code=13, src=CLIENT)
    lacks(row, "sport", "payload_length", "error")
    has(one(read, ETHER / V6 / ICMPv6EchoRequest()), proto="ICMPv6", icmp_type=128, icmp_code=0)


# ------------------------------------------------------------------------------------------------------ DNS


def dns(message: Packet | bytes) -> Packet:
    return ETHER / V4 / UDP(sport=40000, dport=53) / message


def test_a_dns_question(read: Read) -> None:
    row = one(read, dns(DNS(id=1, qd=DNSQR(qname="web.demo.svc", qtype="AAAA"))))
    has(row, dns_id=1, dns_qname="web.demo.svc", dns_qtype="AAAA", dns_response=False)
    lacks(row, "dns_rcode", "error")


@pytest.mark.parametrize(("code", "word"), [(0, "NOERROR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (15, "RCODE15")])
def test_a_dns_response(read: Read, code: int, word: str) -> None:
    row = one(read, dns(DNS(id=0, qr=1, rcode=code, qd=DNSQR(qname="a.b", qtype=65280))))
    has(row, dns_id=0, dns_qname="a.b", dns_qtype="TYPE65280", dns_response=True, dns_rcode=word)


def test_dns_over_tcp_and_multicast_dns(read: Read) -> None:
    message = bytes(DNS(id=5, qd=DNSQR(qname="a.b")))
    tcp = ETHER / V4 / TCP(sport=40000, dport=53, flags="PA") / (struct.pack("!H", len(message)) + message)
    has(one(read, tcp), dns_id=5, dns_qname="a.b")
    has(one(read, ETHER / V4 / UDP(sport=5353, dport=5353) / message), dns_qname="a.b")
    lacks(one(read, ETHER / V4 / UDP(sport=54, dport=54) / message), "dns_id")


def question(name: bytes) -> bytes:
    return struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"\0", "."),
        (b"\3www\7example\0", "www.example"),
        (b"\3a.b\4\\ \x00\xff\0", r"a\.b.\\\032\000\255"),
        (b"\x3f" + b"x" * 63 + b"\0", "x" * 63),
        ((b"\x3f" + b"y" * 63) * 3 + b"\x3d" + b"z" * 61 + b"\0", ".".join(["y" * 63] * 3 + ["z" * 61])),
    ],
)
def test_dns_names_are_presented_as_rfc_1035_says(read: Read, name: bytes, text: str) -> None:
    row = one(read, dns(question(name)))
    has(row, dns_qname=text, dns_qtype="A")
    lacks(row, "error")


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # to itself
        b"\xc0\x0e\xc0\x0c",  # to each other
        b"\1a\xc0\x0c",  # back over a label
        b"\xc0\xff",  # beyond the message
        b"\x40" + b"x" * 64 + b"\0",  # a label of 64 bytes
        (b"\x3f" + b"y" * 63) * 4 + b"\0",  # a name of 257 bytes
    ],
)
def test_a_name_that_loops_or_is_too_long_is_malformed(read: Read, name: bytes) -> None:
    row = one(read, dns(question(name)))
    has(row, dns_id=1, error="malformed DNS")
    lacks(row, "dns_qname", "dns_qtype")


def test_what_is_no_dns_on_port_53(read: Read) -> None:
    has(one(read, dns(b"hello")), error="malformed DNS", sport=40000, dport=53)


# --------------------------------------------------------------------------------------- many of everything


def test_more_addresses_names_and_words_than_narrow_codes_number(read: Read) -> None:
    packets = []
    for n in range(34_000):
        name = f"{n:x}".encode()
        message = (
            struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\0" + struct.pack("!HH", n, 1)
        )
        address = (0x0A000000 + n).to_bytes(4, "big")
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(message), 0, 0, 64, 17, 0) + address + b"\x0a\x58\0\x0a"
        mac = (0x020000000000 + n).to_bytes(6, "big")
        packets.append(
            b"\2\0\0\0\0\x10" + mac + b"\x08\0" + ip + struct.pack("!HHHH", 9, 53, 8 + len(message), 0) + message
        )
    frame = read(capture(packets))
    assert frame["dns_qname"].tolist() == [f"{n:x}" for n in range(34_000)]
    assert frame["src"].iloc[[0, 33_999]].tolist() == ["10.0.0.0", "10.0.132.207"]
    assert frame["src"].nunique() == frame["eth_src"].nunique() == 34_000
    assert set(frame["dst"]) == {SERVER}
    # Codes of words have 15 bits: what comes later stays NA instead of wrong.
    assert frame["dns_qtype"].iloc[[1, 28, 32_765]].tolist() == ["A", "AAAA", "TYPE32765"]
    assert frame["dns_qtype"].iloc[32_766:].isna().all()
    assert frame["error"].isna().all()
