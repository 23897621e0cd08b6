"""What the API server can do wrong, each told in one line. A small server answers in the real one's shape.

The real API server is asked in the tests of the cluster; to make it slow, mute or forgetful there would hurt others.
"""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from podtracer_nb import targets
from podtracer_nb.errors import ClusterError, InputError, PodtracerError, PrivilegeError, TargetNotFound
from podtracer_nb.targets import kubernetes
from tests.targets.test_cgroups import entry
from tests.targets.test_pods_of_the_api import WEB


class Api(http.server.ThreadingHTTPServer):
    """Answers GETs with `answers[path]`: a document, or a number that becomes an error's Status."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.tokens: list[str] = []
        self.delay = 0.0
        self.raw: bytes | None = None
        self.connections = 0
        self.released = threading.Event()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def do_GET(self) -> None:
        api = self.server
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        api.asked.append((path, query))
        api.tokens.append(self.headers.get("Authorization", ""))
        api.released.wait(api.delay)
        if api.raw is not None:
            self.wfile.write(api.raw)
            self.close_connection = True
            return
        answer = api.answers.get(path, 404)
        status = answer if isinstance(answer, int) else 200
        if status != 200:
            message = f'pods is forbidden: User "system:serviceaccount:shop:viewer" cannot ({status})'
            answer = {"kind": "Status", "status": "Failure", "code": status, "message": message}
        if status == 200:
            answer = {"kind": "PodList" if "items" in answer else "Pod", **answer}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", f"http://127.0.0.1:{server.server_port}")))
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def kubeconfig(path: Path, server: str, namespace: str = "shop", token: str = "secret") -> Path:
    """Write a kubeconfig of two contexts, `here` (current) and `there`."""
    user = {"name": "me", "user": {"token": token}}
    contexts = [
        {"name": name, "context": {"cluster": "c", "user": "me", "namespace": space}}
        for name, space in (("here", namespace), ("there", "default"))
    ]
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": contexts, "users": [user],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
    }  # fmt: skip
    path.write_text(json.dumps(config))
    return path


def named(name: str, **labels: str) -> dict[str, Any]:
    return {**WEB, "metadata": {**WEB["metadata"], "name": name, "labels": labels or WEB["metadata"]["labels"]}}


def one_line(error: PodtracerError) -> str:
    text = str(error)
    assert "\n" not in text and len(text) < 500
    return text


PODS = "/api/v1/namespaces/shop/pods"


def test_a_plain_name_is_one_call(api: Api) -> None:
    api.answers[f"{PODS}/web"] = named("web")
    (web,) = targets.resolve(pods="web")
    assert (web.label, web.source) == ("shop/web", "kubernetes")
    assert [path for path, _ in api.asked] == [f"{PODS}/web"]
    assert api.tokens == ["Bearer secret"]


def test_two_hundred_pods_are_one_list_on_one_connection(api: Api) -> None:
    api.answers[PODS] = {"items": [named(f"web-{number}", app="web") for number in range(200)]}
    api.answers["/api/v1/namespaces/shop/services"] = {
        "items": [{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"app": "web"}}}]
    }
    found = targets.pods()
    assert len(found) == 200
    assert found[0].services == ("web",)
    assert len(api.asked) == 2 and api.connections == 1
    targets.pods()
    assert api.connections == 1


def test_owners_services_globs_and_selectors(api: Api) -> None:
    other = {**named("db-0", app="db"), "metadata": {**named("db-0", app="db")["metadata"], "ownerReferences": [
        {"kind": "Job", "name": "backup-29012345", "controller": True}]}}  # fmt: skip
    api.answers[PODS] = {"items": [named("web-1"), named("web-2"), other]}
    api.answers["/api/v1/namespaces/shop/services"] = {
        "items": [{"metadata": {"name": "front", "namespace": "shop"}, "spec": {"selector": {"app": "web"}}}]
    }

    def names(*pods: str, **words: Any) -> list[str]:
        return [target.pod for target in targets.resolve(pods=pods, **words)]

    assert names("deploy/web") == names("web-*") == names("svc/front") == ["web-1", "web-2"]
    assert names("job/backup-29012345") == names("cj/backup") == ["db-0"]
    assert names(selector="app=db") == ["db-0"]
    assert api.asked[-1][1]["labelSelector"] == ["app=db"]


def test_the_namespace_is_kubectl_s(api: Api) -> None:
    web = {**WEB, "metadata": {**WEB["metadata"], "name": "web", "namespace": "default"}}
    api.answers["/api/v1/namespaces/default/pods/web"] = web
    with pytest.raises(TargetNotFound):
        targets.resolve(pods="web")
    assert targets.resolve(pods="web", context="there")[0].pod == "web"
    assert targets.resolve(pods="default/web")[0].pod == "web"
    assert targets.resolve(pods="web", namespace="default")[0].pod == "web"


def test_an_unknown_pod_names_the_nearest_and_where_else_it_is(api: Api) -> None:
    api.answers[PODS] = {"items": [named("web-1"), named("api-1")]}
    with pytest.raises(TargetNotFound, match="web-1") as caught:
        targets.resolve(pods="wbe-1")
    assert caught.value.nearest[0] == "web-1"
    elsewhere = {**WEB, "metadata": {**WEB["metadata"], "name": "db-0", "namespace": "data"}}
    api.answers["/api/v1/pods"] = {"items": [elsewhere]}
    with pytest.raises(TargetNotFound, match="namespace data has it: use -n"):
        targets.resolve(pods="db-0")


def test_an_unknown_namespace_names_the_nearest(api: Api) -> None:
    api.answers["/api/v1/namespaces"] = {"items": [{"metadata": {"name": "shop"}}, {"metadata": {"name": "data"}}]}
    api.answers["/api/v1/namespaces/shpo/pods"] = {"items": []}
    with pytest.raises(TargetNotFound, match=r"no namespace shpo.*shop"):
        targets.resolve(pods="web", namespace="shpo")
    with pytest.raises(TargetNotFound, match=r"no namespace shpo.*shop"):
        targets.pods("shpo")


def test_no_permission_names_the_verb_the_resource_and_who_asked(api: Api) -> None:
    api.answers[f"{PODS}/web"] = 403
    with pytest.raises(PrivilegeError) as caught:
        targets.resolve(pods="web")
    line = one_line(caught.value)
    assert "system:serviceaccount:shop:viewer may not get pods in namespace shop" in line and "Role" in line


def test_an_expired_token(api: Api) -> None:
    api.answers[f"{PODS}/web"] = 401
    with pytest.raises(PrivilegeError, match="token has expired") as caught:
        targets.resolve(pods="web")
    one_line(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_api_server_in_trouble(api: Api, status: int) -> None:
    api.answers[f"{PODS}/web"] = status
    with pytest.raises(ClusterError, match=f"answers {status}") as caught:
        targets.resolve(pods="web")
    one_line(caught.value)


def test_a_slow_api_server(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_READ_SECONDS", 0.3)
    api.delay = 30
    began = time.monotonic()
    with pytest.raises(ClusterError, match="did not answer in time") as caught:
        targets.resolve(pods="web")
    assert time.monotonic() - began < 5
    one_line(caught.value)


def test_an_api_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", f"http://127.0.0.1:{port}")))
    with pytest.raises(ClusterError, match=r"cannot be reached.*refused") as caught:
        targets.resolve(pods="web")
    one_line(caught.value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", b"HTTP/1.1 200 OK\r\n\r\n[1]"],
)
def test_what_answers_is_no_api_server(api: Api, raw: bytes) -> None:
    api.raw = raw
    with pytest.raises(ClusterError) as caught:
        targets.resolve(pods="web")
    one_line(caught.value)


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(api: Api) -> None:
    api.answers[f"{PODS}/web"] = named("web")
    targets.resolve(pods="web")
    api.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with pytest.raises(PodtracerError):
        targets.resolve(pods="web")
    api.raw = None
    assert targets.resolve(pods="web")[0].pod == "web"


def test_a_changed_kubeconfig_is_read_again(api: Api, tmp_path: Path) -> None:
    api.answers[f"{PODS}/web"] = named("web")
    targets.resolve(pods="web")
    kubeconfig(tmp_path / "config", f"http://127.0.0.1:{api.server_port}", token="renewed")
    targets.resolve(pods="web")
    assert "renewed" in api.tokens[-1] and "renewed" not in api.tokens[0]


@pytest.mark.parametrize("text", ["", "no: [yaml", "apiVersion: v1\nkind: Config\n", "[]", "\x00\x01"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InputError, match="kubeconfig") as caught:
        targets.resolve(pods="web", kubeconfig=str(path))
    one_line(caught.value)


def test_a_kubeconfig_or_context_that_is_not_there(api: Api, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        targets.resolve(pods="web", kubeconfig=str(tmp_path / "absent"))
    with pytest.raises(TargetNotFound, match=r"no context her.*here"):
        targets.resolve(pods="web", context="her")


def test_a_container_that_the_pod_has_not(api: Api) -> None:
    api.answers[f"{PODS}/web"] = named("web")
    with pytest.raises(TargetNotFound, match="sidecar"):
        targets.resolve(pods="web", container="sidecra")
    assert targets.resolve(pods="web", container="sidecar")[0].container == "sidecar"


def test_pods_that_cannot_be_entered_say_why(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(status: dict[str, Any], **spec: Any) -> str:
        api.answers[f"{PODS}/web"] = {**named("web"), "status": status, "spec": {**WEB["spec"], **spec}}
        (target,) = targets.resolve(pods="web")
        with pytest.raises(PodtracerError) as caught:
            targets.pin(target)
        return one_line(caught.value)

    assert "is Pending (not started): it has no process to enter" in refused({"phase": "Pending"})
    assert "has finished" in refused({"phase": "Succeeded"})
    assert "Windows" in refused(WEB["status"], os={"name": "windows"})
    assert "node node-a" in refused(WEB["status"])
    monkeypatch.setenv("PODTRACER_NODE_NAME", "node-b")
    assert "is on node node-a, and we are on node-b" in refused(WEB["status"])
    monkeypatch.setenv("PODTRACER_NODE_NAME", "node-a")
    monkeypatch.setenv("PODTRACER_HOST_ROOT", str(tmp_path))
    entry(tmp_path / "proc", 1, 1, "0::/\n")
    assert "no container's process is to be seen" in refused(WEB["status"])
    entry(tmp_path / "proc", 2, 1, f"0::/kubepods/pod1/{'5b' * 32}\n")
    assert "has no process on this node any more" in refused(WEB["status"])
    assert "virtual machine" in refused(WEB["status"], runtimeClassName="kata-qemu")


TOKEN = "eyJhbGciOiJSUzI1NiJ9"


def test_a_token_is_never_printed(api: Api, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "broken", f"http://127.0.0.1:{api.server_port}", token=f"{TOKEN}\n")
    with pytest.raises(PodtracerError) as caught:
        targets.resolve(pods="web", kubeconfig=str(path))
    assert TOKEN not in one_line(caught.value) and "broken over lines" in str(caught.value)


def changed(path: Path, server: str = "https://127.0.0.1:9", **words: Any) -> str:
    """Return a kubeconfig whose user, or cluster, is described by other words."""
    config = json.loads(kubeconfig(path, server).read_text())
    config["users"][0]["user"] = words.get("user", config["users"][0]["user"])
    config["clusters"][0]["cluster"] = words.get("cluster", config["clusters"][0]["cluster"])
    path.write_text(json.dumps(config))
    return str(path)


def test_a_credential_plugin_that_is_not_installed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin", "interactiveMode": "Never"}
    path = changed(tmp_path / "exec", user={"exec": plugin})
    with pytest.raises(PrivilegeError, match=r"credential plugin gave none \(.*no-such-plugin.*install it") as caught:
        targets.resolve(pods="web", kubeconfig=path)
    one_line(caught.value)
    assert capfd.readouterr() == ("", "")


def test_certificates_that_cannot_be_used(api: Api, tmp_path: Path) -> None:
    junk = {"client-certificate-data": "anVuaw==", "client-key-data": "anVuaw=="}
    with pytest.raises(PodtracerError, match="certificates") as caught:
        targets.resolve(
            pods="web", kubeconfig=changed(tmp_path / "junk", f"https://127.0.0.1:{api.server_port}", user=junk)
        )
    one_line(caught.value)


def test_a_server_that_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="begins with https://"):
        targets.resolve(pods="web", kubeconfig=changed(tmp_path / "bare", cluster={"server": "api.example:6443"}))


def test_a_kubeconfig_variable_that_names_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(TargetNotFound, match=r"KUBECONFIG names .*absent, which is no file"):
        targets.resolve(pods="web")
