"""One packet in scapy: which of scapy's layers a link type begins with."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scapy.packet import Packet

__all__ = ["dissected"]

# pcap-linktype(7) numbers them.
_RAW_IP = {12, 14, 101, 228, 229}
_NULL, _LOOP = 0, 108
_PPP = {9, 50}
_CISCO = {b"\x0f\x00", b"\x8f\x00"}  # unicast and multicast: RFC 1547 section 4.3.1
# AF_INET of all systems, AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
_FAMILIES = {2: 4, 10: 6, 24: 6, 28: 6, 30: 6}


def dissected(data: bytes, linktype: int) -> Packet:
    """Return a packet of a link type, dissected by scapy.

    It is `Raw` where scapy does not know the link type, or the first header is not whole.

    Examples
    --------
    >>> from podtracer_nb.analysis.dissection import dissected
    >>> ip = bytes.fromhex("4500001c00010000401100000a0000010a000002 0035d43100080000")
    >>> [dissected(head + ip, linktype)["IP"].src for head, linktype in ((b"", 101), (bytes([0, 0, 0, 2]), 0))]
    ['10.0.0.1', '10.0.0.1']
    """
    from scapy.config import conf
    from scapy.layers import all as _layers  # noqa: F401  registers the link types
    from scapy.packet import Raw

    if not data:
        return Raw()  # scapy makes a packet of defaults of nothing
    if linktype in _RAW_IP:
        return _ip(data)
    if linktype in {_NULL, _LOOP}:
        return _loopback(data, linktype)
    if linktype in _PPP:
        from scapy.contrib.chdlc import CHDLC
        from scapy.layers.ppp import PPP

        # scapy's PPP tells by itself whether HDLC's address and control are ahead.
        return _layer(CHDLC if data[:2] in _CISCO else PPP, data)
    return _layer(conf.l2types.num2layer.get(linktype, Raw), data)


def _layer(layer: type[Packet], data: bytes) -> Packet:
    """Return a layer and those above it; `Raw` where its header is cut short, as scapy does of those above."""
    from scapy.packet import Raw

    try:
        return layer(data)
    except struct.error:
        return Raw(data)


def _ip(data: bytes) -> Packet:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    return _layer(IPv6 if data[0] >> 4 == 6 else IP, data)  # noqa: PLR2004  the version nibble


def _loopback(data: bytes, linktype: int) -> Packet:
    """Return a packet behind an address family: of whatever system, and in its byte order where that is NULL."""
    from scapy.layers.l2 import Loopback, LoopbackOpenBSD

    head, rest = data[:4], data[4:]
    little = linktype == _NULL and _FAMILIES.get(int.from_bytes(head, "little")) is not None
    layer = Loopback if little else LoopbackOpenBSD  # whose family is in network byte order
    version = _FAMILIES.get(int.from_bytes(head, "little" if little else "big"))
    if not rest or version is None or rest[0] >> 4 != version:
        return _layer(layer, data)
    return layer(head) / _ip(rest)
