"""iperf3: its client, its server, and both at once between two pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb import demo, options
from podtracer_nb.errors import InputError, TargetNotFound, ToolFailed
from podtracer_nb.tools import Progress
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Parsed, Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.way import SERVER, Way, listening

PORT = 5299


def parsed(text: str) -> Parsed:
    parse = find("iperf3").command(("-c", "x"), Options(), False).parse
    assert parse is not None
    return parse(Text(("-c", "x"), text))


def frames(text: str) -> list[pd.DataFrame]:
    return [table.frame(rows) for table, rows in parsed(text).tables]


@needs("netns", "iproute2", "iperf3")
class TestAClient:
    def test_tcp_by_stream_and_interval(self, ways: Way) -> None:
        before = pd.Timestamp.now("UTC")
        with ways.server.running("iperf3", "-s", "-1", "-p", str(PORT)):
            listening(ways.server, PORT)
            words = ["-c", SERVER, "-p", str(PORT), "-P", "2", "-n", "4M", "-i", "0.1"]
            frame = podtracer_nb.run("iperf3", words, pid=ways.client.pid)
        assert frame.stream.nunique() == 2 and frame.sender.all()
        assert (frame.end > frame.start).all() and (frame.rtt > 0).all() and (frame.snd_cwnd > 0).all()
        assert frame.time.between(before.floor("s"), pd.Timestamp.now("UTC")).all()
        assert frame.attrs["podtracer"]["units"]["bits_per_second"] == "bit/s"
        streams, summary = frame.podtrace.table("streams"), frame.podtrace.table("summary")
        sent = summary[summary["sum"] == "sum_sent"].iloc[0]
        assert sent.bytes == frame.bytes.sum() >= 4 << 20
        assert streams[streams.role == "sender"].bytes.sum() == sent.bytes
        # The rate is what the bytes and the seconds say.
        assert sent.bits_per_second == pytest.approx(8 * sent.bytes / sent.seconds, rel=0.01)
        facts = frame.attrs["podtracer"]["facts"]
        assert (facts["protocol"], facts["num_streams"]) == ("TCP", 2) and "cpu_utilization_percent" in facts

    def test_udp_with_its_jitter_and_loss(self, ways: Way) -> None:
        with ways.server.running("iperf3", "-s", "-1", "-p", str(PORT)):
            listening(ways.server, PORT)
            words = ["-c", SERVER, "-p", str(PORT), "-u", "-b", "5M", "-l", "1000", "-t", "1"]
            frame = podtracer_nb.run("iperf3", words, pid=ways.client.pid)
        assert frame.packets.sum() * 1000 == frame.bytes.sum() and "rtt" not in frame
        streams = frame.podtrace.table("streams")
        assert streams.role.tolist() == ["udp"] and streams.packets[0] == frame.packets.sum()
        assert streams.lost_packets[0] == 0 and streams.jitter_ms[0] >= 0

    def test_nobody_listens(self, ways: Way) -> None:
        frame = podtracer_nb.run("iperf3", ["-c", SERVER, "-p", "1"], pid=ways.client.pid)
        assert frame.empty and "bits_per_second" in frame
        (note,) = [note for note in frame.attrs["podtracer"]["notes"] if "refused" in note]
        assert note == "iperf3: unable to connect to server: Connection refused"


@needs("netns", "iproute2", "iperf3")
def test_a_server_tells_its_tests_apart_and_is_stopped(ways: Way) -> None:
    def test_twice() -> None:
        listening(ways.server, PORT)
        for _ in range(2):
            # While one test is being cleared up the server says that it is busy.
            until(lambda: "error" not in json.loads(_client(ways)))

    thread = threading.Thread(target=test_twice)
    thread.start()
    seen = []

    def stop_after_two(report: Progress) -> None:
        if not thread.is_alive() and not seen:
            seen.append(report)
            raise KeyboardInterrupt

    frame = podtracer_nb.run("iperf3", ["-s", "-p", str(PORT)], pid=ways.server.pid, timer=30, progress=stop_after_two)
    thread.join()
    assert frame.attrs["podtracer"]["interrupted"]
    assert frame.test.unique().tolist() == [1, 2] and not frame.sender.any()
    assert frame.attrs["podtracer"]["notes"] == []  # that it was stopped is no error
    summary = frame.podtrace.table("summary")
    assert (summary[summary["sum"] == "sum_received"].bytes > 0).all() and set(summary.test) == {1, 2}


def _client(ways: Way) -> str:
    words = [*ways.client.enter, "iperf3", "-c", SERVER, "-p", str(PORT), "-n", "1M", "-J"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@needs("netns", "iproute2", "iperf3", "dnsmasq", "ping")
@pytest.mark.usefixtures("demo_pods")
class TestBetweenTwoPods:
    def test_the_server_is_there_for_the_client_and_gone_afterwards(self) -> None:
        frame = podtracer_nb.iperf3(["-n", "2M"], from_="client", to="web", namespace="demo")
        assert frame.bytes.sum() >= 2 << 20
        meta = frame.attrs["podtracer"]
        assert meta["targets"][0]["pod"] == "client"
        assert (meta["server"]["target"]["pod"], meta["server"]["address"]) == ("web", "10.88.0.10")
        assert Path(meta["server"]["recording"]).read_text().count("Accepted connection from 10.88.0.100") == 1
        assert not _servers()

    def test_the_other_way_and_the_other_family(self) -> None:
        words = ["-n", "2M", "-R", "-6"]
        frame = podtracer_nb.iperf3(words, from_="client", to="svc/web", namespace="demo")
        assert not frame.sender.any() and frame.attrs["podtracer"]["server"]["address"] == "fd00:88::10"

    def test_its_end_is_the_server_s_end_however_it_comes(self) -> None:
        frame = podtracer_nb.iperf3(["-t", "60"], from_="client", to="web", namespace="demo", timer=0.5)
        assert frame.attrs["podtracer"]["reason"] == "timer" and not _servers()

        reports: list[Progress] = []

        def interrupt(report: Progress) -> None:
            reports.append(report)
            if len(reports) == 1:
                raise KeyboardInterrupt

        frame = podtracer_nb.iperf3(["-t", "60"], from_="client", to="web", namespace="demo", progress=interrupt)
        assert frame.attrs["podtracer"]["interrupted"] and not _servers()
        with pytest.raises(TargetNotFound):
            podtracer_nb.iperf3(from_="nobody", to="web", namespace="demo")
        assert not _servers()

    def test_a_port_of_one_s_own_and_one_that_is_taken(self) -> None:
        frame = podtracer_nb.iperf3(["-p", "5999", "-n", "1M"], from_="client", to="web", namespace="demo")
        assert frame.attrs["podtracer"]["server"]["port"] == 5999
        with pytest.raises(ToolFailed, match=r"did not start in web.*Address already in use"):
            podtracer_nb.iperf3(["-p", "80"], from_="client", to="web", namespace="demo")

    def test_words_that_cannot_be(self) -> None:
        with pytest.raises(InputError, match="given -c and -s by us"):
            podtracer_nb.iperf3(["-c", "10.0.0.1"], from_="client", to="web", namespace="demo")
        with pytest.raises(InputError, match="name one of them as --from"):
            podtracer_nb.iperf3(from_="*", to="web", namespace="demo")
        with pytest.raises(InputError, match="name one of them as --to"):
            podtracer_nb.iperf3(from_="client", to="*", namespace="demo")
        assert not _servers()


def _servers() -> list[int]:
    """Return the iperf3 processes in the pods' networks."""
    networks = {Path(f"/proc/{pod.pid}/ns/net").readlink() for pod in demo.status().pods}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or is nobody of ours
                if (entry / "comm").read_text() == "iperf3\n" and (entry / "ns/net").readlink() in networks:
                    found.append(int(entry.name))
    return found


def test_the_grammar_takes_both_ends_for_iperf3_alone() -> None:
    request = options.parse(["run", "iperf3", "--from", "client", "--to", "web", "-n", "demo", "--", "-t", "5"])
    assert isinstance(request, options.RunRequest) and request.arguments == ("-t", "5")
    assert request.pair_keywords() == {
        "from_": "client", "to": "web", "namespace": "demo", "context": None, "kubeconfig": None, "timer": None,
        "max_bytes": None, "file": None, "text": False,
    }  # fmt: skip
    for words, why in (
        ("iperf3 --from client", "give both"),
        ("ping --from client --to web", "are for iperf3"),
        ("iperf3 --from client --to web --pod api", "does not go with"),
        ("iperf3 --from client --to web --pid 1", "does not go with"),
    ):
        with pytest.raises(InputError, match=why):
            options.parse(["run", *words.split()])
    # What `use` set for other lines does not stand in the way.
    request = options.parse(
        ["iperf3", "--from", "a", "--to", "b"],
        magic=True,
        defaults={"pod": ("web",), "namespace": "demo", "container": "c"},
    )
    assert isinstance(request, options.RunRequest) and (request.pod, request.namespace) == ((), "demo")


def document(**changes: Any) -> dict[str, Any]:
    stream = {"socket": 5, "start": 0, "end": 1.0, "seconds": 1.0, "bytes": 1000, "bits_per_second": 8000.0,
              "omitted": False}  # fmt: skip
    total = {name: value for name, value in stream.items() if name not in ("socket", "omitted")}
    return {
        "start": {"version": "iperf 3.1.3", "timestamp": {"timesecs": 1700000000}, "test_start": {"protocol": "TCP"}},
        "intervals": [{"streams": [{**stream, **changes}], "sum": {**total, "omitted": False}}],
        "end": {
            "streams": [{"sender": {**stream, "retransmits": 1}, "receiver": stream}],
            "sum_sent": {**total, "retransmits": 1},
            "sum_received": total,
        },
    }


def test_an_older_version_s_fields_are_missing_and_na() -> None:
    # 3.1 does not say who sends, and has neither rttvar nor pmtu.
    intervals, streams, summary = frames(json.dumps(document(rtt=120, snd_cwnd=1448)))
    assert intervals.sender.isna().all() and "pmtu" not in intervals
    assert (intervals.rtt[0], intervals.time[0]) == (120, pd.Timestamp("2023-11-14 22:13:21", tz="UTC"))
    assert streams.retransmits.tolist() == [1, pd.NA] and summary["sum"].tolist() == ["sum_sent", "sum_received"]


def test_a_newer_version_s_fields_are_kept() -> None:
    # 3.17 and after tell reordering and, with --json-stream, each part as an event of its own.
    found = document(sender=True, snd_wnd=65536, reorder=3)
    (intervals, *_) = frames(json.dumps(found))
    assert (intervals.reorder[0], intervals.snd_wnd[0]) == (3, 65536)
    events = [("start", found["start"]), ("interval", found["intervals"][0]), ("end", found["end"])]
    stream = "\n".join(json.dumps({"event": name, "data": data}) for name, data in events)
    for one, other in zip(frames(json.dumps(found)), frames(stream), strict=True):
        pd.testing.assert_frame_equal(one, other)
    failed = parsed(stream + '\n{"event": "error", "data": "control socket has closed unexpectedly"}')
    assert failed.notes == ("iperf3: control socket has closed unexpectedly",)


def test_sctp_and_one_way_back_are_sums_of_their_own() -> None:
    found = document(sender=True)
    found["end"]["sum_sent_bidir_reverse"] = found["end"]["sum_sent"]
    assert "sum_sent_bidir_reverse" in frames(json.dumps(found))[2]["sum"].tolist()


@pytest.mark.parametrize("text", ["no json", '{"start": 1}{"intervals": 3}', '{"intervals": [{"streams": [{}]}]}', "{"])
def test_a_changed_form_is_no_table(text: str) -> None:
    with pytest.raises(Unreadable):
        parsed(text)


def test_nothing_is_nothing() -> None:
    assert [len(each) for each in frames("")] == [0, 0, 0]
