"""The widgets in Notebook 7, which is no JupyterLab and has no extension of ours."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.lab import PATIENCE, rows, shown
from tests.machine import needs

pytestmark = needs("chromium")


def test_the_packet_list_is_seen_filtered_and_asked_for_a_packet(page, lab):
    lab.write(
        "seven.ipynb",
        "import podtracer_nb\npackets = podtracer_nb.read_pcap('traffic.pcap').podtrace.browse()\npackets",
    )
    base, token = lab.url.split("?")
    page.goto(f"{base.removesuffix('/lab')}/notebooks/seven.ipynb?{token}")
    cell = page.locator(".jp-CodeCell").first
    cell.locator(".cm-content").click(timeout=PATIENCE)
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("Shift+Enter")
    packets = page.locator(".podtracer-list").first
    shown(packets, "20,000 packets")
    expect(rows(packets).first).to_contain_text("→")
    box = packets.get_by_role("combobox")
    box.fill("proto == 'ARP'")
    box.press("Enter")
    expect(packets.locator(".podtracer-status")).to_contain_text("of 20,000 packets")
    rows(packets).first.click()
    expect(packets.get_by_role("tree").get_by_role("treeitem", name="psrc")).to_be_visible()
