"""What a banner says, and how loud."""

from __future__ import annotations

import pandas as pd
import pytest

from podtracer_nb.notebook import display


def frame(rows: int = 3, **meta: object) -> pd.DataFrame:
    made = pd.DataFrame({"caplen": range(rows)})
    made.attrs["podtracer"] = {
        "tool": "tcpdump",
        "targets": [{"pod": "web", "namespace": "demo", "node": "demo-node", "container": "web"}],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:00:02.500000+00:00",
        "bytes": 45_200,
        "capture": {"packets": rows, "damage": None},
        "reason": "exit",
        "exit_code": 0,
        "interrupted": False,
        "drops": {"captured": rows, "received": rows, "dropped_by_kernel": 0},
        "recordings": ["/tmp/x.pcap"],
        "notes": [],
        **meta,
    }
    return made


def test_a_run_is_told_in_one_line():
    text = repr(display.of_run(frame(), {}))
    assert text == "demo/web on demo-node · 3 packets · 45.2 kB · 2.5 s · recording: /tmp/x.pcap"


def test_drops_are_loud_and_only_there_when_there_were_some():
    text = repr(display.of_run(frame(drops={"captured": 3, "received": 4, "dropped_by_kernel": 1}), {}))
    assert "⚠ 1 packet dropped by the kernel (25.0%)" in text
    assert "dropped" not in repr(display.of_run(frame(), {}))


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"interrupted": True, "reason": "stopped"}, "⚠ interrupted"),
        ({"reason": "timer"}, "stopped by its timer"),
        ({"reason": "bytes"}, "stopped at its byte limit"),
        ({"reason": "disk"}, "⚠ stopped: the disk is full"),
        ({"exit_code": 2, "notes": ["ss ended with exit status 2: what?"]}, "⚠ ss ended with exit status 2: what?"),
        ({"notes": ["demo/api failed: it went away"]}, "⚠ demo/api failed: it went away"),
        ({"capture": {"damage": {"offset": 4096, "reason": "cut short"}}}, "⚠ damaged at byte 4,096: cut short"),
        ({"notes": ["x.pcap is on this machine"]}, "x.pcap is on this machine"),
        ({"recordings": ["a.pcap", "b.pcap"]}, "recording: a.pcap and 1 more"),
    ],
)
def test_how_a_run_ended_is_told(meta, words):
    assert words in repr(display.of_run(frame(**meta), {}))


def test_the_frame_of_a_tool_that_is_no_capture_counts_lines():
    made = frame(capture=None).rename(columns={"caplen": "line"})
    assert "3 lines" in repr(display.of_run(made, {}))


def test_sticky_defaults_are_told_in_the_words_that_set_them():
    banner = display.of_run(frame(), {"namespace": "demo", "pod": ("web", "api"), "ns": ("net", "pid"), "timer": 1.5})
    assert repr(banner).endswith("defaults: -n demo --pod web --pod api --ns net,pid -t 1.5s")


def test_both_html_and_text_are_given_and_a_name_cannot_become_markup():
    bundle = display.Banner((display.Part("<b>&", loud=True), display.Part("<script>")))._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert "<b>" not in bundle["text/html"] and "<script>" not in bundle["text/html"]
    assert bundle["text/plain"] == "⚠ <b>& · <script>"


def test_a_capture_file_is_told_with_its_damage():
    banner = display.of_reading(frame(capture={"bytes": 10, "damage": {"offset": 24, "reason": "cut short"}}), "a.pcap")
    assert repr(banner) == "a.pcap · 3 packets · 10 B · ⚠ damaged at byte 24: cut short"


def test_a_link_type_that_is_not_dissected_is_named():
    banner = display.of_reading(frame(capture={"linktype": 105, "damage": None}), "a.pcap")
    assert repr(banner) == "a.pcap · 3 packets · ⚠ link type IEEE802_11 (105) is not dissected"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**13, "10.0 TB")],
)
def test_sizes_are_decimal(count, text):
    assert display.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert display.duration(seconds) == text
