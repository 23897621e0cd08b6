"""The packets of a capture in groups of rows, for tables that are larger than memory."""

from __future__ import annotations

from podtracer_nb.packets.columns import BYTES_PER_ROW, ColumnMemory
from podtracer_nb.packets.walk import Walk

__all__ = ["RowGroups"]

_ROWS_AT_ONCE = 4096  # until it is looked again how large the dictionaries are


class RowGroups:
    """The packets of a walk in groups of about the same memory, in two memories that take turns.

    `fill` dissects into one of them while what is in the other is used up; `turn` exchanges the two.

    Attributes
    ----------
    rows, first
        How many packets are in `memory`, and the number of the first (where all are taken).
    memory
        Their columns.
    dictionaries
        What codes stand for.
    """

    def __init__(self, walk: Walk, rows: int, dictionaries: int) -> None:
        self._walk = walk
        self._most = rows = max(1, min(rows, rows * BYTES_PER_ROW // max(1, walk._memory.bytes_per_row)))
        self._most_bytes = dictionaries
        self.dictionaries = walk._dictionaries
        self._other = ColumnMemory(walk._dissector, walk._dictionaries, walk._stored, walk._decap)
        for memory in (self._other, walk._memory):
            memory.number_rows(bool(walk._selection))
            memory.grow(0, rows, huge=False)

    @property
    def rows(self) -> int:
        """How many packets are in `memory`."""
        return int(self._walk._dissector.row)

    @property
    def first(self) -> int:
        """The number of the first of them."""
        return self._walk._forgotten + 1

    @property
    def memory(self) -> ColumnMemory:
        """The columns."""
        return self._walk._memory

    def fill(self, part: float = 1.0) -> bool:
        """Dissect until that part of the memory is full; return False when the capture ends before.

        An interrupt loses nothing.
        """
        walk = self._walk
        while (left := part - self._taken / self._most_bytes - self.rows / self._most) > 0:
            rows = min(_ROWS_AT_ONCE, max(1, int(left * self._most)))
            if not walk._advance(rows, pump=walk._input.whole is None):
                return False
        return True

    @property
    def _taken(self) -> int:
        """About how much memory addresses, names and comments take beyond what they mostly do."""
        return max(0, self.dictionaries.memory + self._walk._comment_bytes - self._most_bytes // 16)

    def release(self) -> None:
        """Hand the pages of the other memory back: what was in it has been used up."""
        self._other.release()

    def turn(self, most: int) -> bool:
        """Go on in the other memory; begin tables again that have more than `most` entries, and return whether any."""
        walk = self._walk
        walk._forgotten += self.rows
        for number in [each for each in walk._comments if each <= walk.walked]:
            del walk._comments[number]
        walk._comment_bytes = 0
        walk._dissector.row = walk._dissector.limit = 0
        renewed = self.dictionaries.renew(most)
        if renewed:
            walk._dissector.renew(self.dictionaries)
        walk._memory, self._other = self._other, walk._memory
        walk._memory.take_over()
        return renewed
