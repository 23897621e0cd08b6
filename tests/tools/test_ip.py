"""ip, really run in namespaces of the tests: its tables say what was set up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError, ToolFailed
from podtracer_nb.tools import Options
from podtracer_nb.tools.known.ip import OBJECTS, TOOLS
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.places import Place, neighbour, place, watching

(IP,) = TOOLS

pytestmark = needs("netns", "iproute2")

SETUP = """
ip link add v0 type veth peer name v1
ip link add br0 type bridge
ip link set v1 master br0
ip addr add 10.1.0.1/24 brd + dev v0
ip addr add 10.1.0.77/32 dev v0 valid_lft 500 preferred_lft 400
ip -6 addr add fd00::1/64 dev v0 nodad
ip link set v0 up; ip link set v1 up; ip link set br0 up; ip link set v0 mtu 1400
ip link add vx0 type vxlan id 42 dstport 4789 local 10.1.0.1 remote 10.1.0.9 dev v0
ip route add 10.9.0.0/16 via 10.1.0.2 mtu 1300
ip route add 10.8.0.0/16 nexthop via 10.1.0.2 weight 1 nexthop via 10.1.0.3 weight 3
ip route add blackhole 10.7.0.0/16
ip route add 10.6.0.0/16 via 10.1.0.2 metric 5 table 100
ip -6 route add fd01::/64 nexthop via fd00::2 nexthop via fd00::3
ip -6 route add default via fd00::2
ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent
ip rule add from 10.1.0.1 table 100 pref 100
ip rule add fwmark 5/0xff iif lo to 10.9.0.0/16 lookup 100 pref 99
ip nexthop add id 1 via 10.1.0.2 dev v0
ip nexthop add id 2 via 10.1.0.3 dev v0
ip nexthop add id 10 group 1,3/2,1
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    with place(SETUP) as made:
        yield made


@pytest.mark.parametrize("words", [("addr",), ("a",), ("-4", "a", "s"), ("-br", "addr"), ("-o", "a", "show", "v0")])
def test_addresses_are_those_that_were_added(home: Place, words: tuple[str, ...]) -> None:
    frame = podtracer_nb.run("ip", list(words), pid=home.pid)
    row = frame.set_index("address").loc["10.1.0.1"]
    assert (row.interface, row.family, row.prefix) == ("v0", "inet", 24)
    assert ("fd00::1" in set(frame.address)) == ("-4" not in words)


def test_an_address_has_its_lifetime_scope_and_flags(home: Place) -> None:
    frame = podtracer_nb.run("ip", ["addr", "show", "dev", "v0"], pid=home.pid).set_index("address")
    assert 400 < frame.valid_lifetime["10.1.0.77"] <= 500
    assert frame.valid_lifetime.isna()["10.1.0.1"]
    assert "dynamic" in frame["flags"]["10.1.0.77"]
    assert frame.broadcast["10.1.0.1"] == "10.1.0.255"
    assert frame.scope["10.1.0.1"] == "global"
    assert frame.attrs["podtracer"]["units"]["valid_lifetime"] == "s"


def test_links_come_beside_addresses(home: Place) -> None:
    frame = podtracer_nb.run("ip", ["addr"], pid=home.pid)
    links = frame.podtrace.table("links").set_index("interface")
    assert links.mtu["v0"] == 1400 and links.master["v1"] == "br0"


def test_links_have_their_kinds_own_data(home: Place) -> None:
    frame = podtracer_nb.run("ip", ["-d", "link"], pid=home.pid).set_index("interface")
    assert frame.kind.dropna().to_dict() == {"v0": "veth", "v1": "veth", "br0": "bridge", "vx0": "vxlan"}
    assert frame.link["v0"] == "v1"
    assert frame.vxlan_id["vx0"] == 42 and frame.vxlan_remote["vx0"] == "10.1.0.9"
    assert frame.bridge_stp_state["br0"] == 0 and frame.bridge_slave_state["v1"] == "forwarding"
    assert "UP" in frame["flags"]["v0"] and frame.state["v0"] == "UP"


def test_the_counters_of_links_are_those_that_grow() -> None:
    with place() as home, neighbour(home) as other:
        before = podtracer_nb.run("ip", ["-s", "link"], pid=home.pid).set_index("interface")
        other.do("ping", "-c", "5", "-i", "0.01", "-s", "1000", "10.1.0.1")
        after = podtracer_nb.run("ip", ["-s", "-s", "link"], pid=home.pid).set_index("interface")
        grown = int(after.rx_bytes["v0"]) - int(before.rx_bytes["v0"])
        assert grown >= 5 * (1000 + 8 + 20 + 14)
        assert int(after.rx_packets["v0"]) - int(before.rx_packets["v0"]) >= 5
        assert str(after.rx_bytes.dtype) == "UInt64" and after.tx_dropped["v0"] == 0 and "rx_crc_errors" in after


def test_a_veth_whose_other_end_is_elsewhere_says_where() -> None:
    with place() as home, neighbour(home):
        row = podtracer_nb.run("ip", ["-d", "link", "show", "v0"], pid=home.pid).iloc[0]
        assert row.kind == "veth" and row.link_index > 0 and row.link_netnsid >= 0


def test_routes_of_every_table_and_each_way(home: Place) -> None:
    frame = podtracer_nb.run("ip", ["r", "s", "table", "all"], pid=home.pid)
    by = frame.set_index("dst")
    assert by.table["10.6.0.0/16"] == "100" and by.metric["10.6.0.0/16"] == 5
    assert by.type["10.7.0.0/16"] == "blackhole"
    ways = frame[frame.dst == "10.8.0.0/16"]
    assert ways.gateway.tolist() == ["10.1.0.2", "10.1.0.3"]
    assert ways.weight.tolist() == [1, 3] and ways.nexthop.tolist() == [0, 1]
    assert by.mtu["10.9.0.0/16"] == 1300
    assert by.family["10.9.0.0/16"] == "inet" and set(frame[frame.dst == "fd01::/64"].family) == {"inet6"}
    assert frame[frame.dst == "default"].family.tolist() == ["inet6"]
    assert "local" in set(frame.table) and by.src["10.1.0.0/24"] == "10.1.0.1"
    key = frame.attrs["podtracer"]["table"]["key"]
    assert not frame.duplicated(key).any()


def test_the_table_that_was_asked_for_is_told(home: Place) -> None:
    assert podtracer_nb.run("ip", ["route", "show", "table", "100"], pid=home.pid).table.tolist() == ["100"]
    assert set(podtracer_nb.run("ip", ["route"], pid=home.pid).table) == {"main"}
    assert set(podtracer_nb.run("ip", ["-6", "route"], pid=home.pid).family) == {"inet6"}


def test_route_get_says_which_way(home: Place) -> None:
    row = podtracer_nb.run("ip", ["route", "get", "10.9.1.1"], pid=home.pid).iloc[0]
    assert (row.dst, row.gateway, row.interface, row.src) == ("10.9.1.1", "10.1.0.2", "v0", "10.1.0.1")


def test_neighbours_rules_next_hops_and_groups(home: Place) -> None:
    neighbours = podtracer_nb.run("ip", ["-s", "n"], pid=home.pid).set_index("dst")
    assert neighbours.lladdr["10.1.0.2"] == "02:00:00:00:00:02" and neighbours.state["10.1.0.2"] == "PERMANENT"
    assert neighbours.used["10.1.0.2"] >= 0
    rules = podtracer_nb.run("ip", ["rule"], pid=home.pid).set_index("priority")
    assert rules.src[100] == "10.1.0.1" and rules.table[100] == "100"
    assert (rules.dst[99], rules.fwmark[99], rules.fwmask[99], rules.iif[99]) == ("10.9.0.0/16", "0x5", "0xff", "lo")
    assert set(podtracer_nb.run("ip", ["-6", "rule"], pid=home.pid).family) == {"inet6"}
    hops = podtracer_nb.run("ip", ["nexthop"], pid=home.pid).set_index("id")
    assert hops.gateway[2] == "10.1.0.3" and hops.group[10] == "1/3,2"
    groups = podtracer_nb.run("ip", ["maddress"], pid=home.pid)
    assert {"link", "inet", "inet6"} == set(groups.family)
    assert "224.0.0.1" in set(groups[groups.interface == "v0"].address)


@pytest.mark.parametrize("words", [("netconf",), ("token",), ("ntable",), ("addrlabel",), ("stats",)])
def test_other_objects_have_what_ip_says_of_them(home: Place, words: tuple[str, ...]) -> None:
    frame = podtracer_nb.run("ip", list(words), pid=home.pid)
    assert len(frame) and not frame.attrs["podtracer"]["notes"]


@pytest.mark.parametrize("words", [("tunnel",), ("mroute",), ("tcp_metrics",), ("xfrm", "state"), ("vrf",)])
def test_nothing_there_is_an_empty_table(home: Place, words: tuple[str, ...]) -> None:
    frame = podtracer_nb.run("ip", list(words), pid=home.pid)
    assert not len(frame) and not frame.attrs["podtracer"]["notes"]


@pytest.mark.parametrize("more", [(), ("-s",)])
def test_policies_are_read_from_their_text(home: Place, more: tuple[str, ...]) -> None:
    home.script("ip xfrm policy flush; ip xfrm policy add src 10.1.0.0/24 dst 10.9.0.0/24 dir out priority 7 "
                "tmpl src 10.1.0.1 dst 10.1.0.9 proto esp mode tunnel")  # fmt: skip
    row = podtracer_nb.run("ip", [*more, "xfrm", "policy"], pid=home.pid).iloc[0]
    assert (row.src, row.dst, row.dir, row.priority) == ("10.1.0.0/24", "10.9.0.0/24", "out", 7)
    assert row.tmpl.startswith("src 10.1.0.1 dst 10.1.0.9 proto esp")


def test_a_monitor_tells_what_happens_when_and_to_what() -> None:
    with place() as home:
        with watching(home, "ip", "monitor") as watched:
            # It says nothing when it listens; what it says of one address is the sign.
            address = iter(range(1, 200))

            def heard() -> bool:
                home.do("ip", "addr", "add", f"10.3.0.{next(address)}/24", "dev", "lo")
                return b"10.3.0." in watched.heard()

            until(heard)
            home.script("ip link add d0 type veth; ip route add 10.4.0.0/16 dev lo; ip route del 10.4.0.0/16")
            until(lambda: b"Deleted 10.4.0.0/16" in watched.heard())
            frame = watched.stopped()
        assert {"address", "link", "route"} <= set(frame.object)
        routes = frame[frame.object.eq("route") & frame.text.str.contains("10.4.0.0/16")]
        assert routes.deleted.tolist() == [False, True]
        assert frame.time.is_monotonic_increasing and str(frame.time.dtype) == "datetime64[ns, UTC]"
        assert abs((pd.Timestamp.now("UTC") - frame.time.iloc[-1]).total_seconds()) < 60
        assert "lo" in set(frame.interface)


def test_no_such_interface_and_no_right_are_one_line(home: Place) -> None:
    notes = podtracer_nb.run("ip", ["addr", "show", "dev", "nix"], pid=home.pid).attrs["podtracer"]["notes"]
    assert len(notes) == 1 and 'Device "nix" does not exist' in notes[0]


# --- What alters


@pytest.mark.parametrize(
    "line",
    [
        "addr", "a", "a s", "-br a", "link", "-s -s l sh", "r", "route get 1.1.1.1", "r l table all", "n", "rule",
        "-6 ru",
        "netns", "netns list-id", "monitor", "mo", "xfrm state", "x s", "xfrm state count", "x p", "x m", "help", "-V",
        "nexthop", "nexthop bucket", "route save", "tunnel show", "link help", "maddr", "m", "stats show", "vrf",
        "mptcp endpoint", "-details -json link show dev x",
    ],
)  # fmt: skip
def test_what_only_looks_is_no_change(line: str) -> None:
    assert IP.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "line",
    [
        "a a 1/8 dev x", "addr del 1 dev x", "a f dev x", "l s x up", "link set x down", "l a x type veth",
        "r a default via 1",
        "route replace x", "r ch x", "route prepend 1", "r app x", "r f x", "n add 1 dev x", "ru a from 1",
        "rule restore",
        "netns add x", "netns exec x ls", "x s f", "xfrm policy deleteall", "x p update", "tuntap add tap0",
        "neigh flush all",
        "addr restore", "nexthop replace id 1", "frobnicate now", "addr frobnicate", "sr tunsrc set ::",
        "token set ::1 dev x",
        "vrf exec x ls", "mptcp limits set", "-4 a a 1/8 dev x", "-n other addr add 1 dev x",
        "link property add dev x altname y",
    ],
)  # fmt: skip
def test_what_alters_is_a_change(line: str) -> None:
    assert IP.change(tuple(line.split())) is not None


def test_a_file_of_commands_is_refused() -> None:
    for words in (("-b", "x"), ("-batch", "x"), ("--batch", "x"), ("-4", "-ba", "x")):
        with pytest.raises(InputError, match="one by one"):
            IP.change(words)


def test_abbreviations_are_ips_own(home: Place) -> None:
    """`ip WORD help` says which object it takes a word for."""
    wrong = []
    for word in {kind[:length] for kind in OBJECTS for length in range(1, len(kind) + 1)}:
        done = subprocess.run(["ip", word, "help"], capture_output=True, text=True, timeout=10, check=False)
        said = (done.stderr + done.stdout).replace("Usage: ip [ OPTIONS ] OBJECT", "")
        kind = next(each for each in OBJECTS if each.startswith(word))
        known = {"neighbor": "neigh", "neighbour": "neigh", "maddress": "maddr", "tunl": "tunnel", "ntbl": "ntable"}
        known |= {"mrule": "rule"}
        names = (kind, known.get(kind, kind), kind.replace("tcpmetrics", "tcp_metrics"))
        if kind not in ("help", "monitor") and not any(f"ip {name}" in said for name in names):
            wrong.append((word, kind, said[:60]))
    assert not wrong


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("addr add 10.2.0.1/24 dev v0", "-o -4 addr show dev v0"),
        ("addr del 10.1.0.1/24 dev v0", "-o -4 addr show dev v0 to 10.1.0.1/32"),
        ("route add 10.20.0.0/16 via 10.1.0.9", "route"),
        ("route del 10.9.0.0/16", "route"),
        ("route del 10.8.0.0/16", "route show 10.8.0.0/16"),
        ("route del 10.6.0.0/16 table 100", "route show table 100"),
        ("route del blackhole 10.7.0.0/16", "route"),
        ("-6 route del default", "-6 route show default"),
        ("rule add from 10.3.0.0/24 table 5 pref 50", "rule"),
        ("rule del pref 99", "rule"),
        ("rule del from 10.1.0.1", "rule"),
        ("neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 dev v0", "neigh show nud permanent"),
        ("neigh del 10.1.0.2 dev v0", "neigh show nud permanent"),
        ("link add w0 type veth peer name w1", "-o link show type veth"),
        ("link set v0 mtu 1300", "-o link show dev v0"),
        ("link set dev v0 promisc on mtu 1200", "-o link show dev v0"),
        ("link set v1 down", "-o link show dev v1"),
        ("link set vx0 up", "-o link show dev vx0"),
        ("nexthop add id 7 via 10.1.0.7 dev v0", "nexthop"),
    ],
)
def test_an_undo_brings_back_what_was(line: str, shown: str) -> None:
    with place(SETUP) as home:
        words = tuple(line.split())

        def state() -> list[str]:
            # What a link's other end has to do with it comes later, and a lifetime runs.
            running = r" (state|qdisc) \S+|NO-CARRIER,|,LOWER_UP|,M-DOWN|linkdown|\d+sec"
            return sorted(re.sub(running, "", each) for each in home.do("ip", *shown.split()).splitlines())

        change = IP.change(words)
        assert change is not None
        before, undo = state(), change.undo
        if change.before is not None:
            assert change.undo_from is not None
            undo = change.undo_from(home.do(*change.before))
        assert undo is not None
        frame = podtracer_nb.run("ip", list(words), pid=home.pid, allow_change=True)
        assert frame.attrs["podtracer"]["exit_code"] == 0, frame.attrs["podtracer"]["stderr"]
        assert state() != before
        home.do(*undo)
        assert state() == before


@pytest.mark.parametrize(
    "line",
    ["addr flush dev v0", "route replace default via 10.1.0.2", "-n other addr add 1/8 dev x", "link set x master y"],
)
def test_what_cannot_be_taken_back_exactly_has_no_undo(line: str) -> None:
    change = IP.change(tuple(line.split()))
    assert change is not None and change.undo is None and change.before is None


# --- Other versions


def test_the_text_is_the_users_own(home: Place) -> None:
    frame = podtracer_nb.run("ip", ["addr"], pid=home.pid, text=True)
    assert frame.columns.tolist() == ["time", "stream", "line"]
    assert frame.attrs["podtracer"]["argv"] == ["ip", "addr"]


@needs("busybox")
class TestBusybox:
    """busybox's ip knows neither -j nor -s; its text is read in its place."""

    @pytest.fixture
    def busybox(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "ip").symlink_to(str(shutil.which("busybox")))
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    @pytest.mark.parametrize("words", [("addr",), ("link",), ("neigh",), ("rule",), ("-4", "a"), ("-o", "addr")])
    def test_its_tables_say_the_same(self, home: Place, words: tuple[str, ...], request: pytest.FixtureRequest) -> None:
        ours = podtracer_nb.run("ip", list(words), pid=home.pid)
        request.getfixturevalue("busybox")
        theirs = podtracer_nb.run("ip", list(words), pid=home.pid)
        assert theirs.attrs["podtracer"]["argv"] == ["ip", *words]
        assert not theirs.attrs["podtracer"]["notes"]
        names = {
            "addresses": ["ifindex", "interface", "family", "address", "prefix", "scope"],
            "links": ["ifindex", "interface", "mtu", "qdisc", "address", "link_type"],
            "neighbours": ["dst", "interface", "lladdr", "state"],
            "rules": ["priority", "src", "dst", "table", "fwmark", "fwmask", "iif"],
        }[theirs.attrs["podtracer"]["table"]["name"]]
        if words == ("neigh",):
            ours, theirs = (each[each.state.eq("PERMANENT")].reset_index(drop=True) for each in (ours, theirs))
        assert theirs[names].astype(str).equals(ours[names].astype(str))
        assert theirs[names].dtypes.equals(ours[names].dtypes) or words != ("addr",)

    @pytest.mark.usefixtures("busybox")
    def test_its_routes(self, home: Place) -> None:
        frame = podtracer_nb.run("ip", ["route", "show", "table", "all"], pid=home.pid).set_index("dst")
        assert frame.gateway["10.9.0.0/16"] == "10.1.0.2" and frame.interface["10.9.0.0/16"] == "v0"
        assert frame.table["10.6.0.0/16"] == "100" and frame.metric["10.6.0.0/16"] == 5
        assert frame.type["10.7.0.0/16"] == "blackhole"

    @pytest.mark.usefixtures("busybox")
    def test_what_it_has_not_is_one_line(self, home: Place) -> None:
        with pytest.raises(ToolFailed, match="this ip is busybox's, which does not know all of these words: apt-get"):
            podtracer_nb.run("ip", ["-s", "link"], pid=home.pid)


def test_the_argv_asks_for_json_and_for_nothing_else() -> None:
    command = IP.command(("-s", "link"), Options(), False)
    assert command.argv == ("ip", "-j", "-s", "link") and command.otherwise == ("ip", "-s", "link")
