"""`python -m tests.benchmarks`: the reader and its peers on the same capture in one run, as ratios.

Every figure is the best of several runs in this process, or in one made for it; a peer too slow for the whole capture
reads its first packets, and is compared by seconds a packet, on the same columns. Ratios hold between machines, times
do not.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import functools
import ipaddress
import json
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from podtracer_nb import packets
from podtracer_nb.packets import columns, two_threads, walk
from tests.benchmarks import capture, live, tshark

RESULTS = Path(__file__).with_name("RESULTS.md")
CORE = ["time", "length", "src", "dst", "proto", "sport", "dport", "tcp_flags", "tcp_seq"]
FIELDS = [
    "frame.time_epoch", "frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "_ws.col.Protocol", "tcp.srcport",
    "tcp.dstport", "udp.srcport", "udp.dstport", "tcp.flags", "tcp.seq_raw",
]  # fmt: skip
BUFFER = 1 << 20
_SMALLEST_PART = 1.5  # per cent of a profile


BOUNDS = """## What bounds what is not reached

* One core, packets of 540 bytes: `read()` is nothing but a copy at memory's speed, and 0.62 of that speed leaves 0.6 of
  its time for all the rest. The pages of the table and the frame alone take most of that; the loop has the remainder.
* Two threads: reading and dissecting takes half as long, what one does alone does not get shorter. A plain `read()` is
  as long as the kernel's copy; each of the two has half of that copy to wait for too, and the loop on top of it.
* Whole process: importing pandas is most of ours, and no part of this reader.
* Memory: a row is what pandas needs for it, {row} bytes. `caplen` has none of its own until a packet is cut, columns
  that are there together or not at all have one mask, addresses of more than 127 hosts take two bytes each. What is
  above that are dictionaries, their texts, and buffers."""


def best(function: Callable[[], object], runs: int) -> float:
    """Return the shortest of several runs, in seconds."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return min(times)


def plain_read(path: Path) -> None:
    """Read the file through one buffer: the limit of everything that reads it."""
    buffer = bytearray(BUFFER)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def first(path: Path, count: int) -> Path:
    """Return a capture of the first `count` packets, for a slow peer."""
    frame = packets.read(path, count=count)
    end = int(frame["offset"].iloc[-1] + frame["caplen"].iloc[-1])
    part = path.with_name(f"first-{count}.pcap")
    with path.open("rb") as file:
        part.write_bytes(file.read(end))
    return part


def with_tshark(path: Path) -> None:
    """Let tshark print the core fields and pandas read them."""
    words = [word for field in FIELDS for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=,", "-E", "occurrence=f", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        pd.read_csv(process.stdout, names=FIELDS, quoting=csv.QUOTE_NONE, low_memory=False)  # type: ignore[arg-type]


def with_dpkt(path: Path) -> None:
    """Collect the core columns with dpkt."""
    import dpkt

    rows = []
    with path.open("rb") as file:
        for seconds, data in dpkt.pcap.Reader(file):
            ethernet = dpkt.ethernet.Ethernet(data)
            ip = ethernet.data
            if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
                rows.append((seconds, len(data), None, None, None, None, None, None, None))
                continue
            segment, tcp = ip.data, isinstance(ip.data, dpkt.tcp.TCP)
            ports = tcp or isinstance(segment, dpkt.udp.UDP)
            rows.append((
                seconds, len(data), str(ipaddress.ip_address(ip.src)), str(ipaddress.ip_address(ip.dst)),
                ip.p if isinstance(ip, dpkt.ip.IP) else ip.nxt, segment.sport if ports else None,
                segment.dport if ports else None, segment.flags if tcp else None, segment.seq if tcp else None,
            ))  # fmt: skip
    pd.DataFrame(rows, columns=CORE)


def with_scapy(path: Path) -> None:
    """Collect the core columns with scapy's PcapReader."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    rows = []
    with PcapReader(str(path)) as reader:
        for packet in reader:
            ip = packet.getlayer(IP) or packet.getlayer(IPv6)
            tcp, udp = packet.getlayer(TCP), packet.getlayer(UDP)
            segment = tcp or udp
            rows.append((
                float(packet.time), packet.wirelen or len(packet), ip and ip.src, ip and ip.dst,
                ip and (ip.proto if packet.haslayer(IP) else ip.nh), segment and segment.sport,
                segment and segment.dport, tcp and int(tcp.flags), tcp and tcp.seq,
            ))  # fmt: skip
    pd.DataFrame(rows, columns=CORE)


def peak(path: Path, count: int) -> float:
    """Return the reader's peak memory in bytes a packet, above an interpreter that has all imported."""
    program = (
        "import json, re\nfrom pathlib import Path\nfrom podtracer_nb import packets\n"
        f"packets.read({str(path)!r}, count=1)\n"
        # Not ru_maxrss, which a child inherits from who started it: getrusage(2).
        "usage = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        f"before = usage()\nframe = packets.read({str(path)!r})\nprint(json.dumps([before, usage(), len(frame)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after, rows = json.loads(done.stdout)
    if rows != count:
        raise SystemExit(f"the capture has {count} packets, {rows} were read")
    return (after - before) * 1024 / rows


def to_parquet(path: Path, size: int) -> tuple[float, float]:
    """Write `size` bytes of the capture's records, repeated as often as that takes, as Parquet.

    Returns bytes a second and the peak memory in MiB, of a process of its own that reads them from a pipe.
    """
    program = (
        "import json, re, sys, time\nfrom pathlib import Path\nfrom podtracer_nb.packets import parquet\n"
        "begun = time.perf_counter()\n"
        "written = parquet.write(sys.stdin.buffer.raw, sys.argv[1])\n"
        "seconds = time.perf_counter() - begun\n"
        "high = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]\n"
        "print(json.dumps([written.bytes / seconds, int(high) / 1024, written.packets]))"
    )
    header = 24
    with (
        tempfile.TemporaryDirectory(prefix="podtracer-bench-") as folder,
        path.open("rb") as file,
        subprocess.Popen(
            [sys.executable, "-c", program, f"{folder}/out"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        pipe = process.stdin.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BUFFER)
        total, at = path.stat().st_size, 0
        for _ in range(max(1, round(size / (total - header)))):
            while at < total:
                # No copy of the bytes is made on the way: this costs the reader nothing.
                at += os.splice(file.fileno(), pipe, total - at, offset_src=at)
            at = header
        process.stdin.close()
        rate, memory, _ = json.loads(process.stdout.read())
    return rate, memory


def piped(path: Path) -> None:
    """Read what `tcpdump -r FILE -w -` writes."""
    command = ["tcpdump", "-r", str(path), "-w", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        packets.read(process.stdout)  # type: ignore[arg-type]


def cut(path: Path, snaplen: int) -> Path:
    """Return the capture as a snaplen would have left it."""
    part = path.with_name(f"snaplen-{snaplen}.pcap")
    data = path.read_bytes()
    with part.open("wb", buffering=1 << 20) as file:
        file.write(data[:24])
        at = 24
        while at < len(data):
            seconds, fraction, captured, wire = struct.unpack_from("<IIII", data, at)
            kept = min(captured, snaplen)
            file.write(struct.pack("<IIII", seconds, fraction, kept, wire) + data[at + 16 : at + 16 + kept])
            at += 16 + captured
    return part


def written_once(size: int) -> None:
    """Map fresh memory as the table has it, and write each of its pages."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE] = 1


def contention() -> float:
    """Return how much longer two threads take that read half of a memory each than one that reads a half: 1 is best."""
    memory = np.ones(1 << 26, np.uint8)
    halves = memory[: 1 << 25], memory[1 << 25 :]

    def both() -> None:
        threads = [threading.Thread(target=half.sum) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return best(both, 9) / best(halves[0].sum, 9)


def framed(path: Path) -> float:
    """Return how long the frame takes to be made of the finished table, in seconds."""
    with packets.Reader(path, threads=1) as reader:
        reader.read_all()
        begun = time.perf_counter()
        reader.frame()
        return time.perf_counter() - begun


def parts_of_two(path: Path) -> list[tuple[str, float]]:
    """Return what two threads spend their time on in the fastest of several runs, in milliseconds."""
    parts = {
        "one thread: the first packets, which tell how many there will be": (walk.Walk, "_advance"),
        "both: memory for the table": (walk.Walk, "_grow"),
        "both: reading and dissecting": (two_threads, "_both"),
        "one, partly both: putting together what each has learned": (two_threads.TwoThreads, "_put_together"),
        "one: the frame": (packets.Reader, "_make_frame"),
    }
    spent: dict[str, float] = {}
    runs: list[dict[str, float]] = []

    def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begun, before = time.perf_counter(), sum(spent.values())
            try:
                return function(*arguments, **options)
            finally:
                # What is measured within is not counted twice.
                within = sum(spent.values()) - before
                spent[what] = spent.get(what, 0.0) + (time.perf_counter() - begun) * 1e3 - within

        return call

    with contextlib.ExitStack() as stack:
        for what, (owner, name) in parts.items():
            stack.enter_context(mock.patch.object(owner, name, timed(what, getattr(owner, name))))
        for _ in range(9):
            spent.clear()
            packets.read(path, threads=2)
            runs.append({what: spent[what] for what in parts})
    return list(min(runs, key=lambda each: sum(each.values())).items())


def whole_process(path: Path) -> tuple[float, float]:
    """Return how long a Python takes from its start to the frame of the core columns, and how long tshark takes."""
    ours = [sys.executable, "-c", f"import podtracer_nb; podtracer_nb.read_pcap({str(path)!r}, columns={CORE!r})"]
    words = [word for field in FIELDS for word in ("-e", field)]
    theirs = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=,", "-E", "occurrence=f", *words]

    def run(command: list[str]) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    return best(lambda: run(ours), 5), best(lambda: run(theirs), 3)


def profile(path: Path) -> list[tuple[str, float]]:
    """Return where one thread is while it reads the capture again and again: functions and their part of the time.

    Empty where perf(1) is not installed. Importing is over when it begins.
    """
    if shutil.which("perf") is None:
        return []
    program = (
        "import sys, time\nfrom podtracer_nb import packets\n"
        f"packets.read({str(path)!r}, threads=1)\nprint(flush=True)\nsys.stdin.readline()\n"
        f"for _ in range(40): packets.read({str(path)!r}, threads=1)"
    )
    with tempfile.TemporaryDirectory(prefix="podtracer-bench-") as folder:
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-o", f"{folder}/perf.data"]
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdout.readline()
            with subprocess.Popen([*record, "-p", str(process.pid)], stderr=subprocess.DEVNULL):
                time.sleep(0.5)  # perf says nothing when it is attached
                process.stdin.write("\n")
                process.stdin.flush()
                process.wait()
        report = subprocess.run(
            ["perf", "report", "-i", f"{folder}/perf.data", "--no-children", "-s", "symbol", "-t", "|"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    parts = []
    for line in report.splitlines():
        part, _, symbol = line.partition("|")
        if part.strip().endswith("%"):
            name = re.sub(r"__pyx_\w+?_dissect_\d+", "", symbol.split("|")[0].strip()[4:])
            parts.append((name, float(part.strip()[:-1])))
    return [
        (name.replace("_", ".", 1) if name[0].isupper() else name, part)
        for name, part in parts
        if part >= _SMALLEST_PART
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000, help="packets in the capture [%(default)s]")
    count = parser.parse_args().packets
    with tempfile.TemporaryDirectory(prefix="podtracer-bench-") as directory:
        path = Path(directory, "mixed.pcap")
        capture.write(path, count)
        size = path.stat().st_size
        plain_read(path)
        read = best(lambda: plain_read(path), 7)
        ours = best(lambda: packets.read(path, threads=1), 9)
        two = best(lambda: packets.read(path, threads=2), 9)
        short = cut(path, 96)
        plain_read(short)
        short_one = best(lambda: packets.read(short, threads=1), 9)
        short_two = best(lambda: packets.read(short, threads=2), 9)
        few_columns = best(lambda: packets.read(path, threads=1, columns=["time", "src", "dst", "length"]), 5)
        core_one = best(lambda: packets.read(path, threads=1, columns=CORE), 9) / count
        core_two = best(lambda: packets.read(path, threads=2, columns=CORE), 9) / count
        row = columns.BYTES_PER_ROW
        pages = best(lambda: written_once(row * count), 5)
        frame = min(framed(path) for _ in range(5))
        pipe = best(lambda: piped(path), 3)
        memory = peak(path, count)
        rows = [
            ("speed of a plain read(), one core", "≥ 0.57, 0.62", f"{read / ours:.2f}"),
            ("the same, two threads", "≥ 1", f"{read / two:.2f}"),
            ("ns a packet at snaplen 96, one core", "≤ 70", f"{short_one / count * 1e9:.0f}"),
            ("the same at snaplen 96, two threads", "≤ 42", f"{short_two / count * 1e9:.0f}"),
            ("peak memory, bytes a packet", "≤ 120, 110", f"{memory:.0f}"),
            ("from tcpdump's pipe, packets/s", "≥ 1,000,000", f"{count / pipe:,.0f}"),
        ]
        for gigabytes in (0.5, 10):
            runs = [to_parquet(path, int(gigabytes * 1e9)) for _ in range(3 if gigabytes < 1 else 1)]
            what = f"{gigabytes:g} GB of a pipe to Parquet"
            rows += [
                (f"{what}, GB/s", "≥ 0.8", f"{max(rate for rate, _ in runs) / 1e9:.2f}"),
                (f"{what}, MiB resident at most", "≤ 200", f"{max(resident for _, resident in runs):.0f}"),
            ]
        rows.append(("tshark -T fields as a table: of tshark's own speed", "≥ 0.95", f"{tshark.ratio(path):.2f}"))
        each = ours / count
        for name, function, part, asked in (
            ("tshark -T fields → read_csv", with_tshark, 100_000, "250, 300"),
            ("dpkt loop", with_dpkt, 50_000, "120, 140"),
            ("scapy PcapReader", with_scapy, 5_000, "1,500, 1,900"),
        ):
            few, many = first(path, part // 10), first(path, part)
            # After start-up: the difference of two sizes.
            seconds = best(functools.partial(function, many), 2) - best(functools.partial(function, few), 2)
            peer = seconds / (part - part // 10)
            rows.append((f"times as fast as {name}, same columns", f"≥ {asked}", f"{peer / core_one:,.0f}"))
            rows.append(("the same, two threads", f"≥ {asked}", f"{peer / core_two:,.0f}"))
            all_columns = f"{peer / each:,.0f}, {peer / (two / count):,.0f}"
            rows.append((f"the same, all of our {len(packets.schema.COLUMNS)} columns, one and two", "", all_columns))
        process_ours, process_tshark = whole_process(first(path, 100_000))
        pandas = best(lambda: subprocess.run([sys.executable, "-c", "import pandas"], check=True), 5)
        rows.append(
            (
                "a whole process, start-up included, 100,000 packets: times as fast as tshark",
                "≥ 10",
                f"{process_tshark / process_ours:.1f} "
                f"({process_ours:.2f} s, {pandas:.2f} s of it pandas; {process_tshark:.2f} s)",
            )
        )
        parts = profile(path)
        halves = parts_of_two(path)
        doubled = contention()
    rows += live.rows()
    build = "compiled" if packets.compiled else "interpreted"
    text = [
        "# The reader, measured",
        "",
        f"`make bench`: {count:,} mixed packets, {size / 1e6:,.0f} MB, mean {size / count:,.0f} bytes each; one core,",
        f"warm cache, dissector {build}; best of several runs. Read through 1 MiB: {read * 1e3:.0f} ms.",
        f"File to a frame of {len(packets.schema.COLUMNS)} columns: {ours * 1e3:.0f} ms, {each * 1e9:.0f} ns each.",
        "",
        "| what | asked | reached |",
        "|---|---|---|",
        *(f"| {what} | {asked} | {reached} |" for what, asked, reached in rows),
        "",
        "## Where the time goes, one core",
        "",
        "| what | ms |",
        "|---|---|",
        f"| `read()` through a buffer: {size / read / 1e9:.0f} GB/s | {read * 1e3:.0f} |",
        f"| the kernel clearing the pages of the table, {row} bytes a row | {pages * 1e3:.0f} |",
        f"| the frame: texts of addresses and names, arrays | {frame * 1e3:.0f} |",
        f"| the loop: what is left | {(ours - read - pages - frame) * 1e3:.0f} |",
        f"| all | {ours * 1e3:.0f} |",
        "",
        "The loop writes each row to some forty columns; groups of columns that nobody asked for it passes over. Four",
        f"alone (time, src, dst, length) take {few_columns * 1e3:.0f} ms in all.",
        "",
        f"## Where the time goes, two threads: {two * 1e3:.0f} ms",
        "",
        "| what | ms |",
        "|---|---|",
        *(f"| {what} | {spent:.1f} |" for what, spent in halves),
        "",
        *(
            ["## One core as a profile", "", "| function | % |", "|---|---|"]
            + [f"| `{name}` | {part:.1f} |" for name, part in parts]
            + [""]
            if parts
            else []
        ),
        "`_copy_to_iter` is `read()`, `clear_page_erms` the kernel giving memory, `walk` to `dns` the loop.",
        "",
        BOUNDS.format(row=row, nullable=sum(c.dtype[0] == "U" or c.dtype == "boolean" for c in packets.schema.COLUMNS)),
        "",
        f"Two threads that sum memory take {doubled:.2f} times as long as one that sums half of it: what a second",
        "processor of this machine was worth in this run (1 is a whole one, 2 none).",
        f"Load average at its end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; where it is not near 1,",
        "the figures for two threads say nothing.",
        "",
    ]
    print("\n".join(text))
    RESULTS.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
