"""What becomes of Jobs that nobody waits for is looked at for a moment. A small API answers in the real one's shape.

The real API, its controller and its scheduler are asked in tests/kubernetes/test_unattended.py.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from podtracer_nb.errors import InputError, PrivilegeError
from podtracer_nb.tools import unattended
from tests.targets.test_api_faults import Api, Handler, kubeconfig, named, one_line
from tests.targets.test_pods_of_the_api import WEB

PODS = "/api/v1/namespaces/podtracer/pods"
EVENTS = "/api/v1/namespaces/podtracer/events"
QUOTA = 'pods "x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0'
LEVEL = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes (volume "proc")'
ACCOUNT = 'pods "x" is forbidden: error looking up service account podtracer/podtracer-job: not found'
WHERE = {"pod": ("web-1", "web-2"), "image": "podtracer-nb:1"}


class Jobs(Api):
    """Makes and deletes Jobs; `nodes` says what becomes of those on a node: refused, with why, or a pod's state."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Controller
        self.jobs: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}
        self.nodes: dict[str, str | dict[str, Any]] = {}
        self.suspends = self.interrupts = False
        self.answers[EVENTS] = {"items": []}

    def made(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        self.jobs[name] = job
        job["spec"]["suspend"] = self.suspends
        rule = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = rule["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        becomes = self.nodes.get(terms[0]["matchFields"][0]["values"][0])
        if isinstance(becomes, str):
            event = {"involvedObject": {"kind": "Job", "name": name}, "reason": "FailedCreate", "message": becomes}
            self.answers[EVENTS] = {"items": [*self.answers[EVENTS]["items"], event]}
        elif becomes is not None:
            self.pods[f"job-name={name}"] = becomes


class Controller(Handler):
    server: Jobs

    def do_POST(self) -> None:
        self.server.made(job := self._body())
        if self.server.interrupts:
            # It is there, and whoever asked for it has no answer yet.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.5)
            self.close_connection = True
            return
        self.server.answers[self.path] = job
        super().do_GET()

    def do_DELETE(self) -> None:
        self._body()
        self.server.jobs.pop(self.path.rpartition("/")[2], None)
        self.server.answers[self.path] = {}
        super().do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == PODS:
            found = self.server.pods.get(parse_qs(parts.query)["labelSelector"][0])
            self.server.answers[PODS] = {"items": [found] if found else []}
        super().do_GET()

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    server = Jobs()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")))
    for name, node in (("web-1", "node-a"), ("web-2", "node-b")):
        pod = {**named(name), "spec": {**WEB["spec"], "nodeName": node}}
        server.answers[f"/api/v1/namespaces/shop/pods/{name}"] = pod
    yield server
    server.shutdown()
    server.server_close()


SCHEDULED = {"metadata": {"name": "p"}, "spec": {"nodeName": "node-a"}, "status": {"phase": "Pending"}}
UNSCHEDULABLE = {
    "metadata": {"name": "p"},
    "spec": {},
    "status": {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": '0/2 nodes are available: persistentvolumeclaim "captures" not found.',
            }
        ],
    },
}


def test_jobs_whose_pods_have_their_nodes_are_made_and_nothing_else_is_said(api: Jobs) -> None:
    api.nodes = {"node-a": SCHEDULED, "node-b": SCHEDULED}
    found = unattended.made("ip", ["run", "ip"], **WHERE)
    assert [each.state for each in found] == ["made", "made"]
    assert {each.name for each in found} == api.jobs.keys()
    assert not any("waits" in line for each in found for line in each.lines())


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (QUOTA, r"exceeded quota: none.*raise the quota, or .*--tracer-namespace"),
        (LEVEL, r"restricted:latest.*kubectl label namespace podtracer .*enforce=privileged"),
        (ACCOUNT, r"podtracer/podtracer-job.*serviceaccount\.yaml and rbac\.yaml have it: apply them"),
    ],
    ids=["quota", "PodSecurity", "account"],
)
def test_a_pod_that_may_not_be_made_is_told_as_a_tracer_s_and_no_job_is_left(api: Jobs, said: str, remedy: str) -> None:
    api.nodes = {"node-a": said, "node-b": said}
    with pytest.raises(PrivilegeError, match=f"the pod of job podtracer-ip-.* may not be made .*{remedy}") as caught:
        unattended.made("ip", ["run", "ip"], **WHERE)
    assert one_line(caught.value).endswith("the job is deleted again")
    assert not api.jobs


def test_one_that_is_refused_stops_no_other_and_the_exit_status_tells(api: Jobs) -> None:
    api.nodes = {"node-a": SCHEDULED, "node-b": QUOTA}
    line = ["run", "ip", "--pod", "web-1", "--pod", "web-2", "--job", "--image", "podtracer-nb:1"]
    done = subprocess.run(
        [sys.executable, "-m", "podtracer_nb.cli", *line], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (left,) = api.jobs
    assert f"job {left} in podtracer on node-a: shop/web-1" in done.stdout and "node-b" not in done.stdout
    assert "no job on node-b for shop/web-2: " in done.stderr and "exceeded quota" in done.stderr
    found = unattended.made("ip", ["run", "ip"], **WHERE)
    states = unattended.table(found).set_index("node").state
    assert states["node-a"] == "made" and states["node-b"].startswith("refused: the pod of job")


def test_a_pod_that_no_node_can_take_now_may_wait_and_that_is_said(api: Jobs) -> None:
    api.nodes = {"node-a": UNSCHEDULABLE, "node-b": SCHEDULED}
    waits, runs = unattended.made("ip", ["run", "ip"], **WHERE)
    assert 'waits:  no node can take its pod now (0/2 nodes are available: persistentvolumeclaim "captures"' in str(
        waits.lines()
    )
    assert runs.state == "made"
    assert len(api.jobs) == 2


def test_a_job_that_is_suspended_as_it_is_made_is_not_waited_for(api: Jobs) -> None:
    api.suspends = True
    found = unattended.made("ip", ["run", "ip"], **WHERE)
    assert all("suspended" in each.waits for each in found)
    assert PODS not in [path for path, _ in api.asked]


def test_who_may_not_look_has_made_the_job_all_the_same(api: Jobs) -> None:
    api.answers[EVENTS] = 403
    found = unattended.made("ip", ["run", "ip"], **WHERE)
    assert all("may not get events in namespace podtracer" in each.state for each in found)
    assert len(api.jobs) == 2


def test_a_job_of_which_nothing_is_heard_is_said_to_have_no_pod_yet(api: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unattended, "_LOOK_SECONDS", 0.0)
    found = unattended.made("ip", ["run", "ip"], **WHERE)
    assert [each.state for each in found] == ["waits: it has no pod yet"] * 2


def test_an_interrupt_before_all_is_known_leaves_no_job(api: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(unattended.execution, "outlook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unattended.made("ip", ["run", "ip"], **WHERE)
    assert not api.jobs


@pytest.mark.parametrize(("words", "may"), [(["--allow-change"], True), ([], False), (["--", "--allow-change"], False)])
def test_only_what_may_alter_its_pods_has_the_capability_for_it(api: Jobs, words: list[str], may: bool) -> None:
    for each in unattended.made("ip", ["run", "ip", *words], dry_run=True, **WHERE):
        (container,) = each.manifest["spec"]["template"]["spec"]["containers"]
        assert ("NET_ADMIN" in container["securityContext"]["capabilities"]["add"]) is may


@pytest.mark.parametrize("limit", [["--count-total", "5"], ["--max-total", "5000000"]])
def test_jobs_of_several_nodes_have_no_limit_of_all_together(api: Jobs, limit: list[str]) -> None:
    with pytest.raises(InputError, match="the Jobs of 2 nodes do not count together"):
        unattended.made("tcpdump", ["run", "tcpdump", *limit], **WHERE)
    assert not api.jobs
    with pytest.raises(InputError, match="the Jobs of a schedule do not count together"):
        unattended.made("tcpdump", ["run", "tcpdump", *limit], schedule="@hourly", timer=60, **WHERE)
    api.nodes = {"node-a": SCHEDULED}
    (made,) = unattended.made("tcpdump", ["run", "tcpdump", *limit], pod=("web-1",), image="podtracer-nb:1")
    (container,) = made.manifest["spec"]["template"]["spec"]["containers"]
    assert set(limit) <= set(container["command"])


def test_an_interrupt_while_one_is_made_leaves_no_job(api: Jobs) -> None:
    api.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        unattended.made("ip", ["run", "ip"], **WHERE)
    assert not api.jobs
