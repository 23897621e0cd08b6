"""Small vocabularies: the words that stand in `proto`, `tcp_flags`, `dns_qtype` and their like.

Numbers and keywords are those of the IANA registries (Protocol Numbers, ARP Parameters, DNS Parameters).
"""

from __future__ import annotations

__all__ = ["word"]

_IP_PROTOCOLS = {
    0: "HOPOPT",
    1: "ICMP",
    2: "IGMP",
    4: "IPv4",
    6: "TCP",
    8: "EGP",
    17: "UDP",
    27: "RDP",
    33: "DCCP",
    41: "IPv6",
    43: "IPv6-Route",
    44: "IPv6-Frag",
    46: "RSVP",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "ICMPv6",
    59: "IPv6-NoNxt",
    60: "IPv6-Opts",
    88: "EIGRP",
    89: "OSPF",
    94: "IPIP",
    97: "ETHERIP",
    103: "PIM",
    108: "IPComp",
    112: "VRRP",
    115: "L2TP",
    132: "SCTP",
    135: "Mobility",
    136: "UDPLite",
    137: "MPLS-in-IP",
    139: "HIP",
    140: "Shim6",
}

_LINK_PROTOCOLS = {
    256: "ARP",
    257: "RARP",
    258: "LLDP",
    259: "LLC",
    260: "EAPOL",
    261: "MPLS",
    262: "PPPoE",
    263: "PPP",
}

_TCP_FLAGS = "FSRPAUECN"

_FRAGMENTS = ("first", "middle", "last")

_ARP_OPERATIONS = {
    1: "request",
    2: "reply",
    3: "reverse request",
    4: "reverse reply",
    8: "inverse request",
    9: "inverse reply",
    26: "other",
}

_RCODES = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    11: "DSOTYPENI",
}

_QTYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    10: "NULL",
    12: "PTR",
    13: "HINFO",
    15: "MX",
    16: "TXT",
    17: "RP",
    18: "AFSDB",
    24: "SIG",
    25: "KEY",
    28: "AAAA",
    29: "LOC",
    33: "SRV",
    35: "NAPTR",
    36: "KX",
    37: "CERT",
    39: "DNAME",
    41: "OPT",
    42: "APL",
    43: "DS",
    44: "SSHFP",
    45: "IPSECKEY",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    49: "DHCID",
    50: "NSEC3",
    51: "NSEC3PARAM",
    52: "TLSA",
    53: "SMIMEA",
    55: "HIP",
    59: "CDS",
    60: "CDNSKEY",
    61: "OPENPGPKEY",
    62: "CSYNC",
    63: "ZONEMD",
    64: "SVCB",
    65: "HTTPS",
    99: "SPF",
    108: "EUI48",
    109: "EUI64",
    249: "TKEY",
    250: "TSIG",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
    256: "URI",
    257: "CAA",
}

_TUNNELS = ("IP", "GRE", "VXLAN", "GENEVE", "ICMP error")

_TLS_TYPES = {1: "ClientHello", 2: "ServerHello"}

_TLS_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}

_ERRORS = (
    "truncated",
    "malformed record",
    "malformed Ethernet",
    "malformed cooked header",
    "malformed VLAN",
    "malformed ARP",
    "malformed IP",
    "malformed IPv4",
    "malformed IPv6",
    "malformed TCP",
    "malformed UDP",
    "malformed ICMP",
    "malformed DNS",
    "unsupported link type",
    "malformed PPP",
    "malformed loopback header",
    "malformed MPLS",
    "malformed PPPoE",
    "malformed SCTP",
    "malformed tunnel",
)


def word(vocabulary: str, number: int) -> str:
    """Return the word for a number.

    Parameters
    ----------
    vocabulary
        The column that it stands in.
    number
        As the packet has it; for `proto` 256 and above are protocols without IP, for `tcp_flags` the flag bits.

    Examples
    --------
    >>> from podtracer_nb.packets.words import word
    >>> word("tcp_flags", 0x12), word("dns_qtype", 28), word("dns_qtype", 65280)
    ('SA', 'AAAA', 'TYPE65280')
    """
    if vocabulary == "tcp_flags":
        return "".join(letter for bit, letter in enumerate(_TCP_FLAGS) if number >> bit & 1)
    if vocabulary in {"proto", "inner_proto", "outer_proto"}:
        return _LINK_PROTOCOLS.get(number) or _IP_PROTOCOLS.get(number, f"IP-{number}")
    if vocabulary == "dns_qtype":
        return _QTYPES.get(number, f"TYPE{number}")  # RFC 3597 section 5
    if vocabulary == "dns_rcode":
        return _RCODES.get(number, f"RCODE{number}")
    if vocabulary == "arp_op":
        return _ARP_OPERATIONS.get(number, f"operation {number}")
    if vocabulary == "ip_frag":
        return _FRAGMENTS[number]
    if vocabulary == "tunnel":
        return _TUNNELS[number]
    if vocabulary == "tls_type":
        return _TLS_TYPES[number]
    if vocabulary == "tls_version":
        return _TLS_VERSIONS.get(number, f"0x{number:04x}")
    return _ERRORS[number]
