"""Rates: packets and bytes in each interval of time."""

from __future__ import annotations

import pandas as pd

__all__ = ["rate"]


def rate(frame: pd.DataFrame, every: str = "1s") -> pd.DataFrame:
    """Return packets and bytes a second, in intervals of equal length.

    Parameters
    ----------
    frame
        A packet frame (columns `time`, `length`).
    every
        Length of an interval, in pandas' words: `1s`, `100ms`.

    Returns
    -------
    pandas.DataFrame
        Index `time` (datetime64[ns, UTC], the interval's beginning); `packets_per_s`, `bits_per_s` (float64, the
        length on the wire). Intervals without a packet are rows of zeros.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"time": pd.to_datetime([0, 100, 1200], unit="ms", utc=True), "length": [100, 100, 50]})
    >>> rate(frame).bits_per_s.tolist()
    [1600.0, 400.0]
    """
    seconds = pd.Timedelta(every).total_seconds()
    lengths = frame.set_index("time")["length"].astype("int64").resample(every)
    return pd.DataFrame(
        {"packets_per_s": lengths.count() / seconds, "bits_per_s": lengths.sum() * 8 / seconds}, dtype="float64"
    )
