"""The dashboard: what goes on in a live capture, several times a second, whatever the rate of its packets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import traitlets

from podtracer_nb.analysis.activity import COLUMNS, KINDS, TROUBLE, Activity
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.notebook.widgets import dashboard_page, svg
from podtracer_nb.notebook.widgets.widget import Widget, source
from podtracer_nb.tools import LiveCapture

__all__ = ["LiveDashboard", "dashboard"]

_LEAST, _MOST = 4.0, 10.0  # updates a second
_SPAN = 10.0, 86_400.0  # seconds
_TALKERS = 8
_UNSEEN = 30.0  # seconds without a sign of a page that shows it, after which it is told seldom
_SELDOM = 5.0
COLOURS = {
    "TCP": svg.COLOURS["tcp"], "UDP": "#56b4e9", "DNS": svg.COLOURS["dns"], "ICMP": "#e69f00", "ARP": "#f0e442",
    "other": "#999999",
}  # fmt: skip


def dashboard(live: LiveCapture, *, span: float = 120.0, refresh: float = 5.0) -> LiveDashboard:
    """Show what goes on in a live capture: rates, talkers, TCP's trouble, DNS's delay, drops and lag; and steer it.

    Parameters
    ----------
    live
        What `podtracer_nb.capture` returned.
    span
        Seconds that it shows, 10 or more.
    refresh
        How often a second, 4 to 10.

    Returns
    -------
    LiveDashboard
        Shown where it is a cell's value. Drawing over a part of the chart sets `.interval`; `.df` has its packets.

    Raises
    ------
    InputError
        This is no live capture, or one without the columns `time` and `length`.

    Examples
    --------
    >>> live = podtracer_nb.capture("web", namespace="shop")  # doctest: +SKIP
    >>> w = podtracer_nb.dashboard(live)  # doctest: +SKIP
    >>> w.df.podtrace.browse()  # doctest: +SKIP
    """
    return LiveDashboard(live, span=span, refresh=refresh)


class LiveDashboard(Widget):
    """What goes on in a live capture; see `dashboard`.

    Attributes
    ----------
    live
        The capture; another one after it was started again.
    """

    _esm = source("live_dashboard.js")
    _css = source("widget.css", "live_dashboard.css")

    _fixed = traitlets.Dict().tag(sync=True)
    _brush: traitlets.List[float] = traitlets.List().tag(sync=True)  # where the choice begins and ends, in steps
    _note = traitlets.Unicode().tag(sync=True)
    _failure = traitlets.Unicode().tag(sync=True)

    def __init__(self, live: LiveCapture, *, span: float = 120.0, refresh: float = 5.0) -> None:
        self._ended = threading.Event()
        self._attached: list[LiveCapture] = []  # whose chunks come here
        if not isinstance(live, LiveCapture):
            raise InputError(f"a dashboard is of a live capture (podtracer_nb.capture), not of {type(live).__name__}")
        if not _SPAN[0] <= span <= _SPAN[1]:
            raise InputError(f"span={span!r} has to be between {_SPAN[0]:g} and {_SPAN[1]:,.0f} seconds")
        if not _LEAST <= refresh <= _MOST:
            raise InputError(f"refresh={refresh!r} has to be between {_LEAST:g} and {_MOST:g} times a second")
        missing = {"time", "length"} - set(live.df.columns)
        if missing:
            raise InputError(f"a dashboard needs the column {min(missing)}, which columns= of this capture left out")
        self.live = live
        self._span, self._pause = span, 1 / refresh
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[pd.DataFrame], object]] = []
        self._ordered: threading.Thread | None = None
        self._seen = time.monotonic()
        self._sequence = 0
        self._handle: Any = None
        self._chosen: tuple[int, int] | None = None  # nanoseconds since 1970
        self._attach(live)
        super().__init__(_fixed=self._describe())
        self.on_msg(self._receive)
        self._start_telling()

    # What Python code reads and sets ---------------------------------------------------------------------------------

    @property
    def interval(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        """The time that is chosen, from its beginning to before its end, in UTC; None where none is."""
        if self._chosen is None:
            return None
        low, high = (pd.Timestamp(each, unit="ns", tz="UTC") for each in self._chosen)
        return low, high

    @interval.setter
    def interval(self, times: tuple[object, object] | None) -> None:
        if times is None:
            self._choose(None)
            return
        try:
            low, high = (pd.Timestamp(each) for each in times)  # type: ignore[arg-type]  # what it takes it says
        except (TypeError, ValueError) as error:
            raise InputError(f"interval={times!r} is not a pair of times: {error}") from error
        begin, end = (
            int((each.tz_localize("UTC") if each.tz is None else each).as_unit("ns").value) for each in (low, high)
        )
        if begin >= end:
            raise InputError(f"interval={times!r} ends before it begins")
        self._choose((begin, end))

    @property
    def df(self) -> pd.DataFrame:
        """The packets of the chosen time, of those that the capture's window holds; without a choice, all of these.

        What the window does not hold any more is said in the notes of its provenance, and under the chart.
        """
        frame = self.live.df
        chosen = self.interval
        if chosen is None:
            return frame
        part = frame[(frame["time"] >= chosen[0]) & (frame["time"] < chosen[1])]
        gone = self._gone(frame)
        part.attrs["podtracer"] = dict(frame.attrs["podtracer"])
        if gone:
            part.attrs["podtracer"]["notes"] = [*part.attrs["podtracer"]["notes"], gone]
        return part

    def on_interval(self, callback: Callable[[pd.DataFrame], object]) -> None:
        """Call a function with `df` whenever another time is chosen; what it raises is shown under the dashboard."""
        self._callbacks.append(callback)

    def close(self) -> None:
        """Take the dashboard away; the capture goes on."""
        self._ended.set()
        self._detach()
        super().close()

    # How it is shown -------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Show it, and leave what it shows at the end in the notebook, for when there is no kernel."""
        from IPython.display import display

        data, metadata = self._bundle()
        self._handle = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and what it shows now for where there is none."""
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        told = self._told(None)
        page = {"text/html": dashboard_page.as_html(told, COLOURS), "text/plain": dashboard_page.as_text(told)}
        return {**data, **page}, metadata

    def _bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self._repr_mimebundle_()
        return data, metadata

    def __repr__(self) -> str:
        """Return what goes on, as text."""
        return dashboard_page.as_text(self._told(None))

    def _describe(self) -> dict[str, Any]:
        return {
            "kinds": list(KINDS), "columns": list(COLUMNS), "trouble": list(TROUBLE), "colours": COLOURS,
            "width": self._activity.width / 1e9, "targets": self.live.targets, "engine": self.live.engine,
        }  # fmt: skip

    # What comes ------------------------------------------------------------------------------------------------------

    def _attach(self, live: LiveCapture) -> None:
        """Take what comes of a capture, after what its window has already."""
        self._activity = Activity(self._span)
        self._clock: tuple[int, float] | None = None
        self._numbers: dict[str, int] = {}
        self._dirty = 0
        with self._lock:  # chunks wait for it
            self._attached.append(live)
            live.on_chunk(self._take, at_end=lambda: self._end(live))
            begun = live.df
            self._activity.add(begun)
            if len(begun):
                whose = begun["target"].astype("str") if "target" in begun else pd.Series("", index=begun.index)
                last = pd.Series(begun.index, index=begun.index).groupby(whose.to_numpy()).max()
                self._numbers = {str(target): int(number) for target, number in last.items()}
                self._look_at_clock(begun)

    def _detach(self) -> None:
        while self._attached:
            self._attached.pop().off_chunk(self._take)

    def _take(self, chunk: pd.DataFrame) -> None:
        with self._lock:
            target = str(chunk["target"].iloc[0]) if "target" in chunk and len(chunk) else ""
            known = self._numbers.get(target, 0)
            if len(chunk) and chunk.index[0] <= known:  # it was in the window when this began
                chunk = chunk[chunk.index > known]
            if not len(chunk):
                return
            self._activity.add(chunk)
            oldest = int(chunk["time"].array.asi8.min())
            self._dirty = min(self._dirty, oldest // self._activity.width)
            self._look_at_clock(chunk)

    def _look_at_clock(self, chunk: pd.DataFrame) -> None:
        """Note when it is by the clock that stamps packets: another node's may not be ours."""
        self._clock = int(chunk["time"].array.asi8.max()), time.monotonic()

    def _move(self) -> None:
        if self.live.state == "running":
            at, then = self._clock or (time.time_ns(), time.monotonic())
            self._activity.move(at + int((time.monotonic() - then) * 1e9))

    def _told(self, since: int | None) -> dict[str, Any]:
        """Return what goes on, in what JSON can say."""
        with self._lock:
            found = self._activity.told(_TALKERS, since)
        stats = self.live.stats
        dns = found.dns
        return {
            "first": found.first, "steps": found.steps.tolist(), "talkers": [list(each) for each in found.talkers],
            "pairs": list(found.pairs), "trouble": found.trouble, "span": self._activity.span / 1e9,
            "width": self._activity.width / 1e9, "targets": self.live.targets, "engine": self.live.engine,
            "why": self.live.ending if stats.state == "ended" else "",
            "dns": {
                "queries": dns.queries, "answers": dns.answers, "unanswered": dns.unanswered, "codes": found.codes,
                "median": dns.median, "p95": dns.p95, "longest": dns.longest,
            },
            "stats": {name: getattr(stats, name) for name in stats.__dataclass_fields__},
        }  # fmt: skip

    # Telling the page ------------------------------------------------------------------------------------------------

    def _start_telling(self) -> None:
        threading.Thread(target=self._tell_all, args=(self.live,), name="podtracer-dashboard", daemon=True).start()

    def _tell_all(self, live: LiveCapture) -> None:
        """Tell the page what goes on while the capture runs, no more often than `refresh` says."""
        told = 0.0
        while live.running and live is self.live and not self._ended.is_set():
            began = time.monotonic()
            seldom = began - self._seen > _UNSEEN
            if not seldom or began - told > _SELDOM:
                told = began
                self._move()
                self._tell(self._dirty)
            self._ended.wait(max(0.01, self._pause - (time.monotonic() - began)))

    def _end(self, live: LiveCapture) -> None:
        """Tell all once more when the last packets of the capture have been counted."""
        if live is self.live and not self._ended.is_set():
            self._tell(None)
            self._keep()

    def _tell(self, since: int | None) -> None:
        with self._lock:
            self._sequence += 1
            number = self._sequence
            told = self._told(since)
            # The last step is told again: it is not over.
            self._dirty = told["first"] + max(len(told["steps"]) - 1, 0)
        self.send({"kind": "whole" if since is None else "tick", "number": number, **told})

    def _keep(self) -> None:
        """Put what it shows into the notebook in place of what it showed at first."""
        if self._handle is not None:
            data, metadata = self._bundle()
            self._handle.update(data, metadata=metadata, raw=True)

    def _receive(self, _: object, asked: dict[str, Any], buffers: list[Any]) -> None:  # noqa: ARG002
        self._seen = time.monotonic()
        try:
            match asked.get("kind"):
                case "whole":
                    self._tell(None)
                case "choose":
                    width = self._activity.width
                    times = sorted(round(float(each) * width) for each in asked["steps"])
                    self._choose((times[0], times[1]) if times and times[0] < times[1] else None)
                case "start" | "pause" | "stop" as order:
                    self._failure = ""
                    self._steer(order)
        except PodtracerError as error:
            self._failure = str(error)
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            raise

    def _steer(self, order: str) -> None:
        if order == "pause":
            self.live.pause()
            self._tell(self._dirty)
        elif order == "stop":
            self.live.order_stop()
        elif self.live.running:
            self.live.resume()
            self._tell(self._dirty)
        else:
            with self._lock:  # two views may ask for it at once
                if self._ordered is None or not self._ordered.is_alive():
                    self._ordered = threading.Thread(target=self._start_again, name="podtracer-start", daemon=True)
                    self._ordered.start()

    def _start_again(self) -> None:
        """Start another capture: in a thread of its own, as it may take seconds on another node."""
        try:
            another = self.live.again()
        except PodtracerError as error:
            self._failure = str(error)
            return
        self._detach()
        with self._lock:
            self.live = another
            self._attach(another)
            self._choose(None)
            self._fixed = self._describe()
        self._tell(None)
        self._start_telling()

    def _choose(self, times: tuple[int, int] | None) -> None:
        self._chosen = times
        self._brush = [each / self._activity.width for each in times or ()]
        self._failure = ""
        self._note = self._said()
        if times is None:
            return
        for callback in self._callbacks:
            try:
                callback(self.df)
            except Exception as error:  # noqa: BLE001 - it is the user's, and shown
                self._failure = f"{type(error).__name__}: {error}"

    def _said(self) -> str:
        frame = self.df
        chosen = self.interval
        if chosen is None:
            return ""
        gone = self._gone(self.live.df)
        seconds = (chosen[1] - chosen[0]).total_seconds()
        text = f"{len(frame):,} packets of {seconds:g} s from {chosen[0]:%H:%M:%S.%f}"[:-3] + " UTC, in .df"
        return f"{text}; {gone}" if gone else text

    def _gone(self, frame: pd.DataFrame) -> str:
        """Return what of the chosen time the capture's window does not hold any more."""
        chosen = self.interval
        stats: Mapping[str, Any] = frame.attrs["podtracer"]["live"]
        whole = stats["packets"] - stats["skipped"] <= stats["window"]
        if chosen is None or whole:
            return ""
        begins = frame["time"].iloc[0] if len(frame) else chosen[1]
        lost = (min(begins, chosen[1]) - chosen[0]).total_seconds()
        if lost <= 0:
            return ""
        more = "live.read() has all that was captured" if self.live.files else "this capture keeps no file"
        return f"its first {lost:.3g} s are not in the window any more ({more})"
