"""The ladder and the topology: what is drawn, what is left out and said to be."""

from __future__ import annotations

from xml.etree import ElementTree

import pandas as pd
import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

import podtracer_nb
from podtracer_nb import packets
from podtracer_nb.errors import InputError
from tests.packets.captures import capture

SVG = "{http://www.w3.org/2000/svg}"


def frame(rounds: int = 3) -> pd.DataFrame:
    a, b = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")
    sent = [a / TCP(sport=4, dport=80, flags="S"), b / TCP(sport=80, dport=4, flags="SA"), a / ICMP()]
    return packets.read(capture([Ether() / each for each in sent * rounds]))


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_ladder_has_an_arrow_a_packet_where_there_is_room():
    drawn = podtracer_nb.ladder(frame(), names={"10.0.0.1": "<client>"})
    root = ElementTree.fromstring(drawn.svg)
    assert len(root.findall(f".//{SVG}g")) == 9
    assert "<client>" in texts(drawn.svg) and "10.0.0.2" in texts(drawn.svg)
    assert "4 → 80 [SYN] Seq=0" in drawn.svg
    assert repr(drawn) == "9 packets between <client> and 10.0.0.2 in 8.000008 s"


def test_many_packets_share_arrows_until_the_time_is_chosen():
    drawn = podtracer_nb.ladder(frame(200))
    assert len(ElementTree.fromstring(drawn.svg).findall(f".//{SVG}g")) <= 60
    whole = drawn.svg
    start = drawn.df.time.iloc[30]
    drawn.zoom(start, start + pd.Timedelta("5s"))
    assert len(drawn.df) == 5 or len(drawn.df) == 6
    assert "before or after" in drawn.svg and "[SYN]" in drawn.svg
    drawn._receive(drawn, {"kind": "look", "low": -0.5, "high": 1.5}, [])
    assert 10 <= len(drawn.df) <= 12
    drawn._receive(drawn, {"kind": "rows", "low": 0.0, "high": 0.5}, [])
    assert 4 <= len(drawn.df) <= 8
    drawn._receive(drawn, {"kind": "whole"}, [])
    assert drawn.svg == whole and drawn._drawing["whole"]


def test_the_ends_of_time_hold():
    drawn = podtracer_nb.ladder(frame(200))
    for low, high in [(0.5, 1.5), (5.0, 6.0), (-9.0, -8.0), (0.0, 0.0), (0.49, 0.51)]:
        drawn._receive(drawn, {"kind": "look", "low": low, "high": high}, [])
        assert drawn._times[0] <= drawn._window[0] <= drawn._window[1] <= drawn._times[-1]
        ElementTree.fromstring(drawn.svg)


def test_hosts_can_be_named_and_those_without_a_packet_are_refused():
    with pytest.raises(InputError, match="nothing to draw"):
        podtracer_nb.ladder(frame(), hosts=["10.9.9.9", "10.0.0.1"])
    with pytest.raises(InputError, match="no column src"):
        podtracer_nb.ladder(pd.DataFrame({"time": []}))
    with pytest.raises(InputError, match="is not a time"):
        podtracer_nb.ladder(frame()).zoom("yesterdayish")


def test_what_is_stored_is_an_image_and_text():
    data, _ = podtracer_nb.ladder(frame())._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<svg") and "text/html" not in data
    assert "10.0.0.1 → 10.0.0.2" in data["text/plain"]
    assert len(data["image/svg+xml"]) < 40_000


def test_a_topology_joins_who_talks():
    drawn = podtracer_nb.topology(frame(), names={"10.0.0.2": "web & more"})
    assert drawn.df[["a", "b", "proto", "packets"]].to_numpy().tolist() == [
        ["10.0.0.1", "web & more", "TCP", 6],
        ["10.0.0.1", "web & more", "ICMP", 3],
    ]
    assert "web & more" in texts(drawn.svg)
    assert set(drawn._repr_mimebundle_()) == {"image/svg+xml", "text/plain"}


def test_a_topology_of_more_hosts_than_there_is_room_for_says_so():
    sent = [Ether() / IP(src=f"10.0.{n}.1", dst="10.9.0.1") / ICMP() for n in range(100)]
    drawn = podtracer_nb.topology(packets.read(capture(sent)))
    assert len(ElementTree.fromstring(drawn.svg).findall(f".//{SVG}circle")) == 36
    assert "drawn are the 36 hosts" in repr(drawn) and "35% of all bytes" in repr(drawn)
    with pytest.raises(InputError, match="no column time"):
        podtracer_nb.topology(pd.DataFrame())
