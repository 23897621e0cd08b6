"""One session: one or several tools at work in one or several targets, watched until each has ended.

A target's output is read in a thread of its own; the main thread waits, reports progress, and on an interrupt asks
every tool to stop and then goes on waiting: what was captured is read to its end. How they get there: `placing`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from podtracer_nb import execution, targets
from podtracer_nb.tools import placing
from podtracer_nb.tools.job import Count, Counted, Job, Task
from podtracer_nb.tools.progress import Progress, TargetProgress

__all__ = ["Session"]

Result = TypeVar("Result")

_TICK = 0.25  # seconds between two reports of progress
_REPORT = 2.0  # seconds between two questions for a tool's own counters, at the least


class Session(Generic[Result]):
    """The jobs of one call; leaving the ``with`` block stops what still runs and closes every pin.

    Parameters
    ----------
    tasks
        What runs in each target; all are started together.
    chosen
        Where they run: what `targets.resolve` found.
    kinds
        The namespaces to enter.
    limits
        When to stop.
    file
        Where to leave the recording; with several targets the pod's name is put before its suffix, with several tasks
        the tool's.
    allow_change
        Whether a tool may alter the target.
    hold
        Seconds after which what the tools altered is taken back, infinite for not before it is asked for; None: never.
    keep
        Whether recordings stay when the session is over.
    via
        `here` or `job` (a tracer pod on the target's node); None: here where the target is.
    placement
        How tracer pods are made.
    apart
        Whether the others go on without a target where it could not be started; `failed` tells which.
    max_total
        Bytes of output, of all targets together, at which all are stopped. Looked at four times a second.
    count_total
        The same of packets, in the captures among them.

    Attributes
    ----------
    jobs
        What was started, in the order of the targets and then of the tasks.
    failed
        The targets where nothing was started, and why.
    interrupted
        Whether the user interrupted it.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        chosen: tuple[targets.Target, ...],
        *,
        kinds: tuple[str, ...] = ("net",),
        limits: execution.Limits | None = None,
        file: Path | None = None,
        allow_change: bool = False,
        hold: float | None = None,
        keep: bool = True,
        via: str | None = None,
        placement: execution.Placement | None = None,
        apart: bool = False,
        max_total: int | None = None,
        count_total: int | None = None,
    ) -> None:
        wanted = placing.Wanted(
            tuple(tasks),
            chosen,
            kinds,
            limits or execution.Limits(),
            file,
            allow_change,
            hold,
            keep,
            via,
            placement or execution.Placement(),
            apart,
            counted=count_total is not None,
        )
        self.tasks = wanted.tasks
        self.interrupted = False
        self._max_total, self._count_total = max_total, count_total
        self._counts: list[Count] = []
        self._report_at = 1.0
        self._opened = ExitStack()
        try:
            placed = placing.place(wanted, self._opened)
            self.jobs: list[Job] = placed.jobs
            self.failed = placed.failed
        except BaseException:
            self._opened.close()
            raise
        pins = list({id(job.pin): job.pin for job in self.jobs if isinstance(job.pin, targets.Pin)}.values())
        self._opened.enter_context(targets.Watch(pins, self._gone))
        self.began = time.monotonic()

    def _gone(self, held: targets.Pin, why: str) -> None:
        """End the runs in a pod that is gone: nothing can come from it any more."""
        for job in self.jobs:
            if job.pin is held:
                job.gone = why
                job.run.stop(target_gone=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what still runs, wait for its end, and close every pin."""
        if len(self.jobs) > 1:
            self.stop()  # all at once, so that none is waited for before the next is told
        self._opened.close()

    def stop(self) -> None:
        """Ask every tool to stop; what they captured is still read to its end."""
        for job in self.jobs:
            job.run.stop()

    def each(
        self, read: Callable[[Job], Result], progress: Callable[[Progress], None] | None = None
    ) -> list[Result | BaseException]:
        """Read every job in a thread of its own and wait for all.

        Returns each job's result, or the error that it ended with. On an interrupt the tools are asked to stop, and
        `interrupted` is set; a second interrupt ends the wait.
        """
        captures = [job for job in self.jobs if self._count_total and job.command.output == "packets"]
        pool = ThreadPoolExecutor(len(self.jobs) + len(captures), thread_name_prefix="podtracer")
        futures: list[Future[Result]] = []
        counts: list[Future[None]] = []
        try:
            counts = [pool.submit(self._count, job) for job in captures]
            futures = [pool.submit(_to_its_end, read, job) for job in self.jobs]
            self._watch(futures, progress)
        finally:
            if not all(future.done() for future in futures):
                self._opened.close()
            for job in captures:
                job.run.stop()  # nobody reads any more of those whose reading has failed
            pool.shutdown(wait=True)
        for count in counts:
            count.result()
        return [future.exception() or future.result() for future in futures]

    def _watch(self, futures: list[Future[Result]], progress: Callable[[Progress], None] | None) -> None:
        # What runs until it is stopped, beside what ends by itself, is there for its sake.
        mixed = len({job.command.endless for job in self.jobs}) > 1
        while True:
            try:
                running = wait(futures, timeout=_TICK, return_when=FIRST_COMPLETED if mixed else ALL_COMPLETED).not_done
                mixed = mixed and not self._stop_endless()
                self._keep_to_total()
                if progress is not None:
                    progress(self.progress(len(running)))
                if not running:
                    return
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
                for job in self.jobs:
                    job.interrupted = True
                threading.Thread(target=self.stop, name="podtracer-stop", daemon=True).start()

    def _stop_endless(self) -> bool:
        """Stop what has no end of its own where all else has ended, and tell whether it is so."""
        if not all(job.ended for job in self.jobs if not job.command.endless):
            return False
        for job in self.jobs:
            job.run.stop()
        return True

    def _count(self, job: Job) -> None:
        """Count a capture's packets as they come, whatever else reads it, or nothing does."""
        from podtracer_nb import packets  # it loads pandas

        reader = packets.Reader(job.run.tail(0), columns=["length"])
        self._counts.append(reader)
        try:
            for _ in reader.chunks(keep=False):
                pass
        except packets.FormatError:
            pass  # it ended before its first byte
        except BaseException:
            self.stop()  # what is not counted has no limit
            raise

    def _keep_to_total(self) -> None:
        """Stop all where they have written, or captured, as much together as they may."""
        written, counted = sum(job.run.bytes for job in self.jobs), sum(each.packets for each in self._counts)
        if self._max_total is not None and written >= self._max_total:
            why = f"stopped: all targets together have written {self._max_total:,} bytes"
        elif self._count_total is not None and counted >= self._count_total:
            why = f"stopped: all targets together have captured {self._count_total:,} packets"
        else:
            return
        self._max_total = self._count_total = None
        for job in self.jobs:
            if job.run.running:
                job.limited = why
        self.stop()

    def of(self, number: int) -> list[int]:
        """Return where one task's jobs are in `jobs`."""
        return [at for at, job in enumerate(self.jobs) if job.number % len(self.tasks) == number]

    def progress(self, running: int) -> Progress:
        """Return how far the session is."""
        elapsed = time.monotonic() - self.began
        if running and elapsed >= self._report_at:
            # Ever more seldom: the answers go to standard error, of which only so much is kept.
            self._report_at = elapsed + max(_REPORT, elapsed / 30)
            for job in self.jobs:
                if job.tool.reports_after and job.tool.reports_after in job.run.stderr:
                    job.run.report()
        each = [_of_target(job) for job in self.jobs]
        each += [TargetProgress(target.label, target.node, None, 0, None, str(error)) for target, error in self.failed]
        packets = [one.packets for one in each if one.packets is not None]
        drops = [one.drops for one in each if one.drops is not None]
        return Progress(
            elapsed,
            sum(packets) if packets else None,
            sum(one.bytes for one in each),
            sum(drops) if drops else None,
            running,
            done=not running,
            each=tuple(each),
        )


def _of_target(job: Job) -> TargetProgress:
    told = job.tool.summary(job.run.stderr)
    # What is only passed on is counted by the tool alone, when it is asked.
    packets = told.get("captured") if isinstance(job.count, Counted) else job.count.packets
    drops = told.get("dropped_by_kernel")
    packets = packets if job.command.output == "packets" else None
    return TargetProgress(job.target.label, job.target.node, packets, job.count.bytes, drops, job.state)


def _to_its_end(read: Callable[[Job], Result], job: Job) -> Result:
    try:
        return read(job)
    finally:
        job.ended = True
