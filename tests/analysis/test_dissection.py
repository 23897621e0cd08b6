"""`df.podtrace.packet`: scapy sees the layers that the table saw, behind every link type."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

import podtracer_nb
from tests.packets.captures import (
    CLIENT,
    CLIENT6,
    LAYERED,
    SEEDS,
    SERVER,
    SERVER6,
    capture,
    enhanced,
    interface,
    section,
)

V4 = IP(src=CLIENT, dst=SERVER) / TCP(sport=1, dport=2) / b"data"
V6 = IPv6(src=CLIENT6, dst=SERVER6) / UDP(sport=3, dport=4) / b"data"
RAW_SEEDS = SEEDS["RAW"][1]
HEADS = {
    0: [(b"\2\0\0\0", V4), (b"\0\0\0\2", V4)]
    + [(head, V6) for n in (10, 24, 28, 30) for head in (bytes([n, 0, 0, 0]), bytes([0, 0, 0, n]))],
    108: [(b"\0\0\0\2", V4), *((bytes([0, 0, 0, n]), V6) for n in (10, 24, 28, 30))],
    9: [*((head + b"\x21", V4) for head in (b"\xff\3\0", b"\0", b"", b"\xff\3")), (b"\xff\3\0\x57", V6), (b"\x57", V6)],
    50: [(b"\xff\3\0\x21", V4), (b"\xff\3\0\x57", V6), (b"\x0f\0\x08\0", V4), (b"\x8f\0\x86\xdd", V6), (b"\x57", V6)],
    113: [(bytes([0, 4, 3, 4, 0, 6]) + bytes(8) + b"\x08\0", V4), (b"\0\0\0\1\0\6" + bytes(8) + b"\x86\xdd", V6)],
    276: [(b"\x08\0" + bytes(18), V4), (b"\x86\xdd\0\0\0\0\0\7\0\1\4\6" + bytes(8), V6)],
    **{linktype: [(b"", V4), (b"", V6)] for linktype in (12, 14, 101)},
    228: [(b"", V4)],
    229: [(b"", V6)],
}


@pytest.mark.parametrize("linktype", HEADS)
def test_scapy_sees_what_the_table_saw(tmp_path: Path, linktype: int) -> None:
    sent = [head + bytes(packet) for head, packet in HEADS[linktype]]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(sent, linktype))
    frame = podtracer_nb.read_pcap(path)
    for number, data, (_, packet) in zip(frame.index, sent, HEADS[linktype], strict=True):
        found = frame.podtrace.packet(number)
        assert bytes(found) == data
        network = found[type(packet)]
        assert (network.src, network.dst) == (packet.src, packet.dst) == tuple(frame.loc[number, ["src", "dst"]])
        assert (network.payload.sport, network.payload.dport) == tuple(frame.loc[number, ["sport", "dport"]])
        assert network.payload.payload.load == b"data"


@pytest.mark.parametrize("name", SEEDS)
def test_every_packet_comes_back_byte_for_byte_with_its_addresses(tmp_path: Path, name: str) -> None:
    linktype, seeds = SEEDS[name]
    sent = [*seeds, *(each[:cut] for each in seeds for cut in (0, 1, 3, 5, 19))]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(sent, linktype))
    frame = podtracer_nb.read_pcap(path)
    for number, data in zip(frame.index, sent, strict=True):
        found = frame.podtrace.packet(number)
        assert bytes(found) == data
        if not pd.isna(frame.loc[number, "ip_version"]) and pd.isna(frame.loc[number, "error"]):
            network = found[IP if frame.loc[number, "ip_version"] == 4 else IPv6]
            assert (network.src, network.dst) == tuple(frame.loc[number, ["src", "dst"]])


def test_of_pcapng_each_interface_has_its_own_link_type(tmp_path: Path) -> None:
    links = [0, 276, 1, 101, 147]
    sent = [HEADS[0][0], HEADS[276][1], (b"", LAYERED["VXLAN"]), (b"", V6), (b"", b"of no known link type")]
    data = section() + b"".join(interface(link) for link in links)
    path = tmp_path / "x.pcapng"
    path.write_bytes(data + b"".join(enhanced(head + bytes(each), which=n) for n, (head, each) in enumerate(sent)))
    with pytest.warns(UserWarning, match="147"):
        frame = podtracer_nb.read_pcap(path)
    assert [frame.podtrace.packet(n).name for n in frame.index] == [
        "Loopback",
        "cooked linux v2",
        "Ethernet",
        "IPv6",
        "Raw",
    ]
    assert isinstance(frame.podtrace.packet(5), Raw)
