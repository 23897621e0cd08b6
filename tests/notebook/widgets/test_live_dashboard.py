"""The dashboard without a browser: what it tells its page, how often, what is chosen, and what it leaves behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError
from podtracer_nb.tools import live as package
from tests.machine import needs
from tests.targets.namespaces import until

pytestmark = needs("netns", "iproute2", "tcpdump", "ping")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    package.stop_all()
    until(lambda: not any(each.name == "podtracer-dashboard" for each in threading.enumerate()))


def capture(where, **words) -> podtracer_nb.LiveCapture:
    return podtracer_nb.capture(pid=where.far.pid, **{"interface": "eth0", "filter": "icmp", **words})


def listening(live, monkeypatch, **words):
    """Return a dashboard, and the list to which the messages to its page go."""
    from podtracer_nb.notebook.widgets import LiveDashboard

    sent: list[tuple[float, dict[str, Any]]] = []
    monkeypatch.setattr(LiveDashboard, "send", lambda _, message, *__: sent.append((time.monotonic(), message)))
    return podtracer_nb.dashboard(live, **words), sent


def ask(shown, **message) -> None:
    shown._receive(shown, message, [])


def test_it_counts_what_was_there_before_it_and_what_comes_after(shared_wire, monkeypatch):
    with capture(shared_wire) as live:
        shared_wire.ping(5)
        until(lambda: live.stats.packets == 10)
        shown, _ = listening(live, monkeypatch)
        shared_wire.ping(7)
        until(lambda: shown._told(None)["talkers"] and sum(each[2] for each in shown._told(None)["talkers"]) == 24)
        told = shown._told(None)
    assert sum(step[3] for step in told["steps"]) == 24, "each packet once"
    assert {tuple(each[:2]) for each in told["talkers"]} == {("10.99.0.1", "10.99.0.2"), ("10.99.0.2", "10.99.0.1")}


def test_it_tells_at_most_ten_small_messages_a_second_at_any_rate(shared_wire, monkeypatch):
    with capture(shared_wire, filter="udp", keep=False) as live:
        _, sent = listening(live, monkeypatch, refresh=10)
        shared_wire.flood(150_000, 1 / 80_000)
        until(lambda: live.stats.packets == 150_000 - (live.stats.dropped_by_kernel or 0))
        times = [at for at, _ in sent]
        assert len(times) > 5
        assert all(sum(start <= at < start + 1 for at in times) <= 11 for start in times)
        assert all(len(json.dumps(message)) < 4096 for _, message in sent[1:]), "after the first one only what is new"
    until(lambda: sent[-1][1]["kind"] == "whole")
    assert sum(step[1] for step in sent[-1][1]["steps"]) == live.stats.packets
    assert [message["number"] for _, message in sent] == list(range(1, len(sent) + 1))


def test_a_page_that_gives_no_sign_is_told_seldom(shared_wire, monkeypatch):
    monkeypatch.setattr("podtracer_nb.notebook.widgets.live_dashboard._UNSEEN", 0.5)
    monkeypatch.setattr("podtracer_nb.notebook.widgets.live_dashboard._SELDOM", 600.0)
    with capture(shared_wire) as live:
        shown, sent = listening(live, monkeypatch, refresh=10)
        until(lambda: time.monotonic() - shown._seen > 1.5)
        quiet = len(sent)
        ask(shown, kind="here")
        until(lambda: len(sent) > quiet + 2)


def test_it_steers_the_capture(shared_wire, monkeypatch):
    with capture(shared_wire, keep=False) as live:
        shown, sent = listening(live, monkeypatch)
        ask(shown, kind="pause")
        assert live.state == "paused"
        shared_wire.ping(3)
        until(lambda: live.stats.skipped == 6)
        ask(shown, kind="start")
        assert live.state == "running"
        ask(shown, kind="stop")
        until(lambda: not live.running)
        until(lambda: sent[-1][1]["kind"] == "whole" and sent[-1][1]["stats"]["state"] == "ended")
        ask(shown, kind="start")
        until(lambda: shown.live is not live)
        with shown.live as another:
            assert another.running and another.targets == live.targets
            shared_wire.ping(3)
            until(lambda: len(shown.df) == 6)


def test_another_capture_does_not_write_over_a_named_file(shared_wire, monkeypatch, tmp_path):
    live = capture(shared_wire, file=tmp_path / "x.pcap")
    shown, _ = listening(live, monkeypatch)
    ask(shown, kind="stop")
    until(lambda: not live.running)
    ask(shown, kind="start")
    until(lambda: shown._failure)
    assert "would write over" in shown._failure and shown.live is live


def test_an_interval_gives_its_packets_and_says_what_is_gone(shared_wire, monkeypatch):
    with capture(shared_wire, window=10) as live:
        shown, _ = listening(live, monkeypatch, span=10)
        assert shown.interval is None and len(shown.df) == 0
        shared_wire.ping(20)
        until(lambda: live.stats.packets == 40)
        until(lambda: len(shown.df) == 10)
        first, last = live.read()["time"].agg(["min", "max"])
        shown.interval = first - pd.Timedelta("1s"), last + pd.Timedelta("1s")
        assert len(shown.df) == 10
        assert "not in the window any more (live.read() has all" in shown._note
        assert "not in the window any more" in shown.df.attrs["podtracer"]["notes"][-1]
        ask(shown, kind="choose", steps=[1, 2])
        assert len(shown.df) == 0 and shown.interval[0].year == 1970
        ask(shown, kind="choose", steps=[])
        assert shown.interval is None and shown._note == "" and len(shown.df) == 10
        shown.interval = "2026-01-01 10:00", "2026-01-01 10:01"
        assert [str(each) for each in shown.interval] == ["2026-01-01 10:00:00+00:00", "2026-01-01 10:01:00+00:00"]
        for wrong in ((last, first), 5, ("cow", "2026")):
            with pytest.raises(InputError, match="interval="):
                shown.interval = wrong


def test_what_a_callback_raises_is_kept_for_the_page(shared_wire, monkeypatch):
    with capture(shared_wire) as live:
        shown, _ = listening(live, monkeypatch)
        given: list[int] = []
        shown.on_interval(lambda frame: frame["nothing"])
        shown.on_interval(lambda frame: given.append(len(frame)))
        ask(shown, kind="choose", steps=[1, 2])
        assert shown._failure == "KeyError: 'nothing'" and given == [0]


def test_without_a_kernel_there_is_a_page_of_bounded_size(shared_wire):
    class Tags(HTMLParser):
        seen: list[str]

        def handle_starttag(self, tag, attrs):
            self.seen.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}

    with capture(shared_wire) as live:
        shared_wire.ping(5)
        until(lambda: live.stats.packets == 10)
        shown = podtracer_nb.dashboard(live)
        data, _ = shown._repr_mimebundle_()
    tags = Tags()
    tags.seen = []
    tags.feed(data["text/html"])
    assert "svg" in tags.seen and "script" not in tags.seen
    assert len(data["text/html"]) < 60_000
    assert "10.99.0.1" in data["text/html"] and "10 packets" in data["text/html"]
    assert "10.99.0.1  10.99.0.2  5  490 B" in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert repr(shown).startswith(f"pid {shared_wire.far.pid} · ended · ")


def test_closed_it_leaves_the_capture_alone(shared_wire, monkeypatch):
    with capture(shared_wire) as live:
        shown, sent = listening(live, monkeypatch)
        shown.close()
        until(lambda: not any(each.name == "podtracer-dashboard" for each in threading.enumerate()))
        until(lambda: not any(each.name == "podtracer-chunks" for each in threading.enumerate()))
        told = len(sent)
        shared_wire.ping(3)
        until(lambda: len(live.df) == 6)
        assert len(sent) == told


@pytest.mark.parametrize(
    ("words", "said"), [({"span": 1}, "span=1"), ({"refresh": 50}, "refresh=50"), ({"refresh": 0}, "refresh=0")]
)
def test_what_cannot_be(shared_wire, words, said):
    with capture(shared_wire) as live, pytest.raises(InputError, match=said):
        podtracer_nb.dashboard(live, **words)


def test_what_it_cannot_be_of(shared_wire):
    with pytest.raises(InputError, match="live capture"):
        podtracer_nb.dashboard(pd.DataFrame())
    with capture(shared_wire, columns=["src"]) as live, pytest.raises(InputError, match="the column length"):
        podtracer_nb.dashboard(live)
