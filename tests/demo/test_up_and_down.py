"""`up`, `status` and `down`: what they promise."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from podtracer_nb import demo, targets
from podtracer_nb.demo import pods
from podtracer_nb.errors import DemoError
from podtracer_nb.targets import local
from tests.demo.machine_state import inside, processes_of, until
from tests.machine import needs

pytestmark = needs("netns", "dnsmasq", "ping", "iproute2")


def test_up_returns_when_every_pod_serves(state: Path) -> None:
    up = demo.up()
    assert up.running and up.changed
    assert [pod.name for pod in up.pods] == ["dns", "api", "web", "client"]
    assert all(pod.running for pod in up.pods)
    for database, address in (("ahostsv4", "10.88.0.10"), ("ahostsv6", "fd00:88::10")):
        assert inside("client", ["getent", database, "web"], ("net", "mnt")).stdout.startswith(address)
    assert state.exists()


def test_a_second_up_leaves_the_first_demo_alone_and_says_so(state: Path) -> None:
    first = demo.up()
    second = demo.up()
    assert second.running and not second.changed
    assert second.keeper == first.keeper
    assert [pod.pid for pod in second.pods] == [pod.pid for pod in first.pods]
    assert state.exists()


def test_down_leaves_no_process_no_file_and_no_directory(state: Path) -> None:
    demo.up()
    assert len(processes_of(state)) > len(pods.PODS)
    down = demo.down()
    assert down.changed and not down.running
    assert processes_of(state) == []
    assert not state.parent.exists()


def test_down_without_up_changes_nothing(state: Path) -> None:
    assert demo.down() == demo.DemoStatus(running=False)
    assert not state.parent.exists()


def test_status_says_what_the_bad_link_is_made_of(state: Path) -> None:
    assert not demo.status().running
    demo.up()
    link = demo.status().link
    assert link is not None
    assert (link.pod, link.loss_percent) == ("api", 2)
    assert link.way in ("netem", "nftables")
    assert link.way in str(demo.status())


def test_the_state_file_is_private_and_holds_what_targets_reads(state: Path) -> None:
    up = demo.up()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    read = local.read_demo()
    assert read is not None and read.keeper.pid == up.keeper
    web = next(pod for pod in read.pods if pod.name == "web")
    assert (web.namespace, web.node, web.owner, web.services) == ("demo", "demo-node", "Deployment/web", ("web",))
    assert web.labels["app"] == "web"
    assert web.ips == ("10.88.0.10", "fd00:88::10")
    assert local.Process(web.containers[0].pid, web.containers[0].start_time).alive


@pytest.mark.parametrize("reference", ["web", "demo/web", "deploy/web", "svc/web", "we*"])
def test_a_pod_answers_to_the_names_that_a_cluster_gives(running: demo.DemoStatus, reference: str) -> None:
    (found,) = targets.resolve(pods=[reference], namespace=None if reference == "demo/web" else "demo")
    assert found.pod == "web"
    assert found.pid == next(pod.pid for pod in running.pods if pod.name == "web")


def test_two_demos_live_side_by_side(state: Path, running: demo.DemoStatus) -> None:
    mine = demo.up()
    assert mine.changed and mine.keeper != running.keeper
    demo.down()
    assert not state.exists()
    assert running.keeper is not None
    os.kill(running.keeper, 0)


def test_a_pod_whose_process_has_ended_is_shown_as_such(state: Path) -> None:
    web = next(pod for pod in demo.up().pods if pod.name == "web")
    os.kill(web.pid, signal.SIGKILL)
    until(lambda: not next(pod for pod in demo.status().pods if pod.name == "web").running, "web is seen to have ended")
    assert all(pod.running for pod in demo.status().pods if pod.name != "web")
    assert state.exists()


def test_down_never_kills_a_process_that_only_has_the_keepers_number(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        local.write_demo(local.DemoState(local.Process(bystander.pid, start_time=1), "demo-node", ()))
        assert not demo.down().changed
        assert bystander.poll() is None
        assert not state.exists()
        bystander.communicate(b"\n")


def test_down_ends_a_demo_whose_state_file_was_damaged(state: Path) -> None:
    demo.up()
    state.write_text("{")
    assert demo.down().changed
    until(lambda: not processes_of(state), "the keeper has seen that nobody can find it any more")


def test_a_missing_dnsmasq_is_one_line_that_says_what_to_install(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("unshare", "mount", "ping"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)
    monkeypatch.setattr(pods, "search_path", lambda: str(tmp_path))
    with pytest.raises(DemoError, match=r"dnsmasq.*apt-get install dnsmasq-base") as raised:
        demo.up()
    assert "\n" not in str(raised.value)
    assert not state.exists()


def test_a_state_directory_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PODTRACER_STATE", str(tmp_path / "file"))
    with pytest.raises(DemoError, match=r"cannot be used \(File exists\): set PODTRACER_STATE"):
        demo.up()
