"""Captures that run in the background while the notebook goes on.

`capture` starts one, `captures` lists those that run, `stop_all` ends them.
"""

from podtracer_nb.tools.live.api import capture, captures, stop_all
from podtracer_nb.tools.live.capture import LiveCapture
from podtracer_nb.tools.live.stats import LiveStats

__all__ = ["LiveCapture", "LiveStats", "capture", "captures", "stop_all"]
