"""The picker: from namespaces to pods to a tool and its options, and the line that one would have typed."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import traitlets

from podtracer_nb import options, tools
from podtracer_nb.errors import InputError, PodtracerError
from podtracer_nb.notebook import display
from podtracer_nb.notebook.widgets import packet_cells, static_table
from podtracer_nb.notebook.widgets.packet_columns import Columns
from podtracer_nb.notebook.widgets.widget import Widget, source

__all__ = ["PodPicker", "picker"]

_MOST_PODS = 500
_ROWS = 15
_UPDATE_SECONDS = 0.25
_OF_A_CAPTURE = ("--interface", "--filter", "--count")


def picker(
    namespace: str | None = None,
    *,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
) -> PodPicker:
    """Show a form that picks pods, a tool and its options, tells the magic's line for them, and runs it.

    Parameters
    ----------
    namespace
        The namespace to begin with; by default the first one that has pods.
    context, kubeconfig
        Which cluster; by default what kubectl takes.

    Returns
    -------
    PodPicker
        Shown where it is a cell's value. `.line` is the line, `.df` what the last run gave.

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.picker("demo")  # doctest: +SKIP
    """
    return PodPicker(namespace, context=context, kubeconfig=None if kubeconfig is None else os.fspath(kubeconfig))


@dataclass(frozen=True)
class _Choice:
    """What the form says, in its own words."""

    tool: str = "tcpdump"
    pods: tuple[str, ...] = ()
    namespace: str = ""
    container: str = ""
    interface: str = ""
    filter: str = ""
    count: str = ""
    timer: str = ""
    arguments: str = ""

    def words(self, context: str | None, kubeconfig: str | None) -> list[str]:
        """Return the words after `%podtrace`."""
        words = [self.tool]
        for pod in self.pods:
            words += ["--pod", pod]
        for option, value in (
            ("-n", self.namespace),
            ("-c", self.container),
            ("--context", context or ""),
            ("--kubeconfig", kubeconfig or ""),
            ("--interface", self.interface.strip()),
            ("--filter", self.filter.strip()),
            ("--count", self.count.strip()),
            ("-t", self.timer.strip()),
        ):
            if value and not (option in _OF_A_CAPTURE and self.tool != "tcpdump"):
                words += [option, value]
        try:
            theirs = shlex.split(self.arguments)
        except ValueError as error:
            raise InputError(f"arguments: {str(error).lower()}") from error
        return [*words, "--", *theirs] if theirs else words


class PodPicker(Widget):
    """A form for `%podtrace`; see `picker`."""

    _esm = source("pod_picker.js")
    _css = source("widget.css", "pod_picker.css")

    _namespaces: traitlets.List[list[object]] = traitlets.List().tag(sync=True)
    _pods: traitlets.List[dict[str, object]] = traitlets.List().tag(sync=True)
    _tools: traitlets.List[list[object]] = traitlets.List().tag(sync=True)
    _choice = traitlets.Dict().tag(sync=True)
    _told = traitlets.Dict().tag(sync=True)
    _run = traitlets.Dict().tag(sync=True)

    def __init__(self, namespace: str | None, *, context: str | None, kubeconfig: str | None) -> None:
        self._lock = threading.RLock()
        self._context, self._kubeconfig = context, kubeconfig
        self._found = pd.DataFrame(columns=["pod", "namespace"], dtype="str")
        self._chosen = _Choice(namespace=namespace or "")
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._frame: pd.DataFrame | None = None
        listed = tools.list_tools()
        rows = zip(listed["tool"], listed["purpose"], listed["available"], listed["package"], strict=True)
        super().__init__(_tools=[[tool, purpose, bool(here), package] for tool, purpose, here, package in rows])
        self.refresh()
        self.on_msg(self._receive)

    @property
    def line(self) -> str:
        """The line that the form stands for, or an empty one where it stands for none."""
        return str(self._told.get("line", ""))

    @property
    def df(self) -> pd.DataFrame | None:
        """What the last run gave, or None."""
        return self._frame

    def refresh(self) -> None:
        """Ask again which pods there are; what cannot be asked is said in the form."""
        trouble = ""
        try:
            found = tools.pods(all_namespaces=True, context=self._context, kubeconfig=self._kubeconfig)
        except PodtracerError as error:
            found, trouble = self._found, str(error)
            if self._chosen.namespace:  # one namespace may be allowed where all are not
                try:
                    found = tools.pods(self._chosen.namespace, context=self._context, kubeconfig=self._kubeconfig)
                    trouble = ""
                except PodtracerError as narrower:
                    trouble = str(narrower)
        with self._lock:
            self._found = found
            counted = found.groupby("namespace", sort=True).size() if len(found) else pd.Series(dtype="int64")
            self._namespaces = [[str(name), int(count)] for name, count in counted.items()]
            if not self._chosen.namespace and self._namespaces:
                self._chosen = _Choice(namespace=str(self._namespaces[0][0]))
            self._tell(trouble)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget, and the pods as a table for where there is none."""
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        heads = ["namespace", "pod", "node", "phase", "containers", "not traceable because"]
        columns = ["namespace", "pod", "node", "phase", "containers", "reason"]
        caption = f"Pods that can be picked: {len(self._found):,}"
        if len(self._found) > _ROWS:
            caption += f"; the first {_ROWS} of them"
        if self.line:
            caption += f". Picked: {self.line}"
        page = self._found.head(_ROWS)
        rows = page.reindex(columns=columns).fillna("").astype("str").to_numpy().tolist()
        static = {
            "text/html": static_table.as_html(caption, heads, rows, ["other"] * len(rows)),
            "text/plain": static_table.as_text(caption, heads, rows),
        }
        return {**data, **static}, metadata

    def __repr__(self) -> str:
        """Return the line that is picked."""
        return self.line or "nothing is picked yet"

    # The form --------------------------------------------------------------------------------------------------------

    def _receive(self, _: object, asked: dict[str, Any], buffers: list[Any]) -> None:  # noqa: ARG002
        try:
            match asked.get("kind"):
                case "choose":
                    self._choose(asked["choice"])
                case "refresh":
                    self.refresh()
                case "run":
                    self._start()
                case "stop":
                    self._stopping.set()
        except PodtracerError as error:
            self._run = {"state": "failed", "text": str(error)}
        except Exception as error:
            self._run = {"state": "failed", "text": f"{type(error).__name__}: {error}"}
            raise

    def _choose(self, given: Mapping[str, Any]) -> None:
        with self._lock:
            before = self._chosen.namespace
            text = {name: str(given.get(name, "")) for name in _Choice.__dataclass_fields__ if name != "pods"}
            moved = text["namespace"] != before
            pods = () if moved else tuple(str(each) for each in given.get("pods", ()))
            if moved:
                text |= {"container": "", "interface": ""}
            self._chosen = _Choice(pods=pods, **text)
            self._tell("")

    def _tell(self, trouble: str) -> None:
        """Tell the form what it stands for, and which pods and containers there are to choose from."""
        chosen = self._chosen
        here = self._found[self._found["namespace"] == chosen.namespace]
        self._pods = [
            {
                "pod": str(row["pod"]), "node": str(row["node"]), "phase": str(row["phase"]),
                "reason": str(row["reason"]), "traceable": bool(row["traceable"]),
                "containers": _listed(row["containers"]), "interfaces": _listed(row["interfaces"]),
            }
            for row in here.head(_MOST_PODS).to_dict("records")
        ]  # fmt: skip
        left = len(here) - _MOST_PODS
        if left > 0:
            trouble = trouble or f"{left:,} more pods are not listed: name them in the line"
        line, problem = "", ""
        try:
            line = self._line_of(self._request()[0])
        except InputError as error:
            problem = str(error)
        self._choice = {name: getattr(chosen, name) for name in _Choice.__dataclass_fields__}
        self._told = {"line": line, "problem": problem, "trouble": trouble}

    def _request(self) -> tuple[list[str], options.RunRequest]:
        """Return the words of the form and what they ask for: read as they are when someone types them."""
        chosen = self._chosen
        if not chosen.pods:
            raise InputError("choose a pod")
        words = chosen.words(self._context, self._kubeconfig)
        request = options.parse(words, magic=True)
        if not isinstance(request, options.RunRequest) or request.tool is None:
            raise InputError(f"{chosen.tool!r} is no tool")
        return words, request

    @staticmethod
    def _line_of(words: Sequence[str]) -> str:
        # In a magic's line {name} is a variable; {{name}} stands for the braces.
        safe = (re.sub(r"(?<![${])\{([^\W\d][^{}]*)\}", r"{{\1}}", word) for word in words)
        return f"%podtrace {shlex.join(safe)}"

    # The run ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Run what is picked in a thread of its own: a callback that took as long would hold up all others."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise InputError("a run is going on: stop it first")
            words, request = self._request()
            self._stopping.clear()
            self._run = {"state": "running", "text": self._line_of(words)}
            self._thread = threading.Thread(
                target=self._carry_out, args=(request,), name="podtracer-picker", daemon=True
            )
            self._thread.start()

    def _carry_out(self, request: options.RunRequest) -> None:
        tool = str(request.tool)
        last = 0.0

        def report(progress: tools.Progress) -> None:
            nonlocal last
            if self._stopping.is_set() and not progress.done:
                self._stopping.clear()
                raise KeyboardInterrupt  # what a notebook's interrupt is to a run: it ends and keeps what it has
            if progress.elapsed - last >= _UPDATE_SECONDS:
                last = progress.elapsed
                line = display.of_progress(progress, tool, bounded=True)
                self._run = {"state": "running", "text": repr(line)}

        try:
            frame = tools.run(tool, request.arguments, **request.keywords(), progress=report)
        except PodtracerError as error:
            self._run = {"state": "failed", "text": str(error)}
        except BaseException as error:
            self._run = {"state": "failed", "text": f"{type(error).__name__}: {error}"}
            raise
        else:
            self._frame = frame
            banner = display.of_run(frame, {})
            self._run = {"state": "done", "text": repr(banner), "table": _table(frame)}


def _listed(text: object) -> list[str]:
    return [each for each in str(text).split(",") if each] if isinstance(text, str) else []


def _table(frame: pd.DataFrame) -> str:
    known = Columns(frame)
    columns = known.default
    page = frame.head(_ROWS)
    cells = {name: packet_cells.texts(page, name, start=known.start) for name in columns}
    caption = f"{len(frame):,} rows, in .df of the picker" + (f"; the first {_ROWS}" if len(frame) > _ROWS else "")
    tints = [packet_cells.MARKS[number] for number in packet_cells.marks(page)]
    return static_table.as_html(caption, columns, static_table.cut(cells, columns) if columns else [], tints)
