"""WHO: from what the user named to one pinned set of namespaces.

`resolve` turns names into targets, `pods` lists them, `pin` opens a target's namespaces, verified to be its own.
Nothing here enters a namespace: that is done by programs that `podtracer_nb.execution` starts.
"""

from __future__ import annotations

from podtracer_nb.targets import local
from podtracer_nb.targets.capabilities import PROGRAM as LAUNCHER
from podtracer_nb.targets.capabilities import launcher, missing_capabilities
from podtracer_nb.targets.container import here, untraceable
from podtracer_nb.targets.kubeconfig import connect
from podtracer_nb.targets.linux import is_linux, need_linux
from podtracer_nb.targets.pin import KINDS, Pin, pin
from podtracer_nb.targets.resolution import pods, resolve
from podtracer_nb.targets.target import Target
from podtracer_nb.targets.watch import Watch, departed

__all__ = [
    "KINDS",
    "LAUNCHER",
    "Pin",
    "Target",
    "Watch",
    "connect",
    "departed",
    "here",
    "is_linux",
    "launcher",
    "local",
    "missing_capabilities",
    "need_linux",
    "pin",
    "pods",
    "resolve",
    "untraceable",
]
