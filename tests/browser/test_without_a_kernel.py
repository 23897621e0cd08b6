"""What stays of a widget when its kernel is gone: in the saved notebook, and in the page made of it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import nbformat
from playwright.sync_api import Browser, expect

from tests.browser.lab import shown
from tests.machine import needs

pytestmark = needs("chromium")

CELLS = (
    "import podtracer_nb\ndf = podtracer_nb.read_pcap('traffic.pcap')",
    "df.podtrace.browse(query=\"proto == 'ARP'\")",
)


def seen(browser: Browser, path: str) -> tuple[str, list[str]]:
    """Open a page that has no network at all, and return its text and what it asked for."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{path}", wait_until="domcontentloaded")
    table = page.locator(".podtracer-static table")
    expect(table).to_be_visible()
    assert table.locator("tbody tr").count() == 25
    text = page.inner_text("body")
    context.close()
    return text, [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def test_a_saved_notebook_has_the_first_rows_and_says_what_it_left_out(notebook):
    made = notebook(*CELLS)
    many = made.ask("print(format((df.proto == 'ARP').sum(), ','))")
    shown(made.list, f"{many} of 20,000 packets")
    saved = made.save()
    [output] = saved.cells[1].outputs
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(output.data)
    first = output.data["text/plain"].splitlines()[0]
    assert first == (
        f"{many} packets of 20,000 where proto == 'ARP'; the first 10 of them, the others are in the notebook's kernel"
    )
    assert "widgets" not in saved.metadata
    assert len(nbformat.writes(saved)) < 60_000


def test_a_page_made_of_it_shows_them_offline(notebook, browser, runner: ModuleType, tmp_path):
    made = notebook(*CELLS)
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")
    saved = made.save()
    page = tmp_path / "page.html"
    page.write_text(runner.page(saved), encoding="utf-8")
    text, asked = seen(browser, str(page))
    assert "Who has" in text and "where proto == 'ARP'; the first 25 of them" in text
    assert asked == [], "this page needs nothing from anywhere"


def test_so_does_the_page_of_nbconvert_itself(notebook, browser, tmp_path):
    """It asks for MathJax and others of its own, which are not there, and shows the table all the same."""
    made = notebook(*CELLS)
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")
    nbformat.write(made.save(), tmp_path / "saved.ipynb")
    argv = [sys.executable, "-m", "nbconvert", "--to", "html", "saved.ipynb"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    text, _ = seen(browser, str(tmp_path / "saved.html"))
    assert "Who has" in text


def reopened(made, end: str) -> None:
    """Save a notebook that shows the list, end its kernel, and open it again; what was left of the list is there."""
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")
    made.save()
    made.page.evaluate(f"() => jupyterapp.shell.currentWidget.sessionContext.{end}")
    made.page.goto("about:blank")
    made.open()
    table = made.page.locator(".podtracer-static table")
    expect(table).to_be_visible()
    assert "Who has" in table.inner_text()
    assert made.page.get_by_text("model not found").count() == 0


def test_opened_again_with_a_fresh_kernel_it_shows_them_until_it_is_run(notebook):
    made = notebook(*CELLS)
    reopened(made, "shutdown()")
    made.run()
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")


def test_opened_again_after_a_restart_it_shows_them_too(notebook):
    reopened(notebook(*CELLS), "session.kernel.restart()")


def test_opened_again_with_its_own_kernel_it_is_the_list(notebook):
    made = notebook(*CELLS)
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")
    made.save()
    made.page.goto("about:blank")
    made.open()
    expect(made.list.locator(".podtracer-rows")).to_contain_text("Who has")
    assert made.page.locator(".podtracer-static").count() == 0
