"""The packet list: any number of rows, of which a page at a time goes to the browser."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from podtracer_nb.analysis import PodtraceAccessor
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.notebook.widgets import packet_cells, packet_rows, packet_stream, packet_tree, static_table
from podtracer_nb.notebook.widgets.host_names import Names, host_names
from podtracer_nb.notebook.widgets.packet_columns import Columns
from podtracer_nb.notebook.widgets.widget import Widget, source

__all__ = ["PacketList", "browse"]

_MOST_ROWS_ASKED = 400
_EXAMINED = 1 << 20  # rows whose retransmissions are looked for at a time: about 0.1 s
_MOST_SENT = 65_536  # bytes of one packet
_STATIC_ROWS, _TEXT_ROWS = 25, 10


def browse(
    frame: pd.DataFrame,
    *,
    query: str = "",
    columns: Sequence[str] | None = None,
    sort: str = "",
    names: Names = None,
) -> PacketList:
    """Show a frame of packets as a list to scroll, filter and sort, with each packet's fields and bytes.

    Parameters
    ----------
    frame
        Packets; a frame of anything else is shown as a list without their details.
    query
        Which rows, as `pandas.DataFrame.query` takes it.
    columns
        Which columns, beside the frame's own: `frame`, `seconds`, `info`.
    sort
        A column, after a minus for the largest first.
    names
        Names to be shown in place of addresses: a dict, or what `podtracer_nb.pods` returns.

    Returns
    -------
    PacketList
        Shown where it is a cell's value. `.df` has the rows that it shows, `.selected` those selected in it.

    Raises
    ------
    InputError
        The query or a column cannot be right.

    Examples
    --------
    >>> import pandas as pd
    >>> shown = browse(pd.DataFrame({"length": [60, 1500, 90]}), query="length < 100", sort="-length")
    >>> shown.df["length"].tolist()
    [90, 60]
    """
    return PacketList(frame, query=query, columns=columns, sort=sort, names=names)


class PacketList(Widget):
    """A list of packets; see `browse`."""

    _esm = source("packet_details.js", "packet_list.js")
    _css = source("widget.css", "packet_list.css")

    _fields: traitlets.List[list[object]] = traitlets.List().tag(sync=True)
    _marks = traitlets.List(list(packet_cells.MARKS)).tag(sync=True)
    _state = traitlets.Dict().tag(sync=True)
    _selection = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        query: str = "",
        columns: Sequence[str] | None = None,
        sort: str = "",
        names: Names = None,
    ) -> None:
        if not isinstance(frame, pd.DataFrame):
            raise InputError(f"browse shows a DataFrame, not {type(frame).__name__}")
        # Front ends call from several threads: ipykernel runs callbacks in subshells while a cell runs.
        self._lock = threading.RLock()
        self._names = host_names(names)
        self._use_names = bool(self._names)
        self._callbacks: list[Callable[[pd.DataFrame], object]] = []
        self._called_with: npt.NDArray[Any] = np.empty(0, np.int64)
        self._generation = 0
        self._take(frame)
        self._columns = self._known.checked(columns) if columns is not None else self._known.default
        self._shown = self._rows.show(query, sort, _variables())
        self._positions: npt.NDArray[Any] = np.empty(0, np.int64)
        super().__init__(_fields=self._known.described(), _state=self._told(), _selection={})
        self.on_msg(self._receive)

    # What Python code reads and sets ---------------------------------------------------------------------------------

    @property
    def df(self) -> pd.DataFrame:
        """The rows that are shown, in the order shown."""
        shown = self._shown
        return self._frame if shown.positions is None else self._frame.iloc[shown.positions]

    @property
    def selected(self) -> pd.DataFrame:
        """The rows that are selected, as a frame: none at first."""
        return self._frame.iloc[self._positions]

    @property
    def query(self) -> str:
        """Which rows are shown: text as `pandas.DataFrame.query` takes it."""
        return self._shown.query

    @query.setter
    def query(self, text: str) -> None:
        self._show(query=text)
        self._call_back()

    @property
    def sort(self) -> str:
        """The column that orders the rows, after a minus for the largest first; empty for the frame's order."""
        return self._shown.sort

    @sort.setter
    def sort(self, column: str) -> None:
        self._show(sort=column)
        self._call_back()

    @property
    def columns(self) -> list[str]:
        """The columns that are shown."""
        return list(self._columns)

    @columns.setter
    def columns(self, names: Sequence[str]) -> None:
        with self._lock:
            self._columns = self._known.checked(names)
            self._generation += 1
            self._tell()

    def on_select(self, callback: Callable[[pd.DataFrame], object]) -> None:
        """Call a function with the selected rows whenever others are selected; what it raises is shown in the list."""
        self._callbacks.append(callback)

    def refresh(self) -> None:
        """Show the frame as it is now, after it was changed.

        Raises
        ------
        InputError
            The query or the order asks for a column that is no longer there.
        """
        with self._lock:
            shown = self._shown
            self._take(self._original)
            self._columns = self._known.left(self._columns)
            self._select(np.empty(0, np.int64), {})
            self._fields = self._known.described()
            try:
                self._shown = self._rows.show(shown.query, shown.sort, _variables())
            except InputError:
                self._shown = self._rows.show("", "")
                raise
            finally:
                self._generation += 1
                self._tell()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and the table of the first rows for where there is none."""
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        columns, shown = self._columns, self._shown
        page = self._frame.iloc[shown.at(0, _STATIC_ROWS)]
        rows = static_table.cut(self._texts(page, columns), columns) if columns else []
        tints = [packet_cells.MARKS[number] for number in packet_cells.marks(page)]
        heads = ["No." if name == "frame" else name for name in columns]
        static = {
            "text/html": static_table.as_html(self._caption(len(rows)), heads, rows, tints),
            "text/plain": static_table.as_text(self._caption(min(len(rows), _TEXT_ROWS)), heads, rows[:_TEXT_ROWS]),
        }
        return {**data, **static}, metadata

    def __repr__(self) -> str:
        """Return what is shown, in a line."""
        return self._caption(0)

    # What is shown ---------------------------------------------------------------------------------------------------

    def _take(self, frame: pd.DataFrame) -> None:
        self._original = frame
        # pandas copies on write: what others do to their frame changes nothing here, and costs nothing until then.
        self._frame = frame.copy(deep=False)
        self._packets = "offset" in frame.columns and "caplen" in frame.columns
        self._signature = packet_rows.signature(frame)
        self._rows = packet_rows.Rows(self._frame)
        self._known = Columns(self._frame)
        self._again: npt.NDArray[np.bool_] | None = None

    def _told(self) -> dict[str, object]:
        return {
            "generation": self._generation,
            "rows": len(self._shown),
            "total": self._shown.total,
            "query": self._shown.query,
            "sort": self._shown.sort,
            "columns": self._columns,
            "named": self._use_names if self._names else None,
            "packets": self._packets,
            "examined": self._again is not None,
            "stale": self._stale(),
        }

    def _tell(self) -> None:
        self._state = self._told()
        # What is selected is so among these rows, too.
        self._selection = {**self._selection, "generation": self._generation}

    def _stale(self) -> bool:
        return packet_rows.signature(self._original) != self._signature

    def _show(self, query: str | None = None, sort: str | None = None) -> None:
        with self._lock:
            before = self._shown
            shown = self._rows.show(
                before.query if query is None else query, before.sort if sort is None else sort, _variables()
            )
            self._shown = shown
            self._generation += 1
            active = int(self._selection.get("position", -1))
            row = shown.row_of(active) if active >= 0 else None
            if row is None:
                self._select(np.empty(0, np.int64), {})
            else:
                self._select(np.array([active]), {"position": active, "row": row, "anchor": row})
            self._tell()

    def _select(self, positions: npt.NDArray[Any], told: Mapping[str, object]) -> None:
        self._positions = positions
        self._selection = {**told, "generation": self._generation}

    def _call_back(self) -> None:
        """Call what `on_select` was given, where others are selected than before."""
        positions, before = self._positions, self._called_with
        self._called_with = positions
        if not np.array_equal(positions, before):
            for callback in list(self._callbacks):
                callback(self.selected)

    def _texts(self, page: pd.DataFrame, columns: Sequence[str]) -> dict[str, list[str]]:
        names = self._names if self._use_names else None
        return {name: packet_cells.texts(page, name, start=self._known.start, names=names) for name in columns}

    def _caption(self, rows: int) -> str:
        shown, what = self._shown, "packet" if self._packets else "row"
        text = f"{len(shown):,} {what}{'' if len(shown) == 1 else 's'}"
        if shown.query:
            text += f" of {shown.total:,} where {shown.query}"
        if shown.sort:
            text += f", by {shown.sort.removeprefix('-')}{', largest first' if shown.sort.startswith('-') else ''}"
        if 0 < rows < len(shown):
            text += f"; the first {rows} of them, the others are in the notebook's kernel"
        return text

    # What the browser asks -------------------------------------------------------------------------------------------

    def _receive(self, _: object, asked: dict[str, Any], buffers: list[Any]) -> None:  # noqa: ARG002
        answers = {
            "page": self._page, "filter": self._filter, "quick": self._quick, "sort": self._sort,
            "columns": self._choose, "names": self._name, "select": self._selects, "stream": self._stream,
            "examine": self._examine, "refresh": self._refresh,
        }  # fmt: skip
        to = {"view": asked.get("view"), "seq": asked.get("seq"), "asked": asked.get("kind")}
        try:
            found, attached = answers[asked["kind"]](asked)
            self.send({**to, "kind": asked["kind"], **found}, attached)
            self._call_back()
        except PodtracerError as error:
            self.send({**to, "kind": "error", "message": str(error)})
        except Exception as error:
            self.send({**to, "kind": "failed", "message": f"{type(error).__name__}: {error}"})
            raise

    def _page(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        with self._lock:  # rows and their generation belong together
            shown, generation, again, columns = self._shown, self._generation, self._again, self._columns
        first = max(0, int(asked["first"]))
        positions = shown.at(first, first + min(int(asked["count"]), _MOST_ROWS_ASKED))
        page = self._frame.iloc[positions]
        marked = packet_cells.marks(page, None if again is None else again[positions])
        cells = self._texts(page, columns)
        if self._stale() != self._state["stale"]:
            self._tell()
        return {"generation": generation, "first": first, "columns": cells, "marks": marked}, []

    def _filter(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        self._show(query=str(asked["query"]))
        return {}, []

    def _quick(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        position = self._position(asked)
        name, how = str(asked.get("column", "")), asked["how"]
        if how == "conversation":
            text = packet_rows.conversation_clause(self._frame, position)
        else:
            if name == "seconds":
                name = "time"
            text = packet_rows.clause(self._frame, position, name, equal=how == "equal")
        before = self._shown.query
        self._show(query=f"({before}) and {text}" if before else text)
        return {"query": self._shown.query}, []

    def _sort(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        name = str(asked["sort"])
        if name.removeprefix("-") == "seconds":
            name = name.replace("seconds", "time")
        self._show(sort=name)
        return {}, []

    def _choose(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        self.columns = [str(name) for name in asked["columns"]]
        return {}, []

    def _name(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        with self._lock:
            self._use_names = bool(asked["on"])
            self._generation += 1
            self._tell()
        return {}, []

    def _selects(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        with self._lock:
            row, position = int(asked["row"]), self._position(asked)
            anchor = min(max(0, int(asked.get("anchor", row))), max(0, len(self._shown) - 1))
            low, high = sorted((row, anchor))
            told = {"position": position, "row": row, "anchor": anchor}
            self._select(np.asarray(self._shown.at(low, high + 1), np.int64), told)
        if not asked.get("details") or not self._packets:
            return {"row": row, "nodes": None}, []
        data, nodes = self._dissect(position)
        listed = [[n.depth, n.label, n.value, n.start, n.stop] for n in nodes]
        return {"row": row, "nodes": listed, "size": len(data)}, [data[:_MOST_SENT]]

    def _stream(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        position = self._position(asked)
        positions = packet_stream.conversation(self._frame, position)
        packets = self._frame.iloc[positions]
        said, left_out = packet_stream.follow(packets, lambda row: self._payload(int(positions[row])))
        first = packets.iloc[0]
        ends = [f"{first['src']}:{first['sport']}", f"{first['dst']}:{first['dport']}"]
        turns = [[each.end, len(each.data), each.frame, each.missing] for each in said]
        return {"ends": ends, "turns": turns, "left_out": left_out}, [b"".join(each.data for each in said)]

    def _examine(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """Look for retransmissions in one block of the frame; the last one tells all views."""
        start = int(asked["block"]) * _EXAMINED
        if start == 0 and self._packets:
            # Scapy takes a second or two to load: it is there when the first packet is chosen.
            threading.Thread(target=importlib.import_module, args=("scapy.layers.all",), daemon=True).start()
        if not self._packets or start >= len(self._frame) or (self._again is not None and start == 0):
            return {"next": None}, []
        found = packet_cells.repeated(self._frame.iloc[start : start + _EXAMINED])
        with self._lock:
            if self._again is None or len(self._again) != len(self._frame):
                self._again = np.zeros(len(self._frame), bool)
            self._again[start : start + len(found)] = found
            if start + _EXAMINED < len(self._frame):
                return {"next": int(asked["block"]) + 1}, []
            self._generation += bool(self._again.any())
            self._tell()
        return {"next": None}, []

    def _refresh(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:  # noqa: ARG002
        self.refresh()
        return {}, []

    def _position(self, asked: Mapping[str, Any]) -> int:
        row = int(asked["row"])
        found = self._shown.at(row, row + 1)
        if asked.get("generation") != self._generation or row < 0 or not len(found):
            raise InputError("the list has changed meanwhile: try again")
        return int(found[0])

    def _dissect(self, position: int) -> tuple[bytes, list[packet_tree.Node]]:
        one, number, target = self._one(position)
        data = one.raw(number, target)
        return data, packet_tree.read(lambda: one.packet(number, target), data)

    def _payload(self, position: int) -> bytes:
        from scapy.layers.inet import TCP

        one, number, target = self._one(position)
        packet = one.packet(number, target)
        if TCP not in packet:
            return b""
        return bytes(packet[TCP].payload.original or b"")

    def _one(self, position: int) -> tuple[PodtraceAccessor, int, str | None]:
        row = self._frame.iloc[[position]]
        target = str(row["target"].iloc[0]) if "target" in row.columns else None
        return PodtraceAccessor(row), row.index[0], target


def _variables() -> Mapping[str, Any]:
    """Return what `@name` in a query stands for: the notebook's variables, where there is a notebook."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return {} if shell is None else dict(shell.user_ns)
