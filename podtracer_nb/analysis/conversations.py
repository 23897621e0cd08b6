"""Conversations: both directions of each pair of endpoints in one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from podtracer_nb.analysis.required import with_columns

__all__ = ["combined", "conversations"]

_NEEDED = ("time", "length", "src", "dst", "sport", "dport", "proto")
_PORTLESS = -1


def conversations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the conversations of a packet frame, those with most bytes first.

    Parameters
    ----------
    frame
        A packet frame (columns `time`, `length`, `src`, `dst`, `sport`, `dport`, `proto`). Packets without an IP or
        ARP address are left out.

    Returns
    -------
    pandas.DataFrame
        A row a conversation. `a`, `b` (category): the endpoints; a is the one that sent the first packet seen.
        `a_port`, `b_port` (UInt16, NA without ports) · `proto` (category) · `packets_ab`, `packets_ba`, `bytes_ab`,
        `bytes_ba` (int64; bytes as on the wire) · `start` (datetime64[ns, UTC]) · `duration` (timedelta64[ns]).

    Raises
    ------
    KeyError
        The frame is not one of packets.

    Examples
    --------
    >>> import pandas as pd
    >>> time = pd.to_datetime([0, 1], unit="s", utc=True)
    >>> hosts = pd.CategoricalDtype(["10.0.0.1", "10.0.0.2"])
    >>> frame = pd.DataFrame({"time": time, "length": [60, 1500],
    ...     "src": pd.Series(["10.0.0.1", "10.0.0.2"], dtype=hosts),
    ...     "dst": pd.Series(["10.0.0.2", "10.0.0.1"], dtype=hosts),
    ...     "sport": pd.array([5000, 80], "UInt16"), "dport": pd.array([80, 5000], "UInt16"),
    ...     "proto": pd.Categorical(["tcp", "tcp"])})
    >>> conversations(frame)[["a", "b", "b_port", "packets_ab", "bytes_ba"]].values.tolist()
    [['10.0.0.1', '10.0.0.2', 80, 1, 1500]]
    """
    frame = with_columns(
        frame, ("time", "length", "src", "dst", "sport", "dport", "proto"), "conversations are made of"
    )
    addressed = frame[frame["src"].notna() & frame["dst"].notna()]
    hosts = cast("pd.CategoricalDtype[str]", addressed["src"].dtype)
    protocols = cast("pd.CategoricalDtype[str]", addressed["proto"].dtype)
    src = addressed["src"].cat.codes.to_numpy(np.int64)
    dst = addressed["dst"].cat.codes.to_numpy(np.int64)
    sport = addressed["sport"].to_numpy(np.int64, na_value=_PORTLESS)
    dport = addressed["dport"].to_numpy(np.int64, na_value=_PORTLESS)
    # One key for both directions: the smaller (address, port) first.
    forward = (src < dst) | ((src == dst) & (sport <= dport))
    key = pd.DataFrame(
        {
            "low": np.where(forward, src, dst),
            "high": np.where(forward, dst, src),
            "low_port": np.where(forward, sport, dport),
            "high_port": np.where(forward, dport, sport),
            "proto": addressed["proto"].cat.codes.to_numpy(np.int64),
        }
    )
    length = addressed["length"].to_numpy(np.int64)
    counted = key.assign(
        time=addressed["time"].to_numpy(),
        forward=forward,
        forward_bytes=np.where(forward, length, 0),
        bytes=length,
    )
    grouped = counted.groupby(list(key.columns), sort=False, observed=True)
    rows = grouped.agg(
        start=("time", "min"),
        end=("time", "max"),
        first_forward=("forward", "first"),
        packets=("bytes", "size"),
        packets_forward=("forward", "sum"),
        bytes=("bytes", "sum"),
        bytes_forward=("forward_bytes", "sum"),
    ).reset_index()
    turned = rows["first_forward"].to_numpy(bool)

    def side(one: str, other: str) -> npt.NDArray[np.int64]:
        return np.where(turned, rows[one].to_numpy(np.int64), rows[other].to_numpy(np.int64))

    def port(values: npt.NDArray[np.int64]) -> pd.Series[Any]:
        return pd.Series(values).replace(_PORTLESS, pd.NA).astype("UInt16")

    packets, forwarded = rows["packets"].to_numpy(np.int64), rows["packets_forward"].to_numpy(np.int64)
    octets, octets_forward = rows["bytes"].to_numpy(np.int64), rows["bytes_forward"].to_numpy(np.int64)
    start = pd.to_datetime(rows["start"], utc=True).astype("datetime64[ns, UTC]")
    end = pd.to_datetime(rows["end"], utc=True).astype("datetime64[ns, UTC]")
    result = pd.DataFrame(
        {
            "a": pd.Categorical.from_codes(side("low", "high"), dtype=hosts),
            "a_port": port(side("low_port", "high_port")),
            "b": pd.Categorical.from_codes(side("high", "low"), dtype=hosts),
            "b_port": port(side("high_port", "low_port")),
            "proto": pd.Categorical.from_codes(rows["proto"].to_numpy(np.int64), dtype=protocols),
            "packets_ab": np.where(turned, forwarded, packets - forwarded),
            "packets_ba": np.where(turned, packets - forwarded, forwarded),
            "bytes_ab": np.where(turned, octets_forward, octets - octets_forward),
            "bytes_ba": np.where(turned, octets - octets_forward, octets_forward),
            "start": start,
            "duration": (end - start).astype("timedelta64[ns]"),
        }
    )
    total = result["bytes_ab"] + result["bytes_ba"]
    order = total.sort_values(ascending=False, kind="stable").index
    result = result.loc[order].reset_index(drop=True)
    result.attrs = dict(frame.attrs)
    return result


def combined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one table of conversations of several of different packets: conversations go on.

    Parameters
    ----------
    tables
        As `conversations` returns them, in any order.

    Returns
    -------
    pandas.DataFrame
        As `conversations` returns.

    Examples
    --------
    >>> import pandas as pd
    >>> host = pd.Categorical(["10.0.0.1"])
    >>> talk = pd.DataFrame({"a": host, "a_port": pd.array([5000], "UInt16"),
    ...     "b": host, "b_port": pd.array([80], "UInt16"), "proto": pd.Categorical(["tcp"]),
    ...     "packets_ab": [1], "packets_ba": [0], "bytes_ab": [60], "bytes_ba": [0],
    ...     "start": pd.to_datetime([1], unit="s", utc=True), "duration": pd.to_timedelta([1], unit="s")})
    >>> combined([talk, talk])["bytes_ab"].tolist()
    [120]
    """
    ends = ["a", "a_port", "b", "b_port"]
    table = pd.concat([each.astype({"a": "str", "b": "str", "proto": "str"}) for each in tables], ignore_index=True)
    table["end"] = table["start"] + table["duration"]
    sides = [
        list(zip(table[host], table[f"{host}_port"].astype("Int64").fillna(_PORTLESS), strict=True)) for host in "ab"
    ]
    turned = np.array([one > other for one, other in zip(*sides, strict=True)], dtype=bool)
    table["turned"] = turned
    key = pd.DataFrame({"low": [min(pair) for pair in zip(*sides, strict=True)]})
    key["high"] = [max(pair) for pair in zip(*sides, strict=True)]
    key["proto"] = table["proto"].fillna("")
    table["key"] = key.groupby(["low", "high", "proto"], sort=False).ngroup()
    for what in ("packets", "bytes"):
        # Counted in one direction for all, until it is known who began.
        ab, ba = table[f"{what}_ab"].to_numpy(np.int64), table[f"{what}_ba"].to_numpy(np.int64)
        table[f"{what}_ab"], table[f"{what}_ba"] = np.where(turned, ba, ab), np.where(turned, ab, ba)
    first = table.sort_values("start", kind="stable").drop_duplicates("key").set_index("key").sort_index()
    sums = table.groupby("key")[["packets_ab", "packets_ba", "bytes_ab", "bytes_ba"]].sum()
    result = first[[*ends, "proto", "start"]].copy()
    for what in ("packets", "bytes"):
        back = first["turned"].to_numpy(bool)
        one, other = sums[f"{what}_ab"].to_numpy(), sums[f"{what}_ba"].to_numpy()
        result[f"{what}_ab"], result[f"{what}_ba"] = np.where(back, other, one), np.where(back, one, other)
    result["duration"] = (table.groupby("key")["end"].max() - result["start"]).astype("timedelta64[ns]")
    hosts = pd.CategoricalDtype(pd.Index(pd.unique(pd.concat([result["a"], result["b"]])), dtype="str"))
    result = result.astype({"a": hosts, "b": hosts, "proto": "category"})
    columns = [*ends, "proto", "packets_ab", "packets_ba", "bytes_ab", "bytes_ba", "start", "duration"]
    total = result["bytes_ab"] + result["bytes_ba"]
    return result.loc[total.sort_values(ascending=False, kind="stable").index, columns].reset_index(drop=True)
