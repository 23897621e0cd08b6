"""Skips what this machine cannot run, with the reason; fails it instead where `PODTRACER_REQUIRE` names the need."""

from __future__ import annotations

import os
import signal

import pytest

from tests.machine import NEEDS, missing, required

pytest_plugins = ("tests.cluster.fixtures",)

# Debian keeps tcpdump, ip and dnsmasq in sbin, which is not on an ordinary user's PATH.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and refuse a misspelt requirement before any test runs."""
    # A run started in the background inherits these ignored, and would hand that down to every program it interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    config.addinivalue_line("markers", "cluster: this test needs a Kubernetes cluster (make cluster-up)")
    config.addinivalue_line("markers", "needs(*words): what this test needs from the machine")
    unknown = required() - set(NEEDS)
    if unknown:
        raise pytest.UsageError(f"PODTRACER_REQUIRE names unknown needs {sorted(unknown)}; known: {sorted(NEEDS)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose need this machine does not meet."""
    cluster = ["cluster"] if item.get_closest_marker("cluster") else []
    for words in (cluster, *(mark.args for mark in item.iter_markers("needs"))):
        for word in words:
            reason = missing(word)
            if reason is None:
                continue
            if word in required():
                pytest.fail(f"PODTRACER_REQUIRE names {word}, and {reason}", pytrace=False)
            pytest.skip(reason)
