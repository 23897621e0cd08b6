"""The answers of DNS responses as a table of their own."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRRMX, DNSRRSOA, DNSRRSRV
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from podtracer_nb import packets
from tests.machine import needs
from tests.packets.captures import CLIENT, CLIENT6, ETHER, SERVER, SERVER6, capture, pcapng

pytestmark = pytest.mark.usefixtures("engine")
NAME = "web.demo.svc"


def response(**more: object) -> DNS:
    records = [
        DNSRR(rrname=NAME, type="CNAME", ttl=30, rdata="a.b"),
        DNSRR(rrname="a.b", ttl=5, rdata=SERVER),
        DNSRR(rrname="a.b", type="AAAA", ttl=6, rdata=SERVER6),
        DNSRR(rrname="a.b", type="TXT", ttl=7, rdata=[b"x y", b"\xff"]),
        DNSRRMX(rrname="a.b", preference=10, exchange="mx.a.b", ttl=8),
        DNSRRSRV(rrname="a.b", priority=1, weight=2, port=3, target="s.a.b", ttl=9),
        DNSRRSOA(rrname="a.b", mname="m", rname="r", serial=1, refresh=2, retry=3, expire=4, minimum=5, ttl=10),
        DNSRR(rrname="a.b", type=65280, ttl=0xFFFFFFFF, rdata=b"\1\2"),
    ]
    return DNS(id=1, qr=1, qd=DNSQR(qname=NAME), an=records, **more)


EXPECTED = [
    (NAME, "CNAME", 30, "a.b"),
    ("a.b", "A", 5, SERVER),
    ("a.b", "AAAA", 6, SERVER6),
    ("a.b", "TXT", 7, r'"x y" "\255"'),
    ("a.b", "MX", 8, "10 mx.a.b"),
    ("a.b", "SRV", 9, "1 2 3 s.a.b"),
    ("a.b", "SOA", 10, "m r 1 2 3 4 5"),
    ("a.b", "TYPE65280", 0xFFFFFFFF, "0102"),
]
MESSAGE = bytes(response())
UDP4 = ETHER / IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=53) / MESSAGE
TCP6 = (
    ETHER
    / IPv6(src=SERVER6, dst=CLIENT6)
    / TCP(sport=53, dport=40000, options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 2))])
    / (struct.pack("!H", len(MESSAGE)) + MESSAGE)
)
QUERY = ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=40000, dport=53) / DNS(qd=DNSQR(qname=NAME))


def listed(answers: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(answers[["name", "type", "ttl", "data"]].itertuples(index=False, name=None))


def test_one_row_an_answer() -> None:
    data = capture([QUERY, UDP4, TCP6])
    answers = packets.dns_answers(data)
    assert listed(answers) == EXPECTED * 2
    assert answers["frame"].tolist() == [2] * 8 + [3] * 8
    assert set(answers["qname"]) == {NAME}
    assert answers["time"].iloc[0] == packets.read(data)["time"].loc[2]
    dtypes = {name: str(dtype) for name, dtype in answers.dtypes.items()}
    assert dtypes == {name: dtype for name, (dtype, _) in packets.dns.ANSWER_COLUMNS.items()}


def test_no_answer_has_the_same_columns() -> None:
    answers = packets.dns_answers(capture([QUERY]))
    assert answers.empty
    assert {name: str(dtype) for name, dtype in answers.dtypes.items()} == {
        name: dtype for name, (dtype, _) in packets.dns.ANSWER_COLUMNS.items()
    }


def test_answers_of_a_frame_are_those_of_its_packets(tmp_path: Path) -> None:
    paths = [tmp_path / "1.pcap", tmp_path / "2.pcapng"]
    paths[0].write_bytes(capture([QUERY, UDP4]))
    paths[1].write_bytes(pcapng([TCP6, QUERY]))
    frame = packets.read(paths)
    assert packets.dns_answers(frame)["frame"].tolist() == [2] * 8 + [3] * 8
    assert packets.dns_answers(frame[frame["proto"] == "TCP"])["frame"].tolist() == [3] * 8
    with pytest.raises(ValueError, match="bytes or a stream"):
        packets.dns_answers(packets.read(capture([UDP4])))


@needs("tshark")
def test_answers_equal_wireshark(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture([UDP4]))
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "dns.resp.name", "-e", "dns.resp.type"]
    argv += ["-e", "dns.resp.ttl", "-e", "dns.a", "-e", "dns.aaaa", "-e", "dns.cname", "-E", "aggregator= "]
    names, types, ttls, *data = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\t")
    answers = packets.dns_answers(path)
    assert answers["name"][answers["type"] != "SRV"].tolist() == names.split()  # which has a field of its own
    assert answers["ttl"].tolist() == [int(ttl) for ttl in ttls.split()]
    assert len(types.split()) == len(answers)
    assert [answers["data"][n] for n in (1, 2, 0)] == [text.strip() for text in data]


def test_damaged_messages_give_what_is_whole_and_end() -> None:
    chooser = random.Random(1)
    mutated = []
    for _ in range(1500):
        data = bytearray(MESSAGE)
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(len(data))] = chooser.choice((0, 0x3F, 0xC0, 0xFF, chooser.randrange(256)))
        mutated.append(bytes(data[: chooser.randint(12, len(data))]))
    answers = packets.dns_answers(
        capture(ETHER / IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=53) / each for each in [*mutated, MESSAGE])
    )
    assert listed(answers)[-8:] == EXPECTED
    cut = packets.dns_answers(capture([bytes(UDP4)[:-3]]))
    assert listed(cut) == EXPECTED[:-1]
