"""Which columns a list of a frame can show: the frame's own, and some that are made of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from podtracer_nb.errors import InputError
from podtracer_nb.packets import schema

__all__ = ["Columns"]

_DEFAULT = ("frame", "target", "seconds", "src", "dst", "proto", "length", "info")
_LOOKED_AT = 1 << 20  # rows in which a first time is looked for at once
_MADE = {
    "frame": "the packet's number",
    "seconds": "time since the first packet, in seconds",
    "info": "what the packet says, in a line",
}


class Columns:
    """The columns of a frame's list.

    Attributes
    ----------
    start
        When the first packet was; None where no row has a time.

    Examples
    --------
    >>> Columns(pd.DataFrame({"a": [1]})).default
    ['a']
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.start = _first_time(frame)

    @property
    def default(self) -> list[str]:
        """Those that a list has at first: Wireshark's for packets, all for anything else."""
        if not {"time", "src", "dst", "proto"} <= set(self._frame.columns):
            return [str(name) for name in self._frame.columns]
        return [name for name in _DEFAULT if name in _MADE or name in self._frame.columns]

    def checked(self, names: Sequence[str]) -> list[str]:
        """Return columns that were asked for.

        Raises
        ------
        InputError
            One of them cannot be shown.
        """
        for name in names:
            if name not in self._frame.columns and not (name in _MADE and self._makes(name)):
                raise InputError(f"there is no column {name!r} to show")
        return list(names)

    def left(self, names: Sequence[str]) -> list[str]:
        """Return those of another frame's columns that are here, too."""
        return [name for name in names if name in _MADE or name in self._frame.columns]

    def described(self) -> list[list[object]]:
        """Return each column that can be shown: name, whether numbers, whether a query can name it, meaning."""
        described: list[list[object]] = []
        for name, meaning in _MADE.items():
            if name not in self._frame.columns and self._makes(name):
                known = name == self._frame.index.name
                described.append([name, name != "info", known, meaning])
        for name in self._frame.columns:
            try:
                entry = schema.column(str(name))
                meaning = f"{entry.meaning} ({entry.unit})" if entry.unit else entry.meaning
            except KeyError:
                meaning = str(self._frame[name].dtype)
            described.append([str(name), self._frame[name].dtype.kind in "iuf", True, meaning])
        return described

    def _makes(self, name: str) -> bool:
        return name == "frame" or (name == "seconds" and self.start is not None) or "proto" in self._frame.columns


def _first_time(frame: pd.DataFrame) -> pd.Timestamp | None:
    if "time" not in frame.columns or frame["time"].dtype.kind != "M":
        return None
    for start in range(0, len(frame), _LOOKED_AT):  # nearly always found at once, and then the rest is not looked at
        times = frame["time"].iloc[start : start + _LOOKED_AT]
        known = times.iloc[:1] if times.iloc[:1].notna().all() else times.dropna()
        if len(known):
            return pd.Timestamp(known.iloc[0])
    return None
