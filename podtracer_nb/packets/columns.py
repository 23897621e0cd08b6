"""The memory of the packet table, and the pandas arrays made of it.

All columns lie in one anonymous mapping, one after the other: no column's rounding is paid for, and the kernel can back
the whole with huge pages. What is mapped beyond the rows in use costs address space only. Growing copies column by
column and hands the old pages back on the way, so that old and new are never both there in full.

`caplen` has no memory of its own until a packet is cut: up to then it is `length`. Columns that are there together or
not at all have one mask.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.packets.dictionaries import DICTIONARY_OF, OPEN_VOCABULARIES, Dictionaries
from podtracer_nb.packets.schema import COLUMNS, LAYERS, Column
from podtracer_nb.packets.source import anonymous

__all__ = ["BYTES_PER_ROW", "HEXADECIMAL", "MASK_OF", "ColumnMemory"]

Array = np.ndarray[Any, Any]

# Codes are as narrow as they mostly can be, and get 32 bits in the rare capture that needs more.
_TWO_BYTES = frozenset({"src", "dst", "eth_src", "eth_dst", "dns_qname"})
_STORAGE = {
    "datetime64[ns, UTC]": "i8",
    "int64": "i8",
    "uint32": "u4",
    "UInt32": "u4",
    "UInt16": "u2",
    "UInt8": "u1",
    "boolean": "u1",
}
_MASKED = frozenset({"UInt32", "UInt16", "UInt8", "boolean"})

_BY_NAME = {entry.name: entry for entry in COLUMNS}
# Columns that are there together or not at all have one mask, that of the column named here.
MASK_OF = {
    "dport": "sport",
    "ip_ttl": "ip_version",
    "tcp_ack": "tcp_seq",
    "tcp_window": "tcp_seq",
    "tcp_tsecr": "tcp_tsval",
    "tcp_sack_right": "tcp_sack_left",
    "icmp_code": "icmp_type",
    "inner_dport": "inner_sport",
    "dns_response": "dns_id",
}
# Some masks the loop does not write: no IP version and no EtherType is 0, only IPv4 has an identification, and what has
# TCP flags has a sequence number.
_TOLD: dict[str, tuple[str, Callable[[Array, Array], object]]] = {
    "ethertype": ("ethertype", lambda values, out: np.equal(values, 0, out=out)),
    "ip_version": ("ip_version", lambda values, out: np.equal(values, 0, out=out)),
    "ip_id": ("ip_version", lambda values, out: np.not_equal(values, 4, out=out)),
    "tcp_seq": ("tcp_flags", lambda codes, out: np.less(codes, 0, out=out)),
}

# Columns that are there together or not at all: where none of them is wanted, the loop passes over what they need. Why
# dissection stopped is a matter of the last two too.
_GROUPS = (
    frozenset({"eth_src", "eth_dst"}),
    frozenset({"ip_version", "ip_ttl", "ip_id"}),
    frozenset(name for name in _BY_NAME if name.startswith("tcp_") and name != "tcp_flags"),
    frozenset(name for name in _BY_NAME if name.startswith("dns_")),
)
_TELLS_ERRORS = _GROUPS[2:]

_PAGE = mmap.PAGESIZE
_ALIGNMENT = 64
_BLOCK = 4096
# Old memory larger than this is handed back while a larger one is filled from it, not after.
_WORTH_RELEASING = 4 << 20
_TABLES = {name: [c for c in DICTIONARY_OF if DICTIONARY_OF[c] == name] for name in set(DICTIONARY_OF.values())}
# Columns that are widened together.
_WIDENED = {
    "addresses": ["src", "dst"],
    "macs": ["eth_src", "eth_dst"],
    "names": ["dns_qname"],
    "interfaces": ["interface"],
    "words": list(OPEN_VOCABULARIES),
}
_OPTIONAL = {entry.name: layer for layer, entries in LAYERS.items() for entry in entries}
HEXADECIMAL = frozenset({"quic_dcid", "quic_scid"})
_TEXT_TABLE = "texts"


def _parts(entry: Column) -> list[tuple[str, np.dtype[Any]]]:
    """Return what a column takes of a row: its values, and the mask of a nullable one that has its own."""
    if entry.dtype != "category":
        values = (entry.name, np.dtype(_STORAGE[entry.dtype]))
        masked = entry.dtype in _MASKED and entry.name not in MASK_OF
        return [values, (entry.name + "_mask", np.dtype("u1"))] if masked else [values]
    if entry.name in _OPTIONAL:
        return [(entry.name, np.dtype("i4" if entry.name in DICTIONARY_OF else "i2"))]
    return [(entry.name, np.dtype("i2" if entry.name in _TWO_BYTES else "i1"))]


def _needed(columns: Sequence[Column]) -> list[Column]:
    """Return the columns to be kept: those asked for, those that tell their masks, and the rest of their layers."""
    names = {entry.name for entry in columns}
    layers = {_OPTIONAL[name] for name in names if name in _OPTIONAL}
    names |= {MASK_OF[name] for name in names if name in MASK_OF}
    names |= {_TOLD[name][0] for name in names if name in _TOLD}
    names |= {"length"} if "caplen" in names else set()
    if "dns" in layers:
        names.add("offset")  # which the loop reads back
    kept = [entry for entry in COLUMNS if entry.name in names]
    return kept + [entry for layer, entries in LAYERS.items() if layer in layers for entry in entries]


BYTES_PER_ROW = sum(dtype.itemsize for entry in COLUMNS for _, dtype in _parts(entry))
"""Memory of one packet's row of all columns that there are by default."""


_OUTERMOST = frozenset({"src", "dst", "sport", "dport"})


class ColumnMemory:
    """Memory for the rows of one table, given to a dissector and grown on demand.

    Parameters
    ----------
    dissector
        The dissector that writes the rows.
    dictionaries
        What its codes stand for.
    columns
        The columns that the table has; the others share one part of each width, which is written over again and again.
    decapsulate
        Whether the columns of the layer tunnel are needed even where they are not among them.
    """

    def __init__(
        self,
        dissector: Any,
        dictionaries: Dictionaries,
        columns: Sequence[Column] = COLUMNS,
        decapsulate: bool = False,
    ) -> None:
        self._columns = columns
        # What a tunnel's outermost header left is read again when what is inside takes its place.
        outermost = [entry for entry in COLUMNS if entry.name in _OUTERMOST]
        kept = _needed([*columns, *([*LAYERS["tunnel"], *outermost] if decapsulate else ())])
        names = {name for entry in kept for name, _ in _parts(entry)}
        self._wants_caplen = "caplen" in names
        self._layout = [part for entry in kept if entry.name != "caplen" for part in _parts(entry)]
        wanted = {entry.name for entry in kept}
        passed_over = [
            group
            for group in _GROUPS
            if not group & wanted
            and not (group in _TELLS_ERRORS and "error" in wanted)
            and not ("dns_offset" in wanted and "dns_id" in group)
        ]
        self._shared: dict[str, str] = {}
        shared: dict[str, np.dtype[Any]] = {}
        for entry in COLUMNS:
            if any(entry.name in group for group in passed_over):
                continue
            for name, dtype in _parts(entry):
                if name not in names:
                    self._shared[name] = f"any {dtype}"
                    shared[f"any {dtype}"] = dtype
        self._layout += list(shared.items())
        self._dissector = dissector
        self._dictionaries = dictionaries
        self._mapping: mmap.mmap | None = None
        self._fields: dict[str, Array] = {}
        self._wide: dict[str, Array] = {}
        self._caplen: Array | None = None
        self._prepared = 0
        self._fresh = 0  # rows from here on are zeros, as the kernel gives memory
        self._numbered = False
        self._numbers: Array = np.empty(0, np.int64)
        self.capacity = 0

    @property
    def numbered(self) -> bool:
        """Whether the dissector writes the number of each row's packet."""
        return self._numbered

    @property
    def bytes_per_row(self) -> int:
        """Memory of one packet's row."""
        return sum(dtype.itemsize for _, dtype in self._layout) + (4 if self._wants_caplen else 0)

    def number_rows(self, numbered: bool) -> None:
        """Say whether the dissector writes the number of each row's packet; before `grow`."""
        self._numbered = numbered

    def numbers(self, start: int, stop: int) -> Array:
        """Return the numbers of the packets in rows `start` to `stop`, where they are written."""
        return self._numbers[start:stop]

    def release(self) -> None:
        """Hand the rows' pages back to the kernel: nothing may be read here until rows are written again."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._fresh = 0

    def take_over(self) -> None:
        """Let the dissector write here from the first row on: after another memory of the same dissector."""
        self._prepared = 0
        self.give(self._dissector)
        self.widen()

    def grow(
        self, rows: int, capacity: int, huge: bool, prepare: Callable[[mmap.mmap, int], object] | None = None
    ) -> None:
        """Make room for `capacity` rows, keeping the first `rows`.

        `huge` asks for huge pages: right when the capacity is known to be about what is needed. `prepare` is given the
        new memory, and how many bytes of it can be had before the old is handed back without more being there than
        will be in the end.
        """
        mapping = anonymous(_size(self._layout, capacity))
        if huge and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel built without them
                mapping.madvise(mmap.MADV_HUGEPAGE)
        if prepare is not None:
            prepare(mapping, len(mapping) - _size(self._layout, self.capacity))
        fields = {}
        release = _size(self._layout, self.capacity) > _WORTH_RELEASING and hasattr(mmap, "MADV_DONTNEED")
        old_start, start = 0, 0
        for name, dtype in self._layout:
            fields[name] = np.frombuffer(mapping, dtype, capacity, start)
            if self._mapping is not None:
                fields[name][:rows] = self._fields[name][:rows]
                first = -(-old_start // _PAGE) * _PAGE
                old_start += _field_size(dtype, self.capacity)
                if release:
                    self._mapping.madvise(mmap.MADV_DONTNEED, first, old_start // _PAGE * _PAGE - first)
            start += _field_size(dtype, capacity)
        for name, part in self._shared.items():
            fields[name] = fields[part].view(dict(_parts(_BY_NAME[name.removesuffix("_mask")]))[name])
        for name, field in self._wide.items():
            self._wide[name] = np.empty(capacity, np.int32)
            self._wide[name][:rows] = field[:rows]
        if self._caplen is not None:
            self._caplen = _grown(self._caplen, rows, capacity)
        if self._numbered:
            numbers = np.empty(capacity, np.int64)
            numbers[:rows] = self._numbers[:rows]
            self._numbers = numbers
        self._mapping, self._fields, self.capacity = mapping, fields, capacity
        self._prepared = self._fresh = rows
        self.give(self._dissector)

    def keep_caplen(self, rows: int) -> None:
        """Keep the sizes in the capture from here on: the packet after so many rows is the first that is cut."""
        self._caplen = _grown(self._fields["length"], rows, self.capacity)
        self.give(self._dissector)

    def second(self, row: int) -> int | None:
        """Return when a row's packet was captured, in seconds, where that is kept and known."""
        time = None if "time" in self._shared else int(self._fields["time"][row])
        return None if time is None or time == np.iinfo(np.int64).min else time // 10**9

    def prepare(self, rows: int) -> int:
        """Fill some rows from `rows` on with "not there"; return how many rows are ready in all.

        It goes a block at a time, so that what was filled is still in the cache when the loop writes.
        """
        if self._prepared <= rows < self.capacity:
            stop = min(self.capacity, rows + _BLOCK)
            self._dissector.clear(self._prepared, stop, self._prepared < self._fresh)
            self._prepared = stop
            self._fresh = max(self._fresh, stop)
        return self._prepared

    def lend(self, rows: int) -> bool:
        """Let others write rows from `rows` on, until `take_back`; return whether they may have been written before."""
        dirty = self._fresh > rows
        self._prepared, self._fresh = rows, self.capacity
        return dirty

    def take_back(self, rows: int, written: int) -> None:
        """Take all rows before `rows` as they are; rows from there to `written` are to be written again."""
        self._prepared, self._fresh = rows, written

    def recode(self, engine: ModuleType, changed: dict[str, Array], rows: Array) -> None:
        """Exchange codes in some rows.

        Parameters
        ----------
        engine
            The module `_dissect`.
        changed
            The new code of each old one, by what the codes belong to: a dictionary's name, or a vocabulary's.
        rows
            Pairs of rows: from, to.
        """
        tables = {
            key: np.append(np.int32(-1), new) for key, new in changed.items() if (new != np.arange(new.size)).any()
        }
        for name, field in self._fields.items():
            new = tables.get(DICTIONARY_OF.get(name, name))
            if new is not None and name not in self._shared:
                engine.recode(self._wide.get(name, field), new, rows)

    def forget(self) -> None:
        """Let rows be written again from the top."""
        self._prepared = 0

    def widen(self) -> None:
        """Give 32-bit codes to the columns whose dictionary needs them and that have none yet."""
        for table in self._dictionaries.wide:
            columns = [name for name in _WIDENED[table] if name in self._fields]
            if columns[0] in self._wide:
                continue
            for name in columns:
                self._wide[name] = np.empty(self.capacity, np.int32)
                self._wide[name][: self._prepared] = self._fields[name][: self._prepared]
            self._dissector.widen(table, {name: self._wide[name].data for name in columns})

    def arrays(self, start: int, stop: int, copy: bool) -> dict[str, Any]:
        """Return rows `start` to `stop` as what a frame is made of; without `caplen` where that is `length` again.

        Columns of `MASK_OF` have the mask of another: a frame made of them needs `copy_on_write.one_mask`.

        Parameters
        ----------
        start, stop
            The rows.
        copy
            False hands the memory itself over, for the last time: nothing may be written or read here afterwards.
        """
        result: dict[str, Any] = {}
        # All masks first: handing categories over may narrow the codes that tell some of them.
        masks = {
            owner: self._mask(owner, start, stop)
            for owner in {MASK_OF.get(entry.name, entry.name) for entry in self._columns if entry.dtype in _MASKED}
        }
        if copy:
            masks = {owner: mask.copy() for owner, mask in masks.items()}
        for entry in self._columns:
            name = entry.name
            if name == "caplen" and "length" in result and self._caplen is None:
                continue
            if entry.dtype == "category":
                result[name] = self._category(name, start, stop, copy)
                continue
            values: Any = self._values(name)[start:stop]
            if copy:
                values = values.copy()
            if entry.dtype not in _MASKED:
                result[name] = pd.array(values, dtype=entry.dtype, copy=False) if name == "time" else values
                continue
            mask = masks[MASK_OF.get(name, name)].view()  # an object of its own: pickle would keep one object one
            if entry.dtype == "boolean":
                result[name] = pd.arrays.BooleanArray(values.view(np.bool_), mask, copy=False)
            else:
                result[name] = pd.arrays.IntegerArray(values, mask, copy=False)
        return result

    def parts(self, start: int, stop: int) -> Iterator[tuple[Column, Array, Array | None]]:
        """Yield each column of rows `start` to `stop` with its values, or codes, and its mask, where it is nullable.

        All are views of the memory itself.
        """
        for entry in self._columns:
            values = self._values(entry.name)[start:stop]
            yield entry, values, self._mask(entry.name, start, stop) if entry.dtype in _MASKED else None

    def _values(self, name: str) -> Array:
        if name == "caplen":
            return self._fields["length"] if self._caplen is None else self._caplen
        return self._wide.get(name, self._fields[name])

    def _mask(self, name: str, start: int, stop: int) -> Array:
        name = MASK_OF.get(name, name)
        mask = self._fields[name + "_mask"][start:stop].view(np.bool_)
        if name in _TOLD:
            other, tell = _TOLD[name]
            tell(self._values(other)[start:stop], mask)
        return mask

    def _category(self, name: str, start: int, stop: int, copy: bool) -> pd.Categorical:
        codes = self._values(name)[start:stop]
        count = self._dictionaries.count(name)
        if DICTIONARY_OF.get(name) == _TEXT_TABLE or (copy and count > 2 * (stop - start) + 1000):
            return self._few_categories(name, codes, start, stop)
        # pandas keeps codes in the narrowest type that numbers the categories, and would copy to get there.
        dtype = np.dtype("i1" if count < 128 else "i2" if count < 32768 else "i4")  # noqa: PLR2004
        if copy or dtype.itemsize > codes.dtype.itemsize:
            codes = codes.astype(dtype)
        elif dtype.itemsize < codes.dtype.itemsize:
            codes = _narrowed(codes, dtype)
        return pd.Categorical.from_codes(codes, dtype=self._dictionaries.dtype(name), validate=False)

    def _few_categories(self, name: str, codes: Array, start: int, stop: int) -> pd.Categorical:
        """Return a category column with only the values seen in these rows, all columns of its dictionary alike."""
        together = [name]
        if name in DICTIONARY_OF and DICTIONARY_OF[name] != _TEXT_TABLE:
            together = [
                each for each in _TABLES[DICTIONARY_OF[name]] if each in self._fields and each not in self._shared
            ]
        seen = np.unique(np.concatenate([self._values(other)[start:stop] for other in together]))
        seen = seen[seen >= 0]
        texts: Sequence[str] | dict[int, str] = self._dictionaries.texts(name)
        if name in HEXADECIMAL:
            texts = dict(zip(seen.tolist(), self._dictionaries.hexadecimal(seen.tolist()), strict=True))
        places = np.searchsorted(seen, codes)
        places[codes < 0] = -1
        dtype = pd.CategoricalDtype(pd.Index([texts[code] for code in seen], dtype="str"))
        return pd.Categorical.from_codes(places, dtype=dtype, validate=False)

    def give(self, dissector: Any) -> None:
        """Let a dissector write here."""
        if self._numbered:
            dissector.numbers(self._numbers.data)
        caplen = {} if self._caplen is None else {"caplen": self._caplen.data}
        dissector.columns({name: field.data for name, field in self._fields.items()} | caplen)
        for table, columns in _WIDENED.items():
            if columns[0] in self._wide:
                dissector.widen(table, {name: self._wide[name].data for name in columns if name in self._wide})


def _narrowed(codes: Array, dtype: np.dtype[Any]) -> Array:
    """Narrow codes in their own memory, from the front: what is written lies at or before what is still to be read."""
    narrow = codes.view(dtype)[: codes.size]
    for at in range(0, codes.size, _BLOCK):
        narrow[at : at + _BLOCK] = codes[at : at + _BLOCK].copy()
    return narrow


def _grown(values: Array, rows: int, capacity: int) -> Array:
    grown = np.empty(capacity, values.dtype)
    grown[:rows] = values[:rows]
    return grown


def _field_size(dtype: np.dtype[Any], capacity: int) -> int:
    return -(-dtype.itemsize * capacity // _ALIGNMENT) * _ALIGNMENT


def _size(layout: list[tuple[str, np.dtype[Any]]], capacity: int) -> int:
    return sum(_field_size(dtype, capacity) for _, dtype in layout)
