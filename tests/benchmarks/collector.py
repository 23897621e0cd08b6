"""How fast a collector takes captures in: `python -m tests.benchmarks.collector [CLIENTS] [MB]`.

All clients send at the same time over loopback; beside it, the same bytes written to the same disk by a plain loop.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PROCESSES = 2
_CHUNK = 1 << 18

_CLIENTS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from podtracer_nb.collector import Sender
port, clients, chunks = map(int, sys.argv[1:])
chunk = bytes(1 << 18)
print("ready", flush=True)
sys.stdin.readline()
def send(number):
    Sender("127.0.0.1", port, f"bench/pod-{number}").send(lambda at: (chunk for _ in range(at >> 18, chunks)))
with ThreadPoolExecutor(clients) as pool:
    list(pool.map(send, range(clients)))
"""


def main(clients: int = 50, megabytes: int = 2000) -> None:
    """Print the rate, the collector's memory before and after, and the disk's own rate."""
    each = megabytes * 1_000_000 // clients // _CHUNK
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with Path(folder, "plain").open("wb", buffering=0) as file:
            for _ in range(each * clients):
                file.write(bytes(_CHUNK))
            os.fsync(file.fileno())
        plain = each * clients * _CHUNK / (time.monotonic() - began) / 1e6
        Path(folder, "plain").unlink()
        server = subprocess.Popen(
            [sys.executable, "-m", "podtracer_nb.cli", "collect", "--insecure", "--address", "127.0.0.1", "--port", "0",
             "--dir", f"{folder}/in"], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stderr is not None
            found = re.search(r"port (\d+)", server.stderr.readline())
            assert found
            words = [found[1], str(clients // _PROCESSES), str(each)]
            senders = [
                subprocess.Popen(
                    [sys.executable, "-c", _CLIENTS, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                for _ in range(_PROCESSES)
            ]
            for sender in senders:
                assert sender.stdout is not None
                sender.stdout.readline()
            before = _resident(server.pid)
            began, peak = time.monotonic(), before
            for sender in senders:
                assert sender.stdin is not None
                sender.stdin.write(b"\n")
                sender.stdin.flush()
            while any(sender.poll() is None for sender in senders):
                peak = max(peak, _resident(server.pid))
                time.sleep(0.05)
            seconds = time.monotonic() - began
        finally:
            server.terminate()
            server.communicate(timeout=30)
        count = each * clients // _PROCESSES * _PROCESSES
        size = sum(path.stat().st_size for path in Path(folder, "in").glob("*.pcap"))
        assert size == count * _CHUNK or clients % _PROCESSES, f"{size} of {count * _CHUNK} bytes arrived"
    print(
        f"{clients} clients, {size / 1e6:,.0f} MB: {size / seconds / 1e6:,.0f} MB/s (the disk alone {plain:,.0f} MB/s)"
    )
    print(f"memory of the collector: {before:.0f} MiB before, {peak:.0f} MiB at most")


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
