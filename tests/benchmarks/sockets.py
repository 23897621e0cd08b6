"""`python -m tests.benchmarks.sockets`: 10,000 TCP sockets in a namespace, `ss` to a frame, and the cost of a sample.

What counts is what our side adds to `ss` itself: pinning, the supervisor, the recording, the parser, the frame.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import podtracer_nb
from podtracer_nb.tools.known.ss import TOOLS
from podtracer_nb.tools.table import Text
from podtracer_nb.tools.tool import Options
from tests.targets.namespaces import holder
from tests.tools.inside import program, words

RESULTS = Path(__file__).with_name("SOCKETS.md")
COUNT = 10_000
SAMPLE = 100

# Both ends of a connection over the loopback are sockets of the namespace; the listener is one more.
SOURCE = """
import resource, socket, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
server = socket.create_server(("127.0.0.1", 0), backlog=128)
kept = [server]
while len(kept) + 2 <= int(sys.argv[1]):
    one = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    one.sendall(b"x" * 100)
    other.recv(100)
    kept += [one, other]
if len(kept) < int(sys.argv[1]):
    kept.append(socket.create_server(("127.0.0.1", 0)))
print(len(kept), flush=True)
"""


def best(function: Callable[[], object], runs: int) -> float:
    """Return the shortest of several runs, in milliseconds."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        function()
        times.append((time.perf_counter() - begun) * 1e3)
    return min(times)


def measured(count: int, arguments: list[str], runs: int) -> tuple[float, float, float, float]:
    """Return milliseconds: ss alone, `podtracer_nb.run`, its parser alone, the frame alone."""
    with holder("net") as held, program(held, SOURCE, str(count)) as made:
        assert int(made) == count
        argv = [*words(held), "ss", "-n", *arguments]
        written = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        alone = best(lambda: subprocess.run(argv, capture_output=True, check=True), runs)
        frame = podtracer_nb.run("ss", arguments, pid=held.pid)
        assert len(frame) == count, len(frame)
        whole = best(lambda: podtracer_nb.run("ss", arguments, pid=held.pid), runs)
    parse = TOOLS[0].command(tuple(arguments), Options(), False).parse
    assert parse is not None
    text = Text(tuple(arguments), written)
    (table, rows), *_ = parse(text).tables
    return alone, whole, best(lambda: parse(text), runs * 3), best(lambda: table.frame(rows), runs * 3)


def main() -> None:
    lines = [
        "# Sockets, measured",
        "",
        f"`make bench`: `ss` in a namespace of its own with {COUNT:,} TCP sockets that are really open, both ends of",
        "each connection; best of several runs, milliseconds.",
        "",
        "| `ss` | sockets | alone | as a frame | beyond it | asked | parser | frame |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arguments, count, asked in (
        (["-tan"], COUNT, "≤ 250"),
        (["-tanp"], COUNT, ""),
        (["-tani"], COUNT, ""),
        (["-tani"], SAMPLE, "parser ≤ 2"),
    ):
        alone, whole, parser, frame = measured(count, arguments, 5)
        lines.append(
            f"| `{' '.join(arguments)}` | {count:,} | {alone:.0f} | {whole:.0f} | {whole - alone:.0f} | {asked} | "
            f"{parser:.1f} | {frame:.1f} |"
        )
    text = "\n".join([*lines, ""])
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
