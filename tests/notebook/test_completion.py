"""What Tab offers after `%podtrace`, in a real kernel with real pods."""

from __future__ import annotations

import threading

import pytest

from podtracer_nb.errors import TargetError
from podtracer_nb.notebook import KnownPods, PodtraceMatcher
from podtracer_nb.targets import Target
from tests.machine import needs

PODS = (
    Target("web-0", "demo", containers=("web", "sidecar"), owner="Deployment/web", services=("web",), source="demo"),
    Target("db-0", "shop", containers=("db",), owner="StatefulSet/db", source="demo"),
)


class _Known(KnownPods):
    def get(self):
        return PODS


@pytest.fixture
def offered(shell):
    magics = shell.magics_manager.registry["PodtraceMagics"]
    matcher = PodtraceMatcher(magics, _Known())

    def offer(text: str, **sticky: object) -> list[str]:
        magics.defaults = sticky
        result = matcher.match(text)
        fragment = result.get("matched_fragment", "")
        assert text.endswith(fragment)
        return [text.removesuffix(fragment) + each.text if fragment else each.text for each in result["completions"]]

    return offer


@pytest.mark.parametrize("before", ["%podtrace ", "x = %podtrace ", "%%podtrace ", "    df=%podtrace ", "f(%podtrace "])
def test_commands_and_options_are_offered_wherever_the_magic_stands(offered, before):
    assert before + "pods" in offered(before + "po")
    assert before + "tcpdump --namespace" in offered(before + "tcpdump --names")


def test_a_first_word_may_be_a_command_or_a_tool(offered):
    assert {"pods", "read", "demo", "use", "tcpdump"} <= set(offered("%podtrace "))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tcpdump --pod ", ["web-0", "db-0", "demo/web-0", "shop/db-0", "deploy/web", "svc/web", "sts/db"]),
        ("tcpdump -n shop --pod ", ["db-0", "demo/web-0", "shop/db-0", "sts/db"]),
        ("tcpdump --namespace=shop --pod d", ["db-0", "demo/web-0"]),
        ("tcpdump --pod=sh", ["shop/db-0"]),
        ("tcpdump --pod demo/", ["demo/web-0"]),
        ("tcpdump -n ", ["demo", "shop"]),
        ("use --namespace s", ["shop"]),
        ("ps --pod web-0 -c ", ["sidecar", "web"]),
        ("ps -c ", ["db", "sidecar", "web"]),
    ],
)
def test_names_are_offered_where_a_name_belongs(offered, line, expected):
    found = [each.split(" ")[-1].split("=")[-1] for each in offered("%podtrace " + line)]
    assert found == expected


def test_sticky_defaults_count_as_if_they_stood_in_the_line(offered):
    assert "db-0" not in offered("%podtrace tcpdump --pod ", namespace="demo")
    assert offered("%podtrace ps -c ", pod=("db-0",)) == ["db"]


@pytest.mark.parametrize(
    "line", ["print('po", "podtrace_other po", "%podtrace tcpdump -- --na", '%podtrace x -a "-i e', "%podtracer po"]
)
def test_nothing_is_offered_where_nothing_is_ours(offered, line):
    assert offered(line) == []


def test_a_slow_answer_does_not_hold_up_a_keystroke_and_serves_the_next(monkeypatch):
    answer = threading.Event()

    def slow(**_):
        answer.wait(10)
        return PODS

    monkeypatch.setattr("podtracer_nb.targets.pods", slow)
    known = KnownPods(patience=0.01)
    assert known.get() == ()
    answer.set()
    known._question.join(10)
    assert known.get() == PODS


def test_an_answer_is_remembered_and_an_error_offers_nothing(monkeypatch):
    asked = []

    def failing(**_):
        asked.append(1)
        raise TargetError("no cluster")

    monkeypatch.setattr("podtracer_nb.targets.pods", failing)
    known = KnownPods()
    assert (known.get(), known.get(), len(asked)) == ((), (), 1)


@needs("netns", "iproute2", "dnsmasq")
@pytest.mark.usefixtures("demo_pods")
class TestInAKernel:
    def test_the_names_of_real_pods_are_offered(self, kernel):
        assert kernel.complete("df = %podtrace tcpdump -n demo --pod w") == ["df = %podtrace tcpdump -n demo --pod web"]
        assert "%podtrace tcpdump --pod demo/api" in kernel.complete("%podtrace tcpdump --pod demo/")

    def test_namespaces_are_offered_in_a_cell_magic(self, kernel):
        assert kernel.complete("%%podtrace --pod web -n ") == ["%%podtrace --pod web -n demo"]

    def test_options_are_offered_and_nothing_of_python_beside_them(self, kernel):
        assert kernel.complete("%podtrace tcpdump --all-") == ["%podtrace tcpdump --all-namespaces"]

    def test_the_line_of_the_cursor_counts_not_the_cell(self, kernel):
        assert kernel.complete("x = 1\n%podtrace po") == ["x = 1\n%podtrace pods"]

    def test_files_are_offered_for_a_capture_to_read(self, kernel, tmp_path):
        (tmp_path / "one.pcap").touch()
        assert f"%podtrace read {tmp_path}/one.pcap" in kernel.complete(f"%podtrace read {tmp_path}/on")
