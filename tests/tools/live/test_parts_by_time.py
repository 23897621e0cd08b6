"""Files that rotate by time: tcpdump's -G, alone, with -C and with -W."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb import packets
from podtracer_nb.errors import ToolFailed
from podtracer_nb.tools.live.parts import Parts, Rotation
from tests.machine import needs
from tests.packets.captures import header, record
from tests.targets.namespaces import until

BEGAN = 1_700_000_000


def written(tmp_path: Path, rotation: Rotation, seconds: list[float], chunks: int = 1) -> Parts:
    """Copy packets of these times into parts, in so many chunks; return the parts."""
    source = tmp_path / "source"
    stamps = [(BEGAN + int(each), round(each % 1 * 10**6)) for each in seconds]
    body = [record(bytes(60), seconds=whole, fraction=fraction) for whole, fraction in stamps]
    source.write_bytes(header() + b"".join(body))
    frame = packets.read(source)
    assert len(frame) == len(seconds)
    parts = Parts(source, tmp_path / "x-%s.pcap", rotation)
    parts.copy(None, len(header()))  # as a capture is seen before its first packet
    for rows in np.array_split(np.arange(len(frame)), chunks):
        chunk = frame.iloc[rows]
        if len(chunk):
            parts.copy(chunk, int(chunk["offset"].iloc[-1] + chunk["caplen"].iloc[-1]))
    parts.end()
    parts.close()
    return parts


def lengths(parts: Parts) -> list[int]:
    return [len(packets.read(path)) for path in parts.paths]


@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
def test_another_file_begins_with_the_first_packet_so_many_seconds_later(tmp_path, chunks):
    parts = written(tmp_path, Rotation(None, seconds=10), [0, 1, 9.9, 10, 11, 25, 34.9, 35], chunks)
    assert lengths(parts) == [3, 2, 2, 1]
    assert [path.name for path in parts.paths[1:]] == [f"x-{BEGAN + each}.pcap" for each in (10, 25, 35)]
    assert parts.paths[0].name == f"x-{BEGAN}.pcap", "not after the moment at which the header was seen"
    whole = pd.concat([packets.read(path) for path in parts.paths])
    assert whole["time"].is_monotonic_increasing and len(whole) == 8


@pytest.mark.parametrize("chunks", [1, 3])
def test_by_time_and_size_the_files_of_one_time_are_counted(tmp_path, chunks):
    parts = written(tmp_path, Rotation(24 + 76, seconds=10), [0, 1, 2, 3, 4, 12, 13, 14], chunks)
    assert lengths(parts) == [2, 2, 1, 2, 1]
    assert [path.name for path in parts.paths[3:]] == [f"x-{BEGAN + 12}.pcap", f"x-{BEGAN + 12}.pcap1"]


@pytest.mark.parametrize("chunks", [1, 4])
def test_with_a_count_there_are_so_many_and_no_more(tmp_path, chunks):
    parts = written(tmp_path, Rotation(None, 2, 10), [0, 5, 10, 15, 20, 30, 40], chunks)
    assert lengths(parts) == [2, 2] and parts.complete


def test_a_capture_without_a_packet_is_a_file(tmp_path):
    assert lengths(written(tmp_path, Rotation(None, seconds=10), [])) == [0]


def test_a_clock_that_goes_back_ends_no_file(tmp_path):
    assert lengths(written(tmp_path, Rotation(None, seconds=10), [0, 5, 1, 2, 9, 3, 12])) == [6, 1]


@needs("netns", "iproute2", "tcpdump", "ping")
@pytest.mark.parametrize("engine", ["ring", "tcpdump"])
def test_a_capture_ends_after_so_many_files(shared_wire, tmp_path, engine):
    words = {"filter": "icmp", "interface": "eth0", "engine": engine, "file": tmp_path / "x-%Y%m%d-%H%M%S.pcap"}
    with podtracer_nb.capture(pid=shared_wire.far.pid, rotate_seconds=1, rotate_count=2, **words) as live:

        def over() -> bool:
            shared_wire.ping(5)
            return not live.running

        until(over)
    assert len(live.files) == 2 and live.errors == []
    read = [packets.read(path) for path in live.files]
    assert all(len(each) for each in read)
    assert sorted(path.name for path in tmp_path.glob("*.pcap")) == sorted(path.name for path in live.files)
    for each in read:
        assert each["time"].max() - each["time"].min() < pd.Timedelta("1s")
    assert read[1]["time"].min() - read[0]["time"].min() >= pd.Timedelta("1s")


@needs("netns", "iproute2", "tcpdump", "ping")
def test_without_a_name_the_parts_are_called_after_their_times(shared_wire):
    with podtracer_nb.capture(pid=shared_wire.far.pid, filter="icmp", interface="eth0", rotate_seconds=1) as live:

        def two() -> bool:
            shared_wire.ping(5)
            return len(live.files) >= 2

        until(two)
    assert len({path.name for path in live.files}) == len(live.files)
    assert len(live.read()) == live.stats.packets


@needs("netns", "iproute2", "tcpdump", "ping")
def test_files_that_cannot_be_written_end_the_capture_and_it_says_why(shared_wire, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    words = {"filter": "icmp", "interface": "eth0", "rotate_seconds": 1, "file": folder / "x-%s.pcap"}
    live = podtracer_nb.capture(pid=shared_wire.far.pid, **words)
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()
    shared_wire.ping(5)
    with pytest.raises(ToolFailed, match="No such file"):
        live.wait(30)
    assert not live.running
