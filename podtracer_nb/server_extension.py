"""An extension of the Jupyter server: a notebook whose kernel is gone shows what its widgets left behind.

A widget's output has the widget itself and a page of what it showed. JupyterLab and Notebook 7 take the widget where
there is one, and where its kernel is gone they say only that its model is not found. The server knows better: of a
notebook without a kernel, or with one that began after the notebook was saved, it hands out our widgets' pages alone.
The file stays as it is, and so does the output of everybody else.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__: list[str] = []

_VIEW = "application/vnd.jupyter.widget-view+json"
_OURS = {"text/html": 'class="podtracer-', "image/svg+xml": 'class="podtracer-'}


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    contents, sessions, kernels = app.contents_manager, app.session_manager, app.kernel_manager
    given = contents.get
    if not inspect.iscoroutinefunction(given):  # a manager of somebody's own, of the old kind
        app.log.info("podtracer_nb: this contents manager is left as it is")
        return

    @functools.wraps(given)
    async def get(path: str, *args: Any, **words: Any) -> dict[str, Any]:
        model: dict[str, Any] = await given(path, *args, **words)
        content = model.get("content")
        if model.get("type") == "notebook" and isinstance(content, Mapping) and _has_views(content):
            began = _began(await sessions.list_sessions(), path, kernels)
            if began is None or began > model["last_modified"]:
                _take_views(content)
        return model

    contents.get = get


def _began(sessions: list[dict[str, Any]], path: str, kernels: Any) -> datetime | None:
    """Return since when the notebook's kernel runs; None where it has none."""
    wanted = path.strip("/")
    for session in sessions:
        if (session.get("path") or "").strip("/") != wanted or not session.get("kernel"):
            continue
        try:
            manager = kernels.get_kernel(session["kernel"]["id"])
            return _started(manager.provisioner.pid)
        except (AttributeError, KeyError, OSError):
            return datetime.min.replace(tzinfo=UTC)  # of another machine: nothing is known, and nothing is changed
    return None


def _started(pid: int) -> datetime:
    """Return when a process of this machine started: proc(5), /proc/PID/stat (22) and btime of /proc/stat."""
    ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    [boot] = [line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")]
    return datetime.fromtimestamp(int(boot) + ticks / os.sysconf("SC_CLK_TCK"), UTC)


def _outputs(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the data of those outputs that are our widgets'."""
    found = []
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if _VIEW in data and any(mark in "".join(data.get(kind, "")) for kind, mark in _OURS.items()):
                found.append(data)
    return found


def _has_views(notebook: Mapping[str, Any]) -> bool:
    return bool(_outputs(notebook))


def _take_views(notebook: Mapping[str, Any]) -> None:
    for data in _outputs(notebook):
        del data[_VIEW]
