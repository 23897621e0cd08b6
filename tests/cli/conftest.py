"""The demo pods, and `podtracer` as the process that users run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podtracer_nb import demo

Podtracer = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start demo pods of these tests' own; yield the environment in which `podtracer` finds them."""
    state = tmp_path_factory.mktemp("state")
    state.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(state))
        patch.setenv("PODTRACER_RECORDINGS", str(tmp_path_factory.mktemp("recordings")))
        demo.up()
        try:
            yield dict(os.environ)
        finally:
            demo.down()


@pytest.fixture
def podtracer(environment: dict[str, str], tmp_path: Path) -> Podtracer:
    """Run `podtracer` to its end."""

    def run(*words: str, timeout: float = 40) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "podtracer_nb", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    return run
