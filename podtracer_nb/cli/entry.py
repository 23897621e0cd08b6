"""From words to an exit status: `main`, and what carries each request out."""

from __future__ import annotations

import os
import signal
import sys
import warnings

from podtracer_nb import options
from podtracer_nb.cli import collecting, listing, reading, running
from podtracer_nb.cli.saying import FAILED, say
from podtracer_nb.errors import InputError, PodtracerError

__all__ = ["main"]

_MISUSED = 2


def main(words: list[str] | None = None) -> None:
    """Run one command and exit: 0, the tool's own exit status, 1 for an error of ours, 2 for words that do not fit."""
    for descriptor in range(3):
        # A daemon's may be closed; a file of ours that took such a number would be taken for it by the tool.
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has no object for one that was closed.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for the process
    warnings.showwarning = lambda message, *_, **__: say(f"podtracer: {message}")  # a user's, without our source
    try:
        request = options.parse(sys.argv[1:] if words is None else words)
        _load(request)
        _end_in_order()
        status = _carry_out(request)
        sys.stdout.flush()
    except InputError as error:
        say(f"podtracer: {error}")
        status = _MISUSED
    except PodtracerError as error:
        say(f"podtracer: {error}")
        status = FAILED
    except KeyboardInterrupt:
        say("podtracer: interrupted")
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE  # who read our output has gone (`| head`); there is nobody to tell
    except OSError as error:
        say(f"podtracer: {error.filename or 'the output could not be written'}: {error.strerror}")
        status = FAILED
    try:
        sys.stdout.flush()
    except OSError:
        # It was told above. The interpreter flushes standard output once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _load(request: options.Request) -> None:
    """Import what a command needs: most of the time that it takes, in which nothing has begun that could be kept."""
    match request:
        case options.DemoRequest():
            import podtracer_nb.demo
        case options.CollectRequest():
            import podtracer_nb.collector
        case options.VersionRequest():
            import podtracer_nb.packets
        case options.ReadRequest():
            import podtracer_nb.analysis
            import podtracer_nb.packets
            import podtracer_nb.reading
        case options.HelpRequest():
            pass
        case _:
            import podtracer_nb.tools  # noqa: F401  to have it loaded, as above


def _end_in_order() -> None:
    """Have whatever ends a process end what it has begun: the tool flushes, what was captured stays.

    Not before all is imported: an interrupt inside an import may be swallowed there, or printed.
    """
    for name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's SIGHUP stays ignored
            signal.signal(number, signal.default_int_handler)


def _carry_out(request: options.Request) -> int:
    match request:
        case options.HelpRequest(text):
            print(text)
        case options.VersionRequest():
            listing.version()
        case options.RunRequest(job=True):
            return running.run_unattended(request)
        case options.RunRequest(for_=None):
            return running.run(request)
        case options.RunRequest() | options.ImpairRequest():
            return running.hold(request)
        case options.PodsRequest():
            listing.pods(request)
        case options.ReadRequest():
            return reading.read(request)
        case options.ToolsRequest():
            listing.tools()
        case options.CollectRequest():
            collecting.collect(request)
        case options.DemoRequest(action):
            from podtracer_nb import demo

            print({"up": demo.up, "down": demo.down, "status": demo.status}[action]())
        case options.DoctorRequest():
            return listing.doctor(request)
    return 0
