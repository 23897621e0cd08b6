"""Everything that podtracer raises on purpose.

::

    PodtracerError                  one line to the user, never a traceback
    ├── InputError                  a value or option that cannot be right (also a ValueError)
    ├── TargetError                 the pod or namespace named
    │   ├── TargetNotFound          no such target; `.nearest` has the names closest to it
    │   └── TargetGone              it went away, or is another one now, between two steps
    ├── PrivilegeError              the kernel or the API refused: what is missing, what mends it
    ├── ClusterError                the Kubernetes API or a node of it could not be asked
    │   └── RuntimeUnavailable      the container runtime: no socket, no answer in time
    ├── ToolError                   the program that was to run
    │   ├── ToolNotFound            not installed where it has to run
    │   └── ToolFailed              ended without a usable result; `.recording` has what it left
    ├── ExecutionError              the supervisor could not start or keep a run
    ├── CaptureError                bytes that are not a capture, or not one we read
    ├── PackageMissing              a Python package of an optional extra is not installed
    └── DemoError                   the demo pods could not be started or stopped

A message says what failed, why, and what to do next, in one line.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing would be most of what it takes to import the package
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "CaptureError",
    "ClusterError",
    "DemoError",
    "ExecutionError",
    "InputError",
    "PackageMissing",
    "PodtracerError",
    "PrivilegeError",
    "RuntimeUnavailable",
    "TargetError",
    "TargetGone",
    "TargetNotFound",
    "ToolError",
    "ToolFailed",
    "ToolNotFound",
]


class PodtracerError(Exception):
    """Base of every error that podtracer raises on purpose; a notebook shows it as one line.

    Attributes
    ----------
    command
        Which of several commands that were to run together it is of, from 0; None: of none alone.
    """

    command: int | None = None

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputError(PodtracerError, ValueError):
    """A value or option that cannot be right, found before anything was started."""


class TargetError(PodtracerError):
    """The pod or namespace that was named cannot be used."""


class TargetNotFound(TargetError):
    """No such target.

    Parameters
    ----------
    message
        The line for the user.
    nearest
        Existing names that look like the one given, best first.
    """

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class TargetGone(TargetError):
    """The target went away, or its process id now belongs to another, between two steps."""


class PrivilegeError(PodtracerError):
    """The kernel or the API refused: the message names what is missing and what mends it."""


class ClusterError(PodtracerError):
    """The Kubernetes API, or what runs a node's containers, could not be asked."""


class RuntimeUnavailable(ClusterError):
    """The container runtime has no socket here, did not answer in time, or not in words that are known."""


class ToolError(PodtracerError):
    """The program that was to run in the target."""


class ToolNotFound(ToolError):
    """The program is not installed where it has to run."""


class ToolFailed(ToolError):
    """The program ended without a usable result.

    Parameters
    ----------
    message
        The line for the user.
    recording
        What the run left on disk, or None.
    """

    def __init__(self, message: str, recording: Any = None) -> None:
        super().__init__(message)
        self.recording = recording


class ExecutionError(PodtracerError):
    """The supervisor could not start or keep a run."""


class CaptureError(PodtracerError):
    """Bytes that are not a capture, or not one that can be read."""


class PackageMissing(PodtracerError):
    """A Python package that only some need is not installed: the message has the extra that brings it."""


class DemoError(PodtracerError):
    """The demo pods could not be started or stopped."""
