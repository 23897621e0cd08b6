"""The demo's keeper: two processes, each of which ends everything when the other one is gone.

`keeper.py warden STATE` stays outside, in its own session. It starts `keeper.py keep STATE` as process 1 of new
network, mount, pid, uts and ipc namespaces (and, for an ordinary user, a new user namespace), and the keeper starts the
pods. Nothing of this has a name on disk: when process 1 of a pid namespace ends, the kernel kills the rest
(pid_namespaces(7)), and namespaces, links and mounts go with their last process. So:

* the caller of the warden dies or gives up before it has said `keep`: the warden kills the keeper and ends;
* the keeper dies, of whatever: the warden removes the state file and ends;
* the warden dies, of whatever: the keeper reads the end of its pipe, removes the state file and ends;
* the state file goes away, so that nobody could find the demo any more: the warden kills the keeper and ends.

Spoken on the pipes, one JSON object a line: the plan (caller → warden → keeper), `{"ready": …}` or `{"error": …}` back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).parent
# How often the warden looks whether its state file is still there.
STATE_MILLISECONDS = 1000


def processes() -> dict[int, tuple[int, tuple[int, ...]]]:
    """Return pid → (parent's pid, the pid in each nested pid namespace) of every process in this `/proc`."""
    table = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                fields = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
                table[int(directory.name)] = int(fields["PPid"]), tuple(int(pid) for pid in fields["NSpid"].split())
    return table


def identity(pid: int) -> dict[str, int]:
    """Return a process' pid and start time: field 22 of `/proc/PID/stat`, after the last `)` of its name (proc(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return {"pid": pid, "start_time": int(stat.rpartition(")")[2].split()[19])}


def only_child(parent: int) -> int:
    """Return the one child of `parent`: what `unshare --fork` started."""
    (child,) = (pid for pid, (ppid, _) in processes().items() if ppid == parent)
    return child


def owns(state: Path, keeper: dict[str, int]) -> bool:
    """Return whether the state file is there and this keeper's, or may be: one that cannot be read may."""
    try:
        return bool(json.loads(state.read_bytes())["keeper"] == keeper)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError):
        return True


def forget(state: Path, keeper: dict[str, int]) -> None:
    """Remove the state file if it is this keeper's, and its directory if nothing else is in it.

    Not while somebody is just now starting or stopping a demo there: then it is theirs to do.
    """
    with contextlib.suppress(OSError):  # gone already, locked, no longer writable, not empty: nothing that we could do
        directory = os.open(state.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if owns(state, keeper):
                state.unlink()
                state.parent.rmdir()
        finally:
            os.close(directory)


def last_words(stream: int) -> str:
    """Return what a program said last on the memory file that was its stderr."""
    size = os.fstat(stream).st_size
    lines = os.pread(stream, 4096, max(0, size - 4096)).decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def say(**message: Any) -> None:
    """Write one line to whoever started us; it may be gone, and then hears of it by our pipe's end."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


# ---------------------------------------------------------------------------------------------------------- outside


def warden(state: Path) -> None:
    """Start the keeper, hand its pids to the caller, and stay until it ends."""
    if os.fork():
        os._exit(0)  # the caller reaps this one at once; the demo is not its child
    os.setsid()
    plan = os.fdopen(os.dup(0), "rb", buffering=0).readline()
    if not plan.endswith(b"\n"):
        return
    errors = os.memfd_create("stderr")
    command = [*json.loads(plan)["unshare_node"], sys.executable, "-P", __file__, "keep", str(state)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
    orders, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
    keeper: dict[str, int] = {}
    try:
        with contextlib.suppress(BrokenPipeError):  # unshare refused: its word follows
            orders.write(plan)
        heard, _, _ = select.select([0, answers.fileno()], [], [])
        if answers.fileno() not in heard:
            return  # the caller gave up
        answer = json.loads(answers.readline() or json.dumps({"error": None}))
        if "ready" not in answer:
            if answer["error"] is None:
                child.wait()
                answer["error"] = last_words(errors)
            say(error=answer["error"])
            return
        table = processes()
        keeper = identity(next(pid for pid, (parent, _) in table.items() if parent == child.pid))
        pods = {}
        for name, inside in answer["ready"]["pods"].items():
            (start,) = (p for p, (parent, ns) in table.items() if parent == keeper["pid"] and ns[1] == inside)
            pods[name] = identity(next(pid for pid, (parent, _) in table.items() if parent == start))
        orders.write(json.dumps(keeper).encode() + b"\n")
        say(ready={"keeper": keeper, "pods": pods, "link": answer["ready"]["link"]})
        if os.read(0, 5) == b"keep\n":
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            stay(child, state, keeper)
    finally:
        end(child)
        if keeper:
            forget(state, keeper)


def stay(child: subprocess.Popen[bytes], state: Path, keeper: dict[str, int]) -> None:
    """Return when the keeper has ended, or nobody could find it any more because its state file is gone."""
    ended = select.poll()
    ended.register(os.pidfd_open(child.pid), select.POLLIN)
    while not ended.poll(STATE_MILLISECONDS) and owns(state, keeper):
        pass


def end(child: subprocess.Popen[bytes]) -> None:
    """End the keeper and wait until it is gone, which is when every process of its pid namespace is gone.

    `unshare` ends after its child. Killed itself, before it has one, it has none.
    """
    keepers = [pid for pid, (parent, _) in processes().items() if parent == child.pid]
    for pid in keepers or [child.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cast(IO[bytes], child.stdin).close()
    child.wait()


# ----------------------------------------------------------------------------------------------------------- inside


class PodError(Exception):
    """The line for the user: which pod, and why."""


class Pod:
    """One pod's first process, from its empty namespaces to its program."""

    def __init__(self, plan: dict[str, Any], spec: dict[str, Any]) -> None:
        self.name: str = spec["name"]
        self.argv: list[str] = spec["argv"]
        self.errors = os.memfd_create(f"{self.name}-stderr")
        environment = {key: os.environ[key] for key in ("LD_LIBRARY_PATH", "PODTRACER_DEMO") if key in os.environ}
        self.start = subprocess.Popen(
            [*plan["unshare_pod"], sys.executable, "-I", "-S", str(HERE / "pod.py"), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            cwd="/",
            env=environment | {"PATH": plan["path"], "HOSTNAME": self.name, "LANG": "C.UTF-8"},
        )
        self.tell(spec["files"])

    def wait_for(self, word: bytes, deadline: float, others: list[Pod]) -> None:
        """Wait for a line from the pod; raise PodError when it or another pod ends first, or time is up."""
        said = cast(IO[bytes], self.start.stdout)
        while True:
            for pod in [self, *others]:
                if pod.start.poll() is not None:
                    raise PodError(f"pod {pod.name} ended at once: {last_words(pod.errors)}")
            if time.monotonic() > deadline:
                raise PodError(f"pod {self.name} was not {word.decode()} in time: {last_words(self.errors)}")
            if select.select([said], [], [], 0.05)[0]:
                line = said.readline()
                if line.strip() == word:
                    return
                if not line:  # its stdout is closed: it is about to end, and poll() will tell
                    self.start.wait(timeout=max(0.1, deadline - time.monotonic()))

    def tell(self, what: Any) -> None:
        """Write a line to the pod; one that has ended is found out by `wait_for`."""
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self.start.stdin).write(json.dumps(what).encode() + b"\n")

    def go(self, more: list[str]) -> None:
        """Let the pod exec its program: its links are there."""
        self.tell([*self.argv, *more])
        cast(IO[bytes], self.start.stdin).close()


def end_with_the_warden(state: Path, lines: Any) -> None:
    """Read until the warden is gone, then end process 1: the kernel ends everything else."""
    keeper: dict[str, int] = {}
    for line in lines:
        keeper = json.loads(line)
    if keeper:
        forget(state, keeper)
    os._exit(1)


def connect(plan: dict[str, Any], pods: list[Pod]) -> dict[str, Any]:
    """Have `links.py` join the pods' namespaces to the node's bridge; return what it did to the bad link."""
    pids = {pod.name: only_child(pod.start.pid) for pod in pods}
    order = plan["links"] | {"pods": [link | {"pid": pids[link["name"]]} for link in plan["links"]["pods"]]}
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / "links.py")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=plan["timeout"],
        check=False,
    )
    if done.returncode:
        raise PodError((done.stderr.strip().splitlines() or ["the links could not be made"])[-1])
    link: dict[str, Any] = json.loads(done.stdout)
    return link


def keep(state: Path) -> None:
    """Make the pods, say so, and be their process 1 for as long as the warden lives."""
    lines = os.fdopen(os.dup(0), "rb", buffering=0)
    plan = json.loads(lines.readline())
    threading.Thread(target=end_with_the_warden, args=(state, lines), daemon=True).start()
    deadline = time.monotonic() + plan["timeout"]
    socket.sethostname(plan["node"])
    pods = [Pod(plan, spec) for spec in plan["pods"]]
    try:
        for pod in pods:
            pod.wait_for(b"made", deadline, pods)
        link = connect(plan, pods)
        for pod in pods:
            pod.go(link["argv"] if pod.name == link["pod"] else [])
        # The last pod, the client, is ready when every other one has answered it, by name, over IPv4 and IPv6.
        pods[-1].wait_for(b"ready", deadline, pods)
    except PodError as failed:
        say(error=str(failed))
        return
    except subprocess.TimeoutExpired:
        say(error="the links between the pods could not be made in time: the machine is very busy, try again")
        return
    say(ready={"pods": {pod.name: pod.start.pid for pod in pods}, "link": link})
    with contextlib.suppress(ChildProcessError):  # raised when the last pod has ended
        while True:
            os.waitpid(-1, 0)  # process 1 is the parent of every orphan


if __name__ == "__main__":
    {"warden": warden, "keep": keep}[sys.argv[1]](Path(sys.argv[2]))
