"""Every column that has a Wireshark field equals what tshark reads from the same capture, packet by packet."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from podtracer_nb.packets import schema
from podtracer_nb.packets.words import word
from tests.machine import needs
from tests.packets.captures import SEEDS, capture

pytestmark = needs("tshark")

COMPARED = [column for column in schema.COLUMNS if column.wireshark]
FIELDS = sorted({field for column in COMPARED for field in column.wireshark.split()} | {"ieee8021ad.id"})

# Columns of packets where the two differ on purpose: (proto, column) → why.
QUOTED = "tshark goes on into the packet that an ICMP error quotes; our columns are the outermost headers'"
EXCEPTIONS = {("ICMP", column): QUOTED for column in ("sport", "dport", "payload_length")}

# What a column's number is called in the table.
VOCABULARIES = {
    "tcp_flags": lambda value: word("tcp_flags", int(value, 16) & 0x1FF),
    "arp_op": lambda value: word("arp_op", int(value)),
    "dns_qtype": lambda value: word("dns_qtype", int(value)),
    "dns_rcode": lambda value: word("dns_rcode", int(value)),
}


def tshark(path: Path) -> list[dict[str, str]]:
    """Return the fields of every packet, each packet taken for itself."""
    options = ["ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE"]
    options += ["tcp.relative_sequence_numbers:FALSE"]  # the edges of SACK blocks have no raw field
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "header=y", "-E", "quote=d"]
    argv += [part for option in options for part in ("-o", option)]
    argv += [part for field in FIELDS for part in ("-e", field)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))


def theirs(column: schema.Column, packet: dict[str, str]) -> Any:
    """Return what tshark says of a column, as the column has it; None where it says nothing."""
    there = {field: packet[field] for field in column.wireshark.split() if packet[field]}
    if column.name == "vlan" and packet["ieee8021ad.id"]:
        # An 802.1ad tag has a field of its own, and stands outside the 802.1Q tag, whose id `vlan.id` is.
        there = {"ieee8021ad.id": packet["ieee8021ad.id"]}
    if not there:
        return None
    field, value = next(iter(there.items()))
    if column.name == "ethertype":
        # After a tag the tag's field has the payload's type; of stacked tags it is the last.
        return int(there.get("vlan.etype", value), 16)
    if column.name == "time":
        return pd.Timestamp(int(value.replace(".", "")), unit="ns", tz="UTC")
    if column.name == "payload_length" and field == "udp.length":
        return int(value) - 8
    if column.name in VOCABULARIES:
        return VOCABULARIES[column.name](value)
    as_is: dict[str, Callable[[str], Any]] = {"boolean": lambda text: text in {"1", "True"}, "category": str}
    return as_is.get(column.dtype, lambda text: int(text, 0))(value)


@pytest.mark.parametrize("column", COMPARED, ids=lambda column: column.name)
@pytest.mark.parametrize("name", SEEDS)
def test_column_equals_wireshark(
    read: Callable[..., pd.DataFrame], name: str, column: schema.Column, captured: dict[str, Any]
) -> None:
    path, seen = captured[name]
    frame = read(path)
    assert len(frame) == len(seen)
    for number, packet in zip(frame.index, seen, strict=True):
        ours = frame[column.name].loc[number]
        ours = None if pd.isna(ours) else ours
        if (frame["proto"].loc[number], column.name) in EXCEPTIONS and ours is None:
            continue
        if column.name == "dns_rcode" and not ours:
            assert packet["dns.flags.response"] in {"", "0", "False"}
            continue
        if column.name == "proto":
            protocol(ours, packet)
            continue
        assert ours == theirs(column, packet), f"packet {number}"


def protocol(ours: str | None, packet: dict[str, str]) -> None:
    """Compare `proto`: IPv6's own next header is that of the first extension, so there the layers that follow tell."""
    if packet["ip.proto"]:
        assert ours == word("proto", int(packet["ip.proto"]))
    elif packet["arp.opcode"]:
        assert ours == "ARP"
    elif packet["ipv6.nxt"] and word("proto", int(packet["ipv6.nxt"])) in {"TCP", "UDP", "ICMPv6"}:
        assert ours == word("proto", int(packet["ipv6.nxt"]))
    elif packet["udp.srcport"]:
        assert ours == "UDP"


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return, for each kind of capture, its file and what tshark says of it."""
    directory = tmp_path_factory.mktemp("captures")
    result = {}
    for name, (linktype, packets) in SEEDS.items():
        path = directory / f"{name}.pcap"
        path.write_bytes(capture(packets, linktype))
        result[name] = (path, tshark(path))
    return result
