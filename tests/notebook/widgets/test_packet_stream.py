"""A conversation's bytes in the order in which they were sent, each once."""

from __future__ import annotations

import pandas as pd
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

import podtracer_nb
from podtracer_nb.errors import InputError
from podtracer_nb.notebook.widgets.packet_stream import conversation, follow
from tests.packets.captures import capture


def said(*segments: tuple[str, int, bytes] | tuple[str, int, bytes, int], most: int = 10_000) -> list[tuple]:
    """Follow segments of (who, sequence number, data, length on the wire)."""
    frame = pd.DataFrame(
        {
            "src": [each[0] for each in segments],
            "sport": [1] * len(segments),
            "tcp_seq": [each[1] for each in segments],
            "tcp_flags": ["S" if not each[2] else "PA" for each in segments],
            "payload_length": [each[3] if len(each) > 3 else len(each[2]) for each in segments],
        },
        index=range(1, len(segments) + 1),
    )
    found, left = follow(frame, lambda row: segments[row][2], most)
    return [(each.end, each.data, each.missing) for each in found] + ([left] if left else [])


def test_turns_are_joined_and_alternate():
    assert said(("a", 0, b""), ("b", 9, b""), ("a", 1, b"GET "), ("a", 5, b"/"), ("b", 10, b"OK")) == [
        (0, b"GET /", 0),
        (1, b"OK", 0),
    ]


def test_what_came_late_is_put_in_its_place_and_what_came_twice_is_there_once():
    assert said(("a", 1, b"ab"), ("a", 5, b"ef"), ("a", 1, b"ab"), ("a", 3, b"cd"), ("a", 4, b"def")) == [
        (0, b"abcdef", 0)
    ]


def test_numbers_go_round():
    top = (1 << 32) - 2
    assert said(("a", top, b"abcd"), ("a", 2, b"ef")) == [(0, b"abcdef", 0)]


def test_a_gap_is_told():
    assert said(("a", 1, b"ab"), ("a", 10, b"z")) == [(0, b"ab", 0), (0, b"z", 7)]


def test_what_the_snaplen_cut_is_told():
    assert said(("a", 1, b"ab", 6), ("a", 7, b"z")) == [(0, b"ab", 0), (0, b"z", 4)]


def test_it_is_bounded_and_says_so():
    *turns, left = said(*[("a", 1 + 4 * n, b"1234") for n in range(100)], most=40)
    assert turns == [(0, b"1234" * 10, 0)]
    assert left == "the first 40 bytes; 90 packets after them are not read"


def test_the_packets_of_a_conversation_are_found_both_ways(tmp_path):
    a, b = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")
    sent = [a / TCP(sport=4, dport=80), a / TCP(sport=5, dport=80), b / TCP(sport=80, dport=4), a]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture([Ether() / each for each in sent]))
    frame = podtracer_nb.read_pcap(path)
    assert conversation(frame, 0).tolist() == [0, 2]
    with pytest.raises(InputError, match="only a TCP packet"):
        conversation(frame, 3)
    with pytest.raises(InputError, match="the column tcp_seq"):
        conversation(frame.drop(columns="tcp_seq"), 0)
