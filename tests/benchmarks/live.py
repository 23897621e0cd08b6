"""Live captures and their peers on the same wire at the same time: what is lost, what it costs, how late a frame is.

`python -m tests.benchmarks.live`, and part of `make bench`. Two namespaces with a wire, iperf3 between them (or our own
sender where it is not installed). CPU is user and system time of the process that captures and, of ours, of its
supervisor too; the packets themselves are copied by whoever sends them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import podtracer_nb
from tests.targets.namespaces import until
from tests.tools.live.wire import Wire, wire

SECONDS = 5.0
RATE = 130_000  # packets a second that are sent, or nearly so
_IPERF_SERVER = ["iperf3", "-s", "-1", "--forceflush"]
_SCAPY = """
import signal, sys
from scapy.sendrecv import AsyncSniffer
count = 0
def one(packet):
    global count
    count += 1
def started():
    print("listening", file=sys.stderr, flush=True)
sniffer = AsyncSniffer(iface="eth0", store=False, prn=one, started_callback=started)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
sniffer.start()
signal.sigwait({signal.SIGINT})
print(count, flush=True)
"""
_RECEIVER = """
import socket
with socket.create_server(("10.99.0.2", 5201)) as server:
    print("ready", flush=True)
    link, _ = server.accept()
    while link.recv(1 << 20, socket.MSG_TRUNC): pass
"""
_SENDER = """
import socket, sys, time
link, data = socket.create_connection(("10.99.0.2", 5201)), bytes(1 << 20)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: link.sendall(data)
"""


def seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def peer(place: Wire, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program at the far end, once it says that it listens."""
    with subprocess.Popen(
        place.command(*words, where=place.far), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "listening" not in (line := process.stderr.readline()):
            assert line, f"{words[0]} did not start"
        try:
            yield process
        finally:
            process.kill()


def stream(place: Wire) -> None:
    """Send TCP at full speed."""
    here = [sys.executable, "-I", "-S", "-c"]
    server, client = [*here, _RECEIVER], [*here, _SENDER, str(SECONDS)]
    if shutil.which("iperf3"):
        server, client = _IPERF_SERVER, ["iperf3", "-c", "10.99.0.2", "-t", str(SECONDS)]
    _between(place, server, client)


def datagrams(place: Wire) -> None:
    """Send datagrams of 64 bytes at the rate."""
    if not shutil.which("iperf3"):
        place.flood(int(RATE * (SECONDS + 2)), 1 / RATE, 64)
        return
    client = ["iperf3", "-c", "10.99.0.2", "-u", "-l", "64", "-b", str(RATE * 64 * 8), "-t", str(SECONDS + 2)]
    _between(place, _IPERF_SERVER, client)


def _between(place: Wire, server: list[str], client: list[str]) -> None:
    with subprocess.Popen(place.command(*server, where=place.far), stdout=subprocess.PIPE, text=True) as receiving:
        assert receiving.stdout is not None
        receiving.stdout.readline()
        place.inside(*client)


def full_speed(place: Wire) -> dict[str, float]:
    """Capture TCP at full speed by the ring and tcpdump, then by the ring and scapy."""
    found: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="podtracer-bench-") as directory,
        podtracer_nb.capture(pid=place.far.pid, interface="eth0", keep=False, engine="ring", filter="tcp") as live,
        peer(place, "tcpdump", "-i", "eth0", "-w", f"{directory}/x.pcap", "tcp") as tcpdump,
    ):
        ours = live._session.jobs[0].run.pid
        assert ours is not None
        supervisor = _parent(ours)
        before = seconds(ours) + seconds(supervisor), seconds(tcpdump.pid)
        stream(place)
        found["ring"] = seconds(ours) + seconds(supervisor) - before[0]
        found["tcpdump"] = seconds(tcpdump.pid) - before[1]
        tcpdump.send_signal(signal.SIGINT)
        said = tcpdump.communicate()[1]
        live.stop()
    drops = live.df.attrs["podtracer"]["drops"]
    received, dropped = (
        int(re.search(rf"(\d+) packets {word}", said)[1])  # type: ignore[index]
        for word in ("received by filter", "dropped by kernel")
    )
    found["ring lost"] = drops["dropped_by_kernel"] / drops["received"]
    found["tcpdump lost"] = dropped / received
    with (
        podtracer_nb.capture(pid=place.far.pid, interface="eth0", keep=False, engine="ring", filter="tcp") as live,
        peer(place, sys.executable, "-c", _SCAPY) as scapy,
    ):
        before = seconds(scapy.pid), 0.0
        stream(place)
        found["scapy"] = seconds(scapy.pid) - before[0]
        scapy.send_signal(signal.SIGINT)
        seen = int(scapy.communicate()[0])
        live.stop()
    found["scapy lost"] = 1 - seen / live.stats.packets
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def lag(place: Wire) -> dict[str, float]:
    """Follow some 100,000 packets a second, looking at the frame twice a second: what of a core that takes here."""
    with podtracer_nb.capture(pid=place.far.pid, interface="eth0", keep=False, engine="ring", filter="udp") as live:
        sending = threading.Thread(target=datagrams, args=(place,))
        sending.start()
        until(lambda: live.stats.packets > RATE)
        begun, busy, packets = time.monotonic(), time.process_time(), live.stats.packets
        lags, pause, looked = [], threading.Event(), begun
        while time.monotonic() < begun + SECONDS:
            pause.wait(0.05)
            lags.append(live.stats.lag or 0.0)
            if time.monotonic() > looked + 0.5:
                looked = time.monotonic()
                assert len(live.df)
        took = time.monotonic() - begun
        found = {
            "rate": (live.stats.packets - packets) / took,
            "core": (time.process_time() - busy) / took,
            "lag": max(lags),
            "median lag": statistics.median(lags),
        }
        sending.join()
        until(lambda: live.stats.dropped_by_kernel is not None)
        found["lost"] = float(live.stats.dropped_by_kernel or 0)
    return found


def dashboard(place: Wire) -> dict[str, float]:
    """Show a dashboard in a real kernel at some 100,000 packets a second; ask its callback, and count what it says."""
    manager, client = start_new_kernel()
    try:
        said: list[str] = []
        code = (
            "import podtracer_nb, time\n"
            f"words = dict(pid={place.far.pid}, interface='eth0', keep=False, engine='ring', filter='udp')\n"
            "live = podtracer_nb.capture(**words)\n"
            "w = podtracer_nb.dashboard(live, refresh=10)\n"
            "print(w.comm.comm_id)"
        )
        client.execute_interactive(
            code, output_hook=lambda message: said.append(message["content"].get("text", "")), timeout=60
        )
        comm = "".join(said).strip()
        sending = threading.Thread(target=datagrams, args=(place,))
        sending.start()
        until(lambda: _ask(client, comm)[1]["stats"]["packets"] > RATE)
        begun, busy = time.monotonic(), seconds(manager.provisioner.pid)
        first, answers, told = _ask(client, comm)[1], [], []
        pause = threading.Event()
        while time.monotonic() < begun + SECONDS:
            took, last, ticks = _ask(client, comm)
            answers.append(took)
            told += ticks
            pause.wait(0.2)
        gone = time.monotonic() - begun
        sending.join()
        client.execute_interactive("live.stop()", timeout=60)
        return {
            "rate": (last["stats"]["packets"] - first["stats"]["packets"]) / gone,
            "core": (seconds(manager.provisioner.pid) - busy) / gone,
            "answer": max(answers), "median": statistics.median(answers), "messages": len(told) / gone,
            "size": statistics.mean(told),
        }  # fmt: skip
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _ask(client: BlockingKernelClient, comm: str) -> tuple[float, dict[str, Any], list[int]]:
    """Ask the dashboard for all that it shows; return the seconds, the answer, and other messages' sizes."""
    content = {"comm_id": comm, "data": {"method": "custom", "content": {"kind": "whole"}}}
    asked = client.session.msg("comm_msg", content)
    begun = time.monotonic()
    client.shell_channel.send(asked)
    others = []
    while True:
        message = client.get_iopub_msg(timeout=30)
        data = message["content"].get("data", {})
        if message["msg_type"] != "comm_msg" or data.get("method") != "custom":
            continue
        if message["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
            return time.monotonic() - begun, data["content"], others
        others.append(len(json.dumps(data)))


def rows() -> list[tuple[str, str, str]]:
    """Measure, and return what was asked and what was reached."""
    with wire() as place:
        found = full_speed(place)
        late = lag(place)
        seen = dashboard(place)
    return [
        ("TCP at full speed: packets that the ring lost", "0 %", f"{found['ring lost']:.1%}"),
        ("the same, tcpdump -w FILE beside it", "", f"{found['tcpdump lost']:.1%}"),
        ("the same, scapy's AsyncSniffer", "", f"{found['scapy lost']:.1%}"),
        ("the ring's CPU, of tcpdump's", "≤ 1/5", f"1/{found['tcpdump'] / max(found['ring'], 0.01):.0f}"),
        ("the ring's CPU, of scapy's", "", f"1/{found['scapy'] / max(found['ring'], 0.01):.0f}"),
        (f"a live frame at {late['rate']:,.0f} packets/s: lag at most, ms", "≤ 300", f"{late['lag'] * 1e3:.0f}"),
        ("the same, of a core in the notebook's process", "≤ 25 %", f"{late['core']:.0%}"),
        ("the same, packets lost", "0", f"{late['lost']:.0f}"),
        (f"a dashboard at {seen['rate']:,.0f} packets/s: messages a second", "≤ 10", f"{seen['messages']:.1f}"),
        ("the same, kB a message", "", f"{seen['size'] / 1e3:.1f}"),
        (
            "the same, a callback answers within, ms (median)",
            "≤ 200",
            f"{seen['answer'] * 1e3:.0f} ({seen['median'] * 1e3:.0f})",
        ),
        ("the same, of a core in the kernel, capture and dashboard", "", f"{seen['core']:.0%}"),
    ]


def main() -> None:
    for row in rows():
        print(" | ".join(row))


if __name__ == "__main__":
    main()
