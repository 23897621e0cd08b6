"""ethtool, really run on veth and loopback; what those have not, from texts written after its sources."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import InputError, TargetError, ToolFailed
from podtracer_nb.tools import Options, Text
from podtracer_nb.tools.known.ethtool import TOOLS
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.tools.places import Place, place

(ETHTOOL,) = TOOLS

SETUP = "ip link add v0 numtxqueues 4 numrxqueues 4 type veth peer name v1; ip link set v0 up; ip link set v1 up"


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    with place(SETUP) as made:
        yield made


def run(home: Place, line: str) -> pd.DataFrame:
    return podtracer_nb.run("ethtool", line.split(), pid=home.pid)


def parsed(line: str, stdout: str) -> pd.DataFrame:
    words = tuple(line.split())
    command = ETHTOOL.command(words, Options(), False)
    assert command.parse is not None
    ((table, rows),) = command.parse(Text(words, stdout)).tables
    return table.frame(rows)


@needs("netns", "iproute2", "ethtool")
class TestReally:
    def test_the_settings_of_a_link(self, home: Place) -> None:
        row = run(home, "v0").iloc[0]
        assert (row.interface, row.speed, row.duplex, row.autonegotiation, row.link) == (
            "v0",
            10000,
            "Full",
            False,
            True,
        )
        assert row.port == "Twisted Pair"
        loopback = run(home, "lo").iloc[0]
        assert loopback.link and pd.isna(loopback.speed)

    def test_a_link_that_is_down(self) -> None:
        with place("ip link add v0 type veth peer name v1; ip link set v0 up") as home:
            assert not run(home, "v0").link[0]

    @pytest.mark.parametrize("line", ["-i v0", "--driver v0"])
    def test_the_driver(self, home: Place, line: str) -> None:
        row = run(home, line).iloc[0]
        assert row.driver == "veth" and row.supports_statistics and not row.supports_test

    @pytest.mark.parametrize("line", ["-k v0", "--show-features v0", "--json -k v0"])
    def test_the_offloads_are_what_was_set(self, line: str) -> None:
        with place(f"{SETUP}; ethtool -K v0 tso off gro on") as home:
            frame = run(home, line).set_index("feature")
            assert not frame.active["tcp-segmentation-offload"] and frame.active["generic-receive-offload"]
            assert frame.fixed["tx-checksum-ipv4"] and len(frame) > 40
            assert not frame.attrs["podtracer"]["notes"]

    def test_the_drivers_own_counters(self, home: Place) -> None:
        frame = run(home, "-S v0").set_index("name")
        index = int(home.do("ip", "-o", "link", "show", "v1").split(":")[0])
        assert frame.value["peer_ifindex"] == index and str(frame.value.dtype) == "UInt64"
        assert frame.attrs["podtracer"]["table"]["key"] == ["interface", "name"]
        assert run(home, "-S lo").empty

    def test_the_queues_are_what_was_set(self) -> None:
        with place(f"{SETUP}; ethtool -L v0 rx 2 tx 3") as home:
            frame = run(home, "-l v0").set_index("parameter")
            assert frame.current[["rx", "tx"]].tolist() == [2, 3] and frame.maximum["rx"] == 4
            assert pd.isna(frame.current["combined"])

    def test_time_stamping(self, home: Place) -> None:
        row = run(home, "-T v0").iloc[0]
        assert "software-receive" in row.capabilities and pd.isna(row.clock) and row.transmit_modes == []

    @pytest.mark.parametrize("letter", ["-g", "-a", "-c", "-m"])
    def test_what_the_driver_has_not_is_one_line(self, home: Place, letter: str) -> None:
        with pytest.raises(ToolFailed, match="driver does not have this"):
            run(home, f"{letter} v0")

    @pytest.mark.parametrize("line", ["nix", "-i nix", "-k nix", "-S nix", "-l nix"])
    def test_no_such_interface_is_one_line(self, home: Place, line: str) -> None:
        if line == "nix":  # it says so in a table's words, and then fails
            assert run(home, line).attrs["podtracer"]["notes"][-1].endswith("`ip link` lists them")
            return
        with pytest.raises(TargetError, match="no such interface in the target: `ip link` lists them"):
            run(home, line)

    def test_json_where_it_has_none_is_one_line(self, home: Place) -> None:
        with pytest.raises(InputError, match="JSON only for some"):
            run(home, "--json -i v0")

    @pytest.mark.parametrize(
        ("line", "show"),
        [("-K v0 tso off", "-k v0"), ("-K v0 tx off sg off gro on", "-k v0"), ("--set-channels v0 rx 3 tx 2", "-l v0")],
    )
    def test_an_undo_brings_back_what_was(self, line: str, show: str) -> None:
        with place(SETUP) as home:
            change = ETHTOOL.change(tuple(line.split()))
            assert change is not None and change.before is not None and change.undo_from is not None
            assert change.restores
            undo = change.undo_from(home.do(*change.before))
            assert undo is not None
            before = home.do("ethtool", *show.split())
            frame = podtracer_nb.run("ethtool", line.split(), pid=home.pid, allow_change=True)
            assert frame.attrs["podtracer"]["exit_code"] == 0, frame.attrs["podtracer"]["stderr"]
            assert home.do("ethtool", *show.split()) != before
            home.do(*undo)
            assert home.do("ethtool", *show.split()) == before


SETTINGS = """\
Settings for eth0:
\tSupported ports: [ FIBRE ]
\tSupported link modes:   10000baseT/Full
\t                        25000baseCR/Full
\tSupports auto-negotiation: Yes
\tSpeed: Unknown!
\tDuplex: Unknown! (255)
\tAuto-negotiation: on
\tPort: FIBRE
\tCurrent message level: 0x00000007 (7)
\t                       drv probe link
\tLink detected: no (No cable)
Settings for eth1:
\tSpeed: 25000Mb/s
\tDuplex: Full
\tLink detected: yes
"""


def test_settings_of_several_interfaces_and_of_real_cards() -> None:
    frame = parsed("*", SETTINGS)
    assert frame.interface.tolist() == ["eth0", "eth1"]
    assert pd.isna(frame.speed[0]) and frame.speed[1] == 25000 and pd.isna(frame.duplex[0])
    assert frame.supported_link_modes[0] == "10000baseT/Full 25000baseCR/Full"
    assert frame.link.tolist() == [False, True] and frame.autonegotiation[0]


# An older ethtool ends here; 6.1 adds the last lines (netlink/rings.c).
RINGS = """\
Ring parameters for eth0:
Pre-set maximums:
RX:\t\t4096
RX Mini:\tn/a
RX Jumbo:\t0
TX:\t\t4096
Current hardware settings:
RX:\t\t512
RX Mini:\tn/a
RX Jumbo:\t0
TX:\t\t1024
"""


@pytest.mark.parametrize("more", ["", "RX Buf Len:\t\tn/a\nCQE Size:\t\t64\nTX Push:\toff\n"])
def test_rings_of_two_versions(more: str) -> None:
    frame = parsed("-g eth0", RINGS + more).set_index("parameter")
    assert frame.current["rx"] == 512 and frame.maximum["tx"] == 4096 and pd.isna(frame.current["rx_mini"])
    assert not more or (frame.current["cqe_size"] == 64 and frame.setting["tx_push"] == "off")


COALESCING = """\
Coalesce parameters for eth0:
Adaptive RX: off  TX: n/a
stats-block-usecs: n/a

rx-usecs: 8
rx-frames: 1

CQE mode RX: n/a  TX: off
"""


def test_coalescing() -> None:
    frame = parsed("-c eth0", COALESCING).set_index("parameter")
    assert frame.current["rx-usecs"] == 8 and frame.setting["adaptive-rx"] == "off"
    assert pd.isna(frame.setting["adaptive-tx"]) and frame.setting["cqe-mode-tx"] == "off"


def test_pause_frames_as_text_and_as_json() -> None:
    text = parsed("-a eth0", "Pause parameters for eth0:\nAutonegotiate:\ton\nRX:\t\toff\nTX:\t\ton\n").iloc[0]
    said = json.dumps([{"ifname": "eth0", "autonegotiate": True, "rx": False, "tx": True}])
    for row in (text, parsed("--json -a eth0", said).iloc[0]):
        assert (row.interface, row.autonegotiate, row.rx, row.tx) == ("eth0", True, False, True)


def test_json_of_later_versions() -> None:
    """`--json -g` (netlink/rings.c of 6.2) and groups of statistics (netlink/stats.c)."""
    said = json.dumps([{"ifname": "eth0", "rx-max": 4096, "rx": 512, "tx-max": 4096, "tx": 1024, "tx-push": False}])
    frame = parsed("--json -g eth0", said).set_index("parameter")
    assert (frame.current["rx"], frame.maximum["tx"], frame.setting["tx_push"]) == (512, 4096, "off")
    said = json.dumps([{"ifname": "eth0", "eth-mac": {"FramesTransmittedOK": 7, "OctetsTransmittedOK": 588}}])
    counters = parsed("--json -S eth0 --all-groups", said).set_index("name")
    assert counters.value["eth_mac_FramesTransmittedOK"] == 7


def test_time_stamping_of_a_card_that_has_a_clock() -> None:
    said = (
        "Time stamping parameters for eth0:\nCapabilities:\n\thardware-transmit     (SOF_TIMESTAMPING_TX_HARDWARE)\n"
        "PTP Hardware Clock: 2\nHardware Transmit Timestamp Modes:\n\toff                   (HWTSTAMP_TX_OFF)\n"
        "\ton                    (HWTSTAMP_TX_ON)\nHardware Receive Filter Modes:\n\tall\n"
    )
    row = parsed("-T eth0", said).iloc[0]
    assert row.clock == 2 and row.capabilities == ["hardware-transmit"] and row.transmit_modes == ["off", "on"]
    assert row.receive_filters == ["all"]


def test_a_module() -> None:
    said = (
        "\tIdentifier                                : 0x03 (SFP)\n\tModule temperature   : 34.16 degrees C / 93.49 F\n"
    )
    frame = parsed("-m eth0", said).set_index("field")
    assert frame.value["Identifier"] == "0x03 (SFP)" and pd.isna(frame.number["Identifier"])
    assert frame.number["Module temperature"] == 34.16


def test_features_that_wait_for_others() -> None:
    frame = parsed("-k eth0", "Features for eth0:\ntso: off [requested on]\n\tlro: off [fixed]\ngso: on\n")
    assert frame.requested.tolist() == [True, False, True] and frame.fixed.tolist() == [False, True, False]


COMMANDS = ("eth0", "-i eth0", "-k eth0", "-S eth0", "-g eth0", "-l eth0", "-c eth0", "-a eth0", "-T eth0", "-m eth0")


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize("said", ["no line of its\n", "[{", "[1]", "\x00\x01\n", "Features for eth0:\n"])
def test_what_is_no_output_of_ethtool_is_never_a_table(line: str, said: str) -> None:
    with pytest.raises(Unreadable):
        parsed(line, said)


@settings(deadline=None)
@given(
    st.sampled_from(COMMANDS), st.text(st.sampled_from("Settings for eth0:\n\tRX: 1on[fixed]Speed Mb/s{"), max_size=80)
)
def test_any_text_is_a_table_or_said_to_be_none(line: str, said: str) -> None:
    with contextlib.suppress(Unreadable):
        parsed(line, said)


@pytest.mark.parametrize(
    "line", ["", *COMMANDS, "--json -k x", "-n x", "-x x", "--show-fec x", "-h", "--version", "-P x"]
)
def test_what_only_looks_is_no_change(line: str) -> None:
    assert ETHTOOL.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "line",
    ["-s x speed 10", "--change x", "-K x gro off", "-G x rx 1", "-L x rx 1", "-C x", "-A x rx on", "-p x", "-r x",
     "--reset x all", "-N x", "-X x equal 2", "--set-eee x", "-E x", "--frobnicate x", "--json --set-fec x", "-Q x -C"],
)  # fmt: skip
def test_what_sets_something_is_a_change(line: str) -> None:
    assert ETHTOOL.change(tuple(line.split())) is not None


def test_the_undo_of_rings_pause_frames_and_coalescing() -> None:
    for line, before, undo in (
        ("-G eth0 rx 4096", RINGS, ("ethtool", "-G", "eth0", "rx", "512")),
        ("-C eth0 rx-usecs 0 adaptive-rx on", COALESCING,
         ("ethtool", "-C", "eth0", "rx-usecs", "8", "adaptive-rx", "off")),
        ("-A eth0 rx on", "Pause parameters for eth0:\nAutonegotiate:\ton\nRX:\t\toff\nTX:\t\ton\n",
         ("ethtool", "-A", "eth0", "rx", "off")),
        ("-G eth0 frob 7", RINGS, None),
    ):  # fmt: skip
        change = ETHTOOL.change(tuple(line.split()))
        assert change is not None and change.undo_from is not None and change.undo_from(before) == undo
