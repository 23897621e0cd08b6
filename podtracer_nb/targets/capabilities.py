"""The launcher: how an ordinary user's notebook starts the one program that needs capabilities.

A process that is not root keeps no capabilities through exec, unless the file that it execs carries some
(capabilities(7)). So the image holds ``podtracer-launcher``: a copy of util-linux's setpriv(1) whose file is permitted
capabilities. Started by us it makes them ambient, so that the program behind it, and what that starts in its turn
(nsenter, tcpdump), have them; Jupyter and its kernels have none. The container's bounding set, which is its
``securityContext.capabilities``, decides which of the file's capabilities it gets.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct

from podtracer_nb.targets import procfs

__all__ = ["PROGRAM", "launcher", "missing_capabilities", "permitted"]

#: The program's name, looked for on PATH.
PROGRAM = "podtracer-launcher"

_XATTR = "security.capability"
# linux/capability.h, struct vfs_cap_data: a magic word, then (permitted, inheritable) for the low and the high half.
_REVISIONS = {0x01000000: 1, 0x02000000: 2, 0x03000000: 2}
_REVISION_MASK = 0xFF000000


@functools.cache
def launcher() -> tuple[str, ...]:
    """Return the words to put before a program that has to enter namespaces; none where we may do that ourselves.

    None as well where there is no launcher, or it would give nothing: then the kernel's refusal is the answer.

    Examples
    --------
    >>> launcher() == () or launcher()[0].endswith(PROGRAM)
    True
    """
    if not procfs.missing_capabilities("CAP_SYS_ADMIN", "CAP_SYS_PTRACE"):
        return ()
    path = shutil.which(PROGRAM)
    if path is None or procfs.no_new_privileges():
        return ()
    names = procfs.capability_names(permitted(path) & procfs.capabilities("CapBnd"))
    if not names:
        return ()
    wanted = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names)
    return (path, "--inh-caps", wanted, "--ambient-caps", wanted, "--")


def missing_capabilities(*names: str) -> tuple[str, ...]:
    """Return those of the capabilities `names` that neither we nor a program of the launcher's would have."""
    words = launcher()
    if not words:
        return procfs.missing_capabilities(*names)
    given = procfs.capability_names(permitted(words[0]) & procfs.capabilities("CapBnd"))
    return tuple(name for name in names if name not in given)


def permitted(path: str) -> int:
    """Return the capabilities that a file permits whoever execs it, as a bit set; 0 where it carries none."""
    try:
        data = os.getxattr(path, _XATTR)
    except OSError:
        return 0
    (magic,) = struct.unpack_from("<I", data)
    words = _REVISIONS.get(magic & _REVISION_MASK, 0)
    return sum(int(struct.unpack_from("<I", data, 4 + 8 * half)[0]) << 32 * half for half in range(words))
