"""What goes on in packets that keep coming: counted chunk by chunk, the same as all at once, in bounded memory."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from podtracer_nb import packets
from podtracer_nb.analysis.activity import COLUMNS, Activity, Talkers
from tests.packets.captures import capture

A, B = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")
SPAN = 240.0  # a second a step


def frame(*sent, apart: float = 0.01) -> pd.DataFrame:
    """Return packets as a capture has them, so many seconds apart."""
    found = packets.read(capture([Ether() / each for each in sent]))
    found["time"] = pd.to_datetime(1_700_000_000, unit="s", utc=True).as_unit("ns") + pd.to_timedelta(
        np.arange(len(found)) * apart, unit="s"
    ).as_unit("ns")
    return found


def told(*chunks: pd.DataFrame, span: float = SPAN):
    activity = Activity(span)
    for chunk in chunks:
        activity.add(chunk)
    return activity.told()


def sums(found) -> dict[str, int]:
    return dict(zip(COLUMNS, found.steps.sum(axis=0).tolist(), strict=True))


MIXED = (
    A / TCP(sport=4, dport=80, flags="S"), A / TCP(sport=4, dport=80, flags="PA", seq=9) / Raw(b"hello"),
    A / UDP(sport=9, dport=9), A / ICMP(), ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
    A / UDP(sport=7777, dport=53) / DNS(id=5, qd=DNSQR(qname="web.demo")),
    B / UDP(sport=53, dport=7777) / DNS(id=5, qr=1, rcode=3, qd=DNSQR(qname="web.demo")),
)  # fmt: skip


def test_packets_are_counted_by_kind_in_steps_of_time():
    found = sums(told(frame(*MIXED)))
    assert {name: found[name] for name in ("TCP", "UDP", "DNS", "ICMP", "ARP", "other")} == {
        "TCP": 2, "UDP": 1, "DNS": 2, "ICMP": 1, "ARP": 1, "other": 0,
    }  # fmt: skip
    assert found["bytes"] == frame(*MIXED)["length"].sum()
    spread = told(frame(*[A / ICMP()] * 5, apart=1.0)).steps[:, COLUMNS.index("ICMP")]
    assert spread[-5:].tolist() == [1, 1, 1, 1, 1] and spread[:-5].sum() == 0


def test_chunk_by_chunk_is_the_same_as_all_at_once():
    whole = frame(*MIXED * 20, apart=0.1)
    at_once = told(whole)
    in_chunks = told(*(whole.iloc[start : start + 7] for start in range(0, len(whole), 7)))
    assert (at_once.steps == in_chunks.steps).all()
    assert at_once.talkers == in_chunks.talkers and at_once.trouble == in_chunks.trouble
    assert at_once.dns == in_chunks.dns


def test_talkers_are_those_of_the_span_with_most_bytes_first():
    chunk = frame(*[A / UDP(sport=1, dport=2) / Raw(bytes(100))] * 3, B / UDP(sport=2, dport=1))
    found = told(chunk)
    assert [each[:3] for each in found.talkers] == [("10.0.0.1", "10.0.0.2", 3), ("10.0.0.2", "10.0.0.1", 1)]
    activity = Activity(SPAN)
    activity.add(chunk)
    activity.move(int(chunk["time"].max().value) + int(2 * SPAN * 1e9))
    assert activity.told().talkers == [] and activity.told().steps.sum() == 0


def test_what_repeats_what_resets_and_what_closes_the_window():
    segment = A / TCP(sport=4, dport=80, flags="PA", seq=100) / Raw(b"hello")
    chunk = frame(
        segment, segment, A / TCP(sport=5, dport=80, flags="PA", seq=100) / Raw(b"hello"),
        A / TCP(sport=4, dport=80, flags="A", seq=105), A / TCP(sport=4, dport=80, flags="A", seq=105),
        B / TCP(sport=80, dport=4, flags="RA", window=0), B / TCP(sport=80, dport=4, flags="A", window=0),
    )  # fmt: skip
    assert told(chunk).trouble == {"retransmissions": 1, "resets": 1, "zero windows": 1, "malformed": 0}
    assert told(chunk.iloc[:1], chunk.iloc[1:2]).trouble["retransmissions"] == 1, "in another chunk"
    seen_twice = pd.concat([chunk.iloc[:1].assign(target="demo/web"), chunk.iloc[:1].assign(target="demo/api")])
    assert told(seen_twice).trouble["retransmissions"] == 0, "both ends of a connection see its segments"


def test_dns_delay_codes_and_what_is_never_answered():
    query = A / UDP(sport=7777, dport=53) / DNS(id=5, qd=DNSQR(qname="a"))
    other = A / UDP(sport=7777, dport=53) / DNS(id=6, qd=DNSQR(qname="b"))
    answer = B / UDP(sport=53, dport=7777) / DNS(id=5, qr=1, rcode=3, qd=DNSQR(qname="a"))
    chunk = frame(query, query, answer, other, apart=0.02)
    found = told(chunk)
    assert (found.dns.queries, found.dns.answers, found.codes) == (3, 1, {"NXDOMAIN": 1})
    assert found.dns.median == found.dns.longest == 40_000_000, "from the first time that it was asked"
    assert sums(found)["longest DNS answer"] == 40_000_000
    activity = Activity(SPAN)
    activity.add(chunk.iloc[:3])
    activity.add(chunk.iloc[3:])
    activity.move(int(chunk["time"].max().value) + 7 * 10**9)
    assert activity.told().dns.unanswered == 1


def test_a_clock_that_jumps_or_goes_back_breaks_nothing():
    chunk = frame(*MIXED)
    before = chunk.assign(time=chunk["time"] - pd.Timedelta("1h"))
    found = told(chunk, before)
    assert sums(found)["TCP"] == 2, "what is older than all steps is in none"
    assert sums(told(before, chunk))["TCP"] == 2


@pytest.mark.parametrize("columns", [["time", "length"], ["time", "length", "proto"], ["time", "length", "src", "dst"]])
def test_columns_that_are_not_there_are_not_counted(columns):
    found = told(frame(*MIXED)[columns])
    assert found.steps[:, :6].sum() == len(MIXED)
    assert found.trouble["resets"] == 0 and found.dns.queries == 0


def test_only_steps_since_one_are_told():
    chunk = frame(*[A / ICMP()] * 5, apart=1.0)
    activity = Activity(SPAN)
    activity.add(chunk)
    last = int(chunk["time"].max().value) // activity.width
    found = activity.told(since=last - 1)
    assert found.first == last - 1 and len(found.steps) == 2
    assert len(activity.told(since=0).steps) == 240 and len(activity.told(since=last + 9).steps) == 0


def test_however_many_pairs_there_are_memory_is_bounded():
    talkers = Talkers(12)
    for step in range(40):
        talkers.move(step)
        talkers.add(step, ((f"{step}-{number}", "x", 1, 60) for number in range(5000)))
    assert len(talkers) <= 12 * 4096
    assert talkers.others == 40 * (5000 - 4096)
    assert sum(sys.getsizeof(part) for _, part in talkers._parts) < 12 * (1 << 19)
