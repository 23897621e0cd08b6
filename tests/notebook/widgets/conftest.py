"""A wire to capture on, for the widgets of live captures."""

from __future__ import annotations

from tests.tools.live.conftest import recordings, shared_wire

__all__ = ["recordings", "shared_wire"]
