# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""From the blocks of an AF_PACKET ring (TPACKET_V3) to the records of a capture file, whole blocks at a time.

Cython in pure-Python mode, like `_dissect`: compiled where there is a C compiler, interpreted where there is none. The
ring is memory that the kernel writes (packet_mmap.rst of the kernel): its lengths are the kernel's, and nothing that a
packet holds is looked at here. Only the first `snaplen` bytes of each packet are copied; what the filter's return value
cuts off never reaches the ring.
"""

from __future__ import annotations

import sys

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy

compiled: bool = cython.compiled

# Why `Copier.run` came back.
_DONE = cython.declare(cython.int, 0)
_FULL = cython.declare(cython.int, 1)
_ENOUGH = cython.declare(cython.int, 2)
DONE, FULL, ENOUGH = 0, 1, 2

# linux/if_packet.h
_VLAN_VALID = cython.declare(cython.uint, 1 << 4)
_TPID_VALID = cython.declare(cython.uint, 1 << 6)
_OUTGOING = cython.declare(cython.int, 4)
_ADDRESS = cython.declare(cython.Py_ssize_t, 48)  # struct sockaddr_ll follows struct tpacket3_hdr

_COOKED = cython.declare(cython.Py_ssize_t, 20)  # https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html

LARGEST_HEADER = 64
"""No record is larger than its packet and this."""


@cython.final
@cython.cclass
class Copier:
    """Writes the packets of one block after the other into a buffer, as records of pcap (ns) or pcapng.

    Parameters
    ----------
    ring, out
        The ring's memory, and the buffer.
    cooked
        Whether the ring has packets without their link header (SOCK_DGRAM): each gets the header of LINUX_SLL2.
    tag_at
        Where in a packet the tag goes that the kernel took off, 12 for Ethernet; negative: it stays off.
    loopback
        The index of the loopback interface, whose packets are seen twice, on their way out and in: only in is kept.
    snaplen
        Bytes kept of each packet.
    blocks
        Whether the records are pcapng's.
    most
        How many packets are wanted at most.
    """

    ring: cython.uchar[::1]
    out: cython.uchar[::1]
    room: cython.Py_ssize_t
    cooked: cython.bint
    tag_at: cython.Py_ssize_t
    loopback: cython.longlong
    snaplen: cython.longlong
    blocks: cython.bint
    big: cython.bint
    at: cython.Py_ssize_t
    left: cython.longlong
    wanted: cython.longlong
    filled = cython.declare(cython.Py_ssize_t, visibility="public")
    packets = cython.declare(cython.longlong, visibility="readonly")

    def __init__(
        self,
        ring: object,
        out: object,
        *,
        cooked: bool,
        tag_at: int,
        loopback: int,
        snaplen: int,
        blocks: bool,
        most: int,
    ) -> None:
        self.ring = ring
        self.out = out
        self.room = len(out)
        self.cooked = cooked
        self.tag_at = tag_at
        self.loopback = loopback
        self.snaplen = snaplen
        self.blocks = blocks
        self.big = sys.byteorder == "big"
        self.at = 0
        self.left = 0
        self.wanted = most
        self.filled = 0
        self.packets = 0

    def ready(self, block: int) -> bool:
        """Tell whether the block that starts there is ours to read: tpacket_hdr_v1.block_status."""
        return self.number(block + 8) & 1 == 1

    def begin(self, block: int) -> None:
        """Go to the first packet of a block: tpacket_hdr_v1.num_pkts and offset_to_first_pkt."""
        self.left = self.number(block + 12)
        self.at = block + self.number(block + 16)

    def release(self, block: int) -> None:
        """Give a block back to the kernel."""
        at: cython.Py_ssize_t = block
        which: cython.Py_ssize_t
        for which in range(8, 12):
            self.ring[at + which] = 0

    def run(self) -> int:
        """Copy until the block is at its end (`DONE`), the buffer is full (`FULL`) or it is `ENOUGH`."""
        reason: cython.int
        with cython.nogil:
            reason = self.walk()
        return reason

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def number(self, at: cython.Py_ssize_t) -> cython.uint:
        """Return 32 bits in the machine's byte order."""
        one: cython.uint = self.ring[at]
        two: cython.uint = self.ring[at + 1]
        three: cython.uint = self.ring[at + 2]
        four: cython.uint = self.ring[at + 3]
        if self.big:
            return (one << 24) | (two << 16) | (three << 8) | four
        return (four << 24) | (three << 16) | (two << 8) | one

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def short(self, at: cython.Py_ssize_t) -> cython.uint:
        """Return 16 bits in the machine's byte order."""
        one: cython.uint = self.ring[at]
        two: cython.uint = self.ring[at + 1]
        return (one << 8) | two if self.big else (two << 8) | one

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def put(self, at: cython.Py_ssize_t, value: cython.ulonglong) -> cython.void:
        """Write 32 bits, little-endian."""
        self.out[at] = value & 0xFF
        self.out[at + 1] = (value >> 8) & 0xFF
        self.out[at + 2] = (value >> 16) & 0xFF
        self.out[at + 3] = (value >> 24) & 0xFF

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def put_network(self, at: cython.Py_ssize_t, value: cython.uint) -> cython.void:
        """Write 16 bits, big-endian."""
        self.out[at] = (value >> 8) & 0xFF
        self.out[at + 1] = value & 0xFF

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def copy(self, to: cython.Py_ssize_t, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.void:
        """Copy bytes of a packet."""
        if size > 0:
            if cython.compiled:
                memcpy(cython.address(self.out[to]), cython.address(self.ring[at]), size)
            else:
                self.out[to : to + size] = self.ring[at : at + size]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def walk(self) -> cython.int:
        at: cython.Py_ssize_t = self.at
        to: cython.Py_ssize_t = self.filled
        size: cython.Py_ssize_t = self.room
        data: cython.Py_ssize_t
        body: cython.Py_ssize_t
        start: cython.Py_ssize_t
        address: cython.Py_ssize_t
        head: cython.longlong
        captured: cython.longlong
        wire: cython.longlong
        kept: cython.longlong
        status: cython.uint
        tagged: cython.bint
        reason: cython.int = _DONE
        while self.left > 0:
            if self.wanted <= 0:
                reason = _ENOUGH
                break
            # struct tpacket3_hdr: next offset, sec, nsec, snaplen, len, status, mac, net, rxhash, vlan_tci, vlan_tpid
            captured = self.number(at + 12)
            if size - to < captured + 64:
                reason = _FULL
                break
            address = at + _ADDRESS
            if self.ring[address + 10] != _OUTGOING or self.number(address + 4) != self.loopback:
                wire = self.number(at + 16)
                status = self.number(at + 20)
                data = at + self.short(at + 24)
                head = _COOKED if self.cooked else 0
                tagged = (status & _VLAN_VALID) != 0 and (self.cooked or (self.tag_at >= 0 and captured >= self.tag_at))
                wire += head + (4 if tagged else 0)
                kept = captured + head + (4 if tagged else 0)
                if kept > self.snaplen:
                    kept = self.snaplen
                start = to
                body = to + (28 if self.blocks else 16)
                if self.cooked:
                    self.cook(body, at, tagged)
                    self.copy(body + head + (4 if tagged else 0), data, captured)
                elif tagged:
                    self.copy(body, data, self.tag_at)
                    self.tag(body + self.tag_at, body + self.tag_at + 2, at)
                    self.copy(body + self.tag_at + 4, data + self.tag_at, captured - self.tag_at)
                else:
                    self.copy(body, data, kept)
                if self.blocks:
                    to = self.close_block(start, at, kept, wire)
                else:
                    self.put(start, self.number(at + 4))
                    self.put(start + 4, self.number(at + 8))
                    self.put(start + 8, kept)
                    self.put(start + 12, wire)
                    to = body + kept
                self.packets += 1
                self.wanted -= 1
            self.left -= 1
            at += self.number(at)
        if reason == _DONE and self.wanted <= 0:
            reason = _ENOUGH
        self.at = at
        self.filled = to
        return reason

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def close_block(
        self, start: cython.Py_ssize_t, at: cython.Py_ssize_t, kept: cython.longlong, wire: cython.longlong
    ) -> cython.Py_ssize_t:
        """Write what is around a packet in an enhanced packet block (draft-ietf-opsawg-pcapng section 4.3)."""
        seconds: cython.ulonglong = self.number(at + 4)
        fraction: cython.ulonglong = self.number(at + 8)
        time: cython.ulonglong = seconds * 1000000000 + fraction
        padding: cython.Py_ssize_t = -kept & 3
        to: cython.Py_ssize_t = start + 28 + kept
        each: cython.Py_ssize_t
        self.put(start, 6)
        self.put(start + 4, 32 + kept + padding)
        self.put(start + 8, 0)
        self.put(start + 12, time >> 32)
        self.put(start + 16, time)
        self.put(start + 20, kept)
        self.put(start + 24, wire)
        for each in range(padding):
            self.out[to + each] = 0
        self.put(to + padding, 32 + kept + padding)
        return to + padding + 4

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def tag(self, kind: cython.Py_ssize_t, tci: cython.Py_ssize_t, at: cython.Py_ssize_t) -> cython.void:
        """Write the tag that the kernel took off: TPID (802.1Q where it is not told) and TCI."""
        self.put_network(kind, self.short(at + 36) if self.number(at + 20) & _TPID_VALID else 0x8100)
        self.put_network(tci, self.number(at + 32) & 0xFFFF)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def cook(self, to: cython.Py_ssize_t, at: cython.Py_ssize_t, tagged: cython.bint) -> cython.void:
        """Write the header of LINUX_SLL2 from what struct sockaddr_ll says; a tag comes between it and the packet."""
        address: cython.Py_ssize_t = at + _ADDRESS
        index: cython.uint = self.number(address + 4)
        protocol: cython.Py_ssize_t = to
        each: cython.Py_ssize_t
        if tagged:
            self.tag(to, to + _COOKED, at)
            protocol = to + _COOKED + 2
        self.out[protocol] = self.ring[address + 2]
        self.out[protocol + 1] = self.ring[address + 3]
        self.put_network(to + 2, 0)
        self.put_network(to + 4, index >> 16)
        self.put_network(to + 6, index & 0xFFFF)
        self.put_network(to + 8, self.short(address + 8))
        self.out[to + 10] = self.ring[address + 10]
        self.out[to + 11] = self.ring[address + 11]
        for each in range(8):
            self.out[to + 12 + each] = self.ring[address + 12 + each]
