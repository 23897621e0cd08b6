"""From names to targets, over a state file like the demo's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podtracer_nb import targets
from podtracer_nb.errors import DemoError, InputError, TargetError, TargetNotFound
from podtracer_nb.targets import local, procfs


def pod(name: str, namespace: str, owner: str, labels: dict[str, str], services: tuple[str, ...] = ()) -> local.DemoPod:
    pid = os.getpid()
    started = procfs.start_time(pid)
    assert started is not None
    containers = tuple(local.DemoContainer(each, pid, started) for each in ("server", "sidecar"))
    return local.DemoPod(
        name, namespace, f"uid-{name}", labels, "node-a", ("10.88.0.10", "fd00:88::10"), owner, services, "Running",
        ("eth0",), containers,
    )  # fmt: skip


PODS = (
    pod("web-7d9f-abc", "shop", "Deployment/web", {"app": "web"}, ("web",)),
    pod("web-7d9f-def", "shop", "Deployment/web", {"app": "web", "canary": "yes"}, ("web",)),
    pod("db-0", "shop", "StatefulSet/db", {"app": "db"}, ("db",)),
    pod("db-0", "test", "StatefulSet/db", {"app": "db"}, ("db",)),
    pod("client", "test", "Pod/client", {"app": "client"}),
)


@pytest.fixture(autouse=True)
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "state"))
    started = procfs.start_time(os.getpid())
    assert started is not None
    return local.write_demo(local.DemoState(local.Process(os.getpid(), started), "node-a", PODS))


def names(*pods: str, **options: object) -> list[str]:
    return [target.label for target in targets.resolve(pods=pods, **options)]  # type: ignore[arg-type]


def test_a_unique_name_needs_no_namespace() -> None:
    (client,) = targets.resolve(pods="client")
    assert (client.namespace, client.pod, client.container, client.containers) == (
        "test", "client", "server", ("server", "sidecar"),
    )  # fmt: skip
    assert client.ip == ("10.88.0.10", "fd00:88::10")
    assert client.source == "demo"


def test_a_name_that_two_namespaces_have_asks_which() -> None:
    with pytest.raises(TargetError, match="shop and test: give -n shop"):
        targets.resolve(pods=["db-0"])
    assert names("db-0", namespace="test") == ["test/db-0"]
    assert names("shop/db-0") == ["shop/db-0"]
    assert names("db-0", all_namespaces=True) == ["shop/db-0", "test/db-0"]


def test_owners_services_and_globs_name_all_their_pods() -> None:
    web = ["shop/web-7d9f-abc", "shop/web-7d9f-def"]
    assert names("deploy/web") == names("svc/web") == names("web-*") == names("shop/deploy/w*") == web
    assert names("sts/db", namespace="test") == ["test/db-0"]


def test_a_pod_named_twice_is_one_target_and_the_order_is_the_user_s() -> None:
    assert names("client", "web-*", "web-7d9f-abc", "deploy/web") == [
        "test/client",
        "shop/web-7d9f-abc",
        "shop/web-7d9f-def",
    ]


def test_a_selector_alone_or_with_names() -> None:
    assert names(selector="app in (web,client)") == ["shop/web-7d9f-abc", "shop/web-7d9f-def", "test/client"]
    assert names("deploy/web", selector="canary") == ["shop/web-7d9f-def"]
    assert names(selector="app=db", namespace="test") == ["test/db-0"]
    with pytest.raises(TargetNotFound, match="no pod in namespace test has labels app=web"):
        names(selector="app=web", namespace="test")


def test_an_unknown_pod_is_told_the_nearest_names() -> None:
    with pytest.raises(TargetNotFound, match=r"no pod web.*; nearest: web-7d9f-abc, web-7d9f-def") as unknown:
        targets.resolve(pods=["web"])
    assert unknown.value.nearest == ("web-7d9f-abc", "web-7d9f-def")
    with pytest.raises(TargetNotFound, match="nearest: client"):
        targets.resolve(pods=["cleint"])
    with pytest.raises(TargetNotFound, match="there are: db, web"):
        targets.resolve(pods=["svc/xyz"])


def test_a_pod_of_another_namespace_is_pointed_to() -> None:
    with pytest.raises(TargetNotFound, match="no pod client in namespace shop; namespace test has it"):
        targets.resolve(pods=["client"], namespace="shop")


def test_unknown_namespaces_and_containers_are_told_the_nearest() -> None:
    with pytest.raises(TargetNotFound, match="no namespace shpo; nearest: shop"):
        targets.resolve(pods=["db-0"], namespace="shpo")
    with pytest.raises(TargetNotFound, match="no container sidecars in pod test/client; nearest: sidecar"):
        targets.resolve(pods=["client"], container="sidecars")
    assert targets.resolve(pods=["client"], container="sidecar")[0].container == "sidecar"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"namespace": "shop"},
        {"pods": ["db-0"], "pid": 1},
        {"pid": 1, "netns": "blue"},
        {"pods": ["db-0"], "namespace": "shop", "all_namespaces": True},
        {"pods": ["db-0"], "namespace": "--help"},
        {"pods": ["db-0"], "container": "-c"},
        {"pods": ["--help"]},
        {"netns": "-n"},
        {"netns": ""},
        {"pid": 0},
        {"pid": -1},
        {"pid": 1, "container": "x"},
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_looked_up(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        targets.resolve(**options)  # type: ignore[arg-type]


def test_pods_are_listed_by_namespace_and_label() -> None:
    assert len(targets.pods()) == len(targets.pods(all_namespaces=True)) == 5
    assert [each.pod for each in targets.pods("test")] == ["client", "db-0"]
    assert [each.label for each in targets.pods(selector="app=db")] == ["shop/db-0", "test/db-0"]
    with pytest.raises(TargetNotFound):
        targets.pods("nowhere")


def test_without_a_demo_there_are_no_pods_and_the_line_says_what_to_do(demo: Path) -> None:
    local.remove_demo()
    assert targets.pods() == ()
    assert not demo.parent.exists()
    with pytest.raises(TargetNotFound, match="podtracer demo up"):
        targets.resolve(pods=["web"])


def test_a_demo_whose_keeper_is_gone_is_no_demo() -> None:
    state = local.read_demo()
    assert state is not None and state.pods == PODS
    local.write_demo(local.DemoState(local.Process(state.keeper.pid, state.keeper.start_time + 1), "node-a", PODS))
    assert local.read_demo() is None


def test_the_state_file_is_private_and_a_broken_one_is_said(demo: Path) -> None:
    assert demo.stat().st_mode & 0o777 == 0o600
    assert demo.parent.stat().st_mode & 0o777 == 0o700
    demo.write_text("{")
    with pytest.raises(DemoError, match="podtracer demo down"):
        local.read_demo()


def test_another_user_s_state_directory_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODTRACER_STATE", "/proc/1" if os.geteuid() else "/proc/self")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(DemoError, match="belongs to user id 0" if not os.getuid() else "belongs to user id"):
        local.state_directory()


def test_a_process_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(TargetNotFound, match="no process 4194305"):
        targets.resolve(pid=4194305)  # beyond the kernel's largest pid (PID_MAX_LIMIT)


def test_a_network_namespace_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(TargetNotFound, match="no network namespace no-such"):
        targets.resolve(netns="no-such")
    with pytest.raises(TargetNotFound, match="no network namespace file /no/such"):
        targets.resolve(netns="/no/such")
