"""Each row's own bytes, after whatever was done to the frame, and the way back into a capture file."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

import podtracer_nb
from podtracer_nb.errors import CaptureError, InputError
from tests.machine import needs
from tests.packets.captures import SEEDS, capture, enhanced, header, interface, pcapng, record, section, simple

PACKETS = SEEDS["EN10MB"][1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.pcap"
    file.write_bytes(capture(PACKETS, unit=1))
    return file


def without_places(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what stays the same where a packet moves to another file."""
    places = [name for name in frame.columns if name in {"offset", "dns_offset"}]
    return frame.drop(columns=places).reset_index(drop=True).astype(object)


def test_a_row_s_bytes_after_filtering_sorting_and_parquet(path: Path, tmp_path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    changed = frame[frame["length"] > 60].sort_values("length")
    changed.to_parquet(tmp_path / "x.parquet")
    podtracer_nb.to_parquet(path, tmp_path / "out", progress=False)
    for each in (changed, pd.read_parquet(tmp_path / "x.parquet"), podtracer_nb.read_parquet(tmp_path / "out")):
        for number in each.index:
            assert each.podtrace.raw(number) == PACKETS[number - 1]
            assert bytes(each.podtrace.packet(number)) == PACKETS[number - 1]
    assert isinstance(frame.podtrace.packet(3), Ether) and frame.podtrace.packet(3)[TCP].dport == 80


def test_of_several_files_and_interfaces_each_packet_is_its_own(tmp_path: Path) -> None:
    raw = SEEDS["RAW"][1][0]
    parts = [
        gzip.compress(capture(PACKETS[:5])),
        section()
        + interface(1)
        + interface(101, options=[(2, b"tun0")])
        + enhanced(raw, which=1)
        + enhanced(PACKETS[0]),
    ]
    files = [tmp_path / "a.pcap.gz", tmp_path / "b.pcapng"]
    for file, data in zip(files, parts, strict=True):
        file.write_bytes(data)
    frame = podtracer_nb.read_pcap(list(files)).sort_values("caplen")
    expected = [*PACKETS[:5], raw, PACKETS[0]]
    assert [frame.podtrace.raw(number) for number in range(1, 8)] == expected
    assert isinstance(frame.podtrace.packet(6), IP) and isinstance(frame.podtrace.packet(7), Ether)
    with pytest.raises(InputError, match=r"link types.*pcapng"):
        frame.podtrace.to_pcap(tmp_path / "all.pcap")
    assert frame.podtrace.to_pcap(tmp_path / "all.pcapng") == 7
    again = podtracer_nb.read_pcap(tmp_path / "all.pcapng")
    assert [again.podtrace.raw(number) for number in again.index] == [expected[n - 1] for n in frame.index]
    assert "tun0" in set(again["interface"])


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("suffix", ["pcap", "pcapng"])
def test_a_frame_written_and_read_again_is_the_frame(tmp_path: Path, name: str, suffix: str) -> None:
    linktype, seeds = SEEDS[name]
    file = tmp_path / "x.pcap"
    file.write_bytes(capture(seeds, linktype, unit=1))
    frame = podtracer_nb.read_pcap(file)
    assert frame.podtrace.to_pcap(tmp_path / f"y.{suffix}") == len(seeds)
    again = podtracer_nb.read_pcap(tmp_path / f"y.{suffix}")
    if suffix == "pcapng" and name != "LINUX_SLL2":
        again["interface"] = frame["interface"].to_numpy()
    if suffix == "pcapng" and name == "LINUX_SLL2":
        again, frame = again.drop(columns="interface"), frame.drop(columns="interface")
    pd.testing.assert_frame_equal(without_places(again), without_places(frame))
    assert again.attrs["podtracer"]["capture"]["resolution"] == "ns"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_capture_there_and_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.one_of(st.sampled_from(PACKETS), st.binary(max_size=60)), min_size=1, max_size=12))
    times = data.draw(
        st.lists(
            st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 10**9 - 1)), min_size=len(chosen), max_size=len(chosen)
        )
    )
    lengths = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(chosen), max_size=len(chosen)))
    suffix = data.draw(st.sampled_from(["pcap", "pcapng"]))
    folder = tmp_path_factory.mktemp("any")
    records = [
        record(each, seconds=seconds or 1, fraction=fraction, length=length)
        for each, (seconds, fraction), length in zip(chosen, times, lengths, strict=True)
    ]
    (folder / "x.pcap").write_bytes(header(unit=1) + b"".join(records))
    frame = podtracer_nb.read_pcap(folder / "x.pcap")
    kept = frame[data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)))]
    kept.podtrace.to_pcap(folder / f"y.{suffix}")
    again = podtracer_nb.read_pcap(folder / f"y.{suffix}")
    drop = {"interface"}
    pd.testing.assert_frame_equal(
        without_places(again.drop(columns=list(drop))), without_places(kept.drop(columns=list(drop))), check_dtype=False
    )


@needs("tshark")
def test_wireshark_reads_what_was_written(path: Path, tmp_path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    tcp = frame[frame["proto"] == "TCP"]
    first = int(tcp.index[0])
    tcp.podtrace.to_pcap(tmp_path / "y.pcap")
    tcp.podtrace.to_pcap(tmp_path / "y.pcapng", comments={first: "hier «é»\nzwei"})
    for name in ("y.pcap", "y.pcapng"):
        fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.comment"]
        done = subprocess.run(
            ["tshark", "-n", "-r", tmp_path / name, *fields], capture_output=True, text=True, check=True, env=None
        )
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        assert [int(line[1]) for line in lines] == tcp["length"].tolist()
        assert [line[0] for line in lines] == [
            f"{time.timestamp():.0f}.{time.value % 10**9:09}" for time in tcp["time"]
        ]
        assert ("zwei" in lines[0][2]) == (name == "y.pcapng")
    assert podtracer_nb.read_pcap(tmp_path / "y.pcapng")["comment"].iloc[0] == "hier «é»\nzwei"


def test_packets_without_a_time_stay_without(tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    file.write_bytes(section() + interface() + simple(PACKETS[0]) + enhanced(PACKETS[1]))
    frame = podtracer_nb.read_pcap(file)
    with pytest.raises(InputError, match="no time"):
        frame.podtrace.to_pcap(tmp_path / "y.pcap")
    frame.podtrace.to_pcap(tmp_path / "y.pcapng")
    pd.testing.assert_frame_equal(
        without_places(podtracer_nb.read_pcap(tmp_path / "y.pcapng")), without_places(frame), check_dtype=False
    )


def test_what_cannot_be_written_is_one_line_and_leaves_what_was_there(path: Path, tmp_path: Path) -> None:
    frame = podtracer_nb.read_pcap(path)
    out = tmp_path / "y.pcap"
    out.write_text("before")
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: frame.podtrace.to_pcap(out, comments={1: "x"}), InputError, "comment.*pcapng"),
        (lambda: frame.podtrace.to_pcap(out, format="snoop"), InputError, "snoop"),
        (lambda: frame.podtrace.to_pcap(tmp_path / "none" / "y.pcap"), CaptureError, "No such file"),
        (lambda: frame.drop(columns="offset").podtrace.to_pcap(out), InputError, "no column offset"),
        (lambda: podtracer_nb.read_pcap(path.read_bytes()).podtrace.to_pcap(out), CaptureError, "bytes or a stream"),
    ]
    for write, error, match in cases:
        with pytest.raises(error, match=match) as caught:
            write()
        assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CaptureError, match="ends before frame"):
        frame.podtrace.to_pcap(out)
    path.unlink()
    with pytest.raises(CaptureError, match="cannot be read"):
        frame.podtrace.to_pcap(out)
    assert out.read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["y.pcap"]


def test_an_empty_frame_is_an_empty_capture(path: Path, tmp_path: Path) -> None:
    frame = podtracer_nb.read_pcap(path).head(0)
    for suffix in ("pcap", "pcapng"):
        assert frame.podtrace.to_pcap(tmp_path / f"y.{suffix}") == 0
        assert podtracer_nb.read_pcap(tmp_path / f"y.{suffix}").empty
    assert pcapng([])[:4] == (tmp_path / "y.pcapng").read_bytes()[:4]


def test_of_several_targets_each_has_its_own_recording(tmp_path: Path) -> None:
    frames = []
    for name, seeds in (("web", PACKETS), ("db", PACKETS[::-1])):
        (tmp_path / name).write_bytes(capture(seeds))
        frames.append(podtracer_nb.read_pcap((tmp_path / name).read_bytes()))
        frames[-1].insert(0, "target", pd.Categorical([name] * len(seeds), categories=["web", "db"]))
    frame = pd.concat(frames).sort_values("time", kind="stable")
    captures = [each.attrs["podtracer"]["capture"] for each in frames]
    frame.attrs["podtracer"] = {"recordings": [str(tmp_path / "web"), str(tmp_path / "db")], "captures": captures}
    answers, blocks = frame.podtrace.dns(), frame.podtrace.sack()
    assert answers["target"].tolist() == ["web", "db"]
    assert [PACKETS[n - 1] for n in answers["frame"][:1]] == [PACKETS[::-1][n - 1] for n in answers["frame"][1:]]
    assert blocks["target"].tolist() == ["web", "web", "db", "db"]
    alone = frame[frame["target"] == "db"]
    assert set(alone.podtrace.dns()["target"]) == {"db"}
    single = frames[0].drop(columns="target")
    single.attrs["podtracer"] = {"recordings": [str(tmp_path / "web")], "capture": captures[0]}
    assert single.podtrace.dns()["frame"].tolist() == answers["frame"][:1].tolist()
