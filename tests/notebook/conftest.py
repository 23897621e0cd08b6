"""Real demo pods, a real IPython shell, a real kernel."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from podtracer_nb import demo, notebook

PATIENCE = 30.0

# The magics are the same whether the dissector was compiled or not; that it says so has tests of its own.
INTERPRETED = "the packet dissector runs interpreted"


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Make a state directory of these tests' own: another demo, and the user's recordings, are left alone."""
    directory = tmp_path_factory.mktemp("state")
    directory.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODTRACER_STATE", str(directory))
        patch.setenv("PODTRACER_RECORDINGS", str(directory / "recordings"))
        patch.setenv("PYTHONWARNINGS", f"ignore:{INTERPRETED}")  # for the kernels
        yield str(directory)


@pytest.fixture(scope="session")
def demo_pods(state: str) -> Iterator[None]:
    """Start the demo pods, and end them after the last test."""
    demo.up()
    yield
    demo.down()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """Make an IPython shell without a kernel, with the extension loaded; nothing is kept in the user's history."""
    made = InteractiveShell(ipython_dir=str(tmp_path), config=Config(HistoryManager={"enabled": False}))
    notebook.load(made)
    yield made
    notebook.unload(made)


@dataclass
class Cell:
    """What one executed cell left in the notebook, as a front end keeps it."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take one message: an update goes into the output that it names."""
        name = (content.get("transient") or {}).get("display_id")
        if kind == "update_display_data":
            for output in self.outputs:
                if output.get("display_id") == name:
                    output["data"] = content["data"]
                    output["updates"] += 1
        elif kind in ("display_data", "execute_result", "stream", "error"):
            self.outputs.append({**content, "kind": kind, "display_id": name, "updates": 0})

    def texts(self, kind: str) -> list[str]:
        """Return the text of each output of a kind."""
        return [each["data"]["text/plain"] for each in self.outputs if each["kind"] == kind]

    @property
    def banner(self) -> str:
        """The one banner."""
        [text] = self.texts("display_data")
        return text

    @property
    def error(self) -> str:
        """The one error, as it is shown."""
        [output] = [each for each in self.outputs if each["kind"] == "error"]
        return "\n".join(output["traceback"])

    @property
    def printed(self) -> str:
        """What was written to standard output and error."""
        return "".join(each["text"] for each in self.outputs if each["kind"] == "stream")


class Kernel:
    """A real IPython kernel, spoken to as a notebook's front end does."""

    def __init__(self) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel(env={**os.environ, "IPYTHONDIR": os.environ["PODTRACER_STATE"]})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str, *, interrupt_when: str | None = None) -> Cell:
        """Execute a cell to its end; interrupt it once an output matches `interrupt_when`."""
        cell = Cell()
        sent = self.client.execute(code)
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != sent:
                continue
            cell.take(message["msg_type"], message["content"])
            if interrupt_when and any(re.search(interrupt_when, str(each)) for each in cell.outputs):
                interrupt_when = None
                self.manager.interrupt_kernel()
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while (reply := self.client.get_shell_msg(timeout=PATIENCE))["parent_header"].get("msg_id") != sent:
            pass  # of a cell that another test did not wait for
        cell.status = reply["content"]["status"]
        return cell

    def control(self, request: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request on the control channel, and return what its reply holds."""
        message = self.client.session.msg(request, content or {})
        self.client.control_channel.send(message)
        while (reply := self.client.get_control_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != message["msg_id"]:
            pass
        return dict(reply["content"])

    def asks(self, comm: str, words: dict[str, Any], subshell: str | None = None) -> str:
        """Send a widget what its page would, from a subshell or the main one; return the kind of its answer."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": words}})
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            said = self.client.get_iopub_msg(timeout=PATIENCE)
            if said["msg_type"] == "comm_msg" and said["parent_header"].get("msg_id") == message["msg_id"]:
                return str(said["content"]["data"]["content"]["kind"])
        raise AssertionError(f"{words} is not answered")

    def value(self, expression: str) -> str:
        """Return the text of an expression's value in the kernel."""
        cell = self.run(expression)
        assert cell.status == "ok", cell.error
        [text] = cell.texts("execute_result")
        return text

    def complete(self, line: str) -> list[str]:
        """Return what Tab offers at the end of `line`."""
        reply = self.client.complete(line, reply=True, timeout=PATIENCE)["content"]
        # A front end replaces this range by the match.
        return [line[: reply["cursor_start"]] + match for match in reply["matches"]]


@pytest.fixture(scope="session")
def kernel(state: str) -> Iterator[Kernel]:
    """Start a kernel with the extension loaded."""
    made = Kernel()
    try:
        loaded = made.run("%load_ext podtracer_nb")
        assert (loaded.status, loaded.outputs) == ("ok", [])
        yield made
    finally:
        made.close()


@pytest.fixture
def defaults(kernel: Kernel) -> Iterator[Kernel]:
    """Give the kernel, whose sticky defaults are forgotten afterwards."""
    yield kernel
    kernel.run("%podtrace use --clear")
