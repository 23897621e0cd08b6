"""Frames → answers: who talked to whom, at what rate; and `df.podtrace`, by which a frame finds its own bytes."""

from podtracer_nb.analysis.accessor import PodtraceAccessor
from podtracer_nb.analysis.conversations import conversations
from podtracer_nb.analysis.difference import diff
from podtracer_nb.analysis.rate import rate

__all__ = ["PodtraceAccessor", "conversations", "diff", "rate"]
