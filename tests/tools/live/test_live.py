"""Captures in the background, on a real wire: they grow, pause, end at their limits, and leave nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb import packets
from podtracer_nb.errors import InputError
from podtracer_nb.packets import _ring
from podtracer_nb.tools import live as package
from podtracer_nb.tools.live.listeners import Listener
from tests.machine import needs
from tests.targets.namespaces import alive, children, until

pytestmark = needs("netns", "iproute2", "tcpdump", "ping")

ENGINES = pytest.mark.parametrize("engine", ["ring", "tcpdump"])


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    left = len(podtracer_nb.captures())
    package.stop_all()
    assert left == 0, "a test left a capture running"


def capture(where, **words) -> podtracer_nb.LiveCapture:
    return podtracer_nb.capture(pid=where.far.pid, **{"filter": "icmp", "interface": "eth0", **words})


class TestGrowing:
    @ENGINES
    def test_it_returns_at_once_and_grows(self, shared_wire, engine):
        with capture(shared_wire, engine=engine) as live:
            assert live.running and len(live.df) == 0
            shared_wire.ping(5)
            until(lambda: len(live.df) == 10)
            assert live.df["icmp_type"].tolist() == [8, 0] * 5
            shared_wire.ping(5)
            until(lambda: len(live.df) == 20)
            assert live.df.index.tolist() == list(range(1, 21))
        assert not live.running
        assert live.df.attrs["podtracer"]["drops"]["dropped_by_kernel"] == 0

    @ENGINES
    def test_its_frame_is_a_captures(self, shared_wire, engine):
        with capture(shared_wire, engine=engine) as live:
            shared_wire.ping(10)
        whole = packets.read(live.files[0])
        assert len(whole) == 20
        pd.testing.assert_frame_equal(live.df, whole, check_categorical=False, check_index_type=False)
        assert live.df["src"].cat.categories.equals(live.df["dst"].cat.categories), "so that they can be compared"
        pd.testing.assert_frame_equal(live.read(), whole)
        pd.testing.assert_frame_equal(live.frame(), live.df)

    def test_what_it_has_can_be_read_while_it_grows(self, shared_wire):
        with capture(shared_wire) as live:
            shared_wire.ping(5)
            until(lambda: live.stats.packets == 10)
            assert len(live.read(columns=["time"])) == 10
            assert len(live.df) == 10
            assert live.df.podtrace.packet(3).haslayer("ICMP")

    def test_its_frame_is_the_users_own(self, shared_wire):
        with capture(shared_wire) as live:
            shared_wire.ping(5)
        mine = live.df
        mine["length"] = 0
        mine.loc[1, "ip_ttl"] = 1
        assert live.df["length"].tolist() == [98] * 10
        assert live.df.loc[1, "ip_ttl"] == 64

    def test_columns_and_layers(self, shared_wire):
        with capture(shared_wire, columns=["src", "length"], layers=["tunnel"]) as live:
            assert live.df.columns.tolist()[:2] == live.read().columns.tolist()[:2]
            shared_wire.ping(5)
        assert {"src", "length", "vni"} < set(live.df.columns)
        assert not {"time", "offset", "caplen"} & set(live.df.columns)
        assert len(live.df) == 10

    def test_stats(self, shared_wire):
        with capture(shared_wire) as live:
            assert (live.stats.packets, live.stats.lag, live.stats.state) == (0, None, "running")
            shared_wire.ping(50)
            until(lambda: live.stats.window == 100)
            stats = live.stats
            assert stats.bytes == 24 + 100 * (16 + 98)
            assert stats.rate > 10 and stats.byte_rate > 1000
            assert stats.lag is not None and 0 < stats.lag < 5
            assert until(lambda: live.stats.dropped_by_kernel == 0) < 3
            assert stats.targets == 1 and stats.window == 100
        assert (live.stats.state, live.stats.rate, live.stats.targets) == ("ended", 0, 0)
        assert live.stats.seconds == live.stats.seconds

    def test_lag_with_the_ring(self, shared_wire):
        with capture(shared_wire, engine="ring") as live:
            lags = []
            for _ in range(5):
                before = live._followers[0].version
                shared_wire.ping(1)
                until(lambda before=before: live._followers[0].version > before and live.stats.lag is not None)
                lags.append(live.stats.lag)
        assert min(lags) < 0.3, lags


class TestWindow:
    def test_rows(self, shared_wire):
        with capture(shared_wire, window=7) as live:
            shared_wire.ping(10)
            until(lambda: live.stats.packets == 20)
            shared_wire.ping(10)
        assert live.df.index.tolist() == list(range(34, 41))
        assert live.stats.window == 7
        assert len(live.read()) == 40

    def test_seconds(self, shared_wire):
        with capture(shared_wire, window="300ms") as live:
            shared_wire.ping(3)
            until(lambda: live.stats.packets == 6)
            shared_wire.inside("ping", "-q", "-c", "3", "-i", "0.4", "10.99.0.2")
        span = live.df["time"].max() - live.df["time"].min()
        assert len(live.df) < 8 and span <= pd.Timedelta("300ms")

    @pytest.mark.parametrize("window", [0, -1, "5 parsecs", "0s", True, 10**9, 2.5])
    def test_one_that_cannot_be(self, window, shared_wire):
        with pytest.raises(InputError, match="window="):
            capture(shared_wire, window=window)

    def test_values_are_forgotten_with_their_rows(self):
        extent = package.window.Extent(500)
        mixed = _addresses(range(60))
        held = package.window.Window(extent, mixed.iloc[:0])
        for each in range(100):
            held.add(_addresses(range(each * 60, each * 60 + 60)))
        df = held.frame()
        assert df["src"].tolist()[-1] == _addresses([5999])["src"].tolist()[0]
        assert len(df) == 500 and df["src"].isna().sum() == 0
        assert len(df["src"].cat.categories) < 4000, "and not 12,000"

    def test_na_stays_na(self):
        frame = _addresses(range(5))
        held = package.window.Window(package.window.Extent(4), frame.iloc[:0])
        held.add(frame)
        pd.testing.assert_frame_equal(held.frame(), frame.iloc[1:], check_categorical=False, check_index_type=False)
        assert held.frame()["tcp_flags"].isna().all() and held.frame()["sport"].isna().all()


def _addresses(numbers) -> pd.DataFrame:
    """Return packets, each of other addresses."""
    header = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 65000000")
    records = b""
    for number in numbers:
        ip = bytes.fromhex("4500001400000000 40fd0000") + np.array([number, number + 1], ">u4").tobytes()
        records += number.to_bytes(4, "little") + bytes(4) + (20).to_bytes(4, "little") * 2 + ip
    return packets.read(header + records)


class TestPause:
    @ENGINES
    def test_the_window_stands_still_and_the_file_goes_on(self, shared_wire, engine):
        with capture(shared_wire, engine=engine) as live:
            shared_wire.ping(2)
            until(lambda: len(live.df) == 4)
            assert live.pause().stats.state == "paused"
            shared_wire.ping(3)
            until(lambda: live.stats.packets == 10)
            assert len(live.df) == 4 and live.stats.skipped == 6
            assert live.resume().stats.state == "running"
            shared_wire.ping(1)
            until(lambda: len(live.df) == 6)
        assert live.df.index.tolist() == [1, 2, 3, 4, 11, 12]
        assert len(live.read()) == 12


class TestLimits:
    @ENGINES
    def test_count(self, shared_wire, engine):
        live = capture(shared_wire, engine=engine, count=5)
        shared_wire.ping(10)
        assert len(live.wait(10).df) == 5
        assert live.df.attrs["podtracer"]["reason"] == "exit"

    @ENGINES
    def test_timer(self, shared_wire, engine):
        live = capture(shared_wire, engine=engine, timer=0.3)
        assert live.wait(10).df.attrs["podtracer"]["reason"] == "timer"
        assert "stopped by its timer" in repr(live)

    @ENGINES
    def test_bytes(self, shared_wire, engine):
        live = capture(shared_wire, engine=engine, filter="udp", max_bytes=200_000)
        sender = threading.Thread(target=shared_wire.flood, args=(20_000, 0.0001))
        sender.start()
        live.wait(20)
        sender.join()
        assert live.df.attrs["podtracer"]["reason"] == "bytes"
        assert live.stats.bytes >= 200_000
        assert len(live.df) == live.stats.packets, "what was flushed is kept"

    @ENGINES
    def test_a_target_that_is_gone(self, own_wire, engine):
        live = capture(own_wire, engine=engine)
        own_wire.ping(2)
        pid = live._session.jobs[0].run.pid
        os.kill(own_wire.far.pid, signal.SIGKILL)
        live.wait(10)
        assert live.df.attrs["podtracer"]["reason"] == "target-gone"
        assert len(live.df) == 4
        assert "its process" in live.df.attrs["podtracer"]["notes"][0]
        assert not alive(pid)

    def test_waiting_has_an_end(self, shared_wire):
        with capture(shared_wire) as live, pytest.raises(TimeoutError, match=r"still runs after 0\.05 s"):
            live.wait(0.05)

    def test_stopping_twice(self, shared_wire):
        live = capture(shared_wire)
        assert live.stop().stop() is live
        assert live.wait() is live


class TestListening:
    def test_callbacks_have_every_chunk(self, shared_wire):
        seen: list[pd.DataFrame] = []
        with capture(shared_wire) as live:
            assert live.on_chunk(seen.append) == seen.append
            shared_wire.ping(5)
            until(lambda: seen)
            shared_wire.ping(5)
        pd.testing.assert_frame_equal(
            pd.concat(seen)[["time", "length"]], live.df[["time", "length"]], check_index_type=False
        )

    def test_an_error_is_kept_and_told_and_ends_nothing(self, shared_wire, capsys):
        calls = []

        def broken(chunk: pd.DataFrame) -> None:
            calls.append(len(chunk))
            raise ZeroDivisionError("of mine")

        with capture(shared_wire) as live:
            live.on_chunk(broken)
            for number in (1, 2):
                shared_wire.ping(2)
                until(lambda number=number: len(calls) >= number)
            assert live.running
        assert sum(calls) == len(live.df) == 8
        assert [type(each) for each in live.errors] == [ZeroDivisionError]
        assert (
            capsys.readouterr().err.count("broken failed on a chunk of a live capture: ZeroDivisionError: of mine") == 1
        )
        assert "of mine" in repr(live)

    def test_a_callback_may_stop_it(self, shared_wire):
        live = capture(shared_wire)
        live.on_chunk(lambda _: live.stop())
        shared_wire.ping(2)
        live.wait(10)

    def test_one_that_is_slow_misses_chunks_and_holds_nobody_up(self, shared_wire):
        held, let_go = threading.Event(), threading.Event()

        def slow(_: pd.DataFrame) -> None:
            held.set()
            let_go.wait(20)

        with capture(shared_wire) as live:
            live.on_chunk(slow)
            shared_wire.ping(2)
            held.wait(10)
            shared_wire.ping(2)
            until(lambda: len(live.df) == 8)
            let_go.set()

    def test_a_full_queue_loses_its_oldest_and_counts(self):
        listener = Listener()
        for number in range(70):
            listener.put(_addresses([number]))
        assert listener.dropped == 6
        assert listener.wait()["time"].astype("int64").tolist() == [6 * 10**9]

    def test_loops_have_every_chunk(self, shared_wire):
        live = capture(shared_wire, count=20)

        async def collect() -> list[pd.DataFrame]:
            chunks = []
            async for chunk in live:
                chunks.append(chunk)
                if len(chunks) == 1:
                    await asyncio.to_thread(shared_wire.ping, 8)
            return chunks

        async def both() -> list[pd.DataFrame]:
            collecting = asyncio.create_task(collect())
            await asyncio.to_thread(shared_wire.ping, 2)
            return await collecting

        chunks = asyncio.run(asyncio.wait_for(both(), 20))
        assert len(chunks) > 1 and sum(map(len, chunks)) == 20

    def test_a_loop_that_was_left_listens_no_more(self, shared_wire):
        async def one(live: podtracer_nb.LiveCapture) -> int:
            async for chunk in live:
                return len(chunk)
            return 0

        async def both(live: podtracer_nb.LiveCapture) -> int:
            first = asyncio.create_task(one(live))
            await asyncio.to_thread(shared_wire.ping, 2)
            return await first

        with capture(shared_wire) as live:
            assert asyncio.run(both(live)) > 0
            until(lambda: not live._listeners.any)


class TestSeveral:
    def test_targets_are_merged_by_time(self, own_wire):
        # Two names of one namespace, and so of two targets: what goes out of one end comes in at the other.
        (near, far) = (own_wire.near.pid, own_wire.far.pid)
        with _named(own_wire, near, far) as names, _patched(names):
            live = podtracer_nb.capture(["near", "far"], filter="icmp", interface="eth0", window=30)
            chunks: list[pd.DataFrame] = []
            live.on_chunk(chunks.append)
            own_wire.ping(10)
            live.stop()
        df = live.df
        assert len(df) == 30 and live.stats.packets == 40
        assert df["time"].is_monotonic_increasing
        assert df["target"].value_counts().to_dict() == {"near": 15, "far": 15}
        assert df.columns.tolist()[:2] == ["target", "node"]
        assert isinstance(df["src"].dtype, pd.CategoricalDtype)
        assert {name for each in chunks for name in each["target"].unique()} == {"near", "far"}
        assert len(live.read()) == 40 and len(live.files) == 2

    def test_one_of_them_may_end_first(self, own_wire):
        with _named(own_wire, own_wire.near.pid, own_wire.far.pid) as names, _patched(names):
            live = podtracer_nb.capture(["near", "far"], filter="icmp", interface="eth0")
            own_wire.ping(1)
            until(lambda: live.stats.packets == 4)
            os.kill(own_wire.far.pid, signal.SIGKILL)
            until(lambda: live.stats.targets == 1)
            assert live.running
            live.stop()
        assert len(live.df) == 4

    def test_several_captures_and_the_list_of_them(self, shared_wire):
        assert podtracer_nb.captures().empty
        with capture(shared_wire) as one, capture(shared_wire, engine="tcpdump", keep=False) as two:
            shared_wire.ping(2)
            until(lambda: one.stats.packets == two.stats.packets == 4)
            listed = podtracer_nb.captures()
            assert listed["engine"].tolist() == ["ring", "tcpdump"]
            assert listed["packets"].tolist() == [4, 4]
            assert listed["files"].tolist() == [str(one.files[0]), ""]
            one.stop()
            assert len(podtracer_nb.captures()) == 1
        assert podtracer_nb.captures().empty


def _named(where, near: int, far: int):
    """Return targets with names of their own."""
    import contextlib
    from dataclasses import replace

    from podtracer_nb import targets

    @contextlib.contextmanager
    def made():
        named = []
        for name, pid in (("near", near), ("far", far)):
            (target,) = targets.resolve(pid=pid)
            named.append(replace(target, pod=name, source="demo"))
        yield tuple(named)

    return made()


def _patched(named):
    from unittest import mock

    from podtracer_nb import targets

    return mock.patch.object(targets, "resolve", lambda **_: named)


class TestFiles:
    @ENGINES
    def test_nothing_is_kept_if_so_asked(self, shared_wire, recordings, engine):
        before = set(recordings.iterdir())
        with capture(shared_wire, engine=engine, keep=False) as live:
            shared_wire.ping(5)
            assert live.files == []
        assert len(live.df) == 10
        assert set(recordings.iterdir()) == before
        with pytest.raises(InputError, match="keeps no file"):
            live.read()

    def test_columns_need_no_payload(self, shared_wire):
        with capture(shared_wire, engine="ring", filter="udp", keep=False) as live:
            shared_wire.flood(50, size=1400)
        assert set(live.df["caplen"]) == {512} and set(live.df["length"]) == {1442}
        assert set(live.df["payload_length"]) == {1400} and live.df["error"].isna().all()

    def test_the_room_of_what_was_read_is_given_back(self, shared_wire, recordings):
        before = set(recordings.iterdir())
        with capture(shared_wire, filter="udp", keep=False, snaplen=2000) as live:
            shared_wire.flood(15_000, 0.0001, size=1400)
            [spool] = set(recordings.iterdir()) - before
            until(lambda: live.stats.packets > 10_000)
            until(lambda: spool.stat().st_blocks * 512 < 12 << 20)
            assert spool.stat().st_size > 14_000_000

    @ENGINES
    def test_files_that_rotate(self, shared_wire, tmp_path, engine):
        with capture(shared_wire, engine=engine, filter="udp", file=tmp_path / "x.pcap", rotate_size=100_000) as live:
            shared_wire.flood(3000, 0.0001, size=100)
        names = [each.name for each in live.files]
        assert names == ["x.pcap", *(f"x.pcap{number}" for number in range(1, len(names)))]
        sizes = [each.stat().st_size for each in live.files]
        assert all(100_000 < size <= 100_158 for size in sizes[:-1]), "closed once it is larger"
        assert len(live.read()) == live.stats.packets == sum(len(packets.read(each)) for each in live.files)
        assert live.stats.packets == 3000
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*names, f"{names[-1]}.json"])
        pd.testing.assert_series_equal(live.read()["ip_id"], live.df["ip_id"], check_index_type=False)

    def test_at_most_so_many_files(self, shared_wire, tmp_path):
        with capture(shared_wire, filter="udp", file=tmp_path / "x.pcap", rotate_size=50_000, rotate_count=3) as live:
            shared_wire.flood(3000, 0.0001, size=100)
        assert sorted(each.name for each in live.files) == ["x.pcap0", "x.pcap1", "x.pcap2"]
        read = live.read()
        assert 700 < len(read) < 1100
        assert read["time"].is_monotonic_increasing
        assert read["ip_id"].tolist()[-1] == live.df["ip_id"].tolist()[-1], "the oldest were written over"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"rotate_count": 3}, "rotate_size"),
            ({"rotate_size": 0}, "greater than 0"),
            ({"rotate_size": 5, "keep": False}, "keep=False"),
            ({"rotate_seconds": 0}, "greater than 0"),
            ({"rotate_seconds": 5, "file": "x.pcap"}, "overwrite each other"),
            ({"rotate_seconds": 5, "file": "x-%H%M.pcap"}, "overwrite each other"),
            ({"file": "x.pcap", "keep": False}, "keep=False"),
            ({"rotate_size": 5, "file": "x.pcapng"}, "pcap"),
            ({"engine": "turbine"}, "neither 'ring' nor 'tcpdump'"),
            ({"columns": ["sauce"]}, "sauce"),
            ({"args": ["-D"]}, "nothing is captured"),
        ],
    )
    def test_what_cannot_be(self, shared_wire, words, said):
        with pytest.raises(InputError, match=said):
            podtracer_nb.capture(pid=shared_wire.far.pid, **words)


class TestTheEngine:
    def test_the_ring_where_it_can_be_had(self, shared_wire):
        with capture(shared_wire) as live:
            assert (live.engine, live.notes) == ("ring", [])
            assert live.df.attrs["podtracer"]["engine"] == "ring"

    def test_else_tcpdump_and_a_note_that_says_why(self, shared_wire, monkeypatch):
        monkeypatch.setattr(_ring, "compiled", False)
        with capture(shared_wire) as live:
            assert live.engine == "tcpdump"
            assert "tcpdump captures, not the ring engine: it is not compiled here" in live.notes[0]
            assert live.notes[0] in live.df.attrs["podtracer"]["notes"]

    def test_words_that_the_ring_has_not(self, shared_wire):
        with capture(shared_wire, args=["--time-stamp-precision=nano"]) as live:
            assert live.engine == "tcpdump" and "--time-stamp-precision" in live.notes[0]

    def test_a_wrong_filter_is_told_and_not_tried_again(self, shared_wire):
        with pytest.raises(InputError, match="potato"):
            capture(shared_wire, filter="port potato")

    def test_one_that_fails_later(self, shared_wire):
        live = capture(shared_wire, engine="tcpdump")
        os.kill(live._session.jobs[0].run.pid, signal.SIGKILL)
        live.wait(10)
        assert "killed by signal 9" in live.df.attrs["podtracer"]["notes"][0]


PROGRAM = """
import os, sys, threading, podtracer_nb
words = {"filter": "icmp", "interface": "eth0", "engine": sys.argv[2], **eval(sys.argv[3])}
live = podtracer_nb.capture(pid=int(sys.argv[1]), **words)
print(live._session.jobs[0].run.pid, live._session.jobs[0].recording, flush=True)
"""


@pytest.fixture
def start(shared_wire) -> Iterator[Callable[..., tuple[subprocess.Popen[str], int, Path]]]:
    """Start a program with a live capture of its own; return it, the pid of what captures, and the file."""
    started: list[subprocess.Popen[str]] = []

    def program(rest: str, engine: str = "ring", **words) -> tuple[subprocess.Popen[str], int, Path]:
        root = Path(podtracer_nb.__file__).parents[1]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM + rest, str(shared_wire.far.pid), engine, repr(words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        pid, path = line.split()
        return process, int(pid), Path(path)

    yield program
    for each in started:
        each.kill()
        each.communicate(timeout=10)


class TestTheProcessEnds:
    @ENGINES
    def test_killed(self, start, shared_wire, engine):
        process, pid, path = start("threading.Event().wait()", engine)
        shared_wire.ping(3)
        supervisors = children(process.pid)
        until(lambda: path.stat().st_size > 500)  # tcpdump is handed its packets a second later
        process.kill()
        until(lambda: not alive(pid) and not any(map(alive, supervisors)))
        assert len(packets.read(path)) == 6, "what was captured is kept"

    @ENGINES
    def test_killed_with_nothing_kept(self, start, engine):
        process, pid, path = start("threading.Event().wait()", engine, keep=False)
        process.kill()
        until(lambda: not alive(pid) and not path.exists())

    def test_killed_while_files_rotate(self, start, shared_wire, tmp_path):
        process, pid, spool = start("threading.Event().wait()", file=str(tmp_path / "x.pcap"), rotate_size=1000)
        shared_wire.ping(20)
        until((tmp_path / "x.pcap3").exists)
        shared_wire.ping(2)
        process.kill()
        until(lambda: not alive(pid))
        assert len(packets.read(spool)) == 44, "what is in no part yet is still there"

    def test_at_its_end(self, start):
        process, pid, path = start("")
        assert process.wait(20) == 0
        assert not alive(pid) and path.exists()
        assert process.stdout is not None and process.stdout.read() == ""

    def test_interrupted_within_a_block(self, start):
        process, pid, _ = start("with live:\n    print('waiting', flush=True)\n    live.wait()")
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (1, -signal.SIGINT)
        assert not alive(pid)

    def test_interrupted_while_it_waits_it_goes_on(self, start):
        rest = (
            "try:\n    print('waiting', flush=True)\n    live.wait()\nexcept KeyboardInterrupt:\n"
            "    print(live.running, flush=True)\n    live.stop()\n    print(live.running, flush=True)\n"
        )
        process, pid, _ = start(rest)
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "True\nFalse\n"
        until(lambda: not alive(pid))

    def test_an_interrupt_that_does_not_wake_the_waiting_thread_ends_its_wait_too(self, start):
        rest = (
            "import signal, threading, time\nbegan = time.monotonic()\n"
            "given = lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)\n"
            "threading.Timer(0.3, given).start()\n"
            "try:\n    live.wait(15)\nexcept KeyboardInterrupt:\n    print(time.monotonic() - began < 10, flush=True)\n"
        )
        process, pid, _ = start(rest)
        assert process.stdout is not None and process.stdout.read() == "True\n"
        until(lambda: not alive(pid))


class TestSoak:
    def test_memory_is_flat(self, shared_wire):
        def resident() -> int:
            return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")

        with capture(shared_wire, filter="udp", keep=False, window=20_000) as live:
            live.on_chunk(len)
            shared_wire.flood(100_000, 0.00001)
            until(lambda: live.stats.packets >= 100_000 - (live.stats.dropped_by_kernel or 0))
            early = resident()
            for _ in range(4):
                shared_wire.flood(100_000, 0.00001)
            until(lambda: live.stats.packets >= 500_000 - (live.stats.dropped_by_kernel or 0))
            assert len(live.df) == 20_000
            late = resident()
        assert late - early < 24 << 20, (
            f"{(late - early) / 1e6:.0f} MB more after 400,000 packets, which have 80 MB of rows"
        )
        assert live.stats.dropped_by_us == 0
