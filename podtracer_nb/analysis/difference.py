"""What has changed between two tables that describe a state: routes, neighbours, sockets, counters, rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from podtracer_nb.errors import InputError

__all__ = ["diff"]


def diff(before: pd.DataFrame, after: pd.DataFrame, *, key: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows that were added, removed or changed between two tables of one tool.

    Parameters
    ----------
    before, after
        Two results of the same command.
    key
        The columns that tell one row from another; by default those that the tool's table names, or all columns where
        it names none. Rows that share a key are paired in their order.

    Returns
    -------
    pandas.DataFrame
        A row a difference: `change` (category: added, removed, changed); the columns of the tables, with the values
        after (of a removed row: before); `changed` (str; names of the columns that changed, separated by commas); and
        for each column that changed in any row `NAME_before`, NA where it did not change.

    Raises
    ------
    InputError
        A column of the key is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> before = pd.DataFrame({"dst": ["10.0.0.0/8", "default"], "via": ["10.1.1.1", "10.1.1.1"]})
    >>> after = pd.DataFrame({"dst": ["default"], "via": ["10.1.1.2"]})
    >>> diff(before, after, key=["dst"])[["change", "dst", "via", "via_before"]].to_dict("records")[0]
    {'change': 'removed', 'dst': '10.0.0.0/8', 'via': '10.1.1.1', 'via_before': nan}
    """
    keys = _keys(before, after, key)
    old, new = (_indexed(frame, keys) for frame in (before, after))
    values = [name for name in dict.fromkeys([*before.columns, *after.columns]) if name not in keys]
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys([*old, *new]):
        if label not in new:
            rows.append({"change": "removed", **old[label], "changed": ""})
        elif label not in old:
            rows.append({"change": "added", **new[label], "changed": ""})
        else:
            was, now = old[label], new[label]
            changed = [name for name in values if not _same(was.get(name), now.get(name))]
            if changed:
                earlier = {f"{name}_before": was.get(name) for name in changed}
                rows.append({"change": "changed", **now, "changed": ",".join(changed), **earlier})
    return _frame(rows, before, after)


def _keys(before: pd.DataFrame, after: pd.DataFrame, key: Sequence[str] | None) -> list[str]:
    for frame in (before, after):
        if not isinstance(frame, pd.DataFrame):
            raise InputError(f"two tables are compared, and one of them is {type(frame).__name__}")
        twice = frame.columns[frame.columns.duplicated()]
        if len(twice):
            raise InputError(f"column {twice[0]!r} is there twice: rename one")
    if isinstance(key, str):
        raise InputError(f"key is a list of column names: [{key!r}]")
    both = [name for name in before.columns if name in after.columns]
    named = [frame.attrs.get("podtracer", {}).get("table", {}).get("key", []) for frame in (before, after)]
    keys = list(key) if key is not None else [name for name in named[1] or named[0] if name in both]
    missing = [name for name in keys if name not in both]
    if missing:
        raise InputError(f"no column {missing[0]!r} in both tables to tell rows apart by")
    if "target" in both and keys and "target" not in keys:
        keys.insert(0, "target")
    return keys or both


def _indexed(frame: pd.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return rows by their key, and by a number among those that share one."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for row in frame.to_dict("records"):
        label = tuple(_comparable(row[name]) for name in keys)
        number = seen[label] = seen.get(label, -1) + 1
        found[*label, number] = {str(name): value for name, value in row.items()}
    return found


def _comparable(value: Any) -> Any:
    if isinstance(value, list | dict):
        return repr(value)
    return None if pd.isna(value) else value


def _same(one: Any, other: Any) -> bool:
    return bool(_comparable(one) == _comparable(other))


def _frame(rows: list[dict[str, Any]], before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the dtypes that the tables have."""
    dtypes: dict[Any, Any] = {**before.dtypes.to_dict(), **after.dtypes.to_dict()}
    names = ["change", *dict.fromkeys([*before.columns, *after.columns]), "changed"]
    names += dict.fromkeys(name for row in rows for name in row if name not in names)
    data = {}
    for name in names:
        values = [row.get(name) for row in rows]
        dtype: Any = dtypes.get(name, dtypes.get(name.removesuffix("_before")))
        if name == "change":
            data[name] = pd.Series(pd.Categorical(values, categories=["added", "removed", "changed"]))
        elif name == "changed":
            data[name] = pd.Series(values, dtype="str")
        elif isinstance(dtype, pd.CategoricalDtype):
            data[name] = pd.Series(values, dtype="str").astype("category")
        else:
            data[name] = pd.Series(values, dtype=_nullable(dtype, values))
    return pd.DataFrame(data)


def _nullable(dtype: Any, values: list[Any]) -> Any:
    """Return the dtype, or its nullable form where a row lacks a value that numpy has no word for."""
    name = str(dtype)
    if any(value is None for value in values) and name[:3] in ("int", "uin", "boo"):
        return {"bool": "boolean"}.get(name, name.replace("int", "Int").replace("uInt", "UInt"))
    return dtype
