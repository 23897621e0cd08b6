"""Which rows of a frame a packet list shows, and in which order: a query's text and a column to sort by."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from podtracer_nb.errors import InputError

__all__ = ["Rows", "Shown", "clause", "conversation_clause", "signature"]

Array = npt.NDArray[Any]

_LAST = np.iinfo(np.int64).max
# To order addresses as numbers is worth it while there are few enough of them.
_MOST_ADDRESSES = 50_000
_ENDPOINTS = ("src", "dst", "sport", "dport")


@dataclass(frozen=True)
class Shown:
    """What is shown of a frame.

    Attributes
    ----------
    query
        The text that the rows were chosen by; empty for all.
    sort
        The column that they are ordered by, after a minus where the largest is first; empty for the frame's order.
    positions
        Where in the frame each row is that is shown, or None for all of them as they are.
    total
        How many rows the frame has.
    """

    query: str
    sort: str
    positions: Array | None
    total: int

    def __len__(self) -> int:
        return self.total if self.positions is None else len(self.positions)

    def at(self, first: int, stop: int) -> Array:
        """Return the positions in the frame of the rows `first` to `stop`."""
        if self.positions is None:
            return np.arange(first, min(stop, self.total))
        return self.positions[first:stop]

    def row_of(self, position: int) -> int | None:
        """Return which row shows a position of the frame, or None."""
        if self.positions is None:
            return position if 0 <= position < self.total else None
        found = np.flatnonzero(self.positions == position)
        return int(found[0]) if len(found) else None


class Rows:
    """Chooses and orders rows of one frame; what was worked out last is kept for the next question.

    Parameters
    ----------
    frame
        The frame; it must not change.

    Examples
    --------
    >>> rows = Rows(pd.DataFrame({"length": [60, 1500, 90]}))
    >>> shown = rows.show("length < 100", "-length")
    >>> shown.at(0, 10).tolist()
    [2, 0]
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._chosen: tuple[str, Array] | None = None
        self._ordered: tuple[str, Array] | None = None

    def show(self, query: str, sort: str, names: Mapping[str, Any] | None = None) -> Shown:
        """Return the rows for a query and an order.

        Parameters
        ----------
        query
            An expression as `pandas.DataFrame.query` takes it.
        sort
            A column's name, after a minus for the largest first.
        names
            What `@name` in the query stands for.

        Raises
        ------
        InputError
            The query cannot be read or gives no truth value a row; there is no such column.
        """
        query = query.strip()
        mask = self._mask(query, names or {}) if query else None
        order = self._order(sort) if sort else None
        if mask is None:
            positions = order
        elif order is None:
            positions = np.flatnonzero(mask).astype(np.uint32)
        else:
            positions = order[mask[order]]
        return Shown(query, sort, positions, len(self._frame))

    def _mask(self, query: str, names: Mapping[str, Any]) -> Array:
        # A name may stand for something else the next time.
        if self._chosen is not None and self._chosen[0] == query and "@" not in query:
            return self._chosen[1]
        mask = _truth(self._frame, query, names)
        self._chosen = (query, mask)
        return mask

    def _order(self, sort: str) -> Array:
        if self._ordered is not None and self._ordered[0] == sort:
            return self._ordered[1]
        name, falling = sort.removeprefix("-"), sort.startswith("-")
        key = sort_key(self._frame, name)
        if falling:
            key = np.where(key == _LAST, _LAST, -key)
        order = np.argsort(key, kind="stable").astype(np.uint32)
        self._ordered = (sort, order)
        return order


def _truth(frame: pd.DataFrame, query: str, names: Mapping[str, Any]) -> Array:
    try:
        # The expression is the user's own and may call anything, so it may raise anything.
        value = frame.eval(query, engine="python", local_dict=dict(names), global_dict={})
    except Exception as error:
        raise InputError(_reason(frame, error)) from error
    if isinstance(value, (bool, np.bool_)):
        return np.full(len(frame), bool(value))
    if not isinstance(value, pd.Series) or len(value) != len(frame) or not pd.api.types.is_bool_dtype(value.dtype):
        raise InputError("a filter is true or false for each packet: compare a column with something")
    return value.to_numpy(bool, na_value=False)


def _reason(frame: pd.DataFrame, error: Exception) -> str:
    if isinstance(error, NameError):
        word = str(error).split("'")[1] if "'" in str(error) else str(error)
        nearest = difflib.get_close_matches(word, [str(name) for name in frame.columns], 1)
        return f"there is no column {word!r}" + (f": {nearest[0]!r}?" if nearest else "")
    if isinstance(error, SyntaxError):
        return f"this cannot be read as a query: {error.msg}"
    text = " ".join(str(error).split()) or type(error).__name__
    if "datetime64" in text and "Invalid comparison" in text:
        text += "; write a time with its zone: '2026-01-31 12:00Z'"
    return text[:300]


def sort_key(frame: pd.DataFrame, name: str) -> Array:
    """Return numbers that are in order as the column's values are; where there is no value, the largest.

    Raises
    ------
    InputError
        There is no such column.
    """
    if name == frame.index.name or (name == "frame" and name not in frame.columns):
        return frame.index.to_numpy() if frame.index.dtype.kind in "iu" else np.arange(len(frame))
    if name not in frame.columns:
        raise InputError(f"there is no column {name!r} to sort by")
    values = frame[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        rank = _ranks(values.dtype.categories)
        return np.append(rank, _LAST)[values.cat.codes.to_numpy()]
    if values.dtype.kind in "mM":
        times = values.astype("int64").to_numpy()
        return np.where(values.isna().to_numpy(), _LAST, times)
    if values.dtype.kind in "iub":
        return values.to_numpy(np.int64, na_value=_LAST) if values.hasnans else values.to_numpy().astype(np.int64)
    codes, _ = pd.factorize(values, sort=True)
    return np.where(codes < 0, _LAST, codes)


def _ranks(categories: pd.Index[Any]) -> Array:
    texts = list(categories)
    key = _address if len(texts) <= _MOST_ADDRESSES else str
    order = sorted(range(len(texts)), key=lambda n: key(texts[n]))
    ranks = np.empty(len(texts), np.int64)
    ranks[order] = np.arange(len(texts))
    return ranks


def _address(text: object) -> tuple[int, int, str]:
    """Return what orders addresses by their numbers, IPv4 first, and everything else by its text after them."""
    if isinstance(text, str) and text[:1] in "0123456789abcdef:" and ("." in text or ":" in text):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return 9, 0, text
        return address.version, int(address), ""
    return 9, 0, str(text)


def clause(frame: pd.DataFrame, position: int, name: str, *, equal: bool) -> str:
    """Return the query that tells the rows which have, or have not, the value of one cell.

    Raises
    ------
    InputError
        The column is none of the frame's, so no query can name it.

    Examples
    --------
    >>> clause(pd.DataFrame({"src": ["10.0.0.1"]}), 0, "src", equal=False)
    "src != '10.0.0.1'"
    """
    if name not in frame.columns:
        known = name == frame.index.name
        if not known:
            raise InputError(f"{name} is made for this list and no column of the frame: filter by another")
        return f"{_quoted(name)} {'==' if equal else '!='} {frame.index[position]!r}"
    value = frame[name].iloc[position]
    if pd.isna(value):
        return f"{_quoted(name)}.{'isna' if equal else 'notna'}()"
    if isinstance(value, pd.Timestamp):
        # pandas' query finds no time by `==` with a text: it looks for the text itself.
        between = f"({_quoted(name)} >= {value.isoformat()!r} and {_quoted(name)} <= {value.isoformat()!r})"
        return between if equal else f"~{between}"
    if isinstance(value, (bool, np.bool_)):
        literal = str(bool(value))
    elif isinstance(value, (int, np.integer)):
        literal = str(int(value))
    elif isinstance(value, (float, np.floating)):
        literal = repr(float(value))
    else:
        literal = repr(str(value))
    return f"{_quoted(name)} {'==' if equal else '!='} {literal}"


def conversation_clause(frame: pd.DataFrame, position: int) -> str:
    """Return the query that tells both directions of a packet's conversation.

    Raises
    ------
    InputError
        The packet has no addresses.
    """
    if not {"src", "dst"} <= set(frame.columns):
        raise InputError("only packets with the columns src and dst are in a conversation")
    names = [name for name in (*_ENDPOINTS, "proto") if name in frame.columns]
    values = {name: frame[name].iloc[position] for name in names}
    if pd.isna(values["src"]) or pd.isna(values["dst"]):
        raise InputError("this packet has no addresses, so it is in no conversation")
    turned = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}
    there, back = [], []
    for name in names:
        if pd.isna(values[name]):
            continue
        literal = repr(str(values[name])) if name in ("src", "dst", "proto") else str(int(values[name]))
        there.append(f"{name} == {literal}")
        back.append(f"{turned.get(name, name)} == {literal}")
    return f"(({' and '.join(there)}) or ({' and '.join(back)}))"


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"`{name}`"


def signature(frame: pd.DataFrame) -> tuple[object, ...]:
    """Return what differs once a frame was changed: its size, its columns, and where their values are.

    pandas copies on write (pandas 3): what is assigned to lies elsewhere afterwards.
    """
    return (
        len(frame),
        tuple(frame.columns),
        *(_address_of(frame[name].array) for name in frame.columns),
        _place(frame.index),
    )


def _place(index: pd.Index[Any]) -> object:
    if isinstance(index, pd.RangeIndex):  # it has no array, and would make one to show it
        return index.start, index.stop, index.step
    return _address_of(index.array)


def _address_of(values: Any) -> object:
    for part in ("_data", "_ndarray", "_codes"):
        values = getattr(values, part, values)
    return values.__array_interface__["data"][0] if isinstance(values, np.ndarray) else id(values)
