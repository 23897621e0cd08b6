"""What the first bytes of a capture say: the pcap header, or what else the bytes look like.

The format is draft-ietf-opsawg-pcap: a magic number that tells byte order and resolution, version, snaplen, linktype.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = [
    "HEADER_SIZE",
    "LINKTYPES",
    "DamageWarning",
    "FormatError",
    "InterpretedWarning",
    "LinktypeWarning",
    "PcapHeader",
    "linktype_name",
    "looks_like",
]

HEADER_SIZE = 24

# Wireshark and libpcap never write records beyond 256 KiB for the linktypes of networks (MAXIMUM_SNAPLEN).
_LARGEST_RECORD = 262_144

LINKTYPES: dict[int, tuple[str, str]] = {
    0: ("NULL", "null"),
    1: ("EN10MB", "ethernet"),
    9: ("PPP", "ppp"),
    12: ("RAW", "raw"),  # DLT_RAW as most systems number it; in files written without translation
    14: ("RAW", "raw"),  # DLT_RAW on OpenBSD
    50: ("PPP_HDLC", "ppp"),
    101: ("RAW", "raw"),
    108: ("LOOP", "loop"),
    113: ("LINUX_SLL", "sll"),
    228: ("IPV4", "raw"),
    229: ("IPV6", "raw"),
    276: ("LINUX_SLL2", "sll2"),
}
"""Linktypes that are dissected: number → (name, which first header the dissector expects)."""

_OTHER_LINKTYPES = {
    51: "PPP_ETHER",
    104: "C_HDLC",
    105: "IEEE802_11",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    189: "USB_LINUX",
    220: "USB_LINUX_MMAPPED",
    239: "NFLOG",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
}

_RECORD_HEADER = 16
_MODIFIED_RECORD_HEADER = 24
_MAGICS: dict[bytes, tuple[str, int, int]] = {
    b"\xd4\xc3\xb2\xa1": ("little", 1000, _RECORD_HEADER),
    b"\xa1\xb2\xc3\xd4": ("big", 1000, _RECORD_HEADER),
    b"\x4d\x3c\xb2\xa1": ("little", 1, _RECORD_HEADER),
    b"\xa1\xb2\x3c\x4d": ("big", 1, _RECORD_HEADER),
    # Alexey Kuznetzov's patched libpcap: more in each record's header.
    b"\x34\xcd\xb2\xa1": ("little", 1000, _MODIFIED_RECORD_HEADER),
    b"\xa1\xb2\xcd\x34": ("big", 1000, _MODIFIED_RECORD_HEADER),
}

_OTHER_FORMATS: tuple[tuple[bytes, str], ...] = (
    (b"BZh", "bzip2-compressed: decompress it first"),
    (b"\xfd7zXZ\x00", "xz-compressed: decompress it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"snoop\x00", "a Solaris snoop capture: convert it with `editcap -F pcap IN OUT`"),
    (b"GMBU", "a Microsoft Network Monitor capture: convert it with `editcap -F pcap IN OUT`"),
    (b"RTSS", "a Microsoft Network Monitor capture: convert it with `editcap -F pcap IN OUT`"),
    (b"\xaa\xaa\xaa\xaa", "an Accellent 5Views capture: convert it with `editcap -F pcap IN OUT`"),
    (b"XCP\x00", "a Sniffer capture: convert it with `editcap -F pcap IN OUT`"),
    (b"TRSNIFF data", "a Sniffer capture: convert it with `editcap -F pcap IN OUT`"),
    (b"ObserverPktBuffe", "a Network Instruments Observer capture: convert it with `editcap -F pcap IN OUT`"),
    (b"\x05VNF", "a Visual Networks capture: convert it with `editcap -F pcap IN OUT`"),
    (b"btsnoop\x00", "a Bluetooth snoop capture, which has no packets of a network"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet file: read it with pandas.read_parquet"),
)


class FormatError(ValueError):
    """The bytes are not a capture that can be read; the message says what they look like."""


class DamageWarning(UserWarning):
    """A capture ends in the middle of a packet or turns into something else; its whole packets were kept."""


class LinktypeWarning(DamageWarning):
    """A capture's link type is not dissected: its packets have time and lengths, and no more."""


class InterpretedWarning(UserWarning):
    """The dissector runs interpreted: right, but slow. Said once in a process."""


@dataclass(frozen=True)
class PcapHeader:
    """The global header of a classic pcap file.

    Parameters
    ----------
    byte_order
        "little" or "big", of the file.
    nanoseconds_per_unit
        What one unit of a record's time fraction is: 1000 (µs) or 1 (ns).
    snaplen
        Most bytes of a packet that the capturing program kept; 0 for no limit.
    linktype
        The LINKTYPE_ number of every packet.
    """

    byte_order: str
    nanoseconds_per_unit: int
    snaplen: int
    linktype: int
    record_header: int = _RECORD_HEADER

    @property
    def format(self) -> str:
        """Which kind of pcap it is."""
        return "pcap" if self.record_header == _RECORD_HEADER else "modified pcap"

    @property
    def resolution(self) -> str:
        """Resolution of the times: "us" or "ns"."""
        return "ns" if self.nanoseconds_per_unit == 1 else "us"

    @property
    def linktype_name(self) -> str:
        """Name of the linktype, as tcpdump.org lists it, else its number."""
        return linktype_name(self.linktype)

    @property
    def link(self) -> str:
        """The first header of every packet, a key of `_dissect.LINKS`."""
        return LINKTYPES[self.linktype][1] if self.linktype in LINKTYPES else "none"

    @property
    def largest_record(self) -> int:
        """Captured bytes beyond which a record is damage: as in libpcap, the snaplen is not trusted to the byte."""
        return max(self.snaplen, _LARGEST_RECORD)

    @classmethod
    def parse(cls, data: bytes, name: str) -> PcapHeader:
        """Read the header.

        Parameters
        ----------
        data
            The first bytes of the capture, `HEADER_SIZE` of them unless it is shorter.
        name
            What to call the capture in an error.

        Raises
        ------
        FormatError
            When this is no pcap header.
        """
        if not data:
            raise FormatError(f"{name} is empty: not even a capture header was written")
        if data[:4] not in _MAGICS:
            raise FormatError(f"{name} is not a capture that is read: it looks like {looks_like(data)}")
        if len(data) < HEADER_SIZE:
            raise FormatError(f"{name} is cut short inside its header: {len(data)} of {HEADER_SIZE} bytes")
        byte_order, unit, record_header = _MAGICS[data[:4]]
        major, minor, _, _, snaplen, linktype = struct.unpack(
            ("<" if byte_order == "little" else ">") + "HHiIII", data[4:HEADER_SIZE]
        )
        if major != 2:  # noqa: PLR2004 - the only version there is
            raise FormatError(f"{name} has pcap version {major}.{minor}, and only 2.x is read")
        # The upper bits say how long the frame check sequence is; a reader of headers needs no more than the type.
        return cls(byte_order, unit, snaplen, linktype & 0x03FF_FFFF, record_header)


def linktype_name(linktype: int) -> str:
    """Return the name of a linktype, as tcpdump.org lists it, else its number."""
    if linktype in LINKTYPES:
        return LINKTYPES[linktype][0]
    return _OTHER_LINKTYPES.get(linktype, str(linktype))


def looks_like(data: bytes) -> str:
    """Say what the first bytes of a file look like."""
    for start, what in _OTHER_FORMATS:
        if data.startswith(start):
            return what
    if not any(data):
        return "zeros"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        # A character cut at the end of what we looked at is still text.
        text = data[: error.start].decode() if error.start > len(data) - 4 else ""
    if text and all(character.isprintable() or character in "\r\n\t" for character in text):
        return f"text ({' '.join(text.split())!r}…)"
    if _looks_like_erf(data):
        return "an ERF capture (Endace): convert it with `editcap -F pcap IN OUT`"
    return f"nothing known (first bytes {data[:8].hex(' ')})"


def _looks_like_erf(data: bytes) -> bool:
    """Say whether the first record's header could be ERF's, which has no magic number."""
    if len(data) < 18:  # noqa: PLR2004 - one record's header and a little
        return False
    kind, size = data[8] & 0x7F, int.from_bytes(data[10:12], "big")
    wire = int.from_bytes(data[14:16], "big")
    seconds = int.from_bytes(data[4:8], "little")
    # Wireshark, erf.h: types, and a header of 16 bytes that is part of the size; times between 1985 and 2038.
    return 0 < kind < 49 and 16 < size <= wire + 32 and wire > 0 and 500_000_000 < seconds < 1 << 31  # noqa: PLR2004
