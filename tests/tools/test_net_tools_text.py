"""Texts of other versions of these programs, and that no damage of a text makes anything but a refusal of it.

Those of net-tools 1.60 and of an older busybox were written after the formats in their sources.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options

OLD_IFCONFIG = """\
eth0      Link encap:Ethernet  HWaddr 02:42:AC:11:00:02  
          inet addr:172.17.0.2  Bcast:172.17.255.255  Mask:255.255.0.0
          inet6 addr: fe80::42:acff:fe11:2/64 Scope:Link
          inet6 addr: 2001:db8::2/64 Scope:Global
          UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1
          RX packets:8 errors:1 dropped:2 overruns:3 frame:4
          TX packets:9 errors:5 dropped:6 overruns:7 carrier:8
          collisions:9 txqueuelen:0 
          RX bytes:648 (648.0 B)  TX bytes:650 (650.0 B)
          Interrupt:16 Memory:fe000000-fe020000 

tun0      Link encap:UNSPEC  HWaddr 00-00-00-00-00-00-00-00-00-00-00-00-00-00-00-00  
          inet addr:10.8.0.6  P-t-P:10.8.0.5  Mask:255.255.255.255
          UP POINTOPOINT RUNNING NOARP MULTICAST  MTU:1500  Metric:1
          RX packets:0 errors:0 dropped:0 overruns:0 frame:0
          TX packets:0 errors:0 dropped:0 overruns:0 carrier:0
          collisions:0 txqueuelen:100 
          RX bytes:0 (0.0 B)  TX bytes:0 (0.0 B)

"""  # noqa: W291 - the programs write these
IFCONFIG = """\
tun0: flags=4305<UP,POINTOPOINT,RUNNING,NOARP,MULTICAST>  metric 2  mtu 1500
        inet 10.8.0.6  netmask 255.255.255.255  destination 10.8.0.5
        unspec 00-00-00-00-00-00-00-00-00-00-00-00-00-00-00-00  txqueuelen 500  (UNSPEC)
        RX packets 1  bytes 2 (2.0 B)
        RX errors 3  dropped 4  overruns 5  frame 6
        TX packets 7  bytes 8 (8.0 B)
        TX errors 9  dropped 10 overruns 11  carrier 12  collisions 13
        device interrupt 16  memory 0xfe000000-fe020000  

"""  # noqa: W291
NETSTAT = """\
Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name     Timer
tcp        0      0 127.0.0.1:8080          0.0.0.0:*               LISTEN      0          2677611    7/my app: on (x      off (0.00/0/0)
tcp6       1      2 fe80::9%v0:22           ::1:40000               ESTABLISHED 33         2677625    -                    keepalive (7199.62/0/1)
udp        0      0 0.0.0.0:53              0.0.0.0:*                           101        17         9/named              off (0.00/0/0)
raw        0      0 0.0.0.0:1               0.0.0.0:*               7           0          18         9/ping               off (0.00/0/0)
Active UNIX domain sockets (servers and established)
Proto RefCnt Flags       Type       State         I-Node   PID/Program name     Path
unix  2      [ ACC ]     STREAM     LISTENING     1234567  12/a b               /run/a b.sock
unix  2      [ ]         DGRAM                    17       -                    
"""  # noqa: W291, E501
STATISTICS = """\
Ip:
    Forwarding: 2
    17 total packets received
Icmp:
    ICMP input histogram:
        destination unreachable: 3
    1 ICMP messages sent
TcpExt:
    Detected reordering 4 times using SACK
    TCPDelivered: 18446744073
"""
ROUTE = """\
Kernel IP routing table
Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface
0.0.0.0         10.9.0.3        0.0.0.0         UG        0 0          0 eth0
10.78.0.0       -               255.255.0.0     !         - -          - -
"""
ROUTE6 = """\
Kernel IPv6 routing table
Destination                    Next Hop                   Flag Met Ref Use If
2001:db8::/64                  ::                         U    256 1     0 eth0
::/0                           fe80::1                    UGe  1024 1     0 eth0
"""
ARP = """\
Address                  HWtype  HWaddress           Flags Mask            Iface
10.9.0.99                        (incomplete)                              v0
10.9.0.2                 ether   02:00:00:00:00:02   CM                    v0
10.9.0.7                 *       <from_interface>    MP    255.255.255.255 v0
Entries: 3	Skipped: 0	Found: 3
"""
ARP_SENTENCES = """\
gate.example (10.9.0.1) at 02:00:00:00:00:01 [ether]  on eth0
? (10.9.0.99) at <incomplete>  on v0
? (10.9.0.7) at * PERM PUP on v0
"""
INTERFACES = """\
Kernel Interface table
Iface      MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg
eth0      1500   264199      1      2 3        170571      4      5      6 BMRU
sit0:     1480 - no statistics available -                        O
"""
GROUPS = """\
IPv6/IPv4 Group Memberships
Interface       RefCnt Group
--------------- ------ ---------------------
lo              1      224.0.0.1
eth0            2      ff02::1:ff00:9
"""
LSOF = (
    "p11\0g10\0R1\0cmy app\0u0\0Lroot\0\nf3\0au\0l \0tIPv6\0d123\0o0t0\0PTCP\0n[::1]:80->[::1]:5000\0TST=ESTABLISHED\0"
    "TQR=1\0TQS=2\0TWR=7\0\nfcwd\0a \0l \0tDIR\0D0xfe00\0s4096\0i2\0zodd\0n/a b\0\n"
    "p12\0cx\0u33\0\nf4\0tIPv4\0PUDP\0n*:53\0\n"
)
SYSCTL = "net.ipv4.ip_forward = 0\nnet.ipv4.tcp_rmem = 4096\t131072\t6291456\nnet.a.b = \nnet.a.c = 010\n"
NSTAT = '{"kernel":{"IpInReceives":25,"TcpRetransSegs":0}}'

SAMPLES = [
    (["ifconfig"], OLD_IFCONFIG), (["ifconfig"], IFCONFIG), (["netstat", "-anpeo"], NETSTAT),
    (["netstat", "-s"], STATISTICS), (["netstat", "-r"], ROUTE), (["route"], ROUTE6), (["arp"], ARP),
    (["arp", "-a"], ARP_SENTENCES), (["netstat", "-i"], INTERFACES), (["netstat", "-g"], GROUPS), (["lsof"], LSOF),
    (["sysctl", "-a"], SYSCTL), (["nstat"], NSTAT),
]  # fmt: skip


def tables(words: list[str], text: str) -> dict[str, Any]:
    """Return the frames that a tool makes of a text."""
    tool, *arguments = words
    command = find(tool).command(tuple(arguments), Options(), False)
    assert command.parse is not None
    return {table.name: table.frame(rows) for table, rows in command.parse(Text(tuple(arguments), text)).tables}


def test_ifconfig_of_1_60() -> None:
    found = tables(["ifconfig"], OLD_IFCONFIG)
    frame, addresses = found["interfaces"], found["addresses"]
    assert frame.interface.tolist() == ["eth0", "tun0"]
    assert frame.link.tolist() == ["Ethernet", "UNSPEC"]
    first = frame.iloc[0]
    assert (first.mtu, first.metric, first.mac, first.txqueuelen) == (1500, 1, "02:42:AC:11:00:02", 0)
    assert (first.rx_packets, first.rx_errors, first.rx_dropped, first.rx_overruns, first.rx_frame) == (8, 1, 2, 3, 4)
    assert (first.tx_packets, first.tx_errors, first.tx_dropped, first.tx_overruns, first.tx_carrier) == (9, 5, 6, 7, 8)
    assert (first.collisions, first.rx_bytes, first.tx_bytes) == (9, 648, 650)
    assert first.other == ["Interrupt:16 Memory:fe000000-fe020000"]
    assert addresses.address.tolist() == ["172.17.0.2", "fe80::42:acff:fe11:2", "2001:db8::2", "10.8.0.6"]
    assert addresses.prefix.tolist() == [16, 64, 64, 32]
    assert addresses.destination.tolist()[-1] == "10.8.0.5"


def test_ifconfig_of_2_10() -> None:
    found = tables(["ifconfig"], IFCONFIG)
    (row,) = found["interfaces"].to_dict("records")
    assert (row["metric"], row["mtu"], row["txqueuelen"], row["link"]) == (2, 1500, 500, "UNSPEC")
    assert [row[name] for name in ("rx_packets", "rx_bytes", "rx_errors", "rx_dropped", "rx_overruns", "rx_frame")] == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip
    assert [row[name] for name in ("tx_packets", "tx_bytes", "tx_errors", "tx_dropped", "tx_overruns", "tx_carrier",
                                   "collisions")] == [7, 8, 9, 10, 11, 12, 13]  # fmt: skip
    assert found["addresses"].destination.tolist() == ["10.8.0.5"]


def test_netstat_s_sockets_with_all_that_it_can_say() -> None:
    frame = tables(["netstat", "-anpeo"], NETSTAT)["sockets"]
    assert frame.proto.tolist() == ["tcp", "tcp6", "udp", "raw", "unix", "unix"]
    assert frame.process.fillna("").tolist() == ["my app: on (x", "", "named", "ping", "a b", ""]
    assert frame.pid.fillna(0).tolist() == [7, 0, 9, 9, 12, 0]
    assert frame.state.astype("str").fillna("").tolist() == ["LISTEN", "ESTABLISHED", "", "7", "LISTENING", ""]
    assert frame.inode.tolist() == [2677611, 2677625, 17, 18, 1234567, 17]
    assert frame.user.fillna("").tolist() == ["0", "33", "101", "0", "", ""]
    assert (frame.local_address[1], frame.local_port[1]) == ("fe80::9%v0", 22)
    assert (frame.timer[1], frame.timer_expires[1], frame.timer_probes[1]) == ("keepalive", 7199.62, 1)
    assert frame.path[4] == "/run/a b.sock"


def test_netstat_s_counters() -> None:
    frame = tables(["netstat", "-s"], STATISTICS)["statistics"]
    assert frame.to_numpy().tolist() == [
        ["Ip", "Forwarding", 2], ["Ip", "total packets received", 17],
        ["Icmp", "ICMP input histogram: destination unreachable", 3], ["Icmp", "ICMP messages sent", 1],
        ["TcpExt", "Detected reordering times using SACK", 4], ["TcpExt", "TCPDelivered", 18446744073],
    ]  # fmt: skip


def test_routes_of_both_families() -> None:
    four = tables(["netstat", "-r"], ROUTE)["routes"]
    assert four.prefix.tolist() == [0, 16]
    assert four.interface.isna().tolist() == [False, True]
    six = tables(["route"], ROUTE6)["routes"]
    assert six.destination.tolist() == ["2001:db8::", "::"]
    assert six.gateway.fillna("").tolist() == ["", "fe80::1"]


def test_arp_in_both_styles() -> None:
    frame = tables(["arp"], ARP)["neighbours"]
    assert frame["flags"].fillna("").tolist() == ["", "CM", "MP"]
    assert frame["mask"].fillna("").tolist() == ["", "", "255.255.255.255"]
    frame = tables(["arp", "-a"], ARP_SENTENCES)["neighbours"]
    assert frame["name"].fillna("").tolist() == ["gate.example", "", ""]
    assert frame["flags"].fillna("").tolist() == ["C", "", "MP"]
    with pytest.raises(Unreadable):
        tables(["arp"], "10.9.0.5 (10.9.0.5) -- no entry\n")


def test_interfaces_without_counters() -> None:
    frame = tables(["netstat", "-i"], INTERFACES)["interfaces"]
    assert frame.rx_ok.fillna(-1).tolist() == [264199, -1]


def test_lsof_keeps_fields_that_nobody_described() -> None:
    frame = tables(["lsof"], LSOF)["files"]
    assert frame.process.tolist() == ["my app", "my app", "x"]
    assert frame.tcp_wr.fillna("").tolist() == ["7", "", ""]
    assert frame.field_z.fillna("").tolist() == ["", "odd", ""]
    assert frame.local_port.fillna(0).tolist() == [80, 0, 53]
    assert frame.remote_address.fillna("").tolist() == ["::1", "", ""]
    assert frame["size"].fillna(0).tolist() == [0, 4096, 0]


def test_sysctl_makes_no_number_of_what_is_none() -> None:
    frame = tables(["sysctl", "-a"], SYSCTL)["parameters"]
    assert frame.value.tolist() == ["0", "4096\t131072\t6291456", "", "010"]
    assert frame.number.fillna(-1).tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize(("words", "text"), SAMPLES)
def test_what_another_program_wrote_is_no_table(words: list[str], text: str) -> None:
    for others, other in SAMPLES:
        same = {"ifconfig", "route", "netstat", "arp"}
        if other != text and not ({words[0], others[0]} <= same) and words[0] != others[0]:
            with pytest.raises(Unreadable):
                tables(words, other)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damage_is_refused_or_makes_a_frame(sample: tuple[list[str], str], data: st.DataObject) -> None:
    words, text = sample
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 30)))
    put = data.draw(st.text(st.sampled_from(list(" \n\t\0:/()[]-*0179aZ=,%é²٣")), max_size=4))
    try:
        tables(words, text[:begin] + put + text[end:])
    except Unreadable:
        return


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([words for words, _ in SAMPLES]), st.text(max_size=200))
def test_any_text_is_refused_or_makes_a_frame(words: list[str], text: str) -> None:
    try:
        tables(words, text)
    except Unreadable:
        return
