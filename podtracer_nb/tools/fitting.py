"""How a command is made fit for its target: checked, known to the program there, looking names up as it does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, ToolFailed, ToolNotFound
from podtracer_nb.tools.inside import resolver
from podtracer_nb.tools.job import Task, last_line
from podtracer_nb.tools.sampling import sampled
from podtracer_nb.tools.tool import Command, Tool

__all__ = ["check", "installed", "prepared"]

_CHECK = 10.0  # seconds that a check of the argv may take


def prepared(tool: Tool, task: Task, held: targets.Pin | execution.Elsewhere, *, alone: bool) -> tuple[Command, bool]:
    """Return the command, and whether it is sampled."""
    entered = held.entered if isinstance(held, targets.Pin) else held.kinds
    unprivileged = isinstance(held, targets.Pin) and (
        "user" in entered or _in_user_namespace() or _cannot_become_another(held)
    )
    options = replace(task.options, foreign="mnt" in entered)
    # With --every, --count counts samples.
    options = options if task.every is None else replace(options, count=None)
    command = _known_to_it(tool.command(task.arguments, options, unprivileged), held)
    if task.every is None:
        return _resolving(tool, command, held), False
    if not alone and (command.output == "packets" or command.endless):
        return _resolving(tool, command, held), False
    return _resolving(tool, sampled(command, task.every, task.options.count), held), True


def _resolving(tool: Tool, command: Command, held: targets.Pin | execution.Elsewhere) -> Command:
    """Give a tool that looks names up the target's own resolv.conf, where that is another than ours."""
    if isinstance(held, execution.Elsewhere):
        return command  # its agent does that there
    if not tool.resolves or "mnt" in held.kinds or "net" not in held.entered:
        return command
    try:
        ours = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        why = f"/etc/resolv.conf, over which the target's would be laid, cannot be read here: {error.strerror}"
        return replace(command, notes=(*command.notes, why))
    if held.resolver is None and held.target.netns_path is None:
        why = f"{held.target.label} has no /etc/resolv.conf that can be read: names are looked up with this machine's"
        return replace(command, notes=(*command.notes, why))
    if held.resolver is None or held.resolver == ours:
        return command
    words = (sys.executable, "-I", "-S", resolver.__file__, held.resolver)
    return replace(command, launcher=(*words, *command.launcher))


def _known_to_it(command: Command, held: targets.Pin | execution.Elsewhere) -> Command:
    """Leave out the options that we added where the program there does not know them: busybox's, or an old one."""
    if command.probe is None or isinstance(held, execution.Elsewhere):
        return command
    try:
        done = execution.ask(held, [*command.launcher, *command.probe], seconds=_CHECK)
    except subprocess.TimeoutExpired:
        return command
    if done.returncode == 0:
        return command
    return replace(command, argv=command.otherwise)


def installed(tool: Tool) -> None:
    if shutil.which(tool.name, path=execution.search_path()) is None:
        if "/" in tool.name and Path(tool.name).exists():
            raise ToolNotFound(f"{tool.name} is no program: it is no file that may be executed")
        hint = f"apt-get install {tool.package}" if tool.package else "install it, or look at the spelling"
        raise ToolNotFound(f"{tool.name} is not installed on this machine: {hint}")


def _cannot_become_another(held: targets.Pin) -> bool:
    """Whether this is root that may not give itself up: in a container without SETUID and SETGID."""
    return not held.launcher and os.geteuid() == 0 and bool(targets.missing_capabilities("CAP_SETUID", "CAP_SETGID"))


def _in_user_namespace() -> bool:
    """Whether we are ourselves in a user namespace that maps not every id: user_namespaces(7)."""
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]


def check(tool: Tool, command: Command, held: targets.Pin) -> None:
    """Refuse, before anything starts, an argv that could not run (a filter that does not compile)."""
    if command.check is None:
        return
    try:
        done = execution.ask(held, [*command.launcher, *command.check], seconds=_CHECK)
    except subprocess.TimeoutExpired:
        raise ToolFailed(
            f"{tool.name} took more than {_CHECK:.0f} s to compile the filter: does it name a host whose look-up hangs?"
        ) from None
    if done.returncode != 0:
        stderr = done.stderr.strip()
        raise tool.diagnose(stderr) or InputError(f"{tool.name} refuses its arguments: {last_line(stderr)}")
