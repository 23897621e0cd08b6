"""ss, really run in a namespace: its frame says what the test set up there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError
from tests.machine import needs
from tests.targets.namespaces import Holder, holder
from tests.tools.inside import command, program

pytestmark = needs("netns", "iproute2")

# A process whose name holds what ss itself writes around names, with sockets in known states.
SOURCE = r"""
import json, os, socket, sys, time
with open("/proc/self/comm", "w") as comm:
    comm.write('a "b", c=1,pid=')
kept = []
def server(family, *address):
    one = socket.create_server(address, family=family, backlog=7)
    kept.append(one)
    return one
four = server(socket.AF_INET, "127.0.0.1", 8080)
six = server(socket.AF_INET6, "::1", 8081)
scoped = socket.socket(socket.AF_INET6)
scoped.bind((sys.argv[1], 8082, 0, socket.if_nametoindex("v0")))
scoped.listen()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 5353))
udp.connect(("127.0.0.1", 9))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
packet.bind(("v0", 0x0806))
named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
named.bind("\0a name: with 12 * 0 in it")
pair = socket.socketpair()
def connect(to, family=socket.AF_INET):
    one = socket.socket(family)
    one.connect(to.getsockname())
    other, _ = to.accept()
    kept.extend([one, other])
    return one, other
established = [connect(four) for _ in range(3)]
a, b = established[0]
a.sendall(b"x" * 10_000)
b.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
read = 0
while read < 4_000:
    read += len(b.recv(4_000 - read))
half, closed = connect(six, socket.AF_INET6)
closed.shutdown(socket.SHUT_WR)
gone, waited = connect(four)
where = gone.getsockname()[1]
gone.close()
waited.recv(1)
waited.close()
kept = [each for each in kept if each.fileno() >= 0]
sent = socket.socket()
sent.setblocking(False)
try:
    sent.connect(("10.9.0.2", 4711))
except BlockingIOError:
    pass
os.dup(four.fileno())
print(json.dumps({"pid": os.getpid(), "ports": [each[0].getsockname()[1] for each in established],
                  "half": half.getsockname()[1], "gone": where, "uid": os.getuid(),
                  "inode": os.fstat(four.fileno()).st_ino}), flush=True)
"""


@dataclass(frozen=True)
class World:
    held: Holder
    facts: dict[str, Any]
    address: str

    def run(self, *args: str, **options: Any) -> pd.DataFrame:
        frame = podtracer_nb.run("ss", args, pid=self.held.pid, **options)
        assert frame.attrs["podtracer"]["notes"] == []
        return frame


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with holder("net") as held:
        command(held, "ip link add v0 type veth peer name v1")
        command(held, "ip link set v0 up addrgenmode none")
        command(held, "ip link set v1 up addrgenmode none")
        command(held, "ip addr add 10.9.0.1/24 dev v0")
        command(held, "ip addr add fe80::9/64 dev v0 nodad")
        command(held, "ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev v0")
        with program(held, SOURCE, "fe80::9") as line:
            yield World(held, json.loads(line), "fe80::9")


def one(frame: pd.DataFrame, **what: object) -> pd.Series:
    for name, value in what.items():
        frame = frame[(frame[name] == value).fillna(False).astype(bool)]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def test_every_state_has_the_sockets_that_were_made(world: World) -> None:
    frame = world.run("-tan")
    assert frame.state.value_counts().to_dict() == {
        "ESTAB": 6, "LISTEN": 3, "CLOSE-WAIT": 1, "FIN-WAIT-2": 1, "TIME-WAIT": 1, "SYN-SENT": 1,
    }  # fmt: skip
    assert set(frame.netid) == {"tcp"}
    for port in world.facts["ports"]:
        row = one(frame, local_port=port)
        assert (row.local_address, row.peer_address, row.peer_port) == ("127.0.0.1", "127.0.0.1", 8080)
    assert one(frame, peer_port=8081, state="CLOSE-WAIT").local_port == world.facts["half"]
    assert one(frame, state="TIME-WAIT").local_port == world.facts["gone"]
    assert one(frame, state="SYN-SENT").peer_address == "10.9.0.2"
    assert frame.dtypes.astype(str).to_dict() == {
        "netid": "category", "state": "category", "recv_q": "Int64", "send_q": "Int64", "local_address": "str",
        "local_port": "Int64", "peer_address": "str", "peer_port": "Int64", "interface": "str",
    }  # fmt: skip


def test_queues_are_bytes_and_a_listener_s_are_connections(world: World) -> None:
    frame = world.run("-tan")
    assert one(frame, peer_port=world.facts["ports"][0]).recv_q == 6_000
    listener = one(frame, local_port=8080, state="LISTEN")
    assert (listener.recv_q, listener.send_q) == (0, 7)
    assert pd.isna(listener.peer_port)


def test_addresses_of_ipv6_lose_their_brackets_and_have_their_interface_apart(world: World) -> None:
    frame = world.run("-tlnH6")
    assert one(frame, local_port=8081).local_address == "::1"
    scoped = one(frame, local_port=8082)
    assert (scoped.local_address, scoped.interface) == ("fe80::9", "v0")


@pytest.mark.parametrize(
    ("words", "netid", "state"),
    [
        (["-t", "state", "established"], "tcp", "ESTAB"),
        (["-tl", "state", "listening"], "tcp", "LISTEN"),
        (["-u"], "udp", "ESTAB"),
        (["--udp", "--no-header"], "udp", "ESTAB"),
        (["-H", "-A", "tcp", "state", "time-wait"], "tcp", "TIME-WAIT"),
        (["-wa"], "raw", "UNCONN"),
        (["-f", "netlink"], "nl", "UNCONN"),
    ],
)
def test_columns_that_ss_leaves_out_are_known_from_its_words(
    world: World, words: list[str], netid: str, state: str
) -> None:
    frame = world.run(*words)
    assert len(frame) >= 1
    assert set(frame.netid) == {netid}
    assert set(frame.state) == {state}


def test_processes_keep_their_names_and_all_their_descriptors(world: World) -> None:
    frame = world.run("-tlnp")
    listener = one(frame, local_port=8080)
    assert (listener.process, listener.pid) == ('a "b", c=1,pid=', world.facts["pid"])
    assert [each["pid"] for each in listener.processes] == [world.facts["pid"]] * 2
    assert len({each["fd"] for each in listener.processes}) == 2
    assert one(frame, local_port=8081).processes is None


def test_unix_sockets_have_their_names_and_inodes(world: World) -> None:
    frame = world.run("-xape")
    named = one(frame, netid="u_dgr")
    assert named.local_address == "@a name: with 12 * 0 in it"
    assert named.process == 'a "b", c=1,pid='
    pair = frame[(frame.netid == "u_str") & (frame.pid == world.facts["pid"])]
    assert set(pair.inode) == set(pair.peer_inode)
    assert set(pair.local_address) == {"*"}
    assert pair.local_port.isna().all()


def test_details_are_of_the_socket(world: World) -> None:
    frame = world.run("-tnae", "--inet-sockopt")
    listener = one(frame, local_port=8080, state="LISTEN")
    assert listener.inode == world.facts["inode"]
    assert int(listener.cookie, 16) > 0
    assert listener.shutdown == "none"
    assert one(frame, state="FIN-WAIT-2", peer_port=world.facts["half"]).shutdown == "send"
    assert one(frame, local_port=8081, state="LISTEN").v6only
    assert "is_icsk" in listener.sockopt


def test_timers_have_a_name_and_milliseconds(world: World) -> None:
    frame = world.run("-tnao")
    keepalive = one(frame, peer_port=world.facts["ports"][0])
    assert keepalive.timer == "keepalive"
    # tcp_keepalive_time's default is two hours.
    assert 110 * 60_000 < keepalive.timer_expires <= 120 * 60_000
    syn = one(frame, state="SYN-SENT")
    assert syn.timer == "on"
    assert syn.timer_expires >= 0
    assert one(frame, state="TIME-WAIT").timer == "timewait"


def test_memory_is_by_the_names_of_its_manual_page(world: World) -> None:
    frame = world.run("-tnam")
    reader = one(frame, peer_port=world.facts["ports"][0])
    assert reader.rmem_alloc > 6_000
    assert reader.rcv_buf > 0
    assert reader.sock_drop == 0
    assert frame.attrs["podtracer"]["units"]["rmem_alloc"] == "bytes"


@pytest.mark.parametrize("more", ["", "O", "m", "emp"])
def test_tcp_s_own_figures_are_typed(world: World, more: str) -> None:
    frame = world.run(f"-tnai{more}")
    sender = one(frame, local_port=world.facts["ports"][0])
    assert sender.bytes_sent == 10_000
    assert sender.bytes_acked == 10_001  # the SYN counts
    assert (sender.bytes_retrans, sender.retrans, sender.retrans_total, sender.lost) == (0, 0, 0, 0)
    assert sender.data_segs_out >= 1
    assert 0 < sender.minrtt <= sender.rtt < 1_000
    assert sender.rto >= 200
    assert sender.mss <= 65_483
    assert sender.cwnd >= 10
    assert sender.congestion
    assert sender.send_rate == pytest.approx(sender.cwnd * sender.mss * 8_000 / sender.rtt, rel=0.01)
    units = frame.attrs["podtracer"]["units"]
    assert (units["rtt"], units["cwnd"], units["send_rate"], units["bytes_sent"]) == ("ms", "packets", "bit/s", "bytes")
    receiver = one(frame, peer_port=world.facts["ports"][0])
    assert receiver.bytes_received == 10_000
    assert receiver.lastrcv > 0
    syn = one(frame, state="SYN-SENT")
    assert syn.unacked == 1
    if more == "emp":
        assert sender.ts and sender.sack and not sender.ecn


def test_packet_sockets_have_their_interface(world: World) -> None:
    frame = world.run("-0anpe")
    assert frame[["netid", "local_address", "interface"]].to_numpy().tolist() == [["p_raw", "arp", "v0"]]
    assert frame.packet_flags.tolist() == [["running"]]


def test_netlink_s_protocols_have_their_names(world: World) -> None:
    frame = world.run("-f", "netlink", "-ae")
    assert {"rtnl", "genl"} <= set(frame.local_address)


def test_a_family_without_sockets_is_an_empty_frame(world: World) -> None:
    frame = world.run("--vsock")
    assert len(frame) == 0
    assert "local_address" in frame


def test_everything_at_once(world: World) -> None:
    frame = world.run("-anoempi")
    assert {"tcp", "udp", "raw", "nl", "p_raw", "u_str", "u_dgr"} <= set(frame.netid)
    assert one(frame, netid="tcp", local_port=world.facts["ports"][0]).bytes_sent == 10_000
    key = frame.attrs["podtracer"]["table"]["key"]
    assert not frame[frame.netid != "nl"].duplicated(key).any()


def test_the_summary_is_a_table_of_its_own(world: World) -> None:
    frame = world.run("-s")
    # TIME-WAIT is no socket any more, but is counted.
    assert one(frame, transport="UDP").total == 1
    assert one(frame, transport="RAW").ip == 1
    facts = frame.attrs["podtracer"]["facts"]
    assert facts["timewait"] == 1
    assert facts["estab"] == 7  # CLOSE-WAIT counts: tcpCurrEstab of RFC 4022
    both = world.run("-s", "-tl")
    assert len(both) == 3
    assert both.podtrace.table("summary").transport.tolist() == frame.transport.tolist()


@pytest.mark.parametrize("word", ["-K", "-tK", "--kill", "--ki", "-ntKa"])
def test_to_kill_sockets_is_a_change(world: World, word: str) -> None:
    with pytest.raises(InputError, match="closes sockets"):
        podtracer_nb.run("ss", [word, "dst", "127.0.0.1"], pid=world.held.pid)


# Connections that come and go for as long as the program lives.
COMING = """
import socket, threading
server = socket.create_server(("127.0.0.1", 9191))
def connect():
    while not over.wait(0.01):
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        one.close()
        other.close()
over = threading.Event()
threading.Thread(target=connect, daemon=True).start()
print("ready", flush=True)
"""


def test_events_run_until_they_are_stopped() -> None:
    with holder("net") as held, program(held, COMING):
        frame = podtracer_nb.run("ss", ["-tE"], pid=held.pid, timer=1.5)
    assert frame.attrs["podtracer"]["reason"] == "timer"
    assert frame.attrs["podtracer"]["notes"] == []
    assert len(frame) > 3
    assert set(frame.netid) == {"tcp"}
    assert ((frame.local_port == 9191) | (frame.peer_port == 9191)).all()


def test_names_are_looked_up_only_where_that_is_asked(world: World) -> None:
    assert world.run("-tl").attrs["podtracer"]["argv"] == ["ss", "-n", "-tl"]
    frame = world.run("-tlr4")
    assert one(frame, local_port=8080).local_address == "localhost"


def test_what_ss_refuses_is_its_own_words(world: World) -> None:
    frame = podtracer_nb.run("ss", ["-t", "nonsense"], pid=world.held.pid)
    notes = frame.attrs["podtracer"]["notes"]
    assert any("exit status" in note for note in notes)
    assert frame.attrs["podtracer"]["exit_code"] != 0
