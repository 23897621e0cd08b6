"""Each field of a packet and the bytes that it was read from."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from podtracer_nb.notebook.widgets.packet_tree import read, tree

_TCP = (
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / Dot1Q(vlan=7)
    / IP(src="10.0.0.1", dst="10.0.0.2")
    / TCP(sport=4000, dport=80, seq=0x01020304, flags="PA", options=[("MSS", 1460)])
    / b"hello"
)
_DNS = Ether() / IP() / UDP(sport=53, dport=53) / DNS(
    id=0xABCD, qr=1, qd=DNSQR(qname="web.demo"), an=DNSRR(rrname="web.demo", rdata="10.0.0.3")
)  # fmt: skip


def test_a_field_knows_its_bytes():
    data = bytes(_TCP)
    nodes = tree(Ether(data), data)
    found = {(node.label): data[node.start : node.stop] for node in nodes if node.depth == 1}
    assert found["seq"] == b"\1\2\3\4"
    assert struct.unpack("!H", found["dport"]) == (80,)
    assert found["load"] == b"hello"
    assert found["options"] == b"\x02\x04\x05\xb4"
    layers = [(node.label, node.start, node.stop) for node in nodes if node.depth == 0]
    assert layers == [("Ethernet", 0, 14), ("802.1Q", 14, 18), ("IP", 18, 38), ("TCP", 38, 62), ("Raw", 62, 67)]


def test_fields_of_some_bits_have_the_bytes_that_hold_them():
    data = bytes(_TCP)
    nodes = {node.label: node for node in tree(Ether(data), data) if node.depth == 1}
    assert (nodes["vlan"].start, nodes["vlan"].stop) == (14, 16)
    assert (nodes["dataofs"].start, nodes["dataofs"].stop) == (50, 51)
    assert nodes["dataofs"].stop - nodes["dataofs"].start == 1


def test_records_inside_a_field_are_shown_below_it():
    data = bytes(_DNS)
    nodes = tree(Ether(data), data)
    text = [f"{node.label} {node.value}" for node in nodes if node.depth > 1]
    assert any("web.demo" in each for each in text) and any("10.0.0.3" in each for each in text)
    assert all(0 <= node.start <= node.stop <= len(data) for node in nodes)


@pytest.mark.parametrize("packet", [_TCP, _DNS], ids=["tcp", "dns"])
def test_a_packet_cut_anywhere_or_with_any_byte_wrong_has_a_tree_within_its_bytes(packet):
    whole = bytes(packet)
    broken = [whole[:size] for size in range(len(whole))]
    broken += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    for data in broken:
        nodes = read(lambda data=data: Ether(data), data)
        assert nodes and all(0 <= node.start <= node.stop <= len(data) for node in nodes), data.hex()
        assert all(len(node.value) < 300 for node in nodes)
