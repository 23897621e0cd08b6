"""TCP segments that repeat an earlier one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from podtracer_nb.analysis.activity import hashing

__all__ = ["Segments"]

_BITS = 18


class Segments:
    """Remembers segments, as many as its table has places, and tells those that come again.

    The table has one place a key, and what comes later takes it: it never grows, forgets the old by itself, and never
    calls a segment repeated that was not; a repetition after some 200,000 other segments may be missed.

    Examples
    --------
    >>> seen = Segments()
    >>> seen.repeated(np.array([1, 2, 1], np.uint64)).tolist()
    [False, False, True]
    >>> seen.repeated(np.array([2, 3], np.uint64)).tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self._table = np.zeros(1 << _BITS, np.uint64)

    def repeated(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Tell which keys came before, in this call or an earlier one."""
        places = hashing.slots(keys, _BITS)
        again = pd.Series(keys).duplicated().to_numpy() | (self._table[places] == keys)
        self._table[places] = keys
        return np.asarray(again, bool)
