"""The page of an executed notebook: whole in itself, so that it reads the same on a machine without network."""

from __future__ import annotations

from html.parser import HTMLParser
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

LOADS = {"src", "href", "data", "poster", "srcset", "action", "formaction", "background", "xlink:href"}


class References(HTMLParser):
    """Collects what a browser would fetch, and the scripts and styles in which it could be told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text = ""
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("script", "style") else None
        for name, value in attrs:
            text = value or ""
            own = text.startswith(("#", "data:"))
            if (name in LOADS and not own) or (name == "style" and "url(" in text):
                self.fetched.append(f"<{tag} {name}={text[:80]}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text += data


@pytest.fixture(scope="module")
def page(runner: ModuleType) -> str:
    html = '<div>demo/web · <span style="font-weight:600">100 packets</span></div>'
    widget = {"version_major": 2, "version_minor": 0, "model_id": "abc"}
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Packets\n\nA formula, $x^2$, and a fenced block:\n\n```mermaid\ngraph LR\n```"),
            new_code_cell(
                "df",
                outputs=[
                    new_output("display_data", {"text/html": html, "text/plain": "demo/web"}),
                    new_output(
                        "execute_result",
                        {"application/vnd.jupyter.widget-view+json": widget, "text/html": "<b>the table</b>"},
                        execution_count=1,
                    ),
                ],
            ),
        ],
        metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}},
    )
    nbformat.validate(notebook)
    return str(runner.page(notebook))


def test_the_page_fetches_nothing(page: str) -> None:
    references = References()
    references.feed(page)
    assert references.fetched == []
    assert "@import" not in references.text
    assert not [word for word in ("://cdn", "unpkg", "cdnjs", "jsdelivr", "require.min", "import(") if word in page]


def test_no_style_of_the_page_fetches_anything(page: str) -> None:
    urls = [part.split(")")[0].strip("\"' ") for part in page.split("url(")[1:]]
    assert [url for url in urls if not url.startswith(("data:", "#"))] == []


def test_a_widget_is_shown_as_the_html_beside_it(page: str) -> None:
    assert "<b>the table</b>" in page
    assert "100 packets" in page
    assert "<script" not in page


def test_making_the_page_changes_no_notebook(runner: ModuleType) -> None:
    notebook = new_notebook(metadata={"widgets": {}})
    runner.page(notebook)
    assert "widgets" in notebook.metadata
