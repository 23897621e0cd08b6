"""Answers from a packet frame: conversations, rates, and each row's own bytes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

import podtracer_nb
from podtracer_nb.analysis import conversations, rate
from podtracer_nb.errors import CaptureError, InputError


def at(seconds: float, packet: Packet) -> Packet:
    packet.time = seconds
    return packet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    client, server = "10.0.0.1", "10.0.0.2"
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    packets = [
        at(100.0, ether / IP(src=client, dst=server) / TCP(sport=40000, dport=80, flags="S")),
        at(100.1, ether / IP(src=server, dst=client) / TCP(sport=80, dport=40000, flags="SA")),
        at(100.2, ether / IP(src=client, dst=server) / TCP(sport=40000, dport=80, flags="PA") / Raw(b"x" * 500)),
        at(101.5, ether / IP(src=client, dst=server) / UDP(sport=5000, dport=53)),
        at(102.0, ether / ARP(psrc=client, pdst=server)),
    ]
    file = tmp_path / "talk.pcap"
    wrpcap(str(file), packets)
    return file


def test_a_conversation_is_both_directions_and_a_is_who_began(path: Path) -> None:
    table = conversations(podtracer_nb.read_pcap(path))
    first = table.iloc[0]
    assert (first.a, first.a_port, first.b, first.b_port) == ("10.0.0.1", 40000, "10.0.0.2", 80)
    assert (first.packets_ab, first.packets_ba) == (2, 1)
    assert first.bytes_ab == 54 + 554
    assert first.bytes_ba == 54
    assert first.duration == pd.Timedelta(200, "ms")
    assert len(table) == 3


def test_bytes_and_packets_of_all_conversations_are_those_of_the_frame(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    table = conversations(frame)
    assert (table.packets_ab + table.packets_ba).sum() == len(frame)
    assert (table.bytes_ab + table.bytes_ba).sum() == frame.length.sum()


def test_a_packet_without_ports_has_na_for_them(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    arp = conversations(frame[frame.proto == "ARP"])
    assert arp.a_port.isna().all()
    assert str(arp.a_port.dtype) == "UInt16"


def test_an_empty_frame_has_no_conversations(path: Path) -> None:
    assert conversations(podtracer_nb.read_pcap(path).iloc[:0]).empty


def test_a_rate_counts_what_was_on_the_wire_and_shows_silence(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    table = rate(frame)
    assert table.packets_per_s.tolist() == [3.0, 1.0, 1.0]
    assert table.bits_per_s.sum() / 8 == frame.length.sum()


def test_each_row_finds_its_bytes_after_filtering_and_sorting(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    some = frame[frame.dport == 80].sort_values("time", ascending=False)
    packet = some.podtrace.packet(3)
    assert packet[TCP].flags == "PA"
    assert bytes(packet[TCP].payload) == b"x" * 500
    assert len(some.podtrace.raw(3)) == some.loc[3].caplen


def test_a_row_that_is_not_there_is_one_line(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    with pytest.raises(InputError, match="no frame 99"):
        frame.podtrace.raw(99)


def test_a_recording_that_is_gone_is_one_line(path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    path.unlink()
    with pytest.raises(CaptureError, match="No such file"):
        frame.podtrace.raw(1)


def test_a_frame_of_others_has_no_provenance() -> None:
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(InputError, match="provenance"):
        _ = frame.podtrace.meta
    with pytest.raises(InputError, match="no packets"):
        frame.podtrace.raw(1)
