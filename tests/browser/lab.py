"""A JupyterLab of these tests' own, and a notebook opened in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page, expect

PATIENCE = 60_000  # ms
_QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

_ASK = """async (code) => {
    const asked = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
    let said = "";
    asked.onIOPub = ({content}) => {
        said += content.text ?? "";
        if (content.ename) said += `${content.ename}: ${content.evalue}`;
    };
    await asked.done;
    return said.trim();
}"""


@dataclass(frozen=True)
class Lab:
    """A server: its address with the token, and the folder that it serves."""

    url: str
    folder: Path

    def address(self, name: str) -> str:
        """Return where a notebook is opened, in a workspace of its own."""
        base, token = self.url.split("?")
        return f"{base}/workspaces/{Path(name).stem}/tree/{name}?{token}"

    def write(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells."""
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(new_notebook(cells=[new_code_cell(each) for each in cells], metadata=kernel), self.folder / name)


@contextlib.contextmanager
def serving(folder: Path, home: Path) -> Iterator[Lab]:
    """Run a JupyterLab, without anything of the user's, until the block ends."""
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    (settings / "default_setting_overrides.json").write_text(json.dumps(_QUIET))
    own = {
        "HOME": home, "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime", "IPYTHONDIR": home / "ipython",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings", "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
    }  # fmt: skip
    argv = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1",
        "--port=0", f"--notebook-dir={folder}", "--LabApp.extension_manager=readonly",
        "--ServerApp.terminals_enabled=False",
        # An editable installation leaves out what a wheel puts into etc/jupyter.
        "--ServerApp.jpserver_extensions=podtracer_nb.server_extension=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None",
    ]  # fmt: skip
    environment: Mapping[str, str] = {**os.environ, **{name: str(path) for name, path in own.items()}}
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            said: list[str] = []
            for line in server.stderr:
                said.append(line)
                if found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line):
                    # What it says from here on is of no use, but a full pipe would stop it.
                    threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
                    yield Lab(found[0], folder)
                    break
            else:
                raise AssertionError("JupyterLab did not start:\n" + "".join(said))
        finally:
            server.terminate()
            server.wait(30)


class Notebook:
    """A notebook that is open in a page of the browser."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        self._lab, self._name = lab, name

    def open(self) -> None:
        """Open it, or open it again, and wait until its kernel can be asked."""
        self.page.goto(self._lab.address(self._name))
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE)
        self.page.wait_for_function(
            "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=PATIENCE
        )

    def run(self) -> None:
        """Run all its cells; an error in one is an error here."""
        self.page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        errors = self.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
        assert errors.count() == 0, errors.all_inner_texts()

    def save(self) -> nbformat.NotebookNode:
        """Save it, and return what is in the file."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")
        return nbformat.read(self._lab.folder / self._name, as_version=4)

    def ask(self, code: str) -> str:
        """Run code in the notebook's kernel, and return what it printed."""
        return str(self.page.evaluate(f"({_ASK})", code))

    def answers(self, code: str, text: str) -> None:
        """Wait until code in the kernel prints a text."""
        self.page.wait_for_function(f"async ([code, text]) => (await ({_ASK})(code)) === text", arg=[code, text])

    @property
    def list(self) -> Locator:
        """The packet list: the first, where there are several."""
        return self.page.locator(".podtracer-list").first


def rows(packets: Locator) -> Locator:
    """Return the rows of a packet list that are in the page."""
    return packets.locator(".podtracer-rows > [role=row]:not([hidden])")


def cells(packets: Locator, name: str) -> list[str]:
    """Return what a column of a packet list says, from the first row in sight, when all of these have come."""
    expect(rows(packets).first).to_be_visible()
    expect(packets.locator(".podtracer-rows > [data-mark=none]:not([hidden])")).to_have_count(0)
    heads = [text.strip(" ▲▼") for text in packets.locator("[role=columnheader]").all_inner_texts()]
    place = heads.index(name)
    listed = rows(packets).evaluate_all(
        """(rows, place) => rows.map((row) => [Number(row.ariaRowIndex), row.children[place].textContent])""", place
    )
    return [text for _, text in sorted(listed)]


def shown(packets: Locator, text: str) -> None:
    """Wait until a list says how many rows it has."""
    expect(packets.locator(".podtracer-status")).to_have_text(text, timeout=PATIENCE)
