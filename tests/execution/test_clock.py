"""Another clock against ours: the truth is within what is said to be sure."""

from __future__ import annotations

import random

from podtracer_nb.execution.clock import Clock, measured


def test_the_true_offset_is_within_the_uncertainty_however_uneven_the_ways() -> None:
    chance = random.Random(1)
    for _ in range(1000):
        true = chance.randrange(-(10**12), 10**12)
        there, work, back = (chance.randrange(10**9) for _ in range(3))
        sent = chance.randrange(10**18)
        heard, received = sent + there + true, sent + there + work + back
        clock = measured(sent, heard, heard + work, received)
        assert abs(clock.offset_ns - true) <= clock.uncertainty_ns + 1
        assert abs(clock.uncertainty_ns - (there + back) / 2) <= 1, "the other side's own work is not in it"


def test_the_quickest_exchange_is_kept() -> None:
    quick = measured(0, 500, 600, 300)
    assert measured(1000, 2500, 2600, 9000, quick) == quick
    assert measured(1000, 1505, 1506, 1011, quick) == Clock(500, 5)
