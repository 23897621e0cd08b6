"""Captures larger than memory: a capture, or several, to a folder of Parquet files, in constant memory.

One thread dissects while another writes what was dissected before; for most of the time neither holds Python's lock.
A part is written under a name that nobody reads, and gets its own when it is whole: whenever this ends, and however,
what has a part's name is a valid Parquet file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from podtracer_nb.packets import reader as _reader
from podtracer_nb.packets.source import Source

__all__ = ["FolderError", "MissingPackage", "Progress", "Written", "write"]

ROW_GROUP = 1 << 18
"""Rows of a row group, at most: fewer of wider rows, and where very many addresses or names are new."""

PART = 4 * ROW_GROUP
"""Rows of a part, at most."""

_BESIDE = 0.25  # how much of a group is dissected while the one before is written
_TEMPORARY = ".podtracer-part.tmp"
_HEAD = "part-000000.parquet"
_SCHEMA = "ARROW:schema"
_ATTRS = b"PANDAS_ATTRS"  # where pandas looks for a frame's attrs
# Dictionaries are written whole into every row group, so that columns of one dictionary have the same categories.
_DICTIONARY_PAGE = 1 << 28
# Memory has to stay constant, however many addresses and names come: a row group ends earlier the more of this many
# bytes they take, and a table with more entries than that begins again with the next one.
_DICTIONARIES = 1 << 24
_RENEW = 1 << 12

# As measured on mixed packets: numbers, times and offsets grow in small steps, and all else is written plain. Snappy
# makes 37 bytes a packet at nine tenths of the speed of none (63 bytes), which nearly every reader of Parquet takes;
# LZ4 is the same, Zstandard 28 bytes at eight tenths.
_STEPS = ("frame", "time", "offset")
_COMPRESSION = "snappy"


class MissingPackage(ImportError):
    """A package that is needed for this is not installed; the message says how to have it."""


class FolderError(ValueError):
    """The folder cannot be written into: the message says why."""


@dataclass(frozen=True)
class Progress:
    """How far the writing is.

    Attributes
    ----------
    packets, bytes
        Read so far, bytes of the capture.
    total
        Bytes of all captures, or None where that cannot be known.
    """

    packets: int
    bytes: int
    total: int | None


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    folder
        Where.
    parts
        The files with rows, in order.
    packets
        Rows in all of them.
    bytes
        Of the capture, read.
    interrupted
        Whether an interrupt ended it before the capture's end; the parts have all that was read until then.
    info
        What is known of the capture: see `Reader.capture_info`.
    """

    folder: Path
    parts: tuple[Path, ...]
    packets: int
    bytes: int
    interrupted: bool
    info: dict[str, Any]


def write(
    source: Source | list[Source],
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **selection: Any,
) -> Written:
    """Write a capture into a folder of Parquet files.

    `part-000000.parquet` has no rows: it has the schema and what is known of the capture, and is the one whose
    metadata readers of the whole folder take. The others have up to 1,048,576 rows each, in row groups of up to
    262,144: of fewer where more layers are asked for or very many addresses and names come, for memory stays constant.

    Parameters
    ----------
    source
        As for `read`.
    folder
        Made where it is not there.
    overwrite
        Let a folder that is not empty be written into; parts of another dataset in it are removed first.
    progress
        Called with how far it is, after each row group.
    **selection
        As for `Reader`: count, filter, start, stop, sample, seed and its other keywords.

    Returns
    -------
    Written
        An interrupt ends the writing early, and `interrupted` says so; nothing that was read is lost.

    Raises
    ------
    FolderError
        The folder is not empty, or no folder.
    MissingPackage
        pyarrow is not installed.
    FormatError, FilterError, OSError, ValueError
        As `read` does; OSError also when the disk is full. Parts that were whole by then stay.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from podtracer_nb.packets import parquet
    >>> header = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 e4000000")
    >>> packet = bytes.fromhex("01000000 00000000 00000000 3c000000")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = parquet.write(header + 3 * packet, folder)
    ...     frame = pd.read_parquet(folder)
    >>> written.packets, frame.index.tolist(), frame["length"].tolist()
    (3, [1, 2, 3], [60, 60, 60])
    """
    _require_pyarrow()
    folder = Path(folder)
    with _reader.Reader(source, threads=1, **selection) as capture:
        capture.begin()  # what is no capture leaves no folder behind
        _prepare(folder, overwrite)
        try:
            writing = _Writing(capture, folder, progress)
            interrupted = writing.run()
        finally:
            (folder / _TEMPORARY).unlink(missing_ok=True)
        return Written(
            folder, tuple(writing.parts), capture.packets, capture.bytes, interrupted, writing.info()["capture"]
        )


class _Writing:
    """One capture's way into a folder."""

    def __init__(self, capture: _reader.Reader, folder: Path, progress: Callable[[Progress], None] | None) -> None:
        from podtracer_nb.packets.arrow import ArrowTables, schema_of

        self._capture = capture
        self._folder = folder
        self._progress = progress
        self._schema = schema_of(capture.frame(), capture.may_have_comments)
        self._groups = capture.row_groups(ROW_GROUP, _DICTIONARIES)
        self._tables = ArrowTables(self._groups.dictionaries)
        self._writer: Any = None
        self._file: Any = None
        self._rows_here = 0
        self._filling = self._interrupted = False
        self._failure: BaseException | None = None
        self.parts: list[Path] = []
        # One table is being written, and one filled: what is asked for waits until there is room for it.
        self._work: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._free: queue.Queue[BaseException | None] = queue.Queue()
        self._free.put(None)

    def run(self) -> bool:
        """Write all; return whether it was interrupted."""
        self._leave_head()
        thread = threading.Thread(target=self._write_on, name="podtracer-parquet", daemon=True)
        thread.start()
        try:
            with self._interrupts_wait():
                more = True
                while more and not self._interrupted:
                    # Beside the writing only a part, so that two groups are never both there in full; then the rest.
                    more = self._fill(_BESIDE)
                    self._wait()
                    if more and not self._interrupted:
                        more = self._fill(1.0)
                    self._hand_over()
        except OSError as error:
            self._failure = error
        finally:
            self._work.put(None)
            thread.join()
        with contextlib.suppress(queue.Empty):
            while True:
                self._failure = self._free.get_nowait() or self._failure
        self._leave_head(quietly=self._failure is not None)
        if self._failure is not None:
            raise self._failure
        return self._interrupted

    def _fill(self, part: float) -> bool:
        """Dissect until a part of the group is there; return whether to go on."""
        try:
            self._filling = True
            return self._groups.fill(part)
        except KeyboardInterrupt:
            self._interrupted = True
        except OSError as error:
            self._failure = error
        finally:
            self._filling = False
        return False

    def _wait(self) -> None:
        """Wait till the rows handed over last are written."""
        wrong = self._free.get()
        if wrong is not None:
            raise wrong
        self._groups.release()

    @contextlib.contextmanager
    def _interrupts_wait(self) -> Iterator[None]:
        """Let an interrupt that comes while rows are handed over wait till they are; a second one waits for nothing."""

        def note(_number: int, _frame: Any) -> None:
            at_once = self._filling or self._interrupted
            self._interrupted, self._filling = True, False
            if at_once:
                raise KeyboardInterrupt

        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    before[number] = signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def info(self) -> dict[str, Any]:
        """Return the provenance as it stands in `attrs`, its paths absolute: the folder may be read from anywhere."""
        info = self._capture.capture_info()
        for each in (info, *info.get("files", ())):
            if each.get("path") is not None and "://" not in each["path"]:
                each["path"] = str(Path(each["path"]).absolute())
        return {"capture": info}

    def _hand_over(self) -> None:
        """Give the rows to the other thread, which is done with those before."""
        rows, memory, first = self._groups.rows, self._groups.memory, self._groups.first
        if not rows:
            self._free.put(None)
            return
        table = self._tables.table(
            self._schema, memory, rows, first, self._capture.comments, self._capture.decapsulated
        )
        if self._groups.turn(_RENEW):
            self._tables.forget()
        self._work.put((table, json.dumps({"podtracer": self.info()})))
        if self._progress is not None:
            self._progress(Progress(self._capture.walked, self._capture.bytes_in, self._capture.total))

    # ------------------------------------------------------------------------------------- in the other thread

    def _write_on(self) -> None:
        attrs = "{}"
        try:
            while (work := self._work.get()) is not None:
                table, attrs = work
                self._write(table, attrs)
                del table, work
                self._free.put(None)
            self._finish_part(attrs)
        except BaseException as error:  # noqa: BLE001 - raised again where the rows come from
            self._abandon_part()
            self._free.put(error)
            while self._work.get() is not None:
                pass

    def _write(self, table: Any, attrs: str) -> None:
        import pyarrow as pa

        if self._writer is None:
            # Opened here, so that what goes wrong has Python's own words and the file's name.
            self._file = (self._folder / _TEMPORARY).open("wb")
            self._writer = self._open(self._file)
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._rows_here += table.num_rows
        # What was encoded last is free, but not yet the kernel's again: 20 MiB where there are many addresses.
        pa.default_memory_pool().release_unused()
        if self._rows_here + ROW_GROUP > PART:
            self._finish_part(attrs)

    def _open(self, file: Any) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        categories = [field.name for field in self._schema if pa.types.is_dictionary(field.type)]
        return parquet.ParquetWriter(
            file,
            self._schema,
            compression=_COMPRESSION,
            use_dictionary=categories,
            column_encoding={name: "DELTA_BINARY_PACKED" for name in _STEPS if name in self._schema.names},
            write_statistics=[name for name in _STEPS if name in self._schema.names],
            dictionary_pagesize_limit=_DICTIONARY_PAGE,
            store_schema=False,  # it is added at the end, when more is known: see `_finish_part`
        )

    def _finish_part(self, attrs: str) -> None:
        """Close the part, and give it its name: from then on it is there."""
        if self._writer is None:
            return
        # Readers take a schema's metadata from Arrow's own schema, which is a value among the file's metadata.
        schema = self._schema.with_metadata({**self._schema.metadata, _ATTRS: attrs.encode()})
        self._writer.add_key_value_metadata(schema.metadata)
        self._writer.add_key_value_metadata({_SCHEMA: base64.b64encode(schema.serialize().to_pybytes()).decode()})
        self._writer.close()
        self._file.close()
        path = self._folder / f"part-{len(self.parts) + 1:06}.parquet"
        (self._folder / _TEMPORARY).replace(path)
        self.parts.append(path)
        self._writer = self._file = None
        self._rows_here = 0

    def _abandon_part(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # or it would try to write its end when it is forgotten
        if self._file is not None:
            with contextlib.suppress(OSError):  # what is still buffered finds no more room than what failed before it
                self._file.close()
        self._writer = self._file = None

    def _leave_head(self, quietly: bool = False) -> None:
        """Write the part without rows: what is known of the capture now."""
        import pyarrow as pa
        from pyarrow import parquet

        attrs = json.dumps({"podtracer": self.info()}).encode()
        schema = self._schema.with_metadata({**self._schema.metadata, _ATTRS: attrs})
        temporary = self._folder / f"{_TEMPORARY}.head"
        try:
            with temporary.open("wb") as file:
                parquet.write_table(pa.Table.from_batches([], schema), file)
            temporary.replace(self._folder / _HEAD)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if not quietly:
                raise


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingPackage(
            "Parquet needs pyarrow, which is not installed: pip install 'podtracer-nb[large]'"
        ) from None


def _prepare(folder: Path, overwrite: bool) -> None:
    """Have an empty folder, or one that may be written into."""
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file: a capture becomes a folder of Parquet files")
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(path.name for path in folder.iterdir())
    if there and not overwrite:
        raise FolderError(
            f"{folder} is not empty ({there[0]}{', …' if len(there) > 1 else ''}): name another folder, or allow it "
            "with overwrite=True (--overwrite)"
        )
    for name in there:
        if (name.startswith("part-") and name.endswith(".parquet")) or name.startswith(_TEMPORARY):
            (folder / name).unlink()


def parts(folder: str | os.PathLike[str]) -> Sequence[Path]:
    """Return the files with rows of a folder that `write` left, in order; without the one that has none."""
    return [path for path in sorted(Path(folder).glob("*.parquet")) if path.name != _HEAD]


def attrs(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a Parquet file, or a folder of them, says of where its rows come from: a frame's `attrs`."""
    _require_pyarrow()
    from pyarrow import parquet

    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        if not files:
            raise FolderError(f"{path} has no Parquet files")
        path = files[0]
    metadata = parquet.read_schema(path).metadata or {}
    found: dict[str, Any] = json.loads(metadata.get(_ATTRS, b"{}"))
    return found


def empty(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the frame of a Parquet file without its rows."""
    _require_pyarrow()
    from pyarrow import parquet

    frame: pd.DataFrame = parquet.read_schema(path).empty_table().to_pandas()
    return frame
