"""A tool run again and again in a namespace, and several tools at once: one table, one clock."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import CaptureError, InputError
from podtracer_nb.tools import Column, Parsed, Table, Text, sampling
from tests.machine import needs
from tests.targets.namespaces import Holder, holder

pytestmark = needs("netns", "iproute2")


@pytest.fixture(scope="module")
def inside() -> Iterator[Holder]:
    with holder("net") as held:
        yield held


def test_every_sample_is_in_one_table_in_the_order_of_time(inside: Holder) -> None:
    frame = podtracer_nb.run("ip", ["addr"], pid=inside.pid, every=0.01, count=5)
    assert frame.sample_time.nunique() == 5
    assert frame.sample_time.is_monotonic_increasing
    assert str(frame.sample_time.dtype) == "datetime64[ns, UTC]"
    facts = frame.attrs["podtracer"]["facts"]
    assert (facts["samples"], facts["missed"], facts["every_s"]) == (5, 0, 0.01)
    assert 0 <= facts["late_ms_median"] <= facts["late_ms_max"]


def test_a_timer_ends_it(inside: Holder) -> None:
    frame = podtracer_nb.run("cat", ["/proc/uptime"], pid=inside.pid, every=0.05, timer=0.4)
    assert frame.attrs["podtracer"]["reason"] == "timer"
    assert 4 <= frame.sample_time.nunique() <= 9
    assert frame.columns.tolist() == ["sample_time", "line"]


def test_samples_whose_time_has_gone_by_are_counted_and_told(inside: Holder) -> None:
    frame = podtracer_nb.run("sleep", ["0.05"], pid=inside.pid, every=0.01, count=4)
    assert frame.attrs["podtracer"]["facts"]["missed"] >= 9
    assert any("samples were missed" in note for note in frame.attrs["podtracer"]["notes"])


def test_a_tool_that_fails_in_some_samples_says_so(inside: Holder) -> None:
    frame = podtracer_nb.run("sh", ["-c", "echo x; exit 3"], pid=inside.pid, every=0.01, count=3)
    assert len(frame) == 3
    assert frame.attrs["podtracer"]["notes"][-1] == "the tool failed in 3 of 3 samples"


def test_what_a_tool_that_failed_said_and_its_exit_status_are_told(inside: Holder) -> None:
    frame = podtracer_nb.run("sh", ["-c", "echo and why >&2; exit 3"], pid=inside.pid, every=0.02, timer=2)
    meta = frame.attrs["podtracer"]
    assert (meta["reason"], meta["exit_code"]) == ("timer", 3), "no sample succeeded"
    assert re.fullmatch(r"the tool failed in (\d+) of \1 samples: and why", meta["notes"][-1])


def test_one_sample_that_succeeds_is_a_success(inside: Holder, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/once 2>/dev/null || exit 3"
    meta = podtracer_nb.run("sh", ["-c", script], pid=inside.pid, every=0.02, count=4).attrs["podtracer"]
    assert meta["exit_code"] == 0
    assert meta["notes"][-1] == "the tool failed in 3 of 4 samples"


def test_what_runs_until_it_is_stopped_cannot_be_sampled(inside: Holder) -> None:
    with pytest.raises(InputError, match="tcpdump runs until it is stopped"):
        podtracer_nb.run("tcpdump", ["-i", "lo"], pid=inside.pid, every=1)


def test_a_pause_in_which_nothing_can_start_is_refused(inside: Holder) -> None:
    with pytest.raises(InputError, match="1ms is the least"):
        podtracer_nb.run("ip", ["addr"], pid=inside.pid, every=0.0001)


def test_counters_have_rates_by_the_rows_key() -> None:
    table = Table("t", (Column("name", "str"), Column("bytes", "Int64", "bytes", counter=True)), key=("name",))

    def parse(text: Text) -> Parsed:
        return Parsed(
            ((table, [dict(zip(("name", "bytes"), each.split(), strict=True)) for each in text.stdout.split(",")]),)
        )

    series = sampling.Series((), parse, 0.5)
    for number, text in enumerate(("a 100,b 0", "b 5,a 300", "a 50")):
        series.add(sampling.Sample(number, 0, 10**18 + number * 500_000_000, 0, 0, 0, text, ""))
    frame = series.frame()
    rates = frame.bytes_rate.astype("object").where(frame.bytes_rate.notna(), None).tolist()
    assert rates == [None, None, 10.0, 400.0, None], "the last began anew, which is no rate"
    assert frame.attrs["podtracer"]["units"] == {"bytes": "bytes", "bytes_rate": "bytes/s"}


def test_a_sample_in_no_form_that_is_known_leaves_no_row_and_is_told() -> None:
    def parse(text: Text) -> Parsed:
        if text.stdout == "odd":
            raise podtracer_nb.tools.Unreadable("odd")
        return Parsed(((Table("t"), [{"x": 1}]),))

    series = sampling.Series((), parse, 1.0)
    for number, text in enumerate(("even", "odd")):
        series.add(sampling.Sample(number, 0, number, 0, 0, 0, text, ""))
    assert len(series.frame()) == 1
    assert series.notes() == ["some samples are in no form that we know: odd"]


def test_a_recording_that_was_cut_gives_its_whole_samples(inside: Holder) -> None:
    frame = podtracer_nb.run("echo", ["hello"], pid=inside.pid, every=0.01, count=3)
    data = Path(frame.attrs["podtracer"]["recordings"][0]).read_bytes()
    assert [each.stdout for each in sampling.samples(io.BytesIO(data[:-3]))] == ["hello\n"] * 2


def test_what_is_no_recording_of_samples_is_told() -> None:
    with pytest.raises(CaptureError, match="no recording of samples"):
        list(sampling.samples(io.BytesIO(b"hello\nworld\n")))


def test_memory_is_that_of_the_rows() -> None:
    table = Table("t", (Column("name", "str"), Column("n", "Int64")))
    series = sampling.Series((), lambda text: Parsed(((table, [{"name": text.stdout, "n": 1}] * 100),)), 1.0)
    for number in range(500):
        series.add(sampling.Sample(number, 0, number, 0, 0, 0, "the same name", ""))
    assert len(series._rows) < 50_000, "they become frames on the way"
    assert len(series.frame()) == 50_000


class TestTogether:
    def test_each_command_has_its_frame_and_one_that_is_there_twice_both(self, inside: Holder) -> None:
        frames = podtracer_nb.run_together([("echo", ["1"]), ("echo", ["2 3"]), ("echo", ["1"])], pid=inside.pid)
        assert list(frames) == ["echo 1", "echo '2 3'", "echo 1 #2"]
        assert frames["echo '2 3'"].line.tolist() == ["2 3"]

    @needs("tcpdump", "ping")
    def test_a_capture_lasts_as_long_as_the_others(self, inside: Holder) -> None:
        frames = podtracer_nb.run_together(
            [("tcpdump", ["-i", "lo", "icmp"]), ("ping", ["-c", "3", "-i", "0.2", "127.0.0.1"])], pid=inside.pid
        )
        capture, _ = frames.values()
        assert isinstance(capture, pd.DataFrame)
        assert len(capture) == 6
        assert capture.attrs["podtracer"]["interrupted"] is False

    def test_beside_samples_a_capture_runs_once(self, inside: Holder) -> None:
        frames = podtracer_nb.run_together(
            [("tcpdump", ["-i", "lo"]), ("ip", ["addr"])], pid=inside.pid, every=0.02, count=5
        )
        capture, addresses = frames.values()
        assert isinstance(capture, pd.DataFrame)
        assert isinstance(addresses, pd.DataFrame)
        assert "caplen" in capture
        assert addresses.sample_time.nunique() == 5

    def test_one_that_fails_is_an_error_beside_the_others(self, inside: Holder) -> None:
        frames = podtracer_nb.run_together([("tcpdump", ["-i", "nope0"]), ("echo", ["1"])], pid=inside.pid)
        failed, fine = frames.values()
        assert isinstance(failed, podtracer_nb.PodtracerError)
        assert isinstance(fine, pd.DataFrame)
