# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
"""The one pass from capture records to columns: scan, dissect, intern.

This file is Cython in pure-Python mode: compiled where a C compiler is found, interpreted as it is where none is
(`compiled` tells). It reads hostile bytes, so one rule holds everywhere: **bytes are read only after one explicit
comparison has shown that all of them lie before `end`**, the end of that packet's captured bytes. Bounds checks are
off in the compiled build; the tests compile this same file with them on and feed it exactly sized buffers.

Numbers behave differently in the two builds, so: lengths and positions are signed (`Py_ssize_t`), hashes are masked to
64 bits by hand, constants wider than 32 bits are typed, and a value stored fits its column by construction. Nothing in
the loop raises: its methods are `exceptval(check=False)`, because a check for errors after each call takes the GIL.

The loop stops, and ordinary Python resumes it, when a column, a table or the buffer has no room for one more record.
"""

from __future__ import annotations

import cython
import numpy

if cython.compiled:
    from cython.cimports.cpython.pythread import (
        WAIT_LOCK,
        PyThread_acquire_lock,
        PyThread_allocate_lock,
        PyThread_free_lock,
        PyThread_release_lock,
        PyThread_type_lock,
    )
    from cython.cimports.posix.unistd import pread

compiled: bool = cython.compiled

# Constants of the loop are C variables; the dictionaries at the end of this file show them to Python.
_NEED_BYTES = cython.declare(cython.int, 0)
_NEED_ROWS = cython.declare(cython.int, 1)
_NEED_TABLES = cython.declare(cython.int, 2)
_OVERSIZED = cython.declare(cython.int, 3)
_ZEROS = cython.declare(cython.int, 4)
_OTHER_BLOCK = cython.declare(cython.int, 5)
_BAD_BLOCK = cython.declare(cython.int, 6)
_NO_INTERFACE = cython.declare(cython.int, 7)
_OPTIONS = cython.declare(cython.int, 8)
_CUT = cython.declare(cython.int, 9)

_LINK_NONE = cython.declare(cython.int, 0)
_LINK_ETHERNET = cython.declare(cython.int, 1)
_LINK_SLL = cython.declare(cython.int, 2)
_LINK_SLL2 = cython.declare(cython.int, 3)
_LINK_RAW = cython.declare(cython.int, 4)
_LINK_NULL = cython.declare(cython.int, 5)
_LINK_LOOP = cython.declare(cython.int, 6)
_LINK_PPP = cython.declare(cython.int, 7)

_PROTOCOL = cython.declare(cython.int, 0)
_FLAGS = cython.declare(cython.int, 1)
_FRAGMENT = cython.declare(cython.int, 2)
_ARP_OPERATION = cython.declare(cython.int, 3)
_RCODE = cython.declare(cython.int, 4)
_QTYPE = cython.declare(cython.int, 5)
_ERROR = cython.declare(cython.int, 6)
_TUNNEL = cython.declare(cython.int, 7)
_INNER_PROTOCOL = cython.declare(cython.int, 8)
_TLS_TYPE = cython.declare(cython.int, 9)
_TLS_VERSION = cython.declare(cython.int, 10)
# A 16-bit code numbers no more words than this; only DNS types could be more, and those beyond it stay NA.
_WORDS_MAXIMUM = cython.declare(cython.int, 32766)

_TRUNCATED = cython.declare(cython.int, 0)
_BAD_RECORD = cython.declare(cython.int, 1)
_BAD_ETHERNET = cython.declare(cython.int, 2)
_BAD_COOKED = cython.declare(cython.int, 3)
_BAD_VLAN = cython.declare(cython.int, 4)
_BAD_ARP = cython.declare(cython.int, 5)
_BAD_IP = cython.declare(cython.int, 6)
_BAD_IPV4 = cython.declare(cython.int, 7)
_BAD_IPV6 = cython.declare(cython.int, 8)
_BAD_TCP = cython.declare(cython.int, 9)
_BAD_UDP = cython.declare(cython.int, 10)
_BAD_ICMP = cython.declare(cython.int, 11)
_BAD_DNS = cython.declare(cython.int, 12)
_BAD_LINK = cython.declare(cython.int, 13)
_BAD_PPP = cython.declare(cython.int, 14)
_BAD_LOOPBACK = cython.declare(cython.int, 15)
_BAD_MPLS = cython.declare(cython.int, 16)
_BAD_PPPOE = cython.declare(cython.int, 17)
_BAD_SCTP = cython.declare(cython.int, 18)
_BAD_TUNNEL = cython.declare(cython.int, 19)

# What `tunnel` says.
_IN_IP = cython.declare(cython.int, 0)
_GRE = cython.declare(cython.int, 1)
_VXLAN = cython.declare(cython.int, 2)
_GENEVE = cython.declare(cython.int, 3)
_ICMP_ERROR = cython.declare(cython.int, 4)
_DEEPEST = cython.declare(cython.int, 8)
_TEXT = cython.declare(cython.Py_ssize_t, 255)

_ALL = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
_LOWER = cython.declare(cython.ulonglong, 0xFFFFFFFF)
_GOLDEN = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
_MIX = cython.declare(cython.ulonglong, 0xBF58476D1CE4E5B9)
_MIX_AGAIN = cython.declare(cython.ulonglong, 0x94D049BB133111EB)
_SECOND = cython.declare(cython.longlong, 1000000000)
# 64 bits of nanoseconds reach this many seconds, and a little further, to both sides of 1970; less than all is NaT.
_FAR = cython.declare(cython.ulonglong, 20000000000)
_LAST_SECOND = cython.declare(cython.longlong, 9223372035)
_MOST = cython.declare(cython.longlong, 0x7FFFFFFFFFFFFFFF)
_NO_TIME = cython.declare(cython.longlong, -_MOST - 1)
# Options beside a packet's bytes: a block may be this much larger than the packet.
_OPTIONS_MAXIMUM = cython.declare(cython.longlong, 1048576)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _place(product: cython.ulonglong, shift: cython.int) -> cython.Py_ssize_t:
    """Return the upper bits of the lower 64 of a product, which is all of it in the compiled build."""
    if cython.compiled:
        return product >> shift
    else:
        return (product & _ALL) >> shift


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _word(data: cython.p_const_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Return eight bytes as one number, in the order that one load gives; the caller knows that they are there."""
    low: cython.ulonglong = (
        (cython.cast(cython.uint, data[at + 3]) << 24)
        | (cython.cast(cython.uint, data[at + 2]) << 16)
        | (cython.cast(cython.uint, data[at + 1]) << 8)
        | data[at]
    )
    high: cython.ulonglong = (
        (cython.cast(cython.uint, data[at + 7]) << 24)
        | (cython.cast(cython.uint, data[at + 6]) << 16)
        | (cython.cast(cython.uint, data[at + 5]) << 8)
        | data[at + 4]
    )
    return (high << 32) | low


@cython.final
@cython.cclass
class Numbers:
    """A dictionary from 63-bit numbers (MAC addresses, interface numbers) to codes 0, 1, 2, … in order of arrival.

    Open addressing with linear probing. The hash is multiply-shift with a secret odd multiplier (Dietzfelbinger et al.
    1997: two numbers collide with probability 2 / slots, whatever they are), so that no capture can be made to collide.
    `values[code]` is the number. `grow` is for ordinary Python, `code` for the loop.
    """

    slots: cython.ulonglong[::1]
    values: cython.ulonglong[::1]
    count = cython.declare(cython.int, visibility="readonly")
    limit = cython.declare(cython.int, visibility="readonly")
    mask: cython.Py_ssize_t
    shift: cython.int
    secret: cython.ulonglong
    other_secret: cython.ulonglong

    def __init__(self, secret: int, other_secret: int) -> None:
        self.secret = secret | 1
        self.other_secret = other_secret | 1
        self.count = 0
        self.limit = 0

    def intern(self, key: int) -> int:
        """Return the code of a number, for which there must be room."""
        return self.code(key)

    def resume(self, other: Numbers) -> None:
        """Be as another table is: its values have to come with the next `grow`."""
        self.secret = other.secret
        self.other_secret = other.other_secret
        self.count = other.count

    def take(self, other: Numbers, start: int, stop: int, codes: cython.int[::1]) -> None:
        """Intern what stands for the codes `start` to `stop` in another table, and note what its codes are here."""
        code: cython.int
        for code in range(start, stop):
            codes[code] = self.code(other.values[code])

    def grow(self, slots: object, values: object, places: int, limit: int) -> None:
        """Take larger arrays: `slots` zeroed with `places` (a power of two) pairs, `values` with the old in it."""
        self.slots = slots
        self.values = values
        self.mask = places - 1
        self.shift = 65 - places.bit_length()
        self.limit = limit
        code: cython.int
        for code in range(self.count):
            self.place(self.values[code], code)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def slot(self, key: cython.ulonglong) -> cython.Py_ssize_t:
        return _place(key * self.secret, self.shift)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def place(self, key: cython.ulonglong, code: cython.int) -> cython.void:
        at: cython.Py_ssize_t = self.slot(key)
        while self.slots[2 * at] != 0:
            at = (at + 1) & self.mask
        self.slots[2 * at] = key + 1
        self.slots[2 * at + 1] = code

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def code(self, key: cython.ulonglong) -> cython.int:
        at: cython.Py_ssize_t = self.slot(key)
        while self.slots[2 * at] != 0:
            if self.slots[2 * at] == key + 1:
                return self.slots[2 * at + 1]
            at = (at + 1) & self.mask
        new: cython.int = self.count
        self.slots[2 * at] = key + 1
        self.slots[2 * at + 1] = new
        self.values[new] = key
        self.count = new + 1
        return new


@cython.final
@cython.cclass
class Addresses:
    """One dictionary for IPv4 and IPv6 addresses, to codes in order of arrival.

    An IPv4 slot is one 64-bit word, address and code + 1, so that a hit costs one load. `version[code]` is 4 or 6;
    `high` and `low` hold the address, an IPv4 address in `low`.
    """

    four: cython.ulonglong[::1]
    six: cython.int[::1]
    high: cython.ulonglong[::1]
    low: cython.ulonglong[::1]
    version: cython.uchar[::1]
    count = cython.declare(cython.int, visibility="readonly")
    limit = cython.declare(cython.int, visibility="readonly")
    mask: cython.Py_ssize_t
    shift: cython.int
    secret: cython.ulonglong
    other_secret: cython.ulonglong

    def __init__(self, secret: int, other_secret: int) -> None:
        self.secret = secret | 1
        self.other_secret = other_secret | 1
        self.count = 0
        self.limit = 0

    def resume(self, other: Addresses) -> None:
        """Be as another table is: its values have to come with the next `grow`."""
        self.secret = other.secret
        self.other_secret = other.other_secret
        self.count = other.count

    def take(self, other: Addresses, start: int, stop: int, codes: cython.int[::1]) -> None:
        """Intern what stands for the codes `start` to `stop` in another table, and note what its codes are here."""
        code: cython.int
        for code in range(start, stop):
            if other.version[code] == 4:
                codes[code] = self.code4(other.low[code])
            else:
                codes[code] = self.code6(other.high[code], other.low[code])

    def grow(
        self, four: object, six: object, high: object, low: object, version: object, slots: int, limit: int
    ) -> None:
        """Take larger arrays: `four` and `six` zeroed with `slots` places, the others with the old values in them."""
        self.four = four
        self.six = six
        self.high = high
        self.low = low
        self.version = version
        self.mask = slots - 1
        self.shift = 65 - slots.bit_length()
        self.limit = limit
        code: cython.int
        at: cython.Py_ssize_t
        word: cython.ulonglong
        for code in range(self.count):
            if self.version[code] == 4:
                word = self.low[code]
                at = self.slot4(word)
                while self.four[at] != 0:
                    at = (at + 1) & self.mask
                self.four[at] = (word << 32) | (code + 1)
            else:
                at = self.slot6(self.high[code], self.low[code])
                while self.six[at] != 0:
                    at = (at + 1) & self.mask
                self.six[at] = code + 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def slot4(self, address: cython.ulonglong) -> cython.Py_ssize_t:
        return _place(address * self.secret, self.shift)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def slot6(self, high: cython.ulonglong, low: cython.ulonglong) -> cython.Py_ssize_t:
        mixed: cython.ulonglong = (high * self.other_secret) & _ALL
        mixed = ((mixed ^ (mixed >> 32) ^ low) * self.secret) & _ALL
        mixed = ((mixed ^ (mixed >> 29)) * self.other_secret) & _ALL
        place: cython.Py_ssize_t = mixed >> self.shift
        return place

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def code4(self, address: cython.ulonglong) -> cython.int:
        at: cython.Py_ssize_t = self.slot4(address)
        word: cython.ulonglong = self.four[at]
        found: cython.int
        while word != 0:
            if (word >> 32) == address:
                found = (word & _LOWER) - 1
                return found
            at = (at + 1) & self.mask
            word = self.four[at]
        new: cython.int = self.count
        self.four[at] = (address << 32) | (new + 1)
        self.high[new] = 0
        self.low[new] = address
        self.version[new] = 4
        self.count = new + 1
        return new

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def code6(self, high: cython.ulonglong, low: cython.ulonglong) -> cython.int:
        at: cython.Py_ssize_t = self.slot6(high, low)
        code: cython.int = self.six[at] - 1
        while code >= 0:
            if self.high[code] == high and self.low[code] == low:
                return code
            at = (at + 1) & self.mask
            code = self.six[at] - 1
        new: cython.int = self.count
        self.six[at] = new + 1
        self.high[new] = high
        self.low[new] = low
        self.version[new] = 6
        self.count = new + 1
        return new


@cython.final
@cython.cclass
class Names:
    """A dictionary of domain names, kept as uncompressed labels (length, bytes, …), to codes in order of arrival.

    Name `code` is `text[starts[code]:starts[code + 1]]`. `scratch` is where the loop spells a compressed name out, and
    `keys` 64 secret 32-bit numbers.
    """

    slots: cython.int[::1]
    hashes: cython.ulonglong[::1]
    starts: cython.longlong[::1]
    text: cython.uchar[::1]
    scratch: cython.uchar[::1]
    keys: cython.ulonglong[::1]
    count = cython.declare(cython.int, visibility="readonly")
    limit = cython.declare(cython.int, visibility="readonly")
    text_limit: cython.longlong
    mask: cython.Py_ssize_t
    shift: cython.int
    secret: cython.ulonglong
    other_secret: cython.ulonglong

    def __init__(self, secret: int, other_secret: int, keys: object, scratch: object) -> None:
        self.secret = secret | 1
        self.other_secret = other_secret | 1
        self.keys = keys
        self.scratch = scratch
        self.count = 0
        self.limit = 0
        self.text_limit = 0

    def resume(self, other: Names) -> None:
        """Be as another table is: its values have to come with the next `grow`."""
        self.secret = other.secret
        self.other_secret = other.other_secret
        self.keys = other.keys
        self.count = other.count

    def take(self, other: Names, start: int, stop: int, codes: cython.int[::1]) -> None:
        """Intern what stands for the codes `start` to `stop` in another table, and note what its codes are here."""
        code: cython.int
        first: cython.Py_ssize_t
        size: cython.Py_ssize_t
        for code in range(start, stop):
            first = other.starts[code]
            size = other.starts[code + 1] - first
            if cython.compiled:
                codes[code] = self.code(cython.address(other.text[first]), size)
            else:
                codes[code] = self.code(other.text[first : first + size], size)

    def grow(
        self, slots: object, hashes: object, starts: object, text: object, places: int, limit: int, text_limit: int
    ) -> None:
        """Take larger arrays: `slots` zeroed with `places` places, the others with the old values in them."""
        self.slots = slots
        self.hashes = hashes
        self.starts = starts
        self.text = text
        self.mask = places - 1
        self.shift = 65 - places.bit_length()
        self.limit = limit
        self.text_limit = text_limit
        code: cython.int
        at: cython.Py_ssize_t
        for code in range(self.count):
            at = self.hashes[code] >> self.shift
            while self.slots[at] != 0:
                at = (at + 1) & self.mask
            self.slots[at] = code + 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def same(self, code: cython.int, name: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.bint:
        start: cython.Py_ssize_t = self.starts[code]
        if self.starts[code + 1] - start != size:
            return False
        i: cython.Py_ssize_t = 0
        if cython.compiled:
            known: cython.p_const_uchar = cython.address(self.text[start])
            while size - i >= 8:
                if _word(known, i) != _word(name, i):
                    return False
                i += 8
            while i < size:
                if known[i] != name[i]:
                    return False
                i += 1
            return True
        else:
            return self.text[start : start + size] == name[:size]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def code(self, name: cython.p_const_uchar, size: cython.Py_ssize_t) -> cython.int:
        """Return the code of the `size` bytes at `name`, a pointer in the compiled build and a memoryview in the other.

        The hash is NH (Black et al. 1999, UMAC): sums of 32-bit words and secret keys, multiplied in pairs.
        """
        mixed: cython.ulonglong = (self.other_secret * size) & _ALL
        word: cython.ulonglong
        i: cython.Py_ssize_t = 0
        while size - i >= 8:
            word = _word(name, i)
            mixed += ((word + self.keys[i >> 2]) & _LOWER) * (((word >> 32) + self.keys[(i >> 2) + 1]) & _LOWER)
            i += 8
        if i < size:
            word = 0
            while i < size:
                word = (word << 8) | name[i]
                i += 1
            i = (size - 1) & -8
            mixed += ((word + self.keys[i >> 2]) & _LOWER) * (((word >> 32) + self.keys[(i >> 2) + 1]) & _LOWER)
        mixed &= _ALL
        mixed = ((mixed ^ (mixed >> 32)) * self.secret) & _ALL
        at: cython.Py_ssize_t = mixed >> self.shift
        code: cython.int = self.slots[at] - 1
        while code >= 0:
            if self.hashes[code] == mixed and self.same(code, name, size):
                return code
            at = (at + 1) & self.mask
            code = self.slots[at] - 1
        new: cython.int = self.count
        start: cython.Py_ssize_t = self.starts[new]
        for i in range(size):
            self.text[start + i] = name[i]
        self.starts[new + 1] = start + size
        self.hashes[new] = mixed
        self.slots[at] = new + 1
        self.count = new + 1
        return new


@cython.final
@cython.cclass
class Filter:
    """A machine for classic BPF programs (bpf(4); linux/filter.h), as libpcap compiles them: one or several of them.

    `add` verifies a program, so that running it needs no check but those of the packet's own size: every instruction is
    known, jumps go forward to an instruction of the same program, the last one returns, scratch cells exist, and no
    constant divides by zero or shifts all bits out. `use` tells which program each interface's packets go through.
    """

    operations: cython.int[::1]
    true: cython.int[::1]
    false: cython.int[::1]
    constants: cython.ulonglong[::1]
    instructions: object
    scratch: cython.ulonglong[::1]
    starts: cython.Py_ssize_t[::1]
    count: cython.Py_ssize_t
    interfaces: cython.Py_ssize_t

    def __init__(self) -> None:
        self.count = 0
        self.interfaces = 0
        self.scratch = numpy.zeros(16, numpy.uint64).data
        self.instructions = []

    def add(self, program: object) -> int:
        """Verify a program of (operation, jump if true, jump if false, constant) and return where it starts.

        Raises
        ------
        ValueError
            When running it could fail, run for ever, or mean nothing.
        """
        verify(program)
        start = self.count
        self.instructions = [*self.instructions, *program]
        columns = numpy.array(self.instructions, numpy.int64)
        self.operations = columns[:, 0].astype(numpy.int32).data
        self.true = columns[:, 1].astype(numpy.int32).data
        self.false = columns[:, 2].astype(numpy.int32).data
        self.constants = columns[:, 3].astype(numpy.uint64).data
        self.count = start + len(program)
        return start

    def use(self, starts: object) -> None:
        """Take where the program of each interface starts, as `add` returned it; a pcap has one interface."""
        if not all(0 <= start < self.count for start in starts):
            raise ValueError("a program that was not added")
        self.starts = numpy.array(starts, numpy.intp).data
        self.interfaces = len(starts)

    def accepts(self, which: int, packet: bytes, wire: int) -> bool:
        """Return whether the program of interface `which` lets a packet through: for ordinary Python."""
        if not 0 <= which < self.interfaces:
            raise ValueError("an interface without a program")
        return bool(self.passes(which, packet, 0, len(packet), wire))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    @cython.cdivision(True)
    def passes(
        self,
        which: cython.Py_ssize_t,
        packet: cython.const[cython.uchar][::1],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.longlong,
    ) -> cython.bint:
        """Return whether the program lets the packet in `[at, end)` of `packet` through.

        A load from beyond it ends the program, and the packet is not let through. Sums of positions have 64 bits, so
        that none wraps to a position that is there.
        """
        pc: cython.Py_ssize_t = self.starts[which]
        a: cython.ulonglong = 0
        x: cython.ulonglong = 0
        k: cython.ulonglong
        operation: cython.int
        here: cython.Py_ssize_t
        taken: cython.bint
        cell: cython.int
        for cell in range(16):
            self.scratch[cell] = 0
        while True:
            operation = self.operations[pc]
            k = self.constants[pc]
            pc += 1
            if operation & 7 == 5:  # jumps
                if operation & 8:
                    k = x
                if operation & 0xF0 == 0x10:
                    taken = a == k
                elif operation & 0xF0 == 0x20:
                    taken = a > k
                elif operation & 0xF0 == 0x30:
                    taken = a >= k
                elif operation & 0xF0 == 0x40:
                    taken = (a & k) != 0
                else:
                    pc += k
                    continue
                pc += self.true[pc - 1] if taken else self.false[pc - 1]
            elif operation == 0x20 or operation == 0x40:
                here = k + (x if operation == 0x40 else 0)
                if end - at - here < 4:
                    return False
                here += at
                a = packet[here + 3] | (packet[here + 2] << 8) | (packet[here + 1] << 16)
                k = packet[here]
                a = a | (k << 24)
            elif operation == 0x28 or operation == 0x48:
                here = k + (x if operation == 0x48 else 0)
                if end - at - here < 2:
                    return False
                here += at
                a = packet[here + 1] | (packet[here] << 8)
            elif operation == 0x30 or operation == 0x50:
                here = k + (x if operation == 0x50 else 0)
                if end - at - here < 1:
                    return False
                a = packet[at + here]
            elif operation == 0xB1:
                here = k
                if end - at - here < 1:
                    return False
                x = (packet[at + here] & 15) << 2
            elif operation & 7 == 6:
                return a != 0 if operation == 0x16 else k != 0
            elif operation == 0x07:
                x = a
            elif operation == 0x87:
                a = x
            elif operation == 0x00:
                a = k
            elif operation == 0x01:
                x = k
            elif operation == 0x80:
                a = wire
            elif operation == 0x81:
                x = wire
            elif operation == 0x60:
                a = self.scratch[k]
            elif operation == 0x61:
                x = self.scratch[k]
            elif operation == 0x02:
                self.scratch[k] = a
            elif operation == 0x03:
                self.scratch[k] = x
            else:  # arithmetic of 32 bits
                if operation & 8:
                    k = x
                operation = operation & 0xF0
                if operation == 0x00:
                    a = (a + k) & _LOWER
                elif operation == 0x10:
                    a = (a - k) & _LOWER
                elif operation == 0x20:
                    a = (a * k) & _LOWER
                elif operation == 0x30:
                    if k == 0:
                        return False
                    a = a // k
                elif operation == 0x90:
                    if k == 0:
                        return False
                    a = a % k
                elif operation == 0x40:
                    a = a | k
                elif operation == 0x50:
                    a = a & k
                elif operation == 0x60:
                    a = (a << k) & _LOWER if k < 32 else 0
                elif operation == 0x70:
                    a = a >> k if k < 32 else 0
                elif operation == 0x80:
                    a = (0 - a) & _LOWER
                else:
                    a = a ^ k


def verify(program: object) -> None:
    """Refuse a BPF program that could fail, run for ever, or mean nothing.

    Raises
    ------
    ValueError
        Which instruction, and why.
    """
    if not 0 < len(program) <= 65536:
        raise ValueError(f"a filter program of {len(program)} instructions")
    for place, (operation, true, false, constant) in enumerate(program):
        left = len(program) - place - 1
        wrong = None
        if operation not in OPERATIONS:
            wrong = "an unknown operation"
        elif not 0 <= constant < 1 << 32 or not 0 <= true < 256 or not 0 <= false < 256:
            wrong = "a number beyond its bits"
        elif operation & 7 == 5 and (constant if operation == 0x05 else max(true, false)) >= left:
            wrong = "a jump out of the program"
        elif operation in {0x02, 0x03, 0x60, 0x61} and constant >= 16:
            wrong = "a scratch cell that is not there"
        elif operation in {0x34, 0x94} and constant == 0:
            wrong = "a division by zero"
        elif operation in {0x64, 0x74} and constant >= 32:
            wrong = "a shift by more bits than there are"
        if wrong is not None:
            raise ValueError(f"instruction {place} of the filter program is {wrong}")
    if program[len(program) - 1][0] & 7 != 6:
        raise ValueError("the filter program does not end with a return")


OPERATIONS = frozenset({
    0x00, 0x01, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x80, 0x81, 0xB1, 0x02, 0x03, 0x06, 0x16, 0x07, 0x87,
    0x05, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D,
    0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0x84, 0x94, 0x9C,
    0xA4, 0xAC,
})  # fmt: skip
"""The operations of classic BPF: loads, stores, returns, moves; jumps; arithmetic."""


@cython.final
@cython.cclass
class Turns:
    """What two dissectors share that take turns over one capture: see `Dissector.turn`.

    The capture's bytes from `start` on are divided into blocks of `size` bytes. A block is read by whoever asks for it
    first, but where its first record starts is known only when the block before was surveyed. So there is one baton,
    which goes from block to block: who has it surveys its block, reserves its rows, and passes the baton on.

    Attributes
    ----------
    at, row
        Where the next block's first record starts in the capture, and which row it has.
    ended
        Whether no more turns are taken: all blocks were, or something unusual is next.
    """

    descriptor: cython.int
    start: cython.longlong
    size: cython.Py_ssize_t
    most: cython.longlong
    asked: cython.longlong
    baton: cython.longlong
    at = cython.declare(cython.longlong, visibility="readonly")
    row = cython.declare(cython.Py_ssize_t, visibility="readonly")
    limit: cython.Py_ssize_t
    dirty: cython.bint
    ended = cython.declare(cython.bint, visibility="readonly")
    waiting: cython.int
    lock: PyThread_type_lock
    # A wake-up of its own for each: the one that gave it could otherwise take it itself.
    first_signal: PyThread_type_lock
    second_signal: PyThread_type_lock

    def __init__(self, descriptor: int, start: int, size: int, most: int, row: int, limit: int, dirty: bool) -> None:
        """Begin at `start` of the file `descriptor` (-1: in memory): `most` blocks, rows from `row` to `limit`.

        `dirty` says that these rows have been written before.
        """
        self.descriptor = descriptor
        self.start = start
        self.size = size
        self.most = most
        self.at = start
        self.row = row
        self.limit = limit
        self.dirty = dirty
        self.asked = 0
        self.baton = 0
        self.ended = False
        self.waiting = -1
        if cython.compiled:
            self.lock = PyThread_allocate_lock()
            self.first_signal = PyThread_allocate_lock()
            self.second_signal = PyThread_allocate_lock()
            PyThread_acquire_lock(self.first_signal, WAIT_LOCK)
            PyThread_acquire_lock(self.second_signal, WAIT_LOCK)

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyThread_free_lock(self.lock)
            PyThread_free_lock(self.first_signal)
            PyThread_free_lock(self.second_signal)

    def end(self) -> None:
        """Let nobody take another turn."""
        self.pass_on(True)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ask(self) -> cython.longlong:
        """Return the number of the next block, or -1 when there is none."""
        number: cython.longlong = -1
        if cython.compiled:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if not self.ended and self.asked < self.most:
            number = self.asked
            self.asked += 1
        if cython.compiled:
            PyThread_release_lock(self.lock)
        return number

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def wait(self, number: cython.longlong, side: cython.int) -> cython.bint:
        """Wait for the baton of that block; return False when there will be none. There is one other to wait for."""
        mine: cython.bint
        if cython.compiled:
            while True:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)
                mine = self.baton == number or self.ended
                if not mine:
                    self.waiting = side
                PyThread_release_lock(self.lock)
                if mine:
                    break
                PyThread_acquire_lock(self.first_signal if side == 0 else self.second_signal, WAIT_LOCK)
        return not self.ended

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pass_on(self, ended: cython.bint) -> cython.void:
        if cython.compiled:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
        self.baton += 1
        if ended:
            self.ended = True
        if self.waiting >= 0:
            if cython.compiled:
                PyThread_release_lock(self.first_signal if self.waiting == 0 else self.second_signal)
            self.waiting = -1
        if cython.compiled:
            PyThread_release_lock(self.lock)


@cython.final
@cython.cclass
class Dissector:
    """Walks the records in `buffer[position:filled]` and writes one row a packet.

    `columns` gives every column its memory (by name), `run` works until something is missing. Columns
    must come filled with "not there": codes -1, masks 1, values 0; only what a packet has is written. Masks that values
    tell (no header has IP version 0) are left to who makes the frame.
    """

    buffer: cython.const[cython.uchar][::1]
    position = cython.declare(cython.Py_ssize_t, visibility="readonly")
    filled = cython.declare(cython.Py_ssize_t, visibility="readonly")
    base = cython.declare(cython.longlong, visibility="readonly")
    row = cython.declare(cython.Py_ssize_t, visibility="public")
    limit = cython.declare(cython.Py_ssize_t, visibility="public")

    # Where two take turns: what they share, the buffer of this one, and its block: see `turn`.
    turns: Turns
    side: cython.int
    own: cython.uchar[::1]
    block = cython.declare(cython.longlong, visibility="readonly")
    block_at = cython.declare(cython.longlong, visibility="readonly")
    block_row = cython.declare(cython.Py_ssize_t, visibility="readonly")
    done = cython.declare(cython.Py_ssize_t, visibility="readonly")
    done_blocks: cython.longlong[:, ::1]
    surveyed: cython.Py_ssize_t

    link: cython.int
    swapped: cython.bint
    blocks: cython.bint
    header: cython.Py_ssize_t

    # pcapng: what is known of each interface, and where a packet's options lie.
    interface_count: cython.Py_ssize_t
    interface_link: cython.int[::1]
    interface_code: cython.int[::1]
    interface_snaplen: cython.longlong[::1]
    interface_shift: cython.int[::1]
    interface_per: cython.ulonglong[::1]
    interface_multiplier: cython.ulonglong[::1]
    interface_divisor: cython.ulonglong[::1]
    interface_offset: cython.longlong[::1]
    options_start: cython.Py_ssize_t
    options_stop: cython.Py_ssize_t

    fraction: cython.longlong
    largest: cython.longlong

    # Which packets become rows: see `choose`.
    choosing: cython.bint
    filtering: cython.bint
    timed: cython.bint
    filter: Filter
    number_of: cython.longlong[::1]
    walked = cython.declare(cython.longlong, visibility="readonly")
    earliest: cython.longlong
    latest: cython.longlong
    every: cython.longlong
    passed: cython.longlong
    share: cython.ulonglong
    seed: cython.ulonglong

    addresses: Addresses
    macs: Numbers
    interfaces: Numbers
    names: Names
    texts: Names
    words: cython.short[:, ::1]
    word_order: cython.int[:, ::1]
    word_counts: cython.int[::1]
    wide_addresses: cython.bint
    wide_macs: cython.bint
    wide_names: cython.bint
    wide_interfaces: cython.bint
    wide_words: cython.bint

    time: cython.longlong[::1]
    length: cython.uint[::1]
    keeps_caplen: cython.bint  # until a packet is cut its size in the capture is its length
    caplen: cython.uint[::1]
    offset: cython.longlong[::1]
    interface: cython.schar[::1]
    interface_wide: cython.int[::1]
    eth_src: cython.short[::1]
    eth_dst: cython.short[::1]
    eth_src_wide: cython.int[::1]
    eth_dst_wide: cython.int[::1]
    ethertype: cython.ushort[::1]
    vlan: cython.ushort[::1]
    vlan_mask: cython.uchar[::1]
    src: cython.short[::1]
    dst: cython.short[::1]
    src_wide: cython.int[::1]
    dst_wide: cython.int[::1]
    proto: cython.schar[::1]
    proto_wide: cython.int[::1]
    ip_version: cython.uchar[::1]
    ip_ttl: cython.uchar[::1]
    ip_id: cython.ushort[::1]
    ip_frag: cython.schar[::1]
    sport: cython.ushort[::1]
    sport_mask: cython.uchar[::1]
    dport: cython.ushort[::1]
    payload_length: cython.uint[::1]
    payload_length_mask: cython.uchar[::1]
    tcp_flags: cython.schar[::1]
    tcp_flags_wide: cython.int[::1]
    tcp_seq: cython.uint[::1]
    tcp_ack: cython.uint[::1]
    tcp_window: cython.ushort[::1]
    tcp_mss: cython.ushort[::1]
    tcp_mss_mask: cython.uchar[::1]
    tcp_wscale: cython.uchar[::1]
    tcp_wscale_mask: cython.uchar[::1]
    tcp_tsval: cython.uint[::1]
    tcp_tsval_mask: cython.uchar[::1]
    tcp_tsecr: cython.uint[::1]
    tcp_sack_left: cython.uint[::1]
    tcp_sack_left_mask: cython.uchar[::1]
    tcp_sack_right: cython.uint[::1]
    arp_op: cython.schar[::1]
    icmp_type: cython.uchar[::1]
    icmp_type_mask: cython.uchar[::1]
    icmp_code: cython.uchar[::1]
    dns_id: cython.ushort[::1]
    dns_id_mask: cython.uchar[::1]
    dns_qname: cython.short[::1]
    dns_qname_wide: cython.int[::1]
    dns_qtype: cython.schar[::1]
    dns_qtype_wide: cython.int[::1]
    dns_rcode: cython.schar[::1]
    dns_response: cython.uchar[::1]
    error: cython.schar[::1]

    # Only there where they were asked for: see `layers`.
    tunnel: cython.short[::1]
    vni: cython.uint[::1]
    vni_mask: cython.uchar[::1]
    inner_src: cython.int[::1]
    inner_dst: cython.int[::1]
    inner_proto: cython.short[::1]
    inner_sport: cython.ushort[::1]
    inner_sport_mask: cython.uchar[::1]
    inner_dport: cython.ushort[::1]
    mpls_label: cython.uint[::1]
    mpls_label_mask: cython.uchar[::1]
    pppoe_session: cython.ushort[::1]
    pppoe_session_mask: cython.uchar[::1]
    sctp_vtag: cython.uint[::1]
    sctp_vtag_mask: cython.uchar[::1]
    igmp_type: cython.uchar[::1]
    igmp_type_mask: cython.uchar[::1]
    igmp_group: cython.int[::1]
    tls_type: cython.short[::1]
    tls_version: cython.short[::1]
    tls_sni: cython.int[::1]
    tls_alpn: cython.int[::1]
    tls_cipher: cython.ushort[::1]
    tls_cipher_mask: cython.uchar[::1]
    http_method: cython.int[::1]
    http_uri: cython.int[::1]
    http_host: cython.int[::1]
    http_status: cython.ushort[::1]
    http_status_mask: cython.uchar[::1]
    dns_offset: cython.ushort[::1]
    dns_offset_mask: cython.uchar[::1]
    quic_version: cython.uint[::1]
    quic_version_mask: cython.uchar[::1]
    quic_dcid: cython.int[::1]
    quic_scid: cython.int[::1]

    # Groups of columns of which none was asked for are not there, and what only they need is passed over.
    want_macs: cython.bint
    want_ip: cython.bint
    want_tcp: cython.bint
    want_dns: cython.bint

    want_tunnels: cython.bint
    want_labels: cython.bint
    want_others: cython.bint
    want_tls: cython.bint
    want_http: cython.bint
    want_quic: cython.bint
    want_messages: cython.bint
    decapsulate: cython.bint
    tunnel_row: cython.Py_ssize_t
    depth: cython.int

    def __init__(self, dictionaries: object) -> None:
        self.addresses = dictionaries.addresses
        self.macs = dictionaries.macs
        self.interfaces = dictionaries.interfaces
        self.names = dictionaries.names
        self.words = dictionaries.words
        self.word_order = dictionaries.word_order
        self.word_counts = dictionaries.word_counts
        self.link = _LINK_NONE
        self.swapped = False
        self.blocks = False
        self.header = 16
        self.interface_count = 0
        self.options_start = 0
        self.options_stop = 0
        self.choosing = False
        self.filtering = False
        self.timed = False
        self.walked = 0
        self.passed = 0
        self.texts = dictionaries.texts_table
        self.want_macs = False
        self.want_ip = False
        self.want_tcp = False
        self.want_dns = False
        self.want_tunnels = False
        self.want_labels = False
        self.want_others = False
        self.want_tls = False
        self.want_http = False
        self.want_quic = False
        self.want_messages = False
        self.decapsulate = False
        self.tunnel_row = -1
        self.depth = 0
        self.fraction = 1
        self.largest = 0
        self.wide_addresses = False
        self.wide_macs = False
        self.wide_names = False
        self.wide_interfaces = False
        self.wide_words = False
        self.position = 0
        self.filled = 0
        self.base = 0
        self.row = 0
        self.limit = 0
        self.turns = None
        self.block = -1
        self.block_at = 0
        self.block_row = 0
        self.done = 0
        self.surveyed = 0

    def begin(self, link: int, swapped: bool, fraction: int, largest: int, base: int, header: int = 16) -> None:
        """Take what the capture's header says.

        `link` is one of `LINKS`; `swapped` True for big-endian records; `fraction` the nanoseconds in one unit of a
        record's time fraction; `largest` the most bytes a record may claim; `base` the first record's offset; `header`
        the bytes of a record's header, 24 in a modified pcap.
        """
        self.link = link
        self.swapped = swapped
        self.fraction = fraction
        self.largest = largest
        self.base = base
        self.header = header
        self.blocks = False

    def begin_blocks(self, swapped: bool, largest: int) -> None:
        """Take what a pcapng section's header says: see `begin`. Its interfaces are told by `describe`."""
        self.swapped = swapped
        self.largest = largest
        self.blocks = True
        self.interface_count = 0

    def describe(self, memory: dict[str, object], count: int, largest: int) -> None:
        """Take the arrays that describe the interfaces of a pcapng section, `count` of them.

        link: one of `LINKS`; code: the interface's code in the dictionary; snaplen; offset: seconds to be added; and
        what a tick is. shift n >= 0 is a tick of 2**-n seconds; else there are `per` ticks in a second, and the rest is
        multiplied, then divided, to give nanoseconds.
        """
        self.interface_link = memory["link"]
        self.interface_code = memory["code"]
        self.interface_snaplen = memory["snaplen"]
        self.interface_shift = memory["shift"]
        self.interface_per = memory["per"]
        self.interface_multiplier = memory["multiplier"]
        self.interface_divisor = memory["divisor"]
        self.interface_offset = memory["offset"]
        self.interface_count = count
        self.largest = largest

    def peek(self, size: int) -> bytes:
        """Return so many of the bytes that are there and not dissected yet, or as many as there are."""
        return bytes(self.buffer[self.position : min(self.position + size, self.filled)])

    def resume(self, other: Dissector) -> None:
        """Take what another dissector was told of the capture and of what is wanted, and read what it reads."""
        self.link = other.link
        self.swapped = other.swapped
        self.fraction = other.fraction
        self.largest = other.largest
        self.header = other.header
        self.blocks = other.blocks
        self.interface_link = other.interface_link
        self.interface_code = other.interface_code
        self.interface_snaplen = other.interface_snaplen
        self.interface_shift = other.interface_shift
        self.interface_per = other.interface_per
        self.interface_multiplier = other.interface_multiplier
        self.interface_divisor = other.interface_divisor
        self.interface_offset = other.interface_offset
        self.interface_count = other.interface_count
        self.decapsulate = other.decapsulate
        self.buffer = other.buffer
        self.filled = other.filled
        self.base = other.base

    def go_on(self, seek: object, at: int, row: int) -> None:
        """Go on at byte `at` of the capture with `row`; `seek`, if it is not None, lets the source be read from there.

        As in `take`, no interrupt comes between.
        """
        if seek is None:
            self.position = at - self.base
        else:
            seek(at)
            self.base = at
            self.position = self.filled = 0
        self.row = self.limit = row

    def options(self) -> bytes:
        """Return the options of the packet read last."""
        return bytes(self.buffer[self.options_start : self.options_stop])

    def skip(self, size: int) -> None:
        """Pass over bytes that are there."""
        self.position += size

    def columns(self, memory: dict[str, object]) -> None:
        """Take the columns' memory: one array or memoryview a name."""
        self.time = memory["time"]
        self.length = memory["length"]
        self.keeps_caplen = "caplen" in memory
        if self.keeps_caplen:
            self.caplen = memory["caplen"]
        self.offset = memory["offset"]
        self.interface = memory["interface"]
        self.ethertype = memory["ethertype"]
        self.vlan = memory["vlan"]
        self.vlan_mask = memory["vlan_mask"]
        self.src = memory["src"]
        self.dst = memory["dst"]
        self.proto = memory["proto"]
        self.ip_frag = memory["ip_frag"]
        self.sport = memory["sport"]
        self.sport_mask = memory["sport_mask"]
        self.dport = memory["dport"]
        self.payload_length = memory["payload_length"]
        self.payload_length_mask = memory["payload_length_mask"]
        self.tcp_flags = memory["tcp_flags"]
        self.arp_op = memory["arp_op"]
        self.icmp_type = memory["icmp_type"]
        self.icmp_type_mask = memory["icmp_type_mask"]
        self.icmp_code = memory["icmp_code"]
        self.error = memory["error"]
        self.want_macs = "eth_src" in memory
        if self.want_macs:
            self.eth_src = memory["eth_src"]
            self.eth_dst = memory["eth_dst"]
        self.want_ip = "ip_ttl" in memory
        if self.want_ip:
            self.ip_version = memory["ip_version"]
            self.ip_ttl = memory["ip_ttl"]
            self.ip_id = memory["ip_id"]
        self.want_tcp = "tcp_seq" in memory
        if self.want_tcp:
            self.tcp_seq = memory["tcp_seq"]
            self.tcp_ack = memory["tcp_ack"]
            self.tcp_window = memory["tcp_window"]
            self.tcp_mss = memory["tcp_mss"]
            self.tcp_mss_mask = memory["tcp_mss_mask"]
            self.tcp_wscale = memory["tcp_wscale"]
            self.tcp_wscale_mask = memory["tcp_wscale_mask"]
            self.tcp_tsval = memory["tcp_tsval"]
            self.tcp_tsval_mask = memory["tcp_tsval_mask"]
            self.tcp_tsecr = memory["tcp_tsecr"]
            self.tcp_sack_left = memory["tcp_sack_left"]
            self.tcp_sack_left_mask = memory["tcp_sack_left_mask"]
            self.tcp_sack_right = memory["tcp_sack_right"]
        self.want_dns = "dns_id" in memory
        if self.want_dns:
            self.dns_id = memory["dns_id"]
            self.dns_id_mask = memory["dns_id_mask"]
            self.dns_qname = memory["dns_qname"]
            self.dns_qtype = memory["dns_qtype"]
            self.dns_rcode = memory["dns_rcode"]
            self.dns_response = memory["dns_response"]
        self.want_tunnels = "tunnel" in memory
        if self.want_tunnels:
            self.tunnel = memory["tunnel"]
            self.vni = memory["vni"]
            self.vni_mask = memory["vni_mask"]
            self.inner_src = memory["inner_src"]
            self.inner_dst = memory["inner_dst"]
            self.inner_proto = memory["inner_proto"]
            self.inner_sport = memory["inner_sport"]
            self.inner_sport_mask = memory["inner_sport_mask"]
            self.inner_dport = memory["inner_dport"]
        self.want_labels = "mpls_label" in memory
        if self.want_labels:
            self.mpls_label = memory["mpls_label"]
            self.mpls_label_mask = memory["mpls_label_mask"]
            self.pppoe_session = memory["pppoe_session"]
            self.pppoe_session_mask = memory["pppoe_session_mask"]
        self.want_others = "sctp_vtag" in memory
        if self.want_others:
            self.sctp_vtag = memory["sctp_vtag"]
            self.sctp_vtag_mask = memory["sctp_vtag_mask"]
            self.igmp_type = memory["igmp_type"]
            self.igmp_type_mask = memory["igmp_type_mask"]
            self.igmp_group = memory["igmp_group"]
        self.want_tls = "tls_type" in memory
        if self.want_tls:
            self.tls_type = memory["tls_type"]
            self.tls_version = memory["tls_version"]
            self.tls_sni = memory["tls_sni"]
            self.tls_alpn = memory["tls_alpn"]
            self.tls_cipher = memory["tls_cipher"]
            self.tls_cipher_mask = memory["tls_cipher_mask"]
        self.want_http = "http_method" in memory
        if self.want_http:
            self.http_method = memory["http_method"]
            self.http_uri = memory["http_uri"]
            self.http_host = memory["http_host"]
            self.http_status = memory["http_status"]
            self.http_status_mask = memory["http_status_mask"]
        self.want_messages = "dns_offset" in memory
        if self.want_messages:
            self.dns_offset = memory["dns_offset"]
            self.dns_offset_mask = memory["dns_offset_mask"]
        self.want_quic = "quic_version" in memory
        if self.want_quic:
            self.quic_version = memory["quic_version"]
            self.quic_version_mask = memory["quic_version_mask"]
            self.quic_dcid = memory["quic_dcid"]
            self.quic_scid = memory["quic_scid"]

    def clear(self, start: int, stop: int, dirty: bool) -> None:
        """Make rows `start` to `stop` say "not there"; rows that are not `dirty` are all zeros."""
        if cython.compiled:
            self.blank(start, stop, dirty)
        else:
            for name, value in ABSENT.items():
                if hasattr(self, name):
                    numpy.asarray(getattr(self, name))[start:stop] = value

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def blank(self, first: cython.Py_ssize_t, last: cython.Py_ssize_t, dirty: cython.bint) -> cython.void:
        """Make rows say "not there".

        One column after the other: what is written so is still in the cache when the loop writes into it, whereas forty
        columns written a row at a time are more than a processor fetches ahead.
        """
        row: cython.Py_ssize_t
        for row in range(first, last):
            self.interface[row] = -1
        for row in range(first, last):
            self.src[row] = -1
        for row in range(first, last):
            self.dst[row] = -1
        for row in range(first, last):
            self.proto[row] = -1
        for row in range(first, last):
            self.ip_frag[row] = -1
        for row in range(first, last):
            self.tcp_flags[row] = -1
        for row in range(first, last):
            self.arp_op[row] = -1
        for row in range(first, last):
            self.error[row] = -1
        for row in range(first, last):
            self.vlan_mask[row] = 1
        for row in range(first, last):
            self.sport_mask[row] = 1
        for row in range(first, last):
            self.payload_length_mask[row] = 1
        for row in range(first, last):
            self.icmp_type_mask[row] = 1
        if self.want_macs:
            for row in range(first, last):
                self.eth_src[row] = -1
            for row in range(first, last):
                self.eth_dst[row] = -1
        if self.want_tcp:
            for row in range(first, last):
                self.tcp_mss_mask[row] = 1
            for row in range(first, last):
                self.tcp_wscale_mask[row] = 1
            for row in range(first, last):
                self.tcp_tsval_mask[row] = 1
            for row in range(first, last):
                self.tcp_sack_left_mask[row] = 1
        if self.want_dns:
            for row in range(first, last):
                self.dns_id_mask[row] = 1
            for row in range(first, last):
                self.dns_qname[row] = -1
            for row in range(first, last):
                self.dns_qtype[row] = -1
            for row in range(first, last):
                self.dns_rcode[row] = -1
        if self.wide_interfaces:
            for row in range(first, last):
                self.interface_wide[row] = -1
        if self.wide_macs:
            for row in range(first, last):
                self.eth_src_wide[row] = -1
            for row in range(first, last):
                self.eth_dst_wide[row] = -1
        if self.wide_addresses:
            for row in range(first, last):
                self.src_wide[row] = -1
            for row in range(first, last):
                self.dst_wide[row] = -1
        if self.wide_words:
            for row in range(first, last):
                self.proto_wide[row] = -1
            for row in range(first, last):
                self.tcp_flags_wide[row] = -1
            if self.want_dns:
                for row in range(first, last):
                    self.dns_qtype_wide[row] = -1
        if self.wide_names:
            for row in range(first, last):
                self.dns_qname_wide[row] = -1
        if self.want_tunnels:
            for row in range(first, last):
                self.tunnel[row] = -1
            for row in range(first, last):
                self.vni_mask[row] = 1
            for row in range(first, last):
                self.inner_src[row] = -1
            for row in range(first, last):
                self.inner_dst[row] = -1
            for row in range(first, last):
                self.inner_proto[row] = -1
            for row in range(first, last):
                self.inner_sport_mask[row] = 1
        if self.want_labels:
            for row in range(first, last):
                self.mpls_label_mask[row] = 1
            for row in range(first, last):
                self.pppoe_session_mask[row] = 1
        if self.want_others:
            for row in range(first, last):
                self.sctp_vtag_mask[row] = 1
            for row in range(first, last):
                self.igmp_type_mask[row] = 1
            for row in range(first, last):
                self.igmp_group[row] = -1
        if self.want_tls:
            for row in range(first, last):
                self.tls_type[row] = -1
            for row in range(first, last):
                self.tls_version[row] = -1
            for row in range(first, last):
                self.tls_sni[row] = -1
            for row in range(first, last):
                self.tls_alpn[row] = -1
            for row in range(first, last):
                self.tls_cipher_mask[row] = 1
        if self.want_http:
            for row in range(first, last):
                self.http_method[row] = -1
            for row in range(first, last):
                self.http_uri[row] = -1
            for row in range(first, last):
                self.http_host[row] = -1
            for row in range(first, last):
                self.http_status_mask[row] = 1
        if self.want_messages:
            for row in range(first, last):
                self.dns_offset_mask[row] = 1
        if self.want_quic:
            for row in range(first, last):
                self.quic_version_mask[row] = 1
            for row in range(first, last):
                self.quic_dcid[row] = -1
            for row in range(first, last):
                self.quic_scid[row] = -1
        if not dirty:
            return
        for row in range(first, last):
            self.time[row] = 0
        for row in range(first, last):
            self.length[row] = 0
        for row in range(first, last):
            self.offset[row] = 0
        for row in range(first, last):
            self.ethertype[row] = 0
        for row in range(first, last):
            self.vlan[row] = 0
        for row in range(first, last):
            self.sport[row] = 0
        for row in range(first, last):
            self.dport[row] = 0
        for row in range(first, last):
            self.payload_length[row] = 0
        for row in range(first, last):
            self.icmp_type[row] = 0
        for row in range(first, last):
            self.icmp_code[row] = 0
        if self.want_ip:
            for row in range(first, last):
                self.ip_version[row] = 0
            for row in range(first, last):
                self.ip_ttl[row] = 0
            for row in range(first, last):
                self.ip_id[row] = 0
        if self.want_tcp:
            for row in range(first, last):
                self.tcp_seq[row] = 0
            for row in range(first, last):
                self.tcp_ack[row] = 0
            for row in range(first, last):
                self.tcp_window[row] = 0
            for row in range(first, last):
                self.tcp_mss[row] = 0
            for row in range(first, last):
                self.tcp_wscale[row] = 0
            for row in range(first, last):
                self.tcp_tsval[row] = 0
            for row in range(first, last):
                self.tcp_tsecr[row] = 0
            for row in range(first, last):
                self.tcp_sack_left[row] = 0
            for row in range(first, last):
                self.tcp_sack_right[row] = 0
        if self.want_dns:
            for row in range(first, last):
                self.dns_id[row] = 0
            for row in range(first, last):
                self.dns_response[row] = 0
        if self.want_tunnels:
            for row in range(first, last):
                self.vni[row] = 0
            for row in range(first, last):
                self.inner_sport[row] = 0
            for row in range(first, last):
                self.inner_dport[row] = 0
        if self.want_labels:
            for row in range(first, last):
                self.mpls_label[row] = 0
            for row in range(first, last):
                self.pppoe_session[row] = 0
        if self.want_others:
            for row in range(first, last):
                self.sctp_vtag[row] = 0
            for row in range(first, last):
                self.igmp_type[row] = 0
        if self.want_tls:
            for row in range(first, last):
                self.tls_cipher[row] = 0
        if self.want_http:
            for row in range(first, last):
                self.http_status[row] = 0
        if self.want_messages:
            for row in range(first, last):
                self.dns_offset[row] = 0
        if self.want_quic:
            for row in range(first, last):
                self.quic_version[row] = 0

    def widen(self, name: str, memory: dict[str, object]) -> None:
        """Take 32-bit code columns for one dictionary, or the vocabularies, about to outgrow the narrow ones."""
        if name == "addresses":
            self.src_wide = memory["src"]
            self.dst_wide = memory["dst"]
            self.wide_addresses = True
        elif name == "macs":
            self.eth_src_wide = memory["eth_src"]
            self.eth_dst_wide = memory["eth_dst"]
            self.wide_macs = True
        elif name == "names":
            self.dns_qname_wide = memory["dns_qname"]
            self.wide_names = True
        elif name == "interfaces":
            self.interface_wide = memory["interface"]
            self.wide_interfaces = True
        else:
            self.proto_wide = memory["proto"]
            self.tcp_flags_wide = memory["tcp_flags"]
            if self.want_dns:
                self.dns_qtype_wide = memory["dns_qtype"]
            self.wide_words = True

    def choose(
        self, filter: object, earliest: int | None, latest: int | None, every: int, share: int, seed: int
    ) -> None:
        """Let only some packets become rows, and number them: `numbers` has to be called too.

        `filter` is a `Filter` or None; `earliest` (included) and `latest` (not included) are nanoseconds since 1970; of
        what these let through every `every`-th is taken, and of that about `share` of 2**32, told by a hash of the
        packet's number and `seed`.
        """
        self.choosing = True
        self.filtering = filter is not None
        if self.filtering:
            self.filter = filter
        self.timed = earliest is not None or latest is not None
        self.earliest = -_MOST if earliest is None else earliest
        self.latest = _MOST if latest is None else latest
        self.every = every
        self.share = share
        self.seed = seed & _ALL

    def numbers(self, memory: object) -> None:
        """Take the memory of the packets' numbers in their capture, from 1: only where packets are chosen."""
        self.number_of = memory

    def renew(self, dictionaries: object) -> None:
        """Take tables that begin again. Rows written before must have been given away."""
        self.addresses = dictionaries.addresses
        self.macs = dictionaries.macs
        self.names = dictionaries.names
        self.texts = dictionaries.texts_table

    def open_tunnels(self, inside: bool) -> None:
        """Let the columns describe the packet inside a tunnel, and the optional ones what is around it."""
        self.decapsulate = inside

    def attach(self, buffer: object, filled: int) -> None:
        """Read from `buffer` from now on; its first `filled` bytes are there."""
        self.buffer = buffer
        self.filled = filled

    def compact(self, buffer: object) -> None:
        """Move the bytes that are still to be dissected to the start of `buffer`, the one attached."""
        buffer[: self.filled - self.position] = buffer[self.position : self.filled]
        self.base += self.position
        self.filled -= self.position
        self.position = 0

    def take(self, readinto: object, room: object) -> object:
        """Call `readinto(room)`, `room` being the buffer from `filled` on, and count what it gave.

        In the compiled build no signal handler can run between the two, so an interrupt loses no byte.
        """
        got = readinto(room)
        if got:
            self.filled += got
        return got

    def pump(self, readinto: object, buffer: object) -> int:
        """Dissect and read on, in turns, until something other than bytes is missing or no more came.

        The same as `run`, `compact` and `take` in a loop, without the way through Python for every read.
        """
        reason: cython.int
        self.tunnel_row = -1
        while True:
            with cython.nogil:
                reason = self.walk_blocks() if self.blocks else self.walk()
            if reason != _NEED_BYTES:
                return reason
            self.compact(buffer)
            room = buffer[self.filled :]
            if not room or not self.take(readinto, room):
                return reason

    def run(self) -> int:
        """Dissect records until something is missing; return which (see `REASONS`)."""
        reason: cython.int
        self.tunnel_row = -1
        with cython.nogil:
            reason = self.walk_blocks() if self.blocks else self.walk()
        return reason

    # Big and little-endian loads. Compiled, they go through a pointer with constant offsets, which compilers turn into
    # one load and a byte swap; taking the address of the last byte first is the bounds check, in builds that have them.

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def be16(self, at: cython.Py_ssize_t) -> cython.int:
        if cython.compiled:
            p: cython.p_const_uchar = cython.address(self.buffer[at + 1])
            p = cython.address(self.buffer[at])
            return (cython.cast(cython.int, p[0]) << 8) | p[1]
        else:
            return (self.buffer[at] << 8) | self.buffer[at + 1]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def be32(self, at: cython.Py_ssize_t) -> cython.uint:
        if cython.compiled:
            p: cython.p_const_uchar = cython.address(self.buffer[at + 3])
            p = cython.address(self.buffer[at])
            return (
                (cython.cast(cython.uint, p[0]) << 24)
                | (cython.cast(cython.uint, p[1]) << 16)
                | (cython.cast(cython.uint, p[2]) << 8)
                | p[3]
            )
        else:
            return (self.be16(at) << 16) | self.be16(at + 2)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def le32(self, at: cython.Py_ssize_t) -> cython.uint:
        if cython.compiled:
            p: cython.p_const_uchar = cython.address(self.buffer[at + 3])
            p = cython.address(self.buffer[at])
            return (
                (cython.cast(cython.uint, p[3]) << 24)
                | (cython.cast(cython.uint, p[2]) << 16)
                | (cython.cast(cython.uint, p[1]) << 8)
                | p[0]
            )
        else:
            return (
                (self.buffer[at + 3] << 24) | (self.buffer[at + 2] << 16) | (self.buffer[at + 1] << 8) | self.buffer[at]
            )

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def be64(self, at: cython.Py_ssize_t) -> cython.ulonglong:
        high: cython.ulonglong = self.be32(at)
        low: cython.ulonglong = self.be32(at + 4)
        return (high << 32) | low

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def mac(self, at: cython.Py_ssize_t) -> cython.int:
        high: cython.ulonglong = self.be16(at)
        low: cython.ulonglong = self.be32(at + 2)
        return self.macs.code((high << 32) | low)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def word(self, vocabulary: cython.int, index: cython.int) -> cython.int:
        """Return the code of a word, which it gets when first seen; -1 when the vocabulary is full."""
        code: cython.int = self.words[vocabulary, index]
        if code == 0:
            if self.word_counts[vocabulary] >= _WORDS_MAXIMUM:
                return -1
            code = self.word_counts[vocabulary] + 1
            self.word_counts[vocabulary] = code
            self.words[vocabulary, index] = code
            self.word_order[vocabulary, code - 1] = index
        return code - 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fail(self, row: cython.Py_ssize_t, error: cython.int) -> cython.void:
        """Note why this packet's dissection stopped; the first reason stands."""
        if self.error[row] < 0:
            self.error[row] = self.word(_ERROR, error)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def short(
        self, row: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t, error: cython.int
    ) -> cython.void:
        """Note that a header goes beyond `end`: cut by the snaplen where the wire had more, else malformed."""
        self.fail(row, _TRUNCATED if end < wire else error)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def protocol(self, row: cython.Py_ssize_t, number: cython.int) -> cython.void:
        if self.wide_words:
            self.proto_wide[row] = self.word(_PROTOCOL, number)
        else:
            self.proto[row] = self.word(_PROTOCOL, number)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def source(self, row: cython.Py_ssize_t, code: cython.int) -> cython.void:
        if self.wide_addresses:
            self.src_wide[row] = code
        else:
            self.src[row] = code

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def destination(self, row: cython.Py_ssize_t, code: cython.int) -> cython.void:
        if self.wide_addresses:
            self.dst_wide[row] = code
        else:
            self.dst[row] = code

    # ------------------------------------------------------------------------------- two that take turns

    def take_turns(self, turns: Turns, side: int, own: object, done: object) -> None:
        """Share the capture with another dissector, after `resume`.

        `side` is 0 for the one and 1 for the other; `own` is the buffer of this one, and None where the capture's bytes are in memory. `done` takes a line for each
        block that is finished: its number, its first row and the one after its last, and how many entries each table
        and each vocabulary has then.
        """
        self.turns = turns
        self.side = side
        self.done_blocks = done
        self.done = 0
        self.block = -1
        self.row = self.limit = 0
        if own is not None:
            self.own = own
            self.buffer = own
            self.filled = 0

    def turn(self) -> int:
        """Dissect block after block, until no more turns are taken ("rows"), or something is missing (see `REASONS`).

        After "tables" and "options" it goes on where it was. After anything else the block at hand cannot be finished.
        """
        reason: cython.int = _NEED_ROWS
        if cython.compiled:
            with cython.nogil:
                reason = self.next_blocks()
        return reason

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def next_blocks(self) -> cython.int:
        reason: cython.int
        number: cython.longlong
        first: cython.Py_ssize_t
        count: cython.Py_ssize_t
        whole: cython.bint
        while True:
            if self.block >= 0:
                self.tunnel_row = -1
                reason = self.walk_blocks() if self.blocks else self.walk()
                if reason != _NEED_ROWS:
                    return reason
                self.finish_block()
            number = self.turns.ask()
            if number < 0:
                return _NEED_ROWS
            if self.turns.descriptor >= 0:
                self.base = self.turns.start + number * self.turns.size
                self.filled = 0
                self.fill(self.turns.size)
            if not self.turns.wait(number, self.side):
                return _NEED_ROWS
            first = self.turns.start - self.base + (number + 1) * self.turns.size
            self.position = self.turns.at - self.base
            count = self.survey(self.turns.limit - self.turns.row, first)
            whole = self.surveyed >= first
            self.block = number
            self.block_at = self.turns.at
            self.block_row = self.row = self.turns.row
            self.turns.row += count
            self.turns.at = self.base + self.surveyed
            self.limit = self.turns.row
            self.turns.pass_on(not whole)
            self.blank(self.row, self.limit, self.turns.dirty)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def finish_block(self) -> cython.void:
        """Note what is to be known of the block at hand, which is finished."""
        i: cython.Py_ssize_t
        line: cython.Py_ssize_t = self.done
        self.done_blocks[line, 0] = self.block
        self.done_blocks[line, 1] = self.block_row
        self.done_blocks[line, 2] = self.row
        self.done_blocks[line, 3] = self.addresses.count
        self.done_blocks[line, 4] = self.macs.count
        self.done_blocks[line, 5] = self.interfaces.count
        self.done_blocks[line, 6] = self.names.count
        self.done_blocks[line, 7] = self.texts.count
        for i in range(self.word_counts.shape[0]):
            self.done_blocks[line, 8 + i] = self.word_counts[i]
        self.done = line + 1
        self.block = -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fill(self, wanted: cython.Py_ssize_t) -> cython.bint:
        """Read so many bytes more into the buffer of this one; return whether all of them came."""
        got: cython.Py_ssize_t = 0
        if self.turns is None or self.turns.descriptor < 0 or wanted > self.own.shape[0] - self.filled:
            return False
        if cython.compiled:
            got = pread(self.turns.descriptor, cython.address(self.own[self.filled]), wanted, self.base + self.filled)
        if got > 0:
            self.filled += got
        return got == wanted

    def count_records(self, most: int, stop: int) -> int:
        """Return how many records that are there start before `stop`: for ordinary Python."""
        return self.survey(most, stop)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def survey(self, most: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return how many records start before `stop`, at most `most`; `surveyed` is where the last of them ends.

        They are there in full, and that is all that is known of them. It ends before what looks like no packet.
        """
        at: cython.Py_ssize_t = self.position
        count: cython.Py_ssize_t = 0
        header: cython.Py_ssize_t = 12 if self.blocks else self.header
        kind: cython.longlong
        size: cython.longlong
        missing: cython.longlong
        while at < stop and count < most:
            if self.filled - at < header:
                missing = header - (self.filled - at)
                if not self.fill(missing):
                    break
            if self.blocks:
                kind = self.number(at)
                size = self.number(at + 4)
                if (kind != 6 and kind != 3 and kind != 2) or size < 12 or size > self.largest + _OPTIONS_MAXIMUM:
                    break
            else:
                size = self.number(at + 8)
                if size > self.largest:
                    break
                size += header
            missing = at + size - self.filled
            if missing > 0 and not self.fill(missing):
                break
            at += size
            count += 1
        self.surveyed = at
        return count

    # ------------------------------------------------------------------------------------- records

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def walk(self) -> cython.int:
        at: cython.Py_ssize_t = self.position
        row: cython.Py_ssize_t = self.row
        stop: cython.Py_ssize_t = row
        header: cython.Py_ssize_t = self.header
        reason: cython.int = _NEED_ROWS
        wire: cython.longlong
        captured: cython.longlong
        seconds: cython.longlong
        fraction: cython.longlong
        seen: cython.longlong
        while True:
            if row >= stop:
                if row >= self.limit:
                    break
                stop = self.safe(self.limit - row)
                if stop == 0:
                    reason = _NEED_TABLES
                    break
                stop += row
            if self.filled - at < header:
                reason = _NEED_BYTES
                break
            if self.swapped:
                seconds = self.be32(at)
                fraction = self.be32(at + 4)
                captured = self.be32(at + 8)
                wire = self.be32(at + 12)
            else:
                seconds = self.le32(at)
                fraction = self.le32(at + 4)
                captured = self.le32(at + 8)
                wire = self.le32(at + 12)
            if captured > self.largest:
                reason = _OVERSIZED
                break
            if captured == 0 and wire == 0 and seconds == 0 and fraction == 0:
                reason = _ZEROS
                break
            if captured > self.filled - at - header:
                reason = _NEED_BYTES
                break
            if captured != wire and not self.keeps_caplen:
                reason = _CUT
                break
            at += header
            self.time[row] = seconds * _SECOND + fraction * self.fraction
            if self.choosing and not self.chosen(row, 0, at, at + captured, wire):
                at += captured
                continue
            if header == 24:
                # The interface's number, and more that other fields say too: libpcap, sf-pcap.c, pcap_sf_patched_pkthdr.
                self.numbered(row, self.be32(at - 8) if self.swapped else self.le32(at - 8))
            self.length[row] = wire
            if self.keeps_caplen:
                self.caplen[row] = captured
            self.offset[row] = self.base + at
            seen = captured
            if captured > wire:
                self.fail(row, _BAD_RECORD)
                seen = wire
            if self.link == _LINK_ETHERNET:
                self.ethernet(row, at, at + seen, at + wire)
            else:
                self.other_link(row, at, at + seen, at + wire)
            row += 1
            at += captured
        self.row = row
        self.position = at
        return reason

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def chosen(
        self,
        row: cython.Py_ssize_t,
        which: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.longlong,
    ) -> cython.bint:
        """Return whether the packet in `[at, end)`, whose time is in its row, becomes a row; number it if so."""
        mixed: cython.ulonglong
        self.walked += 1
        if self.timed and (self.time[row] < self.earliest or self.time[row] >= self.latest):
            return False
        if self.filtering and not self.filter.passes(which, self.buffer, at, end, wire):
            return False
        if self.passed > 0:
            self.passed -= 1
            return False
        self.passed = self.every - 1
        if self.share <= _LOWER:
            # SplitMix64 (Steele, Lea and Flood 2014): the same packets every time, whatever else is chosen by.
            mixed = (self.seed + self.walked * _GOLDEN) & _ALL
            mixed = ((mixed ^ (mixed >> 30)) * _MIX) & _ALL
            mixed = ((mixed ^ (mixed >> 27)) * _MIX_AGAIN) & _ALL
            if ((mixed ^ (mixed >> 31)) >> 32) >= self.share:
                return False
        self.number_of[row] = self.walked
        return True

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def number(self, at: cython.Py_ssize_t) -> cython.longlong:
        """Return 32 bits in the byte order of the file."""
        value: cython.longlong = self.be32(at) if self.swapped else self.le32(at)
        return value

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def numbered(self, row: cython.Py_ssize_t, number: cython.longlong) -> cython.void:
        """Note a packet's interface by its number."""
        index: cython.int = self.interfaces.code(number)
        if self.wide_interfaces:
            self.interface_wide[row] = index
        else:
            self.interface[row] = index

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def walk_blocks(self) -> cython.int:
        """Dissect the packet blocks of a pcapng section, up to a block of another kind.

        draft-ietf-opsawg-pcapng: enhanced packets (6), simple packets (3), and the obsolete packets (2).
        """
        at: cython.Py_ssize_t = self.position
        row: cython.Py_ssize_t = self.row
        stop: cython.Py_ssize_t = row
        reason: cython.int = _NEED_ROWS
        kind: cython.longlong
        size: cython.longlong
        smallest: cython.longlong
        wire: cython.longlong
        captured: cython.longlong
        which: cython.longlong
        packet: cython.Py_ssize_t
        seen: cython.longlong
        while True:
            if row >= stop:
                if row >= self.limit:
                    break
                stop = self.safe(self.limit - row)
                if stop == 0:
                    reason = _NEED_TABLES
                    break
                stop += row
            if self.filled - at < 12:
                reason = _NEED_BYTES
                break
            kind = self.number(at)
            size = self.number(at + 4)
            if kind != 6 and kind != 3 and kind != 2:
                reason = _OTHER_BLOCK
                break
            smallest = 16 if kind == 3 else 32
            if size < smallest or size & 3:
                reason = _BAD_BLOCK
                break
            if size > self.largest + _OPTIONS_MAXIMUM:
                reason = _OVERSIZED
                break
            if size > self.filled - at:
                reason = _NEED_BYTES
                break
            if self.number(at + size - 4) != size:
                reason = _BAD_BLOCK
                break
            if kind == 3:
                which = 0
                wire = self.number(at + 8)
                captured = wire if wire < size - 16 else size - 16
                packet = at + 12
            else:
                which = self.number(at + 8)
                if kind == 2:  # 16 bits, and as many of the packets dropped before
                    which = which >> 16 if self.swapped else which & 0xFFFF
                captured = self.number(at + 20)
                wire = self.number(at + 24)
                packet = at + 28
            if which >= self.interface_count:
                reason = _NO_INTERFACE
                break
            if kind == 3 and 0 < self.interface_snaplen[which] < captured:
                captured = self.interface_snaplen[which]
            if captured > size - smallest:
                reason = _BAD_BLOCK
                break
            if captured != wire and not self.keeps_caplen:
                reason = _CUT
                break
            self.length[row] = wire
            if self.keeps_caplen:
                self.caplen[row] = captured
            self.offset[row] = self.base + packet
            if self.wide_interfaces:
                self.interface_wide[row] = self.interface_code[which]
            else:
                self.interface[row] = self.interface_code[which]
            if kind == 3:
                self.time[row] = _NO_TIME
            else:
                self.stamp(row, which, self.number(at + 12), self.number(at + 16))
            if self.choosing and not self.chosen(row, which, packet, packet + captured, wire):
                self.error[row] = -1  # what `stamp` may have said
                at += size
                continue
            seen = captured
            if captured > wire:
                self.fail(row, _BAD_RECORD)
                seen = wire
            self.link = self.interface_link[which]
            if self.link == _LINK_ETHERNET:
                self.ethernet(row, packet, packet + seen, packet + wire)
            else:
                self.other_link(row, packet, packet + seen, packet + wire)
            row += 1
            at += size
            packet += (captured + 3) & -4
            if kind != 3 and self.commented(packet, at - 4):
                self.options_start = packet
                self.options_stop = at - 4
                reason = _OPTIONS
                break
        self.row = row
        self.position = at
        return reason

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def commented(self, at: cython.Py_ssize_t, last: cython.Py_ssize_t) -> cython.bint:
        """Return whether there is a comment among the options before `last`."""
        kind: cython.longlong
        while last - at >= 4:
            kind = self.number(at)  # 16 bits of it are the kind, 16 the size
            if self.swapped:
                kind = (kind >> 16) | ((kind & 0xFFFF) << 16)
            if kind & 0xFFFF == 1:
                return True
            if kind & 0xFFFF == 0:
                return False
            at += 4 + (((kind >> 16) + 3) & -4)
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    @cython.cdivision(True)
    def stamp(
        self, row: cython.Py_ssize_t, which: cython.Py_ssize_t, high: cython.ulonglong, low: cython.ulonglong
    ) -> cython.void:
        """Write the time that so many ticks of an interface's clock are."""
        ticks: cython.ulonglong = (high << 32) | low
        shift: cython.int = self.interface_shift[which]
        whole: cython.ulonglong
        part: cython.ulonglong
        seconds: cython.longlong
        if shift >= 0:
            whole = ticks >> shift
            part = ticks - (whole << shift)
            if shift > 34:  # so that the product fits 64 bits
                part = part >> (shift - 34)
                shift = 34
            part = (part * 1000000000) >> shift
        else:
            whole = ticks // self.interface_per[which]
            part = ticks % self.interface_per[which]
            part = part * self.interface_multiplier[which] // self.interface_divisor[which]
        self.time[row] = _NO_TIME
        if whole > _FAR:
            self.fail(row, _BAD_RECORD)
            return
        seconds = whole
        seconds += self.interface_offset[which]
        if seconds > _LAST_SECOND or seconds < -_LAST_SECOND:
            self.fail(row, _BAD_RECORD)
            return
        whole = part
        self.time[row] = seconds * _SECOND + cython.cast(cython.longlong, whole)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def safe(self, wanted: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return how many records, up to `wanted`, fit the tables whatever is in them.

        One record adds at most five addresses, two MAC addresses, one interface, one name, four texts and a word to a
        vocabulary.
        """
        room: cython.Py_ssize_t = (self.addresses.limit - self.addresses.count) // 5
        wanted = room if room < wanted else wanted
        room = (self.macs.limit - self.macs.count) // 2
        wanted = room if room < wanted else wanted
        if self.want_tls or self.want_http or self.want_quic:
            room = (self.texts.limit - self.texts.count) // 8
            wanted = room if room < wanted else wanted
            room = (self.texts.text_limit - self.texts.starts[self.texts.count]) // 2048
            wanted = room if room < wanted else wanted
        room = self.interfaces.limit - self.interfaces.count
        wanted = room if room < wanted else wanted
        room = self.names.limit - self.names.count
        wanted = room if room < wanted else wanted
        room = (self.names.text_limit - self.names.starts[self.names.count]) // 2048
        wanted = room if room < wanted else wanted
        if not self.wide_words:
            room = 120 - self.word_counts[_PROTOCOL]
            wanted = room if room < wanted else wanted
            room = 120 - self.word_counts[_FLAGS]
            wanted = room if room < wanted else wanted
            room = 120 - self.word_counts[_QTYPE]
            wanted = room if room < wanted else wanted
        return wanted if wanted > 0 else 0

    # ------------------------------------------------------------------------------------------ link layers
    # `at` is where a header starts, `end` where the packet's captured bytes end, `wire` where its bytes on the wire did.

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def ethernet(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        if end - at < 14:
            self.short(row, end, wire, _BAD_ETHERNET)
            return
        if not self.want_macs:
            pass
        elif self.wide_macs:
            self.eth_dst_wide[row] = self.mac(at)
            self.eth_src_wide[row] = self.mac(at + 6)
        else:
            self.eth_dst[row] = self.mac(at)
            self.eth_src[row] = self.mac(at + 6)
        kind: cython.int = self.be16(at + 12)
        if kind == 0x0800:  # the short way for what nearly every packet is
            self.ethertype[row] = kind
            self.ipv4(row, at + 14, end, wire)
        else:
            self.network(row, kind, at + 14, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def other_link(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        version: cython.int
        family: cython.int
        if self.link == _LINK_SLL:
            # https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
            if end - at < 16:
                self.short(row, end, wire, _BAD_COOKED)
                return
            if self.be16(at + 4) == 6:
                self.cooked_source(row, at + 6)
            self.cooked(row, self.be16(at + 2), self.be16(at + 14), at + 16, end, wire)
        elif self.link == _LINK_SLL2:
            # https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
            if end - at < 20:
                self.short(row, end, wire, _BAD_COOKED)
                return
            self.numbered(row, self.be32(at + 4))
            if self.buffer[at + 11] == 6:
                self.cooked_source(row, at + 12)
            self.cooked(row, self.be16(at + 8), self.be16(at), at + 20, end, wire)
        elif self.link == _LINK_RAW:
            if end - at < 1:
                self.short(row, end, wire, _BAD_IP)
                return
            version = self.buffer[at] >> 4
            if version == 4:
                self.ipv4(row, at, end, wire)
            elif version == 6:
                self.ipv6(row, at, end, wire)
            else:
                self.fail(row, _BAD_IP)
        elif self.link == _LINK_NULL or self.link == _LINK_LOOP:
            # The address family, in the byte order of whoever captured (NULL) or of the network (LOOP, OpenBSD's).
            if end - at < 4:
                self.short(row, end, wire, _BAD_LOOPBACK)
                return
            family = self.be16(at) | self.be16(at + 2)
            if family > 0xFF:  # little-endian: it stands in the first byte
                family = self.buffer[at]
            if family == 2:
                self.ipv4(row, at + 4, end, wire)
            elif family == 10 or family == 24 or family == 28 or family == 30:  # Linux, NetBSD, FreeBSD, macOS
                self.ipv6(row, at + 4, end, wire)
        elif self.link == _LINK_PPP:
            self.ppp(row, at, end, wire)
        else:
            self.fail(row, _BAD_LINK)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ppp(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        """Read a PPP header, with or without the address and control bytes of RFC 1662."""
        protocol: cython.int
        if end - at < 2:
            self.short(row, end, wire, _BAD_PPP)
            return
        protocol = self.be16(at)
        at += 2
        if protocol == 0xFF03 or protocol == 0x0F00 or protocol == 0x8F00:  # HDLC-like; Cisco's, unicast or multicast
            if end - at < 2:
                self.short(row, end, wire, _BAD_PPP)
                return
            if protocol != 0xFF03:
                self.network(row, self.be16(at), at + 2, end, wire)
                return
            protocol = self.be16(at)
            at += 2
        if protocol & 0x0100:  # RFC 1661 section 6.5: a compressed protocol field is one byte, and odd
            protocol = protocol >> 8
            at -= 1
        if protocol == 0x0021:
            self.ipv4(row, at, end, wire)
        elif protocol == 0x0057:
            self.ipv6(row, at, end, wire)
        else:
            self.protocol(row, 263)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def cooked_source(self, row: cython.Py_ssize_t, at: cython.Py_ssize_t) -> cython.void:
        if not self.want_macs:
            return
        if self.wide_macs:
            self.eth_src_wide[row] = self.mac(at)
        else:
            self.eth_src[row] = self.mac(at)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def cooked(
        self,
        row: cython.Py_ssize_t,
        hardware: cython.int,
        protocol: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
    ) -> cython.void:
        # For these ARPHRD_ types the protocol field is no EtherType: 770 FRAD, 778 IPGRE, 803 radiotap, 824 netlink.
        if hardware == 770 or hardware == 778 or hardware == 803 or hardware == 824:
            return
        self.network(row, protocol, at, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def network(
        self,
        row: cython.Py_ssize_t,
        kind: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
    ) -> cython.void:
        tagged: cython.bint = False
        while kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
            if end - at < 4:
                self.short(row, end, wire, _BAD_VLAN)
                return
            if not tagged:
                self.vlan[row] = self.be16(at) & 0xFFF
                self.vlan_mask[row] = 0
                tagged = True
            kind = self.be16(at + 2)
            at += 4
        if kind < 0x600:
            # IEEE 802.3 clause 3.2.6: a length, and an LLC header after it. (In a cooked header 1 and 4 say the same.)
            self.protocol(row, 259)
            return
        self.ethertype[row] = kind
        if kind == 0x0800:
            self.ipv4(row, at, end, wire)
        elif kind == 0x86DD:
            self.ipv6(row, at, end, wire)
        elif kind == 0x0806:
            self.protocol(row, 256)
            self.arp(row, at, end, wire)
        elif kind == 0x8035:
            self.protocol(row, 257)
        elif kind == 0x88CC:
            self.protocol(row, 258)
        elif kind == 0x888E:
            self.protocol(row, 260)
        elif kind == 0x8847 or kind == 0x8848:
            self.protocol(row, 261)
            self.mpls(row, at, end, wire)
        elif kind == 0x8863:
            self.protocol(row, 262)
        elif kind == 0x8864:
            self.protocol(row, 262)
            self.pppoe(row, at, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def mpls(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        """Pass over a label stack (RFC 3032) to what it carries, which nothing names but its own first bits."""
        entry: cython.uint
        first: cython.bint = True
        while True:
            if end - at < 4:
                self.short(row, end, wire, _BAD_MPLS)
                return
            entry = self.be32(at)
            at += 4
            if first and self.want_labels:
                self.mpls_label[row] = entry >> 12
                self.mpls_label_mask[row] = 0
            first = False
            if entry & 0x100:
                break
        if end - at < 1:
            self.short(row, end, wire, _BAD_MPLS)
            return
        if (self.buffer[at] >> 4) == 4:
            self.ipv4(row, at, end, wire)
        elif (self.buffer[at] >> 4) == 6:
            self.ipv6(row, at, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def pppoe(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        """Read a PPPoE session header (RFC 2516)."""
        size: cython.Py_ssize_t
        protocol: cython.int
        if end - at < 8:
            self.short(row, end, wire, _BAD_PPPOE)
            return
        size = self.be16(at + 4)
        protocol = self.be16(at + 6)
        if self.want_labels:
            self.pppoe_session[row] = self.be16(at + 2)
            self.pppoe_session_mask[row] = 0
        at += 6
        if size < 2 or size > wire - at:
            self.fail(row, _BAD_PPPOE)
            return
        wire = at + size
        if end > wire:
            end = wire
        if protocol == 0x0021:
            self.ipv4(row, at + 2, end, wire)
        elif protocol == 0x0057:
            self.ipv6(row, at + 2, end, wire)

    # --------------------------------------------------------------------------------------------- internet

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def arp(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        operation: cython.int
        if end - at < 8:
            self.short(row, end, wire, _BAD_ARP)
            return
        operation = self.be16(at + 6)
        self.arp_op[row] = self.word(_ARP_OPERATION, operation if operation < 26 else 26)
        if self.be16(at + 2) != 0x0800 or self.buffer[at + 4] != 6 or self.buffer[at + 5] != 4:
            return  # RFC 826 allows any pair of address families; only IPv4 over 48-bit addresses has columns
        if end - at < 28:
            self.short(row, end, wire, _BAD_ARP)
            return
        self.source(row, self.addresses.code4(self.be32(at + 14)))
        self.destination(row, self.addresses.code4(self.be32(at + 24)))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ipv4(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        if end - at < 20:
            self.short(row, end, wire, _BAD_IPV4)
            return
        first: cython.int = self.buffer[at]
        header: cython.Py_ssize_t = (first & 15) * 4
        total: cython.Py_ssize_t = self.be16(at + 2)
        fragment: cython.int = self.be16(at + 6)
        protocol: cython.int = self.buffer[at + 9]
        if (first >> 4) != 4 or header < 20:
            self.fail(row, _BAD_IPV4)
            return
        if self.want_ip:
            self.ip_version[row] = 4
            self.ip_ttl[row] = self.buffer[at + 8]
            self.ip_id[row] = self.be16(at + 4)
        self.protocol(row, protocol)
        self.source(row, self.addresses.code4(self.be32(at + 12)))
        self.destination(row, self.addresses.code4(self.be32(at + 16)))
        # Total length 0: the kernel hands a segmentation-offloaded packet longer than 65,535 bytes up this way.
        if total != 0:
            if total < header or total > wire - at:
                self.fail(row, _BAD_IPV4)
                if total < header:
                    return
            else:
                wire = at + total
                if end > wire:
                    end = wire
        if fragment & 0x3FFF:
            if not fragment & 0x1FFF:
                self.ip_frag[row] = self.word(_FRAGMENT, 0)
            elif fragment & 0x2000:
                self.ip_frag[row] = self.word(_FRAGMENT, 1)
                return
            else:
                self.ip_frag[row] = self.word(_FRAGMENT, 2)
                return
        if end - at < header:
            self.short(row, end, wire, _BAD_IPV4)
            return
        if protocol == 6:
            self.tcp(row, at + header, end, wire)
        else:
            self.transport(row, protocol, at + header, end, wire, (fragment & 0x3FFF) != 0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ipv6(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        if end - at < 40:
            self.short(row, end, wire, _BAD_IPV6)
            return
        if (self.buffer[at] >> 4) != 6:
            self.fail(row, _BAD_IPV6)
            return
        payload: cython.Py_ssize_t = self.be16(at + 4)
        protocol: cython.int = self.buffer[at + 6]
        fragment: cython.int
        size: cython.Py_ssize_t
        fragmented: cython.bint = False
        if self.want_ip:
            self.ip_version[row] = 6
            self.ip_ttl[row] = self.buffer[at + 7]
        self.source(row, self.addresses.code6(self.be64(at + 8), self.be64(at + 16)))
        self.destination(row, self.addresses.code6(self.be64(at + 24), self.be64(at + 32)))
        at += 40
        # Payload length 0: a jumbogram (RFC 2675) or a segmentation-offloaded packet; the record says how long it is.
        if payload != 0:
            if payload > wire - at:
                self.fail(row, _BAD_IPV6)
            else:
                wire = at + payload
                if end > wire:
                    end = wire
        # RFC 8200 section 4: extension headers, each naming the next. Each is at least 8 bytes, so `end` ends the loop.
        while (
            protocol == 0
            or protocol == 43
            or protocol == 44
            or protocol == 51
            or protocol == 60
            or protocol == 135
            or protocol == 139
            or protocol == 140
        ):
            if end - at < 8:
                self.short(row, end, wire, _BAD_IPV6)
                return
            size = self.buffer[at + 1]
            if protocol == 44:
                fragment = self.be16(at + 2)
                size = 8
                protocol = self.buffer[at]
                if fragment & 0xFFF9:
                    fragmented = True
                    if not fragment & 0xFFF8:
                        self.ip_frag[row] = self.word(_FRAGMENT, 0)
                    else:
                        self.ip_frag[row] = self.word(_FRAGMENT, 1 if fragment & 1 else 2)
                        self.protocol(row, protocol)
                        return
            else:
                size = (size + 2) * 4 if protocol == 51 else (size + 1) * 8
                protocol = self.buffer[at]
            if size > end - at:
                self.short(row, end, wire, _BAD_IPV6)
                return
            at += size
        self.protocol(row, protocol)
        self.transport(row, protocol, at, end, wire, fragmented)

    # -------------------------------------------------------------------------------------------- transport

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def transport(
        self,
        row: cython.Py_ssize_t,
        protocol: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
        fragmented: cython.bint,
    ) -> cython.void:
        if protocol == 6:
            self.tcp(row, at, end, wire)
        elif protocol == 17:
            self.udp(row, at, end, wire, fragmented)
        elif protocol == 1 or protocol == 58:
            if end - at < 4:
                self.short(row, end, wire, _BAD_ICMP)
                return
            kind: cython.int = self.buffer[at]
            self.icmp_type[row] = kind
            self.icmp_code[row] = self.buffer[at + 1]
            self.icmp_type_mask[row] = 0
            if self.want_tunnels and not self.decapsulate:
                # RFC 792, RFC 4443: an error quotes the packet that it is about.
                if protocol == 58:
                    if 1 <= kind <= 4:
                        self.inside(row, _ICMP_ERROR, 0x86DD, at + 8, end)
                elif kind == 3 or kind == 4 or kind == 5 or kind == 11 or kind == 12:
                    self.inside(row, _ICMP_ERROR, 0x0800, at + 8, end)
        elif protocol == 132:
            if end - at < 12:
                if end - at >= 4:
                    self.ports(row, at)
                self.short(row, end, wire, _BAD_SCTP)
                return
            self.ports(row, at)
            if self.want_others:
                self.sctp_vtag[row] = self.be32(at + 4)
                self.sctp_vtag_mask[row] = 0
        elif protocol == 2 and self.want_others:
            if end - at < 8:
                self.short(row, end, wire, _BAD_IP)
                return
            self.igmp_type[row] = self.buffer[at]
            self.igmp_type_mask[row] = 0
            # A version 3 report names groups further on, each with its sources.
            if self.buffer[at] != 0x22:
                self.igmp_group[row] = self.addresses.code4(self.be32(at + 4))
        elif self.want_tunnels:
            if protocol == 4:
                self.tunnelled(row, _IN_IP, protocol, 0x0800, at, end, wire)
            elif protocol == 41:
                self.tunnelled(row, _IN_IP, protocol, 0x86DD, at, end, wire)
            elif protocol == 47:
                self.gre(row, at, end, wire)

    # ----------------------------------------------------------------------------------------------- tunnels

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def network_number(self, row: cython.Py_ssize_t, number: cython.uint) -> cython.void:
        """Note the virtual network of the outermost tunnel."""
        if self.vni_mask[row] != 0 and self.tunnel[row] < 0:
            self.vni[row] = number
            self.vni_mask[row] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def gre(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        """Read a GRE header: RFC 2784, with RFC 2890's key and sequence number."""
        size: cython.Py_ssize_t = self.gre_size(at, end)
        if size == 0:
            self.short(row, end, wire, _BAD_TUNNEL)
            return
        if self.buffer[at] & 0x20:
            self.network_number(row, self.be32(at + (8 if self.buffer[at] & 0x80 else 4)))
        self.tunnelled(row, _GRE, 47, self.be16(at + 2), at + size, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def gre_size(self, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return the size of a GRE header that is there in full, else 0."""
        size: cython.Py_ssize_t = 4
        if end - at < 4:
            return 0
        if self.buffer[at] & 0x80:
            size += 4
        if self.buffer[at] & 0x20:
            size += 4
        if self.buffer[at] & 0x10:
            size += 4
        if self.buffer[at + 1] & 0x80:  # the enhanced GRE of PPTP (RFC 2637): an acknowledgment number
            size += 4
        return size if size <= end - at else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def vxlan(
        self,
        row: cython.Py_ssize_t,
        port: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
    ) -> cython.void:
        """Read a VXLAN (RFC 7348) or GENEVE (RFC 8926) header."""
        size: cython.Py_ssize_t = 8
        if end - at < 8:
            self.short(row, end, wire, _BAD_TUNNEL)
            return
        self.network_number(row, self.be32(at + 4) >> 8)
        if port == 6081:
            size += (self.buffer[at] & 0x3F) * 4
            self.tunnelled(row, _GENEVE, 17, self.be16(at + 2), at + size, end, wire)
        else:
            self.tunnelled(row, _VXLAN, 17, 0x6558, at + size, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def tunnelled(
        self,
        row: cython.Py_ssize_t,
        tunnel: cython.int,
        protocol: cython.int,
        kind: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
    ) -> cython.void:
        """Go on with what a tunnel carries, `kind` being its EtherType.

        Either into the columns of inner packets; or, to decapsulate, into the ordinary ones, what these have so far
        being kept in the others where it is the outermost header's.
        """
        if end - at < 0:
            self.short(row, end, wire, _BAD_TUNNEL)
            return
        if not self.decapsulate:
            self.inside(row, tunnel, kind, at, end)
            return
        if self.tunnel_row != row:
            self.tunnel_row = row
            self.depth = 0
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(row, _BAD_TUNNEL)
            return
        # Ethernet inside: the link's columns stay the outermost's.
        if kind == 0x6558:
            if end - at < 14:
                self.short(row, end, wire, _BAD_TUNNEL)
                return
            kind = self.be16(at + 12)
            at += 14
        while kind == 0x8100 or kind == 0x88A8:
            if end - at < 4:
                self.short(row, end, wire, _BAD_TUNNEL)
                return
            kind = self.be16(at + 2)
            at += 4
        if kind != 0x0800 and kind != 0x86DD and kind != 0x0806:
            return
        if self.tunnel[row] < 0:
            self.tunnel[row] = self.word(_TUNNEL, tunnel)
            self.inner_src[row] = self.src_wide[row] if self.wide_addresses else self.src[row]
            self.inner_dst[row] = self.dst_wide[row] if self.wide_addresses else self.dst[row]
            self.inner_proto[row] = self.word(_INNER_PROTOCOL, protocol)
            if self.sport_mask[row] == 0:
                self.inner_sport[row] = self.sport[row]
                self.inner_dport[row] = self.dport[row]
                self.inner_sport_mask[row] = 0
        self.source(row, -1)
        self.destination(row, -1)
        if self.wide_words:
            self.proto_wide[row] = -1
        else:
            self.proto[row] = -1
        if self.want_ip:
            self.ip_version[row] = 0
            self.ip_ttl[row] = 0
            self.ip_id[row] = 0
        self.ip_frag[row] = -1
        self.sport[row] = 0
        self.dport[row] = 0
        self.sport_mask[row] = 1
        self.payload_length[row] = 0
        self.payload_length_mask[row] = 1
        if kind == 0x0800:
            self.ipv4(row, at, end, wire)
        elif kind == 0x86DD:
            self.ipv6(row, at, end, wire)
        elif kind == 0x0806:
            self.protocol(row, 256)
            self.arp(row, at, end, wire)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def inside(
        self,
        row: cython.Py_ssize_t,
        tunnel: cython.int,
        kind: cython.int,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.void:
        """Read the innermost packet's addresses, protocol and ports, as far as they are there."""
        protocol: cython.int
        size: cython.Py_ssize_t
        _level: cython.int
        self.tunnel[row] = self.word(_TUNNEL, tunnel)
        for _level in range(_DEEPEST):
            if kind == 0x6558:
                if end - at < 14:
                    return
                kind = self.be16(at + 12)
                at += 14
            while kind == 0x8100 or kind == 0x88A8:
                if end - at < 4:
                    return
                kind = self.be16(at + 2)
                at += 4
            if kind == 0x0800:
                if end - at < 20:
                    return
                size = (self.buffer[at] & 15) * 4
                if (self.buffer[at] >> 4) != 4 or size < 20:
                    return
                protocol = self.buffer[at + 9]
                self.inner_src[row] = self.addresses.code4(self.be32(at + 12))
                self.inner_dst[row] = self.addresses.code4(self.be32(at + 16))
                self.inner_proto[row] = self.word(_INNER_PROTOCOL, protocol)
                self.inner_sport_mask[row] = 1
                if self.be16(at + 6) & 0x1FFF:
                    return
                at += size
            elif kind == 0x86DD:
                if end - at < 40:
                    return
                if (self.buffer[at] >> 4) != 6:
                    return
                protocol = self.buffer[at + 6]
                self.inner_src[row] = self.addresses.code6(self.be64(at + 8), self.be64(at + 16))
                self.inner_dst[row] = self.addresses.code6(self.be64(at + 24), self.be64(at + 32))
                self.inner_sport_mask[row] = 1
                at += 40
                while protocol == 0 or protocol == 43 or protocol == 44 or protocol == 60:
                    if end - at < 8:
                        return
                    if protocol == 44 and self.be16(at + 2) & 0xFFF8:
                        self.inner_proto[row] = self.word(_INNER_PROTOCOL, self.buffer[at])
                        return
                    size = 8 if protocol == 44 else (self.buffer[at + 1] + 1) * 8
                    protocol = self.buffer[at]
                    at += size
                self.inner_proto[row] = self.word(_INNER_PROTOCOL, protocol)
            else:
                return
            if protocol == 4:
                kind = 0x0800
            elif protocol == 41:
                kind = 0x86DD
            elif protocol == 47:
                size = self.gre_size(at, end)
                if size == 0:
                    return
                kind = self.be16(at + 2)
                at += size
            elif protocol == 6 or protocol == 17 or protocol == 132:
                if end - at < 4:
                    return
                self.inner_sport[row] = self.be16(at)
                self.inner_dport[row] = self.be16(at + 2)
                self.inner_sport_mask[row] = 0
                if protocol != 17:
                    return
                kind = self.inner_dport[row]
                if kind != 4789 and kind != 8472 and kind != 6081:
                    return
                at += 8
                if end - at < 8:
                    return
                if kind == 6081:
                    kind = self.be16(at + 2)
                    at += 8 + (self.buffer[at] & 0x3F) * 4
                else:
                    kind = 0x6558
                    at += 8
            else:
                return

    # -------------------------------------------------------------------------------------- applications
    # What these lack is no error: a message that goes on in the next segment is read as far as it is there.

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def text(self, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.int:
        """Return the code of some bytes of the packet, which are there, cut to 255."""
        if size <= 0:
            return -1
        if size > _TEXT:
            size = _TEXT
        if cython.compiled:
            p: cython.p_const_uchar = cython.address(self.buffer[at + size - 1])
            p = cython.address(self.buffer[at])
            return self.texts.code(p, size)
        else:
            if at + size > len(self.buffer):
                raise IndexError
            return self.texts.code(self.buffer[at : at + size], size)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def hello(self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.void:
        """Read a TLS ClientHello or ServerHello that starts a segment (RFC 8446 section 4.1)."""
        kind: cython.int
        version: cython.int
        size: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        if end - at < 44:
            return
        kind = self.buffer[at + 5]
        if self.buffer[at] != 22 or self.buffer[at + 1] != 3 or kind < 1 or kind > 2:
            return
        version = self.be16(at + 9)
        if (version >> 8) != 3:
            return
        self.tls_type[row] = self.word(_TLS_TYPE, kind)
        self.tls_version[row] = self.word(_TLS_VERSION, version)
        size = self.be16(at + 3)
        if size < end - at - 5:
            end = at + 5 + size
        at += 43  # within the 44 bytes above
        at += 1 + self.buffer[at]
        if end - at < 2:
            return
        if kind == 2:
            self.tls_cipher[row] = self.be16(at)
            self.tls_cipher_mask[row] = 0
            at += 3
        else:
            at += 2 + self.be16(at)
            if end - at < 1:
                return
            at += 1 + self.buffer[at]
        if end - at < 2:
            return
        stop = at + 2 + self.be16(at)
        at += 2
        while at < stop:
            if end - at < 4:
                return
            version = self.be16(at)
            size = self.be16(at + 2)
            at += 4
            if size > end - at:
                return
            if version == 0 and kind == 1:
                if size >= 5 and self.buffer[at + 2] == 0 and self.be16(at + 3) <= size - 5:
                    self.tls_sni[row] = self.text(at + 5, self.be16(at + 3))
            elif version == 16:
                if size >= 3 and self.buffer[at + 2] <= size - 3:
                    self.tls_alpn[row] = self.text(at + 3, self.buffer[at + 2])
            elif version == 43:
                self.newest(row, kind, at, size)
            at += size

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def newest(
        self, row: cython.Py_ssize_t, kind: cython.int, at: cython.Py_ssize_t, size: cython.Py_ssize_t
    ) -> cython.void:
        """Note the version that a supported_versions extension, all of it there, chooses, or the newest it offers."""
        best: cython.int = 0
        version: cython.int
        i: cython.Py_ssize_t
        if kind == 2:
            if size >= 2:
                best = self.be16(at)
        else:
            for i in range(1, size - 1, 2):
                version = self.be16(at + i)
                # RFC 8701: values that mean nothing (0x0A0A, 0x1A1A, …) are offered too.
                if version > best and (version & 0x0F0F) != 0x0A0A:
                    best = version
        if best != 0:
            self.tls_version[row] = self.word(_TLS_VERSION, best)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def request(self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.void:
        """Read an HTTP/1 request or status line that starts a segment, and the Host field (RFC 9112)."""
        start: cython.Py_ssize_t = at
        space: cython.Py_ssize_t
        status: cython.int
        if end - at < 16:
            return
        if self.be32(at) == 0x48545450 and self.be16(at + 4) == 0x2F31:  # HTTP/1
            status = (self.buffer[at + 9] - 48) * 100 + (self.buffer[at + 10] - 48) * 10 + self.buffer[at + 11] - 48
            if self.buffer[at + 8] == 32 and 100 <= status <= 999:
                self.http_status[row] = status
                self.http_status_mask[row] = 0
            return
        while at < end and 65 <= self.buffer[at] <= 90 and at - start < 16:
            at += 1
        if at >= end or at == start or self.buffer[at] != 32:
            return
        space = at
        at += 1
        while at < end and self.buffer[at] > 32:
            at += 1
        # The version shows that it is HTTP, where the line is there so far.
        if end - at < 7:
            if at < end:
                return
        elif self.be16(at) != 0x2048 or self.be32(at + 2) != 0x5454502F or self.buffer[at + 6] != 0x31:
            return
        if at == end and end - start < 255:
            return
        self.http_method[row] = self.text(start, space - start)
        self.http_uri[row] = self.text(space + 1, at - space - 1)
        while True:
            while at < end and self.buffer[at] != 10:
                at += 1
            at += 1
            if end - at < 6:
                return
            if self.buffer[at] == 13 or self.buffer[at] == 10:
                return
            if (self.be32(at) | 0x20202020) == 0x686F7374 and self.buffer[at + 4] == 58:  # "host:", whatever its case
                at += 5
                while at < end and self.buffer[at] == 32:
                    at += 1
                start = at
                while at < end and self.buffer[at] > 32:
                    at += 1
                self.http_host[row] = self.text(start, at - start)
                return

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def quic(self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.void:
        """Read a QUIC long header (RFC 8999 section 5.1)."""
        size: cython.Py_ssize_t
        start: cython.Py_ssize_t
        if end - at < 7:
            return
        if (self.buffer[at] & 0xC0) != 0xC0:
            return
        size = self.buffer[at + 5]
        start = at + 6
        if size > 20 or size > end - start - 1:
            return
        self.quic_version[row] = self.be32(at + 1)
        self.quic_version_mask[row] = 0
        self.quic_dcid[row] = self.text(start, size)
        at = start + size  # and one byte more is there
        size = self.buffer[at]
        at += 1
        if size > 20 or size > end - at:
            return
        self.quic_scid[row] = self.text(at, size)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def ports(self, row: cython.Py_ssize_t, at: cython.Py_ssize_t) -> cython.void:
        self.sport[row] = self.be16(at)
        self.dport[row] = self.be16(at + 2)
        self.sport_mask[row] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def tcp(
        self, row: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t, wire: cython.Py_ssize_t
    ) -> cython.void:
        if end - at < 20:
            if end - at >= 4:
                self.ports(row, at)
            self.short(row, end, wire, _BAD_TCP)
            return
        bits: cython.int = self.be16(at + 12)
        header: cython.Py_ssize_t = (bits >> 12) * 4
        source: cython.int = self.be16(at)
        destination: cython.int = self.be16(at + 2)
        self.sport[row] = source
        self.dport[row] = destination
        self.sport_mask[row] = 0
        if self.want_tcp:
            self.tcp_seq[row] = self.be32(at + 4)
            self.tcp_ack[row] = self.be32(at + 8)
            self.tcp_window[row] = self.be16(at + 14)
        if self.wide_words:
            self.tcp_flags_wide[row] = self.word(_FLAGS, bits & 0x1FF)
        else:
            self.tcp_flags[row] = self.word(_FLAGS, bits & 0x1FF)
        if header < 20 or header > wire - at:
            self.fail(row, _BAD_TCP)
            return
        self.payload_length[row] = wire - at - header
        self.payload_length_mask[row] = 0
        if header == 20 or not self.want_tcp:
            pass
        elif header == 32 and end - at >= 32 and self.be32(at + 20) == 0x0101080A:
            # NOP, NOP, timestamps: what nearly every segment after the handshake carries (RFC 7323 appendix A).
            self.tcp_tsval[row] = self.be32(at + 24)
            self.tcp_tsecr[row] = self.be32(at + 28)
            self.tcp_tsval_mask[row] = 0
        else:
            self.tcp_options(row, at + 20, at + header, end, wire)
        if (self.want_tls or self.want_http) and end - at > header:
            if self.want_tls:
                self.hello(row, at + header, end)
            if self.want_http:
                self.request(row, at + header, end)
        # RFC 1035 section 4.2.2: over TCP a message comes after its length. Only one that starts a segment is found.
        if (source == 53 or destination == 53) and end - at - header >= 14:
            at += header
            if 12 <= self.be16(at) <= wire - at - 2:
                if end - at - 2 > self.be16(at):
                    end = at + 2 + self.be16(at)
                self.dns(row, at + 2, end, wire, False)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def tcp_options(
        self,
        row: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
    ) -> cython.void:
        """Read the options in `[at, stop)`, as many of them as lie before `end`."""
        kind: cython.int
        size: cython.Py_ssize_t
        last: cython.Py_ssize_t = stop if stop < end else end
        while at < last:
            kind = self.buffer[at]
            if kind == 0:
                return
            if kind == 1:
                at += 1
                continue
            if last - at < 2:
                break
            size = self.buffer[at + 1]
            if size < 2 or size > stop - at:
                self.fail(row, _BAD_TCP)
                return
            if size > last - at:
                break
            if kind == 8 and size == 10:
                self.tcp_tsval[row] = self.be32(at + 2)
                self.tcp_tsecr[row] = self.be32(at + 6)
                self.tcp_tsval_mask[row] = 0
            elif kind == 2 and size == 4:
                self.tcp_mss[row] = self.be16(at + 2)
                self.tcp_mss_mask[row] = 0
            elif kind == 3 and size == 3:
                self.tcp_wscale[row] = self.buffer[at + 2]
                self.tcp_wscale_mask[row] = 0
            elif kind == 5 and size >= 10:
                self.tcp_sack_left[row] = self.be32(at + 2)
                self.tcp_sack_right[row] = self.be32(at + 6)
                self.tcp_sack_left_mask[row] = 0
            at += size
        if at < stop:
            self.short(row, end, wire, _BAD_TCP)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def udp(
        self,
        row: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
        fragmented: cython.bint,
    ) -> cython.void:
        if end - at < 8:
            if end - at >= 4:
                self.ports(row, at)
            self.short(row, end, wire, _BAD_UDP)
            return
        size: cython.Py_ssize_t = self.be16(at + 4)
        source: cython.int = self.be16(at)
        destination: cython.int = self.be16(at + 2)
        self.sport[row] = source
        self.dport[row] = destination
        self.sport_mask[row] = 0
        if size == 0:
            size = wire - at  # a jumbogram, RFC 2675 section 4
        if size < 8:
            self.fail(row, _BAD_UDP)
            return
        self.payload_length[row] = size - 8
        self.payload_length_mask[row] = 0
        if size > wire - at:
            if not fragmented:
                self.fail(row, _BAD_UDP)
        else:
            wire = at + size
            if end > wire:
                end = wire
        if self.want_tunnels and (destination == 4789 or destination == 8472 or destination == 6081):
            # RFC 7348, RFC 8926; 8472 is what Linux took before there was a number.
            self.vxlan(row, destination, at + 8, end, wire)
            return
        if self.want_quic and (source == 443 or destination == 443):
            self.quic(row, at + 8, end)
        # DNS, multicast DNS (RFC 6762) and LLMNR (RFC 4795) share one message format.
        if (
            source == 53
            or destination == 53
            or source == 5353
            or destination == 5353
            or source == 5355
            or destination == 5355
        ):
            self.dns(row, at + 8, end, wire, not fragmented)

    # -------------------------------------------------------------------------------------------------- DNS

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def dns(
        self,
        row: cython.Py_ssize_t,
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        wire: cython.Py_ssize_t,
        whole: cython.bint,
    ) -> cython.void:
        """Read the header and the first question (RFC 1035 section 4.1).

        `whole` is False where the message may go on in another packet, so that its end proves nothing.
        """
        if not self.want_dns:
            return
        if end - at < 12:
            if whole:
                self.short(row, end, wire, _BAD_DNS)
            return
        bits: cython.int = self.be16(at + 2)
        size: cython.Py_ssize_t
        after: cython.Py_ssize_t
        code: cython.int
        self.dns_id[row] = self.be16(at)
        self.dns_id_mask[row] = 0
        if self.want_messages:
            # From where the packet's bytes start.
            size = at - (self.offset[row] - self.base)
            if size <= 0xFFFF:
                self.dns_offset[row] = size
                self.dns_offset_mask[row] = 0
        if bits & 0x8000:
            self.dns_response[row] = 1
            self.dns_rcode[row] = self.word(_RCODE, bits & 15)
        if self.be16(at + 4) == 0:
            return
        size = self.plain_name(at + 12, end)
        after = at + 12 + size
        compressed: cython.bint = size == -2
        if compressed:
            size = self.name(at, at + 12, end)
            after = self.after_name(at + 12, end) if size > 0 else end
        if size == 0:
            if whole:
                self.short(row, end, wire, _BAD_DNS)
            return
        if size < 0:
            self.fail(row, _BAD_DNS)
            return
        if end - after < 4:
            if whole:
                self.short(row, end, wire, _BAD_DNS)
            return
        if cython.compiled:
            name: cython.p_const_uchar = cython.address(self.names.scratch[0])
            if not compressed:
                name = cython.address(self.buffer[at + 11 + size])
                name = cython.address(self.buffer[at + 12])
            code = self.names.code(name, size)
        else:
            code = self.names.code(self.names.scratch if compressed else self.buffer[at + 12 : after], size)
        if self.wide_names:
            self.dns_qname_wide[row] = code
        else:
            self.dns_qname[row] = code
        if self.wide_words:
            self.dns_qtype_wide[row] = self.word(_QTYPE, self.be16(after))
        else:
            self.dns_qtype[row] = self.word(_QTYPE, self.be16(after))

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def plain_name(self, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return the size of the name at `at`, 0 where it is cut, -1 where it is malformed, -2 where it is compressed."""
        start: cython.Py_ssize_t = at
        label: cython.Py_ssize_t
        while True:
            if end - at < 1:
                return 0
            label = self.buffer[at]
            if label == 0:
                return at + 1 - start
            if label >= 0xC0:
                return -2
            if label > 63 or at - start + label + 2 > 255:
                return -1  # RFC 1035 section 3.1: a label has at most 63 bytes, a name 255
            at += label + 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def name(self, message: cython.Py_ssize_t, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Spell the name at `at` out into the scratch; return its size, 0 where it is cut, -1 where it is malformed.

        A compression pointer must point before the labels it continues, so that following them ends.
        """
        size: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = at
        label: cython.Py_ssize_t
        target: cython.Py_ssize_t
        i: cython.Py_ssize_t
        while True:
            if end - at < 1:
                return 0
            label = self.buffer[at]
            if label == 0:
                self.names.scratch[size] = 0
                return size + 1
            if label >= 0xC0:
                if end - at < 2:
                    return 0
                target = message + (self.be16(at) & 0x3FFF)
                if target >= start:
                    return -1
                start = target
                at = target
                continue
            if label > 63 or size + label + 2 > 255:
                return -1
            if end - at < 1 + label:
                return 0
            for i in range(label + 1):
                self.names.scratch[size + i] = self.buffer[at + i]
            size += label + 1
            at += label + 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def after_name(self, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return where the name at `at`, already found whole, ends."""
        label: cython.Py_ssize_t
        while at < end:
            label = self.buffer[at]
            if label == 0:
                return at + 1
            if label >= 0xC0:
                return at + 2
            at += label + 1
        return end


def recode(codes: object, changed: cython.int[::1], rows: cython.longlong[:, ::1]) -> None:
    """Exchange codes in some rows, from … to … as `rows` has them: `changed[code + 1]` is what a code becomes.

    Without a branch: that new codes are among old ones cannot be foreseen.
    """
    if cython.compiled:
        if codes.itemsize == 1:
            _recode_schar(codes, changed, rows)
        elif codes.itemsize == 2:
            _recode_short(codes, changed, rows)
        else:
            _recode_int(codes, changed, rows)
    else:
        for start, stop in numpy.asarray(rows).tolist():
            codes[start:stop] = numpy.asarray(changed)[numpy.asarray(codes[start:stop]) + 1]


@cython.cfunc
@cython.exceptval(check=False)
def _recode_schar(codes: cython.schar[::1], changed: cython.int[::1], rows: cython.longlong[:, ::1]) -> cython.void:
    i: cython.Py_ssize_t
    row: cython.Py_ssize_t
    first: cython.Py_ssize_t
    last: cython.Py_ssize_t
    with cython.nogil:
        for i in range(rows.shape[0]):
            first = rows[i, 0]
            last = rows[i, 1]
            for row in range(first, last):
                codes[row] = changed[codes[row] + 1]


@cython.cfunc
@cython.exceptval(check=False)
def _recode_short(codes: cython.short[::1], changed: cython.int[::1], rows: cython.longlong[:, ::1]) -> cython.void:
    i: cython.Py_ssize_t
    row: cython.Py_ssize_t
    first: cython.Py_ssize_t
    last: cython.Py_ssize_t
    with cython.nogil:
        for i in range(rows.shape[0]):
            first = rows[i, 0]
            last = rows[i, 1]
            for row in range(first, last):
                codes[row] = changed[codes[row] + 1]


@cython.cfunc
@cython.exceptval(check=False)
def _recode_int(codes: cython.int[::1], changed: cython.int[::1], rows: cython.longlong[:, ::1]) -> cython.void:
    i: cython.Py_ssize_t
    row: cython.Py_ssize_t
    first: cython.Py_ssize_t
    last: cython.Py_ssize_t
    with cython.nogil:
        for i in range(rows.shape[0]):
            first = rows[i, 0]
            last = rows[i, 1]
            for row in range(first, last):
                codes[row] = changed[codes[row] + 1]


def touch(memory: cython.uchar[::1], first: int, last: int) -> None:
    """Write into each page of memory that is all zeros, so that the kernel has it there; for two threads to share."""
    at: cython.Py_ssize_t
    start: cython.Py_ssize_t = first
    stop: cython.Py_ssize_t = last
    with cython.nogil:
        for at in range(start, stop, 4096):
            memory[at] = 0


REASONS: dict[str, int] = {
    "bytes": _NEED_BYTES,
    "rows": _NEED_ROWS,
    "tables": _NEED_TABLES,
    "oversized": _OVERSIZED,
    "zeros": _ZEROS,
    "other block": _OTHER_BLOCK,
    "bad block": _BAD_BLOCK,
    "no interface": _NO_INTERFACE,
    "options": _OPTIONS,
    "cut": _CUT,
}
"""What `Dissector.run` returns: what is missing, or what is wrong with the next record."""

LINKS: dict[str, int] = {
    "none": _LINK_NONE,
    "ethernet": _LINK_ETHERNET,
    "sll": _LINK_SLL,
    "sll2": _LINK_SLL2,
    "raw": _LINK_RAW,
    "null": _LINK_NULL,
    "loop": _LINK_LOOP,
    "ppp": _LINK_PPP,
}
"""The link layers, for `Dissector(link=…)`."""

VOCABULARIES: dict[str, int] = {
    "proto": _PROTOCOL,
    "tcp_flags": _FLAGS,
    "ip_frag": _FRAGMENT,
    "arp_op": _ARP_OPERATION,
    "dns_rcode": _RCODE,
    "dns_qtype": _QTYPE,
    "error": _ERROR,
    "tunnel": _TUNNEL,
    "inner_proto": _INNER_PROTOCOL,
    "tls_type": _TLS_TYPE,
    "tls_version": _TLS_VERSION,
}
"""Row of each column's vocabulary in `words` and `word_counts`."""

ABSENT: dict[str, int] = {
    "interface_wide": -1,
    "eth_src_wide": -1,
    "eth_dst_wide": -1,
    "src_wide": -1,
    "dst_wide": -1,
    "proto_wide": -1,
    "tcp_flags_wide": -1,
    "dns_qname_wide": -1,
    "dns_qtype_wide": -1,
    "interface": -1,
    "eth_src": -1,
    "eth_dst": -1,
    "src": -1,
    "dst": -1,
    "proto": -1,
    "ip_frag": -1,
    "tcp_flags": -1,
    "arp_op": -1,
    "dns_qname": -1,
    "dns_qtype": -1,
    "dns_rcode": -1,
    "error": -1,
    "vlan_mask": 1,
    "sport_mask": 1,
    "payload_length_mask": 1,
    "tcp_mss_mask": 1,
    "tcp_wscale_mask": 1,
    "tcp_tsval_mask": 1,
    "tcp_sack_left_mask": 1,
    "icmp_type_mask": 1,
    "dns_id_mask": 1,
    "time": 0,
    "length": 0,
    "offset": 0,
    "ethertype": 0,
    "vlan": 0,
    "ip_version": 0,
    "ip_ttl": 0,
    "ip_id": 0,
    "sport": 0,
    "dport": 0,
    "payload_length": 0,
    "tcp_seq": 0,
    "tcp_ack": 0,
    "tcp_window": 0,
    "tcp_mss": 0,
    "tcp_wscale": 0,
    "tcp_tsval": 0,
    "tcp_tsecr": 0,
    "tcp_sack_left": 0,
    "tcp_sack_right": 0,
    "icmp_type": 0,
    "icmp_code": 0,
    "dns_id": 0,
    "dns_response": 0,
    "tunnel": -1,
    "vni": 0,
    "vni_mask": 1,
    "inner_src": -1,
    "inner_dst": -1,
    "inner_proto": -1,
    "inner_sport": 0,
    "inner_sport_mask": 1,
    "inner_dport": 0,
    "mpls_label": 0,
    "mpls_label_mask": 1,
    "pppoe_session": 0,
    "pppoe_session_mask": 1,
    "sctp_vtag": 0,
    "sctp_vtag_mask": 1,
    "igmp_type": 0,
    "igmp_type_mask": 1,
    "igmp_group": -1,
    "tls_type": -1,
    "tls_version": -1,
    "tls_sni": -1,
    "tls_alpn": -1,
    "tls_cipher": 0,
    "tls_cipher_mask": 1,
    "http_method": -1,
    "http_uri": -1,
    "http_host": -1,
    "http_status": 0,
    "http_status_mask": 1,
    "dns_offset": 0,
    "dns_offset_mask": 1,
    "quic_version": 0,
    "quic_version_mask": 1,
    "quic_dcid": -1,
    "quic_scid": -1,
}
"""What "not there" looks like in each part of the table that the loop writes."""
