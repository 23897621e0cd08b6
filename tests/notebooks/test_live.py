"""The notebook of live captures, on real demo pods: what it shows is what went by, and nothing runs on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tests.house.checkout import ROOT
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump")

HAND_OUT = """import json
print(json.dumps({
    "packets": len(everything), "counted": live.stats.packets, "dropped": live.stats.dropped_by_kernel,
    "in interval": len(w.df), "narrow": narrow.df.target.value_counts().to_dict(),
    "ports": sorted({*narrow.df.sport.dropna().tolist(), *narrow.df.dport.dropna().tolist()} & {53}),
    "both": sum(sum(step[:6]) for step in podtracer_nb.dashboard(narrow)._told(None)["steps"]),
    "running": len(podtracer_nb.captures()), "file": str(live.files[0]),
}))"""


@pytest.fixture(scope="module")
def done(runner: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookNode]:
    """Return the notebook after its run, with a cell that hands its variables out."""
    own = tmp_path_factory.mktemp("live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(own / "state"))
        patch.setenv("PODTRACER_RECORDINGS", str(own / "recordings"))
        notebook = nbformat.read(ROOT / "notebooks" / "04-live.ipynb", as_version=4)
        notebook.cells.append(new_code_cell(HAND_OUT, id="hand-out"))
        with runner.demo_pods():
            yield runner.execute(notebook)


@pytest.fixture(scope="module")
def told(done: NotebookNode) -> dict[str, Any]:
    told = json.loads(done.cells[-1].outputs[0]["text"])
    assert isinstance(told, dict)
    return told


def cell(done: NotebookNode, name: str) -> NotebookNode:
    return next(each for each in done.cells if each.id == name)


def test_all_that_went_by_is_in_the_file(told: dict[str, Any]) -> None:
    assert told["packets"] == told["counted"] >= 200 and told["dropped"] == 0
    assert Path(told["file"]).stat().st_size > 200 * 16


def test_the_interval_has_packets(told: dict[str, Any]) -> None:
    assert told["in interval"] > 0


def test_the_narrower_capture_is_of_both_ends_and_of_one_port(told: dict[str, Any]) -> None:
    assert told["narrow"] == {"demo/client": 50, "demo/web": 50}
    assert told["ports"] == [53]


def test_a_dashboard_of_two_targets_that_has_ended_counts_the_packets_of_both(told: dict[str, Any]) -> None:
    assert told["both"] == 100


def test_nothing_runs_on(told: dict[str, Any]) -> None:
    assert told["running"] == 0


def test_the_dashboard_is_left_as_it_was_at_the_end(done: NotebookNode, told: dict[str, Any]) -> None:
    [output] = cell(done, "show").outputs
    assert f"{told['counted']:,} packets" in output.data["text/plain"]
    assert "ended" in output.data["text/plain"] and "<svg" in output.data["text/html"]


def test_a_page_of_it_shows_all_of_that_without_a_kernel(runner: ModuleType, done: NotebookNode) -> None:
    page = runner.page(done)
    assert "Who sent most to whom" in page and "10.88.0." in page
    assert "<table" in page and 'src="http' not in page
