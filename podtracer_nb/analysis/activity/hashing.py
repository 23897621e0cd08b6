"""64-bit keys of packets, made for whole columns at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["of_texts", "of_values", "slots"]

Keys = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: Knuth's multiplicative hashing


def of_texts(texts: npt.NDArray[Any]) -> Keys:
    """Return a key of each text, the same in every chunk."""
    return pd.util.hash_array(np.asarray(texts, object), categorize=False)


def of_values(*columns: npt.NDArray[Any]) -> Keys:
    """Return a key of each row of several columns of numbers.

    Examples
    --------
    >>> one, two = of_values(np.array([1, 2]), np.array([2, 1]))
    >>> bool(one != two)
    True
    """
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        keys = (keys ^ column.astype(np.uint64)) * _ODD
        keys ^= keys >> np.uint64(29)
    return keys


def slots(keys: Keys, bits: int) -> npt.NDArray[np.int64]:
    """Return the place of each key in a table of ``2 ** bits``."""
    return ((keys * _ODD) >> np.uint64(64 - bits)).astype(np.int64)
