"""What a frame has to have to be one of packets."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from podtracer_nb.errors import InputError

__all__ = ["with_columns"]

_CATEGORIES = frozenset({"src", "dst", "proto"})


def with_columns(frame: pd.DataFrame, names: Sequence[str], purpose: str) -> pd.DataFrame:
    """Return a frame of packets, with categories where a frame that was worked on has others' dtypes.

    Parameters
    ----------
    frame
        The frame.
    names
        The columns that are needed.
    purpose
        What they are needed for, to be read before "packets".

    Raises
    ------
    InputError
        A column is missing, or its values cannot be what its name says.

    Examples
    --------
    >>> import pandas as pd
    >>> with_columns(pd.DataFrame({"src": ["10.0.0.1"]}), ["src"], "hosts are seen in").src.dtype.name
    'category'
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InputError(f"{purpose} packets: this frame has no column {missing[0]}")
    for name in names:
        dtype = frame[name].dtype
        if name not in _CATEGORIES:
            is_kind = pd.api.types.is_datetime64_any_dtype if name == "time" else pd.api.types.is_numeric_dtype
            if not is_kind(dtype):
                raise InputError(f"{purpose} packets: this frame's column {name} has values of dtype {dtype}")
        elif not isinstance(dtype, pd.CategoricalDtype):
            frame = frame.assign(**{name: frame[name].astype("str").astype("category")})
    if {"src", "dst"} <= set(names) and frame["src"].dtype != frame["dst"].dtype:
        # One code is one host, in either column.
        hosts = pd.CategoricalDtype(frame["src"].cat.categories.union(frame["dst"].cat.categories, sort=False))
        frame = frame.assign(src=frame["src"].astype(hosts), dst=frame["dst"].astype(hosts))
    return frame
