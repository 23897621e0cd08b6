"""`python -m tests.execution.other_system SYSTEM CODE`: code as it would run on macOS (darwin) or Windows (win32).

No such machine is here, so what those systems lack is taken away from this one before podtracer_nb is imported:
modules, functions and constants of `os`, `signal`, `socket`, `select` and `mmap`. The libraries that it needs are
imported before: they have wheels for those systems. What is otherwise there (paths, line ends, the console) stays
untested.
"""

from __future__ import annotations

import importlib
import importlib.abc
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from types import ModuleType
from typing import Any

# What is imported on the way, from the standard library as from PyPI, is made for the system it runs on.
LIBRARIES = (
    "asyncio", "concurrent.futures.thread", "multiprocessing", "shutil", "ssl", "subprocess", "tempfile", "getpass",
    "IPython.core.interactiveshell", "anywidget", "click", "ipywidgets", "kubernetes.client", "kubernetes.config",
    "numpy", "pandas", "scapy.all", "traitlets", "urllib3", "websocket", "yaml",
)  # fmt: skip
NOT_ON_MACOS = {
    os: (
        "CLONE_NEWNET O_DIRECT O_PATH copy_file_range eventfd getxattr listxattr memfd_create pidfd_open "
        "posix_fallocate sched_getaffinity sched_setaffinity setns setxattr splice unshare"
    ),
    mmap: "MADV_HUGEPAGE MADV_POPULATE_WRITE",
    socket: "AF_NETLINK AF_PACKET AF_VSOCK SO_PEERCRED",
    select: "epoll",
    signal: "pidfd_send_signal",
}
NOT_ON_WINDOWS = {
    os: (
        "O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK WNOHANG chown chroot confstr fchmod fchown fdatasync "
        "fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpriority getsid getuid initgroups killpg "
        "lchown mkfifo nice openpty pathconf posix_spawn posix_spawnp pread preadv pwrite pwritev readv "
        "sched_yield sendfile setpgid setsid sync sysconf ttyname uname wait3 wait4 waitid writev"
    ),
    mmap: "MADV_DONTNEED MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED PROT_READ PROT_WRITE",
    socket: "AF_UNIX CMSG_LEN SCM_RIGHTS recv_fds send_fds",
    select: "poll",
    signal: (
        "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH "
        "pthread_kill pthread_sigmask setitimer siginterrupt sigwait"
    ),
}
MODULES_NOT_ON_WINDOWS = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def _windows_runtime() -> ModuleType:
    """Return what Windows has in place of flock(2), as far as it is asked for."""
    import fcntl

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert mode == runtime.LK_NBLCK
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, count, at)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error  # errno EACCES: _locking

    runtime: Any = ModuleType("msvcrt")
    runtime.locking, runtime.LK_NBLCK = locking, 2
    return runtime  # type: ignore[no-any-return]


class _Hidden(importlib.abc.MetaPathFinder):
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def become(system: str) -> None:
    """Take away what a system lacks."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for lacking in (NOT_ON_MACOS, NOT_ON_WINDOWS) if system == "win32" else (NOT_ON_MACOS,):
        for module, names in lacking.items():
            for name in names.split():
                if hasattr(module, name):
                    delattr(module, name)
    if system == "win32":
        sys.modules["msvcrt"] = _windows_runtime()
        sys.meta_path.insert(0, _Hidden(MODULES_NOT_ON_WINDOWS))
        for name in MODULES_NOT_ON_WINDOWS:
            sys.modules.pop(name, None)
    sys.platform = system


def started(system: str, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code there."""
    return subprocess.run(
        [sys.executable, "-m", "tests.execution.other_system", system, code],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def on(system: str, code: str, **environment: str) -> str:
    """Return what code prints there, where it ends well."""
    done = started(system, code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    become(sys.argv[1])
    exec(sys.argv[2])
