"""Every SACK block of every segment, as tshark lists them."""

from __future__ import annotations

import gzip
import random
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q

import podtracer_nb
from podtracer_nb.errors import CaptureError, InputError
from tests.machine import needs
from tests.packets.captures import CLIENT, CLIENT6, ETHER, SEEDS, SERVER, SERVER6, capture, header, record, sll2


def segments() -> list[bytes]:
    """Return segments with every number of blocks, behind every header, and some without any."""
    chooser = random.Random(11)
    below = [
        ETHER / IP(src=CLIENT, dst=SERVER),
        ETHER / Dot1Q(vlan=7) / IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrDestOpt(),
        ETHER / IP(src=CLIENT, dst=SERVER, options=b"\1\1\1\0"),
    ]
    made = []
    for n in range(60):
        edges = tuple(chooser.randrange(2**32) for _ in range(2 * (n % 5)))
        options = [("NOP", None), ("NOP", None), *([("SAck", edges)] if edges else [])]
        if n % 5 < 4 and chooser.random() < 0.5:
            options = [("NOP", None), ("NOP", None), ("Timestamp", (n, 2**32 - 1)), *options]
        tcp = TCP(sport=n + 1, dport=80, seq=chooser.randrange(2**32), ack=chooser.randrange(2**32), flags="A")
        tcp.options = options
        made.append(bytes(chooser.choice(below) / tcp / bytes(n % 3)))
    return [*made, *SEEDS["EN10MB"][1]]


def listed(blocks: pd.DataFrame) -> dict[int, list[tuple[int, int]]]:
    return {
        int(number): list(zip(rows["left"].tolist(), rows["right"].tolist(), strict=True))
        for number, rows in blocks.groupby("frame")
    }


@needs("tshark")
def test_blocks_equal_wireshark_s(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(segments()))
    argv = ["tshark", "-n", "-r", str(path), "-o", "tcp.relative_sequence_numbers:FALSE", "-T", "fields"]
    argv += [
        "-e",
        "frame.number",
        "-e",
        "tcp.options.sack_le",
        "-e",
        "tcp.options.sack_re",
        "-Y",
        "tcp.options.sack_le",
    ]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    theirs = {}
    for line in said:
        number, left, right = line.split("\t")
        theirs[int(number)] = list(zip(map(int, left.split(",")), map(int, right.split(",")), strict=True))
    frame = podtracer_nb.read_pcap(path)
    blocks = frame.podtrace.sack()
    assert listed(blocks) == theirs
    assert max(map(len, theirs.values())) == 4
    assert {name: str(dtype) for name, dtype in blocks.dtypes.items()} == {
        "frame": "int64",
        "block": "uint8",
        "left": "uint32",
        "right": "uint32",
    }
    first = blocks[blocks["block"] == 1].set_index("frame")
    there = frame[frame["tcp_sack_left"].notna()]
    assert first["left"].tolist() == there["tcp_sack_left"].tolist()
    assert first["right"].tolist() == there["tcp_sack_right"].tolist()


def test_blocks_of_chosen_rows_compressed_files_and_cooked_captures(tmp_path: Path) -> None:
    whole = segments()
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(capture(whole)))
    (tmp_path / "b.pcap").write_bytes(capture([sll2(IP(whole[n][14:]), 0x0800) for n in (1, 6)], 276))
    frame = podtracer_nb.read_pcap([tmp_path / "a.pcap.gz", tmp_path / "b.pcap"])
    chosen = frame[frame["sport"] == 5].sort_values("time", ascending=False)
    assert len(chosen.podtrace.sack()) == 4
    expected = listed(frame.podtrace.sack())
    assert listed(chosen.podtrace.sack()) == {5: expected[5]}
    assert frame.head(0).podtrace.sack().dtypes.equals(frame.podtrace.sack().dtypes)


def test_an_option_cut_by_the_snaplen_gives_its_whole_blocks(tmp_path: Path) -> None:
    tcp = TCP(sport=9, dport=80, options=[("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4, 5, 6))])
    packet = bytes(ETHER / IP(src=CLIENT, dst=SERVER) / tcp)
    path = tmp_path / "x.pcap"
    path.write_bytes(header() + b"".join(record(packet, keep=len(packet) - cut) for cut in range(30)))
    frame = podtracer_nb.read_pcap(path)
    counts = frame.podtrace.sack().groupby("frame").size().reindex(frame.index, fill_value=0).tolist()
    # An option that is not whole is none to the packet table.
    assert counts == [3] + [0] * 29


def test_what_is_missing_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(segments()))
    with pytest.raises(InputError, match="no column tcp_sack_left"):
        podtracer_nb.read_pcap(path, columns=["offset", "caplen"]).podtrace.sack()
    with pytest.raises(CaptureError, match="bytes or a stream"):
        podtracer_nb.read_pcap(path.read_bytes()).podtrace.sack()
