"""`python -m tests.benchmarks.start POD…`: how long from a magic's line to tcpdump at work inside a cluster's pod.

Run it where the pods are: on their node with a kubeconfig, or in the notebook's pod. The first run opens connections
and is left out; of the others each part's median is told, and the whole's median and worst.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from podtracer_nb import execution, options, targets
from podtracer_nb.targets import container, cri
from podtracer_nb.tools.opening import open_session

ASKED = 150.0  # milliseconds


class Stopwatch:
    """Adds up what each part took, in milliseconds."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + (time.perf_counter() - begun) * 1000


def parts(line: list[str]) -> dict[str, float]:
    """Take the way of one line step by step; the steps overlap nowhere."""
    watch = Stopwatch()
    with watch.time("grammar"):
        request = options.parse(line, magic=True)
    assert isinstance(request, options.RunRequest)
    with watch.time("API: the pod"):
        (target,) = targets.resolve(pods=request.pod, namespace=request.namespace)
    with watch.time("runtime or control groups: its process"):
        container.locate(target)
    with watch.time("pin (with the step before once more)"):
        held = targets.pin(target)
    path = execution.new_recording_path("tcpdump", target.pod, ".pcap")
    argv = ["tcpdump", "-w", "-", "-U", "-i", "eth0"]
    with held, watch.time("supervisor"):
        run = execution.start(held, argv, recording=path, keep=False)
    with run:
        with watch.time("nsenter, tcpdump at work"):
            next(run.events())  # its first word: "listening on"
        run.stop()
    return watch.parts


def whole(line: list[str]) -> float:
    """Return the milliseconds from the line's words to tcpdump's first word, the way a magic goes."""
    begun = time.time_ns()
    request = options.parse(line, magic=True)
    assert isinstance(request, options.RunRequest) and request.tool is not None
    words = {name: value for name, value in request.keywords().items() if name != "align_clocks"}
    with open_session([(request.tool, request.arguments)], **words) as session:
        first = next(session.jobs[0].run.events())
        session.stop()
    return (first.time_ns - begun) / 1e6


def main() -> None:
    """Print a table a pod."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pod", nargs="+", help="namespace/name")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    slowest = 0.0
    for name in arguments.pod:
        line = ["tcpdump", "--pod", name, "--", "--immediate-mode", "-i", "eth0", "-c", "1"]
        parts(line), whole(line)
        steps = [parts(line) for _ in range(arguments.runs)]
        wholes = sorted(whole(line) for _ in range(arguments.runs))
        print(f"{name}: {arguments.runs} runs, warm; runtime sockets: {', '.join(map(str, cri.sockets())) or 'none'}")
        for part in steps[0]:
            print(f"  {statistics.median(step[part] for step in steps):7.1f} ms  {part}")
        median = statistics.median(wholes)
        print(f"  {median:7.1f} ms  in all, from the line to tcpdump at work (worst {wholes[-1]:.1f})")
        slowest = max(slowest, median)
    print(json.dumps({"median_ms": round(slowest, 1), "asked_ms": ASKED}))
    sys.exit(slowest > ASKED)


if __name__ == "__main__":
    main()
