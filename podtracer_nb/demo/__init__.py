"""Pods without a cluster: `up` starts four of them, with real servers, a client and a bad link; `down` ends them.

They are network namespaces on a bridge in a private namespace of their own: nothing of the machine is touched.
"""

from podtracer_nb.demo.lifecycle import down, up
from podtracer_nb.demo.report import DemoStatus, Link, PodStatus, status

__all__ = ["DemoStatus", "Link", "PodStatus", "down", "status", "up"]
