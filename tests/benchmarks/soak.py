"""An hour's packets in five minutes: is the memory of the notebook's process flat, with a dashboard and rotating files?

`make soak` prints the result and writes it to RESULTS-soak.md. The packets are real ones on a real wire: of ever new
clients, TCP segments, some of them sent again, DNS queries and their answers.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import podtracer_nb
from podtracer_nb.notebook.widgets import LiveDashboard
from tests.targets.namespaces import until
from tests.tools.live.wire import Wire, wire

HOUR = 3600
RATE = 4000  # packets a second of the hour
MINUTES = 5.0
RESULTS = Path(__file__).with_name("RESULTS-soak.md")

# Frames go onto the wire as they are; what comes back is nothing, as nobody has these addresses.
_SENDER = """
import random, socket, struct, sys, time
count, rate = int(sys.argv[1]), float(sys.argv[2])
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sender.bind(("eth0", 0))
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
head = bytes.fromhex("ffffffffffff020000000001") + struct.pack(">H", 0x0800)
server = bytes([10, 99, 0, 9])
query = struct.pack(">HHHHHH", 0, 0x0100, 1, 0, 0, 0)[2:] + b"\\3web\\4demo\\0" + struct.pack(">HH", 1, 1)
answer = struct.pack(">HHHHHH", 0, 0x8180, 1, 0, 0, 0)[2:] + b"\\3web\\4demo\\0" + struct.pack(">HH", 1, 1)
def ip(source, to, kind, body):
    return head + struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, kind, 0, source, to) + body
begun = time.monotonic()
sent = client = 0
while sent < count:
    # Of each client: a query, its answer, eight segments, one of them twice.
    client += 1
    who = struct.pack(">I", 0x0a000000 | (client & 0xffffff))
    port, number = 1024 + client % 60000, client & 0xffff
    asked, said = struct.pack(">H", number) + query, struct.pack(">H", number) + answer
    frames = [
        ip(who, server, 17, struct.pack(">HHHH", port, 53, 8 + len(asked), 0) + asked),
        ip(server, who, 17, struct.pack(">HHHH", 53, port, 8 + len(said), 0) + said),
    ]
    for segment in (0, 1, 2, 3, 3, 4, 5, 6):
        tcp = struct.pack(">HHIIBBHHH", port, 80, segment * 100, 1, 0x50, 0x18, 512, 0, 0)
        frames.append(ip(who, server, 6, tcp + bytes(100)))
    for frame in frames:
        sender.send(frame)
    sent += len(frames)
    if client % 20 == 0:
        time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
print(sent, flush=True)
"""


@dataclass(frozen=True)
class Soaked:
    """What a run came to; memory in bytes, the first samples left out until all windows are full."""

    sent: int
    captured: int
    dropped: int
    seconds: float
    begin: float
    end: float
    most: float
    core: float
    trouble: int
    answers: int

    @property
    def growth(self) -> float:
        """Bytes by which memory was larger in the last quarter than in the first one."""
        return self.end - self.begin


def memory() -> int:
    """Return the resident memory of this process, without what it shares of files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def soak(place: Wire, packets: int, rate: float, *, settle: float) -> Soaked:
    """Capture so many packets at a rate with a dashboard, and watch the memory of this process.

    Parameters
    ----------
    packets, rate
        How many, and how many a second.
    settle
        Seconds after which all that has a bound has reached it, and memory is looked at.
    """
    samples: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="podtracer-soak-") as folder:
        live = podtracer_nb.capture(
            pid=place.far.pid, interface="eth0", file=f"{folder}/x.pcap", rotate_size=10_000_000, rotate_count=3
        )
        with live:
            shown = LiveDashboard(live, span=10.0)
            words = [sys.executable, "-I", "-S", "-c", _SENDER, str(packets), str(rate)]
            begun, busy = time.monotonic(), time.process_time()
            with subprocess.Popen(place.command(*words), stdout=subprocess.PIPE, text=True) as sender:
                pause, looked = threading.Event(), begun
                while sender.poll() is None:
                    pause.wait(0.25)
                    now = time.monotonic()
                    if now > looked + 2:
                        looked = now
                        assert len(live.df)  # somebody who looks costs memory too
                        gc.collect()
                    if now > begun + settle:
                        samples.append((now, memory()))
                assert sender.stdout is not None and sender.returncode == 0
                sent = int(sender.stdout.read())
            took, used = time.monotonic() - begun, time.process_time() - busy
            until(lambda: live.stats.packets + (live.stats.dropped_by_kernel or 0) >= sent)
        told = shown._activity.told()
        shown.close()
    quarter = max(1, len(samples) // 4)
    sizes = [size for _, size in samples]
    return Soaked(
        sent=sent, captured=live.stats.packets, dropped=live.stats.dropped_by_kernel or 0, seconds=took,
        begin=statistics.median(sizes[:quarter]), end=statistics.median(sizes[-quarter:]), most=max(sizes),
        core=used / took, trouble=told.trouble["retransmissions"], answers=told.dns.answers,
    )  # fmt: skip


def page(found: Soaked) -> str:
    """Return the result as the page that is kept."""
    rows = [
        ("packets sent", f"{found.sent:,}"),
        ("in", f"{found.seconds:.0f} s, {found.sent / found.seconds:,.0f} packets/s"),
        ("of them captured", f"{found.captured:,}"),
        ("dropped by the kernel", f"{found.dropped:,}"),
        ("segments sent again that the dashboard counted", f"{found.trouble:,} of {found.sent // 10:,}"),
        ("DNS answers that it counted", f"{found.answers:,} of {found.sent // 10:,}"),
        ("memory, first quarter", f"{found.begin / 1e6:.0f} MB"),
        ("memory, last quarter", f"{found.end / 1e6:.0f} MB"),
        ("memory, at most", f"{found.most / 1e6:.0f} MB"),
        ("of a core in the notebook's process", f"{found.core:.0%}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""# An hour's packets in minutes

`make soak`: a capture by the default engine with a dashboard, three files of 10 MB that rotate, and someone who looks
at `live.df` every two seconds. {os.cpu_count()} processors, the sender on one of them. A new client every ten packets.
Memory is anonymous resident memory of the notebook's process.

| | |
|---|---|
{table}
"""


def main() -> None:
    """Soak, print, and write the page."""
    parser = argparse.ArgumentParser(description="An hour's packets in minutes.")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    asked = parser.parse_args()
    packets, took = HOUR * RATE, asked.minutes * 60
    with wire() as place:
        found = soak(place, packets, packets / took, settle=took / 6)
    text = page(found)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
