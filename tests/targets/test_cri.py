"""A container runtime asked over its socket.

The real containerd and the real CRI-O are asked in the tests of the cluster. Here a gRPC server answers in the shapes
of those that cannot run on this machine, cri-dockerd and old versions, and misbehaves as a hung or dying one does.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from podtracer_nb.errors import PrivilegeError, RuntimeUnavailable, TargetGone
from podtracer_nb.targets import cri

ID, SANDBOX = "1a" * 32, "2b" * 32
Serve = Callable[..., Path]


class Fake(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers ContainerStatus, PodSandboxStatus and Version with given words, in one version of the interface."""

    def __init__(self, container: dict[str, str], sandbox: dict[str, str] | None, package: str, delay: float) -> None:
        self.container, self.sandbox, self.package, self.delay = container, sandbox, package, delay
        self.released = threading.Event()
        self.asked: list[str] = []

    def service(self, details: Any) -> Any:
        package, _, method = details.method.strip("/").rpartition("/")
        if package != f"{self.package}.RuntimeService":
            return None
        self.asked.append(method)
        types = cri._types()

        def answer(request: Any, context: Any) -> Any:
            self.released.wait(self.delay)
            if method == "Version":
                return types["VersionResponse"](runtime_name="fake", runtime_version="1.2", runtime_api_version="v1")
            info = self.container if method == "ContainerStatus" else self.sandbox
            known = request.container_id == ID if method == "ContainerStatus" else request.pod_sandbox_id == SANDBOX
            if not known or info is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
            assert request.verbose
            return types[f"{method}Response"](info=info)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=types[f"{method}Request"].FromString,
            response_serializer=types[f"{method}Response"].SerializeToString,
        )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as opened:

        def start(
            container: dict[str, Any],
            sandbox: dict[str, Any] | None = None,
            *,
            package: str = "runtime.v1",
            delay: float = 0,
            flat: bool = False,
        ) -> Path:
            shape: Callable[[dict[str, Any]], dict[str, str]]
            shape = (lambda words: words) if flat else (lambda words: {"info": json.dumps(words)})
            path = tmp_path / "runtime.sock"
            fake = Fake(shape(container), None if sandbox is None else shape(sandbox), package, delay)
            server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[fake])
            server.add_insecure_port(f"unix:{path}")
            server.start()
            opened.callback(lambda: server.stop(0).wait())
            opened.callback(fake.released.set)
            return path

        yield start


def spec(path: str | None) -> dict[str, Any]:
    """Return a runtime specification in which the network namespace has this path, or none."""
    network = {"type": "network", **({} if path is None else {"path": path})}
    return {"linux": {"namespaces": [{"type": "pid"}, network, {"type": "mount"}]}}


def test_containerd_names_the_sandbox_s_namespace(serve: Serve) -> None:
    path = serve(
        {"sandboxID": SANDBOX, "pid": 4711, "runtimeSpec": spec("/proc/4700/ns/net")},
        {"pid": 4700, "netNamespaceClosed": False, "runtimeSpec": spec("/var/run/netns/cni-1")},
    )
    assert cri.locate(path, ID) == cri.Located(4711, SANDBOX, "/var/run/netns/cni-1")
    assert cri.version(path).name == "fake"


def test_cri_o_names_it_in_both(serve: Serve) -> None:
    path = serve(
        {"sandboxID": SANDBOX, "pid": 4711, "runtimeSpec": spec("/var/run/netns/uuid"), "privileged": False},
        {"runtimeSpec": spec("/var/run/netns/uuid")},
    )
    assert cri.locate(path, ID) == cri.Located(4711, SANDBOX, "/var/run/netns/uuid")


def test_cri_dockerd_tells_the_process_only(serve: Serve) -> None:
    path = serve({"sandboxID": SANDBOX, "pid": 4711}, {})
    assert cri.locate(path, ID) == cri.Located(4711, SANDBOX, "")


def test_an_old_runtime_puts_the_words_there_one_by_one(serve: Serve) -> None:
    path = serve({"pid": "4711", "sandboxId": SANDBOX}, flat=True)
    assert cri.locate(path, ID).pid == 4711


def test_an_old_runtime_speaks_v1alpha2(serve: Serve) -> None:
    path = serve({"sandboxID": SANDBOX, "pid": 4711}, {}, package="runtime.v1alpha2")
    assert cri.locate(path, ID).pid == 4711


@pytest.mark.parametrize("path", ["", None, "relative/path"])
def test_an_empty_path_never_becomes_a_namespace(serve: Serve, path: str | None) -> None:
    socket = serve({"sandboxID": SANDBOX, "pid": 4711, "runtimeSpec": spec(path)}, {"runtimeSpec": spec(path)})
    assert cri.locate(socket, ID).network == ""


@pytest.mark.parametrize("pid", [0, -1, "none", None])
def test_a_container_without_a_process_is_refused(serve: Serve, pid: object) -> None:
    path = serve({"sandboxID": SANDBOX, "pid": pid})
    with pytest.raises(TargetGone, match="has ended"):
        cri.locate(path, ID)


def test_a_container_that_is_gone(serve: Serve) -> None:
    with pytest.raises(TargetGone, match="no such container"):
        cri.locate(serve({"pid": 4711}), "9f" * 32)


def test_a_sandbox_that_went_between_two_calls_leaves_the_container_s_own_answer(serve: Serve) -> None:
    path = serve({"sandboxID": SANDBOX, "pid": 4711, "runtimeSpec": spec("/var/run/netns/cni-2")}, None)
    assert cri.locate(path, ID) == cri.Located(4711, SANDBOX, "/var/run/netns/cni-2")


def test_what_is_no_json_says_nothing(serve: Serve) -> None:
    path = serve({"info": "{broken", "pid": "12"}, flat=True)
    assert cri.locate(path, ID).pid == 12


def test_a_hung_runtime_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cri, "_SECONDS", 0.3)
    path = serve({"pid": 4711}, delay=30)
    began = time.monotonic()
    with pytest.raises(RuntimeUnavailable, match="did not answer"):
        cri.locate(path, ID)
    assert time.monotonic() - began < 5


def test_a_service_that_is_no_runtime(serve: Serve) -> None:
    with pytest.raises(RuntimeUnavailable, match="speaks no CRI"):
        cri.locate(serve({}, package="other.v9"), ID)


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    with pytest.raises(RuntimeUnavailable, match="nobody listens"):
        cri.locate(path, ID)
    with pytest.raises(RuntimeUnavailable, match="no runtime"):
        cri.locate(tmp_path / "absent.sock", ID)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open any socket")
def test_a_socket_that_is_not_ours(serve: Serve) -> None:
    path = serve({"pid": 4711})
    path.chmod(0)
    with pytest.raises(PrivilegeError, match="may not be opened"):
        cri.locate(path, ID)


def test_sockets_are_found_below_the_host_s_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_HOST_ROOT", str(tmp_path))
    monkeypatch.delenv("PODTRACER_RUNTIME_SOCKET", raising=False)
    places = [
        "run/k3s/containerd/containerd.sock", "run/crio/crio.sock", "run/cri-dockerd.sock",
        "var/snap/microk8s/common/run/containerd.sock", "run/k0s/containerd.sock",
    ]  # fmt: skip
    with ExitStack() as opened:
        for place in places:
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            bound = opened.enter_context(socket.socket(socket.AF_UNIX))
            # The path's length is limited: bound from inside the folder.
            monkeypatch.chdir((tmp_path / place).parent)
            bound.bind(Path(place).name)
        (tmp_path / "run/containerd").mkdir()
        (tmp_path / "run/containerd/containerd.sock").write_text("a file is no socket")
        found = [str(path.relative_to(tmp_path)) for path in cri.sockets() if path.is_relative_to(tmp_path)]
        assert sorted(found) == sorted(places)
        only = [str(path.relative_to(tmp_path)) for path in cri.sockets("cri-o") if path.is_relative_to(tmp_path)]
        assert only == ["run/crio/crio.sock"]
        monkeypatch.setenv("PODTRACER_RUNTIME_SOCKET", "unix:///somewhere/else.sock")
        assert cri.sockets() == (Path("/somewhere/else.sock"),)
