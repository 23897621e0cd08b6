"""What is known of a capture, and how its damage is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from podtracer_nb.packets.capture_format import LINKTYPES, PcapHeader, linktype_name
from podtracer_nb.packets.pcapng import PcapngFormat

__all__ = ["damage", "header_info", "leftover", "linktypes", "named", "undissected"]

_RECORD_HEADER = 16

Header = PcapHeader | PcapngFormat | None


def header_info(header: Header) -> dict[str, Any]:
    """Return what a capture's header says: see `Reader.capture_info`.

    Examples
    --------
    >>> from podtracer_nb.packets import provenance
    >>> provenance.header_info(None)["linktype"]
    """
    if isinstance(header, PcapngFormat):
        return header.info()
    return {
        "format": header.format if header else None,
        "linktype": header.linktype if header else None,
        "linktype_name": header.linktype_name if header else None,
        "snaplen": header.snaplen if header else None,
        "resolution": header.resolution if header else None,
        "byte_order": header.byte_order if header else None,
    }


def linktypes(header: Header) -> list[int]:
    """Return the link types of a capture's interfaces so far."""
    if isinstance(header, PcapngFormat):
        return [each.linktype for each in header.all_interfaces]
    return [header.linktype] if header else []


def undissected(info: Mapping[str, Any]) -> str:
    """Name the link types of a capture that are not dissected, with their numbers; empty where all are.

    Parameters
    ----------
    info
        What `Reader.capture_info` returned.

    Examples
    --------
    >>> from podtracer_nb.packets import provenance
    >>> provenance.undissected({"linktype": 105}), provenance.undissected({"linktype": 1})
    ('IEEE802_11 (105)', '')
    """
    headers = [each for file in info.get("files", [info]) for each in file.get("interfaces", [file])]
    return named({each["linktype"] for each in headers if each.get("linktype") is not None} - set(LINKTYPES))


def named(linktypes: Collection[int]) -> str:
    """Return link types by name and number; of one that has no name here, the number."""
    names = ((linktype_name(number), str(number)) for number in sorted(linktypes))
    return ", ".join(number if name == number else f"{name} ({number})" for name, number in names)


def leftover(header: Header, left: int) -> str | None:
    """Say what is wrong with so many bytes that are left at a capture's end, if any are.

    Examples
    --------
    >>> from podtracer_nb.packets import provenance
    >>> provenance.leftover(None, 7)
    'the last record is cut short inside its header: 7 of 16 bytes'
    """
    if left == 0:
        return None
    if isinstance(header, PcapngFormat):
        return f"the last block is cut short: {left} bytes of it are there"
    size = header.record_header if header else _RECORD_HEADER
    if left < size:
        return f"the last record is cut short inside its header: {left} of {size} bytes"
    return f"the last record is cut short: {left - size} bytes of its packet are there"


def damage(offset: int, reason: str | None, gaps: list[dict[str, Any]], packets: int) -> tuple[dict[str, Any], str]:
    """Return what is known of a capture's damage, and say what was kept.

    Parameters
    ----------
    offset, reason
        Where reading ended, and why, if that was not the capture's end.
    gaps
        What was passed over before.
    packets
        How many were read.

    Examples
    --------
    >>> from podtracer_nb.packets import provenance
    >>> provenance.damage(24, "zeros follow", [], 0)
    ({'offset': 24, 'reason': 'zeros follow'}, 'the 0 whole packets before it were kept')
    """
    if not gaps:
        return {"offset": offset, "reason": reason}, f"the {packets} whole packets before it were kept"
    lost = sum(gap["until"] - gap["offset"] for gap in gaps)
    places = "one place" if len(gaps) == 1 else f"{len(gaps)} places"
    kept = f"reading went on after {lost} bytes in {places}, and kept {packets} packets"
    if reason is not None:
        kept += f", up to byte {offset}: {reason}"
    return {"offset": gaps[0]["offset"], "reason": gaps[0]["reason"], "gaps": gaps}, kept
