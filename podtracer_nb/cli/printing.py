"""A tool's output as text on standard output: its own lines, its table, its packets."""

from __future__ import annotations

import datetime
import sys
import threading
from typing import TYPE_CHECKING, Any

from podtracer_nb.cli.saying import say

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.tools import Job

__all__ = ["packet_table", "print_output"]

_printing = threading.Lock()


def print_output(job: Job, *, named: bool) -> None:
    """Print what comes; with several targets each line after the name of the one that it is from."""
    before = f"{job.target.label}: " if named else ""
    if job.sampled:
        _print_samples(job, before)
    elif job.command.output == "packets":
        _print_packets(job, before)
    elif job.command.output == "table":
        _print_table(job, before)
    else:
        _print_lines(job, before)


def _print_lines(job: Job, before: str) -> None:
    from podtracer_nb.tools.job import Counted

    counted = job.count = Counted()
    rests = {"stdout": b"", "stderr": b""}
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}

    def write(stream: str, data: bytes) -> None:
        with _printing:
            streams[stream].write(data)
            streams[stream].flush()

    for output in job.run.events():
        counted.bytes += len(output.data)
        if not before:
            write(output.stream, output.data)
            continue
        *lines, rests[output.stream] = (rests[output.stream] + output.data).split(b"\n")
        write(output.stream, b"".join(before.encode() + line + b"\n" for line in lines))
    for stream, rest in rests.items():
        if rest:
            write(stream, before.encode() + rest + b"\n")


def _print_samples(job: Job, before: str) -> None:
    from podtracer_nb.tools.job import Counted
    from podtracer_nb.tools.sampling import samples

    counted = job.count = Counted()
    for each in samples(job.run.stdout):
        counted.bytes += len(each.stdout)
        moment = datetime.datetime.fromtimestamp(each.time_ns / 1e9, datetime.UTC)
        with _printing:
            print(f"{before}--- {moment:%H:%M:%S.%f} sample {each.sample}")
            for line in each.stdout.splitlines():
                print(before + line)
            sys.stdout.flush()
            for line in each.stderr.splitlines():
                say(before + line)


def _print_table(job: Job, before: str) -> None:
    """Print the table that a format makes of the output; the output itself where it makes none."""
    from podtracer_nb.tools.frames import read_job

    frame = read_job(job)
    unreadable = "unreadable" in frame.attrs["podtracer"]
    text = frame.line[frame.stream == "stdout"] if unreadable else frame.to_string(index=False, na_rep="-").splitlines()
    with _printing:
        sys.stderr.write(job.run.stderr)
        for line in text:
            print(before + line)
        sys.stdout.flush()
    if unreadable:
        say(before + frame.attrs["podtracer"]["notes"][0])


def _print_packets(job: Job, before: str) -> None:
    from podtracer_nb import packets

    reader = packets.Reader(job.run.stdout)
    job.count = reader
    headed = True
    try:
        for chunk in reader.chunks(keep=False):
            with _printing:
                for line in packet_table(chunk, headed=headed):
                    print(before + line)
                sys.stdout.flush()
            headed = headed and chunk.empty
    except packets.FormatError:
        # tcpdump ended before its first byte: its own words say why, and `settle` turns them into a line.
        if job.run.wait().bytes:
            raise


def packet_table(frame: pd.DataFrame, *, headed: bool) -> list[str]:
    """Return a line a packet: its number, time (UTC), protocol, endpoints, and what the protocol says.

    The first packet has the columns' names above it, where the table begins with it.
    """
    import pandas as pd

    def text(value: Any) -> str:
        return "" if pd.isna(value) else str(value)

    lines = [f"{'frame':>7}  {'time':<15}  {'proto':<6}  packet"] if headed and not frame.empty else []
    for row in frame.itertuples():
        ports = [f".{port}" if (port := text(value)) else "" for value in (row.sport, row.dport)]
        ends = [f"{text(row.src) or text(row.eth_src)}{ports[0]}", f"{text(row.dst) or text(row.eth_dst)}{ports[1]}"]
        words = [" > ".join(ends)] if any(ends) else []
        if text(row.tcp_flags):
            words.append(f"[{row.tcp_flags}] seq {row.tcp_seq} ack {text(row.tcp_ack) or '-'}")
        if text(row.dns_qname):
            words.append(f"{'answer' if row.dns_response else 'query'} {text(row.dns_qtype)} {row.dns_qname}")
        if text(row.icmp_type):
            words.append(f"type {row.icmp_type} code {row.icmp_code}")
        if text(row.error):
            words.append(f"({row.error})")
        words.append(f"length {row.length}")
        lines.append(f"{row.Index:>7}  {row.time:%H:%M:%S.%f}  {text(row.proto) or '?':<6}  {' '.join(words)}")
    return lines
