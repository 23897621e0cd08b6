"""All that a dashboard tells of packets, up to date after each chunk."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from podtracer_nb.analysis.activity import hashing
from podtracer_nb.analysis.activity.dns import Delays, DnsDelays
from podtracer_nb.analysis.activity.segments import Segments
from podtracer_nb.analysis.activity.talkers import Talkers

__all__ = ["COLUMNS", "KINDS", "TROUBLE", "Activity", "Told"]

Array = npt.NDArray[Any]

KINDS = ("TCP", "UDP", "DNS", "ICMP", "ARP", "other")
TROUBLE = ("retransmissions", "resets", "zero windows", "malformed")
COLUMNS = (*KINDS, "bytes", *TROUBLE, "longest DNS answer")
"""What each step of time has: packets of each kind, bytes, packets in trouble, nanoseconds."""

STEPS = 240
_NUMBER = {"TCP": 0, "UDP": 1, "ICMP": 3, "ICMPv6": 3, "ARP": 4}
_DNS, _OTHER = KINDS.index("DNS"), KINDS.index("other")
_BYTES, _SLOWEST = COLUMNS.index("bytes"), COLUMNS.index("longest DNS answer")
_FIRST_TROUBLE = _BYTES + 1


@dataclass(frozen=True)
class Told:
    """What goes on.

    Attributes
    ----------
    first
        The number of the first step in `steps`, whose time is `number * width` in nanoseconds since 1970.
    steps
        A row a step, with `COLUMNS`; int64.
    talkers
        Source, destination, packets, bytes; those with most bytes first.
    pairs
        How many pairs of addresses there are, and packets of those for which there was no room.
    trouble
        Packets of each of `TROUBLE`, since the beginning.
    """

    first: int
    steps: npt.NDArray[np.int64]
    talkers: list[tuple[str, str, int, int]]
    pairs: tuple[int, int]
    trouble: dict[str, int]
    dns: Delays
    codes: dict[str, int] = field(default_factory=dict)


class Activity:
    """What goes on in packets that keep coming.

    Parameters
    ----------
    span
        Seconds that it tells of, in 240 steps.

    Examples
    --------
    >>> frame = pd.DataFrame({"time": pd.to_datetime([0, 1, 2], unit="s", utc=True).as_unit("ns"), "length": 60})
    >>> frame["proto"] = pd.Categorical(["TCP", "UDP", "UDP"])
    >>> activity = Activity(span=240)
    >>> activity.add(frame)
    >>> activity.told().steps[-3:, :2].tolist()
    [[1, 0], [0, 1], [0, 1]]
    """

    def __init__(self, span: float = 120.0) -> None:
        self.width = max(1, int(span * 1e9) // STEPS)
        self.span = self.width * STEPS
        self._steps = np.zeros((STEPS, len(COLUMNS)), np.int64)
        self._last: int | None = None  # the number of the last step
        self._trouble = np.zeros(len(TROUBLE), np.int64)
        self._talkers = Talkers(self.span)
        self._segments = Segments()
        self._dns = DnsDelays()
        self._codes: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, chunk: pd.DataFrame) -> None:
        """Take packets with the columns `time` and `length`, and of all others those that there are."""
        if not len(chunk):
            return
        times = chunk["time"].array.asi8
        length = chunk["length"].to_numpy(np.int64)
        with self._lock:
            last = self._move(int(times.max()))
            step = times // self.width - (last - STEPS + 1)
            inside = (step >= 0) & (step < STEPS)
            if not inside.all():  # a clock was set back: what is older than all steps is in none of them
                step = np.where(inside, step, 0)
                length = np.where(inside, length, 0)
            kinds = self._kinds(chunk)
            weights = inside.astype(np.float64)
            counted = np.bincount(step * len(KINDS) + kinds, weights, minlength=STEPS * len(KINDS))
            self._steps[:, : len(KINDS)] += counted.reshape(STEPS, len(KINDS)).astype(np.int64)
            self._steps[:, _BYTES] += np.bincount(step, length, minlength=STEPS).astype(np.int64)
            ends = self._pairs(chunk, length, int(times.max()))
            self._examine(chunk, step, ends)
            self._time_dns(chunk, times, step, ends)

    def move(self, time: int) -> None:
        """Let it end at a time, in nanoseconds since 1970, though nothing came."""
        with self._lock:
            self._move(time)

    def told(self, count: int = 8, since: int | None = None) -> Told:
        """Return what goes on: so many talkers, and the steps from number `since` on."""
        with self._lock:
            last = self._last if self._last is not None else STEPS - 1
            first = last - STEPS + 1
            begin = 0 if since is None else min(max(since - first, 0), STEPS)
            return Told(
                first=first + begin,
                steps=self._steps[begin:].copy(),
                talkers=self._talkers.top(count),
                pairs=(len(self._talkers), self._talkers.others),
                trouble=dict(zip(TROUBLE, self._trouble.tolist(), strict=True)),
                dns=self._dns.told((last + 1) * self.width, self.span),
                codes=dict(self._codes),
            )

    def _move(self, time: int) -> int:
        """Let it end no earlier than at this time; return the number of its last step."""
        number = time // self.width
        if self._last is None:
            self._last = number
        gone = number - self._last
        if gone <= 0:
            return self._last
        self._last = number
        if gone >= STEPS:
            self._steps[:] = 0
        else:
            self._steps[:-gone] = self._steps[gone:].copy()
            self._steps[-gone:] = 0
        self._talkers.move(time)
        return number

    @staticmethod
    def _kinds(chunk: pd.DataFrame) -> Array:
        if "proto" in chunk:
            proto = chunk["proto"].astype("category").cat
            known = np.array([_NUMBER.get(str(each), _OTHER) for each in proto.categories] + [_OTHER], np.int64)
            kinds = known[proto.codes.to_numpy()]
        else:
            kinds = np.full(len(chunk), _OTHER, np.int64)
        if "dns_id" in chunk:
            kinds[chunk["dns_id"].notna().to_numpy()] = _DNS
        return kinds

    def _pairs(self, chunk: pd.DataFrame, length: Array, time: int) -> tuple[Array, Array] | None:
        """Count talkers; return a key of each packet's source and one of its destination, 0 where it has none."""
        if not {"src", "dst"} <= set(chunk.columns):
            return None
        source, to = chunk["src"].astype("category").cat, chunk["dst"].astype("category").cat
        room = len(to.categories) + 1
        both = (source.codes.to_numpy().astype(np.int64) + 1) * room + to.codes.to_numpy() + 1
        which, found = pd.factorize(both)
        one, other = found // room - 1, found % room - 1
        names = [
            np.append(each.categories.to_numpy(object), "")[number] for each, number in ((source, one), (to, other))
        ]
        packets = np.bincount(which, minlength=len(found)).tolist()
        octets = np.bincount(which, length, minlength=len(found)).astype(np.int64).tolist()
        sent = zip(names[0].tolist(), names[1].tolist(), packets, octets, strict=True)
        self._talkers.add(time, ((a, b, count, size) for a, b, count, size in sent if a and b))
        return hashing.of_texts(names[0])[which], hashing.of_texts(names[1])[which]

    def _examine(self, chunk: pd.DataFrame, step: Array, ends: tuple[Array, Array] | None) -> None:
        if "tcp_flags" in chunk:
            flags = chunk["tcp_flags"].astype("category").cat
            letters, codes = [str(each) for each in flags.categories], flags.codes.to_numpy()
            self._count(0, step[self._repeated(chunk, letters, codes, ends)])
            self._count(1, step[np.array(["R" in each for each in letters] + [False], bool)[codes]])
            if "tcp_window" in chunk:
                # As Wireshark has it: not in a segment that opens, ends or resets a connection.
                plain = np.array([not set("SFR") & set(each) for each in letters] + [False], bool)[codes]
                none = chunk["tcp_window"].to_numpy(np.int64, na_value=-1) == 0
                self._count(2, step[plain & none])
        if "error" in chunk:
            error = chunk["error"].astype("category").cat
            # A packet that the snaplen cut short is no trouble of the network's.
            bad = np.array([not str(each).startswith("truncated") for each in error.categories] + [False], bool)
            self._count(3, step[bad[error.codes.to_numpy()]])

    def _count(self, trouble: int, step: Array) -> None:
        self._trouble[trouble] += len(step)
        if len(step):
            self._steps[:, _FIRST_TROUBLE + trouble] += np.bincount(step, minlength=STEPS)

    def _repeated(
        self, chunk: pd.DataFrame, letters: list[str], codes: Array, ends: tuple[Array, Array] | None
    ) -> Array:
        """Return the rows of segments that repeat an earlier one: same ends, sequence number and size, not empty."""
        if ends is None or not {"sport", "dport", "tcp_seq", "payload_length"} <= set(chunk.columns):
            return np.empty(0, np.int64)
        takes = np.array([bool(set("SF") & set(each)) for each in letters] + [False], bool)
        size = chunk["payload_length"].to_numpy(np.int64, na_value=0)
        rows = np.flatnonzero((codes >= 0) & ((size > 0) | takes[codes]))
        if not len(rows):
            return rows
        columns = [ends[0][rows], ends[1][rows], size[rows]]
        columns += [chunk[name].to_numpy(np.int64, na_value=-1)[rows] for name in ("sport", "dport", "tcp_seq")]
        if "target" in chunk:  # the other end of a connection sees the same segment
            target = chunk["target"].astype("category").cat
            columns.append(hashing.of_texts(target.categories.to_numpy(object))[target.codes.to_numpy()[rows]])
        return np.asarray(rows[self._segments.repeated(hashing.of_values(*columns))])

    def _time_dns(self, chunk: pd.DataFrame, times: Array, step: Array, ends: tuple[Array, Array] | None) -> None:
        if ends is None or not {"dns_id", "dns_response", "sport", "dport"} <= set(chunk.columns):
            return
        rows = np.flatnonzero(chunk["dns_id"].notna().to_numpy())
        if not len(rows):
            return
        part = chunk.iloc[rows]
        answers = part["dns_response"].to_numpy(bool, na_value=False)
        sport, dport = (part[name].to_numpy(np.int64, na_value=-1) for name in ("sport", "dport"))
        source, to = ends[0][rows], ends[1][rows]
        columns = [
            np.where(answers, to, source), np.where(answers, source, to), np.where(answers, dport, sport),
            part["dns_id"].to_numpy(np.int64, na_value=-1),
        ]  # fmt: skip
        if "target" in part:
            target = part["target"].astype("category").cat
            columns.append(hashing.of_texts(target.categories.to_numpy(object))[target.codes.to_numpy()])
        took = self._dns.add(hashing.of_values(*columns), times[rows], answers)
        for place, delay in took:
            at = step[rows[place]]
            self._steps[at, _SLOWEST] = max(int(self._steps[at, _SLOWEST]), delay)
        if "dns_rcode" in part:
            for code, count in part["dns_rcode"].value_counts().items():
                if count:
                    self._codes[str(code)] = self._codes.get(str(code), 0) + int(count)
