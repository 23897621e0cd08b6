"""The magic in IPython without a notebook: a terminal, a script."""

from __future__ import annotations

import pytest

import podtracer_nb
from podtracer_nb.notebook import RunInterrupted
from tests.machine import needs
from tests.notebook.conftest import INTERPRETED


@needs("netns", "iproute2", "dnsmasq", "tcpdump")
@pytest.mark.usefixtures("demo_pods")
@pytest.mark.filterwarnings(f"ignore:{INTERPRETED}")
class TestWithPods:
    def test_the_banner_is_a_line_of_text_and_the_frame_the_value(self, shell, capsys):
        done = shell.run_cell("%podtrace tcpdump --pod web -n demo -- -i eth0 -c 2", store_history=False)
        done.raise_error()
        assert len(done.result) == 2
        assert capsys.readouterr().out.startswith("demo/web on demo-node · 2 packets · ")

    def test_another_capture_of_the_same_moment_can_be_had_by_pid(self, shell):
        shell.run_cell("from podtracer_nb import demo; pid = demo.status().pods[0].pid").raise_error()
        done = shell.run_cell("df = %podtrace cat --pid {pid} -- /proc/net/dev")
        done.raise_error()
        assert shell.user_ns["df"].line.str.contains("eth0").any()

    def test_an_error_is_one_line(self, shell, capsys):
        shell.run_cell("%podtrace tcpdump --pod wbe -n demo")
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith("TargetNotFound: ")
        assert "web" in line

    def test_demo_status_is_printed(self, shell, capsys):
        shell.run_cell("%podtrace demo status")
        assert "demo-node" in capsys.readouterr().out


@pytest.mark.parametrize("interrupted", [KeyboardInterrupt(), RunInterrupted("again")])
def test_an_interrupt_before_anything_was_captured_is_one_line(shell, capsys, monkeypatch, interrupted):
    def run(*_: object, **__: object) -> None:
        raise interrupted

    monkeypatch.setattr(podtracer_nb, "run", run)
    done = shell.run_cell("%podtrace tcpdump --pod web")
    assert isinstance(done.error_in_exec, KeyboardInterrupt)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "KeyboardInterrupt: no table was made; what the tool had written stays in its recording"
    ]


def test_the_docstring_shows_how_it_is_used(shell):
    text = shell.magics_manager.magics["line"]["podtrace"].__doc__
    assert "%podtrace tcpdump --pod web -n demo -- -i eth0 -c 100" in text
    assert "%%podtrace --pod web -n demo --shell" in text
