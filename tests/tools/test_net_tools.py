"""netstat, ifconfig, arp, route, nstat, lsof and sysctl, net-tools' and busybox's, run where the facts are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError
from podtracer_nb.tools.registry import find
from tests.machine import needs
from tests.targets.namespaces import Holder, holder
from tests.tools.inside import command, program

LONG = "2001:db8:1111:2222:3333:4444:5555:6666"
SOURCE = f"""
import json, os, socket
with open("/proc/self/comm", "w") as comm:
    comm.write("my, 'app' \\"x")
four = socket.create_server(("127.0.0.1", 8080))
six = socket.create_server(("{LONG}", 443), family=socket.AF_INET6)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("{LONG}", 53))
unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
unix.bind("\\0a name with spaces")
pairs = []
for _ in range(3):
    one = socket.create_connection(four.getsockname())
    pairs.append((one, four.accept()[0]))
pairs[0][0].sendall(b"x" * 500)
pairs[1][1].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
print(json.dumps({{"pid": os.getpid(), "port": pairs[0][0].getsockname()[1],
                  "alive": pairs[1][0].getsockname()[1], "inode": os.fstat(unix.fileno()).st_ino}}), flush=True)
"""

pytestmark = needs("netns", "iproute2")


@pytest.fixture(scope="module")
def held() -> Iterator[Holder]:
    with holder("net") as made:
        for line in (
            "ip link add v0 type veth peer name v1",
            "ip link add averylongname0 type veth peer name v2",
            "ip link set v0 up addrgenmode none mtu 1400",
            "ip link set v1 up addrgenmode none",
            "ip link set averylongname0 up addrgenmode none",
            "ip addr add 10.9.0.1/20 broadcast 10.9.15.255 dev v0",
            "ip addr add 10.10.0.1/24 dev averylongname0",
            f"ip addr add {LONG}/64 dev v0 nodad",
            "ip addr add fe80::9/64 dev v0 nodad",
            "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "ip neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev v0 nud reachable",
            "ip neigh add 10.9.0.4 dev v0 nud incomplete",
            "ip neigh add proxy 10.9.0.7 dev v0",
            "ip route add 10.77.0.0/16 via 10.9.0.2 metric 5",
            "ip route add unreachable 10.78.0.0/16 metric 9",
            "ip route add default via 10.9.0.3",
        ):
            command(made, line)
        yield made


@pytest.fixture(scope="module")
def facts(held: Holder) -> Iterator[dict[str, Any]]:
    with program(held, SOURCE) as line:
        yield json.loads(line)


@pytest.fixture(params=["net-tools", pytest.param("busybox", marks=needs("busybox"))])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which make of the programs is found on PATH."""
    if request.param == "busybox":
        for name in ("netstat", "ifconfig", "arp", "route", "sysctl"):
            (tmp_path / name).symlink_to(str(shutil.which("busybox")))
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return str(request.param)


def run(held: Holder, tool: str, *args: str, **options: Any) -> pd.DataFrame:
    frame = podtracer_nb.run(tool, args, pid=held.pid, **options)
    assert frame.attrs["podtracer"]["notes"] == [], frame.line.tolist() if "line" in frame else frame
    assert "line" not in frame
    return frame


def one(frame: pd.DataFrame, **what: object) -> pd.Series:
    for name, value in what.items():
        frame = frame[(frame[name] == value).fillna(False).astype(bool)]
    assert len(frame) == 1, frame
    return frame.iloc[0]


@needs("net-tools")
class TestNetstat:
    @pytest.mark.usefixtures("make")
    def test_sockets_have_their_whole_addresses(self, held: Holder, facts: dict[str, Any]) -> None:
        frame = run(held, "netstat", "-tuan")
        listener = one(frame, local_address=LONG, local_port=443)
        assert listener.state == "LISTEN"
        assert pd.isna(listener.foreign_port)
        assert pd.isna(one(frame, local_address=LONG, local_port=53).state)
        assert (frame.state == "ESTABLISHED").sum() == 6
        assert one(frame, foreign_port=facts["port"]).recv_q == 500

    def test_processes_users_and_timers(self, held: Holder, facts: dict[str, Any]) -> None:
        frame = run(held, "netstat", "-tuanpeo")
        alive = one(frame, foreign_port=facts["alive"])
        assert (alive.pid, alive.timer) == (facts["pid"], "keepalive")
        assert 7_000 < alive.timer_expires <= 7_200
        udp = one(frame, local_port=53)
        assert (udp.pid, udp.user) == (facts["pid"], "0")
        assert udp.inode > 0

    def test_unix_sockets(self, held: Holder, facts: dict[str, Any], make: str) -> None:
        frame = run(held, "netstat", "-xan")
        named = one(frame, inode=facts["inode"])
        # net-tools reads /proc/net/unix only to the first space.
        assert named.path == {"net-tools": "@a", "busybox": "@a name with spaces"}[make]
        assert (named.proto, named.type) == ("unix", "DGRAM")
        if make == "net-tools":
            assert one(run(held, "netstat", "-xp"), inode=facts["inode"]).pid == facts["pid"]

    @pytest.mark.usefixtures("make")
    def test_routes_are_those_of_route(self, held: Holder) -> None:
        frame = run(held, "netstat", "-r")
        assert one(frame, destination="10.77.0.0").gateway == "10.9.0.2"
        assert one(frame, interface="averylongname0").prefix == 24

    @pytest.mark.usefixtures("facts")
    def test_interfaces_groups_and_counters(self, held: Holder) -> None:
        assert one(run(held, "netstat", "-i"), interface="v0").mtu == 1400
        assert one(run(held, "netstat", "-g"), interface="averylongname0", group="224.0.0.1").refcnt == 1
        counters = run(held, "netstat", "-s")
        opened = one(counters, protocol="Tcp", name="active connection openings").value
        assert opened == one(run(held, "nstat"), name="TcpActiveOpens").value >= 3
        extended = run(held, "netstat", "-ie")
        assert one(extended, interface="v0").mtu == 1400
        assert LONG in set(extended.podtrace.table("addresses").address)

    def test_it_runs_on_until_it_is_stopped(self, held: Holder) -> None:
        frame = podtracer_nb.run("netstat", ["-tan", "-c"], pid=held.pid, timer=0.5)
        assert frame.attrs["podtracer"]["reason"] == "timer"


@needs("net-tools")
class TestIfconfig:
    @pytest.mark.usefixtures("make")
    def test_interfaces_and_all_their_addresses(self, held: Holder) -> None:
        frame = run(held, "ifconfig", "-a")
        assert set(frame.interface) == {"lo", "v0", "v1", "v2", "averylongname0"}
        link = one(frame, interface="v0")
        assert (link.mtu, link.txqueuelen) == (1400, 1000)
        assert {"UP", "BROADCAST", "MULTICAST"} <= set(link["flags"])
        assert "UP" not in one(frame, interface="v2")["flags"]
        assert link.mac.lower() in command(held, "ip link show v0")
        assert link.tx_packets == one(frame, interface="v1").rx_packets
        addresses = frame.podtrace.table("addresses")
        assert {(each.address, each.prefix) for each in addresses[addresses.interface == "v0"].itertuples()} == {
            ("10.9.0.1", 20), (LONG, 64), ("fe80::9", 64),
        }  # fmt: skip
        assert one(addresses, address="10.9.0.1").broadcast == "10.9.15.255"
        assert one(addresses, address="fe80::9").scope == "link"

    def test_in_short(self, held: Holder) -> None:
        assert one(run(held, "ifconfig", "-s"), interface="v0").mtu == 1400

    @pytest.mark.usefixtures("make")
    def test_one(self, held: Holder) -> None:
        assert run(held, "ifconfig", "lo").interface.tolist() == ["lo"]


@needs("net-tools")
def test_arp_s_entries(held: Holder, make: str) -> None:
    for words in ((), ("-a",)):
        frame = run(held, "arp", *words)
        assert one(frame, address="10.9.0.2")[["hwaddress", "flags", "interface"]].tolist() == [
            "02:00:00:00:00:02", "CM", "v0",
        ]  # fmt: skip
        assert one(frame, address="10.9.0.3")["flags"] == "C"
        incomplete = one(frame, address="10.9.0.4")
        assert incomplete[["hwtype", "hwaddress", "flags"]].isna().all()
        assert set(frame[frame.address == "10.9.0.7"]["flags"]) == {"MP"}


@needs("net-tools")
def test_route_s_routes(held: Holder, make: str) -> None:
    frame = run(held, "route")
    route = one(frame, destination="10.77.0.0")
    assert route[["prefix", "gateway", "flags", "metric", "interface"]].tolist() == [16, "10.9.0.2", "UG", 5, "v0"]
    assert one(frame, destination="0.0.0.0").gateway == "10.9.0.3"
    assert pd.isna(one(frame, destination="10.9.0.0").gateway)
    unreachable = one(frame, destination="10.78.0.0")
    assert unreachable["flags"] == "!"
    assert pd.isna(unreachable.interface)
    six = run(held, "route", "-A", "inet6")
    assert one(six, destination=LONG).prefix == 128


@needs("net-tools")
def test_a_name_that_route_cuts_is_not_taken_for_the_interface(held: Holder) -> None:
    frame = run(held, "route", "-ee")
    cut = one(frame, destination="10.10.0.0")
    assert pd.isna(cut.interface)
    assert cut.interface_begins == "averyl"
    assert one(frame, destination="10.77.0.0").interface == "v0"


class TestNstat:
    def test_counters_are_absolute_and_nothing_is_left_behind(
        self, held: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A user's file, which nstat would make and name after the user.
        monkeypatch.setenv("NSTAT_HISTORY", str(tmp_path / "history"))
        first, second = run(held, "nstat"), run(held, "nstat", "IpIn*")
        assert one(first, name="IcmpInEchos").value >= 0
        assert len(second) < len(first)
        assert one(second, name="IpInReceives").value >= one(first, name="IpInReceives").value > 0
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("word", ["-d", "-r", "-n", "--reset", "-ar"])
    def test_what_is_about_its_history_is_refused(self, held: Holder, word: str) -> None:
        with pytest.raises(InputError, match="history"):
            podtracer_nb.run("nstat", [word, "1"], pid=held.pid)

    def test_the_value_is_a_counter(self) -> None:
        (variant,) = find("nstat").variants
        assert [each.name for each in variant.tables[0].columns if each.counter] == ["value"]


@needs("lsof")
def test_lsof_says_whose_a_socket_is(held: Holder, facts: dict[str, Any]) -> None:
    frame = run(held, "lsof", "-i")
    mine = frame[frame.pid == facts["pid"]]
    assert set(mine.process) == {"my, 'app' \"x"}
    listener = one(mine, local_port=443)
    assert (listener.local_address, listener.protocol, listener.state, listener.type) == (LONG, "TCP", "LISTEN", "IPv6")
    connection = one(mine, local_port=facts["port"])
    assert (connection.remote_address, connection.remote_port) == ("127.0.0.1", 8080)
    assert one(mine, remote_port=facts["port"]).recv_q == 500
    files = run(held, "lsof", "-p", str(facts["pid"]), "-a", "-d", "cwd,txt")
    assert {"cwd", "txt"} <= set(files.fd)
    assert one(files, fd="cwd")["name"] == str(Path.cwd())


@needs("sysctl")
class TestSysctl:
    @pytest.mark.usefixtures("make")
    def test_parameters_are_the_namespace_s_own(self, held: Holder) -> None:
        command(held, "sysctl -w net.ipv4.ip_default_ttl=77")
        frame = run(held, "sysctl", "net.ipv4.ip_default_ttl", "net.ipv4.tcp_rmem")
        assert one(frame, name="net.ipv4.ip_default_ttl").number == 77
        several = one(frame, name="net.ipv4.tcp_rmem")
        assert len(several.value.split("\t")) == 3
        assert pd.isna(several.number)

    def test_all_of_them(self, held: Holder) -> None:
        frame = podtracer_nb.run("sysctl", ["-a", "-r", r"^net\."], pid=held.pid)
        assert frame.name.str.startswith("net.").all()
        assert len(frame) > 300

    def test_what_there_is_is_given_when_another_is_missing(self, held: Holder) -> None:
        frame = podtracer_nb.run("sysctl", ["net.ipv4.ip_forward", "net.nothing"], pid=held.pid)
        assert frame.name.tolist() == ["net.ipv4.ip_forward"]
        (note,) = frame.attrs["podtracer"]["notes"]
        assert "exit status" in note and "net/nothing" in note


def undone(held: Holder, tool: str, *words: str) -> tuple[str, ...] | None:
    """Return the argv that takes a change back, made before it as the change says."""
    change = find(tool).change(words)
    assert change is not None
    if change.before is None:
        return change.undo
    assert change.undo_from is not None
    return change.undo_from(command(held, " ".join(change.before)))


@needs("net-tools")
@pytest.mark.parametrize(
    ("words", "looks"),
    [
        ("arp -i v0 -s 10.9.0.50 02:00:00:00:00:50", "ip neigh show 10.9.0.50 nud permanent"),
        ("arp -s 10.9.0.2 02:00:00:00:00:99", "ip neigh show 10.9.0.2"),
        ("arp -d 10.9.0.2", "ip neigh show 10.9.0.2 nud permanent"),
        ("route add -net 10.80.0.0/16 gw 10.9.0.2 metric 7", "ip route show 10.80.0.0/16"),
        ("route add -host 10.81.0.1 dev v0", "ip route show 10.81.0.1"),
        ("route del -net 10.77.0.0/16", "ip route show 10.77.0.0/16"),
        ("route del -net 10.77.0.0 netmask 255.255.0.0 gw 10.9.0.2", "ip route show 10.77.0.0/16"),
        ("route del default", "ip route show default"),
        ("route -A inet6 add 2001:db8:9::/64 dev v0", "ip -6 route show 2001:db8:9::/64"),
        ("ifconfig v0 mtu 1300", "ip -o link show v0"),
        ("ifconfig v0 -arp promisc", "ip -o link show v0"),
        ("ifconfig v1 10.20.0.1 netmask 255.255.255.0", "ip -4 addr show v1"),
        ("ifconfig v0:7 10.30.0.1/24 up", "ip -4 -o addr show v0"),
        ("ifconfig v0 add 2001:db8:8::1/64", "ip -6 addr show v0"),
        ("ifconfig averylongname0 10.40.0.1/24", "ip -4 -o addr show averylongname0"),
    ],
)  # fmt: skip
def test_a_change_of_net_tools_is_taken_back(held: Holder, words: str, looks: str) -> None:
    tool, *rest = words.split()
    before = command(held, looks)
    undo = undone(held, tool, *rest)
    assert undo is not None
    command(held, words)
    assert command(held, looks) != before
    command(held, " ".join(undo))
    assert command(held, looks).split() == before.split()


@needs("sysctl")
@pytest.mark.parametrize(
    "words",
    [
        ["-w", "net.ipv4.ip_forward=1"],
        ["net.ipv4.ip_forward=1"],
        ["-w", "net.ipv4.ip_forward=1", "net.ipv4.tcp_rmem=4096 100000 200000"],
    ],
)
def test_a_parameter_is_set_back_to_what_it_was(held: Holder, words: list[str]) -> None:
    looks = "sysctl net.ipv4.ip_forward net.ipv4.tcp_rmem"
    before = command(held, looks)
    undo = undone(held, "sysctl", *words)
    podtracer_nb.run("sysctl", words, pid=held.pid, allow_change=True)
    assert command(held, looks) != before
    assert undo is not None and undo[:2] == ("sysctl", "-w")
    podtracer_nb.run("sysctl", undo[1:], pid=held.pid, allow_change=True)
    assert command(held, looks) == before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("arp -f /etc/ethers", "from a file"),
        ("arp -nd 10.0.0.1", "deletes an ARP entry"),
        ("arp --set 10.0.0.1 02:00:00:00:00:01", "sets an ARP entry"),
        ("route flush", "flushes the routes"),
        ("route delete default", "deletes a route"),
        ("ifconfig eth0 down", "alters the interface eth0"),
        ("ifconfig -v eth0 10.0.0.1", "alters the interface eth0"),
        ("sysctl -p", "of the whole node"),
        ("sysctl --load=x.conf", "of the whole node"),
        ("sysctl -w net.ipv4.ip_forward=1", "sets net.ipv4.ip_forward in"),
        ("sysctl kernel.pid_max=5", "sets kernel.pid_max of the whole node"),
    ],
)
def test_what_alters_is_refused_unless_it_is_allowed(held: Holder, words: str, what: str) -> None:
    tool, *rest = words.split()
    with pytest.raises(InputError, match=what):
        podtracer_nb.run(tool, rest, pid=held.pid)


@pytest.mark.parametrize(
    "words", ["arp -n", "arp -an", "route -n", "route -e", "ifconfig", "ifconfig -a", "ifconfig eth0", "sysctl -a",
              "sysctl net.core", "sysctl -n net.ipv4.ip_forward", "netstat -s", "lsof -i", "nstat", "ss -tan"]
)  # fmt: skip
def test_what_only_looks_is_no_change(words: str) -> None:
    tool, *rest = words.split()
    assert find(tool).change(tuple(rest)) is None
