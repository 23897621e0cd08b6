"""ip's text and JSON of versions that this machine has not, written after its sources; and whatever else may come."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podtracer_nb.tools import Options, Parsed, Text
from podtracer_nb.tools.known.ip import TOOLS
from podtracer_nb.tools.table import Unreadable

(IP,) = TOOLS


def parsed(line: str, stdout: str) -> Parsed:
    words = tuple(line.split())
    command = IP.command(words, Options(), False)
    assert command.parse is not None
    return command.parse(Text(words, stdout))


def frame(line: str, stdout: str, at: int = 0) -> pd.DataFrame:
    table, rows = parsed(line, stdout).tables[at]
    return table.frame(rows)


# A state of `ip -s xfrm state`: ip/ipxfrm.c of iproute2 6.1; the test machine's kernel has no ciphers.
STATE = """\
src 10.1.0.1 dst 10.1.0.9
\tproto esp spi 0x00000100(256) reqid 7(0x00000007) mode tunnel
\treplay-window 32 seq 0x00000000 flag  (0x00000000)
\tauth-trunc hmac(sha256) 0x0011 (256 bits) 128
\tenc cbc(aes) 0x2233 (128 bits)
\tanti-replay context: seq 0x0, oseq 0x5, bitmap 0x00000000
\tsel src 0.0.0.0/0 dst 0.0.0.0/0 uid 0
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\tlifetime current:
\t  84(bytes), 1(packets)
\t  add 2026-01-01 10:00:00 use -
\tstats:
\t  replay-window 0 replay 0 failed 0
src fd00::1 dst fd00::9
\tproto ah spi 0x00000200 reqid 0 mode transport
"""


def test_states() -> None:
    rows = frame("-s xfrm state", STATE)
    assert rows.dst.tolist() == ["10.1.0.9", "fd00::9"]
    assert rows.proto.tolist() == ["esp", "ah"] and rows.spi[0] == "0x00000100"
    assert rows["mode"].tolist() == ["tunnel", "transport"]
    assert rows.enc[0] == "cbc(aes) 0x2233 (128 bits)"
    assert rows.lifetime_current[0].startswith("84(bytes), 1(packets)")


def test_a_vlan_and_a_bond_of_another_machine() -> None:
    """`ip -j -d link` has these in `linkinfo` (ip/iplink_vlan.c, iplink_bond.c)."""
    said = [
        {"ifindex": 4, "link": "eth0", "ifname": "eth0.5", "flags": ["UP"], "mtu": 1500, "operstate": "UP",
         "linkinfo": {"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": 5, "flags": ["REORDER_HDR"]}}},
        {"ifindex": 5, "ifname": "bond0", "flags": [], "mtu": 1500, "operstate": "DOWN",
         "linkinfo": {"info_kind": "bond", "info_data": {"mode": "802.3ad", "miimon": 100,
                                                         "ad_info": {"aggregator": 1, "num_ports": 2}}}},
        {},
    ]  # fmt: skip
    rows = frame("-d link", json.dumps(said))
    assert rows.kind.tolist() == ["vlan", "bond"] and rows.vlan_id.tolist()[0] == 5
    assert rows.bond_mode[1] == "802.3ad" and rows.bond_ad_info_num_ports[1] == 2


def test_routes_of_newer_versions_keep_what_is_new() -> None:
    said = [
        {"dst": "default", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth0", "protocol": "bgp",
         "flags": ["onlink"], "novel": {"thing": 5}, "metrics": [{"mtu": 1400, "advmss": 1360}]},
    ]  # fmt: skip
    row = frame("route", json.dumps(said)).iloc[0]
    assert (row.gateway, row.interface, row.mtu, row.advmss, row.novel_thing) == ("fe80::1", "eth0", 1400, 1360, 5)
    assert row["flags"] == ["onlink"] and row.family == "inet"


# ip of iproute2 4.9, which has no -j (ip/ipaddress.c of that version).
OLD = """\
3: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP group default qlen 1000
    link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 172.17.0.2/16 brd 172.17.255.255 scope global dynamic eth0
       valid_lft 86000sec preferred_lft 85000sec
    inet 10.0.0.1 peer 10.0.0.2/32 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fe80::42:acff:fe11:2/64 scope link tentative
       valid_lft forever preferred_lft forever
"""


def test_the_text_of_an_old_ip() -> None:
    rows = frame("addr", OLD)
    assert rows.address.tolist() == ["172.17.0.2", "10.0.0.1", "fe80::42:acff:fe11:2"]
    assert rows.prefix.tolist() == [16, 32, 64] and rows.valid_lifetime[0] == 86000
    assert rows.peer[1] == "10.0.0.2" and rows["flags"][0] == ["dynamic"]
    link = frame("addr", OLD, 1).iloc[0]
    assert (link.interface, link.link, link.state, link.mtu) == ("eth0", "if7", "UP", 1450)


def test_ways_of_a_text() -> None:
    said = "10.8.0.0/16 proto static metric 5 \n"
    said += "\tnexthop via 10.1.0.2 dev v0 weight 1 \n\tnexthop dev v1 weight 3 onlink\n"
    rows = frame("route", said)
    assert rows.nexthop.tolist() == [0, 1] and rows.weight.tolist() == [1, 3]
    assert rows.interface.tolist() == ["v0", "v1"]


LINES = ("addr", "link", "route", "neigh", "rule", "xfrm state", "xfrm policy", "nexthop", "maddr", "monitor")


@pytest.mark.parametrize("line", LINES[:-1])
@pytest.mark.parametrize("said", ["Usage: ip frobnicates\n", "[{", "[1, 2]", '{"a": ', "\x00\x01\xff\n"])
def test_what_is_no_output_of_ip_is_never_a_table(line: str, said: str) -> None:
    with pytest.raises(Unreadable):
        found = parsed(line, said)
        for table, rows in found.tables:
            table.frame(rows)


@settings(deadline=None)
@given(
    st.sampled_from(LINES),
    st.text(alphabet=st.sampled_from('12: eth0@<>UP,/.\\\n\tinet6 dev via[]{}"src='), max_size=80),
)
@example("addr", OLD)
@example("xfrm state", STATE)
@example("link", "1: lo: <> mtu")
def test_any_text_is_a_table_or_said_to_be_none(line: str, said: str) -> None:
    try:
        for table, rows in parsed(line, said).tables:
            table.frame(rows)
    except Unreadable:
        pass


@settings(deadline=None)
@given(st.sampled_from(LINES[:5]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["ifname", "addr_info", "dst", "nexthops", "flags", "metrics", "linkinfo", "state", "mtu",
                         "info_data", "stats64", "rx", "via", "src", "srclen", "cache", "local"]), inner, max_size=4),
    max_leaves=8,
))  # fmt: skip
def test_any_json_is_a_table_or_said_to_be_none(line: str, value: object) -> None:
    try:
        for table, rows in parsed(line, json.dumps([value])).tables:
            table.frame(rows)
    except Unreadable:
        pass


@settings(deadline=None)
@given(st.data())
def test_a_cut_text_is_a_table_of_less_or_said_to_be_none(data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(OLD)))
    try:
        (_, rows), *_ = parsed("addr", OLD[:cut]).tables
    except Unreadable:
        return
    assert len(rows) <= 3
