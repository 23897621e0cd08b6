"""Another machine's clock against ours, by questions and answers over the stream that is open anyway.

As RFC 5905 has it (section 8): of an exchange's four times the offset follows, and half of what it took beyond the
other side's own work is the most that it can be off. The quickest exchange says most.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Clock", "measured"]


@dataclass(frozen=True)
class Clock:
    """How far another machine's clock is ahead of ours.

    Attributes
    ----------
    offset_ns
        Its time less ours, in nanoseconds.
    uncertainty_ns
        The true offset is within so many nanoseconds of it.
    """

    offset_ns: int
    uncertainty_ns: int


def measured(sent: int, heard: int, answered: int, received: int, before: Clock | None = None) -> Clock:
    """Return what one exchange tells, or what is known already where that is more certain.

    Parameters
    ----------
    sent, received
        By our clock, in nanoseconds.
    heard, answered
        By the other's.
    before
        What earlier exchanges told.

    Examples
    --------
    >>> measured(1_000, 6_100, 6_200, 1_500)
    Clock(offset_ns=4900, uncertainty_ns=200)
    """
    uncertainty = max((received - sent) - (answered - heard), 0) // 2
    if before is not None and before.uncertainty_ns <= uncertainty:
        return before
    return Clock(((heard - sent) + (answered - received)) // 2, uncertainty)
