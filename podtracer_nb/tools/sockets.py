r"""What ss(8) prints, as rows: one a socket, every value under the field's own word.

A record is a line that begins with the columns of the header; what follows on lines that begin with a tab belongs to
it, and so does a line that begins like no record: a socket's or a process's name may hold a newline. What is no
`key:value` and no word that ss has is no output of ss: `Unreadable`. A `key:value` that nobody described is kept.
Source: misc/ss.c of iproute2 4.9 to 6.6; what 6.1 and 6.15 write.
"""

from __future__ import annotations

import functools
import re

from podtracer_nb.tools.socket_details import TCP_OPTIONS, Values, details
from podtracer_nb.tools.table import Unreadable

__all__ = ["read"]

# sock_state_print(): columns are padded by spaces; an association of SCTP has "`- " in place of its netid.
_NETID, _STATE, _QUEUES = r"([a-z][a-z0-9_]*|\?\?\?)", r"([A-Z][A-Z0-9_-]*)", r"(-?\d+) +(-?\d+) +"
_FREE = re.compile(rf"(?:{_NETID} +| +(?=`- ))?(?:`- )?(?:{_STATE} +)?{_QUEUES}")
_RECORD = re.compile(r"\n(?!\t| type:)")
_TORN = 128  # lines that one name can be torn into, at the most: none has more bytes

_ADDRESS = re.compile(
    r"(?:(\*|\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_:.+-]+)(?:%([^\s/:]+))?:(\*|-?\d+|[A-Za-z][\w.+@-]*)|\*|-)"
)
# A name may hold spaces, and all else; the first reading after which only what ss adds is left is taken. The peer has
# its name only where ss has to read /proc/net/unix (unix_show()).
_ADDED = (
    r" *((?: users:\(\(.*\)\))?(?:\s+proc_ctx=\S+)?(?:\s+skmem:\(\S+\))?(?:\s+[<-]-[->])?"
    r"(?: ino:\d+ dev:\d+/\d+)?(?:\s+peers:(?: \d+)*)?)\s*"
)
# It has 108 bytes at most (unix(7)), and stands at the right of its column.
_UNIX = re.compile(rf" *(\S.{{0,107}}?) (\d+) +(\*) (\d+){_ADDED}", re.DOTALL)
_UNIX_NAMED = re.compile(rf" *(\S.{{0,107}}?) (\d+) +(\S.{{0,107}}?) (\d+){_ADDED}", re.DOTALL)
# With -n ss gives protocols as the numbers of linux/netlink.h and linux/if_ether.h; these are iproute2's names of them.
_PROTOCOLS = {
    "0": "rtnl", "2": "usersock", "3": "fw", "4": "tcpdiag", "5": "nflog", "6": "xfrm", "7": "selinux", "8": "iscsi",
    "9": "audit", "10": "fiblookup", "11": "connector", "12": "nft", "13": "ip6fw", "14": "dec-rt", "15": "uevent",
    "16": "genl", "18": "scsi-trans", "19": "ecryptfs", "20": "rdma", "21": "crypto",
    "[2048]": "ip", "[2054]": "arp", "[34525]": "ipv6", "[33024]": "802.1Q",
}  # fmt: skip
# ss leaves out what is 0. Where one socket shows a field of a group, this ss and this kernel know all of the group:
# they came together (linux/tcp.h: struct tcp_info of 4.2, 4.6, 4.19; iproute2 the same).
_ZERO = ("unacked", "retrans", "retrans_total", "lost", "sacked")
_GROUPS = (
    ("bytes_acked", "bytes_received", "segs_out", "segs_in"),
    ("data_segs_out", "data_segs_in", "notsent"),
    ("bytes_sent", "bytes_retrans", "dsack_dups", "reord_seen"),
)


def read(
    text: str, *, netid: str | None = None, state: str | None = None, info: bool = False, options: bool = False
) -> list[Values]:
    r"""Return the sockets that ss printed; what is a number is still text, which its column reads.

    Parameters
    ----------
    text
        What ss wrote.
    netid, state
        Those of every socket, where ss leaves their columns out because the user asked for one only.
    info, options
        Whether `-i`, and one of `-o`, `-e`, `-b`, was among its words: then what is not shown is not so.

    Raises
    ------
    Unreadable
        It is no output of ss that we know.

    Examples
    --------
    >>> text = "State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n"
    >>> text += "ESTAB 0      0      [fe80::1]%eth0:22     [fe80::2]:4711 timer:(keepalive,1min2sec,0)\n"
    >>> row, = read(text, netid="tcp")
    >>> row["netid"], row["local_address"], row["interface"], row["local_port"], row["timer_expires"]
    ('tcp', 'fe80::1', 'eth0', '22', 62000)
    """
    if not text.strip():
        return []
    *records, last = _RECORD.split(text)
    # The end of a run that was stopped: what is left of its last line would be a wrong row.
    if last.strip() and not records:
        raise Unreadable("it ends within its first line")
    begins = _FREE
    if records and "Recv-Q" in records[0] and "Address:Port" in records[0]:
        begins = _shape(records.pop(0))
    rows: list[Values] = []
    above = netid
    for found, torn in _whole(begins, records):
        for end in range(1, len(torn)):
            _incomplete(found, "\n".join(torn[:end]), torn[end])
        rows.append(_socket(found, "\n".join(torn), above if torn[0].startswith(" ") else netid, state, info))
        above = rows[-1]["netid"]
    if info:
        _complete(rows, options)
    return rows


@functools.cache
def _shape(header: str) -> re.Pattern[str]:
    """Return how a record begins under a header: which of its first columns there are."""
    words = header.partition("Recv-Q")[0].split()
    if not set(words) <= {"Netid", "State"}:
        raise Unreadable(f"its header begins with {' '.join(words)!r}")
    netid = rf"(?:{_NETID} +| +(?=`- ))(?:`- )?" if "Netid" in words else "()"
    state = rf"{_STATE} +" if "State" in words else "()"
    return re.compile(netid + state + _QUEUES)


def _whole(begins: re.Pattern[str], records: list[str]) -> list[tuple[re.Match[str], list[str]]]:
    """Put the lines together that a newline in a name tore apart."""
    whole: list[tuple[re.Match[str], list[str]]] = []
    for record in records:
        found = begins.match(record)
        if found is not None:
            whole.append((found, [record]))
        elif whole and len(whole[-1][1]) < _TORN:
            whole[-1][1].append(record)
        else:
            raise Unreadable(f"{record[:60]!r} begins like no socket")
    return whole


def _incomplete(found: re.Match[str], record: str, after: str) -> None:
    """Refuse a line that is no rest of a name, because the socket before it is whole without it."""
    try:
        _socket(found, record, None, None, False)
    except Unreadable:
        return
    raise Unreadable(f"{after[:60]!r} begins like no socket")


def _socket(found: re.Match[str], record: str, netid: str | None, state: str | None, info: bool) -> Values:
    own, told, received, sent = found.groups()
    row: Values = {"netid": own or netid, "state": told or state, "recv_q": received, "send_q": sent}
    if record.startswith((" ", "`")):
        row["association"] = True
    if (row["netid"] or "").startswith("u_"):
        return _unix(row, record[found.end() :])
    parts = record[found.end() :].split(None, 2)
    if len(parts) < 2:  # noqa: PLR2004 - an address and its peer
        raise Unreadable(f"{record[:80]!r} has no two addresses")
    row["local_address"], interface, row["local_port"], local_name = _address(parts[0])
    row["peer_address"], _, row["peer_port"], peer_name = _address(parts[1])
    if interface:
        row["interface"] = interface
    if local_name or peer_name:
        _named_ports(row, local_name, peer_name)
    if row["netid"] in ("nl", "p_raw", "p_dgr"):
        row["local_address"] = _PROTOCOLS.get(parts[0].partition(":")[0], row["local_address"])
    if len(parts) > 2:  # noqa: PLR2004
        details(row, parts[2], info)
    return row


@functools.lru_cache(maxsize=1 << 16)
def _address(text: str) -> tuple[str | None, str | None, str | None, str | None]:
    """Return an address, its interface, its port, and the port's name where it is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise Unreadable(f"{text[:60]!r} is no address with a port")
    address, interface, port = found.groups()
    if address is None:
        return text, None, None, None
    if address.startswith("[") and ":" in address:
        address = address[1:-1]
    if port == "*":
        return address, interface, None, None
    if port[0].isalpha():
        return address, interface, None, port
    return address, interface, port, None


def _named_ports(row: Values, local: str | None, peer: str | None) -> None:
    """Take a port that is no number: an interface (packet), a queue of it (XDP), a service's name elsewhere."""
    if row["netid"] in ("p_raw", "p_dgr"):
        row["interface"] = local
    elif row["netid"] == "xdp":
        row["interface"], row["queue"] = row["local_address"], local
    else:
        row["local_service"], row["peer_service"] = local, peer


def _unix(row: Values, text: str) -> Values:
    found = _UNIX.fullmatch(text) or _UNIX_NAMED.fullmatch(text)
    if found is None:
        raise Unreadable(f"{text[:80]!r} is no socket's name with its number, and its peer's")
    name, inode, peer, other, rest = found.groups()
    row["local_address"], row["inode"] = name, inode
    row["peer_address"], row["peer_inode"] = peer, None if other == "0" else other
    row["local_port"] = row["peer_port"] = None
    if rest:
        details(row, rest.lstrip(), False)
    return row


def _complete(rows: list[Values], options: bool) -> None:
    """Put 0 and False where ss left out what is 0 and not so."""
    absent: Values = dict.fromkeys(_ZERO, 0)
    for group in _GROUPS:
        if any(name in row for name in group for row in rows):
            absent.update(dict.fromkeys(group, 0))
    absent["app_limited"] = False
    if options:
        absent.update(dict.fromkeys(TCP_OPTIONS, False))
    for at, row in enumerate(rows):
        if "congestion" in row:
            rows[at] = {**absent, **row}
