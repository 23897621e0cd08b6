"""`%podtrace … --bg` as a user types it: in a real kernel, against real pods."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.machine import needs
from tests.notebook.conftest import Kernel
from tests.targets.namespaces import alive, until

pytestmark = [needs("netns", "iproute2", "dnsmasq", "tcpdump", "ping"), pytest.mark.usefixtures("demo_pods")]

START = "%podtrace tcpdump --pod web -n demo --bg -o live -- -i eth0"
PID = "live._session.jobs[0].run.pid"
WAIT = """
import time
def until(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()
"""


@pytest.fixture
def live(kernel: Kernel):
    """Give the kernel, with a capture in the background that is stopped afterwards."""
    assert kernel.run(WAIT).status == "ok"
    cell = kernel.run(START)
    assert (cell.status, cell.outputs) == ("ok", []), cell.outputs
    yield kernel
    assert kernel.run("live.stop()").status == "ok"


class TestALine:
    def test_it_returns_at_once_and_grows_while_cells_run(self, live):
        assert live.value("live.running, until(lambda: len(live.df) > 5)") == "(True, True)"
        assert "web" in live.value("live")

    def test_without_o_it_is_the_cells_value(self, kernel):
        cell = kernel.run("one = %podtrace tcpdump --pod web -n demo --bg --window 30s --no-keep --engine tcpdump")
        assert cell.status == "ok", cell.error
        assert kernel.value("one.engine, one.files, one.stop().running") == "('tcpdump', [], False)"

    def test_those_that_run_are_listed(self, live):
        live.run("%podtrace captures -o listed")
        assert live.value("listed.targets.tolist(), listed.state.tolist()") == "(['demo/web'], ['running'])"
        live.run("live.stop()")
        assert live.value("len(__import__('podtracer_nb').captures())") == "0"

    def test_loops_over_chunks_run_in_the_notebooks_own_loop(self, live):
        code = "seen = []\nasync for chunk in live:\n    seen.append(len(chunk))\n    if sum(seen) > 5:\n        break"
        assert live.run(code).status == "ok"
        assert live.value("sum(seen) > 5") == "True"

    def test_tcpdumps_words_for_files_that_rotate(self, kernel, tmp_path):
        path = tmp_path / "x.pcap"
        kernel.run(WAIT)
        kernel.run(f"%podtrace tcpdump --pod web -n demo --bg -o live -- -i eth0 -C 2k -W 3 -w {path}")
        assert kernel.value("until(lambda: len(live.files) == 3), live.stop().running") == "(True, False)"
        assert {each.name for each in tmp_path.glob("*[0-9]")} == {"x.pcap0", "x.pcap1", "x.pcap2"}

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("%podtrace ss --pod web -n demo --bg", "--bg captures packets, and ss does not"),
            ("%podtrace tcpdump --pod web -n demo --window 5", "--window and --no-keep belong to --bg"),
            ("%podtrace tcpdump --pod web -n demo --bg --text", "--bg captures packets"),
            ("%podtrace tcpdump --pod web -n demo --bg --window cow", "window='cow'"),
            ("%%podtrace --pod web -n demo --bg\ntcpdump", "--bg is for a line"),
            (
                "%podtrace tcpdump --pod web -n demo --bg -- -G 5 -w x",
                "overwrite each other as x: give the name a time",
            ),
        ],
    )
    def test_what_cannot_be(self, kernel, line, said):
        cell = kernel.run(line)
        assert cell.status == "error"
        assert said in re.sub(r"\x1b\[[\d;]*m", "", cell.error)


class TestItsEnd:
    def test_an_interrupt_of_another_cell_leaves_it_alone(self, live):
        # One long sleep would miss, now and then, an interrupt that comes in the moment before it begins.
        cell = live.run("print('now', flush=True)\nwhile True: time.sleep(0.02)", interrupt_when="now")
        assert cell.status == "error"
        assert live.value("live.running") == "True"

    def test_waiting_for_it_can_be_interrupted(self, live):
        cell = live.run("print('now', flush=True)\nlive.wait()", interrupt_when="now")
        assert cell.status == "error" and "KeyboardInterrupt" in cell.error
        assert live.value("live.running, live.stop().running") == "(True, False)"

    def test_unloading_the_extension_stops_it(self, live):
        pid = int(live.value(PID))
        live.run("%unload_ext podtracer_nb")
        try:
            assert live.value("live.running") == "False"
            assert not alive(pid)
        finally:
            live.run("%load_ext podtracer_nb")

    @pytest.mark.parametrize("engine", ["ring", "tcpdump"])
    @pytest.mark.parametrize("how", ["shut down", "restarted", "killed"])
    def test_nothing_outlives_the_kernel(self, how, engine):
        other = Kernel()
        try:
            other.run("%load_ext podtracer_nb")
            other.run(f"%podtrace tcpdump --pod web -n demo --bg -o live --engine {engine} -- -i eth0")
            pid, path = int(other.value(PID)), Path(other.value("str(live.files[0])").strip("'"))
            assert alive(pid)
            if how == "restarted":
                other.manager.restart_kernel(now=False)
            else:
                other.manager.shutdown_kernel(now=how == "killed")
            until(lambda: not alive(pid))
            assert path.stat().st_size >= 24
        finally:
            other.close()


class TestItsPage:
    def test_is_heard_after_a_tab_was_closed_whose_subshell_was_the_last_to_be_answered(self, live):
        shown = live.run("import podtracer_nb\nw = podtracer_nb.dashboard(live)\nw.comm.comm_id")
        (comm,) = (text.strip("'") for text in shown.texts("execute_result"))
        subshell = live.control("create_subshell_request")["subshell_id"]
        assert live.asks(comm, {"kind": "whole"}, subshell) == "whole"
        live.control("delete_subshell_request", {"subshell_id": subshell})
        assert live.asks(comm, {"kind": "whole"}) == "whole"
        live.run("w.close()")
