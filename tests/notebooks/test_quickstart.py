"""The first notebook on real demo pods: what it shows is what is on the wire, by tshark's reading of the same file."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from podtracer_nb import demo
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump")

# Our column, and Wireshark's fields of which a packet has the first that is there.
COMPARED = {
    "length": ("frame.len",),
    "src": ("ip.src", "ipv6.src", "arp.src.proto_ipv4"),
    "dst": ("ip.dst", "ipv6.dst", "arp.dst.proto_ipv4"),
    "sport": ("tcp.srcport", "udp.srcport"),
    "dport": ("tcp.dstport", "udp.dstport"),
    "tcp_seq": ("tcp.seq_raw",),
    "tcp_ack": ("tcp.ack_raw",),
    "dns_qname": ("dns.qry.name",),
}
FLAGS = "FSRPAUEC"


@pytest.fixture(scope="module")
def executed(runner: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookNode]:
    """Return the notebook after its run, with one more cell that hands its first table out as JSON."""
    own = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(own / "state"))
        patch.setenv("PODTRACER_RECORDINGS", str(own / "recordings"))
        notebook = nbformat.read(runner.QUICKSTART, as_version=4)
        hand_out = "print(df.drop(columns='time').reset_index().to_json(orient='records'))"
        notebook.cells.append(new_code_cell(hand_out, id="hand-out"))
        with runner.demo_pods():
            yield runner.execute(notebook)
        assert demo.status().running is False, "the runner takes down what it has started"


@pytest.fixture(scope="module")
def rows(executed: NotebookNode) -> list[dict[str, Any]]:
    """Return the rows of the notebook's first table."""
    found: list[dict[str, Any]] = json.loads(text(cell(executed, "hand-out")))
    return found


@pytest.fixture(scope="module")
def recording(executed: NotebookNode) -> Path:
    """Return the capture file behind that table, as the notebook's provenance names it."""
    shown = text(cell(executed, "provenance"))
    quoted = shown.split("'recordings': [")[1].split("'")[1]
    return Path(quoted)


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(each for each in notebook.cells if each.id == name)


def text(shown: NotebookNode) -> str:
    return "".join(out.get("text") or out.get("data", {}).get("text/plain", "") for out in shown.outputs)


def test_every_cell_ran_without_a_warning(executed: NotebookNode) -> None:
    said = [out.text for each in executed.cells for out in each.get("outputs", []) if out.get("name") == "stderr"]
    # Where no C compiler was, one warning says that reading is slow.
    assert [text for text in said if "InterpretedWarning" not in text] == []


def test_it_shows_the_demos_pods(executed: NotebookNode) -> None:
    assert all(name in text(cell(executed, "pods")) for name in ("web", "api", "dns", "client", "10.88.0.10"))


def test_its_packets_are_the_demos_web_traffic(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 300
    web = {"10.88.0.10", "fd00:88::10"}
    addressed = [row for row in rows if row["proto"] in ("TCP", "UDP")]
    assert addressed and all({row["src"], row["dst"]} & web for row in addressed)
    requests = [row for row in rows if row["dport"] == 80 and row["src"] in ("10.88.0.100", "fd00:88::100")]
    assert {"S", "A", "PA"} <= {row["tcp_flags"] for row in requests}
    assert "api.demo.svc.cluster.local" in {row["dns_qname"] for row in rows}


@needs("tshark")
def test_its_table_is_what_tshark_reads_in_the_same_file(rows: list[dict[str, Any]], recording: Path) -> None:
    fields = [field for names in COMPARED.values() for field in names]
    argv = ["tshark", "-n", "-r", str(recording), "-T", "fields", "-E", "header=y", "-E", "occurrence=f"]
    for field in ("frame.number", "tcp.flags", *fields):
        argv += ["-e", field]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    theirs = pd.read_csv(io.StringIO(done.stdout), sep="\t", dtype=str, keep_default_na=False)
    assert len(theirs) == len(rows)
    for ours, (_, packet) in zip(rows, theirs.iterrows(), strict=True):
        assert ours["frame"] == int(packet["frame.number"])
        for column, names in COMPARED.items():
            expected = next((packet[name] for name in names if packet[name]), None)
            value = ours[column]
            assert (None if value is None else str(value)) == expected, (ours["frame"], column)
        set_bits = int(packet["tcp.flags"], 16) if packet["tcp.flags"] else None
        letters = None if set_bits is None else {each for bit, each in enumerate(FLAGS) if set_bits >> bit & 1}
        assert (None if ours["tcp_flags"] is None else set(ours["tcp_flags"])) == letters, ours["frame"]


def test_the_name_that_nobody_has_is_nxdomain_in_each_search_domain(executed: NotebookNode) -> None:
    shown = text(cell(executed, "dns"))
    assert "NXDOMAIN" in shown and "NOERROR" in shown
    assert "billing.demo.svc.cluster.local" in shown and "web.demo.svc.cluster.local" in shown


def test_the_one_packet_is_a_request_of_the_client(executed: NotebookNode) -> None:
    assert "HTTP/1.1" in text(cell(executed, "packet")) and "GET /" in text(cell(executed, "packet"))


def test_the_sockets_are_the_pods_own(executed: NotebookNode) -> None:
    assert re.search(r"LISTEN +\S+ +80 ", text(cell(executed, "sockets")))


def test_the_terminal_gets_the_rows_the_conversations_and_the_provenance(
    runner: ModuleType, executed: NotebookNode
) -> None:
    printed = "\n".join(runner.printed(executed))
    for words in ("tcp_flags", "packets_ab", "'sha256'", "10.88.0.10"):
        assert words in printed
    tables = [text(cell(executed, name)) for name in ("rows", "conversations")]
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80, "a terminal wraps none of them"


def test_the_page_is_made_of_it(runner: ModuleType, executed: NotebookNode) -> None:
    page = runner.page(executed)
    assert "10.88.0.10" in page
    assert "<script" not in page
