"""The packet list in a real JupyterLab: seen, scrolled, filtered, sorted, asked for a packet."""

from __future__ import annotations

import re

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


def test_a_filter_is_completed_applied_and_refused(notebook):
    made = notebook(READ, BROWSE)
    packets, keyboard = made.list, made.page.keyboard
    box = packets.get_by_role("combobox")
    shown(packets, ALL)
    box.focus()
    keyboard.type("dpo")
    expect(packets.get_by_role("option")).to_contain_text("destination port")
    keyboard.press("Tab")
    expect(box).to_have_value("dport")
    keyboard.type(" == 53")
    keyboard.press("Enter")
    expect(packets.locator(".podtracer-status")).to_contain_text("of 20,000 packets")
    chosen = int(made.ask("print(len(packets.df), (packets.df.dport == 53).all(), repr(packets.query))").split()[0])
    assert chosen == int(made.ask("print((df.dport == 53).sum())"))
    before = cells(packets, "No.")
    box.fill("dprt == 53")
    box.press("Enter")
    expect(packets.get_by_role("alert")).to_have_text("there is no column 'dprt': 'dport'?")
    assert cells(packets, "No.") == before, "the view stays as it was"
    box.fill("dport ==")
    box.press("Enter")
    expect(packets.get_by_role("alert")).to_contain_text("cannot be read as a query")
    expect(box).to_have_attribute("aria-invalid", "true")
    packets.get_by_role("button", name="Show all rows").click()
    shown(packets, ALL)
    expect(packets.get_by_role("alert")).to_have_count(0)


def test_rows_are_sorted_by_a_head_and_chosen_from_the_menu_of_a_cell(notebook):
    made = notebook(READ, BROWSE)
    packets, page = made.list, made.page
    shown(packets, ALL)
    head = packets.get_by_role("columnheader", name="length")
    head.click()
    head.click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(rows(packets).first).to_contain_text(made.ask("print(df.length.max())"))
    assert made.ask("print(packets.sort, packets.df.length.is_monotonic_decreasing)") == "-length True"
    rows(packets).first.get_by_role("gridcell", name="TCP", exact=True).click(button="right")
    menu = packets.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(menu).to_be_hidden()
    expect(packets.get_by_role("combobox")).to_have_value("proto != 'TCP'")
    packets.locator("[role=grid]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+F10")
    menu.get_by_role("menuitem", name="Only this conversation").click()
    expect(packets.get_by_role("combobox")).to_have_value(re.compile(r"\(proto != 'TCP'\) and \(\(src == .*\) or \("))
    both = "{*packets.df.src.astype(str)} | {*packets.df.dst.astype(str)}"
    assert made.ask(f"print(len({both}))") == "2"


def test_a_packet_shows_its_fields_its_bytes_and_its_stream(notebook):
    made = notebook(READ, BROWSE)
    packets, page = made.list, made.page
    shown(packets, ALL)
    box = packets.get_by_role("combobox")
    box.fill("proto == 'TCP' and payload_length > 0")
    box.press("Enter")
    expect(packets.locator(".podtracer-status")).to_contain_text("of 20,000 packets")
    rows(packets).first.click()
    tree = packets.get_by_role("tree")
    port = tree.get_by_role("treeitem", name="dport")
    port.click()
    number = int(made.ask("print(packets.selected.index[0])"))
    expect(packets.locator(".podtracer-title")).to_have_text(f"Packet {number}")
    dport = int(made.ask("print(packets.selected.dport.iloc[0])"))
    marked = packets.locator(".podtracer-codes .podtracer-marked")
    assert "".join(marked.all_inner_texts()) == f"{dport:04x}", "a field marks the bytes that it was read from"
    packets.locator(".podtracer-codes span").nth(0).click()
    expect(tree.get_by_role("treeitem", name="dst").first).to_have_attribute("aria-selected", "true")
    assert int(made.ask("print(len(df.podtrace.raw(packets.selected.index[0])))")) == (
        packets.locator(".podtracer-codes [data-at]").count()
    )
    packets.get_by_role("button", name="Follow stream").click()
    expect(packets.locator(".podtracer-said").first).to_contain_text("packet")
    packets.get_by_role("button", name="Back to the packet").click()
    expect(tree).to_be_visible()
    rows(packets).nth(2).click(modifiers=["Shift"])
    expect(rows(packets).nth(1)).to_have_attribute("aria-selected", "true")
    made.answers("print(len(packets.selected))", "3")
    page.keyboard.press("Escape")
    expect(packets.locator("[role=grid]")).to_be_focused()


def test_all_of_it_is_reached_by_the_keyboard(notebook):
    made = notebook(READ, BROWSE)
    packets, keyboard = made.list, made.page.keyboard
    shown(packets, ALL)
    grid = packets.locator("[role=grid]")
    grid.focus()
    for _ in range(3):
        keyboard.press("ArrowDown")
    expect(packets.locator(".podtracer-title")).to_have_text("Packet 3")
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    at = grid.locator(".podtracer-at")
    expect(at).to_have_text(made.ask("print(df.src.iloc[2])"))
    expect(grid).to_have_attribute("aria-activedescendant", str(at.get_attribute("id")))
    keyboard.press("s")
    expect(packets.get_by_role("columnheader", name="src")).to_have_attribute("aria-sort", "ascending")
    keyboard.press("Enter")
    expect(packets.get_by_role("tree")).to_be_focused()
    keyboard.press("ArrowDown")
    expect(packets.get_by_role("treeitem").first).to_have_attribute("aria-selected", "true")
    keyboard.press("ArrowLeft")
    expect(packets.get_by_role("treeitem").first).to_have_attribute("aria-expanded", "false")
    keyboard.press("Escape")
    keyboard.press("/")
    expect(packets.get_by_role("combobox")).to_be_focused()
    keyboard.type("dd aa bb xx")  # JupyterLab's own keys would delete and add cells
    assert made.page.locator(".jp-Notebook .jp-CodeCell").count() == 2


def test_columns_are_chosen_and_names_stand_for_addresses(notebook):
    made = notebook(READ, "names = {df.src.iloc[0]: 'client-7'}\npackets = df.podtrace.browse(names=names)\npackets")
    packets = made.list
    shown(packets, ALL)
    expect(rows(packets).first).to_contain_text("client-7")
    packets.get_by_label("names", exact=True).uncheck()
    expect(rows(packets).first).not_to_contain_text("client-7")
    packets.get_by_role("button", name="Columns").click()
    packets.get_by_label("ip_ttl", exact=True).check()
    expect(packets.get_by_role("columnheader", name="ip_ttl")).to_be_visible()
    assert cells(packets, "ip_ttl")[0] == made.ask("print(df.ip_ttl.iloc[0])")
    assert made.ask("print(packets.columns[-2:])") == "['ip_ttl', 'info']"


def test_two_views_scroll_apart_and_show_the_same_rows(notebook):
    made = notebook(READ, BROWSE, "packets")
    first, second = (made.page.locator(".podtracer-list").nth(n) for n in range(2))
    shown(first, ALL)
    shown(second, ALL)
    second.locator("[role=grid]").evaluate("grid => grid.scrollTop = grid.scrollHeight")
    expect(second.get_by_role("gridcell", name="20000", exact=True)).to_be_visible()
    assert cells(first, "No.")[0] == "1"
    first.get_by_role("combobox").fill("proto == 'ARP'")
    first.get_by_role("combobox").press("Enter")
    many = made.ask("print(f\"{(df.proto == 'ARP').sum():,}\")")
    shown(first, f"{many} of 20,000 packets")
    shown(second, f"{many} of 20,000 packets")
    expect(second.get_by_role("combobox")).to_have_value("proto == 'ARP'")
    rows(first).nth(1).click()
    expect(rows(second).nth(1)).to_have_attribute("aria-selected", "true")


def test_python_sets_what_is_shown_and_a_changed_frame_is_noticed(notebook):
    made = notebook(READ, BROWSE)
    packets = made.list
    shown(packets, ALL)
    made.ask("packets.query = \"proto == 'ARP'\"; packets.sort = '-time'")
    expect(packets.get_by_role("combobox")).to_have_value("proto == 'ARP'")
    assert "no column 'x'" in made.ask("packets.query = 'x == 1'")
    assert made.ask("print(packets.query)") == "proto == 'ARP'"
    made.ask("df.loc[df.proto == 'ARP', 'length'] = 7")
    rows(packets).first.click()
    packets.locator("[role=grid]").press("Control+End")
    expect(packets.locator(".podtracer-stale")).to_be_visible()
    assert "7" not in cells(packets, "length"), "the list is of one moment"
    packets.get_by_role("button", name="Show it as it is now").click()
    expect(packets.locator(".podtracer-stale")).to_be_hidden()
    assert set(cells(packets, "length")) == {"7"}


def test_what_a_callback_raises_is_shown_under_the_list(notebook):
    made = notebook(READ, BROWSE, "packets.on_select(lambda chosen: chosen['nothing'])")
    shown(made.list, ALL)
    rows(made.list).first.click()
    expect(made.list.locator(".podtracer-failure")).to_have_text("KeyError: 'nothing'")
    expect(made.list.get_by_role("tree")).to_be_visible()


def test_a_notebook_that_is_reloaded_has_its_list_again(notebook):
    made = notebook(READ, "packets = df.podtrace.browse(query=\"proto == 'ARP'\")\npackets")
    expect(rows(made.list).first).to_contain_text("ARP")
    made.save()
    made.open()
    expect(rows(made.list).first).to_contain_text("ARP", timeout=PATIENCE)
    expect(made.list.get_by_role("combobox")).to_have_value("proto == 'ARP'")


def test_a_list_whose_kernel_is_gone_says_so_and_keeps_what_it_has(notebook):
    made = notebook(READ, BROWSE)
    expect(rows(made.list).first).to_contain_text("→")
    made.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    made.page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    made.list.locator("[role=grid]").press("Control+End")
    expect(made.list.locator(".podtracer-failure")).to_have_text("The kernel of this list is gone: run the cell again.")
    made.list.locator("[role=grid]").press("Control+Home")
    expect(rows(made.list).first).to_contain_text("→")


def test_light_dark_and_forced_colours_change_its_page_and_its_text(notebook):
    made = notebook(READ, BROWSE)
    first = rows(made.list).first
    expect(first).to_contain_text("→")

    def contrast() -> float:
        """Return the contrast ratio of the first row's text (WCAG 2.2, 1.4.3)."""
        return float(
            first.evaluate(
                """(row) => {
                    const paint = (colour) => {
                        const board = new OffscreenCanvas(1, 1).getContext("2d");
                        board.fillStyle = colour;
                        board.fillRect(0, 0, 1, 1);
                        const parts = [...board.getImageData(0, 0, 1, 1).data].slice(0, 3).map((n) => n / 255);
                        const linear = parts.map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4));
                        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
                    };
                    const style = getComputedStyle(row);
                    const two = [paint(style.color), paint(style.backgroundColor)].sort((a, b) => b - a);
                    return (two[0] + 0.05) / (two[1] + 0.05);
                }"""
            )
        )

    seen = {}
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        made.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        made.page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
        seen[theme] = first.evaluate("(row) => getComputedStyle(row).color")
        for mark in ("tcp", "udp", "dns", "http", "tls", "arp", "icmp", "opening", "reset", "error", "none", "other"):
            first.evaluate("(row, mark) => (row.dataset.mark = mark)", mark)
            assert contrast() > (3 if mark == "none" else 4.5), f"{mark} in {theme}"
        first.evaluate("(row) => row.setAttribute('aria-selected', 'true')")
        assert contrast() > 4.5, f"selected in {theme}"
        first.evaluate("(row) => row.setAttribute('aria-selected', 'false')")
    assert seen["JupyterLab Light"] != seen["JupyterLab Dark"]
    made.page.emulate_media(forced_colors="active")
    first.evaluate("(row) => row.setAttribute('aria-selected', 'true')")
    assert contrast() > 4.5


def test_a_selected_packet_stays_marked_where_a_filter_puts_it(notebook):
    made = notebook(READ, BROWSE)
    packets = made.list
    shown(packets, ALL)
    row = int(made.ask("print((df.proto == 'ARP').to_numpy().nonzero()[0][2])"))
    made.ask(f"packets.query = 'frame <= {row + 3}'")
    shown(packets, f"{row + 3:,} of 20,000 packets")
    packets.locator("[role=grid]").evaluate("grid => grid.scrollTop = grid.scrollHeight")
    packets.get_by_role("gridcell", name=str(row + 1), exact=True).click()
    made.answers("print(packets.selected.index.tolist())", f"[{row + 1}]")
    packets.get_by_role("combobox").fill("proto == 'ARP'")
    packets.get_by_role("combobox").press("Enter")
    expect(packets.locator(".podtracer-status")).not_to_have_text(f"{row + 3:,} of 20,000 packets")
    expect(rows(packets).nth(2)).to_have_attribute("aria-selected", "true")
    expect(rows(packets).nth(2)).to_contain_text(str(row + 1))
    made.answers("print(packets.selected.index.tolist())", f"[{row + 1}]")
