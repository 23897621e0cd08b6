"""The ring engine sees what tcpdump sees: on the same traffic, both give the same frame."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb import packets
from podtracer_nb.errors import InputError, TargetError
from podtracer_nb.packets import _ring
from podtracer_nb.tools.inside import ring as program
from tests.machine import needs
from tests.packets.engines import load
from tests.targets.namespaces import until
from tests.tools.live.wire import Wire

pytestmark = needs("netns", "iproute2", "tcpdump", "ping")


def both(where: Wire, count: int, talk, **words) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Capture `count` packets with both engines at the same time."""
    with (
        podtracer_nb.capture(pid=where.far.pid, engine="ring", count=count, **words) as ring,
        podtracer_nb.capture(pid=where.far.pid, engine="tcpdump", count=count, **words) as tcpdump,
    ):
        talk()
        # tcpdump is handed what it counts a second late, at the latest.
        frames = ring.wait(20).read(), tcpdump.wait(20).read()
    assert [len(each) for each in frames] == [count, count]
    return frames


def assert_same(ring: pd.DataFrame, tcpdump: pd.DataFrame) -> None:
    """Compare all but the times, which each socket takes for itself, and what depends on their resolution."""
    late = (ring["time"] - tcpdump["time"]).abs().max()
    assert late < pd.Timedelta("20ms")
    pd.testing.assert_frame_equal(ring.drop(columns="time"), tcpdump.drop(columns="time"))


class TestAsTcpdump:
    def test_packets_of_an_interface(self, shared_wire):
        assert_same(*both(shared_wire, 40, lambda: shared_wire.ping(20), filter="icmp", interface="eth0"))

    def test_version_6(self, shared_wire):
        ring, tcpdump = both(
            shared_wire, 20, lambda: shared_wire.ping(10, "fd99::2"), filter="icmp6[0] >= 128 and icmp6[0] < 130"
        )
        assert_same(ring, tcpdump)
        assert set(ring["src"]) == {"fd99::1", "fd99::2"}

    @pytest.mark.parametrize(("tci", "tpid"), [(10, 0x8100), (0x6014, 0x8100), (30, 0x88A8), (0, 0x8100)])
    def test_tags_that_the_kernel_took_off_are_put_back(self, shared_wire, tci, tpid):
        def talk() -> None:
            shared_wire.tagged(10, tci, tpid)
            shared_wire.ping(5)

        ring, tcpdump = both(shared_wire, 20, talk, filter="icmp or (vlan and icmp)", interface="eth0")
        assert_same(ring, tcpdump)
        assert ring["vlan"].tolist()[:10] == [tci & 0xFFF] * 10
        assert ring["vlan"].isna().tolist()[10:] == [True] * 10
        assert set(ring["length"]) == {98, 102}, "84 bytes of IPv4, 14 of Ethernet, 4 of the tag"

    def test_a_snaplen(self, shared_wire):
        ring, tcpdump = both(shared_wire, 20, lambda: shared_wire.ping(10), filter="icmp", interface="eth0", snaplen=50)
        assert_same(ring, tcpdump)
        assert set(ring["caplen"]) == {50} and set(ring["length"]) == {98}

    def test_a_snaplen_counts_the_tag(self, shared_wire):
        talk = lambda: shared_wire.tagged(10, 10)  # noqa: E731
        assert_same(*both(shared_wire, 10, talk, filter="vlan 10 and icmp", interface="eth0", snaplen=60))

    def test_every_interface_with_a_filter(self, shared_wire):
        ring, tcpdump = both(
            shared_wire, 20, lambda: shared_wire.ping(10), filter="icmp and host 10.99.0.1", interface="any"
        )
        assert_same(ring, tcpdump)
        assert ring.attrs["podtracer"]["capture"]["linktype_name"] == "LINUX_SLL2"

    def test_a_packet_of_the_loopback_is_seen_once(self, shared_wire):
        talk = lambda: shared_wire.inside("ping", "-q", "-c", "5", "-i", "0.002", "127.0.0.1", where=shared_wire.far)  # noqa: E731
        ring, tcpdump = both(shared_wire, 10, talk, interface="lo")
        assert_same(ring, tcpdump)
        assert ring["icmp_type"].tolist() == [8, 0] * 5

    def test_without_an_interface_it_takes_the_one_that_tcpdump_takes(self, shared_wire):
        assert_same(*both(shared_wire, 10, lambda: shared_wire.ping(5), filter="icmp"))


class TestARun:
    def test_it_runs_in_the_foreground_too(self, shared_wire):
        pinging = subprocess.Popen(shared_wire.command("ping", "-q", "-i", "0.01", "-c", "100", "10.99.0.2"), stdout=-3)
        with pinging:
            df = podtracer_nb.run("tcpdump", pid=shared_wire.far.pid, engine="ring", filter="icmp", count=7)
            pinging.terminate()
        assert len(df) == 7
        assert df.attrs["podtracer"]["drops"]["dropped_by_kernel"] == 0
        assert df.podtrace.packet(3).haslayer("ICMP")

    def test_a_timer_ends_it_in_time_with_all_that_came(self, shared_wire):
        begun = time.monotonic()
        live = podtracer_nb.capture(pid=shared_wire.far.pid, engine="ring", filter="icmp", timer=1)
        shared_wire.ping(5)
        live.wait(5)
        assert 1 <= time.monotonic() - begun < 1.6
        assert len(live.df) == 10
        assert live.df.attrs["podtracer"]["reason"] == "timer"

    def test_pcapng_has_the_interfaces_name_and_the_drop_counter(self, shared_wire, tmp_path):
        file = tmp_path / "x.pcapng"
        with podtracer_nb.capture(pid=shared_wire.far.pid, file=file, filter="icmp", interface="eth0") as live:
            shared_wire.ping(5)
        df = live.read()
        assert len(df) == 10 and set(df["interface"]) == {"eth0"}
        [interface] = df.attrs["podtracer"]["capture"]["interfaces"]
        assert interface["name"] == "eth0"
        assert (interface["received"], interface["dropped_by_kernel"]) == (10, 0), interface
        assert live.df["src"].tolist() == df["src"].tolist()

    def test_what_the_kernel_dropped_is_reported(self, shared_wire):
        # A ring whose reader is stopped fills up.
        live = podtracer_nb.capture(
            pid=shared_wire.far.pid, engine="ring", args=["-B", "4096", "-i", "eth0"], filter="udp", keep=False
        )
        pid = live._session.jobs[0].run.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            shared_wire.flood(12_000, size=1000)
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: live.stats.dropped_by_kernel)
        live.stop()
        stats = live.stats
        drops = live.df.attrs["podtracer"]["drops"]
        assert stats.dropped_by_kernel == drops["dropped_by_kernel"] > 0
        assert stats.packets + stats.dropped_by_kernel == drops["received"] == 12_000


class TestRefusals:
    def test_a_filter_that_is_none(self, shared_wire):
        with pytest.raises(InputError, match=r"unknown port 'potato'.*pcap-filter"):
            podtracer_nb.capture(pid=shared_wire.far.pid, engine="ring", filter="port potato")

    def test_an_interface_that_is_not_there(self, shared_wire):
        with pytest.raises(TargetError, match="no interface eth9"):
            podtracer_nb.capture(pid=shared_wire.far.pid, engine="ring", interface="eth9")

    def test_words_of_tcpdumps_that_it_has_not(self, shared_wire):
        with pytest.raises(InputError, match="the ring engine has no -G"):
            podtracer_nb.run("tcpdump", ["-G", "5"], pid=shared_wire.far.pid, engine="ring")

    def test_another_tool(self, shared_wire):
        with pytest.raises(InputError, match="--engine is for tcpdump"):
            podtracer_nb.run("ss", ["-tn"], pid=shared_wire.far.pid, engine="ring")

    def test_a_copier_that_is_none(self):
        done = subprocess.run(
            [sys.executable, "-I", program.__file__, "/dev/null", "-i", "lo"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("ring: ")


def _blocks(records: list[tuple[int, int, int, bytes]]) -> bytearray:
    """Return a block as the kernel writes it: (status, tci, tpid, packet) each."""
    block = bytearray(1 << 20)
    at = 48
    struct.pack_into("=IIIIII", block, 8, 1, len(records), at, 0, 0, 0)
    for number, (status, tci, tpid, data) in enumerate(records):
        size = -(-(82 + len(data)) // 16) * 16
        struct.pack_into("=IIIIIIHHIIHH", block, at, size, 7 + number, 5, len(data), 100 + len(data), status, 82, 96,
                         0, tci, tpid, 0)  # fmt: skip
        struct.pack_into("=H", block, at + 48, 17)
        block[at + 50 : at + 52] = b"\x08\x00"
        struct.pack_into("=iHBB8s", block, at + 52, 3, 1, number % 5, 6, bytes(range(8)))
        block[at + 82 : at + 82 + len(data)] = data
        at += size
    return block


RECORDS = [
    (0, 0, 0, bytes(range(60))),
    (1 << 4, 10, 0, bytes(range(61))),
    (1 << 4 | 1 << 6, 0x2014, 0x88A8, bytes(range(200))),
    (0, 0, 0, b""),
    (1 << 4, 10, 0, bytes(5)),
]


class TestCopying:
    @pytest.mark.parametrize("cooked", [False, True])
    @pytest.mark.parametrize("blocks", [False, True])
    @pytest.mark.parametrize("snaplen", [40, 262_144])
    @pytest.mark.parametrize("loopback", [0, 3])
    def test_both_builds_write_the_same(self, cooked, blocks, snaplen, loopback):
        if not _ring.compiled:
            pytest.skip("installed without a C compiler")
        written = []
        for module in (_ring, load(Path(_ring.__file__).with_name("_ring.py"), "interpreted_ring")):
            out = bytearray(4096)
            copier = module.Copier(
                _blocks(RECORDS),
                out,
                cooked=cooked,
                tag_at=12,
                loopback=loopback,
                snaplen=snaplen,
                blocks=blocks,
                most=99,
            )
            assert copier.ready(0)
            copier.begin(0)
            assert copier.run() == _ring.DONE
            written.append((copier.packets, bytes(out[: copier.filled])))
        assert written[0] == written[1]
        assert written[0][0] == (4 if loopback else 5), "outgoing on the loopback comes again as incoming"

    def test_a_full_buffer_is_gone_on_with(self):
        out = bytearray(400)
        copier = _ring.Copier(
            _blocks(RECORDS), out, cooked=False, tag_at=12, loopback=0, snaplen=262_144, blocks=False, most=99
        )
        copier.begin(0)
        parts = []
        while (reason := copier.run()) == _ring.FULL:
            parts.append(bytes(out[: copier.filled]))
            copier.filled = 0
        assert reason == _ring.DONE and len(parts) > 0
        parts.append(bytes(out[: copier.filled]))
        header = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
        df = packets.read(header + b"".join(parts))
        assert df["caplen"].tolist() == [60, 65, 204, 0, 5]
        assert df["length"].tolist() == [160, 165, 304, 100, 105]
        assert df["time"].astype("int64").tolist() == [(7 + n) * 10**9 + 5 for n in range(5)]

    def test_it_stops_when_it_is_enough(self):
        copier = _ring.Copier(
            _blocks(RECORDS), bytearray(4096), cooked=False, tag_at=12, loopback=0, snaplen=99, blocks=False, most=2
        )
        copier.begin(0)
        assert (copier.run(), copier.packets) == (_ring.ENOUGH, 2)
