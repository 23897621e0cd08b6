"""Where a damaged capture goes on: the next bytes that look like a record, and are followed by others that do."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Plausible"]

_CHAIN = 3  # so many records one after the other are no accident
_YEAR = 366 * 86400
_LARGEST_BLOCK = 1 << 20
_BLOCKS = (0x0A0D0D0A, 1, 2, 3, 4, 5, 6)
_SMALLEST_BLOCK = 12
_MICROSECONDS = 1000

Array = np.ndarray[Any, Any]


class Plausible:
    """Finds the next plausible record.

    Parameters
    ----------
    order
        Byte order of the file, as struct has it.
    header
        Bytes of a record's header; 0 where the file has pcapng blocks.
    largest
        Most bytes of a packet.
    unit
        Nanoseconds in one unit of a record's time fraction.
    seconds
        When the packet before the damage was captured, where that is known.
    """

    def __init__(
        self, order: str, header: int, largest: int, unit: int = _MICROSECONDS, seconds: int | None = None
    ) -> None:
        self._order = order
        self._header = header
        self._largest = largest
        self._fractions = 10**9 // unit
        self._seconds = seconds

    def find(self, data: bytes, ended: bool) -> int | None:
        """Return the first place after the start from where records follow each other, or None.

        `ended` says that no more bytes will come, so that the last record may end there.
        """
        if len(data) < max(self._header, _SMALLEST_BLOCK) + 4:
            return None
        numbers = _each_number(data, self._order)
        candidates = self._records(numbers) if self._header else self._blocks(numbers)
        for place in candidates[candidates > 0].tolist():
            if self._chain(data, numbers, place, ended):
                return int(place)
        return None

    def _records(self, numbers: Array) -> Array:
        count = len(numbers) - 12
        if count <= 0:
            return np.empty(0, np.int64)
        seconds, fraction, captured, wire = (numbers[at : at + count] for at in (0, 4, 8, 12))
        right = (captured > 0) & (captured <= self._largest) & (wire >= captured) & (wire <= self._largest)
        right &= fraction < self._fractions
        if self._seconds is not None:
            right &= np.abs(seconds.astype(np.int64) - self._seconds) < _YEAR
        return np.flatnonzero(right)

    def _blocks(self, numbers: Array) -> Array:
        count = len(numbers) - 4
        kinds, sizes = numbers[:count], numbers[4:]
        right = (sizes >= _SMALLEST_BLOCK) & (sizes <= _LARGEST_BLOCK) & (sizes % 4 == 0)
        return np.flatnonzero(right & np.isin(kinds, _BLOCKS))

    def _chain(self, data: bytes, numbers: Array, at: int, ended: bool) -> bool:
        for _ in range(_CHAIN):
            size = self._size(numbers, at)
            if size is None:
                return False
            at += size
            if at == len(data):
                return ended
            if at > len(data) - max(self._header, _SMALLEST_BLOCK):
                return ended and at < len(data)
        return True

    def _size(self, numbers: Array, at: int) -> int | None:
        """Return the size of a plausible record at a place, as far as it is there."""
        if self._header:
            if not len(self._records(numbers[at : at + 13])):
                return None
            return self._header + int(numbers[at + 8])
        if not len(self._blocks(numbers[at : at + 5])):
            return None
        size = int(numbers[at + 4])
        return size if at + size - 4 < len(numbers) and int(numbers[at + size - 4]) == size else None


def _each_number(data: bytes, order: str) -> Array:
    """Return the 32-bit number at every place."""
    each = np.frombuffer(data, np.uint8).astype(np.uint32)
    parts = [each[at : len(each) - 3 + at] for at in (range(4) if order == "<" else range(3, -1, -1))]
    return parts[0] | parts[1] << 8 | parts[2] << 16 | parts[3] << 24
