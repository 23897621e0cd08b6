"""What a tool's output becomes: rows of named, typed columns with units; several tables where a tool has several."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime

    import pandas as pd

__all__ = ["Column", "Parsed", "Row", "Table", "Text", "Unreadable", "united"]

Row = Mapping[str, Any]


class Unreadable(Exception):
    """A tool's output is not in a form that we know; its lines are given in place of a wrong table."""


@dataclass(frozen=True)
class Column:
    """A column of a tool's table.

    Attributes
    ----------
    name
        The column's name: the field's own word for it.
    dtype
        The pandas dtype: `str`, `category`, `boolean`, `Int64`, `UInt64`, `Float64`, `datetime64[ns, UTC]`, or `object`
        for lists. A value that a row lacks is NA.
    unit
        The unit of the values, empty where they have none.
    meaning
        What the value says, in a line.
    counter
        Whether it only ever grows, so that two samples give a rate.
    optional
        Whether the column is left out where no row has it.
    """

    name: str
    dtype: str
    unit: str = ""
    meaning: str = ""
    counter: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """One table of a tool.

    Attributes
    ----------
    name
        What it is called where a tool has several: `intervals`, `summary`.
    columns
        Its columns, in their order. What a row has beside them is kept as further columns.
    key
        The columns that tell one row from another, from one sample to the next.
    """

    name: str
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()

    def frame(self, rows: Sequence[Row] | pd.DataFrame) -> pd.DataFrame:
        """Return the rows as a frame; what is one already has its columns' types.

        Raises
        ------
        Unreadable
            A value cannot be what its column is.

        Examples
        --------
        >>> table = Table("neighbours", (Column("dst", "str"), Column("probes", "Int64")))
        >>> table.frame([{"dst": "10.0.0.1", "probes": "2", "new": True}]).dtypes.astype(str).to_dict()
        {'dst': 'str', 'probes': 'Int64', 'new': 'boolean'}
        """
        import pandas as pd

        if isinstance(rows, pd.DataFrame):
            return rows
        described = {column.name: column for column in self.columns}
        present = dict.fromkeys(itertools.chain.from_iterable(rows))
        data: dict[str, Any] = {}
        for name, column in described.items():
            if not column.optional or name in present:
                data[name] = _array([row.get(name) for row in rows], column)
        for name in present:
            if name not in described:
                data[name] = _inferred([row.get(name) for row in rows])
        # The arrays are nobody else's: a copy of each would take a third of the time of a small frame.
        return pd.DataFrame(data, index=pd.RangeIndex(len(rows)), copy=False)


@dataclass(frozen=True)
class Text:
    """What one run of a tool wrote.

    Attributes
    ----------
    arguments
        The tool's own words, as they were given by the user.
    stdout, stderr
        What it wrote; bytes that are no UTF-8 are U+FFFD.
    exit_code
        Its exit status, or None where it was stopped or is one of several samples.
    started
        When it was started, in UTC.
    lines
        The lines of both streams with the time at which each arrived in nanoseconds since the epoch, and the stream's
        name; made when it is called.
    """

    arguments: tuple[str, ...]
    stdout: str
    stderr: str = ""
    exit_code: int | None = 0
    started: datetime.datetime | None = None
    lines: Any = field(default=tuple, repr=False)


@dataclass(frozen=True)
class Parsed:
    """What a tool's output says.

    Attributes
    ----------
    tables
        Rows by table; the first table is the frame that a run returns, the others `df.podtrace.table(NAME)`.
    facts
        What is said of the whole and of no row (loss, a summary), small: it goes into the provenance.
    notes
        What the user must not miss, a line each: an error that the tool tells in its output.
    """

    tables: tuple[tuple[Table, Sequence[Row] | pd.DataFrame], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _array(values: list[Any], column: Column) -> Any:
    """Return values as a typed array; text is read as a number where the column has numbers."""
    import pandas as pd

    dtype: Any = column.dtype
    try:
        if dtype in _NUMBERS:
            return _numbers(values, dtype)
        if dtype == "boolean":
            return pd.array(values, dtype=dtype)
        if dtype.startswith("datetime64"):
            return pd.to_datetime(pd.Series(values, dtype="object"), utc=True).astype(dtype)
        if dtype == "object":
            return pd.Series(values, dtype="object")
        words = [each if each is None or type(each) is str else _text(each) for each in values]
        return _categories(words) if dtype == "category" else pd.array(words, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"{column.name} is not {dtype} ({error})") from error


_NUMBERS = ("Int64", "UInt64", "Float64")


def _numbers(values: list[Any], dtype: str) -> Any:
    """Return numbers with their mask: what `pandas.array` does, without its search for what the values are."""
    import numpy as np
    import pandas as pd

    read = float if dtype == "Float64" else _integer
    if None in values:
        mask = np.array([each is None for each in values], dtype=bool)
        numbers = np.array([0 if each is None else read(each) for each in values], dtype=dtype.lower())
    else:
        mask = np.zeros(len(values), dtype=bool)
        numbers = np.array([read(each) for each in values], dtype=dtype.lower())
    if dtype != "Float64":
        return pd.arrays.IntegerArray(numbers, mask)
    return pd.arrays.FloatingArray(numbers, mask | np.isnan(numbers))


def _integer(value: Any) -> int:
    if type(value) is float and not value.is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _categories(words: list[str | None]) -> Any:
    """Return a categorical, its categories in their alphabetical order."""
    import numpy as np
    import pandas as pd

    names = sorted({each for each in words if each is not None})
    codes = {name: code for code, name in enumerate(names)}
    # NA has the code -1: pandas.Categorical.from_codes.
    numbers = np.array([-1 if each is None else codes[each] for each in words], dtype="int32")
    return pd.Categorical.from_codes(numbers, categories=pd.Index(names, dtype="str"), validate=False)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _inferred(values: list[Any]) -> Any:
    """Return values of a field that nobody described: with the type they have, or as text where they have several."""
    import pandas as pd

    kinds = {type(each) for each in values if each is not None}
    if kinds == {bool}:
        return pd.array(values, dtype="boolean")
    if kinds == {int} and all(each is None or -(1 << 63) <= each < 1 << 63 for each in values):
        return pd.array(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.array([None if each is None else float(each) for each in values], dtype="Float64")
    return pd.Series([None if each is None else _text(each) for each in values], dtype="str")


def united(frames: Sequence[pd.DataFrame]) -> None:
    """Give columns that are categories in all of the frames the same categories, in place.

    A concat of different categories would decay to plain strings.
    """
    import pandas as pd

    for name in dict.fromkeys(name for frame in frames for name in frame.columns):
        having = [frame for frame in frames if name in frame.columns]
        if all(isinstance(frame[name].dtype, pd.CategoricalDtype) for frame in having):
            union = having[0][name].cat.categories
            for frame in having[1:]:
                union = union.append(frame[name].cat.categories.difference(union, sort=False))
            for frame in having:
                frame[name] = frame[name].cat.set_categories(union)
