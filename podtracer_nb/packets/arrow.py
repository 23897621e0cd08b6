"""The packet table as Arrow arrays, straight from the reader's column memory: no frame is made on the way.

Values are handed over without a copy, masks become bitmaps, codes and their dictionaries Arrow's dictionary arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from podtracer_nb.packets.columns import HEXADECIMAL, ColumnMemory
from podtracer_nb.packets.dictionaries import DICTIONARY_OF, Dictionaries
from podtracer_nb.packets.schema import DECAPSULATED, INDEX, Column

__all__ = ["ArrowTables", "schema_of"]

Array = np.ndarray[Any, Any]

_TYPES: dict[str, pa.DataType] = {
    "datetime64[ns, UTC]": pa.timestamp("ns", tz="UTC"),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "UInt32": pa.uint32(),
    "UInt16": pa.uint16(),
    "UInt8": pa.uint8(),
    "boolean": pa.bool_(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "str": pa.string(),
}
_NO_TIME = np.iinfo(np.int64).min


def schema_of(frame: pd.DataFrame, comments: bool) -> pa.Schema:
    """Return the schema of tables of a frame's columns, with what pandas needs to know to have its dtypes again.

    `comments` adds the column that a pcapng's frame has where a packet has a comment: here nobody knows yet.
    """
    if comments and "comment" not in frame.columns:
        frame = frame.assign(comment=pd.Series(index=frame.index, dtype="str"))
    frame = frame.head(0)
    frame.attrs = {}
    with_metadata = pa.Schema.from_pandas(frame, preserve_index=True)
    fields = [pa.field(INDEX, pa.int64())]
    fields += [pa.field(name, _TYPES[str(dtype)]) for name, dtype in frame.dtypes.items()]
    by_name = {field.name: field for field in fields}
    return pa.schema([by_name[name] for name in with_metadata.names], metadata=with_metadata.metadata)


class ArrowTables:
    """Makes tables of a reader's rows, and remembers the dictionaries between them."""

    def __init__(self, dictionaries: Dictionaries) -> None:
        self._dictionaries = dictionaries
        self._known: dict[str, pa.Array] = {}

    def table(  # noqa: PLR0917 - what is known of the rows
        self, schema: pa.Schema, memory: ColumnMemory, rows: int, first: int, comments: dict[int, str], decap: bool
    ) -> pa.Table:
        """Return the first `rows` rows.

        Its arrays are views: they have to be used up before the memory is written again.

        Parameters
        ----------
        schema
            As `schema_of` returned it.
        memory
            The rows.
        rows
            How many.
        first
            The number of the first packet, where the memory does not have the numbers.
        comments
            By packet number.
        decap
            Whether columns have the names that they have in decapsulated frames.
        """
        numbers = memory.numbers(0, rows) if memory.numbered else np.arange(first, first + rows, dtype=np.int64)
        arrays = {INDEX: pa.array(numbers)}
        seen: dict[str, tuple[Array, pa.Array]] = {}
        parts = list(memory.parts(0, rows))
        for entry, values, mask in parts:
            if entry.dtype == "category":
                arrays[entry.name] = self._category(entry, values, parts, seen)
            else:
                arrays[entry.name] = _plain(entry, values, mask)
        if decap:
            arrays = {DECAPSULATED.get(name, name): array for name, array in arrays.items()}
        if "comment" in schema.names:
            arrays["comment"] = pa.array([comments.get(number) for number in numbers.tolist()], pa.string())
        return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)

    def _category(
        self,
        entry: Column,
        codes: Array,
        parts: list[tuple[Column, Array, Array | None]],
        seen: dict[str, tuple[Array, pa.Array]],
    ) -> pa.Array:
        key = DICTIONARY_OF.get(entry.name, entry.name)
        own = key == "texts"  # one table of very different columns: each has only its own values
        absent = codes < 0
        missing = int(np.count_nonzero(absent))
        # A capture may have more addresses than these rows: then only those that are in them, in all columns alike.
        if own or self._dictionaries.count(entry.name) > 2 * len(codes) + 1000:
            if own:
                places, dictionary = self._few(entry.name, [codes])
            elif key not in seen:
                together = [each for column, each, _ in parts if DICTIONARY_OF.get(column.name, column.name) == key]
                seen[key] = self._few(entry.name, together)
            if not own:
                places, dictionary = seen[key]
            indices = np.searchsorted(places, codes).astype(np.int32)
        else:
            dictionary = self._dictionary(entry.name, key)
            indices = codes.astype(np.int32)
        if missing == len(codes):
            # So that the columns of one dictionary have the same categories afterwards.
            indices = np.zeros(len(codes), np.int32)
        bitmap = pa.py_buffer(np.packbits(~absent, bitorder="little")) if missing else None
        filled = pa.Array.from_buffers(pa.int32(), len(codes), [bitmap, pa.py_buffer(indices)], missing)
        return pa.DictionaryArray.from_arrays(filled, dictionary, safe=False)

    def _few(self, name: str, columns: list[Array]) -> tuple[Array, pa.Array]:
        """Return the codes that are in some columns, in order, and their texts."""
        places = np.unique(np.concatenate(columns))
        places = places[places >= 0]
        if name in HEXADECIMAL:
            return places, pa.array(self._dictionaries.hexadecimal(places.tolist()), pa.string())
        texts = self._dictionaries.texts(name)
        return places, pa.array([texts[code] for code in places.tolist()], pa.string())

    def _dictionary(self, name: str, key: str) -> pa.Array:
        known = self._known.get(key)
        if known is None or len(known) != self._dictionaries.count(name):
            known = self._known[key] = pa.array(self._dictionaries.texts(name), pa.string())
        return known

    def forget(self) -> None:
        """Forget the dictionaries, which begin again."""
        self._known.clear()


def _plain(entry: Column, values: Array, mask: Array | None) -> pa.Array:
    kind = _TYPES[entry.dtype]
    if entry.name == "time" and len(values) and values.min() == _NO_TIME:
        mask = values == _NO_TIME
    missing = int(np.count_nonzero(mask)) if mask is not None else 0
    if missing == len(values):
        return pa.nulls(len(values), kind)
    bitmap = pa.py_buffer(np.packbits(~mask, bitorder="little")) if mask is not None and missing else None
    data = np.packbits(values.view(np.bool_), bitorder="little") if entry.dtype == "boolean" else values
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(data)], missing)
