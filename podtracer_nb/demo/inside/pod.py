"""Process 1 of a demo pod: gives the pod its own name and files, waits for its link, and becomes its program.

`pod.py NAME`, started in new namespaces, reads two lines of JSON from stdin: its files (path: content), upon which it
says `made`, and the argv to exec. If stdin ends before that, the demo was given up, and so is the pod.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

# A directory that every Debian has (file-hierarchy standard 3.0, 3.12) and that no interpreter lives in.
SCRATCH = Path("/mnt")


def give_files(files: dict[str, str]) -> None:
    """Lay `files` over those of the machine, in this mount namespace only.

    They live in a tmpfs that is unmounted lazily right after: the bind mounts keep it alive, nothing else shows it.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=256k", "tmpfs", str(SCRATCH)], check=True)
    for number, (path, content) in enumerate(files.items()):
        if not Path(path).exists():
            if path == "/etc/resolv.conf":
                sys.exit("this machine has no /etc/resolv.conf that the pod's could be laid over: as root, touch it")
            continue  # the others are not needed: glibc's own defaults do
        source = SCRATCH / str(number)
        source.write_text(content)
        source.chmod(0o644)
        subprocess.run(["mount", "--bind", str(source), path], check=True)
    subprocess.run(["umount", "--lazy", str(SCRATCH)], check=True)


def order() -> Any:
    """Return what the next line says."""
    line = sys.stdin.readline()
    if not line:
        sys.exit("given up before the pod had its link")
    return json.loads(line)


def main() -> None:
    """Set up, wait, become the program."""
    socket.sethostname(sys.argv[1])
    give_files(order())
    os.write(1, b"made\n")
    argv = order()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
