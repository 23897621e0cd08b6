"""Run a program again and again: `sample.py EVERY_NS COUNT -- PROGRAM ARG…`; a COUNT of 0 ends with the first signal.

Each run's output is written to standard output as one record: a line of JSON (see `sampling.Sample`), then the bytes of
the program's standard output and standard error. A run that takes longer than the pause makes the next ones late; those
whose time has gone by are left out, and counted.

Its exit status is 0 if any run succeeded, else that of the last one.
"""

# Started once for thousands of runs, but also for a single one: the standard library's light parts only.

from __future__ import annotations

import json
import os
import signal
import sys
import time

_NOT_FOUND = 127
_SIGNAL = 128


class _Stopped(BaseException):
    pass


def _stop(*_: object) -> None:
    raise _Stopped


def main() -> int:
    """Sample until the count is reached or a signal comes; the run that the signal cut short is left out."""
    every, count = int(sys.argv[1]), int(sys.argv[2])
    argv = sys.argv[4:]
    # In memory: no pipe, which would have to be read while the program runs.
    streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
    actions = [(os.POSIX_SPAWN_DUP2, streams[0], 1), (os.POSIX_SPAWN_DUP2, streams[1], 2)]
    out = sys.stdout.buffer
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    begin = time.monotonic_ns()
    sample = missed = 0
    succeeded, failure = False, 0
    try:
        while True:
            due = begin + (sample + missed) * every
            ahead = due - time.monotonic_ns()
            if ahead > 0:
                time.sleep(ahead / 1e9)
            started_ns, started = time.time_ns(), time.monotonic_ns()
            try:
                pid = os.posix_spawnp(
                    argv[0], argv, os.environ, file_actions=actions, setsigdef=[signal.SIGINT, signal.SIGTERM]
                )
            except OSError as error:
                print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
                return _NOT_FOUND
            status = os.waitpid(pid, 0)[1]
            ended = time.monotonic_ns()
            code = os.waitstatus_to_exitcode(status)
            succeeded = succeeded or code == 0
            failure = code if code >= 0 else _SIGNAL - code
            sizes = [os.lseek(each, 0, os.SEEK_CUR) for each in streams]
            header = {
                "sample": sample,
                "missed": missed,
                "time_ns": started_ns,
                "late_ns": started - due,
                "took_ns": ended - started,
                "exit": code,
                "sizes": sizes,
            }
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            out.write(json.dumps(header).encode() + b"\n")
            for each, size in zip(streams, sizes, strict=True):
                if size:
                    out.write(os.pread(each, size, 0))
                    os.ftruncate(each, 0)
                    os.lseek(each, 0, os.SEEK_SET)
            out.flush()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
            sample += 1
            if count and sample >= count:
                break
            # Those whose time has gone by while this one ran.
            missed += max(0, (time.monotonic_ns() - begin) // every - (sample + missed))
    except _Stopped:
        pass
    except BrokenPipeError:
        return 1
    return 0 if succeeded else failure


if __name__ == "__main__":
    os._exit(main())
