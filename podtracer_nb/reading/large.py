"""Captures larger than memory: to Parquet, back from it, and as a Dask DataFrame."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podtracer_nb.errors import CaptureError, InputError, PackageMissing
from podtracer_nb.reading.bar import Bar

if TYPE_CHECKING:
    import pandas as pd

    from podtracer_nb.packets import Choice
    from podtracer_nb.packets.parquet import Progress, Written

__all__ = ["read_parquet", "scan", "spoken", "to_parquet"]


@contextlib.contextmanager
def spoken(what: Any) -> Iterator[None]:
    """Turn what the engine raises into errors of one line; `what` is what was read."""
    from podtracer_nb import packets
    from podtracer_nb.packets.parquet import MissingPackage

    try:
        yield
    except MissingPackage as error:
        raise PackageMissing(str(error)) from error
    except packets.FormatError as error:
        raise CaptureError(str(error)) from error
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise CaptureError(f"{error.filename or _name(what)}: {error.strerror or error}") from error


def to_parquet(
    source: Any,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
    count: int | None = None,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
    resync: bool = False,
    filter: str | None = None,
    start: Any = None,
    stop: Any = None,
    sample: float | None = None,
    seed: int = 0,
) -> Written:
    """Write a capture of any size into a folder of Parquet files, in constant memory.

    The folder can be read by pandas, DuckDB, Polars and Dask; `part-000000.parquet` in it has no rows but what is known
    of the capture, the others up to 1,048,576 rows each in row groups of up to 262,144. A part gets its name when it is
    whole, so an interrupt, an error or a full disk leaves valid files only, with all that was read until then but what
    the disk did not take.

    Parameters
    ----------
    source, count, columns, layers, decap, resync, filter, start, stop, sample, seed
        As for `read_pcap`.
    folder
        Made where it is not there. One that has files in it is refused.
    overwrite
        Write into it all the same; parts of another dataset are removed from it.
    progress
        By default a bar with rate and remaining time in a terminal and a notebook, and a plain line every ten seconds
        elsewhere, from the first second on; False for none; or a function that is called with a
        `podtracer_nb.packets.parquet.Progress` (packets; bytes and total in bytes).

    Returns
    -------
    podtracer_nb.packets.parquet.Written
        folder, parts, packets, bytes, and whether it was `interrupted`.

    Raises
    ------
    InputError
        A value that cannot be right, a folder that is not empty.
    CaptureError
        Not a capture; a disk that is full or a folder that cannot be written.
    PackageMissing
        pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import podtracer_nb
    >>> header = bytes.fromhex("d4c3b2a1020004000000000000000000000004000100" + "0000")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     podtracer_nb.to_parquet(header, folder).packets
    0
    """
    from podtracer_nb.packets import Choice, Selection, parquet

    bar = Bar(f"{_name(source)} → {folder}") if progress is None or progress is True else None
    told = bar if bar is not None else progress or None
    try:
        with spoken(source):
            choice = Choice(count, columns, layers, decap, resync, Selection(filter, start, stop, sample, seed))
            return parquet.write(
                source,
                folder,
                overwrite=overwrite,
                progress=told,  # type: ignore[arg-type]  # not True here
                **choice.keywords(),
            )
    except CaptureError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            whole = len(parquet.parts(folder))
            raise CaptureError(
                f"the disk is full: {folder} has {whole} whole part{'' if whole == 1 else 's'}; make room, or write to "
                "another disk"
            ) from cause
        raise
    finally:
        if bar is not None:
            bar.close()


def read_parquet(path: str | os.PathLike[str], columns: Sequence[str] | None = None, **keywords: Any) -> pd.DataFrame:
    """Read Parquet that podtracer wrote into a frame, with the dtypes and provenance that it had.

    `pandas.read_parquet` does nearly the same: only a category column without any value has other categories there
    (object instead of str).

    Parameters
    ----------
    path
        The folder, or one file of it.
    columns
        Only these.
    **keywords
        For `pandas.read_parquet`: `filters=[("tcp_flags", "==", "S")]` reads matching rows only.

    Returns
    -------
    pandas.DataFrame
        As `read_pcap` returns.

    Raises
    ------
    CaptureError
        No such folder or file, or no Parquet.
    PackageMissing
        pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import podtracer_nb
    >>> header = bytes.fromhex("d4c3b2a1020004000000000000000000000004000100" + "0000")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = podtracer_nb.to_parquet(header, folder)
    ...     podtracer_nb.read_parquet(folder).attrs["podtracer"]["capture"]["linktype_name"]
    'EN10MB'
    """
    import pandas as pd

    from podtracer_nb import analysis as _accessor  # noqa: F401  a frame is born with `df.podtrace`

    try:
        import pyarrow as pa
    except ImportError:
        raise PackageMissing(
            "Parquet needs pyarrow, which is not installed: pip install 'podtracer-nb[large]'"
        ) from None
    try:
        frame = pd.read_parquet(path, columns=list(columns) if columns is not None else None, **keywords)
    except OSError as error:
        raise CaptureError(f"{error.filename or path}: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise CaptureError(f"{path} is not Parquet that can be read: {str(error).splitlines()[0]}") from error
    return _with_text_categories(frame)


def _with_text_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Give categories without a value the dtype that they have everywhere else."""
    import pandas as pd

    for name in frame.columns:
        dtype = frame[name].dtype
        if isinstance(dtype, pd.CategoricalDtype) and not len(dtype.categories):
            frame[name] = frame[name].cat.set_categories(pd.Index([], dtype="str"))
    return frame


def scan(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    columns: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    decap: bool = False,
    resync: bool = False,
    filter: str | None = None,
    start: Any = None,
    stop: Any = None,
    sample: float | None = None,
    seed: int = 0,
) -> Any:
    """Return a Dask DataFrame of captures, or of Parquet that `to_parquet` wrote; nothing is read till it is computed.

    Each capture file and each part is a partition, which one worker reads; on a cluster the workers need the files
    under the same paths. Packets of several captures are numbered in each of them; those of one Parquet folder in all.

    Parameters
    ----------
    source
        A capture, a pattern (`ring.pcap*`), a folder that `to_parquet` left, or a list of these.
    columns, layers, decap, resync, filter, start, stop, sample, seed
        As for `read_pcap`; of Parquet only `columns` is read by.

    Returns
    -------
    dask.dataframe.DataFrame
        The columns that `read_pcap` returns. `.podtrace` has `conversations()`, `rate()`, `raw()`, `packet()` and
        `meta()`. Categories are those of each partition, and known when it is computed.

    Raises
    ------
    InputError
        No file is named so, or a value that cannot be right.
    CaptureError
        The first of them is not a capture.
    PackageMissing
        Dask is not installed.

    Examples
    --------
    >>> import podtracer_nb
    >>> captured = podtracer_nb.scan("captures/*.pcap")  # doctest: +SKIP
    >>> captured.groupby("src", observed=True)["length"].sum().nlargest(10).compute()  # doctest: +SKIP
    """
    try:
        import dask.dataframe as dd
        from dask.dataframe.utils import clear_known_categories
    except ImportError:
        raise PackageMissing("scan needs Dask, which is not installed: pip install 'podtracer-nb[large]'") from None
    from podtracer_nb.analysis import dask_accessor as _accessor  # noqa: F401  Dask frames are born with `.podtrace`
    from podtracer_nb.packets import Choice, Selection, parquet

    with spoken(source):
        choice = Choice(None, columns, layers, decap, resync, Selection(filter, start, stop, sample, seed))
    files = _files(source)
    if any(_is_parquet(file) for file in files):
        if not all(_is_parquet(file) for file in files):
            raise InputError("captures and Parquet together: scan one kind at a time")
        if choice.selection or choice.layers or choice.decap or choice.resync:
            raise InputError("Parquet has its rows already: choose them with the DataFrame's own words, or by columns=")
        read: Callable[[str], pd.DataFrame] = functools.partial(
            read_parquet, columns=list(columns) if columns is not None else None
        )
        with spoken(files[0]):
            empty = parquet.empty(files[0])
        missing = [name for name in columns or () if name not in empty.columns]
        if missing:
            raise InputError(f"no column {missing[0]!r}; the Parquet has {', '.join(empty.columns)}")
        empty = _with_text_categories(empty if columns is None else empty[list(columns)])
    else:
        read = functools.partial(_read_capture, choice=choice)
        empty = _read_capture(files[0], dataclasses.replace(choice, selection=Selection()), rows=False)
        empty = empty.drop(columns="comment", errors="ignore") if columns is None else empty
        read = functools.partial(_with_columns, read, tuple(empty.columns))
    unknown = clear_known_categories(empty)  # type: ignore[no-untyped-call]  # Dask's
    return dd.from_map(read, files, meta=unknown)  # type: ignore[no-untyped-call]


def _read_capture(path: str, choice: Choice, rows: bool = True) -> pd.DataFrame:
    """Read one partition: on whatever worker, which has to be told of the accessor too; or its columns only."""
    from podtracer_nb import analysis as _accessor  # noqa: F401
    from podtracer_nb import packets

    with spoken(path), packets.Reader(path, threads=1, **choice.keywords()) as reader:
        if rows:
            return reader.read_all().frame()
        reader.begin()
        return reader.frame()


def _with_columns(read: Callable[[str], pd.DataFrame], columns: tuple[str, ...], path: str) -> pd.DataFrame:
    """Read one partition with the columns that all have: a comment is a column only where there is one."""
    frame = read(path)
    return frame if tuple(frame.columns) == columns else frame[list(columns)]


def _files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    from podtracer_nb.packets import parquet
    from podtracer_nb.packets.source import each_source

    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, (list, tuple)) or not source:
            raise InputError("scan takes a path, a pattern, a folder, or a list of these")
        return [file for each in source for file in _files(each)]
    if Path(source).is_dir():
        found = [os.fspath(path) for path in parquet.parts(source)]
        if not found:
            found = [os.fspath(path) for path in sorted(Path(source).glob("*.parquet"))]
        if not found:
            raise InputError(
                f"{os.fspath(source)} has no Parquet files: name captures by a pattern, as in {source}/*.pcap"
            )
        return found
    try:
        listed = [str(each) for each in each_source(os.fspath(source))]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    if not Path(listed[0]).exists() and "://" not in listed[0] and not glob.has_magic(listed[0]):
        raise InputError(f"{listed[0]}: no such file")
    return listed


def _is_parquet(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _name(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (list, tuple)):
        return f"{len(source)} captures"
    return "the capture"
