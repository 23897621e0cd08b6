"""Output as lines, with the time at which each arrived and the stream it came from."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.execution import Output

__all__ = ["COLUMNS", "Lines"]

COLUMNS = ("time", "stream", "line")


class Lines:
    r"""Collects output into lines.

    A line carries the time at which its end arrived; bytes that are no UTF-8 become U+FFFD.

    Examples
    --------
    >>> from podtracer_nb.execution import Output
    >>> lines = Lines()
    >>> lines.add(Output(0, "stdout", b"one\ntwo"))
    >>> lines.frame().line.tolist()
    ['one', 'two']
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._streams: list[str] = []
        self._lines: list[str] = []
        self._rests: dict[str, tuple[str, int]] = {}
        self._decoders = {
            stream: codecs.getincrementaldecoder("utf-8")(errors="replace") for stream in ("stdout", "stderr")
        }

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, output: Output) -> None:
        """Take what one read of one stream brought."""
        text = self._rests.pop(output.stream, ("", 0))[0] + self._decoders[output.stream].decode(output.data)
        *whole, rest = text.split("\n")
        for line in whole:
            self._append(output.time_ns, output.stream, line)
        if rest:
            self._rests[output.stream] = (rest, output.time_ns)

    def _append(self, time_ns: int, stream: str, line: str) -> None:
        self._times.append(time_ns)
        self._streams.append(stream)
        self._lines.append(line.removesuffix("\r"))

    def timed(self) -> list[tuple[int, str, str]]:
        """Return the lines so far: time in nanoseconds since the epoch, stream, line."""
        self._finish()
        return list(zip(self._times, self._streams, self._lines, strict=True))

    def _finish(self) -> None:
        for stream, (rest, time_ns) in self._rests.items():
            self._append(time_ns, stream, rest)
        self._rests.clear()

    def frame(self) -> pd.DataFrame:
        """Return the lines so far: `time` (datetime64[ns, UTC]), `stream` (category), `line` (str)."""
        import pandas as pd

        self._finish()
        return pd.DataFrame(
            {
                "time": pd.to_datetime(self._times, utc=True, unit="ns").astype("datetime64[ns, UTC]"),
                "stream": pd.Categorical(self._streams, categories=["stdout", "stderr"]),
                "line": pd.Series(self._lines, dtype="str"),
            }
        )
