"""How a change is held: what is asked before it is made, and the program that makes it and takes it back."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError, ToolFailed
from podtracer_nb.targets.capabilities import missing_capabilities
from podtracer_nb.tools.inside import hold
from podtracer_nb.tools.tool import Change

__all__ = ["PATIENCE", "around", "described", "enter", "in_force", "outcome", "refused", "with_its_undo"]

PATIENCE = hold.PATIENCE
Place = TypeVar("Place", targets.Pin, execution.Elsewhere)
_PRIVILEGES = ("Operation not permitted", "Permission denied", "must be root")


def with_its_undo(
    change: Change, held: Place, ask: Callable[[Place, Sequence[str]], CompletedProcess[str]], *, needed: bool
) -> Change:
    """Ask the target what is there before the change, where its undo depends on that.

    `ask` runs a program there. What cannot be asked leaves the change without an undo, unless that is `needed`.

    Raises
    ------
    InputError
        What is there forbids the change.
    PrivilegeError, ToolFailed
        It cannot be asked.
    """
    if change.before is None or change.undo_from is None:
        return change
    label = held.target.label
    try:
        asked = ask(held, change.before)
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"{change.before[0]} in {label} did not tell in 10 s what is there now: try again") from None
    if asked.returncode and not needed:
        return replace(change, before=None, undo_from=None)
    if asked.returncode:
        raise refused(change.before[0], held, asked.stderr)
    try:
        return replace(change, undo=change.undo_from(asked.stdout), before=None, undo_from=None)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def refused(name: str, held: targets.Pin | execution.Elsewhere, stderr: str) -> PodtracerError:
    """Return the error for a program that could not do its work in a target, by what it said."""
    label = held.target.label
    said = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "it said nothing")
    if any(words in stderr for words in _PRIVILEGES):
        lacking = isinstance(held, targets.Pin) and "user" not in held.entered and missing_capabilities("CAP_NET_ADMIN")
        why = (
            "CAP_NET_ADMIN is missing: run as root; in a cluster deploy/overlays/privileged has it, the five "
            "capabilities of deploy/overlays/capabilities do not: add NET_ADMIN to them"
            if lacking
            else "though CAP_NET_ADMIN is there: what is to be changed may be read-only, or not the namespace's own"
        )
        return PrivilegeError(f"{name} may not do this in {label} ({said}), {why}")
    return ToolFailed(f"{name} failed in {label}: {said}")


def around(change: Change, argv: Sequence[str], seconds: float, recording: Path) -> Callable[[list[str]], list[str]]:
    """Return what `execution.start` has to start in place of the tool, given the words that enter the target."""

    def words(entering: list[str]) -> list[str]:
        order: hold.Order = {
            "do": list(argv),
            "entering": entering,
            "undo": list(change.undo or ()),
            "told": change.told,
            "restores": change.restores,
            "seconds": None if math.isinf(seconds) else seconds,
            "description": f"{recording.absolute()}.json",
        }
        return [sys.executable, "-I", "-S", hold.__file__, json.dumps(order)]

    return words


# What this process holds, and in which network.
_holding = threading.Lock()
_held: weakref.WeakKeyDictionary[execution.Run, tuple[object, str]] = weakref.WeakKeyDictionary()


def _network(held: targets.Pin | execution.Elsewhere) -> object:
    """Return what tells one network from others, of a pod elsewhere the pod itself; None where none is entered."""
    if isinstance(held, targets.Pin):
        return held.identity.get("net")
    return (held.target.label, held.target.uid) if "net" in held.kinds else None


def enter(held: targets.Pin | execution.Elsewhere, run: execution.Run) -> None:
    """Remember that a change is held in a target's network while a run is under way."""
    if (place := _network(held)) is not None:
        with _holding:
            _held[run] = place, shlex.join(run.argv)


def in_force(held: targets.Pin | execution.Elsewhere) -> tuple[str, ...]:
    """Return what is held in a target's network now, a line each: whoever reads a result there should know."""
    network = _network(held)
    with _holding:
        known = list(_held.items())
    return tuple(
        f"while this was held there: {line}" for run, (place, line) in known if place == network and run.running
    )


def described(change: Change, *, held: bool = False) -> dict[str, Any]:
    """Return a change for a run's description: what it is, what takes it back, and whether that was done."""
    undo = None if change.undo is None else list(change.undo)
    return {"what": change.what, "undo": undo, "held": held, "made": False, "undone": False}


def outcome(recording: Path, change: Change) -> dict[str, Any]:
    """Return what became of a change that was held: the words of ``inside/hold.py``, the last of them in force."""
    told = described(change, held=True)
    with contextlib.suppress(FileNotFoundError, ValueError):  # somebody made room; words that are not of hold.py
        for line in recording.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                told |= json.loads(line)
    if not told["undone"]:
        # Where it lost its supervisor it wrote its last word there.
        with contextlib.suppress(OSError, ValueError, KeyError):
            last = json.loads(Path(f"{recording}.json").read_bytes())["change"]
            told |= last if "why" in last else {}
    return told
