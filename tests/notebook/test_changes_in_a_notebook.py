"""What a notebook holds changed in pods, and that nothing of it outlives the notebook."""

from __future__ import annotations

import subprocess

import pytest

from podtracer_nb import demo, execution, notebook, targets
from tests.machine import needs
from tests.notebook.conftest import Kernel
from tests.targets.namespaces import until

pytestmark = [needs("netns", "iproute2", "dnsmasq"), pytest.mark.usefixtures("demo_pods")]

ADDRESS = "192.0.2.7/24"
ADD = f"%podtrace ip --pod web -n demo --allow-change --for 1h -- addr add {ADDRESS} dev eth0"
IMPAIR = "%podtrace impair --pod web -n demo --rate 1mbit"


def shown(*argv: str) -> str:
    [web] = [each for each in demo.status().pods if each.name == "web"]
    with targets.pin(targets.resolve(pid=web.pid)[0]) as pin:
        done: subprocess.CompletedProcess[str] = execution.ask(pin, argv)
    return done.stdout


def has_address() -> bool:
    return ADDRESS in shown("ip", "address", "show", "dev", "eth0")


def root() -> str:
    return shown("tc", "qdisc", "show", "dev", "eth0").split()[1]


class TestInAShell:
    def test_the_line_returns_at_once_and_what_it_holds_is_listed(self, shell):
        done = shell.run_cell(f"held = {ADD}")
        done.raise_error()
        assert has_address()
        frame = shell.run_cell("%podtrace changes").result
        assert frame.target.tolist() == ["demo/web"]
        assert frame.argv.tolist() == [f"ip addr add {ADDRESS} dev eth0"]
        shell.run_cell("held.undo()").raise_error()
        assert not has_address()
        assert shell.run_cell("%podtrace changes").result.empty

    def test_all_are_undone_with_one_line(self, shell, capsys):
        shell.run_cell(IMPAIR).raise_error()
        shell.run_cell(f"{ADD};").raise_error()
        capsys.readouterr()
        shell.run_cell("%podtrace changes --undo").raise_error()
        assert capsys.readouterr().out == "undone: 2 changes\n"
        assert not has_address()
        assert root() == "noqueue"

    def test_a_block_of_python_undoes_its_own(self, shell):
        before = root()
        shell.run_cell("import podtracer_nb")
        cell = 'with podtracer_nb.impair("web", namespace="demo", rate="1mbit"):\n    frame = podtracer_nb.changes()'
        shell.run_cell(cell).raise_error()
        assert len(shell.user_ns["frame"]) == 1
        assert root() == before

    def test_the_defaults_of_the_notebook_hold_for_an_impairment(self, shell):
        shell.run_cell("%podtrace use --pod web -n demo")
        shell.run_cell("%podtrace impair --rate 1mbit -o bad").raise_error()
        assert root() == "tbf"
        shell.user_ns["bad"].undo()

    def test_without_leave_the_pod_is_left_alone(self, shell, capsys):
        shell.run_cell(ADD.replace("--allow-change ", ""))
        assert capsys.readouterr().out.startswith("InputError: this adds an address in the target: ")
        assert not has_address()

    def test_the_lines_of_a_cell_are_not_held(self, shell, capsys):
        shell.run_cell("%%podtrace --pod web -n demo --allow-change --for 3s\nip addr")
        assert capsys.readouterr().out.startswith("InputError: --for holds one change: write it as a line")

    def test_unloading_the_extension_undoes_all(self, shell):
        shell.run_cell(ADD).raise_error()
        notebook.unload(shell)
        assert not has_address()


@pytest.mark.parametrize("how", ["shut down", "killed", "restarted"])
def test_the_end_of_the_kernel_undoes_all(state, how):
    made = Kernel()
    try:
        assert made.run("%load_ext podtracer_nb").status == "ok"
        assert made.run(ADD).status == "ok"
        assert made.run(IMPAIR).status == "ok"
        assert has_address()
        if how == "killed":
            made.manager.shutdown_kernel(now=True)
        elif how == "restarted":
            made.manager.restart_kernel()
        else:
            made.manager.shutdown_kernel()
        until(lambda: not has_address() and root() == "noqueue")
    finally:
        made.close()
