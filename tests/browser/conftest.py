"""One JupyterLab and one browser for these tests; a page a test, which fails on a request to others and on an error.

Nothing of it outlives the package: Playwright keeps an event loop running in the thread of the tests, and the state
directory is in the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from podtracer_nb import demo
from tests.benchmarks import capture
from tests.browser.lab import Lab, Notebook, serving
from tests.machine import chromium

PACKETS = 20_000


@pytest.fixture(scope="package")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a state directory of these tests' own: another demo, and the user's recordings, are left alone."""
    directory = tmp_path_factory.mktemp("state")
    directory.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(directory))
        patch.setenv("PODTRACER_RECORDINGS", str(directory / "recordings"))
        patch.setenv("KUBECONFIG", str(directory / "none"))
        yield directory


@pytest.fixture
def demo_pods(state: Path) -> Iterator[None]:
    """Start the demo pods, and end them."""
    demo.up()
    yield
    demo.down()


@pytest.fixture(scope="package")
def lab(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run a JupyterLab whose folder has a capture of mixed traffic."""
    folder = tmp_path_factory.mktemp("notebooks")
    capture.write(folder / "traffic.pcap", PACKETS)
    with serving(folder, tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Run Debian's Chromium, for which no host is there but this machine."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",  # root may not have one, and an ordinary user only with user namespaces
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--disable-dev-shm-usage",  # containers have little of it
                "--disable-background-networking", "--disable-component-update",
            ],
        )  # fmt: skip
        yield started
        started.close()


@pytest.fixture(scope="session")
def runner() -> ModuleType:
    """Return `notebooks/run.py`, which makes the page."""
    from tests.notebooks.conftest import load_runner

    return load_runner()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return where pictures of the pages go: a folder that is kept, where PODTRACER_SCREENSHOTS names one."""
    folder = Path(os.environ.get("PODTRACER_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, pictures: Path) -> Iterator[Page]:
    """Open a page; afterwards nothing may have been asked of another host, and no error written to the console."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    trouble: list[str] = []
    opened.on("request", lambda asked: None if _own(asked.url) else trouble.append(f"asked for {asked.url}"))
    opened.on("console", lambda said: trouble.append(f"console: {said.text}") if said.type == "error" else None)
    opened.on("pageerror", lambda error: None if _known(error) else trouble.append(f"page error: {error}"))
    opened.set_default_timeout(30_000)
    yield opened
    opened.screenshot(path=pictures / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}.png")
    opened.close()
    assert trouble == []


@pytest.fixture
def notebook(page: Page, lab: Lab, request: pytest.FixtureRequest) -> Callable[..., Notebook]:
    """Return what writes a notebook of cells, opens it and runs it."""

    def opened(*code: str) -> Notebook:
        name = f"{request.node.name}.ipynb"
        lab.write(name, *code)
        made = Notebook(page, lab, name)
        made.open()
        made.run()
        return made

    return opened


def _known(error: Error) -> bool:
    """Tell whether this is Notebook 7's own, where its parts come up in an order that it did not expect.

    It looks for shortcuts before they are loaded (jupyter/notebook#7862), and opens a path before its file browser
    knows that command, which nothing of ours asks for.
    """
    shortcuts = "reading 'schema'" in error.message and "/static/notebook/notebook_core." in (error.stack or "")
    return shortcuts or error.message == "Command 'filebrowser:open-path' not registered."


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "file://", "data:", "blob:", "about:"))
