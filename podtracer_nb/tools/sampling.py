"""A tool run again and again inside its target, and all its tables as one: `--every 200ms`.

The program that repeats it (`inside/sample.py`) runs in the target under the supervisor, so that a sample costs the
start of the tool and nothing else. Its records are the recording; here they become rows, as they arrive.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from podtracer_nb.errors import CaptureError, InputError
from podtracer_nb.tools.inside import sample as program
from podtracer_nb.tools.job import last_line
from podtracer_nb.tools.table import Column, Parsed, Row, Table, Text, Unreadable, united
from podtracer_nb.tools.tool import Command

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sample", "Series", "sampled", "samples"]

_LINES = Table("lines", (Column("line", "str", "", "one line of what the tool printed"),))
_SHORTEST = 0.001  # seconds: no tool starts in less
_ROWS = 20_000  # rows that are kept as Python objects before they become a frame


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes | None: ...


@dataclass(frozen=True)
class Sample:
    """One run of the tool.

    Attributes
    ----------
    sample
        Its number, from 0.
    missed
        How many samples before it were left out because their time had gone by.
    time_ns
        When it was started, in nanoseconds since the epoch.
    late_ns
        By how much that was later than it should have been.
    took_ns
        How long the tool ran.
    exit_code
        Its exit status; negative: the number of the signal that ended it.
    stdout, stderr
        What it wrote.
    """

    sample: int
    missed: int
    time_ns: int
    late_ns: int
    took_ns: int
    exit_code: int
    stdout: str
    stderr: str


def sampled(command: Command, every: float, count: int | None) -> Command:
    """Return the command that runs `command` every so many seconds, `count` times or until it is stopped.

    Raises
    ------
    InputError
        It does not end by itself, or cannot be started so often.
    """
    name = command.argv[0]
    if command.output == "packets" or command.endless:
        raise InputError(f"{name} runs until it is stopped: --every is for tools that end by themselves")
    if every < _SHORTEST:
        raise InputError(f"--every {every * 1000:g}ms is less than a tool needs to start: 1ms is the least")
    words = (sys.executable, "-I", "-S", program.__file__, str(round(every * 1e9)), str(count or 0), "--")
    return replace(
        command,
        argv=command.argv,
        launcher=(*words, *command.launcher),
        suffix=".samples",
        check=None,
        linger=0.0,
        endless=count is None,
    )


def samples(stream: _Readable) -> Iterator[Sample]:
    """Give the samples of a recording, as far as they are whole, waiting for more where the stream does.

    Raises
    ------
    CaptureError
        It is no recording of samples.
    """
    buffered = _Buffered(stream)
    while line := buffered.line():
        try:
            header = json.loads(line)
            sizes = header.pop("sizes")
            code = header.pop("exit")
            fields = {name: int(header[name]) for name in ("sample", "missed", "time_ns", "late_ns", "took_ns")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CaptureError(f"this is no recording of samples: {line[:60]!r}") from error
        texts = [buffered.exactly(size) for size in sizes]
        if any(text is None for text in texts):
            return
        out, err = (text.decode("utf-8", errors="replace") for text in texts if text is not None)
        yield Sample(**fields, exit_code=code, stdout=out, stderr=err)


class _Buffered:
    """Lines and blocks of a stream whose `read` gives what there is."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._data = bytearray()

    def _more(self) -> bool:
        data = self._stream.read(1 << 20)
        self._data += data or b""
        return bool(data)

    def line(self) -> bytes:
        """Return the next line, empty at the end."""
        while (end := self._data.find(b"\n")) < 0:
            if not self._more():
                return b""
        return self._take(end + 1)

    def exactly(self, size: int) -> bytes | None:
        while len(self._data) < size:
            if not self._more():
                return None
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken


class Series:
    """Collects samples into one tidy frame.

    Parameters
    ----------
    arguments
        The tool's own words.
    parse
        How one sample becomes tables; None: its lines.
    every
        Seconds between two samples.
    name
        Which table; by default the first.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        parse: Callable[[Text], Parsed] | None,
        every: float,
        name: str | None = None,
    ) -> None:
        self._arguments, self._parse, self._every, self._name = arguments, parse, every, name
        self._table: Table = _LINES
        self._tables: tuple[str, ...] = ()
        self._parts: list[pd.DataFrame] = []
        self._rows: list[Row] = []
        self._times: list[int] = []
        self._lateness: list[int] = []
        self._missed = self._failed = 0
        self._said = self._unreadable = ""

    def add(self, sample: Sample) -> None:
        """Take one sample; one whose output cannot be read is counted and leaves no row."""
        self._lateness.append(sample.late_ns)
        self._missed = sample.missed
        if sample.exit_code:
            self._failed += 1
            self._said = last_line(sample.stderr) if sample.stderr.strip() else self._said
        try:
            table, rows = self._read(sample)
        except Unreadable as error:
            self._unreadable = self._unreadable or str(error)
            return
        self._table = table
        self._rows.extend(rows)
        self._times.extend([sample.time_ns] * len(rows))
        if len(self._rows) >= _ROWS:
            self._flush()

    def _read(self, sample: Sample) -> tuple[Table, Sequence[Any]]:
        if self._parse is None:
            return _LINES, [{"line": line} for line in sample.stdout.splitlines()]
        parsed = self._parse(Text(self._arguments, sample.stdout, sample.stderr, sample.exit_code))
        self._tables = tuple(dict.fromkeys((*self._tables, *(table.name for table, _ in parsed.tables))))
        for table, rows in parsed.tables:
            if self._name in (None, table.name):
                return table, rows if isinstance(rows, Sequence) else rows.to_dict("records")
        return Table(str(self._name)), ()

    def _flush(self) -> None:
        import pandas as pd

        part = self._table.frame(self._rows)
        part.insert(0, "sample_time", pd.to_datetime(self._times, utc=True, unit="ns").astype("datetime64[ns, UTC]"))
        self._parts.append(part)
        self._rows.clear()
        self._times.clear()

    def frame(self) -> pd.DataFrame:
        """Return all rows, with `sample_time` (datetime64[ns, UTC]) first and each counter's rate beside it.

        A counter's rate, `NAME_rate` (Float64), is its growth since the row's last sample by the seconds between; NA in
        a row's first sample, and where the counter began anew.
        """
        import pandas as pd

        if self._rows or not self._parts:
            self._flush()
        frame = _joined(self._parts)
        for column in self._table.columns:
            if column.counter and column.name in frame and pd.api.types.is_numeric_dtype(frame[column.name]):
                at = list(frame.columns).index(column.name)
                frame.insert(at + 1, f"{column.name}_rate", _rate(frame, column.name, self._table.key))
        units = {each.name: each.unit for each in self._table.columns if each.unit and each.name in frame}
        rates = {f"{each.name}_rate": f"{each.unit}/s".lstrip() for each in self._table.columns if each.counter}
        frame.attrs["podtracer"] = {
            "table": {"name": self._table.name, "key": list(self._table.key)},
            "units": {**units, **{name: unit for name, unit in rates.items() if name in frame}},
            "tables": list(self._tables or (self._table.name,)),
            "facts": self.facts(),
            "every": self._every,
        }
        return frame

    def facts(self) -> dict[str, Any]:
        """Return how well the samples kept their time."""
        late = sorted(self._lateness)
        facts: dict[str, Any] = {"samples": len(late), "missed": self._missed, "every_s": self._every}
        if late:
            facts |= {"late_ms_median": late[len(late) // 2] / 1e6, "late_ms_max": late[-1] / 1e6}
        if self._failed:
            facts["failed"] = self._failed
        if self._unreadable:
            facts["unreadable"] = self._unreadable
        return facts

    def notes(self) -> list[str]:
        """Return what the user should know of the samples."""
        notes = []
        if self._missed:
            total = self._missed + len(self._lateness)
            notes.append(f"{self._missed} of {total} samples were missed: the tool takes longer than --every allows")
        if self._failed:
            said = f": {self._said}" if self._said else ""
            notes.append(f"the tool failed in {self._failed} of {len(self._lateness)} samples{said}")
        if self._unreadable:
            notes.append(f"some samples are in no form that we know: {self._unreadable}")
        return notes


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts as one; a column that only some have is NA in the others."""
    import pandas as pd

    whole = [part for part in parts if len(part)] or parts[:1]
    if len(whole) == 1:
        return whole[0]
    united(whole)
    return pd.concat(whole, ignore_index=True)


def _rate(frame: pd.DataFrame, name: str, key: tuple[str, ...]) -> pd.Series[Any]:
    by = [each for each in key if each in frame]
    values = frame[name].astype("Float64")
    seconds = frame["sample_time"]
    if by:
        groups = frame.groupby(by, dropna=False, observed=True, sort=False).ngroup()
        grown, passed = values.groupby(groups).diff(), seconds.groupby(groups).diff()
    else:
        grown, passed = values.diff(), seconds.diff()
    rate: pd.Series[Any] = grown / passed.dt.total_seconds().astype("Float64")
    return rate.mask((grown < 0) | (passed.dt.total_seconds() == 0))
