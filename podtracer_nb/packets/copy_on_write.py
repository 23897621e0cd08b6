"""Columns of a frame that have one mask, so that a change of one leaves the others as they are.

pandas counts who refers to a column's memory, and copies a column, mask and all, before it writes to one that others
refer to (copy-on-write, pandas' PDEP-7). It counts by whole columns; of a mask that several have it knows nothing. Here
they are counted together. pandas has no public way to say so: where what this needs is not there, each column gets a
mask of its own. What pandas itself does not count is not counted here either: a write into `Series.array`, or into what
`Series.cummax` and its like return, which has the mask of its source.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

__all__ = ["one_mask"]


def one_mask(frame: pd.DataFrame, owners: Mapping[str, str]) -> None:
    """Let columns be copied before they are written to as long as others with the same mask are there.

    Parameters
    ----------
    frame
        A frame that nobody else has seen yet.
    owners
        Which column's mask a column has, where that is not its own; names that `frame` lacks are passed over.
    """
    together: dict[str, list[str]] = {}
    for name in frame.columns:
        together.setdefault(owners.get(name, name), []).append(name)
    for names in together.values():
        try:
            _count_as_one(frame, names)
        except AttributeError:
            for name in names[1:]:
                frame[name] = frame[name].copy()


def _count_as_one(frame: pd.DataFrame, names: list[str]) -> None:
    manager = frame._mgr
    first, *others = (manager.blocks[manager.blknos[frame.columns.get_loc(name)]] for name in names)
    for block in others:
        first.refs.add_reference(block)
        block.refs = first.refs
