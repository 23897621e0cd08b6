"""From words to an exit status: `main`, and what carries each request out."""

from __future__ import annotations

import os
import signal
import sys

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
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    # They end a run as Ctrl+C does: the tool flushes, what was captured stays. nohup's SIGHUP stays ignored.
    for number in {signal.SIGTERM, *(getattr(signal, name, signal.SIGTERM) for name in ("SIGQUIT", "SIGHUP"))}:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(_carry_out(options.parse(sys.argv[1:] if words is None else words)))
    except InputError as error:
        say(f"podtracer: {error}")
        sys.exit(_MISUSED)
    except PodtracerError as error:
        say(f"podtracer: {error}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        say("podtracer: interrupted")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # Who read our output has gone (`| head`); there is nobody to tell.
        # The interpreter flushes standard output once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        say(f"podtracer: {error.filename or 'the output could not be written'}: {error.strerror}")
        sys.exit(FAILED)


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
        case options.ReadRequest(to=None):
            reading.read(request)
        case options.ReadRequest():
            return reading.to_parquet(request)
        case options.ToolsRequest():
            listing.tools()
        case options.CollectRequest():
            collecting.collect(request)
        case options.DemoRequest(action):
            from podtracer_nb import demo

            print({"up": demo.up, "down": demo.down, "status": demo.status}[action]())
        case options.DoctorRequest():
            return listing.doctor(request)
        case options.TracersRequest():
            raise InputError("tracers are a notebook's: %podtrace tracers; a shell's are deleted when its command ends")
        case options.ChangesRequest():
            raise InputError("changes is for a notebook: a shell's command holds its change until it ends")
        case options.UseRequest():
            raise InputError("use is for a notebook: %podtrace use -n demo")
    return 0
