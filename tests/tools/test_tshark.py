"""tshark: fields with their types, streams, JSON and captures, from traffic that the test has made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import InputError, TargetError
from podtracer_nb.tools import tshark_fields
from podtracer_nb.tools.inside import allow_setgroups
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.packets.captures import SEEDS, capture
from tests.targets.namespaces import until
from tests.tools import servers
from tests.tools.test_ngrep import meanwhile
from tests.tools.way import CLIENT, SERVER, Way, listening

PORT = 8084
EPOCH = 1_700_000_000


@pytest.fixture
def pcap(tmp_path: Path) -> Path:
    """Return a capture of every kind of Ethernet packet that the reader's tests have."""
    file = tmp_path / "seeds.pcap"
    linktype, chosen = SEEDS["EN10MB"]
    file.write_bytes(capture(chosen, linktype))
    return file


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep tshark's list of fields where it is made once for all of these tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    yield
    tshark_fields._list.cache_clear()


def tshark(pid: int, *words: str, **more: object) -> pd.DataFrame:
    return podtracer_nb.run("tshark", words, pid=pid, **more)  # type: ignore[arg-type]


@needs("netns", "iproute2", "tshark", "curl")
class TestLive:
    def test_packets_of_a_target_with_usual_fields(self, ways: Way) -> None:
        with ways.server.running(sys.executable, servers.__file__, "http", str(PORT)):
            listening(ways.server, PORT)
            frame = self.captured(ways, "-c", "20", "-f", f"tcp port {PORT}")
        assert frame["frame.number"].tolist() == list(range(1, 21))
        assert set(frame["_ws.col.Source"]) == set(frame["_ws.col.Destination"]) == {CLIENT, SERVER}
        assert frame["frame.time_epoch"].is_monotonic_increasing
        assert (pd.Timestamp.now("UTC") - frame["frame.time_epoch"]).max() < pd.Timedelta("1min")
        # It may have begun within a connection: twenty packets hold the beginning of one.
        begun = frame[frame["_ws.col.Info"].str.contains("[SYN]", regex=False)]
        assert begun["_ws.col.Source"].unique().tolist() == [CLIENT]
        assert frame.attrs["podtracer"]["drops"]["captured"] == 20

    def test_a_capture_can_be_had_as_packets(self, ways: Way, tmp_path: Path) -> None:
        file = tmp_path / "kept.pcapng"
        with ways.server.running(sys.executable, servers.__file__, "http", str(PORT)):
            listening(ways.server, PORT)
            frame = self.captured(ways, "-c", "20", "-w", str(file), "-f", f"tcp port {PORT}")
            dumped = self.captured(ways, "-c", "20", "-f", f"tcp port {PORT}", tool="dumpcap")
        for each in (frame, dumped):
            assert {"S", "SA", "A"} < set(each.tcp_flags) and set(each.src) == {CLIENT, SERVER}
        assert len(podtracer_nb.read_pcap(file)) == 20

    def captured(self, ways: Way, *words: str, tool: str = "tshark") -> pd.DataFrame:
        url = f"http://{SERVER}:{PORT}/"
        return podtracer_nb.run(
            tool, ["-i", "eth0", *words], pid=ways.client.pid, timer=30,
            progress=meanwhile(lambda: ways.client.run("curl", "-s", "-o", "/dev/null", url)),
        )  # fmt: skip

    def test_no_such_interface(self, ways: Way) -> None:
        with pytest.raises(TargetError, match="no interface nosuch0"):
            tshark(ways.client.pid, "-i", "nosuch0")


@needs("netns", "iproute2", "tshark")
class TestFields:
    def test_each_has_tshark_s_own_type(self, ways: Way, pcap: Path) -> None:
        fields = {
            "frame.number": "Int64", "frame.time_epoch": "datetime64[ns, UTC]", "frame.time": "datetime64[ns, UTC]",
            "frame.time_delta": "Float64", "ip.src": "str", "ip.ttl": "Int64", "tcp.flags": "Int64",
            "tcp.flags.syn": "boolean", "eth.src": "str", "dns.qry.name": "str", "udp.checksum": "Int64",
            "tcp.options.timestamp.tsval": "Int64", "ip.checksum.status": "Int64", "dns.a": "str",
            "frame.interface_id": "Int64", "eth.lg": "boolean",
        }  # fmt: skip
        words = [word for name in fields for word in ("-e", name)]
        frame = tshark(ways.client.pid, "-r", str(pcap), *words)
        assert {name: str(frame[name].dtype) for name in fields} == fields
        # Against what tshark prints, field by field.
        printed = subprocess.run(
            ["tshark", "-n", "-r", pcap, "-T", "fields", "-E", "occurrence=f", *words], capture_output=True, text=True,
            check=True, env={"TZ": "UTC0", "PATH": "/usr/bin:/bin"},
        ).stdout.splitlines()  # fmt: skip
        assert len(printed) == len(frame) > 20
        for line, (_, row) in zip(printed, frame.iterrows(), strict=True):
            for name, text in zip(fields, line.split("\t"), strict=True):
                value = row[name]
                if not text:
                    assert pd.isna(value), name
                elif fields[name] == "Int64":
                    assert value == int(text, 0), name
                elif fields[name] == "boolean":
                    assert value == (text in ("1", "True")), name
                elif fields[name] == "Float64":
                    assert value == float(text), name
                elif fields[name] == "str":
                    assert value == text, name
        assert frame["frame.time_epoch"][0] == frame["frame.time"][0] == pd.Timestamp(EPOCH, unit="s", tz="UTC")

    def test_several_values_in_a_packet_are_the_first_and_a_list(self, ways: Way, pcap: Path) -> None:
        words = ["-r", str(pcap), "-e", "tcp.port", "-e", "tcp.srcport", "-e", "tcp.dstport", "-Y", "tcp && !icmp"]
        frame = tshark(ways.client.pid, *words)
        assert len(frame) > 1 and str(frame["tcp.port"].dtype) == "Int64" and "tcp.srcport.all" not in frame
        assert frame["tcp.port"].tolist() == frame["tcp.srcport"].tolist()
        assert frame["tcp.port.all"].tolist() == [
            list(ports) for ports in zip(frame["tcp.srcport"], frame["tcp.dstport"], strict=True)
        ]
        last = tshark(ways.client.pid, *words, "-E", "occurrence=l")
        assert last["tcp.port"].tolist() == frame["tcp.dstport"].tolist() and "tcp.port.all" not in last

    def test_the_user_s_form_of_lines_changes_nothing(self, ways: Way, pcap: Path) -> None:
        plain = tshark(ways.client.pid, "-r", str(pcap), "-e", "ip.src", "-e", "ip.dst")
        form = [
            "-T",
            "fields",
            "-E",
            "header=y",
            "-E",
            "separator=,",
            "-Equote=d",
            "-e",
            "ip.src",
            "-eip.dst",
            "-e",
            "ip.src",
        ]
        other = tshark(ways.client.pid, "-r", str(pcap), *form)
        plain.attrs, other.attrs = {}, {}
        pd.testing.assert_frame_equal(plain, other)

    def test_a_field_that_is_none_is_one_line(self, ways: Way, pcap: Path) -> None:
        with pytest.raises(InputError, match=r"^tshark knows no field nor.this, no.such: ") as raised:
            tshark(ways.client.pid, "-r", str(pcap), "-e", "no.such", "-e", "nor.this")
        assert "\n" not in str(raised.value)
        with pytest.raises(InputError, match=r"tshark refuses: .*no\.such"):
            tshark(ways.client.pid, "-r", str(pcap), "-Y", "no.such == 1")

    def test_no_packet_fits(self, ways: Way, pcap: Path) -> None:
        frame = tshark(ways.client.pid, "-r", str(pcap), "-e", "ip.src", "-Y", "frame.number == 100000")
        assert frame.empty and list(frame.columns) == ["ip.src"]

    def test_read_again_it_is_the_same(self, ways: Way, pcap: Path) -> None:
        frame = tshark(ways.client.pid, "-r", str(pcap), "-e", "frame.number", "-e", "tcp.port")
        pd.testing.assert_frame_equal(frame.podtrace.table("fields"), frame, check_flags=False)


@needs("netns", "iproute2", "tshark", "curl", "tcpdump")
class TestStreams:
    @pytest.fixture
    def http(self, ways: Way, tmp_path: Path) -> Path:
        file = tmp_path / "http.pcap"
        with ways.server.running(sys.executable, servers.__file__, "http", str(PORT)):
            listening(ways.server, PORT)
            # As uid 0 of an ordinary user's namespace tcpdump ends when setgroups(2) fails: user_namespaces(7).
            words = [sys.executable, "-I", "-S", allow_setgroups.__file__, "tcpdump", "-Z", "root", "-i", "eth0", "-U"]
            with ways.server.running(*words, "--immediate-mode", "-w", str(file), "tcp") as process:
                until(lambda: file.exists() and file.stat().st_size >= 24)  # its header: it captures
                ways.client.run("curl", "-s", "-o", "/dev/null", f"http://{SERVER}:{PORT}/?size=5000")
                process.terminate()
                process.wait(10)
        return file

    def test_each_piece_is_a_row(self, ways: Way, http: Path) -> None:
        frame = tshark(ways.client.pid, "-r", str(http), "-z", "follow,tcp,ascii,0")
        assert frame.direction[0] == "->" and set(frame.direction[1:]) == {"<-"}
        assert frame.payload[0].startswith(f"GET /?size=5000 HTTP/1.1\r\nHost: {SERVER}:{PORT}\r\n")
        assert frame.src[0].startswith(f"{CLIENT}:") and frame.dst[0] == f"{SERVER}:{PORT}"
        assert (frame.payload.str.len() == frame.length).all()
        back = "".join(frame.payload[1:])
        assert back.partition("\r\n\r\n")[2] == "x" * 5000
        raw = tshark(ways.client.pid, "-r", str(http), "-q", "-z", "follow,tcp,raw,0")
        assert raw.length.tolist() == frame.length.tolist()
        assert bytes.fromhex(raw.payload[0]).decode() == frame.payload[0]

    def test_a_stream_that_is_not_there_is_empty(self, ways: Way, http: Path) -> None:
        assert tshark(ways.client.pid, "-r", str(http), "-z", "follow,tcp,ascii,77").empty

    def test_whole_packets_as_json(self, ways: Way, http: Path) -> None:
        frame = tshark(ways.client.pid, "-r", str(http), "-T", "json")
        assert frame.number.tolist() == list(range(1, len(frame) + 1))
        assert frame.layers[0]["ip"]["ip.src"] == CLIENT and isinstance(frame.layers[0]["ip"]["ip.addr"], list)
        elastic = tshark(ways.client.pid, "-r", str(http), "-T", "ek")
        assert elastic.time.tolist() == frame.time.tolist() and elastic.number.tolist() == frame.number.tolist()

    def test_other_statistics_and_details_are_lines(self, ways: Way, http: Path) -> None:
        assert tshark(ways.client.pid, "-r", str(http), "-q", "-z", "io,phs").line.str.contains("tcp").any()
        assert tshark(ways.client.pid, "-r", str(http), "-V").line.str.startswith("Transmission Control").any()
        assert tshark(ways.client.pid, "-r", str(http), text=True).line.str.contains("GET /").any()


def fields(text: str, *names: str) -> pd.DataFrame:
    (_, frame), *_ = tshark_fields.parse(names, Text((), text)).tables
    assert isinstance(frame, pd.DataFrame)
    return frame


def test_times_in_the_form_of_every_version() -> None:
    for text in ("1700000000.000000002", "2023-11-14T22:13:20.000000002Z", "Nov 14, 2023 22:13:20.000000002 UTC",
                 "2023-11-14T22:13:20.000000002+0000"):  # fmt: skip
        frame = fields(f"{text}\n{text}\n", "frame.time")
        assert frame["frame.time"][1].value == 1_700_000_000_000_000_002, text
    assert str(fields("soon\n", "frame.time")["frame.time"].dtype) == "str"


def test_what_is_no_number_stays_text() -> None:
    assert fields("80\nhttp (80)\n", "tcp.srcport")["tcp.srcport"].tolist() == ["80", "http (80)"]
    assert fields("0x0018\n\n", "tcp.flags")["tcp.flags"].tolist() == [24, pd.NA]
    assert fields("True\n0\n", "tcp.flags.syn")["tcp.flags.syn"].tolist() == [True, False]


def test_the_last_line_counts_only_when_it_is_whole() -> None:
    assert fields("1\n2\n3", "frame.number")["frame.number"].tolist() == [1, 2]


def test_lines_of_another_form_are_no_table() -> None:
    with pytest.raises(Unreadable):
        fields("1\t2\t3\n1\t2\t3\t4\n", "frame.number")


@settings(deadline=None, database=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.tuples(*[st.sampled_from(["", "1", "0x1f", "x", "1\x1e2", "1700000000.5", "é"])] * 3), min_size=1),
    st.integers(1, 200),
)
def test_read_while_it_comes_it_is_the_same_as_at_the_end(rows: list[tuple[str, ...]], size: int) -> None:
    names = ("tcp.srcport", "frame.time_epoch", "ip.src")
    data = "".join("\t".join(row) + "\n" for row in rows).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tshark_fields, "_CHUNK", size)
        gathering = tshark_fields.Gather(names)
        for at in range(0, len(data), 7):
            gathering.add(data[at : at + 7])
        found = gathering.parsed()
    if found is not None:
        (_, frame), *_ = found.tables
        assert isinstance(frame, pd.DataFrame)
        pd.testing.assert_frame_equal(frame, fields(data.decode(), *names))


STREAM = f"""
{"=" * 67}
Follow: tcp,ascii
Filter: tcp.stream eq 0
Node 0: 10.0.0.1:41020
Node 1: 10.0.0.2:8000
6
GET /

\t5
hello
{"=" * 67}
"""


@settings(deadline=None, database=None, max_examples=60, derandomize=True)
@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(0, len(STREAM)), st.integers(0, 20))
def test_whatever_a_stream_looks_like_it_is_a_table_or_unreadable(junk: str, at: int, length: int) -> None:
    parse = find("tshark").command(("-z", "follow,tcp,ascii,0"), Options(), False).parse
    assert parse is not None
    try:
        (table, rows), *_ = parse(Text((), STREAM[:at] + junk + STREAM[at + length :])).tables
    except Unreadable:
        return
    table.frame(rows)


@pytest.mark.parametrize(
    ("words", "output", "endless"),
    [
        ([], "table", True), (["-c", "3"], "table", False), (["-r", "x"], "table", False), (["-V"], "lines", True),
        (["-w", "x.pcapng", "-a", "duration:1"], "packets", False), (["-T", "pdml"], "lines", True),
        (["-T", "json", "-r", "x"], "table", False), (["-D"], "lines", False), (["-G", "fields"], "lines", False),
        (["-w", "x", "-b", "filesize:10"], "lines", True),
    ],
)  # fmt: skip
def test_what_each_form_gives(words: list[str], output: str, endless: bool) -> None:
    command = find("tshark").command(tuple(words), Options(), False)
    assert (command.output, command.endless) == (output, endless)
