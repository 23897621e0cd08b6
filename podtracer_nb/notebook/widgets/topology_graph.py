"""Who talks to whom: hosts on a circle, joined by lines as thick as what they said to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd

from podtracer_nb.analysis import conversations
from podtracer_nb.errors import InputError
from podtracer_nb.notebook.display import quantity, size
from podtracer_nb.notebook.widgets import svg
from podtracer_nb.notebook.widgets.host_names import Names, host_names, hosts_of

__all__ = ["Topology", "topology"]

_MOST_HOSTS = 36
_MOST_LINES = 300
_WIDTH, _HEIGHT, _RADIUS = 760.0, 700.0, 170.0
_MARKS = {"TCP": "tcp", "UDP": "udp", "ARP": "arp", "ICMP": "icmp", "ICMPv6": "icmp"}


@dataclass(frozen=True)
class Topology:
    """A drawing of who talks to whom; see `topology`.

    Attributes
    ----------
    df
        A row a pair of hosts and protocol: `a`, `b`, `proto`, `packets`, `bytes`; those with most bytes first.
    svg
        The drawing, whole in itself.
    """

    df: pd.DataFrame
    svg: str
    summary: str

    def __repr__(self) -> str:
        """Return who said most to whom, as text."""
        lines = [self.summary]
        for a, b, proto, packets, octets in list(self.df.itertuples(index=False))[:15]:
            lines.append(f"{a} — {b}  {proto}  {quantity(int(packets), 'packet')}, {size(int(octets))}")
        if len(self.df) > 15:  # noqa: PLR2004  as above
            lines.append(f"… {len(self.df) - 15:,} more")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Return the drawing and the text."""
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}


def topology(frame: pd.DataFrame, *, names: Names = None) -> Topology:
    """Draw who talks to whom: hosts on a circle, those of the pairs with most bytes, and a line a pair and protocol.

    Parameters
    ----------
    frame
        Packets: what `df.podtrace.conversations` needs.
    names
        Names to be shown in place of addresses: a dict, or what `podtracer_nb.pods` returns. Several addresses of one
        name are one host.

    Returns
    -------
    Topology
        Shown where it is a cell's value; `.df` has what is drawn, and what is not for want of room.

    Raises
    ------
    InputError
        The frame is none of packets, or none of them has an address.

    Examples
    --------
    >>> frame = pd.DataFrame({"time": pd.to_datetime([0, 1], unit="s", utc=True), "length": [60, 90],
    ...     "src": pd.Categorical(["a", "b"]), "dst": pd.Categorical(["b", "a"], categories=["a", "b"]),
    ...     "sport": pd.array([1, 2], "UInt16"), "dport": pd.array([2, 1], "UInt16"),
    ...     "proto": pd.Categorical(["UDP", "UDP"])})
    >>> print(topology(frame))
    2 hosts, 1 pair, 150 B
    a — b  UDP  2 packets, 150 B
    """
    pairs = _pairs(conversations(frame), host_names(names))
    if pairs.empty:
        raise InputError("no packet of this frame has an address, so there is nothing to draw")
    totals = pd.concat([pairs.groupby("a")["bytes"].sum(), pairs.groupby("b")["bytes"].sum()]).groupby(level=0).sum()
    hosts = hosts_of(zip(pairs["a"], pairs["b"], strict=True), _MOST_HOSTS)
    drawn = pairs[pairs["a"].isin(hosts) & pairs["b"].isin(hosts)].head(_MOST_LINES)
    joined = len(pairs[["a", "b"]].drop_duplicates())
    summary = f"{quantity(len(totals), 'host')}, {quantity(joined, 'pair')}, {size(int(pairs['bytes'].sum()))}"
    if len(hosts) < len(totals) or len(drawn) < len(pairs):
        share = float(drawn["bytes"].sum() / max(1, pairs["bytes"].sum()))
        summary += f"; drawn are the {len(hosts)} hosts of the busiest pairs and {share:.0%} of all bytes"
    return Topology(pairs, _draw(drawn, totals.to_dict(), _order(drawn, hosts), summary), summary)


def _pairs(talks: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    a, b = talks["a"].astype("str").replace(names), talks["b"].astype("str").replace(names)
    turned = (a > b).to_numpy(bool)
    table = pd.DataFrame(
        {
            "a": np.where(turned, b, a),
            "b": np.where(turned, a, b),
            "proto": talks["proto"].astype("str").fillna("").to_numpy(),
            "packets": (talks["packets_ab"] + talks["packets_ba"]).to_numpy(),
            "bytes": (talks["bytes_ab"] + talks["bytes_ba"]).to_numpy(),
        }
    )
    table = table.groupby(["a", "b", "proto"], sort=False, as_index=False)[["packets", "bytes"]].sum()
    return table.sort_values("bytes", ascending=False, kind="stable").reset_index(drop=True)


def _order(pairs: pd.DataFrame, hosts: list[str]) -> list[str]:
    """Return hosts so that those who talk to each other stand near each other, which saves crossings."""
    others: dict[str, list[str]] = {host: [] for host in hosts}
    for a, b in zip(pairs["a"], pairs["b"], strict=True):
        others[a].append(b)
        others[b].append(a)
    order: list[str] = []
    waiting = list(reversed(hosts))
    while waiting:
        host = waiting.pop()
        if host not in order:
            order.append(host)
            waiting += [each for each in reversed(others[host]) if each not in order]
    return order


def _draw(pairs: pd.DataFrame, totals: Mapping[str, int], hosts: list[str], summary: str) -> str:
    middle_x, middle_y = _WIDTH / 2, _HEIGHT / 2 - 8
    place = {}
    for number, host in enumerate(hosts):
        angle = 2 * math.pi * number / len(hosts) - math.pi / 2
        place[host] = (middle_x + _RADIUS * math.cos(angle), middle_y + _RADIUS * math.sin(angle))
    most = max(1, int(pairs["bytes"].max())) if len(pairs) else 1
    body = []
    for a, b, proto, packets, octets in pairs.iloc[::-1].itertuples(index=False):
        (x1, y1), (x2, y2) = place[a], place[b]
        width = 1 + 7 * math.log1p(octets) / math.log1p(most) * (octets / most) ** 0.25
        tip = escape(f"{a} — {b}: {proto} {quantity(int(packets), 'packet')}, {size(int(octets))}")
        # Drawn in towards the middle, so that neighbours' lines are seen beside each other.
        bend_x, bend_y = middle_x + (x1 + x2 - 2 * middle_x) * 0.3, middle_y + (y1 + y2 - 2 * middle_y) * 0.3
        body.append(
            f'<path d="M{x1:.1f} {y1:.1f} Q{bend_x:.1f} {bend_y:.1f} {x2:.1f} {y2:.1f}" fill="none" '
            f'stroke-opacity="0.7" stroke="{svg.COLOURS[_MARKS.get(proto, "other")]}" '
            f'stroke-width="{width:.1f}"><title>{tip}</title></path>'
        )
    for host in hosts:
        x, y = place[host]
        tip = escape(f"{host}: {size(int(totals[host]))}")
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#56b4e9" stroke="#0072b2"><title>{tip}</title></circle>'
        )
        # Names stand out from the circle like rays, so that none lies over another; on the left they end at it.
        left = x < middle_x - 1
        turn = math.degrees(math.atan2(y - middle_y, x - middle_x)) + (180 if left else 0)
        name = svg.text(-10 if left else 10, 4, host, anchor="end" if left else "start", longest=26)
        body.append(f'<g transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})">{name}</g>')
    for number, (proto, mark) in enumerate([("TCP", "tcp"), ("UDP", "udp"), ("ICMP", "icmp"), ("ARP", "arp")]):
        body.append(f'<rect x="10" y="{12 + 18 * number}" width="22" height="5" fill="{svg.COLOURS[mark]}"/>')
        body.append(svg.text(38, 19 + 18 * number, proto))
    body.append(svg.text(10, _HEIGHT - 10, summary, css="soft", longest=130))
    return svg.document(_WIDTH, _HEIGHT, f"Who talks to whom: {summary}", body)
