"""A tool's own bytes, to where the words send them: standard output, a collector, a bucket, or nowhere but a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from podtracer_nb import options
from podtracer_nb.cli.saying import say

if TYPE_CHECKING:
    from podtracer_nb.tools import Job
    from podtracer_nb.tools.bucket import Bucket

__all__ = ["COLLECTOR", "bucket_of", "copy", "keep", "send", "upload"]

COLLECTOR = 51001  # the port of the original's data endpoint
_CHUNK = 1 << 20
_PCAP_HEADER = 24  # bytes: pcap-savefile(5)


def copy(job: Job) -> None:
    """Write the tool's own bytes to standard output as they come."""
    out = sys.stdout.buffer
    for data in _chunks(job):
        out.write(data)
        out.flush()


def keep(job: Job) -> None:
    """Print nothing: the recording is the result."""
    for _ in _chunks(job):
        pass


def send(job: Job, *, host: str, port: int) -> None:
    """Send the output to a collector as it comes; the recording stays here, too."""
    from podtracer_nb.collector import ClientTrust, Sender
    from podtracer_nb.collector.sender import CHUNK
    from podtracer_nb.tools.job import Counted

    trust = ClientTrust.from_environment()
    counted = job.count = Counted()

    def chunks(position: int) -> Iterator[bytes]:
        tail = job.run.tail(position)
        while data := tail.read(CHUNK):
            counted.bytes = max(counted.bytes, position + len(data))
            counted.packets = int(counted.bytes > _PCAP_HEADER)
            position += len(data)
            yield data

    name = f"{job.target.namespace}/{job.target.pod}".removeprefix("/")
    sender = Sender(
        host, port, name, trust, suffix=job.command.suffix, tell=lambda line: say(f"{job.target.label}: {line}")
    )
    sent = sender.send(chunks, lambda: job.run.wait().sha256)
    words = f"{job.target.label}: {sent.bytes:,} bytes sent to {sender.address}"
    say(words + ("" if trust else ", unencrypted") + (f", verified ({sent.sha256[:12]})" if sent.sha256 else ""))


def bucket_of(request: options.RunRequest) -> Bucket | None:
    """Return the bucket that `-f` names, asked for before anything is started."""
    from podtracer_nb.tools import bucket

    return bucket.Bucket(str(request.file)) if bucket.is_bucket(request.file) else None


def upload(job: Job, *, bucket: Bucket) -> None:
    """Send the output to a bucket as it comes; the recording stays here, too."""
    place = bucket.take(job, _chunks(job))
    say(f"{job.target.label}: {job.count.bytes:,} bytes in {place}")


def _chunks(job: Job) -> Iterator[memoryview]:
    """Yield a job's standard output as it comes, counted."""
    from podtracer_nb.tools.job import Counted

    counted = job.count = Counted()
    view = memoryview(bytearray(_CHUNK))
    while count := job.run.stdout.readinto(view):
        counted.bytes += count
        # A capture's records are counted only by who reads them; that there are any tells a failure from a capture.
        counted.packets = int(counted.bytes > _PCAP_HEADER)
        yield view[:count]
