"""What outputs of many runs are called in one folder or bucket: whose, of which interface, since when."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from podtracer_nb import targets
from podtracer_nb.errors import InputError
from podtracer_nb.tools.tool import Command, Options

__all__ = ["names", "new_file"]


def names(target: targets.Target, command: Command, options: Options) -> Iterator[str]:
    """Give names for one run's output, ``NAMESPACE_POD_INTERFACE_TIME`` and an ending; the later for where it is taken.

    Examples
    --------
    >>> web = targets.Target(pod="web-0", namespace="shop")
    >>> next(names(web, Command(("tcpdump",), suffix=".pcap"), Options(interface="eth0")))[:16]
    'shop_web-0_eth0_'
    """
    now = datetime.datetime.now(datetime.UTC)
    interface = options.interface or _interface(command.argv)
    words = [target.namespace, target.pod, interface, f"{now:%Y%m%dT%H%M%S.%fZ}"]
    # An underscore is in no Kubernetes name, so that the parts can be told from one another.
    name = "_".join(re.sub(r"[^A-Za-z0-9.:-]+", "-", word) for word in words if word)
    for number in itertools.count(1):
        yield f"{name}{f'_{number}' if number > 1 else ''}{command.suffix}"


def _interface(argv: tuple[str, ...]) -> str:
    for word, following in itertools.pairwise((*argv, "")):
        if word in ("-i", "--interface"):
            return following
        if match := re.fullmatch(r"(?:-i|--interface=)([^\s=].*)", word):
            return match[1]
    return ""


def new_file(folder: Path, target: targets.Target, command: Command, options: Options) -> Path:
    """Make an empty file of such a name, that was not there before, and return its path.

    Raises
    ------
    InputError
        The folder cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names(target, command, options):
            try:
                os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            return folder / name
    except OSError as error:
        raise InputError(f"no file can be made in {folder} ({error.strerror}): name another folder") from error
    raise AssertionError  # names do not end
