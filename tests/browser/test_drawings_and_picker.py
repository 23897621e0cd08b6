"""The ladder, the topology and the picker in a real JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import PATIENCE
from tests.machine import needs

pytestmark = needs("chromium")

READ = "import podtracer_nb\ndf = podtracer_nb.read_pcap('traffic.pcap')"


def test_a_ladder_is_zoomed_by_buttons_keys_and_the_mouse(notebook):
    made = notebook(READ, "ladder = df.podtrace.ladder()\nladder")
    page = made.page
    drawing = page.locator(".podtracer-ladder svg")
    expect(drawing).to_be_visible()
    whole = int(made.ask("print(len(ladder.df))"))
    everything = page.locator(".podtracer-ladder").get_by_role("button", name="All")
    page.locator(".podtracer-ladder").get_by_role("button", name="Closer").click()
    expect(everything).to_be_enabled()
    closer = int(made.ask("print(len(ladder.df))"))
    assert 0 < closer < whole
    page.locator(".podtracer-ladder [role=group]").focus()
    page.keyboard.press("0")
    expect(everything).to_be_disabled()
    box = drawing.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 260, steps=4)
    page.mouse.up()
    expect(everything).to_be_enabled()
    assert 0 < int(made.ask("print(len(ladder.df))")) < whole
    [output] = made.save().cells[1].outputs
    assert output.data["image/svg+xml"] and "text/html" not in output.data


def test_a_topology_is_an_image(notebook):
    made = notebook(READ, "df.podtrace.topology()")
    image = made.page.locator(".jp-OutputArea-output img, .jp-OutputArea-output svg").first
    expect(image).to_be_visible()


@needs("netns", "dnsmasq", "iproute2", "tcpdump")
@pytest.mark.usefixtures("demo_pods")
def test_the_picker_tells_the_line_runs_it_and_refuses_what_cannot_be(notebook):
    made = notebook("import podtracer_nb\npicked = podtracer_nb.picker('demo')\npicked")
    form = made.page.get_by_role("form", name="Pick pods and a tool")
    expect(form.get_by_text("choose a pod")).to_be_visible(timeout=PATIENCE)
    form.get_by_role("checkbox", name=re.compile("web")).check()
    line = form.locator(".podtracer-line")
    expect(line).to_have_text("%podtrace tcpdump --pod web -n demo")
    form.get_by_label("Interface").fill("eth0")
    form.get_by_label("Count").fill("many")
    expect(form.get_by_role("alert").last).to_contain_text("many")
    expect(form.get_by_role("button", name="Run")).to_be_disabled()
    form.get_by_label("Count").fill("5")
    expect(line).to_have_text("%podtrace tcpdump --pod web -n demo --interface eth0 --count 5")
    form.get_by_role("button", name="Run").click()
    expect(form.locator(".podtracer-state")).to_contain_text("5 packets", timeout=PATIENCE)
    expect(form.locator("table tbody tr")).to_have_count(5)
    assert made.ask("print(len(picked.df))") == "5"
    assert made.ask("print(picked.line)") == "%podtrace tcpdump --pod web -n demo --interface eth0 --count 5"
    form.get_by_label("Tool").select_option("ip")
    expect(line).to_have_text("%podtrace ip --pod web -n demo")
