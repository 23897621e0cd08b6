"""bridge, really run in namespaces of the tests: its tables say what was set up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import InputError
from podtracer_nb.tools import Options, Text
from podtracer_nb.tools.known.bridge import TOOLS
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.places import Place, place, watching

(BRIDGE,) = TOOLS

SETUP = """
ip link add v0 type veth peer name v1
ip link add br0 type bridge
ip link set v1 master br0
ip link set v0 up; ip link set v1 up; ip link set br0 up
bridge link set dev v1 cost 7 priority 9
bridge fdb add 02:00:00:00:00:09 dev v1 master static
bridge mdb add dev br0 port v1 grp 239.1.1.1 permanent
ip link add vx0 type vxlan id 42 dstport 4789 dev v0
bridge fdb append 02:00:00:00:00:08 dev vx0 dst 10.1.0.7 vni 43
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    with place(SETUP) as made:
        yield made


@needs("netns", "iproute2")
def test_ports(home: Place) -> None:
    frame = podtracer_nb.run("bridge", ["link"], pid=home.pid)
    row = frame.set_index("interface").loc["v1"]
    assert (row.master, row.cost, row.priority, row.link) == ("br0", 7, 9, "v0")
    assert "UP" in row["flags"]
    more = podtracer_nb.run("bridge", ["-d", "l"], pid=home.pid).iloc[0]
    assert more.learning and not more.hairpin


@needs("netns", "iproute2")
@pytest.mark.parametrize("words", [("fdb",), ("-s", "fdb", "show"), ("f", "s")])
def test_the_forwarding_database(home: Place, words: tuple[str, ...]) -> None:
    frame = podtracer_nb.run("bridge", list(words), pid=home.pid).set_index("address")
    assert (frame.interface["02:00:00:00:00:09"], frame.state["02:00:00:00:00:09"]) == ("v1", "static")
    assert frame.master["02:00:00:00:00:09"] == "br0"
    far = frame.loc["02:00:00:00:00:08"]
    assert (far.interface, far.dst, far.vni) == ("vx0", "10.1.0.7", 43)
    assert "self" in far["flags"] and ("used" in frame.columns) == ("-s" in words)


@needs("netns", "iproute2")
def test_multicast_groups(home: Place) -> None:
    frame = podtracer_nb.run("bridge", ["mdb"], pid=home.pid).set_index("group")
    row = frame.loc["239.1.1.1"]
    assert (row.bridge, row.interface, row.state) == ("br0", "v1", "permanent")
    routers = podtracer_nb.run("bridge", ["mdb"], pid=home.pid).podtrace.table("routers")
    assert routers.columns.tolist() == ["bridge", "interface"]


@needs("netns", "iproute2")
@pytest.mark.parametrize("words", [("vlan",), ("vni",), ("-d", "vlan")])
def test_where_there_is_nothing_the_table_is_empty(words: tuple[str, ...]) -> None:
    with place() as home:
        assert podtracer_nb.run("bridge", list(words), pid=home.pid).empty


@needs("netns", "iproute2")
def test_a_monitor_tells_of_entries() -> None:
    with place(SETUP) as home:
        with watching(home, "bridge", "monitor", "fdb") as watched:
            number = iter(range(10, 99))

            def heard() -> bool:
                home.do("bridge", "fdb", "add", f"02:00:00:00:01:{next(number)}", "dev", "v1", "master", "static")
                return b"02:00:00:00:01" in watched.heard()

            until(heard)
            home.do("bridge", "fdb", "del", "02:00:00:00:00:09", "dev", "v1", "master")
            until(lambda: b"Deleted 02:00:00:00:00:09" in watched.heard())
            frame = watched.stopped()
        assert frame[frame.deleted].interface.tolist() == ["v1"]
        assert frame.time.is_monotonic_increasing
        assert abs((frame.time.iloc[-1] - pd.Timestamp.now("UTC")).total_seconds()) < 60


# What `bridge -j vlan` and `bridge -j -s vlan` write where the kernel has VLAN filtering (bridge/vlan.c, 6.1).
VLANS = [
    {"ifname": "eth0", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 20, "vlanEnd": 22}]},
    {"ifname": "eth1", "vlans": [{"vlan": 5, "flags": [], "rx_bytes": 7, "rx_packets": 1, "tx_bytes": 0}]},
    {},
]


def parsed(words: tuple[str, ...], stdout: str) -> list[pd.DataFrame]:
    command = BRIDGE.command(words, Options(), False)
    assert command.parse is not None
    return [table.frame(rows) for table, rows in command.parse(Text(words, stdout)).tables]


def test_vlans_are_a_row_each() -> None:
    (frame,) = parsed(("vlan",), json.dumps(VLANS))
    assert frame.vlan.tolist() == [1, 20, 5] and frame["last"].tolist()[1] == 22
    assert frame["flags"][0] == ["PVID", "Egress Untagged"] and frame.rx_bytes[2] == 7


def test_networks_and_routers_of_the_newer_kernels() -> None:
    (networks,) = parsed(("vni",), json.dumps([{"ifname": "vx0", "vnis": [{"vni": 100, "vniEnd": 110}, {"vni": 5}]}]))
    assert networks.vni.tolist() == [100, 5] and networks["last"].tolist()[0] == 110
    said = [{"mdb": [], "router": {"br0": [{"port": "eth0", "timer": "12.3", "type": "temp"}]}}]
    assert parsed(("mdb",), json.dumps(said))[1].interface.tolist() == ["eth0"]


def test_a_list_that_the_kernel_broke_off_is_empty() -> None:
    """bridge 6.1 writes the beginning of a list where the kernel refuses the dump."""
    (frame,) = parsed(("-d", "vlan"), "[\n")
    assert frame.empty


@pytest.mark.parametrize("said", ["Usage: bridge\n", "[1]", "[{]", "port vlan-id\n"])
def test_what_is_no_output_of_bridge_is_never_a_table(said: str) -> None:
    with pytest.raises(Unreadable):
        parsed(("link",), said)


_INNER = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ifname", "vlans", "mdb", "router", "vnis", "port"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(["link", "fdb", "vlan", "mdb", "vni"]), _INNER)
def test_any_json_is_a_table_or_said_to_be_none(kind: str, value: object) -> None:
    with contextlib.suppress(Unreadable):
        parsed((kind,), json.dumps([value]))


@pytest.mark.parametrize(
    "line", ["", "link", "l s x", "fdb show br x", "vlan tunnelshow", "monitor", "mdb", "vlan g sh"]
)
def test_what_only_looks_is_no_change(line: str) -> None:
    # `s` is `set` of a link: bridge takes the first word that begins so.
    assert (BRIDGE.change(tuple(line.split())) is not None) == (line == "l s x")


@pytest.mark.parametrize(
    "line", ["link set dev x cost 1", "fdb flush dev x", "vlan add vid 1 dev x", "vlan global set", "x y"]
)
def test_what_alters_is_a_change(line: str) -> None:
    assert BRIDGE.change(tuple(line.split())) is not None


def test_a_file_of_commands_is_refused() -> None:
    with pytest.raises(InputError, match="one by one"):
        BRIDGE.change(("-b", "file"))


@needs("netns", "iproute2")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("fdb add 02:00:00:00:00:55 dev v1 master static", "02:00:00:00:00:55"),
        ("mdb add dev br0 port v1 grp 239.9.9.9 permanent", "239.9.9.9"),
    ],
)
def test_an_undo_takes_what_was_added_away(home: Place, line: str, shown: str) -> None:
    change = BRIDGE.change(tuple(line.split()))
    assert change is not None and change.undo is not None
    podtracer_nb.run("bridge", line.split(), pid=home.pid, allow_change=True)
    assert shown in home.do("bridge", line.split(maxsplit=1)[0], "show")
    home.do(*change.undo)
    assert shown not in home.do("bridge", line.split(maxsplit=1)[0], "show")
