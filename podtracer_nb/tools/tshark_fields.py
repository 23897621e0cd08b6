"""tshark's `-T fields` as a table: each field with the type that tshark itself says it has (`tshark -G fields`).

That list is 20 MB and takes half a second, so it is asked for only where a field is none of the usual ones, once for
each version, and kept in the user's cache directory. Which type becomes which dtype is in one table below; what cannot
be read as its type (a number that is printed as text) stays text.
"""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podtracer_nb import execution
from podtracer_nb.tools.table import Column, Parsed, Table, Text, Unreadable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AGGREGATOR", "FIELDS", "Gather", "moment", "occurrence", "parse"]

AGGREGATOR = "\x1e"
"""What stands between a field's several values in one packet: ASCII's record separator, which no value holds."""

FIELDS = Table(
    "fields",
    (
        Column("FIELD", "object", "", "each field of -e by its name; the first of several values in a packet"),
        Column("FIELD.all", "object", "", "all its values, a list; there where any packet has several", optional=True),
    ),
)

_CHUNK = 1 << 20  # bytes of lines that are read at a time
_SECONDS = 30.0  # seconds that tshark may take to list its fields
# Int32 stands for what needs no more bits than a float has; in the table it is Int64 as well.
_DTYPES = {
    **{f"FT_{sign}INT{bits}": "Int32" for sign in ("U", "") for bits in (8, 16, 24, 32)},
    **{f"FT_{sign}INT{bits}": "Int64" for sign in ("U", "") for bits in (40, 48, 56)},
    **{"FT_INT64": "Int64", "FT_FRAMENUM": "Int32"},
    "FT_UINT64": "UInt64",
    "FT_BOOLEAN": "boolean",
    **dict.fromkeys(("FT_FLOAT", "FT_DOUBLE", "FT_RELATIVE_TIME"), "Float64"),
    "FT_ABSOLUTE_TIME": "datetime64[ns, UTC]",
}
# In 4.0 and before it is a relative time (since the epoch), as it was printed.
_EPOCH = "frame.time_epoch"
# The usual ones, the same in every version.
_USUAL = {
    **dict.fromkeys((
        "frame.number", "frame.len", "frame.cap_len", "ip.proto", "ip.ttl", "ip.len", "ip.id", "ip.version",
        "ipv6.nxt", "ipv6.hlim", "eth.type", "vlan.id", "tcp.srcport", "tcp.dstport", "tcp.len", "tcp.stream",
        "tcp.seq", "tcp.seq_raw", "tcp.ack", "tcp.ack_raw", "tcp.flags", "tcp.window_size", "tcp.window_size_value",
        "udp.srcport", "udp.dstport", "udp.length", "udp.stream", "icmp.type", "icmp.code", "dns.id", "dns.qry.type",
        "dns.flags.rcode", "http.response.code",
    ), "Int32"),
    **dict.fromkeys(("frame.time_delta", "frame.time_delta_displayed", "frame.time_relative", "tcp.time_delta",
                     "tcp.time_relative", "tcp.analysis.ack_rtt", "tcp.analysis.initial_rtt", "dns.time", "http.time"),
                    "Float64"),
    **dict.fromkeys(("tcp.flags.syn", "tcp.flags.ack", "tcp.flags.fin", "tcp.flags.reset", "dns.flags.response"),
                    "boolean"),
    **dict.fromkeys(("ip.src", "ip.dst", "ip.addr", "ipv6.src", "ipv6.dst", "eth.src", "eth.dst", "frame.protocols",
                     "dns.qry.name", "http.host", "http.request.method", "http.request.uri", "tls.handshake."
                     "extensions_server_name"), "str"),
    _EPOCH: "datetime64[ns, UTC]",
    "frame.time": "datetime64[ns, UTC]",
}  # fmt: skip


def occurrence(arguments: Sequence[str]) -> str | None:
    """Return which of a field's values the user wants: f(irst), l(ast), a(ll)."""
    found = [re.fullmatch(r"(?:-E)?occurrence=(\w)", word) for word in arguments]
    return next((each[1] for each in reversed(found) if each), None)


def moment(seconds: object) -> int | None:
    """Return seconds since the epoch, as tshark prints them, in nanoseconds; None for what is none.

    Examples
    --------
    >>> moment("1750000000.000002000"), moment(None)
    (1750000000000002000, None)
    """
    if not isinstance(seconds, str):
        return None
    whole, _, fraction = seconds.partition(".")
    if not (whole.isdigit() and (fraction or "0").isdigit()):
        return None
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def parse(names: tuple[str, ...], text: Text) -> Parsed:
    """Read the lines of `-T fields` with the fields `names`, in that order."""
    return _parsed(names, _frame(text.stdout[: text.stdout.rfind("\n") + 1], names, dtypes(names)))


def _parsed(names: Sequence[str], frame: pd.DataFrame) -> Parsed:
    return Parsed(((FIELDS, frame),), {"fields": {name: str(frame[name].dtype) for name in names}})


class Gather:
    r"""Reads the lines while tshark writes them: reading takes a tenth of what dissecting does, and another core.

    Examples
    --------
    >>> lines = Gather(("frame.number", "ip.src"))
    >>> lines.add(b"1\t10.0.0.1\n2\t10.0.0.2\n3\t")
    >>> lines.parsed().tables[0][1]["frame.number"].tolist()
    [1, 2]
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._kinds: dict[str, str] = {}
        self._frames: list[pd.DataFrame] = []
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take more of the output."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _CHUNK:
            self._read()

    def _read(self) -> None:
        data = b"".join(self._waiting)
        end = data.rfind(b"\n") + 1
        if end:
            self._kinds = self._kinds or dtypes(self.names)
            self._frames.append(_frame(data[:end].decode("utf-8", errors="replace"), self.names, self._kinds))
        # Without its line feed the last line is not whole yet; at the end it was cut.
        self._waiting, self._size = [data[end:]], len(data) - end

    def parsed(self) -> Parsed | None:
        """Return all of it, or None where a later part made a column something else than an earlier one had it."""
        import pandas as pd

        self._read()
        if not self._frames:
            return parse(self.names, Text((), ""))
        first = self._frames[0]
        if any((each[name].dtype != first[name].dtype) for each in self._frames for name in self.names):
            return None
        for name in {f"{name}.all" for each in self._frames for name in self.names if f"{name}.all" in each}:
            for each in self._frames:
                if name not in each:
                    of = name.removesuffix(".all")
                    lists = [
                        [value] if there else None for value, there in zip(each[of], each[of].notna(), strict=True)
                    ]
                    each.insert(list(each.columns).index(of) + 1, name, pd.Series(lists, dtype="object"))
        return _parsed(self.names, pd.concat(self._frames, ignore_index=True))


def _frame(stdout: str, names: Sequence[str], kinds: dict[str, str]) -> pd.DataFrame:
    """Read whole lines."""
    import pandas as pd

    read = _columns(stdout, [kinds[name] for name in names])
    data: dict[str, Any] = {}
    for at, name in enumerate(names):
        values = read[at]
        # Where the C parser read numbers there is one in each packet.
        parts = _several(values) if AGGREGATOR in stdout and not pd.api.types.is_numeric_dtype(values) else None
        if parts is None:
            data[name] = _typed(values, kinds[name])
        else:
            data[name] = _typed(pd.Series([each[0] if each else None for each in parts], dtype="object"), kinds[name])
            data[f"{name}.all"] = _lists(parts, kinds[name])
    return pd.DataFrame(data, index=pd.RangeIndex(len(read)))


def _columns(stdout: str, kinds: list[str]) -> pd.DataFrame:
    """Return the columns: as numbers where they can be nothing else, and else as text."""
    import pandas as pd

    if not stdout:
        return pd.DataFrame(columns=range(len(kinds)), dtype="object")
    # An integer beside a missing one becomes a float on the way, which holds 53 bits; wider ones come as text.
    form: dict[Any, Any] = {at: "object" for at, kind in enumerate(kinds) if kind not in ("Int32", "Float64")}
    try:
        # tshark writes a tab or a line feed inside a value as \t, \n.
        return pd.read_csv(
            io.StringIO(stdout), sep="\t", header=None, names=list(range(len(kinds))), dtype=form, quoting=3,
            na_values=[""], keep_default_na=False, skip_blank_lines=False, index_col=False, low_memory=False,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise Unreadable(f"its lines have not {len(kinds)} fields ({error})") from error


def _several(values: Any) -> list[list[str] | None] | None:
    """Return each packet's values where any packet has several, else None."""
    if AGGREGATOR not in "".join(values.dropna()):
        return None
    return [each.split(AGGREGATOR) if isinstance(each, str) else None for each in values]


def _typed(values: Any, dtype: str) -> Any:
    """Return a field's values with their type; as text where they are not of it."""
    import pandas as pd

    try:
        if dtype in ("Int32", "Int64", "UInt64"):
            return _integers(values, "UInt64" if dtype == "UInt64" else "Int64")
        if dtype == "Float64":
            return pd.to_numeric(values).astype("Float64")
        if dtype == "boolean":
            return values.map(_BOOLEANS.__getitem__, na_action="ignore").astype("boolean")
        if dtype.startswith("datetime64"):
            return _times(values)
    except (ValueError, TypeError, KeyError, OverflowError):
        pass  # printed as text: BASE_CUSTOM, a value with its name
    return values.astype("str")


_BOOLEANS = {"0": False, "1": True, "False": False, "True": True}


def _integers(values: Any, dtype: str) -> Any:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        return values.astype(dtype)
    return values.map(_number, na_action="ignore").astype(dtype)


@functools.lru_cache(maxsize=4096)
def _number(text: str) -> int:
    return int(text, 0) if text.startswith(("0x", "-0x")) else int(text)


def _times(values: Any) -> Any:
    import numpy as np
    import pandas as pd

    first = values.first_valid_index()
    if first is not None and moment(values[first]) is None:
        form = "%b %d, %Y %H:%M:%S.%f UTC" if str(values[first]).endswith("UTC") else "ISO8601"
        tidied = values.str.replace(r"\s+", " ", regex=True)
        return pd.to_datetime(tidied, format=form, utc=True).astype("datetime64[ns, UTC]")
    read = _same_form(values)
    if read is None:
        nat = np.iinfo("int64").min
        each = [moment(text) if isinstance(text, str) else nat for text in values]
        if None in each:
            raise ValueError("it is no time")
        read = np.array(each, dtype="int64")
    return pd.Series(read.view("datetime64[ns]")).dt.tz_localize("UTC")


def _same_form(values: Any) -> Any:
    """Return times as integers where all are ten digits, a point and nine digits; else None."""
    import numpy as np

    try:
        digits = values.to_numpy().astype("S20")
    except UnicodeEncodeError:
        return None
    table = digits.view(np.uint8).reshape(len(digits), 20)
    numbers = np.delete(table, 10, axis=1) - ord("0")
    if len(values) == 0 or (table[:, 10] != ord(".")).any() or (numbers > 9).any():  # noqa: PLR2004  a digit
        return None
    if max(map(len, values)) > 20:  # noqa: PLR2004
        return None
    return numbers @ (10 ** np.arange(18, -1, -1, dtype=np.int64))


def _lists(parts: list[list[str] | None], dtype: str) -> Any:
    """Return each packet's values as a list, typed as the field is."""
    import pandas as pd

    flat = _typed(pd.Series([each for part in parts if part for each in part], dtype="object"), dtype).tolist()
    values = iter(flat)
    return pd.Series([[next(values) for _ in part] if part else None for part in parts], dtype="object")


def dtypes(names: Sequence[str]) -> dict[str, str]:
    """Return the dtype of each field."""
    found = {name: _USUAL.get(name, "str" if name.startswith("_ws.col.") else "") for name in names}
    unknown = [name for name, dtype in found.items() if not dtype]
    if unknown:
        listed = _listed(unknown)
        found.update({name: listed.get(name, "str") for name in unknown})
    return found


def _listed(names: Sequence[str]) -> dict[str, str]:
    """Look fields up in tshark's own list; one that stands there with several types is text."""
    found: dict[str, str] = {}
    listed = _list()
    for name in names:
        kinds, key, at = set(), b"\n" + name.encode() + b"\t", 0
        while (at := listed.find(key, at)) >= 0:
            at += len(key)
            kinds.add(_DTYPES.get(bytes(listed[at : listed.find(b"\n", at)]).decode(), "str"))
        if kinds:
            found[name] = kinds.pop() if len(kinds) == 1 else "str"
    return found


@functools.cache
def _list() -> bytes | mmap.mmap:
    """Return this tshark's fields with their types, a line each; empty where they cannot be had."""
    path = shutil.which("tshark", path=execution.search_path())
    if path is None:
        return b""
    status = Path(path).resolve().stat()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "podtracer_nb"
    kept = folder / f"tshark-fields-{status.st_mtime_ns:x}-{status.st_size:x}"
    with contextlib.suppress(OSError, ValueError), kept.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        done = subprocess.run(
            [path, "-G", "fields"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return b""
    # F, name, abbreviation, type, parent, base, bitmask, description: tshark(1), -G
    rows = (line.split(b"\t", 4) for line in done.stdout.split(b"\n") if line.startswith(b"F\t"))
    lines = b"\n" + b"\n".join(b"\t".join(row[2:4]) for row in rows) + b"\n"
    with contextlib.suppress(OSError):  # without a directory of the user's own it is asked for again next time
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=folder, prefix="tshark-fields-")
        with os.fdopen(descriptor, "wb") as new:
            new.write(lines)
        Path(written).replace(kept)
    return lines
