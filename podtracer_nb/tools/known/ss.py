"""ss(8) of iproute2: sockets, from its own text by a parser of ours.

ss has no JSON; jc's parser (1.26) takes no output of one family, no names with spaces and no `-i`. We add `-n`, which
leaves ports, rates and netlink's numbers exact (with `-r` hosts are still looked up). Not `-O`, which came with 5.2:
lines that belong together are joined, as the `-i` of every version needs it.
Source: ss(8) and misc/ss.c of iproute2 4.9 to 6.6; run with 6.1 and 6.15.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable

from podtracer_nb.tools import sockets
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable
from podtracer_nb.tools.tool import Change, Command, Options, Tool, Variant, refuse_capture_options

__all__ = ["SOCKETS", "SUMMARY", "TOOLS"]


def _columns(dtype: str, unit: str, *named: tuple[str, str], counter: bool = False) -> Iterable[Column]:
    return (Column(name, dtype, unit, meaning, counter, optional=True) for name, meaning in named)


SOCKETS = Table(
    "sockets",
    (
        Column("netid", "category", "", "tcp, udp, raw, u_str, u_dgr, u_seq, nl, p_raw, p_dgr, v_str, v_dgr, …"),
        Column("state", "category", "", "ESTAB, LISTEN, UNCONN, TIME-WAIT, …"),
        Column("recv_q", "Int64", "bytes", "received and not yet read; of a listener: connections not yet accepted"),
        Column("send_q", "Int64", "bytes", "sent and not acknowledged; of a listener: connections that may wait"),
        Column("local_address", "str", "", "an address; a path or @name (unix); a protocol (nl, p_raw)"),
        Column("local_port", "Int64", "", "NA: any"),
        Column("peer_address", "str", "", "the other end's"),
        Column("peer_port", "Int64", "", "NA: any"),
        *_columns(
            "str",
            "",
            ("interface", "what the socket is bound to, or the scope of its address"),
            ("process", "name of the process that has it open; the first of several"),
        ),
        *_columns("Int64", "", ("pid", "its number"), ("fd", "its file descriptor"), ("tid", "its thread (-T)")),
        *_columns("object", "", ("processes", "all that have it open, where they are several: process, pid, fd")),
        *_columns("str", "", ("context", "SELinux context of the process"), ("socket_context", "and of the socket")),
        *_columns("category", "", ("timer", "on (retransmission), keepalive, timewait, persist")),
        *_columns("Int64", "ms", ("timer_expires", "until it expires")),
        *_columns("Int64", "", ("timer_retrans", "how often it did already")),
        *_columns("Int64", "", ("uid", "owner; NA: root"), ("inode", "the socket's number"),
                  ("peer_inode", "that of the unix socket at the other end")),
        *_columns("str", "", ("cookie", "the kernel's own name of it"), ("fwmark", "its mark"),
                  ("cgroup", "its control group"), ("vfs_device", "device of a unix socket's name")),
        *_columns("Int64", "", ("vfs_inode", "inode of a unix socket's name")),
        *_columns("object", "", ("peers", "numbers of the unix sockets that wait to be accepted")),
        *_columns("boolean", "", ("v6only", "an IPv6 socket takes no IPv4"),
                  ("association", "an association of the SCTP socket in the row above")),
        *_columns("category", "", ("shutdown", "which directions are shut: none, receive, send, both")),
        *_columns("str", "", ("tos", "type of service"), ("tclass", "traffic class"), ("class_id", "net_cls's class")),
        *_columns("object", "", ("sockopt", "options that are set (--inet-sockopt)"),
                  ("packet_flags", "of a packet socket")),
        *_columns("str", "", ("bpf_filter", "classic BPF: code, jt, jf, k of each instruction"),
                  ("groups", "netlink's groups"), ("local_service", "name of the port, where ss gave no number"),
                  ("peer_service", "the same")),
        # -m: skmem, by the names that ss(8) has for its letters
        *_columns("Int64", "bytes", ("rmem_alloc", "received and in memory"), ("rcv_buf", "limit of it"),
                  ("wmem_alloc", "sent down, not yet by the interface"), ("snd_buf", "limit of what waits to be sent"),
                  ("fwd_alloc", "set aside for it"), ("wmem_queued", "waits to be sent or acknowledged"),
                  ("opt_mem", "options and filters"), ("back_log", "arrived while the process was reading")),
        *_columns("Int64", "packets", ("sock_drop", "dropped before they reached the process"), counter=True),
        # -i: struct tcp_info of linux/tcp.h
        *_columns("boolean", "", ("ts", "timestamps"), ("usec_ts", "in microseconds"),
                  ("sack", "selective acknowledgements"), ("ecn", "explicit congestion notification"),
                  ("ecnseen", "a packet with ECN bits came"), ("fastopen", "its SYN carried data that was taken")),
        *_columns("category", "", ("congestion", "congestion control: cubic, bbr, …")),
        *_columns("Int64", "bits", ("snd_wscale", "window scale, sending"), ("rcv_wscale", "and receiving")),
        *_columns("Float64", "ms", ("rto", "retransmission timeout"), ("rtt", "smoothed round-trip time"),
                  ("rttvar", "its mean deviation"), ("minrtt", "least round-trip time seen"),
                  ("rcv_rtt", "round-trip time as the receiver sees it"), ("ato", "delayed acknowledgement")),
        *_columns("Int64", "", ("backoff", "how often the timeout was doubled"),
                  ("qack", "quick acknowledgements left"),
                  ("reordering", "packets that may be out of order before one counts as lost; NA: 3")),
        *_columns("boolean", "", ("bidir", "interactive: acknowledgements are delayed")),
        *_columns("Int64", "bytes", ("mss", "largest segment sent"), ("pmtu", "path MTU"),
                  ("rcvmss", "largest segment received"), ("advmss", "largest segment told to the peer"),
                  ("rcv_space", "receive buffer, as auto-tuned"),
                  ("rcv_ssthresh", "window that may be told to the peer"),
                  ("snd_wnd", "window that the peer told"), ("rcv_wnd", "window told to the peer"),
                  ("notsent", "written by the process and not yet sent")),
        *_columns("Int64", "packets", ("cwnd", "congestion window"), ("ssthresh", "slow start's threshold"),
                  ("unacked", "in flight"), ("retrans", "of these sent again"), ("lost", "of these taken for lost"),
                  ("sacked", "of these acknowledged selectively"), ("fackets", "before the highest such")),
        *_columns("Int64", "bytes", ("bytes_sent", "sent, with what was sent again"), ("bytes_retrans", "sent again"),
                  ("bytes_acked", "acknowledged by the peer"), ("bytes_received", "received in order"), counter=True),
        *_columns("Int64", "packets", ("segs_out", "segments sent"), ("segs_in", "segments received"),
                  ("data_segs_out", "of these with data"), ("data_segs_in", "of these with data"),
                  ("retrans_total", "segments sent again"), ("delivered", "segments that arrived"),
                  ("delivered_ce", "of these marked congested"), ("dsack_dups", "that arrived twice"),
                  ("reord_seen", "times that reordering was seen"), ("rcv_ooopack", "received out of order"),
                  ("rehash", "times that another path was tried"), counter=True),
        *_columns("Float64", "bit/s", ("send_rate", "cwnd * mss / rtt"), ("pacing_rate", "what pacing allows"),
                  ("max_pacing_rate", "limit of it"), ("delivery_rate", "reached last"),
                  ("bbr_bw", "BBR's estimate of the bandwidth")),
        *_columns("boolean", "", ("app_limited", "the process gave less than could be sent")),
        *_columns("Int64", "ms", ("lastsnd", "since data was sent"), ("lastrcv", "since data was received"),
                  ("lastack", "since an acknowledgement was received")),
        *_columns("Int64", "ms", ("busy", "in which data was to be sent"),
                  ("rwnd_limited", "of these held up by the peer's window"),
                  ("sndbuf_limited", "of these held up by the send buffer"), counter=True),
        *_columns("Float64", "%", ("rwnd_limited_share", "share of busy"), ("sndbuf_limited_share", "share of busy")),
        *_columns("Float64", "ms", ("bbr_mrtt", "BBR's least round-trip time")),
        *_columns("Float64", "", ("bbr_pacing_gain", "pacing over bandwidth"),
                  ("bbr_cwnd_gain", "window over bandwidth times delay")),
        *_columns("str", "", ("md5keys", "addresses and keys of TCP-MD5"), ("ulp", "upper layer: tls, mptcp, …"),
                  ("tls_version", "1.2, 1.3"), ("tls_cipher", "the kernel's TLS: cipher"), ("rxconf", "who decrypts"),
                  ("txconf", "who encrypts"), ("mptcp_flags", "letters of ss(8)"), ("token", "MPTCP's"),
                  ("seq", "hexadecimal"), ("sfseq", "hexadecimal"), ("ssnoff", "hexadecimal"),
                  ("maplen", "hexadecimal"),
                  ("write_seq", "hexadecimal"), ("snd_una", "hexadecimal"), ("rcv_nxt", "hexadecimal"),
                  ("tag", "SCTP's verification tag, hexadecimal"), ("ptag", "the peer's"),
                  ("queue", "XDP's: q and its number"),
                  ("locals", "SCTP's own addresses"), ("tipc_type", "STREAM, DGRAM, …"), ("cong", "TIPC: link, conn")),
    ),
    key=("netid", "local_address", "interface", "local_port", "peer_address", "peer_port", "inode"),
)  # fmt: skip

SUMMARY = Table(
    "summary",
    (
        Column("transport", "category", "", "RAW, UDP, TCP; INET is their sum; FRAG: datagrams being put together"),
        Column("total", "Int64", "sockets", "IPv4's and IPv6's"),
        Column("ip", "Int64", "sockets", "IPv4's"),
        Column("ipv6", "Int64", "sockets", "IPv6's"),
    ),
    key=("transport",),
)

# main() of misc/ss.c: options, those that take a value, and what the long ones are in short.
_VALUED = "fADFN"
_LONG = {
    "numeric": "n", "resolve": "r", "options": "o", "extended": "e", "memory": "m", "info": "i", "processes": "p",
    "threads": "T", "bpf": "b", "events": "E", "dccp": "d", "tcp": "t", "sctp": "S", "udp": "u", "raw": "w",
    "unix": "x", "tipc": "--tipc", "vsock": "--vsock", "all": "a", "listening": "l", "ipv4": "4", "ipv6": "6",
    "packet": "0", "family": "f", "socket": "A", "query": "A", "summary": "s", "diag": "D", "filter": "F",
    "version": "V", "help": "h", "context": "Z", "contexts": "z", "net": "N", "tipcinfo": "--tipcinfo", "tos": "--tos",
    "cgroup": "--cgroup", "kill": "K", "no-header": "H", "xdp": "--xdp", "mptcp": "M", "oneline": "O",
    "inet-sockopt": "--inet-sockopt", "bound-inactive": "B",
}  # fmt: skip
_INET = {"tcp", "mptcp", "udp", "dccp", "sctp", "raw"}
_TABLES = {
    "t": {"tcp"}, "u": {"udp"}, "w": {"raw"}, "d": {"dccp"}, "S": {"sctp"}, "M": {"mptcp"}, "4": _INET, "6": _INET,
    "x": {"u_str", "u_dgr", "u_seq"}, "0": {"p_raw", "p_dgr"}, "--vsock": {"v_str", "v_dgr"}, "--xdp": {"xdp"},
}  # fmt: skip
_FAMILIES = {
    "inet": _INET, "inet6": _INET, "link": {"p_raw", "p_dgr"}, "unix": {"u_str", "u_dgr", "u_seq"}, "netlink": {"nl"},
    "vsock": {"v_str", "v_dgr"}, "xdp": {"xdp"},
}  # fmt: skip
_QUERIES = {
    **_FAMILIES, **{name: {name} for name in _INET}, "unix_dgram": {"u_dgr"}, "u_dgr": {"u_dgr"},
    "unix_stream": {"u_str"}, "u_str": {"u_str"}, "unix_seqpacket": {"u_seq"}, "u_seq": {"u_seq"},
    "packet": {"p_raw", "p_dgr"}, "packet_raw": {"p_raw"}, "p_raw": {"p_raw"}, "packet_dgram": {"p_dgr"},
    "p_dgr": {"p_dgr"}, "vsock_stream": {"v_str"}, "v_str": {"v_str"}, "vsock_dgram": {"v_dgr"}, "v_dgr": {"v_dgr"},
}  # fmt: skip
# The state that ss shows of a table where it was asked for none (default_dbs[], default_afs[]); several elsewhere.
_DEFAULTS = {"udp": "ESTAB", "raw": "ESTAB", "p_raw": "UNCONN", "p_dgr": "UNCONN", "nl": "UNCONN", "xdp": "UNCONN"}
_STATES = {
    "established": "ESTAB", "syn-sent": "SYN-SENT", "syn-recv": "SYN-RECV", "syn-rcv": "SYN-RECV",
    "fin-wait-1": "FIN-WAIT-1", "fin-wait-2": "FIN-WAIT-2", "time-wait": "TIME-WAIT", "unconnected": "UNCONN",
    "close": "UNCONN", "closed": "UNCONN", "close-wait": "CLOSE-WAIT", "last-ack": "LAST-ACK", "listening": "LISTEN",
    "closing": "CLOSING",
}  # fmt: skip


def _split(arguments: tuple[str, ...]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return options in short with their values, and words: getopt_long(3), for options that we know or do not."""
    given: list[tuple[str, str]] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found = {_LONG[each] for each in _LONG if each.startswith(name)}
            short = _LONG.get(name) or (found.pop() if len(found) == 1 else word)
            if short in _VALUED and "=" not in word and rest:
                value = rest.pop(0)
            given.append((short, value))
        elif word.startswith("-") and len(word) > 1:
            for at, letter in enumerate(word[1:], start=2):
                if letter in _VALUED:
                    given.append((letter, word[at:] or (rest.pop(0) if rest else "")))
                    break
                given.append((letter, ""))
        else:
            words.append(word)
    return given, words


def _prepare(arguments: tuple[str, ...], options: Options, _: bool) -> Command:
    refuse_capture_options("ss", options)
    given, words = _split(arguments)
    names = {name for name, _ in given}
    if names & {"h", "V", "v", "D"}:
        return Command(("ss", *arguments))
    numeric = () if "n" in names else ("-n",)
    parse = functools.partial(
        _parse,
        netid=_netid(given),
        state=_state(given, words),
        info="i" in names,
        options=bool(names & {"o", "e", "b"}),
    )
    # Behind --, nothing is an option any more: ours stand in front.
    return Command(("ss", *numeric, *arguments), output="table", parse=parse, endless="E" in names)


def _tables(given: list[tuple[str, str]]) -> set[str]:
    tables: set[str] = set()
    for name, value in given:
        if name == "f":
            tables |= _FAMILIES.get(value, {"?", "??"})
        elif name == "A":
            for each in value.split(","):
                tables |= _QUERIES.get(each, {"?", "??"})
        elif name == "--tipc":
            tables |= {"?", "??"}
        else:
            tables |= _TABLES.get(name, set())
    return tables


def _netid(given: list[tuple[str, str]]) -> str | None:
    """Return the only netid there can be: ss leaves the column out then."""
    tables = _tables(given)
    return tables.pop() if len(tables) == 1 else None


def _state(given: list[tuple[str, str]], words: list[str]) -> str | None:
    """Return the only state that was asked for: ss leaves the column out then."""
    asked = [after for before, after in itertools.pairwise(words) if before == "state"]
    if asked:
        return _STATES.get(asked[0].lower()) if len({each.lower() for each in asked}) == 1 else None
    if any(name in ("a", "l", "A", "4", "6", "B") for name, _ in given) or {"exclude", "excl"} & set(words):
        return None
    states = {_DEFAULTS.get(each, "") for each in _tables(given)}
    return (states.pop() or None) if len(states) == 1 else None


def _change(arguments: tuple[str, ...]) -> Change | None:
    given, _ = _split(arguments)
    # Any beginning of a long option's name is that option.
    kills = any(name == "K" or (name.startswith("--k") and "--kill".startswith(name)) for name, _ in given)
    return Change("closes sockets") if kills else None


def _parse(text: Text, *, netid: str | None, state: str | None, info: bool, options: bool) -> Parsed:
    written = text.stdout
    tables: list[tuple[Table, list[Row]]] = []
    facts: dict[str, int] = {}
    if written.startswith("Total: "):
        rows, facts, written = _summary(written)
        tables.append((SUMMARY, rows))
        if not written.strip():
            return Parsed(tuple(tables), facts)
    found: list[Row] = list(sockets.read(written, netid=netid, state=state, info=info, options=options))
    return Parsed(((SOCKETS, found), *tables), facts)


_TOTAL = re.compile(r"Total: (\d{1,18})(?: \(kernel \d+\))?\nTCP: +(-?\d{1,18}) \(([^)]*)\)(?:, ports \d+)?\n\n")
_TRANSPORT = re.compile(r"([A-Z*]+)\s+(\d{1,18})\s+(\d{1,18}|-)\s+(\d{1,18}|-)[ \t]*\n")


def _summary(text: str) -> tuple[list[Row], dict[str, int], str]:
    """Read print_summary(): what is said of the whole, a row a transport, and what stands behind."""
    total = _TOTAL.match(text)
    if total is None:
        raise Unreadable("its summary begins with no totals")
    facts = {"total": int(total[1]), "tcp": int(total[2])}
    for each in total[3].split(", "):
        name, _, number = each.partition(" ")
        count = re.match(r"-?\d{1,18}(?=/|$)", number)  # timewait was 3/0 before iproute2 4.19
        if count is None:
            raise Unreadable(f"its summary counts {each[:40]!r}")
        facts[name] = int(count[0])
    heading = re.compile(r"Transport\s+Total\s+IP\s+IPv6\s*\n").match(text, total.end())
    if heading is None:
        raise Unreadable("its summary has no transports")
    rows: list[Row] = []
    at = heading.end()
    while found := _TRANSPORT.match(text, at):
        numbers = (None if each == "-" else int(each) for each in found.groups()[1:])
        rows.append(dict(zip(("transport", "total", "ip", "ipv6"), (found[1], *numbers), strict=True)))
        at = found.end()
    if not rows:
        raise Unreadable("its summary has no transports")
    return rows, facts, text[at:].removeprefix("\n")


TOOLS = (
    Tool(
        "ss",
        "iproute2",
        _prepare,
        purpose="sockets: states, queues, processes, TCP's own figures",
        variants=(Variant("", (SOCKETS,)), Variant("-s", (SUMMARY,))),
        change=_change,
        version=("-V",),
    ),
)
