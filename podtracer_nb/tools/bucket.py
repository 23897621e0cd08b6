"""An S3-compatible bucket that a run's output goes to while it comes: pyarrow's own S3 client, a part at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podtracer_nb.errors import ExecutionError, InputError, PackageMissing
from podtracer_nb.tools import naming

if TYPE_CHECKING:
    from podtracer_nb.tools.job import Job

__all__ = ["Bucket", "is_bucket"]

_CONNECT_SECONDS = 10.0
_REQUEST_SECONDS = 60.0


def is_bucket(file: str | None) -> bool:
    """Tell whether `-f` names a bucket."""
    return file is not None and file.startswith("s3://")


class Bucket:
    """A place in a bucket, asked once whether it is there.

    Credentials and the server are what the environment says in the words of AWS: AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL.

    Parameters
    ----------
    url
        ``s3://BUCKET/PREFIX``.

    Raises
    ------
    InputError
        That is none, or there is no such bucket.
    ExecutionError
        The server cannot be reached, or refuses us.
    PackageMissing
        pyarrow is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            from pyarrow import fs
        except ImportError as error:
            raise PackageMissing("a bucket needs pyarrow: pip install 'podtracer-nb[large]'") from error
        parts = urlsplit(url)
        if not parts.netloc or parts.query or parts.fragment or ".." in parts.path.split("/"):
            raise InputError(f"-f {url} names no bucket: write s3://BUCKET/PREFIX")
        self.url, self._bucket = url.rstrip("/"), parts.netloc
        self._place = f"{parts.netloc}{parts.path}".rstrip("/")
        endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        words: dict[str, Any] = {"region": region} if region else {}
        if endpoint.netloc:
            words |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme, "region": region or "us-east-1"}
        try:
            # Not in the background: what waits to be sent would be in memory, however much that is.
            self._files = fs.S3FileSystem(
                background_writes=False,
                allow_bucket_creation=False,
                connect_timeout=_CONNECT_SECONDS,
                request_timeout=_REQUEST_SECONDS,
                **words,
            )
            found = self._files.get_file_info(self._bucket)
        except OSError as error:
            raise self._refused(error) from error
        if found.type == fs.FileType.NotFound:
            raise InputError(f"there is no bucket {self._bucket}: make it first, or look at AWS_ENDPOINT_URL")

    def take(self, job: Job, chunks: Iterable[memoryview]) -> str:
        """Write a run's output as one object while it comes, and return its URL; what is there is never written over.

        Raises
        ------
        ExecutionError
            The server refuses, or has another number of bytes in the end; the recording stays where it is.
        """
        from pyarrow import fs

        size = 0
        try:
            for name in naming.names(job.target, job.command, job.task.options):
                path = f"{self._place}/{name}"
                if self._files.get_file_info(path).type == fs.FileType.NotFound:
                    break
            # A part is sent when it is full, so that no more than one is in memory.
            with self._files.open_output_stream(path) as out:
                for chunk in chunks:
                    out.write(chunk)
                    size += len(chunk)
            there = self._files.get_file_info(path).size
        except OSError as error:
            raise self._refused(error, f"; the recording is {job.recording}") from error
        if there != size:
            raise ExecutionError(f"s3://{path} has {there} bytes of {size}: the recording is {job.recording}")
        return f"s3://{path}"

    def _refused(self, error: OSError, more: str = "") -> ExecutionError:
        detail = " ".join(str(error).split())[:300]
        return ExecutionError(f"{self.url} cannot be written ({detail}): look at AWS_ACCESS_KEY_ID and the like{more}")
