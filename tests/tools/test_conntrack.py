"""conntrack, really run beside connections over a veth pair that a rule of nft tracks."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.errors import ToolFailed
from podtracer_nb.tools import Options, Text
from podtracer_nb.tools.known.conntrack import TOOLS
from podtracer_nb.tools.parsing import jc_rows
from podtracer_nb.tools.table import Unreadable
from tests.machine import needs
from tests.targets.namespaces import until
from tests.tools.places import Place, neighbour, place, watching

(CONNTRACK,) = TOOLS

TRACKED = """
nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'
nft add rule inet t c ct state established counter
"""
SERVE = """
import socket
server = socket.create_server(("10.1.0.1", 8080))
print("ready", flush=True)
while True:
    there, _ = server.accept()
    while there.recv(4096):
        there.sendall(bytes(100))
"""
# Opens a connection, has its answer, and keeps it open for as long as its input is.
CALL = """
import socket, sys
caller = socket.create_connection(("10.1.0.1", 8080))
caller.sendall(bytes(1000))
caller.recv(100, socket.MSG_WAITALL)
print(caller.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def wired() -> Iterator[tuple[Place, Place]]:
    with place(TRACKED) as home, neighbour(home) as other:
        with contextlib.suppress(AssertionError):  # in a user namespace it is not ours to set
            home.do("sh", "-c", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct")
            home.do("sh", "-c", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_timestamp")
        with subprocess.Popen([*home.enter, "python3", "-c", SERVE], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield home, other
            server.terminate()


@contextlib.contextmanager
def connection(other: Place) -> Iterator[int]:
    """Open one from `other`, and give its port there."""
    argv = [*other.enter, "python3", "-c", CALL]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def accounted(home: Place) -> bool:
    return home.do("cat", "/proc/sys/net/netfilter/nf_conntrack_acct").strip() == "1"


@needs("netns", "iproute2", "nftables", "conntrack", "ping")
class TestReally:
    @pytest.mark.parametrize("line", ["-L", "--dump", "-L -p tcp", "-L conntrack -f ipv4", "-L -o id"])
    def test_both_directions_of_a_connection(self, wired: tuple[Place, Place], line: str) -> None:
        home, other = wired
        with connection(other) as port:
            frame = podtracer_nb.run("conntrack", line.split(), pid=home.pid)
        row = frame.set_index("sport").loc[port]
        assert (row.family, row.proto, row.state) == ("ipv4", "tcp", "ESTABLISHED")
        assert (row.src, row.dst, row.dport) == ("10.1.0.2", "10.1.0.1", 8080)
        assert (row.reply_src, row.reply_sport, row.reply_dst, row.reply_dport) == ("10.1.0.1", 8080, "10.1.0.2", port)
        assert row.status == ["ASSURED"] and 400_000 < row.timeout <= 432_000 and row.id > 0
        assert str(frame.sport.dtype) == "UInt16" and frame.attrs["podtracer"]["units"]["timeout"] == "s"
        if accounted(home):
            # 1000 bytes of payload in one segment, and the segments without any, of 52 bytes each.
            assert (row.bytes - 1000) % 4 == 0 and row.bytes >= 1000 + 3 * 52 and row.packets >= 3
            assert row.reply_bytes >= 100 + 2 * 52 and row.age >= 0
            assert abs((row.start - pd.Timestamp.now("UTC")).total_seconds()) < 60

    def test_icmp_has_its_own_names(self, wired: tuple[Place, Place]) -> None:
        home, other = wired
        other.do("ping", "-c", "1", "10.1.0.1")
        frame = podtracer_nb.run("conntrack", ["-L", "-p", "icmp"], pid=home.pid)
        row = frame.iloc[0]
        assert (row.proto, row.type, row.code, row.reply_type) == ("icmp", 8, 0, 0)
        assert row.icmp_id == row.reply_icmp_id and row.id != row.icmp_id and pd.isna(row.sport)

    def test_ipv6_is_told_apart(self, wired: tuple[Place, Place]) -> None:
        home, _ = wired
        home.do("ping", "-c", "1", "::1")
        frame = podtracer_nb.run("conntrack", ["-L", "-f", "ipv6"], pid=home.pid)
        row = frame[frame.proto.eq("icmpv6") & frame.src.eq("::1")].iloc[0]
        assert (row.family, row.dst, row.type, row.reply_type) == ("ipv6", "::1", 128, 129)

    def test_events_as_they_happen(self, wired: tuple[Place, Place]) -> None:
        home, other = wired
        with watching(home, "conntrack", "-E", "-p", "tcp") as watched:

            def heard() -> bool:
                with connection(other):
                    pass
                return b"NEW" in watched.heard()

            until(heard)
            with connection(other) as port:
                pass
            until(lambda: f"sport={port}".encode() in watched.heard())
            home.do("conntrack", "-D", "-p", "tcp", "--sport", str(port))
            until(lambda: b"DESTROY" in watched.heard())
            frame = watched.stopped()
        mine = frame[frame.sport.eq(port)]
        assert mine.event.tolist()[0] == "NEW" and mine.event.tolist()[-1] == "DESTROY"
        assert {"SYN_SENT", "SYN_RECV", "ESTABLISHED"} <= set(mine.state)
        assert mine.status.iloc[0] == ["UNREPLIED"] and frame.time.is_monotonic_increasing
        assert abs((frame.time.iloc[-1] - pd.Timestamp.now("UTC")).total_seconds()) < 60
        assert (frame.time.astype("int64") % 1_000_000_000).any(), "the fraction of the second is there"

    def test_counters_of_each_processor_and_the_count(self, wired: tuple[Place, Place]) -> None:
        home, other = wired
        cpus = podtracer_nb.run("conntrack", ["-S"], pid=home.pid)
        assert cpus.cpu.tolist() == list(range(len(cpus))) and cpus.insert_failed.notna().all()
        with connection(other):
            count = podtracer_nb.run("conntrack", ["-C"], pid=home.pid)
        assert count.entries[0] >= 1

    def test_nothing_there_is_an_empty_table(self, wired: tuple[Place, Place]) -> None:
        home, _ = wired
        for line in ("-L expect", "-L -p sctp", "-L dying"):
            frame = podtracer_nb.run("conntrack", line.split(), pid=home.pid)
            assert frame.empty and frame.attrs["podtracer"]["exit_code"] == 0

    def test_what_is_not_there_is_one_line(self, wired: tuple[Place, Place]) -> None:
        home, _ = wired
        words = ["-G", "-s", "192.0.2.1", "-d", "192.0.2.2", "-p", "tcp", "--sport", "1", "--dport", "2"]
        with pytest.raises(ToolFailed, match="such conntrack doesn't exist"):
            podtracer_nb.run("conntrack", words, pid=home.pid)


def parsed(line: str, stdout: str) -> pd.DataFrame:
    words = tuple(line.split())
    command = CONNTRACK.command(words, Options(), False)
    assert command.parse is not None
    ((table, rows),) = command.parse(Text(words, stdout)).tables
    return table.frame(rows)


NAT = (
    "ipv4     2 udp      17 29 src=10.0.0.5 dst=10.96.0.10 sport=40000 dport=53 packets=2 bytes=140 [UNREPLIED] "
    "src=10.244.0.3 dst=10.0.0.5 sport=53 dport=40000 packets=0 bytes=0 mark=5 zone=9 delta-time=7 "
    "[start=Sat Jan  3 04:05:06 2026] secctx=(null) helper=ftp use=2 id=77\n"
    "ipv6     10 tcp      6 299 ESTABLISHED src=fd00::1 dst=fd00::2 sport=1 dport=2 src=fd00::2 dst=fd00::1 sport=2 "
    "dport=1 [OFFLOAD] mark=0 use=1\n"
    "ipv4     2 unknown  112 599 src=10.0.0.1 dst=224.0.0.18 [UNREPLIED] src=224.0.0.18 dst=10.0.0.1 mark=0 use=1\n"
    "tcp      6 431999 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=3 dport=4 src=2.2.2.2 dst=1.1.1.1 sport=4 dport=3\n"
)


def test_nat_zones_marks_and_older_versions() -> None:
    """A service's address is seen one way and a pod's the other; 1.4.6 has no family on a line."""
    frame = parsed("-L", NAT)
    row = frame.iloc[0]
    assert (row.dst, row.reply_src, row.mark, row.zone, row.age, row.use, row.id) == (
        "10.96.0.10",
        "10.244.0.3",
        5,
        9,
        7,
        2,
        77,
    )
    assert (row.packets, row.bytes, row.reply_packets) == (2, 140, 0) and row.helper == "ftp"
    assert row.start == pd.Timestamp("2026-01-03 04:05:06", tz="UTC") and pd.isna(row.state)
    assert frame.family.tolist() == ["ipv4", "ipv6", "ipv4", "ipv4"] and frame.status[1] == ["OFFLOAD"]
    assert frame.proto.tolist() == ["udp", "tcp", "unknown", "tcp"]


def test_jc_finds_the_same_values() -> None:
    ours = parsed("-L", NAT)
    theirs = pd.DataFrame(jc_rows("conntrack", NAT))
    for name in ("src", "dst", "sport", "dport", "packets", "bytes"):
        pairs = [(name, f"orig_{name}"), (f"reply_{name}", f"reply_{name}")]
        for own, other in pairs:
            assert ours[own].astype("object").where(ours[own].notna(), None).tolist() == [
                None if pd.isna(each) else (int(each) if isinstance(each, float) else each) for each in theirs[other]
            ]
    for own, other in (("proto", "protocol"), ("status", "status"), ("timeout", "timeout")):
        assert ours[own].tolist() == theirs[other].tolist()


def test_events_of_a_flow_that_ends() -> None:
    said = (
        "[1795612437.473543]\t[DESTROY] ipv4     2 icmp     1 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=9 packets=1 "
        "bytes=84 "
        "src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=9 packets=1 bytes=84 delta-time=3 [start=Sat Jan  3 04:05:06 2026] "
        "[stop=Sat Jan  3 04:05:09 2026] id=123\n"
    )
    row = parsed("-E", said).iloc[0]
    assert (row.event, row.icmp_id, row.reply_icmp_id, row.id) == ("DESTROY", 9, 9, 123)
    assert (row.stop - row.start).total_seconds() == 3 and row.time.microsecond == 473543 and pd.isna(row.timeout)


def test_expectations() -> None:
    said = (
        "297 proto=6 src=10.0.0.1 dst=10.0.0.2 sport=0 dport=33333 mask-src=255.255.255.255 mask-dst=255.255.255.255\n"
    )
    row = parsed("-L expect", said).iloc[0]
    assert (row.timeout, row.src, row.mask_src) == (297, "10.0.0.1", "255.255.255.255")


def test_an_old_ones_counters() -> None:
    said = (
        "cpu=0   \tfound=1 invalid=2 ignore=0 insert=0 insert_failed=3 drop=0 early_drop=0 error=0 search_restart=4\n"
    )
    row = parsed("-S", said).iloc[0]
    assert (row.found, row.insert_failed, row.search_restart, row.ignore) == (1, 3, 4, "0")


@pytest.mark.parametrize("line", ["-L", "-E", "-S", "-C", "-L expect"])
@pytest.mark.parametrize("said", ["Usage: conntrack\n", "<?xml?>\n", "\x00\n", "tcp 6 what src\n"])
def test_what_is_no_output_of_conntrack_is_never_a_table(line: str, said: str) -> None:
    with pytest.raises(Unreadable):
        parsed(line, said)


@settings(deadline=None)
@given(
    st.sampled_from(["-L", "-E", "-S", "-C", "-L expect"]),
    st.text(st.sampled_from("tcp 6 src=1.d[NEW]\n=:idpor"), max_size=80),
)
@example("-L", NAT.replace("sport=40000", "sport=70000"))
def test_any_text_is_a_table_or_said_to_be_none(line: str, said: str) -> None:
    with contextlib.suppress(Unreadable):
        parsed(line, said)


@pytest.mark.parametrize(
    "line", ["-L", "-L -p tcp", "-E", "-C", "-S", "-G -s 1.1.1.1", "--dump", "-L -s -D", "--event -e NEW", "-V"]
)
def test_what_only_looks_is_no_change(line: str) -> None:
    # `-s -D` is a source that is called -D.
    assert CONNTRACK.change(tuple(line.split())) is None


@pytest.mark.parametrize(
    "line", ["-D -p tcp", "-F", "-I -s 1.1.1.1", "-U -m 1", "--delete", "--flush", "-L -z", "-pF -D", "--flu", "-A"]
)
def test_what_alters_is_a_change(line: str) -> None:
    assert CONNTRACK.change(tuple(line.split())) is not None


@pytest.mark.parametrize("line", ["-L -o xml", "-E -o save", "-L --output=xml,id"])
def test_another_format_stays_lines(line: str) -> None:
    assert CONNTRACK.command(tuple(line.split()), Options(), False).output == "lines"
