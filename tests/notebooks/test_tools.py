"""The notebook of every tool as a table, on real demo pods: what it shows is what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from tests.house.checkout import ROOT
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump", "iperf3", "dig")

HAND_OUT = """import json
print(json.dumps({
    "addresses": addresses["address"].tolist(),
    "answer": answer["data"].tolist(),
    "packets": len(capture), "replies": len(replies),
    "samples": links.attrs["podtracer"]["facts"]["samples"],
    "fast": float(speed["bits_per_second"].mean()), "slow": float(slow["bits_per_second"].mean()),
    "during": during["kind"].tolist(), "left": len(podtracer_nb.diff(before, after)),
}))"""


@pytest.fixture(scope="module")
def told(runner: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Return what the notebook's variables hold after its run."""
    own = tmp_path_factory.mktemp("tools")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(own / "state"))
        patch.setenv("PODTRACER_RECORDINGS", str(own / "recordings"))
        notebook = nbformat.read(ROOT / "notebooks" / "03-tools.ipynb", as_version=4)
        notebook.cells.append(new_code_cell(HAND_OUT, id="hand-out"))
        with runner.demo_pods():
            done = runner.execute(notebook)
        yield json.loads(done.cells[-1].outputs[0]["text"])


def test_the_tables_are_the_pods_own(told: dict[str, Any]) -> None:
    assert "10.88.0.100" in told["addresses"]
    assert told["answer"] == ["10.88.0.10"]


def test_the_capture_beside_the_ping_has_both_directions_of_each(told: dict[str, Any]) -> None:
    assert (told["replies"], told["packets"]) == (5, 10)


def test_a_sample_every_200_ms(told: dict[str, Any]) -> None:
    assert 10 <= told["samples"] <= 16


def test_the_bad_link_is_slow_while_it_is_held_and_gone_afterwards(told: dict[str, Any]) -> None:
    assert told["slow"] < 20e6 < told["fast"]
    assert (told["during"], told["left"]) == (["tbf"], 0)
