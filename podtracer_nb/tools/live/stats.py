"""How a live capture is getting on, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LiveStats"]


@dataclass(frozen=True)
class LiveStats:
    """How a live capture is getting on.

    Attributes
    ----------
    state
        running, paused or ended.
    seconds
        Since it began, up to its end.
    packets, bytes
        Captured so far, of all targets; bytes as they are in a capture file.
    rate, byte_rate
        Packets and bytes a second, over the last two seconds.
    dropped_by_kernel
        Packets that the kernel dropped, as far as it was asked, at most a second ago; None while nothing is known.
    dropped_by_us
        Packets that slow callbacks and loops missed; the window and the file have them.
    skipped
        Packets that came while it was paused: they are in the file, and not in the window.
    lag
        Seconds between a packet and its being in the window, for the oldest packet of the last chunk; None before it.
    window
        Packets in the window.
    targets
        How many targets are still being captured.
    """

    state: str
    seconds: float
    packets: int
    bytes: int
    rate: float
    byte_rate: float
    dropped_by_kernel: int | None
    dropped_by_us: int
    skipped: int
    lag: float | None
    window: int
    targets: int
