"""The picker: what is chosen becomes the line that one would have typed, and is refused as that line is."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import podtracer_nb
from podtracer_nb import options
from podtracer_nb.notebook import expansion
from tests.machine import needs
from tests.targets.test_api_faults import Api, kubeconfig, named


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Serve the answers of an API server."""
    server = Api()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")))
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def picker(api: Api) -> podtracer_nb.notebook.widgets.PodPicker:
    api.answers["/api/v1/pods"] = {"items": [named("web-0"), named("web-1")]}
    return podtracer_nb.picker()


def choose(widget, **choice: object) -> dict[str, str]:
    widget._receive(widget, {"kind": "choose", "choice": {"tool": "tcpdump", "namespace": "shop", **choice}}, [])
    return widget._told


def test_a_pod_that_cannot_be_traced_is_there_with_the_reason(picker):
    assert picker._namespaces == [["shop", 2]]
    first = picker._pods[0]
    assert first["pod"] == "web-0" and first["traceable"] is False and first["reason"]
    assert first["reason"] in picker._repr_mimebundle_()[0]["text/html"]


def test_the_choice_is_the_line_that_one_would_type(picker):
    told = choose(
        picker, pods=["web-0", "web-1"], container="web", interface="eth0", filter="tcp port 80", count="5",
        timer="30s", arguments="-nn -e",
    )  # fmt: skip
    assert told["line"] == (
        "%podtrace tcpdump --pod web-0 --pod web-1 -n shop -c web --interface eth0 --filter 'tcp port 80' "
        "--count 5 -t 30s -- -nn -e"
    )
    request = options.parse(expansion.split(told["line"].removeprefix("%podtrace "), {}), magic=True)
    assert request.pod == ("web-0", "web-1") and request.arguments == ("-nn", "-e") and request.timer == 30


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "choose a pod"),
        ({"pods": ["web-0"], "timer": "soon"}, "not a duration"),
        ({"pods": ["web-0"], "count": "-3"}, "count"),
        ({"pods": ["web-0"], "interface": "eth 0"}, "not an interface name"),
        ({"pods": ["web-0"], "arguments": "'"}, "no closing quotation"),
    ],
)
def test_what_would_be_refused_when_typed_is_refused_here(picker, choice, words):
    told = choose(picker, **choice)
    assert words in told["problem"] and told["line"] == ""


def test_braces_come_through_the_magic_as_they_are(picker):
    line = choose(picker, pods=["web-0"], arguments="'{name}' '${x}'")["line"]
    assert expansion.split(line.removeprefix("%podtrace "), {})[-2:] == shlex.split("'{name}' '${x}'")


def test_another_namespace_forgets_the_pods_of_this_one(picker):
    choose(picker, pods=["web-0"])
    told = choose(picker, pods=["web-0"], namespace="other")
    assert told["problem"] == "choose a pod" and picker._choice["pods"] == ()


def test_a_cluster_that_refuses_is_told_and_one_namespace_is_asked_for(api: Api):
    api.answers["/api/v1/pods"] = 403
    refused = podtracer_nb.picker()
    assert "forbidden" in refused._told["trouble"] or "may not" in refused._told["trouble"]
    api.answers["/api/v1/namespaces/shop/pods"] = {"items": [named("web-0")]}
    narrow = podtracer_nb.picker("shop")
    assert [each["pod"] for each in narrow._pods] == ["web-0"] and narrow._told["trouble"] == ""


def test_a_run_that_fails_says_why(picker):
    choose(picker, pods=["web-0"], count="1")
    picker._receive(picker, {"kind": "run"}, [])
    picker._thread.join(60)
    assert picker._run["state"] == "failed" and "\n" not in picker._run["text"]
    assert picker.df is None


@needs("netns", "dnsmasq", "iproute2", "tcpdump")
@pytest.mark.usefixtures("demo_pods")
def test_a_run_gives_its_frame_and_can_be_stopped():
    widget = podtracer_nb.picker("demo")
    choose(widget, namespace="demo", pods=["web"], interface="eth0", count="3")
    widget._receive(widget, {"kind": "run"}, [])
    widget._thread.join(60)
    assert widget._run["state"] == "done" and len(widget.df) == 3 and "demo/web" in widget._run["text"]
    choose(widget, namespace="demo", pods=["web"], interface="eth0")
    widget._receive(widget, {"kind": "run"}, [])
    widget._receive(widget, {"kind": "run"}, [])
    assert widget._run == {"state": "failed", "text": "a run is going on: stop it first"}
    widget._receive(widget, {"kind": "stop"}, [])
    widget._thread.join(60)
    assert widget._run["state"] == "done" and widget.df.podtrace.interrupted
