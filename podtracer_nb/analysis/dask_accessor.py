"""`.podtrace` of a Dask DataFrame that `podtracer_nb.scan` made: the same answers, a partition at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from dask.dataframe.extensions import register_dataframe_accessor

from podtracer_nb.analysis import accessor
from podtracer_nb.analysis.conversations import combined, conversations
from podtracer_nb.errors import InputError

if TYPE_CHECKING:
    from scapy.packet import Packet

__all__ = ["DaskAccessor"]


@register_dataframe_accessor("podtrace")  # type: ignore[no-untyped-call]  # Dask's
class DaskAccessor:
    """Answers from a Dask DataFrame of packets; each method computes."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def meta(self) -> list[dict[str, Any]]:
        """Return what is known of the captures behind the partitions, one each."""
        return [found for part in self._each(_attrs) for found in part]

    def conversations(self) -> pd.DataFrame:
        """Return both directions of each pair of endpoints in one row: see `podtracer_nb.analysis.conversations`."""
        needed = ["time", "length", "src", "dst", "sport", "dport", "proto"]
        return combined([part[0] for part in DaskAccessor(self._frame[needed])._each(_conversations)])

    def rate(self, every: str = "1s") -> pd.DataFrame:
        """Return packets and bits a second: see `podtracer_nb.analysis.rate`."""
        frame = DaskAccessor(self._frame[["time", "length"]])
        first = frame._frame["time"].min().compute()
        if pd.isna(first):
            first = pd.Timestamp(0, tz="UTC")
        parts = [part[0] for part in frame._each(_sums, every, first.normalize())]
        total = pd.concat(parts).groupby(level=0).sum() if parts else pd.DataFrame()
        total = total.asfreq(every, fill_value=0) if len(total) else total
        seconds = pd.Timedelta(every).total_seconds()
        return pd.DataFrame(
            {"packets_per_s": total["packets"] / seconds, "bits_per_s": total["bytes"] * 8 / seconds}, dtype="float64"
        )

    def raw(self, frame: int, path: str | None = None) -> bytes:
        """Return the bytes of one packet, as captured.

        Parameters
        ----------
        frame
            The packet's number: its label in the index.
        path
            Of several captures: which one's packet, by its path.

        Raises
        ------
        InputError
            No such packet, or several.
        CaptureError
            The capture is gone.
        """
        return self._row(frame, path).podtrace.raw(frame)  # type: ignore[no-any-return]  # pandas' accessors are Any

    def packet(self, frame: int, path: str | None = None) -> Packet:
        """Return one packet, dissected by scapy: see `raw` for parameters and errors."""
        return self._row(frame, path).podtrace.packet(frame)  # type: ignore[no-any-return]  # pandas' accessors are Any

    def _row(self, frame: int, path: str | None) -> pd.DataFrame:
        found = [row for part in self._each(_rows, frame) for row in part]
        paths = [accessor.path_of(row, frame) for row in found]
        if path is not None:
            found = [row for row, where in zip(found, paths, strict=True) if where == path]
        if not found:
            raise InputError(f"no frame {frame} here")
        if len(found) > 1:
            raise InputError(f"frame {frame} is in several captures: name one of {sorted(map(str, paths))} as path")
        (row,) = found
        return cast(pd.DataFrame, row)

    def _each(self, function: Any, *arguments: Any) -> list[Any]:
        """Return what a function makes of every partition."""
        parts = self._frame.map_partitions(
            _boxed,
            function,
            arguments,
            meta=pd.Series([], dtype=object),
            align_dataframes=False,
            enforce_metadata=False,
        )
        found: list[Any] = parts.compute().tolist()
        return found


def _boxed(frame: pd.DataFrame, function: Any, arguments: tuple[Any, ...]) -> pd.Series[Any]:
    box = pd.Series([None], dtype=object)
    box.iloc[0] = function(frame, *arguments)
    return box


def _attrs(frame: pd.DataFrame) -> list[Any]:
    return [frame.attrs.get("podtracer", {})]


def _conversations(frame: pd.DataFrame) -> list[Any]:
    return [conversations(frame)]


def _sums(frame: pd.DataFrame, every: str, origin: pd.Timestamp) -> list[Any]:
    sampled = frame.set_index("time")["length"].astype("int64").resample(every, origin=origin)
    return [pd.DataFrame({"packets": sampled.count(), "bytes": sampled.sum()})]


def _rows(frame: pd.DataFrame, number: int) -> list[Any]:
    rows = frame[frame.index == number]
    return [rows] if len(rows) else []
