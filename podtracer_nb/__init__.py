"""nsenter for pods, in a notebook: network tools inside a pod's namespaces, their results as pandas DataFrames.

>>> import podtracer_nb
>>> podtracer_nb.run("tcpdump", pod="web", namespace="demo", count=100)  # doctest: +SKIP

In a notebook: ``%load_ext podtracer_nb``, then ``%podtrace tcpdump --pod web -n demo -- -c 100``.
"""

from __future__ import annotations

import importlib

from podtracer_nb.errors import (
    CaptureError,
    ClusterError,
    DemoError,
    ExecutionError,
    InputError,
    PackageMissing,
    PodtracerError,
    PrivilegeError,
    RuntimeUnavailable,
    TargetError,
    TargetGone,
    TargetNotFound,
    ToolError,
    ToolFailed,
    ToolNotFound,
)

TYPE_CHECKING = False  # typing would take most of the time that this module takes
if TYPE_CHECKING:
    from typing import Any

    from podtracer_nb.analysis import diff
    from podtracer_nb.collector import collected
    from podtracer_nb.execution import delete_tracers
    from podtracer_nb.notebook.widgets import browse, dashboard, ladder, picker, topology
    from podtracer_nb.reading import read_parquet, read_pcap, scan, to_parquet
    from podtracer_nb.targets import Target, pin, resolve
    from podtracer_nb.tools import (
        LiveCapture,
        capture,
        captures,
        changes,
        doctor,
        hold,
        impair,
        iperf3,
        list_tools,
        pods,
        run,
        run_together,
    )

__all__ = [
    "CaptureError",
    "ClusterError",
    "DemoError",
    "ExecutionError",
    "InputError",
    "LiveCapture",
    "PackageMissing",
    "PodtracerError",
    "PrivilegeError",
    "RuntimeUnavailable",
    "Target",
    "TargetError",
    "TargetGone",
    "TargetNotFound",
    "ToolError",
    "ToolFailed",
    "ToolNotFound",
    "browse",
    "capture",
    "captures",
    "changes",
    "collected",
    "dashboard",
    "delete_tracers",
    "diff",
    "doctor",
    "hold",
    "impair",
    "iperf3",
    "ladder",
    "list_tools",
    "load_ipython_extension",
    "picker",
    "pin",
    "pods",
    "read_parquet",
    "read_pcap",
    "resolve",
    "run",
    "run_together",
    "scan",
    "to_parquet",
    "topology",
    "tracers",
    "unload_ipython_extension",
]

_HOMES = {
    "LiveCapture": "tools",
    "Target": "targets",
    "collected": "collector",
    "delete_tracers": "execution",
    "browse": "notebook.widgets",
    "capture": "tools",
    "captures": "tools",
    "dashboard": "notebook.widgets",
    "diff": "analysis",
    "changes": "tools",
    "doctor": "tools",
    "hold": "tools",
    "impair": "tools",
    "ladder": "notebook.widgets",
    "picker": "notebook.widgets",
    "pin": "targets",
    "resolve": "targets",
    "pods": "tools",
    "read_parquet": "reading",
    "read_pcap": "reading",
    "run": "tools",
    "run_together": "tools",
    "scan": "reading",
    "to_parquet": "reading",
    "topology": "notebook.widgets",
    "tracers": "tools",
    "list_tools": "tools",
    "iperf3": "tools",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ip: Any) -> None:
    """Register `%podtrace` and its completion: what ``%load_ext podtracer_nb`` calls."""
    importlib.import_module("podtracer_nb.notebook").load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """Take `%podtrace` and its completion away again, and take back every change that is held."""
    importlib.import_module("podtracer_nb.notebook").unload(ip)
