"""The ladder diagram: packets between hosts over time, as arrows between lines."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from podtracer_nb.analysis.required import with_columns
from podtracer_nb.errors import InputError
from podtracer_nb.notebook.display import quantity, size
from podtracer_nb.notebook.widgets import packet_cells, svg
from podtracer_nb.notebook.widgets.host_names import Names, host_names, hosts_of
from podtracer_nb.notebook.widgets.widget import Widget, source

__all__ = ["LadderDiagram", "ladder"]

_MOST_ARROWS = 60
_MOST_HOSTS = 10
_MOST_TOLD = 4
_BINS = (60, 30, 15, 8, 4, 2, 1)
_LEFT, _STEP, _TOP = 110, 20, 44
_NANOSECONDS = 10**9


def ladder(
    frame: pd.DataFrame,
    *,
    hosts: Sequence[str] | None = None,
    names: Names = None,
) -> LadderDiagram:
    """Draw packets as arrows between hosts, downwards in time; in a notebook it can be zoomed.

    Parameters
    ----------
    frame
        Packets: columns `time`, `src`, `dst`, and what else there is.
    hosts
        Addresses of the hosts to be drawn, from left to right; by default those of the pairs with most packets, up to
        ten.
    names
        Names to be shown in place of addresses: a dict, or what `podtracer_nb.pods` returns.

    Returns
    -------
    LadderDiagram
        Shown where it is a cell's value. `.svg` is the drawing, `.df` the packets of the time that it shows.

    Raises
    ------
    InputError
        There is no packet between any of the hosts, or the frame is none of packets.

    Examples
    --------
    >>> frame = pd.DataFrame({"time": pd.to_datetime([0, 1], unit="s", utc=True), "src": ["a", "b"], "dst": ["b", "a"],
    ...     "proto": ["UDP", "UDP"], "length": [60, 90]})
    >>> ladder(frame)
    2 packets between a and b in 1.000000 s
    """
    return LadderDiagram(frame, hosts=hosts, names=names)


@dataclass(frozen=True)
class _Arrow:
    """One packet, or several that go the same way at about the same time."""

    source: int
    to: int
    first: int
    packets: int
    octets: int
    mark: int
    label: str


class LadderDiagram(Widget):
    """A ladder diagram; see `ladder`."""

    _esm = source("ladder_diagram.js")
    _drawing = traitlets.Dict().tag(sync=True)

    def __init__(self, frame: pd.DataFrame, *, hosts: Sequence[str] | None = None, names: Names = None) -> None:
        frame = with_columns(frame, ("time", "src", "dst"), "a ladder is drawn of")
        self._lock = threading.RLock()
        self._names = host_names(names)
        known = frame[frame["time"].notna() & frame["src"].notna() & frame["dst"].notna()]
        self._hosts = [str(each) for each in hosts] if hosts else hosts_of(_pairs(known), _MOST_HOSTS)
        among = known["src"].isin(self._hosts) & known["dst"].isin(self._hosts)
        drawn = known[among.to_numpy(bool)].sort_values("time", kind="stable")
        if drawn.empty:
            raise InputError("no packet goes between these hosts, so there is nothing to draw")
        self._frame, self._left_out = drawn, len(frame) - len(drawn)
        self._hosts = [host for host in self._hosts if ((drawn["src"] == host) | (drawn["dst"] == host)).any()]
        self._times = drawn["time"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
        self._window = (int(self._times[0]), int(self._times[-1]))
        super().__init__(_drawing={"svg": self._draw(), "whole": True})
        self.on_msg(self._receive)

    @property
    def svg(self) -> str:
        """The drawing, whole in itself."""
        return str(self._drawing["svg"])

    @property
    def df(self) -> pd.DataFrame:
        """The packets of the time that is shown."""
        first, stop = self._range()
        return self._frame.iloc[first:stop]

    def zoom(self, start: object = None, stop: object = None) -> None:
        """Show the packets between two times; without any, all of them.

        Parameters
        ----------
        start, stop
            What `pandas.Timestamp` takes; a time without a zone is UTC.
        """
        low = int(self._times[0]) if start is None else _nanoseconds(start)
        high = int(self._times[-1]) if stop is None else _nanoseconds(stop)
        self._look(low, high)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and the drawing as it is now for where there is none."""
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        return {**data, "image/svg+xml": self.svg, "text/plain": self._text()}, metadata

    def __repr__(self) -> str:
        """Return what is drawn, in a line."""
        first, stop = self._range()
        shown = [self._name(host) for host in self._hosts]
        who = f"{len(shown)} hosts" if len(shown) > _MOST_TOLD else " and ".join([", ".join(shown[:-1]), shown[-1]])
        return f"{quantity(stop - first, 'packet')} between {who.removeprefix(' and ')} in {self._seconds():.6f} s"

    def _receive(self, _: object, asked: dict[str, Any], buffers: list[Any]) -> None:  # noqa: ARG002
        """Show a part of the time that is shown now, or around it: `low` and `high` are 0 and 1 at its ends."""
        low, high = self._window
        if asked.get("kind") == "whole":
            self.zoom()
            return
        if asked.get("kind") == "rows":  # shares of the drawing's height
            self._look(*self._between(float(asked["low"]), float(asked["high"])))
            return
        span = max(high - low, 1)
        self._look(low + round(float(asked["low"]) * span), low + round(float(asked["high"]) * span))

    def _between(self, low: float, high: float) -> tuple[int, int]:
        """Return the times of the arrows between two shares of the drawing's height."""
        arrows, _ = self._arrows()
        height = _TOP + _STEP * (len(arrows) + 1) + 24
        rows = [min(max(int((share * height - _TOP) / _STEP), 0), len(arrows) - 1) for share in (low, high)]
        after = arrows[rows[1] + 1].first - 1 if rows[1] + 1 < len(arrows) else self._window[1]
        return arrows[rows[0]].first, max(after, arrows[rows[0]].first)

    def _look(self, low: int, high: int) -> None:
        with self._lock:
            first, last = int(self._times[0]), int(self._times[-1])
            width = max(1000, min(high, last) - max(low, first)) if high - low < last - first else last - first
            low = max(first, min(low, last - width))
            self._window = (low, min(last, low + width))
            self._drawing = {"svg": self._draw(), "whole": self._window == (first, last)}

    def _range(self) -> tuple[int, int]:
        low, high = self._window
        return int(np.searchsorted(self._times, low)), int(np.searchsorted(self._times, high, side="right"))

    def _seconds(self) -> float:
        return (self._window[1] - self._window[0]) / _NANOSECONDS

    def _name(self, host: str) -> str:
        return self._names.get(host, host)

    def _arrows(self) -> tuple[list[_Arrow], int]:
        """Return the arrows of the time that is shown, and how many packets have none for want of room."""
        first, stop = self._range()
        part = self._frame.iloc[first:stop]
        codes = {host: number for number, host in enumerate(self._hosts)}
        source = part["src"].astype("str").map(codes).to_numpy(np.int64)
        to = part["dst"].astype("str").map(codes).to_numpy(np.int64)
        times = self._times[first:stop]
        length = part["length"].to_numpy(np.int64) if "length" in part.columns else np.zeros(len(part), np.int64)
        if len(part) <= _MOST_ARROWS:
            labels, found = packet_cells.info(part), packet_cells.marks(part)
            rows = zip(source.tolist(), to.tolist(), times.tolist(), length.tolist(), found, labels, strict=True)
            return [_Arrow(a, b, time, 1, octets, mark, label) for a, b, time, octets, mark, label in rows], 0
        kind = part["proto"].astype("category") if "proto" in part.columns else None
        key = pd.DataFrame({"source": source, "to": to, "kind": -1 if kind is None else kind.cat.codes.to_numpy()})
        table = _grouped(key, times, length, self._window)
        left_out = 0
        if len(table) > _MOST_ARROWS:
            kept = table.nlargest(_MOST_ARROWS, "packets").sort_values("first")
            left_out = int(table["packets"].sum() - kept["packets"].sum())
            table = kept
        arrows = []
        for source_, to_, number, begun, packets, octets in zip(
            table["source"], table["to"], table["kind"], table["first"], table["packets"], table["octets"], strict=True
        ):
            name = "" if kind is None or number < 0 else str(kind.cat.categories[number])
            label = f"{int(packets):,} {name}, {size(int(octets))}"
            mark = packet_cells.MARKS.index(_MARKS.get(name, "other"))
            arrows.append(_Arrow(int(source_), int(to_), int(begun), int(packets), int(octets), mark, label))
        return arrows, left_out

    def _draw(self) -> str:
        arrows, left_out = self._arrows()
        count = len(self._hosts)
        apart = max(120.0, 720.0 / max(1, count - 1)) if count > 1 else 200.0
        width = _LEFT + apart * max(1, count - 1) + 110
        height = _TOP + _STEP * (len(arrows) + 1) + 24
        place = [_LEFT + 30 + apart * number for number in range(count)]
        body = []
        for x, host in zip(place, self._hosts, strict=True):
            body.append(svg.text(x, 18, self._name(host), anchor="middle", longest=int(apart / 7.5)))
            body.append(svg.line(x, 26, x, height - 26, css="life"))
        for row, each in enumerate(arrows):
            y = _TOP + _STEP * (row + 0.7)
            start, stop = place[each.source], place[each.to]
            if start == stop:
                stop += 26  # to itself
            seconds = (each.first - int(self._times[0])) / _NANOSECONDS
            body.append(svg.text(6, y + 4, f"{seconds:.6f}", css="soft"))
            colour = svg.COLOURS[packet_cells.MARKS[each.mark]]
            thick = 1.5 + min(4.0, float(np.log10(each.packets)))
            where = f"{self._name(self._hosts[each.source])} → {self._name(self._hosts[each.to])}"
            body.append(svg.arrow(start, stop, y, colour, f"{where} at {seconds:.9f} s: {each.label}", width=thick))
            body.append(
                svg.text(
                    (start + stop) / 2, y - 4, each.label, anchor="middle", longest=int(abs(stop - start) / 7.3) or 4
                )
            )
        body.append(svg.text(6, height - 8, self._says(left_out), css="soft", longest=120))
        return svg.document(width, height, f"Ladder diagram: {self!r}", body)

    def _says(self, left_out: int) -> str:
        text = repr(self)
        first, stop = self._range()
        outside = len(self._frame) - (stop - first)
        if outside:
            text += f"; {outside:,} before or after"
        if self._left_out:
            text += f"; {self._left_out:,} of other hosts or without an address"
        if left_out:
            text += f"; {left_out:,} without an arrow"
        return text

    def _text(self) -> str:
        arrows, left_out = self._arrows()
        lines = [self._says(left_out)]
        for each in arrows[:20]:
            seconds = (each.first - int(self._times[0])) / _NANOSECONDS
            source, to = self._name(self._hosts[each.source]), self._name(self._hosts[each.to])
            lines.append(f"{seconds:12.6f}  {source} → {to}  {each.label}")
        if len(arrows) > 20:  # noqa: PLR2004  as above
            lines.append(f"… {len(arrows) - 20} more arrows")
        return "\n".join(lines)


def _pairs(packets: pd.DataFrame) -> list[tuple[str, str]]:
    """Return who sends to whom, those with most packets first."""
    counted = packets.groupby(["src", "dst"], observed=True, sort=False).size()
    return [(str(a), str(b)) for a, b in counted.sort_values(ascending=False, kind="stable").index]


_MARKS = {"TCP": "tcp", "UDP": "udp", "ARP": "arp", "ICMP": "icmp", "ICMPv6": "icmp"}


def _grouped(
    key: pd.DataFrame, times: npt.NDArray[Any], length: npt.NDArray[Any], window: tuple[int, int]
) -> pd.DataFrame:
    """Return packets that go the same way at about the same time as one, in as many steps of time as there is room."""
    low, high = window
    counted = key.assign(first=times, octets=length, packets=1)
    for bins in _BINS:
        step = (times - low) * bins // max(1, high - low + 1)
        table = (
            counted.assign(bin=step)
            .groupby(["bin", "source", "to", "kind"], sort=False)
            .agg(first=("first", "min"), packets=("packets", "sum"), octets=("octets", "sum"))
            .reset_index()
            .sort_values("first", kind="stable")
        )
        if len(table) <= _MOST_ARROWS:
            break
    return table


def _nanoseconds(time: object) -> int:
    try:
        stamp = pd.Timestamp(time)  # type: ignore[arg-type]  # what it takes is for it to say
    except (TypeError, ValueError) as error:
        raise InputError(f"{time!r} is not a time: {error}") from error
    return int((stamp.tz_localize("UTC") if stamp.tz is None else stamp).as_unit("ns").value)
