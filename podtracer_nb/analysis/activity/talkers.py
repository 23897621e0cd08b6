"""Who sends most to whom, of the last minutes."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

__all__ = ["Talkers"]

Pair = tuple[str, str]

_PARTS = 12
_MOST_PAIRS = 4096  # of one part


class Talkers:
    """Sums of packets and bytes for each pair of addresses, over a span of time that goes along in twelve steps.

    Parameters
    ----------
    span
        Nanoseconds.

    Examples
    --------
    >>> talkers = Talkers(12)
    >>> talkers.add(0, [("a", "b", 1, 60)])
    >>> talkers.add(5, [("a", "b", 1, 40), ("b", "a", 1, 30)])
    >>> talkers.top(1)
    [('a', 'b', 2, 100)]
    >>> talkers.move(12)  # what was sent at 0 is out of it
    >>> talkers.top(1)
    [('a', 'b', 1, 40)]
    """

    def __init__(self, span: int) -> None:
        self._step = max(1, span // _PARTS)
        self._parts: deque[tuple[int, dict[Pair, tuple[int, int]]]] = deque()
        self._sums: dict[Pair, tuple[int, int]] = {}
        self.others = 0
        """Packets of pairs for which there was no room."""

    def __len__(self) -> int:
        return len(self._sums)

    def move(self, time: int) -> None:
        """Let the span end at this time, and forget what is before it."""
        number = time // self._step
        while self._parts and self._parts[0][0] <= number - _PARTS:
            for pair, (packets, octets) in self._parts.popleft()[1].items():
                were = self._sums[pair]
                left = were[0] - packets, were[1] - octets
                if left[0]:
                    self._sums[pair] = left
                else:
                    del self._sums[pair]

    def add(self, time: int, sent: Iterable[tuple[str, str, int, int]]) -> None:
        """Add source, destination, packets and bytes of pairs."""
        number = time // self._step
        if not self._parts or self._parts[-1][0] < number:
            self._parts.append((number, {}))
        part, sums = self._parts[-1][1], self._sums
        for source, to, packets, octets in sent:
            pair = source, to
            found = part.get(pair)
            if found is None and len(part) >= _MOST_PAIRS:
                self.others += packets
                continue
            found = found or (0, 0)
            part[pair] = found[0] + packets, found[1] + octets
            total = sums.get(pair, (0, 0))
            sums[pair] = total[0] + packets, total[1] + octets

    def top(self, count: int) -> list[tuple[str, str, int, int]]:
        """Return the pairs with most bytes: source, destination, packets, bytes."""
        found = heapq.nlargest(count, self._sums.items(), key=lambda item: item[1][1])
        return [(source, to, packets, octets) for (source, to), (packets, octets) in found]
