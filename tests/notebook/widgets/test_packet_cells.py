"""What cells say, and how rows are marked."""

from __future__ import annotations

import pandas as pd
import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether

from podtracer_nb import packets
from podtracer_nb.notebook.widgets import packet_cells
from tests.packets.captures import capture

_A, _B = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")


@pytest.mark.parametrize(
    ("packet", "line", "mark"),
    [
        (_A / TCP(sport=4000, dport=80, flags="S", seq=5, window=9), "4000 → 80 [SYN] Seq=5 Win=9 Len=0", "opening"),
        (_B / TCP(sport=80, dport=4000, flags="RA", seq=1, ack=6, window=0), "[RST, ACK] Seq=1 Ack=6", "reset"),
        (_A / TCP(sport=4000, dport=5432, flags="PA", seq=6, ack=2) / b"abc", "Len=3", "tcp"),
        (_A / TCP(sport=4000, dport=443, flags="A", seq=6, ack=2), "4000 → 443 [ACK]", "tls"),
        (_A / UDP(sport=1, dport=2) / b"xy", "1 → 2 Len=2", "udp"),
        (_A / UDP(sport=4, dport=53) / DNS(id=0xAB, qd=DNSQR(qname="web.demo")), "query 0x00ab A web.demo", "dns"),
        (ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"), "Who has 10.0.0.2? Tell 10.0.0.1", "arp"),
        (ARP(op=2, psrc="10.0.0.2", pdst="10.0.0.1"), "10.0.0.2 is at 02:00:00:00:00:01", "arp"),
        (_A / ICMP(type=3, code=3), "Destination unreachable (port)", "icmp"),
        (IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(), "Echo request", "icmp"),
    ],
)
def test_a_packet_is_told_in_wiresharks_words(packet, line, mark):
    page = packets.read(capture([Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet]))
    assert line in packet_cells.info(page)[0]
    assert packet_cells.MARKS[packet_cells.marks(page)[0]] == mark


def test_a_segment_that_is_sent_again_is_marked_and_an_acknowledgment_is_not():
    data = Ether() / _A / TCP(sport=4000, dport=80, flags="PA", seq=6, ack=2) / b"abc"
    ack = Ether() / _B / TCP(sport=80, dport=4000, flags="A", seq=2, ack=9)
    page = packets.read(capture([data, ack, ack, data]))
    again = packet_cells.repeated(page)
    assert again.tolist() == [False, False, False, True]
    assert packet_cells.MARKS[packet_cells.marks(page, again)[3]] == "repeated"


def test_seconds_count_from_the_first_packet_and_show_nanoseconds_where_there_are_some():
    times = pd.Series(pd.to_datetime(["1970-01-01 00:00:00.5Z", "1970-01-01 00:00:03.0Z", None]))
    start = pd.Timestamp("1970-01-01 00:00:01Z")
    assert packet_cells.texts(times.to_frame("time"), "seconds", start=start) == ["-0.500000", "2.000000", ""]
    fine = times.astype("datetime64[ns, UTC]") + pd.Timedelta(1, "ns")
    assert packet_cells.texts(fine.to_frame("time"), "seconds", start=start)[1] == "2.000000001"


def test_cells_say_nothing_where_there_is_nothing_and_never_more_than_text():
    page = pd.DataFrame(
        {
            "n": pd.array([1, None], "UInt8"),
            "c": pd.Categorical(["<b>", None]),
            "f": [0.5, float("nan")],
            "t": pd.to_datetime(["2026-01-31 12:00:00.000001Z", None]),
        }
    )
    found = {name: packet_cells.texts(page, name) for name in page.columns}
    assert found == {"n": ["1", ""], "c": ["<b>", ""], "f": ["0.5", ""], "t": ["2026-01-31 12:00:00.000001", ""]}


def test_names_stand_for_addresses_only():
    page = pd.DataFrame({"src": ["10.0.0.1"], "proto": ["10.0.0.1"]})
    names = {"10.0.0.1": "web"}
    assert packet_cells.texts(page, "src", names=names) == ["web"]
    assert packet_cells.texts(page, "proto", names=names) == ["10.0.0.1"]
