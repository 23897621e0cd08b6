"""Capture packets with a ring that the kernel fills: `ring.py COPIER [--check] [-i INTERFACE] … [-- FILTER]`.

A capture file is written to standard output, pcap with nanoseconds or pcapng. COPIER is the file of
`podtracer_nb.packets._ring`, compiled or not: nothing else of the package is needed, or imported. AF_PACKET with
TPACKET_V3 (packet(7), packet_mmap.rst of the kernel): packets come in blocks, which are handed over when they are full
or after `TIMEOUT`; the filter is tcpdump's own compilation, run by the kernel, and what it cuts off is never copied.

What it says on standard error are tcpdump's words, so that whoever reads one can read the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import getopt
import importlib.util
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any, NoReturn

BLOCK = 1 << 20  # no packet may be larger; tcpdump's largest snaplen is a quarter of it
RING = 32 << 20
SMALLEST_RING = 4 << 20
TIMEOUT = 50  # ms
LARGEST = 262_144

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h, linux/sockios.h
SOL_PACKET, ADD_MEMBERSHIP, RX_RING, STATISTICS, VERSION = 263, 1, 5, 6, 10
TPACKET_V3, PROMISCUOUS = 2, 1
ALL_PROTOCOLS = 0x0003
ATTACH_FILTER = 26
GET_FLAGS, GET_ADDRESS = 0x8913, 0x8927
UP, LOOPBACK, RUNNING = 0x1, 0x8, 0x40
# linux/if_arp.h: what has an Ethernet header, and what has none. All else is captured cooked.
ETHERNET = {1: "EN10MB (Ethernet)", 772: "EN10MB (Ethernet)"}
RAW = (519, 768, 769, 776, 0xFFFE)
EN10MB, LINKTYPE_RAW, LINUX_SLL2 = 1, 101, 276
# pcap-filter's program for cooked packets looks into the header of LINUX_SLL2, which the kernel has not got: it answers
# the same with loads from SKF_AD_OFF on (linux/filter.h). By offset in the header: where, and with which size of load.
COOKED = {(0, 0x28): (0xFFFFF000, 0x28), (4, 0x20): (0xFFFFF008, 0x20), (8, 0x28): (0xFFFFF01C, 0x28),
          (10, 0x30): (0xFFFFF004, 0x30)}  # fmt: skip
LOADS = (0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1)
RETURN = 0x06


def fail(text: str) -> NoReturn:
    """End with a line that says why."""
    sys.stderr.write(f"ring: {text}\n")
    raise SystemExit(1)


def copier(path: str) -> Any:
    """Return the module `_ring`, from its file."""
    spec = importlib.util.spec_from_file_location("_ring", path)
    if spec is None or spec.loader is None:
        fail(f"{path} is no module of Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Interface:
    """Where to capture.

    Parameters
    ----------
    name
        Its name, `any` for all, or None for the one that tcpdump takes: libpcap's first, by what is up and running.
    """

    def __init__(self, name: str | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            listed = [(index, each, self._flags(asked, each)) for index, each in socket.if_nameindex()]
            self.loopback = next((index for index, _, flags in listed if flags & LOOPBACK), 0)
            # libpcap prefers `any` to a loopback, and to what is not up.
            usable = [each for _, each, flags in listed if flags & UP and flags & RUNNING and not flags & LOOPBACK]
            self.name = name or (usable[0] if usable else "any")
            known = {each: (index, flags) for index, each, flags in listed}
            if self.name == "any":
                self.index, kind = 0, -1
            elif self.name in known:
                self.index, flags = known[self.name]
                if not flags & UP:
                    fail(f"{self.name}: That device is not up")
                kind = self._hardware(asked, self.name)
            else:
                fail(f"{self.name}: No such device exists")
        self.cooked = kind not in ETHERNET and kind not in RAW
        self.linktype = LINUX_SLL2 if self.cooked else EN10MB if kind in ETHERNET else LINKTYPE_RAW
        self.link_name = {LINUX_SLL2: "LINUX_SLL2 (Linux cooked v2)", LINKTYPE_RAW: "RAW (Raw IP)"}.get(
            self.linktype, "EN10MB (Ethernet)"
        )

    @staticmethod
    def _flags(asked: socket.socket, name: str) -> int:
        try:
            return _asked(asked, GET_FLAGS, name)
        except OSError:  # gone since it was listed
            return 0

    @staticmethod
    def _hardware(asked: socket.socket, name: str) -> int:
        return _asked(asked, GET_ADDRESS, name)


def _asked(through: socket.socket, request: int, name: str) -> int:
    """Ask the kernel for a number that it knows of an interface: netdevice(7)."""
    import fcntl  # here: other systems read this file for its constants

    answer = fcntl.ioctl(through, request, struct.pack("16s24x", name.encode()))
    return int(struct.unpack_from("H", answer, 16)[0])


def program(interface: Interface, snaplen: int, expression: str) -> list[tuple[int, int, int, int]]:
    """Return the filter's instructions, which also cut packets off at `snaplen`."""
    if not expression:
        return [(RETURN, 0, 0, snaplen)]
    if interface.cooked and interface.index:
        fail(f"{interface.name} has packets of a kind that filters cannot be compiled for here")
    command = ["tcpdump", "-ddd", "-i", interface.name, "-s", str(snaplen), "--", expression]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        fail(f"a filter is compiled by tcpdump, which cannot be run: {error.strerror}")
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(1)
    compiled = [tuple(map(int, line.split())) for line in done.stdout.splitlines()[1:]]
    return [_cooked(each) if interface.cooked else each for each in compiled]  # type: ignore[misc, arg-type]


def _cooked(instruction: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a load of a cooked packet as the kernel has to do it."""
    operation, true, false, constant = instruction
    if operation not in LOADS or constant >= 0x80000000:  # noqa: PLR2004 - the kernel's own offsets are negative
        return instruction
    if constant >= 20:  # noqa: PLR2004 - behind the header
        return operation, true, false, constant - 20
    if (constant, operation) not in COOKED:
        fail("the filter looks where the kernel cannot, on the interface any")
    return COOKED[constant, operation][1], true, false, COOKED[constant, operation][0]


class Ring:
    """The socket and its ring."""

    def __init__(self, interface: Interface, size: int, promiscuous: bool) -> None:
        try:
            kind = socket.SOCK_DGRAM if interface.cooked else socket.SOCK_RAW
            self.socket = socket.socket(socket.AF_PACKET, kind, 0)  # bound to no protocol, it gets nothing yet
        except OSError as error:
            fail(f"You don't have permission to capture ({error.strerror})")
        try:
            self.socket.setsockopt(SOL_PACKET, VERSION, TPACKET_V3)
            self.size = self._map(size)
            self.memory = mmap.mmap(self.socket.fileno(), self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError as error:
            fail(f"the kernel gives no ring (TPACKET_V3: {error.strerror})")
        if promiscuous and interface.index:
            with contextlib.suppress(OSError):  # not every interface can, which tcpdump bears, too
                request = struct.pack("iHH8s", interface.index, PROMISCUOUS, 0, b"")
                self.socket.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)
        self.packets = self.drops = 0

    def _map(self, size: int) -> int:
        while True:
            # struct tpacket_req3: the size and number of blocks and frames, timeout, private bytes, features
            request = struct.pack("7I", BLOCK, size // BLOCK, 2048, size // 2048, TIMEOUT, 0, 0)
            try:
                self.socket.setsockopt(SOL_PACKET, RX_RING, request)
            except OSError as error:
                if error.errno != errno.ENOMEM or size <= SMALLEST_RING:
                    raise
                size //= 2
            else:
                return size

    def filter(self, instructions: list[tuple[int, int, int, int]]) -> None:
        """Let the kernel run a filter; it takes the place of the one before."""
        code = b"".join(struct.pack("HBBI", *each) for each in instructions)
        memory = ctypes.create_string_buffer(code, len(code))
        described = struct.pack("HP", len(instructions), ctypes.addressof(memory))  # struct sock_fprog
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, described)
        except OSError as error:
            fail(f"the kernel takes no filter of {len(instructions)} instructions: {error.strerror}")

    def listen(self, interface: Interface) -> None:
        """Begin to capture."""
        # struct sockaddr_ll, by hand: Python binds to an interface only, never to all.
        address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ALL_PROTOCOLS), interface.index, 0, 0, 0, b"")
        if ctypes.CDLL(None, use_errno=True).bind(self.socket.fileno(), address, len(address)):
            fail(f"{interface.name}: {os.strerror(ctypes.get_errno())}")

    def count(self) -> None:
        """Add up what the kernel counted since it was last asked: struct tpacket_stats_v3."""
        packets, drops, _ = struct.unpack("3I", self.socket.getsockopt(SOL_PACKET, STATISTICS, 12))
        self.packets += packets
        self.drops += drops


class Capture:
    """The loop: blocks of the ring to records on standard output."""

    def __init__(self, ring: Ring, interface: Interface, copier: Any, blocks: bool) -> None:
        self.ring, self.interface, self.copier, self.blocks = ring, interface, copier, blocks
        self.stopping = 0.0
        self.asked = False
        self.wake, waker = os.pipe()
        for end in (self.wake, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGUSR1, lambda *_: self._ask())

    def run(self, out: memoryview) -> None:
        """Capture until a signal comes, or it is enough."""
        poll = select.poll()
        poll.register(self.ring.socket, select.POLLIN | select.POLLERR)
        poll.register(self.wake, select.POLLIN)
        block, size, copier = 0, self.ring.size, self.copier
        while True:
            if copier.ready(block):
                copier.begin(block)
                while (reason := copier.run()) == 1:
                    self._write(out)
                copier.release(block)
                block = (block + BLOCK) % size
                if copier.filled > len(out) // 2 or not copier.ready(block):
                    self._write(out)
                if reason == 2:  # noqa: PLR2004 - `_ring.ENOUGH`
                    return
            elif self.stopping and time.monotonic() >= self.stopping:
                return
            else:
                self._wait(poll)
            if self.asked:
                self.asked = False
                self.tell()

    def _wait(self, poll: select.poll) -> None:
        left = max(1.0, (self.stopping - time.monotonic()) * 1000) if self.stopping else None
        for descriptor, what in poll.poll(left):
            if descriptor == self.wake:
                os.read(self.wake, 4096)
            elif what & select.POLLERR:
                self._error(self.ring.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _error(self, number: int) -> None:
        """Go on where the interface only went down; it may come up again."""
        there = {"any"} | {name for _, name in socket.if_nameindex()}
        if number in (0, errno.ENETDOWN) and self.interface.name in there:
            return
        self.tell()
        fail(f"{self.interface.name}: The interface disappeared" if number == errno.ENETDOWN else os.strerror(number))

    def _write(self, out: memoryview) -> None:
        done = 0
        while done < self.copier.filled:
            done += os.write(1, out[done : self.copier.filled])
        self.copier.filled = 0

    def _stop(self) -> None:
        """Let nothing new in; what came before is in a block that is handed over within the timeout."""
        if not self.stopping:
            self.ring.filter([(RETURN, 0, 0, 0)])
            self.stopping = time.monotonic() + 2 * TIMEOUT / 1000

    def _ask(self) -> None:
        self.asked = True

    def tell(self) -> None:
        """Say what was captured and dropped."""
        self.ring.count()
        sys.stderr.write(
            f"{self.copier.packets} packets captured\n{self.ring.packets} packets received by filter\n"
            f"{self.ring.drops} packets dropped by kernel\n"
        )
        sys.stderr.flush()


def header(interface: Interface, snaplen: int, expression: str, blocks: bool) -> bytes:
    """Return what a capture file begins with: pcap-savefile(5); draft-ietf-opsawg-pcapng sections 4.1 and 4.2."""
    if not blocks:
        return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, interface.linktype)
    options = b""
    for code, value in ((2, interface.name.encode()), (9, b"\x09"), (11, b"\0" + expression.encode())):
        if len(value) > 1:
            options += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
        elif code == 9:  # noqa: PLR2004 - if_tsresol
            options += struct.pack("<HH4s", code, 1, value)
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    described = struct.pack("<HHI", interface.linktype, 0, snaplen) + options + bytes(4)
    return _block(0x0A0D0D0A, section) + _block(1, described)


def statistics(ring: Ring) -> bytes:
    """Return an interface statistics block: packets received by the filter's interface, and dropped."""
    now = time.time_ns()
    options = struct.pack("<HHQHHQHH", 4, 8, ring.packets, 7, 8, ring.drops, 0, 0)
    return _block(5, struct.pack("<III", 0, now >> 32, now & 0xFFFFFFFF) + options)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def main() -> int:
    """Capture, as the words say."""
    path, *words = sys.argv[1:]
    given, rest = getopt.getopt(words, "i:c:s:B:p", ["check", "pcapng"])
    values = dict(given)
    blocks, expression = "--pcapng" in values, " ".join(rest)
    snaplen = min(int(values.get("-s", 0)) or LARGEST, LARGEST)
    interface = Interface(values.get("-i"))
    size = max(int(values["-B"]) << 10, SMALLEST_RING) // BLOCK * BLOCK if "-B" in values else RING
    instructions = program(interface, snaplen, expression)
    ring = Ring(interface, size, "-p" not in values)
    ring.filter(instructions)
    if "--check" in values:
        return 0
    module = copier(path)
    room = BLOCK + (module.LARGEST_HEADER << 10)
    out = mmap.mmap(-1, room)
    reader = module.Copier(
        ring.memory,
        out,
        cooked=interface.cooked,
        tag_at=12 if interface.linktype == EN10MB else -1,
        loopback=interface.loopback,
        snaplen=snaplen,
        blocks=blocks,
        most=int(values.get("-c", 1 << 62)),
    )
    capture = Capture(ring, interface, reader, blocks)
    os.write(1, header(interface, snaplen, expression, blocks))
    ring.listen(interface)
    sys.stderr.write(
        f"ring: listening on {interface.name}, link-type {interface.link_name}, snapshot length {snaplen} bytes\n"
    )
    sys.stderr.flush()
    try:
        capture.run(memoryview(out))
    except BrokenPipeError:  # nobody reads any more
        return 1
    ring.count()
    if blocks:
        os.write(1, statistics(ring))
    capture.tell()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
