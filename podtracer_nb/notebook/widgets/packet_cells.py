"""What a packet list's cells say, and how its rows are marked, in the words and colours of Wireshark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["MARKS", "info", "marks", "repeated", "texts"]

MARKS = ("other", "tcp", "udp", "dns", "http", "tls", "arp", "icmp", "opening", "reset", "repeated", "error")
"""What a row can be marked as; a page tells each row's by its number here."""

_NUMBER = {name: number for number, name in enumerate(MARKS)}

_LETTERS = {
    "F": "FIN", "S": "SYN", "R": "RST", "P": "PSH", "A": "ACK", "U": "URG", "E": "ECE", "C": "CWR", "N": "NS",
}  # fmt: skip
# RFC 792 and IANA's "ICMP Type Numbers".
_ICMP = {
    0: "Echo reply", 3: "Destination unreachable", 4: "Source quench", 5: "Redirect", 8: "Echo request",
    9: "Router advertisement", 10: "Router solicitation", 11: "Time exceeded", 12: "Parameter problem",
    13: "Timestamp", 14: "Timestamp reply",
}  # fmt: skip
_UNREACHABLE = {
    0: "network", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 9: "network prohibited",
    10: "host prohibited", 13: "prohibited by a filter",
}  # fmt: skip
# RFC 4443 and 4861, and IANA's "ICMPv6 Parameters".
_ICMPV6 = {
    1: "Destination unreachable", 2: "Packet too big", 3: "Time exceeded", 4: "Parameter problem", 128: "Echo request",
    129: "Echo reply", 130: "Multicast listener query", 131: "Multicast listener report", 133: "Router solicitation",
    134: "Router advertisement", 135: "Neighbor solicitation", 136: "Neighbor advertisement", 137: "Redirect",
    143: "Multicast listener report v2",
}  # fmt: skip
_HTTP_PORTS = frozenset({80, 8000, 8080})
_TLS_PORTS = frozenset({443, 6443, 8443, 10250})
_NEEDED_BY_INFO = (
    "src", "dst", "proto", "sport", "dport", "payload_length", "tcp_flags", "tcp_seq", "tcp_ack", "tcp_window",
    "tcp_mss", "arp_op", "eth_src", "icmp_type", "icmp_code", "dns_id", "dns_qname", "dns_qtype", "dns_rcode",
    "dns_response", "ip_frag", "error", "tls_type", "tls_sni", "http_method", "http_uri", "http_status",
)  # fmt: skip
_RETRY_BLOCK = 0x9E3779B97F4A7C15  # an odd number spreads bits when it multiplies (Knuth, TAOCP 3, 6.4)


def texts(
    page: pd.DataFrame, name: str, *, start: pd.Timestamp | None = None, names: Mapping[str, str] | None = None
) -> list[str]:
    """Return what the cells of one column say.

    Parameters
    ----------
    page
        The rows.
    name
        A column of the frame, or `frame` (the index), `seconds` (since `start`), `info`.
    start
        When the first packet was.
    names
        Names to be shown in place of addresses.

    Examples
    --------
    >>> page = pd.DataFrame({"dport": pd.array([80, None], "UInt16")})
    >>> texts(page, "dport")
    ['80', '']
    """
    if name not in page.columns:
        if name == "seconds":
            return _seconds(page["time"], start)
        if name == "info":
            return info(page)
        return [str(label) for label in page.index]
    values = page[name]
    if values.dtype.kind == "M":
        return ["" if pd.isna(each) else _clock(each) for each in values]
    listed = values.astype(object).tolist()
    if names and name.endswith(("src", "dst")):
        return ["" if pd.isna(each) else names.get(each, str(each)) for each in listed]
    return ["" if each is None or each is pd.NA or each != each else str(each) for each in listed]  # noqa: PLR0124  NaN


def _clock(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond:06d}{time.nanosecond:03d}".removesuffix("000")


def _seconds(times: pd.Series[Any], start: pd.Timestamp | None) -> list[str]:
    """Return seconds since the start with the digits of a microsecond, or of a nanosecond where there are some."""
    if start is None:
        return ["" for _ in times]
    gone = (times - start).astype("timedelta64[ns]").astype("int64").to_numpy()
    without = times.isna().to_numpy()
    digits = 9 if (gone[~without] % 1000).any() else 6
    found = []
    for nanoseconds, missing in zip(gone.tolist(), without.tolist(), strict=True):
        sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
        found.append("" if missing else f"{sign}{rest // 10**9}.{f'{rest % 10**9:09d}'[:digits]}")
    return found


def info(page: pd.DataFrame) -> list[str]:
    """Return a line about each packet: what Wireshark says in its last column, as far as the columns tell.

    Examples
    --------
    >>> page = pd.DataFrame({"proto": ["TCP"], "sport": [40000], "dport": [80], "tcp_flags": ["SA"],
    ...     "payload_length": [0]})
    >>> info(page)
    ['40000 → 80 [SYN, ACK] Len=0']
    """
    return [_line(packet) for packet in _packets(page, _NEEDED_BY_INFO)]


def _packets(page: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows as dicts that have only what is there."""
    found: list[dict[str, Any]] = [{} for _ in range(len(page))]
    for name in names:
        if name in page.columns:
            rows = np.flatnonzero(page[name].notna().to_numpy())
            values = page[name].to_numpy(object)[rows].tolist()
            for row, value in zip(rows.tolist(), values, strict=True):
                found[row][name] = value
    return found


def _line(packet: Mapping[str, Any]) -> str:
    kind = packet.get("proto")
    parts = [f"[{packet['error']}]"] if "error" in packet else []
    if "ip_frag" in packet:
        parts.append(f"[{packet['ip_frag']} fragment]")
    if "dns_id" in packet:
        parts.append(_dns(packet))
    elif kind == "ARP":
        parts.append(_arp(packet))
    elif kind in ("ICMP", "ICMPv6") and "icmp_type" in packet:
        parts.append(_icmp(packet, kind))
    elif "sport" in packet and "dport" in packet:
        parts.append(_ports(packet))
    return " ".join(parts)


def _ports(packet: Mapping[str, Any]) -> str:
    parts = [f"{packet['sport']} → {packet['dport']}"]
    if "tcp_flags" in packet:
        parts.append(f"[{', '.join(_LETTERS[each] for each in packet['tcp_flags'] if each in _LETTERS)}]")
    for name, short in (
        ("tcp_seq", "Seq"),
        ("tcp_ack", "Ack"),
        ("tcp_window", "Win"),
        ("payload_length", "Len"),
        ("tcp_mss", "MSS"),
    ):
        if name in packet and not (name == "tcp_ack" and "A" not in packet["tcp_flags"]):
            parts.append(f"{short}={packet[name]}")
    if "http_method" in packet:
        parts.append(f"{packet['http_method']} {packet.get('http_uri', '')}")
    if "http_status" in packet:
        parts.append(f"HTTP {packet['http_status']}")
    if "tls_type" in packet:
        parts.append(f"{packet['tls_type']} {packet.get('tls_sni', '')}".rstrip())
    return " ".join(parts)


def _dns(packet: Mapping[str, Any]) -> str:
    kind = "response" if packet.get("dns_response") else "query"
    words = [kind, f"0x{packet['dns_id']:04x}", packet.get("dns_rcode"), packet.get("dns_qtype")]
    return " ".join(str(word) for word in (*words, packet.get("dns_qname")) if word is not None)


def _arp(packet: Mapping[str, Any]) -> str:
    source, other = packet.get("src", "?"), packet.get("dst", "?")
    if packet.get("arp_op") == "request":
        return f"Who has {other}? Tell {source}"
    if packet.get("arp_op") == "reply":
        return f"{source} is at {packet.get('eth_src', '?')}"
    return str(packet.get("arp_op", ""))


def _icmp(packet: Mapping[str, Any], kind: str) -> str:
    number, code = int(packet["icmp_type"]), int(packet.get("icmp_code", 0))
    name = (_ICMP if kind == "ICMP" else _ICMPV6).get(number, f"type {number}")
    if kind == "ICMP" and number == 3:  # noqa: PLR2004  RFC 792: destination unreachable
        return f"{name} ({_UNREACHABLE.get(code, f'code {code}')})"
    return name if code == 0 else f"{name} (code {code})"


def marks(page: pd.DataFrame, again: npt.NDArray[np.bool_] | None = None) -> list[int]:
    """Return what each row is marked as, by its number in `MARKS`.

    Parameters
    ----------
    page
        The rows.
    again
        Which of them repeat an earlier segment: see `repeated`.
    """
    names = ("proto", "sport", "dport", "tcp_flags", "dns_id", "error", "http_method", "http_status", "tls_type")
    found = [_NUMBER[_mark(packet)] for packet in _packets(page, names)]
    if again is not None:
        for row in np.flatnonzero(again).tolist():
            if found[row] not in (_NUMBER["error"], _NUMBER["reset"]):
                found[row] = _NUMBER["repeated"]
    return found


def _mark(packet: Mapping[str, Any]) -> str:  # noqa: PLR0911  a mark a return
    flags, kind = str(packet.get("tcp_flags", "")), packet.get("proto")
    if "error" in packet:
        return "error"
    if "R" in flags:
        return "reset"
    if "dns_id" in packet:
        return "dns"
    ports = {packet.get("sport"), packet.get("dport")}
    if kind == "TCP":
        if "S" in flags or "F" in flags:
            return "opening"
        if "tls_type" in packet or ports & _TLS_PORTS:
            return "tls"
        return "http" if "http_method" in packet or "http_status" in packet or ports & _HTTP_PORTS else "tcp"
    return {"UDP": "udp", "ARP": "arp", "ICMP": "icmp", "ICMPv6": "icmp"}.get(str(kind), "other")


def repeated(packets: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which TCP segments carry what an earlier one of these rows carried: retransmissions, as far as rows tell.

    Same ends, same sequence number, same size, and something in it: data, SYN or FIN. Two packets that only look alike
    by the 64 bits compared are not to be expected below billions.

    Examples
    --------
    >>> segment = {"src": "a", "dst": "b", "sport": 1, "dport": 2, "tcp_seq": 7, "payload_length": 5, "tcp_flags": "PA"}
    >>> repeated(pd.DataFrame([segment, segment]).astype({"src": "category", "dst": "category"})).tolist()
    [False, True]
    """
    found = np.zeros(len(packets), bool)
    needed = ("src", "dst", "sport", "dport", "tcp_seq", "payload_length", "tcp_flags")
    if not set(needed) <= set(packets.columns):
        return found
    flags = packets["tcp_flags"]
    if not isinstance(flags.dtype, pd.CategoricalDtype):
        flags = flags.astype("category")
    takes = np.array([("S" in each or "F" in each) for each in flags.cat.categories] + [False], bool)
    payload = packets["payload_length"].to_numpy(np.int64, na_value=0)
    codes = flags.cat.codes.to_numpy()
    rows = np.flatnonzero((codes >= 0) & ((payload > 0) | takes[codes]))
    key = np.zeros(len(rows), np.uint64)
    for name in ("src", "dst", "sport", "dport", "tcp_seq", "payload_length", "target"):
        if name not in packets.columns:
            continue
        values = packets[name]
        numbers = (
            values.cat.codes.to_numpy()
            if isinstance(values.dtype, pd.CategoricalDtype)
            else values.to_numpy(np.int64, na_value=-1)
        )[rows].astype(np.int64)
        key = (key ^ numbers.view(np.uint64)) * np.uint64(_RETRY_BLOCK)
        key ^= key >> np.uint64(29)
    found[rows] = pd.Series(key).duplicated().to_numpy()
    return found
