"""An S3-compatible server for tests: moto's, as a process of its own. `python -m tests.s3` installs it.

In an environment of its own: the AWS client that it needs wants an older python-dateutil than the Kubernetes client.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.cluster.fixtures import wait_for
from tests.cluster.layout import cache
from tests.machine import s3_server

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Server:
    """A server that runs, and what is asked of it without podtracer's own client."""

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT")):
            pass

    def objects(self, bucket: str) -> list[str]:
        """Return the keys of a bucket's objects."""
        with urllib.request.urlopen(f"{self.url}/{bucket}?list-type=2") as answer:
            return [str(each.text) for each in ElementTree.parse(answer).iter(f"{_NAMESPACE}Key")]

    def get(self, bucket: str, key: str) -> bytes:
        """Return an object's bytes."""
        with urllib.request.urlopen(f"{self.url}/{bucket}/{key}") as answer:
            return bytes(answer.read())

    def parts(self, bucket: str, key: str) -> int:
        """Return in how many parts an object was uploaded: S3 says it behind the dash of the object's ETag."""
        request = urllib.request.Request(f"{self.url}/{bucket}/{key}", method="HEAD")
        with urllib.request.urlopen(request) as answer:
            _, _, parts = answer.headers["ETag"].strip('"').partition("-")
        return int(parts or 1)


@contextmanager
def running(folder: Path, address: str = "127.0.0.1") -> Iterator[Server]:
    """Start a server on a free port of an address, its log in a folder."""
    log = folder / "s3-server.log"
    with log.open("wb") as out:
        program = subprocess.Popen(
            [str(s3_server()), "--host", address, "--port", "0"], stdout=out, stderr=subprocess.STDOUT
        )
        try:
            wait_for("the S3 server", lambda: b"Running on http" in log.read_bytes() or program.poll() is not None)
            text = log.read_text(encoding="utf-8")
            assert program.poll() is None, text
            yield Server(text.split("Running on ", 1)[1].split()[0])
        finally:
            program.terminate()
            program.wait(30)


def install() -> Path:
    """Install moto's server beside the tests' other programs, and return where."""
    place = cache() / "s3-server"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "moto[server,s3]>=5"], check=True)
    return place


if __name__ == "__main__":
    print(install())
