"""Run a program that looks names up as a pod does: `resolver.py RESOLV_CONF PROGRAM ARG…`; the first word is its text.

In a mount namespace of its own that text lies over this machine's /etc/resolv.conf, and is gone with the program. A
`hosts:` line of nsswitch.conf(5) that asks other than files and DNS (systemd-resolved, mDNS) does so through sockets
that reach out of the pod, so it is made `files dns`. Where the kernel refuses, one line says so and the program runs
with what there is.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

NOTE = "podtracer: "
# linux/sched.h, linux/mount.h, umount2(2)
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
# A directory that is surely there, as nsenter names its descriptors in it; covered while the files are made.
PLACE = Path("/proc")

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *words: bytes | int | ctypes.c_ulong | None) -> None:
    """Make one system call, as libc has it."""
    if getattr(libc, name)(*words):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)


def lay(files: dict[str, str]) -> None:
    """Lay texts over files, for this process and what it execs: mount_namespaces(7)."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    call("mount", b"tmpfs", bytes(PLACE), b"tmpfs", ctypes.c_ulong(0), b"mode=755")
    try:
        for name, text in files.items():
            source = PLACE / Path(name).name
            source.write_text(text, encoding="utf-8")
            source.chmod(0o644)
            call("mount", bytes(source), name.encode(), None, ctypes.c_ulong(MS_BIND), None)
    finally:
        call("umount2", bytes(PLACE), MNT_DETACH)


def files_and_dns(switch: str) -> str:
    """Return the text of nsswitch.conf with hosts looked up in /etc/hosts and by DNS alone."""
    return re.sub(r"(?m)^\s*hosts:.*$", "hosts: files dns", switch)


def main(resolv_conf: str, argv: list[str]) -> None:
    """Run argv."""
    files = {"/etc/resolv.conf": resolv_conf}
    switch = Path("/etc/nsswitch.conf")
    try:
        if switch.is_file():
            files[str(switch)] = files_and_dns(switch.read_text(encoding="utf-8", errors="replace"))
        lay(files)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
        print(f"{NOTE}names are looked up with this machine's resolv.conf, not the pod's ({why})", file=sys.stderr)
        sys.stderr.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606  argv, never a shell
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
