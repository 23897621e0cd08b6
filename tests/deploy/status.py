"""The capability sets of a /proc/PID/status, and the five that the launcher may take."""

from __future__ import annotations

from tests.deploy.manifests import FIVE

# linux/capability.h: the bits of the five.
BITS = {"SETGID": 6, "SETUID": 7, "NET_RAW": 13, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
MASK = sum(1 << BITS[name] for name in FIVE)
ASKED = ",".join(f"+{name.lower()}" for name in FIVE)
LAUNCH = ("podtracer-launcher", "--inh-caps", ASKED, "--ambient-caps", ASKED, "--")


def masks(status: str) -> dict[str, int]:
    """Return the capability sets of a /proc/PID/status."""
    words = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in words.items()}
