"""`df.podtrace`: what a packet frame knows of its own recording, and the answers that can be had from it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from podtracer_nb import packets
from podtracer_nb.analysis.conversations import conversations
from podtracer_nb.analysis.dissection import dissected
from podtracer_nb.analysis.provenance import interface_of
from podtracer_nb.analysis.rate import rate
from podtracer_nb.analysis.sack import sack_blocks
from podtracer_nb.errors import CaptureError, InputError

if TYPE_CHECKING:
    from scapy.packet import Packet

__all__ = ["PodtraceAccessor"]


@pd.api.extensions.register_dataframe_accessor("podtrace")
class PodtraceAccessor:
    """Answers from a frame that podtracer made, as `df.podtrace`."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def meta(self) -> dict[str, Any]:
        """What was run, where and when, what was dropped, and where the bytes are.

        Raises
        ------
        InputError
            podtracer did not make this frame.
        """
        meta: dict[str, Any] | None = self._frame.attrs.get("podtracer")
        if meta is None:
            raise InputError("this frame carries no provenance: it is not one that podtracer made, or lost its attrs")
        return meta

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted, so that the frame holds what came before."""
        return bool(self.meta.get("interrupted", False))

    def table(self, name: str) -> pd.DataFrame:
        """Return another of the tables that the tool's output has, made from the recording when it is asked for.

        Parameters
        ----------
        name
            One of `meta["tables"]`.

        Raises
        ------
        InputError
            There is no such table, or this frame is not a tool's table.
        CaptureError
            The recording is gone.

        Examples
        --------
        >>> frame.podtrace.table("summary")  # doctest: +SKIP
        """
        from podtracer_nb.tools.frames import table  # only who asks needs the tools

        return table(self.meta, name)

    def raw(self, frame: int, target: str | None = None) -> bytes:
        """Return the bytes of one packet, as captured.

        Parameters
        ----------
        frame
            The packet's number: its label in the index.
        target
            With several targets: which one's packet, as the column `target` has it.

        Raises
        ------
        InputError
            No such packet in this frame, or several.
        CaptureError
            The recording is gone.
        """
        row = self._row(frame, target)
        path = self._path(row)
        try:
            return packets.raw(path, int(row["offset"]), int(row["caplen"]))
        except OSError as error:
            raise CaptureError(f"the recording {path} cannot be read: {error.strerror}") from error

    def packet(self, frame: int, target: str | None = None) -> Packet:
        """Return one packet, dissected by scapy when it is asked for.

        See `raw` for the parameters and errors.

        Examples
        --------
        >>> df.podtrace.packet(1).show()  # doctest: +SKIP
        """
        data = self.raw(frame, target)
        return dissected(data, self._linktype(self._row(frame, target)))

    def to_pcap(
        self, path: str | os.PathLike[str], *, format: str | None = None, comments: Mapping[int, str] | None = None
    ) -> int:
        """Write the frame's packets, in its order, into a capture file that Wireshark and tcpdump read.

        Parameters
        ----------
        path
            The file. It has its name only when all is in it; one that is there is replaced.
        format
            "pcap" (with nanoseconds) or "pcapng" (nanoseconds, interfaces and comments); by default as the suffix says.
        comments
            Comments by packet number, beside those in a column `comment`: a dict or a Series.

        Returns
        -------
        int
            How many packets were written.

        Raises
        ------
        InputError
            Not a frame of packets; something that a pcap cannot hold, such as comments or several link types.
        CaptureError
            The packets' bytes are not at hand, or the file cannot be written.

        Examples
        --------
        >>> df[df.tcp_flags == "S"].podtrace.to_pcap("syn.pcapng")  # doctest: +SKIP
        """
        from podtracer_nb.analysis.export import export

        return export(self, self._frame, path, format, comments)

    def conversations(self) -> pd.DataFrame:
        """Return both directions of each pair of endpoints in one row: see `podtracer_nb.analysis.conversations`."""
        return conversations(self._frame)

    def dns(self) -> pd.DataFrame:
        """Return the answers of DNS responses, one a row, over UDP and TCP: see `podtracer_nb.packets.dns_answers`.

        Returns
        -------
        pandas.DataFrame
            With several targets also the column `target` (category).

        Raises
        ------
        CaptureError
            The packets' bytes are not at hand.
        """
        recordings = self.meta.get("recordings")
        try:
            if not recordings:
                return packets.dns_answers(self._frame)
            if "target" not in self._frame.columns:
                return packets.dns_answers(recordings[0], self._frame.index)
            labels = self._frame["target"].cat.categories
            tables = [
                packets.dns_answers(path, self._frame.index[self._frame["target"] == label])
                for label, path in zip(labels, recordings, strict=False)
            ]
        except (ValueError, OSError) as error:
            raise CaptureError(str(error)) from error
        categories = dict.fromkeys((name for name, dtype in tables[0].dtypes.items() if dtype == "category"), "str")
        for label, table in zip(labels, tables, strict=False):
            table.insert(0, "target", label)
        merged = pd.concat([table.astype(categories) for table in tables], ignore_index=True)
        return merged.astype(dict.fromkeys(categories, "category") | {"target": pd.CategoricalDtype(labels)})

    def sack(self) -> pd.DataFrame:
        """Return every SACK block of the frame's TCP segments (RFC 2018), read from the packets' bytes.

        Returns
        -------
        pandas.DataFrame
            A row a block, in the order of the frame and of the option. `frame` (int64): number of the packet · `block`
            (uint8): 1 to 4, the first being what `tcp_sack_left` has · `left`, `right` (uint32): its edges, as sent.
            With several targets also `target` (category).

        Raises
        ------
        InputError
            A column is not there by which the segments are found.
        CaptureError
            The packets' bytes are not at hand.

        Examples
        --------
        >>> df.podtrace.sack().query("block > 1")  # doctest: +SKIP
        """
        return sack_blocks(self._frame, self.meta)

    def rate(self, every: str = "1s") -> pd.DataFrame:
        """Return packets and bits a second: see `podtracer_nb.analysis.rate`."""
        return rate(self._frame, every)

    def browse(self, **how: Any) -> Any:
        """Show the frame as a packet list to scroll, filter and sort: see `podtracer_nb.browse`.

        Examples
        --------
        >>> df.podtrace.browse(query="tcp_flags == 'S'")  # doctest: +SKIP
        """
        return _shown_by("browse", self._frame, how)

    def ladder(self, **how: Any) -> Any:
        """Draw the packets as arrows between hosts, downwards in time: see `podtracer_nb.ladder`."""
        return _shown_by("ladder", self._frame, how)

    def topology(self, **how: Any) -> Any:
        """Draw who talks to whom: see `podtracer_nb.topology`."""
        return _shown_by("topology", self._frame, how)

    def _row(self, frame: int, target: str | None) -> pd.Series[Any]:
        if "offset" not in self._frame.columns:
            raise InputError("this frame has no packets: only a capture's has bytes behind its rows")
        rows = self._frame[self._frame.index == frame]
        if target is not None and "target" in rows.columns:
            rows = rows[rows["target"] == target]
        if len(rows) > 1:
            raise InputError(
                f"frame {frame} is in several captures: name one of {sorted(set(rows['target']))} as target"
            )
        if rows.empty:
            raise InputError(f"no frame {frame} here; the index has {len(self._frame)} numbers")
        return rows.iloc[0]

    def _position(self, row: pd.Series[Any]) -> int:
        """Which of several recordings a row is from."""
        if "target" not in row.index:
            return 0
        return list(self._frame["target"].cat.categories).index(row["target"])

    def _path(self, row: pd.Series[Any]) -> str:
        recordings = self.meta.get("recordings")
        path = recordings[self._position(row)] if recordings else self._file(row).get("path")
        if path == "":
            raise CaptureError("this capture kept no file (keep=False), so its packets are not at hand")
        if path is None:
            raise CaptureError(
                "the capture came from bytes or a stream: write it to a file to have its packets at hand"
            )
        return str(path)

    def _capture(self, row: pd.Series[Any]) -> dict[str, Any]:
        captures: list[dict[str, Any]] = self.meta.get("captures") or [self._file(row)]
        return captures[self._position(row)]

    def _file(self, row: pd.Series[Any]) -> dict[str, Any]:
        """Which of a capture's files a row is from."""
        capture: dict[str, Any] = self.meta.get("capture", {})
        number = cast(int, row.name)
        for each in capture.get("files", ()):
            if each["packets"] and each["first_frame"] <= number < each["first_frame"] + each["packets"]:
                return dict(each)
        return capture

    def _linktype(self, row: pd.Series[Any]) -> int:
        """Return the link type of a row's packet: in pcapng its interface's."""
        capture = self._capture(row)
        interfaces = capture.get("interfaces", ())
        if interfaces and "interface" in row.index:
            return int(interface_of(interfaces, row["interface"])["linktype"])
        return int(capture["linktype"])


def _shown_by(name: str, frame: pd.DataFrame, how: dict[str, Any]) -> Any:
    """Show a frame by a widget, which stands to the right of this layer: through the package's public names only."""
    return getattr(importlib.import_module("podtracer_nb"), name)(frame, **how)


def path_of(frame: pd.DataFrame, number: int) -> str | None:
    """Return the capture that a frame's packet is from, where that is known."""
    asked = PodtraceAccessor(frame)
    try:
        return asked._path(asked._row(number, None))
    except CaptureError:
        return None
