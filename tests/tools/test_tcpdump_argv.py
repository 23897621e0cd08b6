"""tcpdump's argv: made fit for packets, the user's own words kept, our own values never options."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podtracer_nb.errors import InputError, PrivilegeError, TargetError
from podtracer_nb.tools import Options
from podtracer_nb.tools.known.tcpdump import TCPDUMP


def argv(*words: str, **options: object) -> tuple[str, ...]:
    return TCPDUMP.prepare(words, Options(**options), False).argv  # type: ignore[arg-type]


def test_without_w_the_capture_comes_to_us() -> None:
    command = TCPDUMP.prepare(("-i", "eth0"), Options(), False)
    assert command.output == "packets"
    assert command.argv[:3] == ("tcpdump", "-w", "-")
    assert command.file is None


@pytest.mark.parametrize("words", [("-w", "x.pcap"), ("-wx.pcap",), ("-nwx.pcap",), ("port", "80", "-w", "x.pcap")])
def test_with_w_the_same_bytes_are_left_in_the_file(words: tuple[str, ...]) -> None:
    command = TCPDUMP.prepare(words, Options(), False)
    assert command.file == Path("x.pcap")
    assert "x.pcap" not in command.argv
    assert any("not in the target" in note for note in command.notes)


def test_w_dash_is_standard_output() -> None:
    assert TCPDUMP.prepare(("-w", "-"), Options(), False).file is None


def test_rotation_is_tcpdumps_own() -> None:
    command = TCPDUMP.prepare(("-C", "1", "-w", "x.pcap"), Options(), False)
    assert command.output == "lines"
    assert command.argv[-2:] == ("-w", "x.pcap")
    with pytest.raises(InputError, match="-w FILE"):
        TCPDUMP.prepare(("-C", "1"), Options(), False)


def test_text_gives_its_printed_lines() -> None:
    command = TCPDUMP.prepare(("-i", "eth0"), Options(text=True), False)
    assert command.output == "lines"
    assert "-w" not in command.argv
    assert "-l" in command.argv


@pytest.mark.parametrize("word", ["-D", "--version", "-L", "--help", "-d"])
def test_what_prints_and_ends_is_left_alone(word: str) -> None:
    assert "-w" not in argv(word)


def test_root_of_a_user_namespace_stays_root() -> None:
    assert TCPDUMP.prepare((), Options(), True).argv[-2:] == ("-Z", "root")
    assert "root" not in TCPDUMP.prepare(("-Z", "nobody"), Options(), True).argv


def test_the_kernels_buffer_is_larger_unless_the_user_says() -> None:
    assert "-B" in argv()
    assert argv("-B", "512").count("-B") == 1


def test_a_filter_of_ours_is_one_last_argument_behind_two_dashes() -> None:
    assert argv(filter="port 80 or port 53")[-2:] == ("--", "port 80 or port 53")
    assert argv("-i", "eth0", filter="-z /evil.sh")[-2:] == ("--", "-z /evil.sh")


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_no_filter_of_ours_is_ever_an_option(text: str) -> None:
    words = argv(filter=text)
    assert words[-2:] == ("--", text)
    assert words.index("--") == len(words) - 2


@given(st.text(min_size=1, max_size=20))
def test_no_interface_of_ours_is_ever_an_option(text: str) -> None:
    try:
        words = argv(interface=text)
    except InputError:
        return
    assert words[words.index("-i") + 1] == text
    assert not text.startswith("-")


@pytest.mark.parametrize(
    ("words", "options"),
    [(("port", "80"), {"filter": "port 53"}), (("-i", "lo"), {"interface": "eth0"}), (("-c", "1"), {"count": 2})],
)
def test_a_thing_said_twice_is_refused(words: tuple[str, ...], options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="twice"):
        argv(*words, **options)


def test_an_unknown_option_is_refused_before_anything_starts() -> None:
    with pytest.raises(InputError, match="-R not recognized"):
        argv("-R")


def test_a_filter_is_compiled_on_its_own_interface_first() -> None:
    command = TCPDUMP.prepare(("-i", "eth0", "port", "80"), Options(), False)
    assert command.check == ("tcpdump", "-d", "-i", "eth0", "--", "port", "80")
    assert TCPDUMP.prepare(("-i", "eth0"), Options(), False).check is None


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("tcpdump: can't parse filter expression: syntax error\n", InputError),
        ("tcpdump: eth9: No such device exists\n(No such device exists)\n", TargetError),
        ("tcpdump: eth0: You don't have permission to perform this capture on that device\n", PrivilegeError),
    ],
)
def test_what_tcpdump_says_becomes_one_line(stderr: str, kind: type[Exception]) -> None:
    error = TCPDUMP.diagnose(stderr)
    assert isinstance(error, kind)
    assert "\n" not in str(error)


def test_its_summary_is_read() -> None:
    text = "tcpdump: listening\n12 packets captured\n14 packets received by filter\n2 packets dropped by kernel\n"
    assert TCPDUMP.summary(text) == {"captured": 12, "received": 14, "dropped_by_kernel": 2}
    assert TCPDUMP.summary("1 packet captured\n1 packet received by filter\n") == {"captured": 1, "received": 1}
    asked = "tcpdump: 5 packets captured, 6 packets received by filter, 3 packets dropped by kernel\n"
    assert TCPDUMP.summary(asked) == {"captured": 5, "received": 6, "dropped_by_kernel": 3}
    assert TCPDUMP.summary(asked + text) == {"captured": 12, "received": 14, "dropped_by_kernel": 2}
