"""A live capture as a cell's value: what runs, where, how it gets on; and, when it is over, why."""

from __future__ import annotations

from threading import Thread
from xml.etree import ElementTree

import podtracer_nb
from tests.machine import needs
from tests.targets.namespaces import until

pytestmark = needs("netns", "iproute2", "tcpdump", "ping")


def rows(live: podtracer_nb.LiveCapture) -> dict[str, str]:
    table = ElementTree.fromstring(live._repr_mimebundle_()["text/html"])
    return {"".join(row[0].itertext()): "".join(row[1].itertext()) for row in table.iter("tr")}


def test_while_it_runs_and_when_it_was_stopped(shared_wire):
    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", filter="icmp") as live:
        shared_wire.ping(5)
        until(lambda: live.stats.packets == 10)
        said = rows(live)
        assert said["state"] == "running"
        assert said["where"] == f"pid {shared_wire.far.pid}"
        assert said["captured"].startswith("10 packets, 1,164 bytes")
        assert said["rate"].endswith("bytes/s") and said["lag"].endswith(" ms")
        assert said["file"] == str(live.files[0])
        live.pause()
        assert rows(live)["state"] == "paused"
    said = rows(live)
    assert said["state"] == "ended" and "rate" not in said
    assert said["dropped by the kernel"] == "0"
    assert live._repr_mimebundle_()["text/plain"] == repr(live)


def test_what_is_counted_is_in_the_window_already(shared_wire):
    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", filter="icmp", keep=False) as live:
        pings = Thread(target=shared_wire.ping, args=(8,))
        pings.start()
        counted = 0
        while counted < 16:
            stats = live.stats
            counted = stats.packets
            assert counted <= stats.window
            assert not counted or stats.lag is not None
        pings.join()


def test_why_it_ended(shared_wire):
    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", keep=False, timer=0.3) as live:
        live.wait(30)
    assert rows(live)["state"].startswith("ended: ") and "timer" in rows(live)["state"]
    assert rows(live)["file"] == "none is kept"


def test_what_a_callback_raised(shared_wire, capsys):
    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", filter="icmp", keep=False) as live:
        live.on_chunk(lambda chunk: chunk["<nothing>"])
        shared_wire.ping(1)
        until(lambda: live.errors)
    assert "&lt;nothing&gt;" in live._repr_mimebundle_()["text/html"]
    assert "<nothing>" in rows(live)["failed"]


def test_a_chunk_function_can_leave(shared_wire):
    seen: list[int] = []

    def count(chunk):
        seen.append(len(chunk))

    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", filter="icmp", keep=False) as live:
        live.on_chunk(count)
        shared_wire.ping(1)
        until(lambda: sum(seen) == 2)
        live.off_chunk(count)
        shared_wire.ping(1)
        until(lambda: live.stats.window == 4)
    assert sum(seen) == 2


def test_the_same_again(shared_wire):
    with podtracer_nb.capture(pid=shared_wire.far.pid, interface="eth0", filter="icmp", window=7) as live:
        assert "still runs" in refused(live)
    with live.again() as another:
        assert another.targets == live.targets and another.files != live.files
        shared_wire.ping(5)
        until(lambda: another.stats.window == 7)


def refused(live: podtracer_nb.LiveCapture) -> str:
    try:
        live.again()
    except podtracer_nb.InputError as error:
        return str(error)
    raise AssertionError("it started another one")
