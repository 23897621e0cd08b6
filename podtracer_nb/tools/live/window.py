"""The last packets of a capture: one table in memory that is written at its end and forgotten at its beginning.

Rows are appended to arrays with room for twice the window. When they are full the window's rows move to the front of
new ones, so each row is copied about once. The values of categories are kept in one dictionary for all columns that
share theirs (`src` and `dst`), which is made anew from what the window still holds when it has outgrown that.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.errors import InputError
from podtracer_nb.packets.dictionaries import DICTIONARY_OF
from podtracer_nb.packets.schema import INDEX

__all__ = ["Extent", "Window"]

Array = np.ndarray[Any, Any]

ROWS = 100_000
MOST_ROWS = 5_000_000  # of a window of seconds
_FIRST_ROWS = 4096
_SPARE_VALUES = 1000
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Extent:
    """How much a window holds.

    Attributes
    ----------
    rows
        At most so many packets.
    seconds
        No packet that is so much older than the newest; None: no matter how old.
    """

    rows: int = ROWS
    seconds: float | None = None

    @classmethod
    def parse(cls, value: int | str | None) -> Extent:
        """Return what a number of rows or a text such as "30s" says.

        Raises
        ------
        InputError
            It says neither.

        Examples
        --------
        >>> Extent.parse("1.5m").seconds, Extent.parse(5000).rows
        (90.0, 5000)
        """
        if value is None:
            return cls()
        if isinstance(value, str):
            found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", value.strip(), re.ASCII)
            if found and float(found[1]) > 0:
                return cls(MOST_ROWS, float(found[1]) * _UNITS[found[2]])
            if re.fullmatch(r"\d+", value.strip(), re.ASCII):
                value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_ROWS:
            return cls(value)
        raise InputError(
            f"window={value!r} is neither a number of packets (at most {MOST_ROWS:,}) nor a time such as '30s'"
        )


class _Values:
    """The values that the codes of one or several columns stand for."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        self._dtype: pd.CategoricalDtype | None = None
        self._last: tuple[object, Array] | None = None

    def codes(self, categories: pd.Index[Any]) -> Array:
        """Return the code of each category; new ones get theirs."""
        # A reader hands the same object over for as long as nothing new comes.
        if self._last is not None and self._last[0] is categories:
            return self._last[1]
        known = self._codes
        for text in categories:
            if text not in known:
                known[text] = len(self.texts)
                self.texts.append(text)
        codes = np.fromiter((known[text] for text in categories), np.int32, len(categories))
        self._last = (categories, codes)
        return codes

    @property
    def dtype(self) -> pd.CategoricalDtype:
        if self._dtype is None or len(self._dtype.categories) != len(self.texts):
            self._dtype = pd.CategoricalDtype(pd.Index(self.texts, dtype="str"))
        return self._dtype

    def keep(self, used: Array) -> Array:
        """Keep only the values of these codes, in ascending order; return the new code of every old one."""
        new = np.full(len(self.texts) + 1, -1, np.int32)  # the last one is for -1
        new[used] = np.arange(len(used), dtype=np.int32)
        self.texts = [self.texts[code] for code in used.tolist()]
        self._codes = {text: code for code, text in enumerate(self.texts)}
        self._dtype = self._last = None
        return new


class Window:
    """The last packets.

    Parameters
    ----------
    extent
        How many.
    empty
        A frame without rows that has the columns.
    """

    def __init__(self, extent: Extent, empty: pd.DataFrame) -> None:
        self._extent = extent
        self._dtypes = dict(empty.dtypes)
        self._lock = threading.Lock()
        self._start = self._stop = 0
        self._numbers = np.empty(0, np.int64)
        self._arrays: dict[str, Array] = {}
        self._masks: dict[str, Array] = {}
        self._values: dict[str, _Values] = {}
        for name, dtype in self._dtypes.items():
            if isinstance(dtype, pd.CategoricalDtype):
                self._values.setdefault(DICTIONARY_OF.get(str(name), str(name)), _Values())
                self._arrays[str(name)] = np.empty(0, np.int32)
            elif isinstance(dtype, pd.DatetimeTZDtype):
                self._arrays[str(name)] = np.empty(0, np.int64)
            elif isinstance(dtype, np.dtype):
                self._arrays[str(name)] = np.empty(0, dtype)
            else:  # nullable
                self._arrays[str(name)] = np.empty(0, dtype.numpy_dtype)
                self._masks[str(name)] = np.empty(0, np.bool_)

    def __len__(self) -> int:
        return self._stop - self._start

    def add(self, chunk: pd.DataFrame) -> None:
        """Append packets, and forget those that the window is not to hold any more."""
        chunk = chunk.iloc[-self._extent.rows :]
        count = len(chunk)
        if not count:
            return
        with self._lock:
            if self._stop + count > len(self._numbers):
                self._move(count)
            at, to = self._stop, self._stop + count
            self._numbers[at:to] = chunk.index.to_numpy()
            for name, array in self._arrays.items():
                column = chunk[name].array
                if isinstance(column, pd.Categorical):
                    codes = self._values[DICTIONARY_OF.get(name, name)].codes(column.categories)
                    # Code -1 takes what is appended last: NA stays NA.
                    array[at:to] = np.append(codes, np.int32(-1))[column.codes]
                elif name in self._masks:
                    self._masks[name][at:to] = column.isna()
                    array[at:to] = column.to_numpy(array.dtype, na_value=0)
                elif isinstance(column, pd.arrays.DatetimeArray):
                    array[at:to] = column.view(np.int64)
                else:
                    array[at:to] = np.asarray(column)
            self._stop = to
            self._trim()

    def _trim(self) -> None:
        self._start = max(self._start, self._stop - self._extent.rows)
        if self._extent.seconds is not None and "time" in self._arrays:
            times = self._arrays["time"][self._start : self._stop]
            oldest = times[-1] - int(self._extent.seconds * 1e9)
            self._start += int(np.searchsorted(times, oldest))

    def _move(self, count: int) -> None:
        """Make room for `count` more, in new arrays that begin with what the window holds."""
        held = slice(self._start, self._stop)
        rows = self._stop - self._start
        self._forget_values(held)
        size = max(_FIRST_ROWS, 2 * (rows + count))
        size = min(size, max(2 * self._extent.rows, rows + count))

        def moved(array: Array) -> Array:
            new = np.empty(size, array.dtype)
            new[:rows] = array[held]
            return new

        self._numbers = moved(self._numbers)
        self._arrays = {name: moved(array) for name, array in self._arrays.items()}
        self._masks = {name: moved(array) for name, array in self._masks.items()}
        self._start, self._stop = 0, rows

    def _forget_values(self, held: slice) -> None:
        for table, values in self._values.items():
            if len(values.texts) <= 2 * (held.stop - held.start) + _SPARE_VALUES:
                continue
            names = [
                each
                for each, dtype in self._dtypes.items()
                if isinstance(dtype, pd.CategoricalDtype) and DICTIONARY_OF.get(str(each), str(each)) == table
            ]
            used = np.unique(np.concatenate([self._arrays[str(name)][held] for name in names]))
            new = values.keep(used[used >= 0])
            for name in names:
                self._arrays[str(name)][held] = new[self._arrays[str(name)][held]]

    def frame(self) -> pd.DataFrame:
        """Return what the window holds, copied, without attributes."""
        with self._lock:
            held = slice(self._start, self._stop)
            columns = {str(name): self._column(str(name), dtype, held) for name, dtype in self._dtypes.items()}
            index = pd.Index(self._numbers[held].copy(), name=INDEX)
        return pd.DataFrame(columns, index=index, copy=False)

    def _column(self, name: str, dtype: Any, held: slice) -> Any:
        values = self._arrays[name][held].copy()
        if isinstance(dtype, pd.CategoricalDtype):
            table = self._values[DICTIONARY_OF.get(name, name)]
            return pd.Categorical.from_codes(values, dtype=table.dtype, validate=False)
        if isinstance(dtype, pd.DatetimeTZDtype):
            return pd.array(values, dtype=dtype, copy=False)
        if name in self._masks:
            mask = self._masks[name][held].copy()
            if dtype == "boolean":
                return pd.arrays.BooleanArray(values, mask, copy=False)
            return pd.arrays.IntegerArray(values, mask, copy=False)
        return values
