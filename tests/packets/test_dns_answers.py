"""The answers of DNS responses as a table of their own."""

from __future__ import annotations

import gzip
import itertools
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
from tests.packets.captures import CLIENT, CLIENT6, ETHER, SERVER, SERVER6, capture, header, pcapng, record

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


# ------------------------------------------------------------------------------------------------ streams of TCP


def messages(count: int, chooser: random.Random, size: int = 60, least: int = 1) -> list[bytes]:
    """Return responses, each with an address of its own in each answer, with their lengths ahead."""
    made = []
    for number in range(count):
        records = [
            DNSRR(rrname=NAME, ttl=number, rdata=f"10.{number}.{n >> 8}.{n & 255}")
            for n in range(chooser.randint(least, size))
        ]
        data = bytes(DNS(id=number, qr=1, qd=DNSQR(qname=NAME), an=records))
        made.append(struct.pack("!H", len(data)) + data)
    return made


def segment(seq: int, data: bytes, flags: str = "PA", **more: int) -> bytes:
    ports = {"sport": 53, "dport": 40000, **more}
    return bytes(ETHER / IP(src=SERVER, dst=CLIENT) / TCP(seq=seq % 2**32, ack=7, flags=flags, **ports) / data)


def cut(data: bytes, seq: int, chooser: random.Random) -> list[bytes]:
    """Cut a stream into segments, some of them sent again, together with what follows, or late."""
    sent = []
    at = 0
    while at < len(data):
        size = chooser.choice((1, 2, 13, 200, 700, 1400))
        sent.append(segment(seq + at, data[at : at + size]))
        if chooser.random() < 0.2:
            back = chooser.randint(0, min(at, 900))
            sent.append(segment(seq + at - back, data[at - back : at + chooser.randint(1, 1400)]))
        at += size
    for n in range(len(sent) - 1):
        if chooser.random() < 0.15:
            sent[n], sent[n + 1] = sent[n + 1], sent[n]
    return sent


def by_frame(answers: pd.DataFrame) -> dict[int, list[str]]:
    return {int(frame): rows["data"].tolist() for frame, rows in answers.groupby("frame")}


@needs("tshark")
@pytest.mark.parametrize("seed", range(12))
def test_messages_in_streams_equal_wireshark_s(tmp_path: Path, seed: int) -> None:
    chooser = random.Random(seed)
    start = chooser.choice((1000, 2**32 - 500))
    data = b"".join(messages(9, chooser))
    question = bytes(QUERY[DNS])
    asked = ETHER / IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=53, seq=1, flags="PA")
    packets_ = [segment(start - 1, b"", "SA"), asked / (struct.pack("!H", len(question)) + question)]
    packets_ += [*cut(data, start, chooser), UDP4]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(packets_))
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.number", "-e", "dns.a"]
    argv += ["-o", "tcp.reassemble_out_of_order:TRUE", "-Y", "dns.a"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    theirs = {int(line.split("\t")[0]): line.split("\t")[1].split(",") for line in said}
    answers = packets.dns_answers(path)
    assert answers["frame"].is_monotonic_increasing
    assert by_frame(answers[answers["type"] == "A"]) == theirs
    assert sum(map(len, theirs.values())) > 50


@pytest.mark.parametrize("seed", range(12))
def test_messages_that_are_not_whole_leave_the_others(seed: int) -> None:
    chooser = random.Random(seed)
    each = messages(40, chooser, 9)
    ends = [sum(map(len, each[: n + 1])) for n in range(len(each))]
    whole = b"".join(each)
    # Each segment has whole messages and half of one; the lost ones take their messages and the halves with them.
    cuts = [
        0,
        *(end - len(data) // 2 for end, data in zip(ends, each, strict=True) if chooser.random() < 0.3),
        len(whole),
    ]
    bounds = [(a, b) for a, b in itertools.pairwise(cuts) if b > a]
    kept = [bound for bound in bounds if chooser.random() < 0.7]
    answers = packets.dns_answers(capture([segment(5 - 1, b"", "SA"), *(segment(5 + a, whole[a:b]) for a, b in kept)]))
    found = {int(address.split(".")[1]) for address in answers["data"]}
    inside = {n for n, data in enumerate(each) if any(a <= ends[n] - len(data) and ends[n] <= b for a, b in kept)}
    synced = {n for n in inside if any(a == 0 and ends[n] <= b for a, b in kept)}
    assert synced <= found
    # A message whose beginning is there gives what is whole of it: nothing is made up.
    assert set(answers["data"]) <= {f"10.{n}.0.{m}" for n in range(40) for m in range(9)}


def test_after_lost_segments_it_goes_on_with_the_next_that_a_message_begins() -> None:
    one, two, three, four = messages(4, random.Random(1), 5)
    places = [0, len(one), len(one + two), len(one + two + three)]
    sent = [segment(9 + places[0], one + two[:20]), segment(9 + places[3], four)]  # what is between is lost
    for opening in ([segment(8, b"", "SA")], []):
        found = packets.dns_answers(capture([*opening, *sent]))
        assert {address.split(".")[1] for address in found["data"]} == {"0", "3"}
    # A stream that is seen from its middle on, and ports that are used again.
    found = packets.dns_answers(capture([segment(7, two[5:]), segment(7 + len(two) - 5, three), *sent[1:]]))
    assert {address.split(".")[1] for address in found["data"]} == {"2", "3"}
    again = [segment(8, b"", "SA"), segment(9, one), segment(70_000, b"", "SA"), segment(70_001, one)]
    assert by_frame(packets.dns_answers(capture(again))).keys() == {2, 4}


def test_what_the_snaplen_cut_off_is_lost_and_no_more() -> None:
    one, two, three = messages(3, random.Random(2), 5, least=2)
    cut_off = [segment(9, one), segment(9 + len(one), two), segment(9 + len(one + two), three)]
    records = b"".join(record(each, length=len(each), keep=len(each) - 4 * (n == 1)) for n, each in enumerate(cut_off))
    found = packets.dns_answers(header() + records)
    assert {address.split(".")[1] for address in found["data"]} == {"0", "1", "2"}
    assert len(found) == len(packets.dns_answers(capture(cut_off))) - 1


def test_a_frame_s_messages_are_those_that_begin_or_end_in_it(tmp_path: Path) -> None:
    (data,) = messages(1, random.Random(3), 40)
    parts = [tmp_path / "1.pcap", tmp_path / "2.pcap.gz"]
    parts[0].write_bytes(capture([segment(8, b"", "SA"), segment(9, data[:50])]))
    parts[1].write_bytes(gzip.compress(capture([segment(59, data[50:90]), segment(99, data[90:])])))
    frame = packets.read(list(parts))
    counts = [len(packets.dns_answers(frame.loc[[number]])) for number in frame.index]
    assert counts[0] == counts[2] == 0
    assert counts[1] == counts[3] == len(packets.dns_answers(frame)) > 0
    assert set(packets.dns_answers(frame)["frame"]) == {4}


def test_streams_of_anything_end() -> None:
    chooser = random.Random(4)
    for _ in range(60):
        sent = [
            segment(
                chooser.choice((chooser.randrange(3000), chooser.randrange(2**32))),
                chooser.choice((chooser.randbytes(chooser.randrange(80)), bytes(50), MESSAGE)),
                chooser.choice(("PA", "PA", "S", "FA", "R")),
            )
            for _ in range(40)
        ]
        packets.dns_answers(
            capture([each[: chooser.choice((len(each), chooser.randint(30, len(each))))] for each in sent])
        )


def test_many_gaps_take_no_more_time_than_packets() -> None:
    data = header() + b"".join(record(segment(9 + 3 * n, b"ab")) for n in range(6000))
    assert packets.dns_answers(data).empty
