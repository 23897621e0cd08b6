"""What ss(8) says of a socket behind its addresses: who has it open, its timer, its memory, and all of TCP's figures.

See `podtracer_nb.tools.sockets` for its lines, which this reads the rest of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from podtracer_nb.tools.table import Unreadable

__all__ = ["TCP_OPTIONS", "Values", "details"]

Values = dict[str, Any]

_USER = re.compile(
    # comm has 15 bytes at most (TASK_COMM_LEN of linux/sched.h), of any kind; iproute2 before 4 wrote ("sshd",1,3).
    r'\("(.{0,64}?)",(?:pid=)?(\d{1,10}),(?:tid=(\d{1,10}),)?(?:proc_ctx=(\S*?),)?(?:fd=)?(\d{1,10})(?:,sock_ctx=(\S*?))?\)'
    r'(?=,\("|\)(?:\s|$))',
    re.DOTALL,
)
_CGROUP = re.compile(
    r"(?<=\s)cgroup:(/.*?|unreachable:\S+)"
    r"(?=\s*$| v6only:\d| [<-]-[->](?:\s|$)| tos:| tclass:| class_id:| cgroup:| inet-sockopt:|\s+(?:sk)?mem:\(|\s*\t)",
    re.DOTALL,
)
_GROUP = re.compile(r"(?<=\s)([a-z_-]+):? ?\(([^()]*)\)")
_LOOSE = re.compile(r"(?<=\s)(version|cipher|rxconf|txconf): (\S+)")
_BPF = re.compile(r"(?<=\s)bpf filter \((\d+)\):\s+((?:0x[0-9a-f]+ \d+ \d+ \d+,\s*)*)")
_PEERS = re.compile(r"(?<=\s)peers:((?: \d{1,18})*)(?=\s|$)")
_VIA = re.compile(r"(?<=\s)via (\{\d+,\d+\})")
# One second and a fifth is 1.200ms in iproute2 6.1, and 1.200sec in 6.15.
_TIMER = re.compile(r"\(([\w-]+),(?:(\d{1,9})min)?(?:(\d{1,9})sec|(\d{1,9})\.(\d{3})(?:ms|sec)|(\d{3})ms)?,(\d+)\)")
_SKMEM = re.compile(r"\(r(\d+),rb(\d+),t(\d+),tb(\d+),f(\d+),w(\d+),o(\d+)(?:,bl(\d+))?(?:,d(\d+))?\)")
_MEM = re.compile(r"\(r(\d+),w(\d+),f(\d+),t(\d+)\)")
_SHARE = re.compile(r"(\d+)ms(?:\((\d+\.\d+)%\))?")
_RATE = re.compile(r"(\d+(?:\.\d+)?(?:e\+\d+)?)([kKMGT]?)bps")
_WORD = re.compile(r"[A-Za-z][\w.-]*")
_NUMBER = re.compile(r"-?\d{1,18}")
_FRACTION = re.compile(r"-?\d+\.\d+")

_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SHUTDOWN = {"<->": "none", "-->": "receive", "<--": "send", "---": "both"}
_HEAD = frozenset({
    "netid", "state", "recv_q", "send_q", "local_address", "local_port", "peer_address", "peer_port", "interface",
    "process", "pid", "fd", "processes",
})  # fmt: skip
TCP_OPTIONS = ("ts", "sack", "ecn", "ecnseen", "fastopen")
_FLAGS = frozenset({
    *TCP_OPTIONS, "usec_ts", "bidir", "app_limited", "fallback", "remote_key", "zc_ro_tx", "publ",
})  # fmt: skip

# What the kernel calls its own congestion controls: net/ipv4/Kconfig.
_CONGESTION = frozenset({
    "bbr", "bic", "cdg", "cubic", "dctcp", "highspeed", "htcp", "hybla", "illinois", "lp", "nv", "prague", "reno",
    "scalable", "vegas", "veno", "westwood", "yeah", "bbr2", "bbr3",
})  # fmt: skip

# Keys of ss whose column has the same name, or this one.
_NAMES = {
    **{
        name: name
        for name in (
            "uid", "fwmark", "rto", "backoff", "ato", "qack", "mss", "pmtu", "rcvmss", "advmss", "cwnd", "ssthresh",
            "bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in", "data_segs_out",
            "data_segs_in", "lastsnd", "lastrcv", "lastack", "delivered", "delivered_ce", "unacked", "lost", "sacked",
            "dsack_dups", "fackets", "reordering", "reord_seen", "rcv_rtt", "rcv_space", "rcv_ssthresh", "notsent",
            "minrtt", "rcv_ooopack", "snd_wnd", "rcv_wnd", "rehash", "tos", "tclass", "class_id", "priority",
            "token", "seq", "sfseq", "ssnoff", "maplen", "write_seq", "snd_una", "rcv_nxt", "tag", "ptag", "locals",
            "peers", "md5keys", "groups", "cong",
        )
    },
    "ino": "inode", "sk": "cookie", "flags": "mptcp_flags", "type": "tipc_type",
}  # fmt: skip


def details(row: Values, text: str, info: bool) -> None:
    """Take what stands behind the addresses: users, then words and `key:value`."""
    if text.startswith("users:("):
        text = _users(row, text)
    text = f" {text}"
    if (row["netid"] or "").startswith("u_"):
        # The inode of the name in its file system, which is another number than the socket's.
        text = text.replace(" ino:", " vfs_inode:", 1)
    if "bps" in text:
        for word in ("send", "pacing_rate", "delivery_rate"):
            text = text.replace(f" {word} ", f" {word}:", 1)
    if "cgroup:" in text:
        text = _cut(_CGROUP, text, lambda found: row.__setitem__("cgroup", found[1]))
    if ": " in text or "( " in text or " (" in text or row["netid"] in ("p_raw", "p_dgr", "xdp"):
        text = _odd(row, text)
    if "users:((" in text:
        # TIPC has them behind its details.
        before, _, users = text.partition("users:((")
        text = before + _users(row, f"users:(({users}")
    for token in text.split():
        key, colon, value = token.partition(":")
        name = _NAMES.get(key) if colon else None
        if name is not None:
            row[name] = value
        elif colon and key in _SPECIAL:
            _SPECIAL[key](row, value)
        elif colon:
            _unknown(row, key, value)
        else:
            _bare(row, token, info)


def _users(row: Values, text: str) -> str:
    """Take the processes that have the socket open, and return what stands behind them."""
    at, users = len("users:("), []
    while found := _USER.match(text, at):
        process, pid, tid, context, descriptor, socket_context = found.groups()
        each: Values = {"process": process, "pid": int(pid), "fd": int(descriptor)}
        for name, value in (("tid", tid and int(tid)), ("context", context), ("socket_context", socket_context)):
            if value is not None:
                each[name] = value
        users.append(each)
        at = found.end()
        if text[at : at + 1] == ")":
            break
        at += 1
    else:
        raise Unreadable(f"{text[:80]!r} names no processes")
    row.update(users[0])
    if len(users) > 1:
        row["processes"] = users
    return text[at + 1 :]


def _cut(pattern: re.Pattern[str], text: str, take: Callable[[re.Match[str]], object]) -> str:
    def one(found: re.Match[str]) -> str:
        take(found)
        return ""

    return pattern.sub(one, text)


def _odd(row: Values, text: str) -> str:
    """Take what has spaces within it."""
    text = _cut(_LOOSE, text, lambda found: row.__setitem__(_TLS.get(found[1], found[1]), found[2]))
    text = _cut(_BPF, text, lambda found: row.__setitem__("bpf_filter", " ".join(found[2].split())))
    text = _cut(_PEERS, text, lambda found: row.__setitem__("peers", [int(each) for each in found[1].split()]))
    text = _cut(_VIA, text, lambda found: row.__setitem__("via", found[1]))
    return _cut(_GROUP, text, lambda found: _group(row, found[1], found[2]))


_TLS = {"version": "tls_version", "cipher": "tls_cipher"}
_LISTS = {"flags": "packet_flags", "inet-sockopt": "sockopt"}


def _group(row: Values, name: str, text: str) -> None:
    """Take `name(key:value,key:value)`, each under `name_key`; or a list of words."""
    if name in _SPECIAL:
        _SPECIAL[name](row, f"({text})")
        return
    if name in _LISTS:
        row[_LISTS[name]] = [each for each in text.split() if each != "0"]
        return
    _entries(row, name.replace("-", "_"), text)


def _entries(row: Values, name: str, text: str) -> None:
    for each in text.split(","):
        key, colon, value = each.partition(":")
        if not colon:
            _keep(row, name, text)
            return
        _keep(row, f"{name}_{key.replace(' ', '_')}", value)


def _keep(row: Values, name: str, value: str) -> None:
    """Keep a value that nobody described, as what it looks like, under a name that is no other column's."""
    if name in _HEAD:
        name = f"info_{name}"
    if _NUMBER.fullmatch(value):
        row[name] = int(value)
    elif _FRACTION.fullmatch(value):
        row[name] = float(value)
    else:
        row[name] = value


def _unknown(row: Values, key: str, value: str) -> None:
    if not _WORD.fullmatch(key):
        raise Unreadable(f"{key[:40]!r} is no word of ss")
    if value.startswith("(") and value.endswith(")"):
        _group(row, key, value[1:-1])
    else:
        _keep(row, key.replace("-", "_").replace(".", "_"), value)


def _bare(row: Values, token: str, info: bool) -> None:
    if token in _FLAGS:
        row[token] = True
        return
    if token in _SHUTDOWN:
        row["shutdown"] = _SHUTDOWN[token]
        return
    if token.startswith("tcp-ulp-"):
        row["ulp"] = token.removeprefix("tcp-ulp-")
        return
    if "=" in token:
        key, _, value = token.partition("=")
        _unknown(row, {"sk": "cookie", "proc_ctx": "context"}.get(key, key), value)
        return
    if not _WORD.fullmatch(token):
        raise Unreadable(f"{token[:40]!r} is no word of ss")
    control = row.get("congestion")
    if info and (control is None or (control not in _CONGESTION and _follows(row))):
        # tcp_stats_print() writes the congestion control behind the options: what stood before it is a new option.
        if control is not None:
            row.pop("congestion")
            row[control] = True
        row["congestion"] = token
    elif token in _HEAD or token in _NAMES.values():
        raise Unreadable(f"{token[:40]!r} has no value")
    else:
        row[token.replace("-", "_").replace(".", "_")] = True


def _follows(row: Values) -> bool:
    """Tell whether nothing but options came since what was taken for the congestion control."""
    return next((name for name in reversed(row) if name not in _FLAGS), "") == "congestion"


def _matched(pattern: re.Pattern[str], key: str, value: str) -> tuple[Any, ...]:
    found = pattern.fullmatch(value)
    if found is None:
        raise Unreadable(f"{key}:{value[:40]} is not of a form that ss has")
    return found.groups()


def _bits(key: str, value: str) -> float:
    number, scale = _matched(_RATE, key, value)
    return float(number) * _SCALE[scale]


def _two(separator: str, first: str, second: str) -> Callable[[Values, str], None]:
    def take(row: Values, value: str) -> None:
        row[first], found, row[second] = value.partition(separator)
        if not found:
            raise Unreadable(f"{first}:{value[:40]} has no {separator!r}")

    return take


def _rate(name: str) -> Callable[[Values, str], None]:
    def take(row: Values, value: str) -> None:
        row[name] = _bits(name, value)

    return take


def _pacing(row: Values, value: str) -> None:
    rate, slash, largest = value.partition("/")
    row["pacing_rate"] = _bits("pacing_rate", rate)
    if slash:
        row["max_pacing_rate"] = _bits("pacing_rate", largest)


def _limited(name: str) -> Callable[[Values, str], None]:
    def take(row: Values, value: str) -> None:
        row[name], share = _matched(_SHARE, name, value)
        if share is not None:
            row[f"{name}_share"] = share

    return take


def _timer(row: Values, value: str) -> None:
    name, minutes, whole, seconds, thousandths, milliseconds, retransmitted = _matched(_TIMER, "timer", value)
    row["timer"], row["timer_retrans"] = name, retransmitted
    seconds = int(minutes or 0) * 60 + int(whole or seconds or 0)
    row["timer_expires"] = seconds * 1000 + int(thousandths or milliseconds or 0)


def _memory(pattern: re.Pattern[str], *names: str) -> Callable[[Values, str], None]:
    def take(row: Values, value: str) -> None:
        for name, each in zip(names, _matched(pattern, "skmem", value), strict=True):
            if each is not None:
                row[name] = each

    return take


def _bbr(row: Values, value: str) -> None:
    for each in value.strip("()").split(","):
        key, _, number = each.partition(":")
        row[f"bbr_{key}"] = _bits("bw", number) if key == "bw" else number


def _counters(name: str) -> Callable[[Values, str], None]:
    def take(row: Values, value: str) -> None:
        if value.startswith("("):
            _entries(row, name, value.strip("()").replace("%", ""))
        else:
            row[name] = value

    return take


def _only(row: Values, value: str) -> None:
    if value not in ("0", "1"):
        raise Unreadable(f"v6only:{value[:40]} is neither 0 nor 1")
    row["v6only"] = value == "1"


_SPECIAL: dict[str, Callable[[Values, str], None]] = {
    "rtt": _two("/", "rtt", "rttvar"),
    "retrans": _two("/", "retrans", "retrans_total"),
    "wscale": _two(",", "snd_wscale", "rcv_wscale"),
    "send": _rate("send_rate"),
    "delivery_rate": _rate("delivery_rate"),
    "pacing_rate": _pacing,
    "busy": _limited("busy"),
    "rwnd_limited": _limited("rwnd_limited"),
    "sndbuf_limited": _limited("sndbuf_limited"),
    "timer": _timer,
    "skmem": _memory(_SKMEM, "rmem_alloc", "rcv_buf", "wmem_alloc", "snd_buf", "fwd_alloc", "wmem_queued", "opt_mem",
                     "back_log", "sock_drop"),
    "mem": _memory(_MEM, "rmem_alloc", "wmem_queued", "fwd_alloc", "wmem_alloc"),
    "bbr": _bbr,
    "dctcp": _counters("dctcp"),
    "prague": _counters("prague"),
    "v6only": _only,
    "vfs_inode": lambda row, value: row.__setitem__("vfs_inode", value),
    "dev": lambda row, value: row.__setitem__("vfs_device", value),
}  # fmt: skip
