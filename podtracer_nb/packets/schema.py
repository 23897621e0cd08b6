"""The packet table, written once: every column's name, dtype, unit, Wireshark field and meaning.

The reader builds its frames from this table, the tests compare each column with the Wireshark field named here, and
documentation prints it. A field that a packet lacks is NA; a header that is not there leaves its columns NA.

`src`, `dst`, ports and all else belong to the outermost IP header; MPLS labels and PPPoE are passed over to it.

Of several SACK blocks `tcp_sack_left` and `tcp_sack_right` have the first; `df.podtrace.sack()` has them all.

`COLUMNS` are what a frame has by default. `LAYERS` are columns that are read only where they are asked for, so that
they cost nothing where they are not: `read(path, layers=["tunnel", "tls"])`, or single ones by `columns=`. The layer
tunnel says what is inside a tunnel (IP in IP, GRE, VXLAN, GENEVE), down to the innermost packet, and what an ICMP
error quotes. With `decap=True` it is the other way round: all columns describe the packet inside, and `outer_src` and
its like (`DECAPSULATED`) the outermost header.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["COLUMNS", "DECAPSULATED", "INDEX", "LAYERS", "Column", "chosen", "column"]

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
    Column("sport", "UInt16", "", "tcp.srcport udp.srcport sctp.srcport", "source port; only a first fragment has it"),
    Column("dport", "UInt16", "", "tcp.dstport udp.dstport sctp.dstport", "destination port"),
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

_INSIDE = "innermost packet in a tunnel, or quoted by an ICMP error: "
_TEXT = ", cut to 255 bytes"

LAYERS: dict[str, tuple[Column, ...]] = {
    "tunnel": (
        Column("tunnel", "category", "", "", "outermost tunnel: IP, GRE, VXLAN, GENEVE; ICMP error where one quotes"),
        Column("vni", "UInt32", "", "vxlan.vni geneve.vni gre.key", "its virtual network: VNI, or GRE's key"),
        Column("inner_src", "category", "", "", _INSIDE + "source address"),
        Column("inner_dst", "category", "", "", _INSIDE + "destination address"),
        Column("inner_proto", "category", "", "", _INSIDE + "protocol, as `proto`"),
        Column("inner_sport", "UInt16", "", "", _INSIDE + "source port"),
        Column("inner_dport", "UInt16", "", "", _INSIDE + "destination port"),
    ),
    "label": (
        Column("mpls_label", "UInt32", "", "mpls.label", "outermost MPLS label"),
        Column("pppoe_session", "UInt16", "", "pppoe.session_id", "PPPoE session"),
    ),
    "transport": (
        Column("sctp_vtag", "UInt32", "", "sctp.verification_tag", "SCTP verification tag"),
        Column("igmp_type", "UInt8", "", "igmp.type", "IGMP type"),
        Column("igmp_group", "category", "", "igmp.maddr", "IGMP group; a version 3 report has several, and none here"),
    ),
    "tls": (
        Column(
            "tls_type", "category", "", "tls.handshake.type", "ClientHello or ServerHello, where it starts a segment"
        ),
        Column("tls_version", "category", "", "", "newest version offered, or the one chosen"),
        Column("tls_sni", "category", "", "tls.handshake.extensions_server_name", "server name asked for" + _TEXT),
        Column("tls_alpn", "category", "", "tls.handshake.extensions_alpn_str", "first application protocol" + _TEXT),
        Column("tls_cipher", "UInt16", "", "tls.handshake.ciphersuite", "cipher suite chosen (ServerHello)"),
    ),
    "http": (
        Column("http_method", "category", "", "http.request.method", "HTTP/1 request: method"),
        Column("http_uri", "category", "", "http.request.uri", "HTTP/1 request: target" + _TEXT),
        Column("http_host", "category", "", "http.host", "HTTP/1 request: Host" + _TEXT),
        Column("http_status", "UInt16", "", "http.response.code", "HTTP/1 response: status"),
    ),
    "dns": (Column("dns_offset", "UInt16", "bytes", "", "where in the packet its DNS message starts"),),
    "quic": (
        Column("quic_version", "UInt32", "", "quic.version", "version in a long header; 0: version negotiation"),
        Column("quic_dcid", "category", "", "quic.dcid", "destination connection id of a long header, in hex"),
        Column("quic_scid", "category", "", "quic.scid", "source connection id of a long header, in hex"),
    ),
}
"""Columns that are read only where they are asked for, by the name of the layer."""

DECAPSULATED = {
    name: name.replace("inner", "outer")
    for name in ("inner_src", "inner_dst", "inner_proto", "inner_sport", "inner_dport")
}
"""What columns of the layer tunnel are called with `decap=True`."""

COMMENT = Column("comment", "str", "", "frame.comment", "comments in a pcapng capture; there only where there are any")

_BY_NAME = {
    entry.name: entry for entry in (*COLUMNS, *(entry for layer in LAYERS.values() for entry in layer), COMMENT)
}


def chosen(columns: Iterable[str] | None, layers: Iterable[str] | None) -> tuple[Column, ...]:
    """Return the columns asked for, in the order of the schema.

    Parameters
    ----------
    columns
        Names of columns; None for `COLUMNS`.
    layers
        Names of `LAYERS`, added to them.

    Raises
    ------
    ValueError
        There is no such column or layer.

    Examples
    --------
    >>> from podtracer_nb.packets import schema
    >>> [column.name for column in schema.chosen(["dst", "src", "tls_sni"], ["label"])]
    ['src', 'dst', 'mpls_label', 'pppoe_session', 'tls_sni']
    """
    if isinstance(columns, str) or isinstance(layers, str):
        raise ValueError("columns and layers are lists of names, not one string")
    undone = {v: k for k, v in DECAPSULATED.items()}
    names = {entry.name for entry in COLUMNS} if columns is None else {undone.get(name, name) for name in columns}
    for layer in layers or ():
        if layer not in LAYERS:
            raise ValueError(f"there is no layer {layer!r}, but {', '.join(LAYERS)}")
        names |= {entry.name for entry in LAYERS[layer]}
    unknown = names - set(_BY_NAME)
    if unknown:
        close = difflib.get_close_matches(min(unknown), _BY_NAME, 1)
        raise ValueError(f"there is no column {min(unknown)!r}" + (f": {close[0]!r}?" if close else ""))
    return tuple(entry for name, entry in _BY_NAME.items() if name in names)


def column(name: str) -> Column:
    """Return the description of one column.

    Raises
    ------
    KeyError
        When there is no column of that name.
    """
    return _BY_NAME[name]
