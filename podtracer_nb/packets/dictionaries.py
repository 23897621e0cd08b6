"""What the dissector's codes stand for: growing dictionaries of addresses, names and words, and their text."""

from __future__ import annotations

import functools
import itertools
import secrets
import socket
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from podtracer_nb.packets.words import word

__all__ = ["Dictionaries"]

Array = np.ndarray[Any, Any]
Changed = dict[str, Array]

# One record adds at most five addresses, two MAC addresses, one interface, and one name and four texts of 255 bytes.
_MARGIN = 8
_NAME_BYTES = 256
_TEXT_BYTES = 2048  # of all texts of one record
_FIRST_SLOTS = 2048
_IPV6 = 6
_DIGITS = 9
_NAMED = 1 << 40  # from here on an interface's number stands for a name
_DOT = ord(".")
_SMALL = 64
_PLAIN = np.array([chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-_") for byte in range(256)])

# The dictionary that a column's codes belong to; every other category has a vocabulary of its own.
DICTIONARY_OF = {
    "src": "addresses",
    "dst": "addresses",
    "eth_src": "macs",
    "eth_dst": "macs",
    "dns_qname": "names",
    "interface": "interfaces",
    "inner_src": "addresses",
    "inner_dst": "addresses",
    "igmp_group": "addresses",
    **dict.fromkeys(("tls_sni", "tls_alpn", "http_method", "http_uri", "http_host", "quic_dcid", "quic_scid"), "texts"),
}

OPEN_VOCABULARIES = ("proto", "tcp_flags", "dns_qtype")
"""The vocabularies that can outgrow 8-bit codes."""

# How far narrow codes reach: two bytes for the tables of addresses and names, one for the others.
_NARROW_CODES = {
    "addresses": 32_000,
    "macs": 32_000,
    "names": 32_000,
    "interfaces": 120,
    "texts": 1 << 30,
    "words": 120,
}

_RENEWED = ("addresses", "macs", "names", "texts")
_BYTES_OF_ENTRY, _COPIES_OF_TEXT = 500, 6  # as measured


class Dictionaries:
    """The tables that the loop interns into, their growth, and the text of every code.

    Parameters
    ----------
    engine
        The module `_dissect`, compiled or interpreted.
    """

    def __init__(self, engine: ModuleType) -> None:
        # New secrets for every capture: whoever made the bytes cannot know which of them will collide.
        self._engine = engine
        self.addresses = engine.Addresses(_secret(), _secret())
        self.macs = engine.Numbers(_secret(), _secret())
        self.interfaces = engine.Numbers(_secret(), _secret())
        keys = np.array([secrets.randbits(32) for _ in range(_NAME_BYTES // 4)], np.uint64)
        self.names = engine.Names(_secret(), _secret(), keys.data, np.zeros(_NAME_BYTES, np.uint8).data)
        self._vocabularies: dict[str, int] = engine.VOCABULARIES
        self.words = np.zeros((len(self._vocabularies), 65536), np.int16)
        self.word_order = np.zeros((len(self._vocabularies), 65536), np.int32)
        self.word_counts = np.zeros(len(self._vocabularies), np.int32)
        self._values: dict[str, dict[str, Array]] = {}
        self.texts_table = engine.Names(_secret(), _secret(), keys.data, np.zeros(_NAME_BYTES, np.uint8).data)
        self._tables = {
            "addresses": self.addresses,
            "macs": self.macs,
            "interfaces": self.interfaces,
            "names": self.names,
            "texts": self.texts_table,
        }
        self._slots = dict.fromkeys(self._tables, 0)
        self._texts: dict[str, list[str]] = {}
        self._dtypes: dict[str, pd.CategoricalDtype] = {}
        self._text_limits: dict[str, int] = {}
        self.wide: set[str] = set()
        self._interface_names: dict[str, int] = {}
        for table in self._slots:
            self._grow(table, _FIRST_SLOTS)

    def copy(self) -> Dictionaries:
        """Return the same dictionaries again, for another dissector: each goes its own way from here."""
        new = Dictionaries(self._engine)
        new.wide = set(self.wide)
        for table, values in self._values.items():
            new._tables[table].resume(self._tables[table])
            new._values[table] = values
            new._grow(table, self._slots[table])
        # Only what is in use: most of these arrays' pages have never been touched.
        for place, count in enumerate(self.word_counts.tolist()):
            words = self.word_order[place, :count]
            new.word_order[place, :count] = words
            new.words[place, words] = np.arange(1, count + 1)
            new.word_counts[place] = count
        return new

    def counts(self) -> list[int]:
        """Return how many entries each table and each vocabulary has, in the order that `Dissector.turn` notes them."""
        return [table.count for table in self._tables.values()] + self.word_counts.tolist()

    def absorb(self, others: Sequence[Dictionaries], learned: Sequence[Sequence[int]]) -> list[Changed]:
        """Take what copies of these dictionaries have learned, in the order in which one alone would have learned it.

        Parameters
        ----------
        others
            The copies. Nothing may have been added here since they were made.
        learned
            In that order: which of them, which table or vocabulary by its place in `counts`, and its entries from … to.

        Returns
        -------
        list of dict
            For each of them, by the name of a table or vocabulary that grew there: the code here of each code there.
        """
        changed: list[Changed] = [{} for _ in others]
        tables, vocabularies = list(self._tables), {place: name for name, place in self._vocabularies.items()}
        room = dict.fromkeys(tables, 0)  # at least
        for which, place, start, stop in learned:
            other = others[which]
            is_table = place < len(tables)
            name = tables[place] if is_table else vocabularies[place - len(tables)]
            if name not in changed[which]:
                changed[which][name] = np.arange(other.counts()[place], dtype=np.int32)
            codes = changed[which][name]
            if not is_table:
                for code in range(start, stop):
                    codes[code] = self._word(place - len(tables), other.word_order[place - len(tables), code])
                continue
            done = start
            while done < stop:
                if room[name] < stop - done:
                    room[name] = self._room(name)
                until = min(stop, done + room[name])
                self._tables[name].take(other._tables[name], done, until, codes)
                room[name] -= until - done
                done = until
                if done < stop:
                    self.make_room()
        self.make_room()
        return changed

    def _room(self, table: str) -> int:
        """Return how many entries of any size there is room for."""
        count = self._tables[table].count
        room = int(self._tables[table].limit - count)
        if table in self._text_limits:
            left = int(self._text_limits[table] - self._values[table]["starts"][count])
            room = min(room, left // _NAME_BYTES)
        return max(0, room)

    def _word(self, vocabulary: int, index: int) -> int:
        if not self.words[vocabulary, index]:
            count = int(self.word_counts[vocabulary])
            self.word_order[vocabulary, count] = index
            self.word_counts[vocabulary] = self.words[vocabulary, index] = count + 1
        return int(self.words[vocabulary, index]) - 1

    def make_room(self) -> None:
        """Make room for at least one more record in every table, widening codes where narrow ones are used up."""
        for table, slots in self._slots.items():
            count = self._tables[table].count
            if table not in self.wide and count > _NARROW_CODES[table] - _MARGIN:
                self.wide.add(table)
                self._grow(table, slots)
            if count > self._tables[table].limit - _MARGIN or self._text_is_full(table):
                self._grow(table, slots * 2)
        if max(map(self.count, OPEN_VOCABULARIES)) > _NARROW_CODES["words"] - _MARGIN:
            self.wide.add("words")

    def renew(self, most: int) -> bool:
        """Let the tables of addresses and names that have more than `most` entries begin again; return whether any did.

        No row may be there whose codes belong to the old ones, and the dissector has to be told: `Dissector.renew`.
        """
        renewed = False
        for table in _RENEWED:
            if self._tables[table].count <= most:
                continue
            if table in {"names", "texts"}:
                keys = np.array([secrets.randbits(32) for _ in range(_NAME_BYTES // 4)], np.uint64)
                new = self._engine.Names(_secret(), _secret(), keys.data, np.zeros(_NAME_BYTES, np.uint8).data)
            else:
                new = (self._engine.Addresses if table == "addresses" else self._engine.Numbers)(_secret(), _secret())
            self._tables[table] = new
            setattr(self, "texts_table" if table == "texts" else table, new)
            for known in (self._values, self._texts, self._dtypes):
                known.pop(table, None)
            self._grow(table, _FIRST_SLOTS)
            renewed = True
        return renewed

    @property
    def memory(self) -> int:
        """About how many bytes the addresses and names take, here and as text, in Python and in Arrow."""
        entries = sum(int(self._tables[table].count) for table in _RENEWED)
        texts = sum(int(self._values[table]["starts"][self._tables[table].count]) for table in ("names", "texts"))
        return entries * _BYTES_OF_ENTRY + texts * _COPIES_OF_TEXT

    def _text_is_full(self, table: str) -> bool:
        if table not in self._text_limits:
            return False
        start = self._values[table]["starts"][self._tables[table].count]
        return bool(self._text_limits[table] - start < _TEXT_BYTES)

    def room_for_interface(self) -> bool:
        """Return whether one more interface can be numbered without `make_room`."""
        return bool(self.interfaces.count < self.interfaces.limit)

    def interface(self, name: str) -> int:
        """Return the code of an interface, by its name or number."""
        number = (
            int(name) if name.isdecimal() and name.isascii() and len(name) <= _DIGITS and name == str(int(name)) else -1
        )
        if number < 0:
            number = self._interface_names.setdefault(name, _NAMED + len(self._interface_names))
        return int(self.interfaces.intern(number))

    def count(self, name: str) -> int:
        """Return how many different values the column `name` may refer to so far."""
        if name in DICTIONARY_OF:
            return int(self._tables[DICTIONARY_OF[name]].count)
        return int(self.word_counts[self._vocabularies[name]])

    def dtype(self, name: str) -> pd.CategoricalDtype:
        """Return the dtype of the column `name`: every value so far, in order of arrival."""
        key = DICTIONARY_OF.get(name, name)
        known = self._dtypes.get(key)
        if known is None or len(known.categories) != self.count(name):
            texts = self.texts(name)
            known = _small_dtype(tuple(texts)) if len(texts) <= _SMALL else _dtype(texts)
            self._dtypes[key] = known
        return known

    def texts(self, name: str) -> list[str]:
        """Return the text of every code of the column `name`, in order of arrival."""
        key = DICTIONARY_OF.get(name, name)
        texts = self._texts.setdefault(key, [])
        count = self.count(name)
        if len(texts) < count:
            texts.extend(self._new_texts(key, len(texts), count))
        return texts

    def _new_texts(self, key: str, start: int, stop: int) -> list[str]:
        if key not in self._slots:
            return [word(key, number) for number in self.word_order[self._vocabularies[key], start:stop].tolist()]
        values = self._values[key]
        if key == "addresses":
            six = values["version"][start:stop] == _IPV6
            high, low = values["high"][start:stop], values["low"][start:stop]
            texts = np.empty(stop - start, object)
            texts[~six] = list(map(socket.inet_ntoa, low[~six].astype(">u4").view("V4").tolist()))
            both = np.column_stack((high[six], low[six])).astype(">u8").view("V16").ravel()
            texts[six] = [socket.inet_ntop(socket.AF_INET6, address) for address in both.tolist()]
            listed: list[str] = texts.tolist()
            return listed
        if key == "macs":
            numbers = values["values"][start:stop].astype(">u8").tobytes().hex(":")
            return [numbers[at + 6 : at + 23] for at in range(0, len(numbers), 24)]
        if key == "interfaces":
            named = {number: name for name, number in self._interface_names.items()}
            return [named.get(number, str(number)) for number in values["values"][start:stop].tolist()]
        if key == "names":
            return presentations(values["text"], values["starts"][start : stop + 1])
        return [_shown(each) for each in self._bytes(key, start, stop)]

    def _bytes(self, table: str, start: int, stop: int) -> list[bytes]:
        values = self._values[table]
        bounds = values["starts"][start : stop + 1].tolist()
        text = values["text"][bounds[0] : bounds[-1]].tobytes() if bounds else b""
        return [text[a - bounds[0] : b - bounds[0]] for a, b in itertools.pairwise(bounds)]

    def hexadecimal(self, codes: Sequence[int]) -> list[str]:
        """Return texts that are numbers, in hex."""
        return [self._bytes("texts", code, code + 1)[0].hex() for code in codes]

    def _grow(self, table: str, slots: int) -> None:
        """Give a table `slots` places, of which at most three in eight are used: a second look costs more."""
        entries = slots * 3 // 8
        limit = entries - _MARGIN
        if table not in self.wide:
            limit = min(limit, _NARROW_CODES[table])
        old = self._values.get(table, {})
        into = self._tables[table]
        new: dict[str, Array]
        if table == "addresses":
            new = _larger(old, {"high": (entries, "u8"), "low": (entries, "u8"), "version": (entries, "u1")})
            four, six = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
            into.grow(four.data, six.data, new["high"].data, new["low"].data, new["version"].data, slots, limit)
        elif table in {"names", "texts"}:
            # A table of many long names grows when its text is full.
            size = max(slots * 16, _TEXT_BYTES * 4, 2 * old["text"].size if old else 0)
            new = _larger(old, {"hashes": (entries, "u8"), "starts": (entries + 1, "i8"), "text": (size, "u1")})
            self._text_limits[table] = size - 2 * _NAME_BYTES
            into.grow(
                np.zeros(slots, np.int32).data,
                new["hashes"].data,
                new["starts"].data,
                new["text"].data,
                slots,
                limit,
                self._text_limits[table],
            )
        else:
            new = _larger(old, {"values": (entries, "u8")})
            into.grow(np.zeros(2 * slots, np.uint64).data, new["values"].data, slots, limit)
        self._values[table] = new
        self._slots[table] = slots


def _shown(text: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02x}" for byte in text)  # noqa: PLR2004


def _dtype(texts: Sequence[str]) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(pd.Index(list(texts), dtype="str"))


@functools.lru_cache(maxsize=128)
def _small_dtype(texts: tuple[str, ...]) -> pd.CategoricalDtype:
    """Return the dtype, the same one every time: the few words of a vocabulary come again with every capture."""
    return _dtype(texts)


def _secret() -> int:
    return secrets.randbits(64)


def presentation(labels: bytes) -> str:
    r"""Return a domain name as text, without the trailing dot (RFC 1035 section 5.1); the root is ".".

    Parameters
    ----------
    labels
        The name uncompressed: length, bytes, …, 0.

    Examples
    --------
    >>> from podtracer_nb.packets.dictionaries import presentation
    >>> presentation(b"\3www\6a.\0 bc\3com\0")
    'www.a\\.\\000\\032bc.com'
    """
    dotted = bytearray(labels)
    at = dots = 0
    while labels[at]:
        dotted[at] = _DOT
        dots += 1
        at += 1 + labels[at]
    text = dotted[1:at].decode("latin-1")
    # Most names are letters, digits and hyphens, which need no escape, and have dots only where we put them.
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    if plain.isascii() and plain.isalnum() and text.count(".") == dots - 1:
        return text
    parts = []
    at = 0
    while labels[at]:
        parts.append("".join(map(_escaped, labels[at + 1 : at + 1 + labels[at]])))
        at += 1 + labels[at]
    return ".".join(parts) or "."


def presentations(text: Array, bounds: Array) -> list[str]:
    r"""Return domain names as text: see `presentation`.

    Parameters
    ----------
    text
        The names uncompressed, one after the other, bytes.
    bounds
        Where each of them starts, and where the last one ends.

    Examples
    --------
    >>> import numpy as np
    >>> from podtracer_nb.packets.dictionaries import presentations
    >>> presentations(np.frombuffer(b"\1a\2bc\0\0\1.\0", np.uint8), np.array([0, 6, 7, 10]))
    ['a.bc', '.', '\\.']
    """
    if len(bounds) < 2:  # noqa: PLR2004 - none
        return []
    first = int(bounds[0])
    dotted = text[first : int(bounds[-1])].copy()
    starts = bounds - first
    # Most names are letters, digits and hyphens, which need no escape, and have dots only where we put them.
    strange = ~_PLAIN[dotted]
    at = starts[:-1]
    while at.size:
        sizes = dotted[at].astype(np.int64)
        dotted[at], strange[at] = _DOT, False
        at = (at + 1 + sizes)[sizes != 0]
    odd = np.add.reduceat(strange, starts[:-1], dtype=np.int64) != 0
    shown = dotted.tobytes().decode("latin-1")
    return [
        presentation(text[a + first : b + first].tobytes()) if slow or b - a == 1 else shown[a + 1 : b - 1]
        for (a, b), slow in zip(itertools.pairwise(starts.tolist()), odd.tolist(), strict=True)
    ]


def _escaped(byte: int) -> str:
    if byte in b'.\\"();@$':
        return "\\" + chr(byte)
    return chr(byte) if 0x21 <= byte <= 0x7E else f"\\{byte:03}"  # noqa: PLR2004 - printable ASCII but the space


def _larger(old: dict[str, Array], shapes: dict[str, tuple[int, str]]) -> dict[str, Array]:
    new = {}
    for name, (size, dtype) in shapes.items():
        new[name] = np.zeros(size, dtype)
        if name in old:
            new[name][: old[name].size] = old[name]
    return new
