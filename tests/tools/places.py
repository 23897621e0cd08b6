"""Network namespaces that tests set up: a place with what a script made in it, and a second one beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from podtracer_nb.tools import Session, frames
from podtracer_nb.tools.opening import open_session
from tests.targets.namespaces import holder


@dataclass(frozen=True)
class Place:
    """A network namespace of a test's own, by the process that sits in it."""

    pid: int

    @property
    def enter(self) -> list[str]:
        """Return the words that run a program in it; an ordinary user enters the user namespace that owns it, too."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), "--net", *user]

    def do(self, *argv: str) -> str:
        """Run a program in it, and return what it wrote; it has to succeed."""
        done = subprocess.run([*self.enter, *argv], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def script(self, lines: str) -> str:
        """Run the lines of a shell script in it, of which each has to succeed."""
        return self.do("sh", "-ec", lines)


@contextlib.contextmanager
def place(script: str = "") -> Iterator[Place]:
    """Make a namespace with its loopback up, and run a script in it."""
    with holder("net") as held:
        made = Place(held.pid)
        if script:
            made.script(script)
        yield made


@contextlib.contextmanager
def neighbour(of: Place, address: str = "10.1.0.2/24") -> Iterator[Place]:
    """Make a second namespace, with its `v1` wired to `v0` of the first."""
    shell = "ip link set lo up; echo ready; exec cat"
    argv = [*of.enter, "unshare", "--net", "sh", "-c", shell]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            of.script(
                f"ip link add v0 type veth peer name v1 netns {process.pid}; ip link set v0 up; "
                "ip addr add 10.1.0.1/24 dev v0"
            )
            other = Place(process.pid)
            other.script(f"ip addr add {address} dev v1; ip link set v1 up")
            yield other
        finally:
            process.stdin.close()  # the end of its input ends cat
            process.wait(10)


@dataclass
class Watched:
    """A tool that runs until it is stopped."""

    session: Session[object]

    def heard(self) -> bytes:
        """Return what it has written so far."""
        return self.session.jobs[0].recording.read_bytes()

    def stopped(self) -> pd.DataFrame:
        """Stop it, and return its frame."""
        self.session.stop()
        (frame,) = self.session.each(frames.read_job)
        assert isinstance(frame, pd.DataFrame), frame
        return frames.merge([frame], self.session.jobs)


@contextlib.contextmanager
def watching(at: Place, *line: str) -> Iterator[Watched]:
    """Run a tool that has no end of its own."""
    with open_session([(line[0], line[1:])], pid=at.pid) as session:
        yield Watched(session)
