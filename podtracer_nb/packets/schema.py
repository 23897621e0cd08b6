"""The packet table, written once: every column's name, dtype, unit, Wireshark field and meaning.

The reader builds its frames from this table, the tests compare each column with the Wireshark field named here, and
documentation prints it. A field that a packet lacks is NA; a header that is not there leaves its columns NA.

Tunnels are not opened: `src`, `dst`, ports and all else belong to the outermost IP header.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLUMNS", "INDEX", "Column", "column"]

INDEX = "frame"
"""Name of the index: the packet's number in its capture, from 1."""


@dataclass(frozen=True)
class Column:
    """One column of the packet table.

    Parameters
    ----------
    name
        The column's name.
    dtype
        The pandas dtype, as pandas spells it. Capitalised integers are nullable.
    unit
        The unit of the values, empty where they have none.
    wireshark
        Wireshark's name of the field, several parted by spaces where the packet decides which, empty where none.
    meaning
        What the value says, in a line.

    Examples
    --------
    >>> from podtracer_nb.packets import schema
    >>> schema.column("tcp_seq").wireshark
    'tcp.seq_raw'
    """

    name: str
    dtype: str
    unit: str
    wireshark: str
    meaning: str


COLUMNS: tuple[Column, ...] = (
    Column("time", "datetime64[ns, UTC]", "", "frame.time_epoch", "when the packet was captured"),
    Column("length", "uint32", "bytes", "frame.len", "size on the wire"),
    Column("caplen", "uint32", "bytes", "frame.cap_len", "size in the capture"),
    Column("offset", "int64", "bytes", "", "where the packet's bytes start in the capture file"),
    Column("interface", "category", "", "sll.ifindex", "interface: its name, or number where it has none"),
    Column("eth_src", "category", "", "eth.src sll.src.eth", "source MAC address"),
    Column("eth_dst", "category", "", "eth.dst", "destination MAC address; cooked captures have none"),
    Column(
        "ethertype",
        "UInt16",
        "",
        "eth.type vlan.etype sll.etype chdlc.protocol",
        "EtherType of the payload, after any VLAN tag",
    ),
    Column("vlan", "UInt16", "", "ieee8021ad.id vlan.id", "VLAN id of the outermost 802.1Q or 802.1ad tag"),
    Column("src", "category", "", "ip.src ipv6.src arp.src.proto_ipv4", "source address: IPv4, IPv6, ARP sender"),
    Column("dst", "category", "", "ip.dst ipv6.dst arp.dst.proto_ipv4", "destination address: IPv4, IPv6, ARP target"),
    Column("proto", "category", "", "ip.proto ipv6.nxt", "protocol above IP by its IANA keyword, or ARP, LLDP, LLC, …"),
    Column("ip_version", "UInt8", "", "ip.version ipv6.version", "4 or 6"),
    Column("ip_ttl", "UInt8", "hops", "ip.ttl ipv6.hlim", "time to live, or hop limit"),
    Column("ip_id", "UInt16", "", "ip.id", "IPv4 identification"),
    Column("ip_frag", "category", "", "", "first, middle or last fragment; NA where the packet is whole"),
    Column("sport", "UInt16", "", "tcp.srcport udp.srcport", "source port; a fragment after the first has none"),
    Column("dport", "UInt16", "", "tcp.dstport udp.dstport", "destination port"),
    Column("payload_length", "UInt32", "bytes", "tcp.len udp.length", "bytes after the TCP or UDP header, on the wire"),
    Column("tcp_flags", "category", "", "tcp.flags", "letters of FSRPAUECN: 'S', 'SA', 'PA', …; '' where none is set"),
    Column("tcp_seq", "UInt32", "", "tcp.seq_raw", "sequence number, as sent"),
    Column("tcp_ack", "UInt32", "", "tcp.ack_raw", "acknowledgment number, as sent"),
    Column("tcp_window", "UInt16", "", "tcp.window_size_value", "window, not scaled"),
    Column("tcp_mss", "UInt16", "bytes", "tcp.options.mss_val", "maximum segment size option"),
    Column("tcp_wscale", "UInt8", "bits", "tcp.options.wscale.shift", "window scale option: the shift"),
    Column("tcp_tsval", "UInt32", "", "tcp.options.timestamp.tsval", "timestamps option: the sender's clock"),
    Column("tcp_tsecr", "UInt32", "", "tcp.options.timestamp.tsecr", "timestamps option: the clock echoed"),
    Column("tcp_sack_left", "UInt32", "", "tcp.options.sack_le", "SACK option: left edge of its first block"),
    Column("tcp_sack_right", "UInt32", "", "tcp.options.sack_re", "SACK option: right edge of its first block"),
    Column("arp_op", "category", "", "arp.opcode", "ARP operation: request, reply, …"),
    Column("icmp_type", "UInt8", "", "icmp.type icmpv6.type", "ICMP or ICMPv6 type"),
    Column("icmp_code", "UInt8", "", "icmp.code icmpv6.code", "ICMP or ICMPv6 code"),
    Column("dns_id", "UInt16", "", "dns.id", "DNS transaction id"),
    Column("dns_qname", "category", "", "dns.qry.name", "first question's name, no trailing dot, \\DDD escapes"),
    Column("dns_qtype", "category", "", "dns.qry.type", "first question's type: A, AAAA, …, or TYPEn"),
    Column("dns_rcode", "category", "", "dns.flags.rcode", "response code: NOERROR, NXDOMAIN, …; NA in a query"),
    Column("dns_response", "boolean", "", "dns.flags.response", "True in a response, False in a query"),
    Column("error", "category", "", "", "why dissection stopped: truncated (by the snaplen), malformed TCP, …"),
)
"""The columns in the order they have in a frame."""

_BY_NAME = {entry.name: entry for entry in COLUMNS}


def column(name: str) -> Column:
    """Return the description of one column.

    Raises
    ------
    KeyError
        When there is no column of that name.
    """
    return _BY_NAME[name]
