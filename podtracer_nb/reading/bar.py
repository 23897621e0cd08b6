"""How far the reading of a large capture is, in the way that whoever looks can bear."""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podtracer_nb.packets.parquet import Progress

__all__ = ["Bar"]

QUIET_SECONDS = 1.0
"""What takes less shows nothing."""

LOG_SECONDS = 10.0
"""Between two plain lines."""


class Bar:
    """A bar with rate and remaining time in a terminal and in a notebook; a plain line every ten seconds elsewhere.

    Without tqdm it is plain lines everywhere.

    Parameters
    ----------
    what
        What is read.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = time.monotonic()
        self._last = self._began
        self._bar: Any = None
        self._make = _tqdm() if _in_kernel() or sys.stderr.isatty() else None

    def __call__(self, progress: Progress) -> None:
        """Show how far it is, unless it is too early or too soon after the last time."""
        now = time.monotonic()
        if now - self._began < QUIET_SECONDS:
            return
        if self._make is not None:
            first = self._bar is None
            if first:
                self._bar = self._make(
                    desc=self._what, total=progress.total, unit="B", unit_scale=True, leave=False, file=sys.stderr
                )
                self._bar.start_t -= now - self._began
            self._bar.set_postfix_str(f"{progress.packets:,} packets", refresh=False)
            self._bar.update(progress.bytes - self._bar.n)
            if first:
                self._bar.refresh()
        elif now - self._last >= LOG_SECONDS:
            self._last = now
            print(plain(self._what, progress, now - self._began), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def plain(what: str, progress: Progress, seconds: float) -> str:
    """Return how far it is, in a line.

    Examples
    --------
    >>> from podtracer_nb.packets.parquet import Progress
    >>> plain("x.pcap", Progress(1000, 500_000_000, 2_000_000_000), 1.0)
    'x.pcap: 1,000 packets, 500 MB of 2,000 MB, 500 MB/s, 3 s left'
    """
    rate = progress.bytes / seconds if seconds else 0.0
    words = f"{what}: {progress.packets:,} packets, {progress.bytes / 1e6:,.0f} MB"
    if progress.total:
        words += f" of {progress.total / 1e6:,.0f} MB"
    words += f", {rate / 1e6:,.0f} MB/s"
    if progress.total and rate:
        words += f", {max(0.0, progress.total - progress.bytes) / rate:.0f} s left"
    return words


def _tqdm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a notebook without ipywidgets, which has a bar of text
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def _in_kernel() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None
