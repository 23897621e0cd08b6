"""A live capture goes on for as long as it likes: the memory of the notebook's process has a bound."""

from __future__ import annotations

import subprocess
import sys

from tests.house.checkout import ROOT
from tests.machine import needs

pytestmark = needs("netns", "iproute2", "tcpdump", "ping")

SHORT = """
from tests.benchmarks.soak import soak
from tests.tools.live.wire import wire
with wire() as place:
    found = soak(place, 400_000, 20_000, settle=10)
print(found.sent, found.captured + found.dropped, found.answers, found.trouble, round(found.growth), found.dropped)
"""


def test_memory_is_flat_while_new_clients_come_and_files_rotate(tmp_path, monkeypatch):
    """The short form of `make soak`: twenty seconds, 40,000 clients."""
    monkeypatch.setenv("PODTRACER_RECORDINGS", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", SHORT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sent, seen, answers, again, growth, dropped = (int(each) for each in done.stdout.split())
    assert sent == 400_000 and seen >= sent
    if not dropped:
        assert (answers, again) == (40_000, 40_000), "the dashboard counted every answer and every repetition"
    assert growth < 25_000_000, f"it grew by {growth / 1e6:.1f} MB in the last seven seconds"
