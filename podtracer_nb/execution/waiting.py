"""Waits that a signal always ends."""

from __future__ import annotations

import time
from collections.abc import Callable

# A signal that comes in the moment before a thread sleeps, or that another thread is given, does not wake the sleeper:
# its handler, which raises KeyboardInterrupt, runs when the main thread wakes.
_ASLEEP = 0.5  # seconds


def wait(once: Callable[[float], bool], timeout: float | None = None) -> bool:
    """Wait with a method that takes a timeout and tells whether what it waits for is there, and tell that.

    Examples
    --------
    >>> import threading
    >>> wait(threading.Event().wait, timeout=0.01)
    False
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _ASLEEP if end is None else min(_ASLEEP, max(0.0, end - time.monotonic()))
        if once(left):
            return True
        if end is not None and time.monotonic() >= end:
            return False
