"""The packet list in a real JupyterLab: seen, scrolled, filtered, sorted, asked for a packet."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.lab import PATIENCE, cells, rows, shown
from tests.machine import needs

pytestmark = needs("chromium")

READ = "import podtracer_nb\ndf = podtracer_nb.read_pcap('traffic.pcap')"
BROWSE = "packets = df.podtrace.browse()\npackets"
ALL = "20,000 packets"


def test_rows_come_when_they_are_scrolled_to(notebook):
    made = notebook(READ, BROWSE)
    shown(made.list, ALL)
    expect(rows(made.list).first).to_contain_text("→")
    assert cells(made.list, "No.")[:3] == ["1", "2", "3"]
    grid = made.list.locator("[role=grid]")
    grid.hover()
    made.page.mouse.wheel(0, 22 * 300)
    expect(grid.get_by_role("gridcell", name="301", exact=True)).to_be_visible()
    grid.evaluate("grid => grid.scrollTop = grid.scrollHeight / 2")
    expect(grid.get_by_role("gridcell", name="10001", exact=True)).to_be_visible()
    grid.focus()
    made.page.keyboard.press("Control+End")
    expect(grid.get_by_role("gridcell", name="20000", exact=True)).to_be_visible()
    assert rows(made.list).count() < 40, "only the rows in sight are in the page"
