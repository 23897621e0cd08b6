"""Columns that are read only where they are asked for: tunnels, labels, applications; and the choice of others."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scapy.layers.inet import IP, TCP, UDP

from podtracer_nb import packets
from podtracer_nb.packets import schema
from tests.machine import needs
from tests.packets.captures import (
    CLIENT,
    CLIENT6,
    ETHER,
    LAYERED,
    SEEDS,
    SERVER,
    capture,
    client_hello,
    enhanced,
    header,
    interface,
    quic,
    record,
    section,
)
from tests.packets.test_streams_and_damage import same

Read = Callable[..., pd.DataFrame]
ALL = list(schema.LAYERS)
OPTIONAL = [column for layer in schema.LAYERS.values() for column in layer]
V4 = IP(src=CLIENT, dst=SERVER)


def row(read: Read, packet: bytes | Any, **options: Any) -> dict[str, Any]:
    frame = read(capture([packet]), **(options or {"layers": ALL}))
    return {name: value for name, value in frame.iloc[0].items() if not pd.isna(value)}


# --------------------------------------------------------------------------------------------- what is asked


def test_columns_are_those_asked_for_in_the_schema_s_order(read: Read) -> None:
    data = capture([*SEEDS["EN10MB"][1], *LAYERED.values()])
    everything = read(data, layers=ALL)
    assert everything.columns.tolist() == [c.name for c in (*schema.COLUMNS, *OPTIONAL)]
    assert [str(dtype) for dtype in everything.dtypes] == [c.dtype for c in (*schema.COLUMNS, *OPTIONAL)]
    assert read(data).columns.tolist() == [c.name for c in schema.COLUMNS]
    for column in (*schema.COLUMNS, *OPTIONAL):
        alone = read(data, columns=[column.name])
        assert alone.columns.tolist() == [column.name]
        same(alone.astype(object), everything[[column.name]].astype(object))
    few = read(data, columns=["tls_sni", "dport", "src"], layers=["label"])
    assert few.columns.tolist() == ["src", "dport", "mpls_label", "pppoe_session", "tls_sni"]
    same(few.astype(object), everything[few.columns].astype(object))


def test_columns_that_do_not_exist_are_named(read: Read) -> None:
    with pytest.raises(ValueError, match="'tcp_sequence'"):
        read(b"", columns=["tcp_sequence"])
    with pytest.raises(ValueError, match="'sport'"):
        read(b"", columns=["sprt"])
    with pytest.raises(ValueError, match="no layer 'tunnels', but tunnel"):
        read(b"", layers=["tunnels"])
    with pytest.raises(ValueError, match="lists of names"):
        read(b"", columns="src")


def test_columns_of_many_addresses_alone() -> None:
    data = header() + b"".join(
        record(bytes(12) + bytes.fromhex("0800450000140000000040fe0000") + n.to_bytes(4, "big") + bytes(4))
        for n in range(40_000)
    )
    frame = packets.read(data, columns=["dst", "length"])
    assert frame["dst"].unique().tolist() == ["0.0.0.0"]
    assert len(packets.read(data, columns=["src"])["src"].unique()) == 40_000


def test_a_comment_column_where_it_is_asked_for(read: Read) -> None:
    data = section() + interface() + enhanced(LAYERED["QUIC"], options=[(1, b"here")])
    assert read(data, columns=["comment"]).to_dict("list") == {"comment": ["here"]}
    assert read(capture([LAYERED["QUIC"]]), columns=["src", "comment"])["comment"].isna().all()
    assert "comment" not in read(data, columns=["src"])


# -------------------------------------------------------------------------------------------------- tunnels

INNER = {"inner_src": "192.168.1.1", "inner_dst": "192.168.1.2", "inner_proto": "TCP", "inner_sport": 1000}
HELLO = {"tls_type": "ClientHello", "tls_version": "TLS 1.3", "tls_alpn": "h2"}
TUNNELS = [name for name in LAYERED if any(kind in name for kind in ("IP", "GRE", "VXLAN", "GENEVE"))]
INNER6 = {"inner_src": "fd01::1", "inner_dst": "fd01::2", "inner_proto": "UDP", "inner_sport": 1001}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IP in IP", {"tunnel": "IP", "proto": "IPv4", **INNER}),
        ("IPv6 in IP", {"tunnel": "IP", "proto": "IPv6", **INNER6}),
        ("IP in IPv6", {"tunnel": "IP", "src": CLIENT6, **INNER}),
        ("GRE", {"tunnel": "GRE", "vni": 0x01020304, **INNER6}),
        ("GRE Ethernet", {"tunnel": "GRE", **INNER}),
        ("VXLAN", {"tunnel": "VXLAN", "vni": 4097, "sport": 5555, "dport": 4789, **INNER}),
        ("VXLAN of Linux", {"tunnel": "VXLAN", "vni": 1, **INNER6}),
        ("GENEVE", {"tunnel": "GENEVE", "vni": 77, **INNER}),
        ("two tunnels", {"tunnel": "GRE", **INNER}),
        ("VXLAN in GRE", {"tunnel": "GRE", **INNER}),
        ("GENEVE in IP", {"tunnel": "IP", **INNER6}),
        ("IPv6 chain", {"tunnel": "IP", **INNER6}),
        ("ICMP error", {"tunnel": "ICMP error", "inner_src": CLIENT, "inner_sport": 40000, "inner_dport": 9}),
        ("ICMPv6 error", {"tunnel": "ICMP error", "inner_dst": CLIENT6, "inner_sport": 9, "inner_dport": 8}),
        ("MPLS", {"mpls_label": 100, "src": CLIENT, "proto": "UDP", "sport": 7, "ethertype": 0x8847}),
        ("PPPoE", {"pppoe_session": 0x1234, "src": CLIENT, "proto": "UDP", "sport": 7, "ethertype": 0x8864}),
        ("SCTP", {"proto": "SCTP", "sport": 38412, "dport": 38413, "sctp_vtag": 0xDEADBEEF}),
        ("IGMP", {"proto": "IGMP", "igmp_type": 0x16, "igmp_group": "239.1.2.3"}),
        (
            "ClientHello",
            {"tls_type": "ClientHello", "tls_version": "TLS 1.3", "tls_sni": "web.demo.svc", "tls_alpn": "h2"},
        ),
        ("ServerHello", {"tls_type": "ServerHello", "tls_version": "TLS 1.3", "tls_cipher": 0x1301}),
        ("request", {"http_method": "GET", "http_uri": "/a?b=c", "http_host": "web.demo:80"}),
        ("response", {"http_status": 404}),
        ("QUIC", {"quic_version": 1, "quic_dcid": "0102030405060708", "quic_scid": "090a"}),
    ],
)
def test_each_layer_says_what_was_sent(read: Read, name: str, expected: dict[str, Any]) -> None:
    found = row(read, LAYERED[name])
    assert {key: found.get(key) for key in expected} == expected
    assert "error" not in found
    # Nothing else of any layer.
    others = {column.name for column in OPTIONAL} & set(found) - set(expected)
    assert others <= {"inner_dport", "inner_proto", "inner_src", "inner_dst", "inner_sport"}


@pytest.mark.parametrize("name", TUNNELS)
def test_decapsulated_columns_are_the_inner_packet_s(read: Read, name: str) -> None:
    plain, opened = row(read, LAYERED[name]), row(read, LAYERED[name], decap=True)
    if plain.get("tunnel") in {None, "ICMP error"} or "inner_src" not in plain:
        return
    for inner, outer in schema.DECAPSULATED.items():
        ordinary = inner.removeprefix("inner_")
        assert opened.get(ordinary) == plain.get(inner)
        assert opened.get(outer) == plain.get(ordinary)
    assert opened["eth_src"] == plain["eth_src"]
    if opened["proto"] == "TCP":
        assert (opened["tcp_flags"], opened["tcp_seq"], opened["payload_length"]) == ("S", 5, 0)


def test_decapsulation_of_what_is_in_no_tunnel_changes_nothing(read: Read) -> None:
    data = capture(SEEDS["EN10MB"][1])
    opened = read(data, decap=True)
    assert opened.columns.tolist()[-7:] == ["tunnel", "vni", *schema.DECAPSULATED.values()]
    assert opened["tunnel"].isna().all()
    same(opened[[c.name for c in schema.COLUMNS]], read(data))
    assert read(data, columns=["outer_src"], decap=True).columns.tolist() == ["outer_src"]


def test_tunnels_in_tunnels_end(read: Read) -> None:
    packet = ETHER / V4
    for _ in range(20):
        packet /= V4
    assert row(read, packet, decap=True)["error"] == "malformed tunnel"
    assert "error" not in row(read, packet)
    chunks = list(packets.stream(capture([LAYERED["IP in IP"]] * 20), rows=1, decap=True))
    assert all(chunk["error"].isna().all() for chunk in chunks)


# --------------------------------------------------------------------------------------------- applications


@pytest.mark.parametrize("keep", range(0, 220, 7))
def test_a_hello_that_goes_on_in_the_next_segment_is_no_error(read: Read, keep: int) -> None:
    found = row(read, ETHER / V4 / TCP(sport=40000, dport=443, flags="PA") / client_hello()[:keep])
    assert "error" not in found
    assert found.get("tls_sni", "web.demo.svc") == "web.demo.svc"


def test_long_texts_are_cut(read: Read) -> None:
    http = b"GET /" + b"x" * 400 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert row(read, ETHER / V4 / TCP(flags="PA") / http)["http_uri"] == "/" + "x" * 254


@pytest.mark.parametrize(
    "data", [b"GET / HTTQ/1.1\r\n\r\n", b"get / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.6 HTTP/1.1", bytes(40)]
)
def test_what_only_looks_like_http(read: Read, data: bytes) -> None:
    assert not {"http_method", "http_uri", "http_status"} & set(row(read, ETHER / V4 / TCP(flags="PA") / data))


def test_bytes_in_texts_are_escaped(read: Read) -> None:
    assert row(read, ETHER / V4 / TCP(flags="PA") / client_hello(b"a\xff\n"))["tls_sni"] == "a\\xff\\x0a"


@pytest.mark.parametrize("size", [0, 1, 20])
def test_connection_ids_of_every_size(read: Read, size: int) -> None:
    found = row(read, ETHER / V4 / UDP(sport=443, dport=50000) / quic(0x6B3343CF, bytes(range(size)), b""))
    assert found["quic_version"] == 0x6B3343CF
    assert found.get("quic_dcid", "") == bytes(range(size)).hex()
    assert "quic_scid" not in found


# ---------------------------------------------------------------------------------------------- differential

COMPARED = [column for column in OPTIONAL if column.wireshark]
FIELDS = [field for column in COMPARED for field in column.wireshark.split()]
LAST = {"inner_src": "ip.src ipv6.src", "inner_dst": "ip.dst ipv6.dst", "inner_sport": "tcp.srcport udp.srcport"}


def tshark(path: Path, fields: list[str], occurrence: str) -> list[dict[str, str]]:
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", f"occurrence={occurrence}", "-E", "header=y"]
    argv += ["-o", "tcp.desegment_tcp_streams:FALSE"]
    argv += [
        "-E",
        "quote=d",
        "-d",
        "udp.port==8472,vxlan",
        "-d",
        "udp.port==443,quic",
        *(part for field in fields for part in ("-e", field)),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))


@needs("tshark")
def test_layers_equal_wireshark(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(LAYERED.values()))
    frame = read(path, layers=ALL)
    for name, number, theirs in zip(LAYERED, frame.index, tshark(path, FIELDS, "f"), strict=True):
        for column in COMPARED:
            there = [theirs[field] for field in column.wireshark.split() if theirs[field]]
            ours = frame.loc[number, column.name]
            if name == "GENEVE in IP" and column.name == "vni":
                continue  # of the outermost tunnel, which has none
            if not there:
                assert pd.isna(ours), (name, column.name)
            elif column.name == "tls_type":
                assert ours == {"1": "ClientHello", "2": "ServerHello"}[there[0]]
            elif column.name == "tls_cipher" and theirs["tls.handshake.type"] == "1":
                assert pd.isna(ours)  # those offered
            elif column.name == "vni" and name in {"two tunnels", "VXLAN in GRE"}:
                assert pd.isna(ours)
            elif column.dtype == "category":
                assert ours == there[0].replace(":", "") or ours == there[0], (name, column.name)
            else:
                assert ours == int(there[0], 0), (name, column.name)


@needs("tshark")
def test_inner_addresses_are_the_last_that_wireshark_sees(read: Read, tmp_path: Path) -> None:
    names = [name for name in LAYERED if name not in {"VXLAN ARP", "IPv6 fragment"}]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(LAYERED[name] for name in names))
    frame = read(path, layers=["tunnel"])
    fields = ["ip.src", "ip.dst", "ipv6.src", "ipv6.dst"]
    for name, number, first, last in zip(
        names, frame.index, tshark(path, fields, "f"), tshark(path, fields, "l"), strict=True
    ):
        if pd.isna(frame.loc[number, "tunnel"]):
            continue
        for end in ("src", "dst"):
            ours = frame.loc[number, f"inner_{end}"]
            assert ours in {last[f"ip.{end}"], last[f"ipv6.{end}"]}, name
            assert frame.loc[number, end] in {first[f"ip.{end}"], first[f"ipv6.{end}"]}, name
