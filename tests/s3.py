"""An S3-compatible server for tests: VersityGW over a folder, as a process of its own. `python -m tests.s3` builds it.

Not moto's, which answers the end of a multipart upload with what pyarrow takes for an error. Go compiles this one in
some minutes; it checks signatures, as any server does that is not a mock, and its objects are files.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.build import go
from tests.cluster.fixtures import wait_for
from tests.cluster.layout import cache
from tests.machine import S3_SERVER, s3_server

_MODULE = f"github.com/versity/versitygw/cmd/versitygw@v{S3_SERVER.rpartition('-')[2]}"
_KEY, _SECRET = "tests", "not-a-secret"


@dataclass(frozen=True)
class Server:
    """A server that runs, and what is in its folder, looked at without any S3 client."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client has to know, in AWS's words."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        (self.folder / bucket).mkdir()

    def objects(self, bucket: str) -> list[Path]:
        """Return the files of a bucket's objects, whole ones only."""
        root = self.folder / bucket
        return sorted(path for path in root.rglob("*") if path.is_file() and ".sgwtmp" not in path.parts)


def parts(file: Path) -> int:
    """Return in how many parts an object was uploaded: S3 says it behind the dash of the object's ETag."""
    _, _, number = os.getxattr(file, "user.etag").decode().strip('"').partition("-")
    return int(number or 1)


@contextmanager
def running(folder: Path, address: str = "127.0.0.1") -> Iterator[Server]:
    """Start a server on a free port of an address, its buckets and its log in a folder."""
    buckets, log = folder / "buckets", folder / "s3-server.log"
    buckets.mkdir()
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    words = ["--access", _KEY, "--secret", _SECRET, "--port", f"{address}:{port}", "--quiet", "posix", str(buckets)]
    with log.open("wb") as out:
        program = subprocess.Popen([str(s3_server()), *words], stdout=out, stderr=subprocess.STDOUT)

    def listens() -> bool:
        assert program.poll() is None, log.read_text(encoding="utf-8")
        with socket.socket() as asking:
            return asking.connect_ex((address, port)) == 0

    try:
        wait_for("the S3 server", listens)
        yield Server(f"http://{address}:{port}", buckets)
    finally:
        program.terminate()
        program.wait(30)


def build() -> Path:
    """Compile the server beside the tests' other programs, and return where."""
    place = cache() / S3_SERVER / "bin"
    if not (place / "versitygw").exists():
        subprocess.run([go(), "install", _MODULE], env={**os.environ, "GOBIN": str(place)}, check=True)
    return place


if __name__ == "__main__":
    print(build())
