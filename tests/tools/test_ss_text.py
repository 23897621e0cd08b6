"""What ss of other versions and of other kinds of sockets writes, as text, and that no damage of it gives a wrong row.

The texts were written after the formats in misc/ss.c of iproute2 3.16, 4.9, 6.6 and its patches since; the machine of
the tests has one version, which test_ss.py runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtracer_nb.tools import sockets
from podtracer_nb.tools.known.ss import SOCKETS, SUMMARY, TOOLS
from podtracer_nb.tools.table import Parsed, Text, Unreadable
from podtracer_nb.tools.tool import Options

HEADER = "Netid State      Recv-Q Send-Q Local Address:Port   Peer Address:PortProcess\n"
TCP = "State      Recv-Q Send-Q Local Address:Port   Peer Address:PortProcess\n"


def parse(text: str, *words: str) -> Parsed:
    command = TOOLS[0].command(words, Options(), False)
    assert command.parse is not None
    return command.parse(Text(words, text))


def row(text: str, *words: str) -> dict[str, Any]:
    """Return the one socket of a text, by its frame's columns, without those that are NA."""
    table, rows = parse(text, *words).tables[0]
    assert table is SOCKETS
    frame = table.frame(rows)
    assert len(frame) == 1
    values = ((str(name), frame[name].iloc[0]) for name in frame)
    return {name: value for name, value in values if isinstance(value, list) or not pd.isna(value)}


def test_every_field_of_tcp_info() -> None:
    # iproute2 6.6 with -tinoem, in two lines.
    found = row(
        TCP + 'ESTAB      3      0      [2001:db8::1]:443   [2001:db8::2]:50000 users:(("nginx",pid=7,fd=3),("nginx",'
        "pid=6,fd=3)) timer:(on,1.200ms,2) uid:33 ino:99 sk:1f fwmark:0x2a cgroup:/a b/c v6only:0 <->\n\t"
        " skmem:(r1,rb2,t3,tb4,f5,w6,o7,bl8,d9) ts usec_ts sack ecn ecnseen fastopen dctcp wscale:7,8 rto:204.5"
        " backoff:1 rtt:1.25/0.5 ato:40 qack:3 bidir mss:1448 pmtu:1500 rcvmss:536 advmss:1448 cwnd:10 ssthresh:7"
        " bytes_sent:100 bytes_retrans:10 bytes_acked:90 bytes_received:18446744073 segs_out:4 segs_in:5"
        " data_segs_out:2 data_segs_in:3 dctcp:(ce_state:0,alpha:1024,ab_ecn:1,ab_tot:2)"
        " bbr:(bw:8000bps,mrtt:1.5,pacing_gain:2.88672,cwnd_gain:2) send 92672000bps lastsnd:1 lastrcv:2 lastack:3"
        " pacing_rate 111206400bps/222206400bps delivery_rate 92672000bps delivered:3 delivered_ce:1 app_limited"
        " busy:40ms rwnd_limited:4ms(10.0%) sndbuf_limited:2ms(5.0%) unacked:2 retrans:1/5 lost:1 sacked:2"
        " dsack_dups:3 fackets:4 reordering:10 reord_seen:6 rcv_rtt:1.5 rcv_space:14600 rcv_ssthresh:64088"
        " notsent:7 minrtt:0.5 rcv_ooopack:8 snd_wnd:65536 rcv_wnd:65000 rehash:2 tcp-ulp-tls version: 1.3"
        " cipher: aes-gcm-128 rxconf: sw txconf: hw-record\n",
        "-tinoem",
    )  # fmt: skip
    assert found == {
        "netid": "tcp", "state": "ESTAB", "recv_q": 3, "send_q": 0, "local_address": "2001:db8::1", "local_port": 443,
        "peer_address": "2001:db8::2", "peer_port": 50000, "process": "nginx", "pid": 7, "fd": 3,
        "processes": [{"process": "nginx", "pid": 7, "fd": 3}, {"process": "nginx", "pid": 6, "fd": 3}],
        "timer": "on", "timer_expires": 1200, "timer_retrans": 2, "uid": 33, "inode": 99, "cookie": "1f",
        "fwmark": "0x2a", "cgroup": "/a b/c", "v6only": False, "shutdown": "none", "rmem_alloc": 1, "rcv_buf": 2,
        "wmem_alloc": 3, "snd_buf": 4, "fwd_alloc": 5, "wmem_queued": 6, "opt_mem": 7, "back_log": 8, "sock_drop": 9,
        "ts": True, "usec_ts": True, "sack": True, "ecn": True, "ecnseen": True, "fastopen": True,
        "congestion": "dctcp", "snd_wscale": 7, "rcv_wscale": 8, "rto": 204.5, "rtt": 1.25, "rttvar": 0.5,
        "minrtt": 0.5, "rcv_rtt": 1.5, "ato": 40.0, "backoff": 1, "qack": 3, "reordering": 10, "bidir": True,
        "mss": 1448, "pmtu": 1500, "rcvmss": 536, "advmss": 1448, "rcv_space": 14600, "rcv_ssthresh": 64088,
        "snd_wnd": 65536, "rcv_wnd": 65000, "notsent": 7, "cwnd": 10, "ssthresh": 7, "unacked": 2, "retrans": 1,
        "lost": 1, "sacked": 2, "fackets": 4, "bytes_sent": 100, "bytes_retrans": 10, "bytes_acked": 90,
        "bytes_received": 18446744073, "segs_out": 4, "segs_in": 5, "data_segs_out": 2, "data_segs_in": 3,
        "retrans_total": 5, "delivered": 3, "delivered_ce": 1, "dsack_dups": 3, "reord_seen": 6, "rcv_ooopack": 8,
        "rehash": 2, "send_rate": 92672000.0, "pacing_rate": 111206400.0, "max_pacing_rate": 222206400.0,
        "delivery_rate": 92672000.0, "bbr_bw": 8000.0, "app_limited": True, "lastsnd": 1, "lastrcv": 2, "lastack": 3,
        "busy": 40, "rwnd_limited": 4, "sndbuf_limited": 2, "rwnd_limited_share": 10.0, "sndbuf_limited_share": 5.0,
        "bbr_mrtt": 1.5, "bbr_pacing_gain": 2.88672, "bbr_cwnd_gain": 2.0, "ulp": "tls", "tls_version": "1.3",
        "tls_cipher": "aes-gcm-128", "rxconf": "sw", "txconf": "hw-record", "dctcp_ce_state": 0, "dctcp_alpha": 1024,
        "dctcp_ab_ecn": 1, "dctcp_ab_tot": 2,
    }  # fmt: skip


def test_of_iproute2_4_brackets_are_missing_and_rates_are_rounded() -> None:
    found = row(
        "State      Recv-Q Send-Q Local Address:Port                 Peer Address:Port                \n"
        'ESTAB      0      0      fe80::1%eth0:22                    fe80::2:50514               users:(("sshd",pid=1,'
        "fd=3)) timer:(keepalive,119min,0)\n\t cubic wscale:7,7 rto:204 rtt:1.5/2 ato:40 mss:1448 cwnd:10"
        " bytes_acked:5 bytes_received:6 segs_out:1 segs_in:2 send 77.2Mbps lastsnd:4 pacing_rate 154.3Mbps\n",
        "-tinop",
    )  # fmt: skip
    assert (found["local_address"], found["interface"], found["local_port"]) == ("fe80::1", "eth0", 22)
    assert found["peer_address"] == "fe80::2"
    assert (found["send_rate"], found["pacing_rate"]) == (77.2e6, 154.3e6)
    assert found["timer_expires"] == 119 * 60_000
    # This version knows nothing of bytes_retrans, and so none is said.
    assert "bytes_retrans" not in found
    assert found["retrans_total"] == 0


def test_of_iproute2_3_users_have_no_words() -> None:
    found = row(TCP + 'LISTEN 0 128 *:22 *:* users:(("sshd",712,3),("systemd",1,29))\n', "-tlnp")
    assert (found["process"], found["pid"], found["fd"]) == ("sshd", 712, 3)
    assert found["processes"][1] == {"process": "systemd", "pid": 1, "fd": 29}


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("", 0), ("200ms", 200), ("007ms", 7), ("1.200ms", 1200), ("8.680sec", 8680), ("9sec", 9000), ("12sec", 12000),
        ("1min3sec", 63000), ("1min", 60000), ("119min", 119 * 60000),
    ],
)  # fmt: skip
def test_timers_of_every_length(written: str, milliseconds: int) -> None:
    found = row(f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 timer:(persist,{written},1)\n", "-to")
    assert (found["timer"], found["timer_expires"], found["timer_retrans"]) == ("persist", milliseconds, 1)


@pytest.mark.parametrize(
    "name", ["a b", 'q"uote', "com,ma", 'x",pid=9,fd=9', "par(en", "new\nline", "users:((", "12 * 0", "é\N{SNOWMAN}"]
)
def test_names_of_processes_of_any_kind(name: str) -> None:
    text = f'{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:(("{name}",pid=5,fd=6),("{name}",pid=7,tid=8,fd=9)) uid:4\n'
    found = row(text, "-tpe")
    assert found["processes"] == [
        {"process": name, "pid": 5, "fd": 6}, {"process": name, "pid": 7, "fd": 9, "tid": 8},
    ]  # fmt: skip
    assert found["uid"] == 4


@pytest.mark.parametrize(
    "name", ["/run/a b.sock", "@abstract\n\nname", "/x 1 * 2", "@", '/tmp/users:(("a",pid=1,fd=2)) 3', "/a 5 * 0 <-"]
)
def test_names_of_unix_sockets_of_any_kind(name: str) -> None:
    text = f'{HEADER}u_str LISTEN 0      128      {name} 4711      * 0     users:(("my app",pid=5,fd=6)) <->'
    found = row(f"{text} ino:12 dev:0/65024 peers: 4713 4714\n", "-xlpe")
    assert (found["local_address"], found["inode"], found["vfs_inode"]) == (name, 4711, 12)
    assert (found["process"], found["vfs_device"], found["peers"]) == ("my app", "0/65024", [4713, 4714])
    assert "peer_inode" not in found


def test_of_iproute2_6_15_details_stand_in_a_column_of_their_own() -> None:
    found = row(
        f"{HEADER}u_dgr UNCONN 0      0      @a b:c 12 3239693            * 0       "
        'users:(("a "b", c=1,pid=",pid=2,fd=3))              <->          \n',
        "-xape",
    )
    assert (found["local_address"], found["process"], found["shutdown"]) == ("@a b:c 12", 'a "b", c=1,pid=', "none")


def test_sctp_has_associations_below_its_sockets() -> None:
    text = (
        f"{HEADER}sctp  LISTEN     0      5      10.0.0.1:9000   0.0.0.0:*     locals:10.0.0.1,10.0.0.9\n"
        "      `- ESTAB   0      0      10.0.0.1:9000   10.0.0.2:40000 tag:1f state:ESTAB rwnd:106496 instrms:10\n"
    )
    (table, rows), *_ = parse(text, "-Sai").tables
    frame = table.frame(rows)
    assert frame.netid.tolist() == ["sctp", "sctp"]
    assert frame.state.tolist() == ["LISTEN", "ESTAB"]
    assert frame.association.fillna(False).tolist() == [False, True]
    assert frame.info_state.tolist()[1] == "ESTAB"
    assert frame.instrms.tolist()[1] == 10


def test_packet_vsock_tipc_and_xdp() -> None:
    packet = row(
        f"{HEADER}p_raw UNCONN 0 0 *:eth0 * users:((\"tcpdump\",pid=3,fd=4)) ino:5 sk:6\n\tver:2 cpy_thresh:0 flags("
        " running auxdata )\n\tring_rx(blk_size:131072,blk_nr:16,frm_size:2048,frm_nr:1024,tmo:0,features:0x0)"
        "\n\tfanout(id:1,type:hash)\n\tbpf filter (2):  0x28 0 0 12, 0x06 0 0 262144,\n",
        "-0pebn",
    )  # fmt: skip
    assert (packet["interface"], packet["packet_flags"]) == ("eth0", ["running", "auxdata"])
    assert (packet["ring_rx_blk_nr"], packet["fanout_type"]) == (16, "hash")
    assert packet["bpf_filter"] == "0x28 0 0 12, 0x06 0 0 262144,"
    vsock = row(f"{HEADER}v_str ESTAB 0 0 2:1024 3:4294967294\n", "--vsock")
    assert (vsock["local_address"], vsock["local_port"], vsock["peer_port"]) == ("2", 1024, 4294967294)
    tipc = row(f"{HEADER}ti_st LISTEN 0 0 16781313:5 - ino:7 sk:1\n type:STREAM cong:none  drop:0  publ\n", "--tipc")
    assert (tipc["local_port"], tipc["peer_address"], tipc["drop"], tipc["publ"]) == (5, "-", 0, True)
    xdp = row(f"{HEADER}xdp UNCONN 0 0 eth0:q3 * ino:7 sk:1\n\trx(entries:2048)\n\tumem(id:0,size:8388608)\n", "--xdp")
    assert (xdp["interface"], xdp["queue"], xdp["rx_entries"], xdp["umem_size"]) == ("eth0", "q3", 2048, 8388608)


def test_what_a_later_version_adds_is_kept() -> None:
    text = f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 ts newflag sack cubic later cwnd:10 novel:7 share:0.5 odd:(a:1,b:x)\n"
    found = row(text, "-tio")
    assert found["congestion"] == "cubic"
    assert found["newflag"] and found["later"]
    assert (found["novel"], found["share"], found["odd_a"], found["odd_b"]) == (7, 0.5, 1, "x")


def test_a_congestion_control_of_nobody_s_is_known_by_its_place() -> None:
    found = row(f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 ts sack mine wscale:1,2 cwnd:10\n", "-tio")
    assert found["congestion"] == "mine"


def test_a_value_never_takes_the_place_of_a_column() -> None:
    found = row(f"{TCP}ESTAB 1 2 10.0.0.1:1 10.0.0.2:2 state:bad recv_q:9 pid:3\n", "-te")
    assert (found["state"], found["recv_q"]) == ("ESTAB", 1)
    assert (found["info_state"], found["info_recv_q"], found["info_pid"]) == ("bad", 9, 3)


def test_the_last_line_of_a_run_that_was_stopped_is_left_out() -> None:
    text = f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2\nESTAB 0 0 10.0.0.1:3 10.0."
    assert row(text, "-t")["local_port"] == 1
    with pytest.raises(Unreadable):
        parse("State      Recv-Q", "-t")


@pytest.mark.parametrize(
    "text",
    [
        "Proto Recv-Q Send-Q Local Address:Port Foreign Address State\ntcp 0 0 10.0.0.1:1 10.0.0.2:2 ESTABLISHED\n",
        f"{TCP}ESTAB 0 0 10.0.0.1:1\n",
        f"{TCP}0 0 10.0.0.1:1 10.0.0.2:2\n",
        f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 17\n",
        f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 cwnd:many\n",
        f"{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 timer:(on,soon,1)\n",
        f"{TCP}ESTAB 0 0 10.0.0.1:99999999999999999999 10.0.0.2:2\n",
        f'{TCP}ESTAB 0 0 10.0.0.1:1 10.0.0.2:2 users:(("a",pid=1\n',
        f"{HEADER}u_str ESTAB 0 0 /run/x\n",
        "Total: 5\nTCP: 3\n",
        "Total: 5\nTCP:   7 (estab 2)\n\nTransport Total     IP        IPv6\n",
        "anything at all\n" * 300,
    ],
)
def test_what_is_no_output_of_ss_is_no_table(text: str) -> None:
    with pytest.raises(Unreadable):
        for table, rows in parse(text, "-ti").tables:
            table.frame(rows)


def test_the_summary_of_before_4_19() -> None:
    parsed = parse(
        "Total: 181 (kernel 0)\nTCP:   7 (estab 2, closed 1, orphaned 0, synrecv 0, timewait 1/0), ports 0\n\n"
        "Transport Total     IP        IPv6\n*\t  0         -         -        \n"
        "RAW\t  1         0         1        \n\n",
        "-s",
    )
    ((table, rows),) = parsed.tables
    assert table is SUMMARY
    assert table.frame(rows).total.tolist() == [0, 1]
    assert table.frame(rows).ip.isna().tolist() == [True, False]
    assert parsed.facts == {"total": 181, "tcp": 7, "estab": 2, "closed": 1, "orphaned": 0, "synrecv": 0, "timewait": 1}


# As iproute2 6.1 wrote them in namespaces of these tests.
RECORDS = re.split(r"\n(?!\t)", Path(__file__).with_name("ss-6.1.txt").read_text(encoding="utf-8").rstrip("\n"))


def read(records: list[str]) -> list[dict[str, Any]]:
    return sockets.read(HEADER + "\n".join(records) + "\n", info=True, options=True)


ROWS = read(RECORDS)


@settings(deadline=None)
@given(st.permutations(range(len(RECORDS))), st.integers(1, len(RECORDS)))
def test_each_record_stands_for_itself(order: list[int], count: int) -> None:
    chosen = order[:count]
    found = read([RECORDS[each] for each in chosen])
    for each, one in zip(chosen, found, strict=True):
        # What no socket shows is not known to be 0.
        assert {name: ROWS[each][name] for name in one} == one


PIECES = st.sampled_from(
    [" ", "\n", "\n\t", "\t", ":", "(", ")", '"', ",", "*", "0", "7", "-", "x", "[", "%", "users:((", "tcp ", "ESTAB ",
     "send ", "bps", "<->", "é", "\x00", "=", "cgroup:", "peers:", "skmem:(", "٣"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(RECORDS) - 1), st.data())
def test_damage_gives_no_row_or_leaves_the_others_as_they_are(which: int, data: st.DataObject) -> None:
    record = RECORDS[which]
    begin = data.draw(st.integers(0, len(record)))
    end = data.draw(st.integers(begin, min(len(record), begin + data.draw(st.sampled_from([0, 1, 3, 40])))))
    damaged = record[:begin] + "".join(data.draw(st.lists(PIECES, max_size=3))) + record[end:]
    records = [*RECORDS[:which], damaged, *RECORDS[which + 1 :]]
    try:
        found = read(records)
        frame = SOCKETS.frame(found)
    except Unreadable:
        return
    whole = HEADER + "\n".join(records)
    others = ROWS[:which] + ROWS[which + 1 :]
    for one in others:
        # What is known to be 0 may depend on the socket that was damaged.
        assert any(all(each.get(name) == value for name, value in one.items() if value != 0) for each in found), one
    for each in found:
        for name in ("state", "local_address", "peer_address", "local_port", "recv_q", "process"):
            value = each.get(name)
            # netlink's and packets' protocols are numbers that have names.
            named = name == "local_address" and each["netid"] in ("nl", "p_raw")
            assert value is None or named or str(value) in whole, (name, value)
    assert len(frame) == len(found)


@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from(list(" \n\t:()\"',*0123abAB[]%-<>=")), max_size=200), st.booleans())
def test_nothing_but_unreadable_comes_of_any_text(text: str, headed: bool) -> None:
    try:
        parsed = parse((HEADER if headed else "") + text, "-an")
        parsed.tables[0][0].frame(parsed.tables[0][1])
    except Unreadable:
        return
