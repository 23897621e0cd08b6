"""deploy/ as it is written: what can be said of its files without kustomize and without a cluster."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.manifests import DEPLOY, FIVE, IMAGE, ROOT, documents, pick, yaml_files

DOCKERFILE = (IMAGE / "Dockerfile").read_text(encoding="utf-8")
LAUNCHER = {
    *("cap_sys_admin", "cap_sys_ptrace", "cap_net_raw", "cap_setuid", "cap_setgid"),
    *("cap_net_admin", "cap_sys_chroot", "cap_dac_read_search", "cap_kill"),
}


def named(path: Path) -> str:
    return str(path.relative_to(DEPLOY))


@pytest.mark.parametrize("path", yaml_files(), ids=named)
def test_every_yaml_file_can_be_read(path: Path) -> None:
    assert documents(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", yaml_files(), ids=named)
def test_a_comment_says_what_each_rule_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [below for above, below in itertools.pairwise(lines) if "- apiGroups:" in below and "#" not in above]
    assert bare == []


def test_no_secret_is_kept_here() -> None:
    for path in yaml_files():
        text = path.read_text(encoding="utf-8")
        assert "secretGenerator" not in text
        assert all(document.get("kind") != "Secret" for document in documents(text)), path


def test_every_image_has_a_version_and_no_registry() -> None:
    images = [
        match
        for path in yaml_files()
        for match in re.findall(r"^\s+image: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert images
    for image in images:
        name, _, tag = image.partition(":")
        assert re.search(r"\d", tag), image
        assert "/" not in name, image


def test_nothing_here_knows_this_machine_or_a_package_index() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert str(ROOT) not in text, path
            assert not re.search(r"pypi|pythonhosted|docker\.io|ghcr|quay\.io|deb\.debian|cdn\.|cdnjs", text), path


def test_the_hub_s_profile_runs_with_the_security_context_of_the_capabilities_overlay() -> None:
    (values,) = documents((DEPLOY / "jupyterhub/values.yaml").read_text(encoding="utf-8"))
    profile = values["singleuser"]["profileList"][-1]["kubespawner_override"]
    overlay = (DEPLOY / "overlays/capabilities/statefulset.yaml").read_text(encoding="utf-8")
    (container,) = documents(overlay)[0]["spec"]["template"]["spec"]["containers"]
    assert profile["container_security_context"] == {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "Unconfined"},
        "capabilities": container["securityContext"]["capabilities"],
    }
    assert (profile["uid"], profile["gid"], profile["fs_gid"]) == (1000, 1000, 1000)
    assert profile["allow_privilege_escalation"] is True
    assert {mount["mountPath"]: mount.get("readOnly", False) for mount in profile["volume_mounts"]} == {
        "/data": False,
        "/home/podtracer": False,
        "/tmp": False,
        "/host/proc": True,
    }


def test_openshift_s_constraints_allow_what_the_overlay_asks_and_no_more() -> None:
    (constraints,) = documents((DEPLOY / "overlays/openshift/scc.yaml").read_text(encoding="utf-8"))
    assert constraints["allowedCapabilities"] == FIVE
    assert constraints["requiredDropCapabilities"] == ["ALL"]
    assert constraints["readOnlyRootFilesystem"] is True
    assert constraints["runAsUser"] == {"type": "MustRunAs", "uid": 1000}
    assert {word for word, value in constraints.items() if word.startswith("allow") and value is True} == {
        "allowHostDirVolumePlugin",
        "allowPrivilegeEscalation",
    }
    role = pick(documents((DEPLOY / "overlays/openshift/rbac.yaml").read_text(encoding="utf-8")), "Role")
    (rule,) = role["rules"]
    assert (rule["resourceNames"], rule["verbs"]) == ([constraints["metadata"]["name"]], ["use"])


def test_the_image_builds_on_one_base_of_one_day() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    (base,) = set(bases) - stages
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim", base)
    assert f'org.opencontainers.image.base.name="{base}"' in DOCKERFILE


def test_the_image_downloads_nothing_but_packages() -> None:
    instructions = "\n".join(line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#"))
    # What is installed is not run.
    commands = re.sub(r"apt-get install [^&]*", "", instructions)
    assert not re.search(r"\bcurl\b|\bwget\b|://|^ADD\b|--index|--extra-index|\bgit\b", commands, re.MULTILINE)
    for line in re.findall(r"apt-get install .*", instructions):
        assert "--no-install-recommends" in line


def test_the_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f'org.opencontainers.image.version="{project["version"]}"' in DOCKERFILE
    overlays = [
        (DEPLOY / f"overlays/{name}/kustomization.yaml") for name in ("capabilities", "privileged", "openshift")
    ]
    for path in overlays:
        assert f"newTag: {project['version']}\n" in path.read_text(encoding="utf-8")


def test_python_packages_are_pinned_and_satisfy_the_project() -> None:
    lines = (IMAGE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) for pin in pins)
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [
        *data["build-system"]["requires"],
        *data["project"]["dependencies"],
        *(
            line
            for extra in ("lab", "compression", "large")
            for line in data["project"]["optional-dependencies"][extra]
        ),
    ]
    unmet = [
        line
        for line in asked
        if not (need := Requirement(line)).specifier.contains(versions.get(canonicalize_name(need.name), "0"))
    ]
    assert unmet == [], "add them to deploy/image/constraints.txt"


def test_the_launcher_s_capabilities_are_permitted_only() -> None:
    (words,) = re.findall(r"&& setcap (\S+)", DOCKERFILE)
    names, _, flags = words.partition("+")
    assert set(names.split(",")) == LAUNCHER
    assert flags == "p"
    assert "--group=podtracer --mode=0750 /usr/bin/setpriv /usr/local/bin/podtracer-launcher" in DOCKERFILE


def test_the_image_has_the_tools() -> None:
    for package in (
        *("tcpdump", "tshark", "iproute2", "iperf3", "ethtool", "conntrack", "mtr-tiny", "bind9-dnsutils", "nftables"),
        *("iptables", "iputils-ping", "util-linux", "netcat-openbsd", "procps"),
    ):
        assert re.search(rf"(^|\s){package}(\s|$)", DOCKERFILE), package


def test_the_image_runs_as_an_ordinary_user() -> None:
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["1000:1000"]


def start(tmp_path: Path, *words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PODTRACER_NOTEBOOKS": str(tmp_path / "notebooks"),
        "PODTRACER_RECORDINGS": str(tmp_path / "captures"),
    }
    if token is not None:
        (tmp_path / "token").write_text(token, encoding="utf-8")
        environment["JUPYTER_TOKEN_FILE"] = str(tmp_path / "token")
    return subprocess.run(
        ["sh", str(IMAGE / "podtracer-lab"), *words], capture_output=True, text=True, env=environment, check=False
    )


def test_the_start_makes_the_folders_and_becomes_the_program_it_is_given(tmp_path: Path) -> None:
    done = start(tmp_path, "printenv", "PODTRACER_RECORDINGS")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/captures\n")
    assert (tmp_path / "notebooks").is_dir()
    assert (tmp_path / "captures").is_dir()


@pytest.mark.parametrize(("token", "reason"), [("", "is empty"), ("secret\n", "white space")])
def test_the_start_refuses_a_token_that_would_not_guard(tmp_path: Path, token: str, reason: str) -> None:
    done = start(tmp_path, token=token)
    assert done.returncode == 1
    assert reason in done.stderr
