"""What of a capture is read: which packets become rows (a filter, a time, a sample), and which columns they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pandas as pd

from podtracer_nb.packets import bpf

__all__ = ["Choice", "Moment", "Selection"]

Moment = Any
"""A time: what `pandas.Timestamp` takes. One without a zone is UTC."""

_ALL = 1 << 32


@dataclass(frozen=True)
class Selection:
    """What was asked for, and how the dissector is told.

    A packet has to pass all of it. The sample is taken of what the filter and the times let through.

    Parameters
    ----------
    filter
        An expression of pcap-filter(7).
    start, stop
        The first time that is wanted, and the first that is not any more. Packets without a time have none of them.
    sample
        A whole number n: the first packet and every n-th after it. A fraction: about so many of all, told by a hash of
        the packet's number and `seed`, so the same ones every time.
    seed
        Of the fraction.

    Raises
    ------
    ValueError
        A value that cannot be right.
    """

    filter: str | None = None
    start: Moment = None
    stop: Moment = None
    sample: int | float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.filter is not None and not isinstance(self.filter, str):
            raise ValueError(f"filter is an expression as tcpdump takes it, not {self.filter!r}")
        for name in ("start", "stop"):
            object.__setattr__(self, name, _moment(name, getattr(self, name)))
        if self.start is not None and self.stop is not None and self.stop < self.start:
            raise ValueError(f"stop ({self.stop}) is before start ({self.start})")
        sample = self.sample
        if sample is None:
            return
        if isinstance(sample, bool) or not isinstance(sample, (int, float)) or not sample > 0:
            raise ValueError(f"sample is every n-th packet (a whole number) or a fraction of them, not {sample!r}")
        if isinstance(sample, float) and sample > 1:
            raise ValueError(f"a sample of {sample} is more than all packets: a whole number means every n-th")

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.filter) or self.start is not None or self.stop is not None or self.sample is not None

    def tell(self, dissector: Any, engine: ModuleType) -> Programs | None:
        """Tell the dissector, and return what gives its filter the programs for each link type."""
        programs = Programs(self.filter, engine) if self.filter else None
        fraction = isinstance(self.sample, float)
        dissector.choose(
            programs.machine if programs else None,
            None if self.start is None else self.start.value,
            None if self.stop is None else self.stop.value,
            1 if fraction or self.sample is None else self.sample,
            round(float(self.sample or 0) * _ALL) if fraction else _ALL,
            self.seed,
        )
        return programs

    def info(self) -> dict[str, Any]:
        """Return what was asked for, as it stands in a frame's `attrs`."""
        return {
            "filter": self.filter,
            "start": None if self.start is None else self.start.isoformat(),
            "stop": None if self.stop is None else self.stop.isoformat(),
            "sample": self.sample,
            "seed": self.seed if isinstance(self.sample, float) else None,
        }


@dataclass(frozen=True)
class Choice:
    """All that may be chosen of a capture: what functions that read one have as keywords, as one thing to hand on.

    Parameters
    ----------
    count, columns, layers, decap, resync
        As for `podtracer_nb.packets.Reader`.
    selection
        Which packets.

    Raises
    ------
    ValueError
        `count` is not positive.

    Examples
    --------
    >>> from podtracer_nb.packets import Choice, Selection
    >>> Choice(5, selection=Selection(sample=10)).keywords()["sample"]
    10
    """

    count: int | None = None
    columns: Sequence[str] | None = None
    layers: Sequence[str] | None = None
    decap: bool = False
    resync: bool = False
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"count={self.count!r} has to be greater than 0")

    def keywords(self) -> dict[str, Any]:
        """Return them as `podtracer_nb.packets.Reader` and `podtracer_nb.packets.read` take them."""
        return {**{name: value for name, value in vars(self).items() if name != "selection"}, **vars(self.selection)}


class Programs:
    """A filter's programs, one for each link type that turns up."""

    def __init__(self, expression: str, engine: ModuleType) -> None:
        self.machine: Any = engine.Filter()
        self._expression = expression
        self._starts: dict[int, int] = {}

    def use(self, linktypes: list[int]) -> None:
        """Let the packets of each interface go through the program for its link type.

        Raises
        ------
        FilterError
            The expression is not right for one of them.
        """
        for linktype in linktypes:
            if linktype not in self._starts:
                try:
                    self._starts[linktype] = self.machine.add(bpf.program(self._expression, linktype))
                except bpf.FilterError:
                    raise
                except ValueError as error:
                    raise bpf.FilterError(f"the filter {self._expression!r} is refused: {error}") from None
        self.machine.use([self._starts[linktype] for linktype in linktypes])


def _moment(name: str, value: Moment) -> pd.Timestamp | None:
    if value is None:
        return None
    if isinstance(value, (bool, int, float)):
        raise ValueError(f"{name} is a time as in '2026-01-31 12:00' or a Timestamp, not {value!r}")
    try:
        moment = pd.Timestamp(value)
        if pd.isna(moment):
            raise ValueError("no time")
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        return moment.as_unit("ns")
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name}={value!r} is not a time: {error}") from None
