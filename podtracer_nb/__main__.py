"""`podtracer` from its first moment: until a command's own handling takes over, an interrupt ends it without a word.

Nothing is imported before that is settled: while Python still loads what a command needs, there is nothing to keep.
"""

from __future__ import annotations

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run one command and exit; see `podtracer_nb.cli.main`."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Not an exception: one that comes up inside an import may be swallowed there, or printed.
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    from podtracer_nb import cli

    cli.main()


if __name__ == "__main__":
    main()
