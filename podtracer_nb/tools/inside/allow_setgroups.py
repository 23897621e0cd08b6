"""Run a program for which setgroups(2) seems to succeed: `allow_setgroups.py PROGRAM ARG…`.

tcpdump run by uid 0 always calls it, also with `-Z root`, and ends when it fails; and in a user namespace that an
ordinary user made it always fails (user_namespaces(7)). A seccomp filter answers in the kernel's place: errno 0.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import ClassVar

# linux/prctl.h, linux/seccomp.h, linux/filter.h
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# The call's number by machine (arch/*/include/**/unistd.h); elsewhere the program is run as it is.
SETGROUPS = {"x86_64": 116, "aarch64": 159, "riscv64": 159, "s390x": 206, "ppc64le": 81}


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_: ClassVar = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def allow_setgroups(number: int) -> None:
    """Answer errno 0 for the system call `number` in this process and in what it execs."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD_WORD, 0, 0, 0),  # the system call's number
            (JUMP_IF_EQUAL, 0, 1, number),
            (RETURN, 0, 0, SECCOMP_RET_ERRNO),
            (RETURN, 0, 0, SECCOMP_RET_ALLOW),
        )
    )
    memory = ctypes.create_string_buffer(program, len(program))
    loaded = Filter(len(program) // 8, ctypes.cast(memory, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    if platform.machine() in SETGROUPS:
        allow_setgroups(SETGROUPS[platform.machine()])
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  argv, never a shell
