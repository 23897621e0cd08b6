"""Live captures in a real JupyterLab: the dashboard is seen, steered, brushed; what is left when all is over."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import expect

from tests.browser.lab import PATIENCE, rows
from tests.machine import needs
from tests.targets.namespaces import alive, until

pytestmark = [
    needs("chromium", "netns", "dnsmasq", "iproute2", "tcpdump", "ping"), pytest.mark.usefixtures("demo_pods"),
]  # fmt: skip

START = "import podtracer_nb\nlive = podtracer_nb.capture('web', namespace='demo', interface='eth0')"
SHOW = "w = podtracer_nb.dashboard(live, span=20)\nw"


def dashboard(made):
    return made.page.locator(".podtracer-dashboard").first


def fact(shown, name: str):
    """Return the cell that says a fact of the dashboard."""
    return shown.get_by_role("row", name=re.compile(f"^{name}")).get_by_role("cell").first


def test_it_shows_what_goes_on_and_is_steered(notebook):
    made = notebook(START, SHOW)
    shown = dashboard(made)
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    expect(shown.locator(".podtracer-now")).to_contain_text(re.compile(r"[1-9]\d* packets ·"))
    expect(shown.locator(".podtracer-who").first).to_contain_text("→")
    expect(fact(shown, "lag")).to_have_text(re.compile(r"\d+ ms"))
    expect(fact(shown, "queries, answers")).to_have_text(re.compile(r"[1-9]\d*, [1-9]"), timeout=PATIENCE)
    expect(fact(shown, "median delay")).to_have_text(re.compile(r"\d+\.\d ms"))
    expect(shown.locator(".podtracer-chart path").first).to_have_attribute("d", re.compile("^M.*L.*z$"))
    pause, start, stop = (shown.get_by_role("button", name=name) for name in ("Pause", "Start", "Stop"))
    pause.click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: paused")
    made.answers("print(live.state)", "paused")
    shown.get_by_role("button", name="Resume").click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: running")
    stop.click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: ended")
    expect(stop).to_be_disabled()
    expect(pause).to_be_disabled()
    made.answers("print(live.running, len(podtracer_nb.captures()))", "False 0")
    shown.get_by_role("button", name="Start again").click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    made.answers("print(w.live is live, w.live.running)", "False True")
    made.answers("print(w.live.stop().running)", "False")
    expect(start).to_have_text("Start again")


def test_a_brushed_interval_is_a_frame(notebook):
    made = notebook(START, SHOW, "seen = []\nw.on_interval(lambda frame: seen.append(frame.nothing))")
    shown, page = dashboard(made), made.page
    chart = shown.locator(".podtracer-chart")
    expect(shown.locator(".podtracer-now")).to_contain_text(re.compile(r"[1-9]\d\d packets ·"), timeout=PATIENCE)
    shown.get_by_role("button", name="Stop").click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: ended")
    made.page.locator(".podtracer-dashboard").first.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 80, steps=5)
    page.mouse.up()
    expect(shown.locator(".podtracer-brush")).to_have_attribute("visibility", "visible")
    expect(shown.locator(".podtracer-note")).to_contain_text(re.compile(r"[1-9]\d* packets of .* UTC, in \.df"))
    expect(shown.get_by_role("alert")).to_contain_text("AttributeError")
    inside = "(w.df.time >= w.interval[0]).all() and (w.df.time < w.interval[1]).all()"
    assert made.ask(f"print(0 < len(w.df) <= len(live.df), {inside})") == "True True"
    chart.focus()
    page.keyboard.press("Escape")
    made.answers("print(w.interval)", "None")
    expect(shown.locator(".podtracer-brush")).to_have_attribute("visibility", "hidden")
    page.keyboard.press("ArrowLeft")
    made.answers("print(round((w.interval[1] - w.interval[0]).total_seconds() / (20 / 240)))", "10")
    page.keyboard.press("Shift+ArrowLeft")
    made.answers("print(round((w.interval[1] - w.interval[0]).total_seconds() / (20 / 240)))", "9")
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 3, "JupyterLab's own keys would delete the cell"


def test_two_views_show_the_same_and_a_page_opened_again_goes_on(notebook):
    made = notebook(START, SHOW, "w")
    first, second = (made.page.locator(".podtracer-dashboard").nth(number) for number in range(2))
    for view in (first, second):
        expect(view.locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    made.ask("w.interval = '2026-01-01', '2026-01-02'")
    for view in (first, second):
        expect(view.locator(".podtracer-note")).to_contain_text("in .df")
    second.get_by_role("button", name="Pause").click()
    expect(first.locator(".podtracer-state")).to_have_text("demo/web: paused")
    made.save()
    made.open()
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: paused", timeout=PATIENCE)
    expect(dashboard(made).locator(".podtracer-note")).to_contain_text("in .df")
    dashboard(made).get_by_role("button", name="Resume").click()
    many = int(made.ask("print(live.stats.packets)"))
    made.page.wait_for_function(
        """(many) => Number(document.querySelector(".podtracer-now").textContent.match(/([\\d,]+) packets/)[1]
            .replaceAll(",", "")) > many""",
        arg=many,
    )
    made.answers("print(live.stop().running)", "False")


def test_what_it_showed_last_is_in_the_saved_notebook(notebook):
    made = notebook(START, SHOW)
    shown = dashboard(made)
    expect(shown.locator(".podtracer-now")).to_contain_text(re.compile(r"[1-9]\d packets ·"), timeout=PATIENCE)
    shown.get_by_role("button", name="Stop").click()
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: ended")
    many = made.ask("print(f'{live.stats.packets:,} packets')")
    made.page.wait_for_function(
        """(many) => JSON.stringify(jupyterapp.shell.currentWidget.context.model.toJSON()).includes(many)""", arg=many
    )
    [output] = made.save().cells[1].outputs
    assert many in output.data["text/html"] and many in output.data["text/plain"]
    assert len(output.data["text/html"]) < 60_000
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: ended")


def test_light_dark_and_forced_colours(notebook):
    made = notebook(START, SHOW)
    shown = dashboard(made)
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    colours = {}
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        made.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        made.page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
        colours[theme] = shown.evaluate("(it) => [getComputedStyle(it).color, getComputedStyle(it).backgroundColor]")
    assert colours["JupyterLab Light"] == colours["JupyterLab Dark"][::-1] or (
        colours["JupyterLab Light"][0] != colours["JupyterLab Dark"][0]
        and colours["JupyterLab Light"][1] != colours["JupyterLab Dark"][1]
    )
    kinds = shown.locator(".podtracer-chart path")
    fills = kinds.evaluate_all("(paths) => paths.map((path) => getComputedStyle(path).fill)")
    made.page.emulate_media(forced_colors="active")
    assert kinds.evaluate_all("(paths) => paths.map((path) => getComputedStyle(path).fill)") == fills
    expect(shown.get_by_role("group", name=re.compile("Packets a second by protocol: TCP"))).to_be_visible()
    made.answers("print(live.stop().running)", "False")


def test_a_live_capture_from_its_start_to_a_page_offline(notebook, browser, runner: ModuleType, tmp_path):
    made = notebook(START, SHOW, "packets = live.df.podtrace.browse()\npackets")
    page, shown = made.page, dashboard(made)
    expect(shown.locator(".podtracer-now")).to_contain_text(re.compile(r"[1-9]\d\d packets ·"), timeout=PATIENCE)
    shown.get_by_role("button", name="Pause").click()
    made.answers("print(live.state)", "paused")
    page.evaluate(
        """async () => {
            const panel = jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = 2;
            await jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    packets = made.list
    # Not the first: whatever a pod's own kernel says when its link comes up may stand there.
    expect(rows(packets).filter(has_text="→").first).to_be_visible(timeout=PATIENCE)
    grid = packets.locator("[role=grid]")
    grid.focus()
    page.keyboard.press("Control+End")
    expect(grid.get_by_role("gridcell", name=made.ask("print(packets.df.index[-1])"), exact=True)).to_be_visible()
    box = packets.get_by_role("combobox")
    box.fill("proto == 'TCP' and payload_length > 0")
    box.press("Enter")
    expect(packets.locator(".podtracer-status")).to_contain_text(re.compile(r"\d of \d+ packets"))
    rows(packets).first.click()
    expect(packets.get_by_role("tree").get_by_role("treeitem", name="dport")).to_be_visible()
    expect(packets.locator(".podtracer-title")).to_have_text(re.compile(r"Packet \d+"))
    number = packets.locator(".podtracer-title").inner_text().removeprefix("Packet ").strip()
    made.answers("print(packets.selected.index.tolist())", f"[{number}]")
    packets.get_by_role("button", name="Follow stream").click()
    expect(packets.locator(".podtracer-said").first).to_be_visible()
    shown.get_by_role("button", name="Stop").click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: ended", timeout=PATIENCE)
    total = made.ask("print(f'{live.stats.packets:,} packets')")
    made.answers("print(len(podtracer_nb.captures()))", "0")
    page.wait_for_function(
        """(many) => JSON.stringify(jupyterapp.shell.currentWidget.context.model.toJSON()).includes(many)""", arg=total
    )
    saved = made.save()
    made.open()
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: ended", timeout=PATIENCE)
    expect(rows(made.list).filter(has_text="→").first).to_be_visible()
    (tmp_path / "page.html").write_text(runner.page(saved), encoding="utf-8")
    context = browser.new_context(offline=True)
    left = context.new_page()
    asked: list[str] = []
    left.on("request", lambda request: asked.append(request.url))
    left.goto(f"file://{tmp_path / 'page.html'}", wait_until="domcontentloaded")
    text = left.inner_text("body")
    expect(left.locator(".podtracer-static svg").first).to_be_visible()
    context.close()
    assert total in text and "Who sent most to whom" in text and "10.88.0." in text and "No." in text
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


RUNNING = "[each.job.run.pid for each in live._followers]"
LOOP = "print('waiting', flush=True)\nlive.wait()"


def pids_of(made) -> list[int]:
    """Return the processes of a capture: the tool, and its supervisor."""
    tools = [int(each) for each in made.ask(f"print(*{RUNNING})").split()]
    return [*tools, *(parent(each) for each in tools)]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def test_an_interrupt_in_the_browser_ends_the_cell_and_the_capture_can_be_stopped(notebook):
    made = notebook(START, SHOW)
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    pids = pids_of(made)
    assert len(pids) == 2 and all(alive(each) for each in pids)
    made.page.evaluate(
        """() => {
            const panel = jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = 1;
            jupyterapp.commands.execute("notebook:insert-cell-below");
        }"""
    )
    made.page.wait_for_function("() => jupyterapp.shell.currentWidget.content.widgets.length === 3")
    made.page.evaluate(
        """(code) => {
            const cells = jupyterapp.shell.currentWidget.content;
            cells.activeCellIndex = 2;
            cells.activeCell.model.sharedModel.setSource(code);
            jupyterapp.commands.execute("notebook:run-cell");
        }""",
        LOOP,
    )
    output = made.page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".jp-OutputArea")
    expect(output).to_contain_text("waiting")
    made.page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(output).to_contain_text("KeyboardInterrupt", timeout=PATIENCE)
    made.answers("print(live.running)", "True")
    dashboard(made).get_by_role("button", name="Stop").click()
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: ended", timeout=PATIENCE)
    made.answers("print(len(podtracer_nb.captures()))", "0")
    until(lambda: not any(alive(each) for each in pids))


def test_a_restart_in_the_browser_leaves_nothing_running(notebook):
    made = notebook(START, SHOW)
    expect(dashboard(made).locator(".podtracer-state")).to_have_text("demo/web: running", timeout=PATIENCE)
    pids = pids_of(made)
    assert len(pids) == 2 and all(alive(each) for each in pids)
    made.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    made.page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    until(lambda: not any(alive(each) for each in pids))
    made.answers("import podtracer_nb; print(len(podtracer_nb.captures()))", "0")
    expect(dashboard(made).get_by_role("alert")).to_contain_text("run the cell again", timeout=PATIENCE)


def test_pictures_of_it_for_the_readme(notebook, pictures):
    """PODTRACER_SCREENSHOTS=notebooks/images makes them anew."""
    made = notebook(START, SHOW)
    shown = dashboard(made)
    expect(shown.locator(".podtracer-now")).to_contain_text(re.compile(r"\d,\d\d\d packets ·"), timeout=2 * PATIENCE)
    shown.get_by_role("button", name="Pause").click()
    expect(shown.locator(".podtracer-state")).to_have_text("demo/web: paused")
    shown.screenshot(path=pictures / "dashboard.png")
    made.answers("print(live.stop().running)", "False")
    packets = notebook(
        f"import podtracer_nb\ndf = podtracer_nb.read_pcap({made.ask('print(live.files[0])')!r})",
        "packets = df.podtrace.browse(query=\"proto == 'TCP'\")\npackets",
    ).list
    expect(rows(packets).nth(3)).to_contain_text("→", timeout=PATIENCE)
    rows(packets).nth(3).click()
    expect(packets.get_by_role("tree").get_by_role("treeitem", name="dport")).to_be_visible(timeout=PATIENCE)
    packets.get_by_role("tree").get_by_role("treeitem", name="dport").click()
    packets.screenshot(path=pictures / "browse.png")
    for name in ("dashboard.png", "browse.png"):
        # How large depends on what was captured; it is neither empty nor a burden to who opens the README.
        assert 10_000 < (pictures / name).stat().st_size < 250_000, name
