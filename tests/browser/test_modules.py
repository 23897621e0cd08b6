"""The JavaScript of the widgets, by the rules of every front end: a module with a default export that fetches nothing.

VS Code and Colab load a widget's module alone: no extension of JupyterLab, no require.js, nothing imported.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from podtracer_nb.notebook import widgets
from tests.machine import needs

CLASSES = (widgets.LadderDiagram, widgets.LiveDashboard, widgets.PacketList, widgets.PodPicker)
FETCHES = re.compile(
    r"(?<!\.)\bfetch\s*\((?![^()]*\)\s*\{)"  # and no method of that name
    r"|\b(?:import|require|define|eval|importScripts|XMLHttpRequest|WebSocket|EventSource|Worker)\b\s*\(?"
    r"|\bimport\.meta\b|\bnew Function\b|sendBeacon|https?://(?!www\.w3\.org/2000/svg)"
)


def module(each: type) -> str:
    return str(each._esm)  # type: ignore[attr-defined]  # of a file anywidget makes what it holds


def code(text: str) -> str:
    """Return JavaScript without its comments."""
    return re.sub(r"(?m)(?:^|\s)//.*$", "", text)


@pytest.mark.parametrize("each", CLASSES)
def test_a_module_asks_for_nothing(each):
    assert FETCHES.findall(code(module(each))) == []


def test_every_file_of_javascript_is_one_of_these():
    folder = Path(widgets.__file__).parent
    modules = "".join(module(each) for each in CLASSES)
    for path in folder.glob("*.js"):
        assert path.read_text(encoding="utf-8") in modules, path.name
    for path in folder.glob("*.css"):
        assert not re.search(r"@import|url\(", path.read_text(encoding="utf-8")), path.name


@needs("chromium")
@pytest.mark.parametrize("each", CLASSES)
def test_a_module_has_a_default_export_that_renders_and_no_other(each, page):
    page.goto("about:blank")
    found = page.evaluate(
        """async (source) => {
            const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
            const module = await import(address);
            return [Object.keys(module), typeof module.default.render];
        }""",
        module(each),
    )
    assert found == [["default"], "function"]
