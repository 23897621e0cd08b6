"""How long a person waits for the packet list, and what goes to the browser: `python -m tests.benchmarks.browse`.

In a real JupyterLab and a real browser, from the key that is pressed to the rows that are drawn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright

from tests.benchmarks import capture
from tests.browser.lab import Lab, Notebook, serving
from tests.machine import chromium

RESULTS = Path(__file__).with_name("RESULTS-browse.md")

# Each waits, frame by frame, until the row that is first in sight has its text.
_DRAWN = """
const drawn = async (ready) => {
    while (!ready()) await new Promise(requestAnimationFrame);
};
const firstRow = () => {
    const grid = document.querySelector('.podtracer-grid')?.getBoundingClientRect();
    const rows = [...document.querySelectorAll('.podtracer-rows > [role=row]:not([hidden])')];
    return grid && rows.find((row) => row.getBoundingClientRect().bottom > grid.top + 30);
};
const whole = () => !['…', '', undefined].includes(firstRow()?.querySelector('[data-column="0"]')?.textContent);
"""
_FIRST = (
    _DRAWN
    + """
const begun = performance.now();
jupyterapp.commands.execute('notebook:run-cell');
await drawn(whole);
return performance.now() - begun;
"""
)
_JUMP = (
    _DRAWN
    + """
const grid = document.querySelector('.podtracer-grid');
const before = firstRow().ariaRowIndex;
const begun = performance.now();
grid.scrollTop = share * (grid.scrollHeight - grid.clientHeight);
await drawn(() => firstRow()?.ariaRowIndex !== before && whole());
return performance.now() - begun;
"""
)
_FILTER = (
    _DRAWN
    + """
const box = document.querySelector('.podtracer-query');
const status = document.querySelector('.podtracer-status');
const before = status.textContent;
const begun = performance.now();
box.value = share;
box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
await drawn(() => status.textContent !== before && whole());
return performance.now() - begun;
"""
)


class Wire:
    """Counts the bytes that WebSockets bring to the page, and its JavaScript heap."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self.received = 0
        self._session.send("Network.enable")
        self._session.send("Performance.enable")
        self._session.on("Network.webSocketFrameReceived", self._take)

    def _take(self, event: dict[str, object]) -> None:
        frame = event["response"]
        assert isinstance(frame, dict)
        size = len(frame["payloadData"])
        self.received += size * 3 // 4 if frame["opcode"] == 2 else size  # binary ones are told in base64

    def heap(self) -> float:
        """Return the heap in use after a collection, in MB."""
        self._session.send("HeapProfiler.collectGarbage")
        metrics = {each["name"]: each["value"] for each in self._session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["JSHeapUsedSize"]) / 1e6


def ask(page: Page, script: str, share: object = None) -> float:
    """Run one of the scripts above; it says how many milliseconds went by."""
    return float(page.evaluate(f"async (share) => {{ {script} }}", share))


def measure(page: Page, lab: Lab, times: int) -> list[tuple[str, str, str]]:
    """Return what was asked and reached with the capture's packets so many times over."""
    name = f"browse-{times}.ipynb"
    lab.write(
        name,
        "import pandas as pd, podtracer_nb\none = podtracer_nb.read_pcap('traffic.pcap')\n"
        f"df = pd.concat([one] * {times}, ignore_index=True) if {times} > 1 else one\n"
        "import podtracer_nb.notebook.widgets",
        "df.podtrace.browse()",
    )
    made = Notebook(page, lab, name)
    made.open()
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-cell-and-select-next')")
    rows = int(made.ask("print(len(df))"))
    wire = Wire(page)
    before = wire.heap()
    first = ask(page, _FIRST)
    page.wait_for_timeout(300)  # what is still on its way counts too
    sent = wire.received
    jumps = [ask(page, _JUMP, (n * 37 % 100 + 0.5) / 100) for n in range(1, 31)]
    page.wait_for_timeout(2000)  # retransmissions are looked for, a part at a time
    jumps += [ask(page, _JUMP, (n * 41 % 100 + 0.5) / 100) for n in range(1, 31)]
    queries = ("dport == 80", "proto == 'UDP' and length > 100", "tcp_flags == 'S'", "src == '10.0.0.5'", "")
    filters = [ask(page, _FILTER, query) for query in queries]
    grown = wire.heap() - before
    million = f"{rows / 1e6:g} M rows"
    small = rows <= 1_000_000
    return [
        (f"{million}: from the cell's start to the first rows, ms", "≤ 300" if small else "", f"{first:.0f}"),
        (f"{million}: bytes to the browser until then, kB", "≤ 100", f"{sent / 1e3:.0f}"),
        (f"{million}: a jump, median of {len(jumps)}, ms", "≤ 150" if small else "", f"{statistics.median(jumps):.0f}"),
        (f"{million}: a jump, slowest, ms", "", f"{max(jumps):.0f}"),
        (f"{million}: a filter, slowest of {len(filters)}, ms", "≤ 300" if small else "", f"{max(filters):.0f}"),
        (f"{million}: heap of the page, more than before the list, MB", "flat", f"{grown:.1f}"),
    ]


def main() -> None:
    """Measure, print, and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.browse", description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000, help="packets in the capture [%(default)s]")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="podtracer-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="podtracer-bench-home-") as home,
        sync_playwright() as playwright,
        serving(Path(folder), Path(home)) as lab,
    ):
        capture.write(Path(folder, "traffic.pcap"), asked.packets)
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        rows = []
        for times in (1, 10):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            rows += measure(page, lab, times)
            page.close()
        browser.close()
    text = [
        "# The packet list, measured",
        "",
        "`python -m tests.benchmarks.browse`: JupyterLab and Chromium on the machine of the kernel, mixed packets.",
        "",
        "| what | asked | reached |",
        "|---|---|---|",
        *(f"| {what} | {wanted} | {reached} |" for what, wanted, reached in rows),
        "",
    ]
    print("\n".join(text))
    RESULTS.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
