"""Run a notebook: `run.py demo` and `run.py here` without a browser, `run.py lab` in JupyterLab.

`demo` and `lab` start the demo pods if they are not up, and take them down at the end if they started them; `here`
takes the pods that there are, a cluster's. `demo` and `here` print the cells that are tagged `terminal`, and leave the
executed notebook and a page of it that loads nothing from anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from podtracer_nb import demo
from podtracer_nb.errors import PodtracerError

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE / "01-quickstart.ipynb"
EXECUTED = HERE / "executed"
CELL_SECONDS = 120

# The blocks of nbconvert's own page that load scripts from elsewhere: RequireJS, MathJax, Mermaid, the widget manager.
_OFFLINE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
"""


@contextlib.contextmanager
def demo_pods() -> Iterator[None]:
    """Have the demo pods up; take them down afterwards unless they were up before."""
    found = demo.up()
    print(found, flush=True)
    try:
        yield
    finally:
        print(demo.down() if found.changed else "the demo was up before, and stays up")


def execute(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as it is after all its cells ran, in a kernel of this very Python.

    Raises
    ------
    CellExecutionError
        A cell failed; the notebook holds what came before it.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its advice on transports is no part of the result
        resources={"metadata": {"path": str(HERE)}},
    )
    return client.execute()


def page(notebook: NotebookNode) -> str:
    """Return the notebook as one HTML page that refers to nothing outside itself."""
    stripped = copy.deepcopy(notebook)
    stripped.metadata.pop("widgets", None)
    loader = DictLoader({"offline.html.j2": _OFFLINE})
    exporter = HTMLExporter(template_name="lab", template_file="offline.html.j2", extra_loaders=[loader])
    body, _ = exporter.from_notebook_node(stripped)
    return str(body)


def printed(notebook: NotebookNode) -> Iterator[str]:
    """Yield, for each cell tagged `terminal`, its source and what it gave, as text."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or "terminal" not in cell.metadata.get("tags", ()):
            continue
        yield "\n".join(f"    {line}" for line in cell.source.splitlines())
        for output in cell.outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain")
            if text:
                yield text.rstrip("\n")


def run_demo(notebook: Path, folder: Path, pods: contextlib.AbstractContextManager[object]) -> int:
    """Execute the notebook while there are pods, print its story, leave all that came of it in the folder."""
    started = time.monotonic()
    content = nbformat.read(notebook, as_version=4)
    failure = None
    os.environ.setdefault("PODTRACER_RECORDINGS", str(folder.absolute() / "recordings"))
    with pods:
        print(f"executing {notebook.name} …", flush=True)
        try:
            execute(content)
        except CellExecutionError as error:
            failure = error
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / notebook.name, folder / notebook.with_suffix(".html").name
    nbformat.write(content, left[0])
    left[1].write_text(page(content), encoding="utf-8")
    for text in printed(content):
        print(f"\n{text}")
    took = time.monotonic() - started
    print(f"\n{'Stopped at a cell that failed' if failure else 'Done'} after {took:.0f} s. In {folder}:")
    for path in (*left, folder / "recordings"):
        print(f"  {path.name}")
    if failure is not None:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


def run_lab(notebook: Path, words: list[str]) -> int:
    """Open the notebook in JupyterLab, with the demo pods up until it ends; the words are JupyterLab's own."""
    # An editable installation leaves out what a wheel puts into etc/jupyter: the server's extension.
    extension = "--ServerApp.jpserver_extensions=podtracer_nb.server_extension=True"
    argv = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={HERE}", extension, str(notebook), *words]
    if os.geteuid() == 0:
        argv.append("--allow-root")
    with demo_pods():
        server = subprocess.Popen(argv)
        # Ctrl+C reaches JupyterLab too, which asks whether it is meant; we end when it has ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        signal.signal(signal.SIGHUP, lambda *_: server.terminate())
        return server.wait()


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Run a notebook.")
    ways = parser.add_subparsers(dest="way", required=True)
    for way, pods in (("demo", "with the demo pods"), ("here", "with the pods that there are")):
        plain = ways.add_parser(way, help=f"without a browser, {pods}; print the result and leave it in a folder")
        plain.add_argument("--notebook", type=Path, default=QUICKSTART, help="which one")
        plain.add_argument("--folder", type=Path, default=EXECUTED, help="where the executed notebook and its page go")
    ways.add_parser("lab", help="in JupyterLab; its own options may follow")
    asked, words = parser.parse_known_args(arguments)
    if words and asked.way != "lab":
        parser.error(f"unknown: {' '.join(words)}")
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))  # by way of demo_pods: the demo goes down
    try:
        if asked.way == "lab":
            return run_lab(QUICKSTART, words)
        return run_demo(asked.notebook, asked.folder, demo_pods() if asked.way == "demo" else contextlib.nullcontext())
    except PodtracerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
