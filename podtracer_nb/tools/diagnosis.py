"""What this machine, or this pod, lets podtracer do: each right and each part that is missing, with what mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from podtracer_nb import execution, packets, targets
from podtracer_nb.errors import PodtracerError
from podtracer_nb.targets import cri, kubernetes, procfs
from podtracer_nb.targets import kubeconfig as kubeconfigs
from podtracer_nb.tools import registry
from podtracer_nb.tools.tool import Tool

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Check", "checks", "doctor"]

State = Literal["ok", "missing", "optional"]

#: What entering a pod's network and capturing in it need, each with what is impossible without it.
_RIGHTS = {
    "CAP_SYS_ADMIN": "entering any pod",
    "CAP_SYS_PTRACE": "looking at another container's namespaces, and so entering any pod",
    "CAP_NET_RAW": "capturing packets, ping",
}
_MORE_RIGHTS = {
    "CAP_NET_ADMIN": "tools that change something (tc, nft, ip), and conntrack",
    "CAP_SYS_CHROOT": "--ns mnt: seeing a container's own files",
}
_NEEDED_TOOLS = ("nsenter", "tcpdump")
_NEEDED_VERBS = (
    ("get", "pods", "naming a pod"),
    ("list", "pods", "podtracer pods, deploy/web, selectors, globs"),
)
_MORE_VERBS = (
    ("list", "services", "svc/api"),
    ("list", "namespaces", "the nearest name for a misspelt namespace"),
)


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes
    ----------
    subject
        What was looked at.
    state
        ``ok``; ``missing``: podtracer cannot do its work; ``optional``: a part of it cannot be done.
    finding
        What was found.
    prevents
        What is impossible because of it; empty where all is well.
    remedy
        The command or YAML that mends it; empty where there is nothing to mend.
    """

    subject: str
    state: State
    finding: str
    prevents: str = ""
    remedy: str = ""


def doctor(context: str | None = None, kubeconfig: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Check what podtracer needs here: rights, processes, runtimes, the cluster's API, tools.

    Parameters
    ----------
    context, kubeconfig
        Which cluster; by default what kubectl takes.

    Returns
    -------
    pandas.DataFrame
        A row a check, with the columns of `Check`: `subject`, `state` (``ok``, ``missing``, ``optional``), `finding`,
        `prevents`, `remedy` (all str).

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.doctor().columns.tolist()
    ['subject', 'state', 'finding', 'prevents', 'remedy']
    """
    import pandas as pd

    found = list(checks(context, os.fspath(kubeconfig) if kubeconfig is not None else None))
    columns = ["subject", "state", "finding", "prevents", "remedy"]
    return pd.DataFrame([[getattr(each, name) for name in columns] for each in found], columns=columns, dtype="str")


def checks(context: str | None = None, kubeconfig: str | None = None) -> Iterator[Check]:
    """Give the findings, one after the other, as they are made."""
    if not targets.is_linux():
        found = f"{platform.system() or sys.platform}, from which pods of a cluster are reached by tracer pods"
        yield Check("system", "ok", found)
        yield from _cluster(context, kubeconfig)
        yield _recordings()
        yield _dissector()
        return
    yield _system()
    yield from _capabilities()
    yield _confinement()
    yield _processes()
    yield from _runtimes()
    yield from _cluster(context, kubeconfig)
    yield from _tools()
    yield _recordings()
    yield _dissector()


def _system() -> Check:
    who = "root" if os.geteuid() == 0 else f"user id {os.geteuid()}"
    if platform.system() != "Linux":
        return Check("system", "missing", platform.system(), "entering namespaces", "run it on Linux")
    return Check("system", "ok", f"Linux {platform.release()}, {who}")


def _capabilities() -> Iterator[Check]:
    launcher = targets.launcher()
    by = f", given by {launcher[0]}" if launcher else ""
    for names, state in ((_RIGHTS, "missing"), (_MORE_RIGHTS, "optional")):
        missing = targets.missing_capabilities(*names)
        held = [name for name in names if name not in missing]
        if held:
            yield Check("capabilities", "ok", ", ".join(held) + by)
        if missing:
            yield Check(
                "capabilities",
                "missing" if state == "missing" else "optional",
                f"no {', '.join(missing)}",
                "; ".join(dict.fromkeys(names[name] for name in missing)),
                _capability_remedy(missing),
            )


def _capability_remedy(missing: tuple[str, ...]) -> str:
    words = ", ".join(name.removeprefix("CAP_") for name in missing)
    if not _in_pod():
        return "run as root"
    add = f"securityContext: {{capabilities: {{add: [{words}]}}}}"
    if os.geteuid() == 0:
        return add
    if procfs.no_new_privileges():
        return f"{add}, and allowPrivilegeEscalation: true, without which {targets.LAUNCHER} can give nothing"
    return f"{add}, in an image that has {targets.LAUNCHER} (deploy/image)"


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _confinement() -> Check:
    """Tell of AppArmor or SELinux, which can refuse what the capabilities allow."""
    try:
        label = Path("/proc/self/attr/current").read_bytes().rstrip(b"\0\n").decode("utf-8", errors="replace")
    except OSError:
        label = ""
    if Path("/sys/fs/selinux/enforce").exists():
        if "spc_t" in label or "unconfined_t" in label or not label:
            return Check("confinement", "ok", f"SELinux: {label or 'no label'}")
        return Check(
            "confinement", "optional", f"SELinux: {label}", "what its policy refuses: often other pods' namespaces",
            "securityContext: {seLinuxOptions: {type: spc_t}}",
        )  # fmt: skip
    if label and not label.startswith("unconfined"):
        return Check(
            "confinement", "optional", f"AppArmor: {label}", "what its profile refuses: often ptrace, and so entering",
            "securityContext: {appArmorProfile: {type: Unconfined}}",
        )  # fmt: skip
    return Check("confinement", "ok", "neither AppArmor nor SELinux confines this process")


def _processes() -> Check:
    proc = procfs.host_proc()
    root = os.environ.get("PODTRACER_HOST_ROOT")
    if root and proc != Path(root, "proc"):
        return Check(
            "processes", "optional", f"PODTRACER_HOST_ROOT is {root}, and there is no proc file system at {root}/proc",
            "seeing the node's processes, unless /proc shows them", "the node's /proc mounted there, or unset it",
        )  # fmt: skip
    seen = len(procfs.containers(proc))
    if seen:
        return Check("processes", "ok", f"{proc} shows {seen} containers of this node")
    if not _in_pod() and not kubeconfigs.configured():
        return Check("processes", "ok", f"{proc}; no containers here")
    return Check(
        "processes",
        "missing" if _in_pod() else "optional",
        f"{proc} shows no container's processes",
        "finding the processes of any pod of the cluster",
        "volumes: [{name: proc, hostPath: {path: /proc}}] with volumeMounts: [{name: proc, mountPath: /host/proc, "
        "readOnly: true}]; or hostPID: true" if _in_pod() else "run it on the node that the pods are on",
    )  # fmt: skip


def _runtimes() -> Iterator[Check]:
    sockets = cri.sockets()
    for socket in sockets:
        if socket.exists() and not os.access(socket, os.W_OK):
            yield Check("runtime", "ok", f"{socket} is not ours to open; processes are found without it")
            continue
        try:
            runtime = cri.version(socket)
        except PodtracerError as error:
            yield Check(
                "runtime", "optional", str(error), "nothing: processes are found without it, only later",
                "PODTRACER_RUNTIME_SOCKET, if it names the wrong one",
            )  # fmt: skip
        else:
            yield Check("runtime", "ok", f"{runtime.name} {runtime.version}, CRI {runtime.api}, at {socket}")
    if not sockets:
        yield Check("runtime", "ok", "no runtime's socket here; processes are found without it")


def _cluster(context: str | None, kubeconfig: str | None) -> Iterator[Check]:
    if context is None and kubeconfig is None and not kubeconfigs.configured():
        yield Check(
            "cluster", "optional", f"none is set up here{kubeconfigs.not_there()}",
            "pods of a cluster; the demo's and processes work", "--kubeconfig FILE, or KUBECONFIG",
        )  # fmt: skip
        return
    try:
        cluster = kubeconfigs.connect(context, kubeconfig)
        version = cluster.version()
        yield Check("cluster", "ok", f"Kubernetes {version} at {cluster.host} ({cluster.name})")
        for state, verbs in (("missing", _NEEDED_VERBS), ("optional", _MORE_VERBS)):
            for verb, resource, purpose in verbs:
                yield _permission(cluster, verb, resource, purpose, "missing" if state == "missing" else "optional")
    except PodtracerError as error:
        yield Check(
            "cluster",
            "missing",
            str(error),
            "naming any pod of the cluster",
            "a kubeconfig that works: --kubeconfig FILE, --context NAME",
        )
        return
    node = kubeconfigs.node_name()
    if node or not _in_pod():
        yield Check("node", "ok", f"we are on {node}" if node else f"this machine is {platform.node()}")
    else:
        yield Check(
            "node", "optional", "we do not know which node we are on", "telling at once that a pod is on another node",
            "env: [{name: PODTRACER_NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]",
        )  # fmt: skip
    yield from _pod_security(cluster)


def _permission(cluster: kubernetes.Cluster, verb: str, resource: str, purpose: str, state: State) -> Check:
    space = cluster.namespace
    if cluster.may(verb, resource):
        return Check("permissions", "ok", f"may {verb} {resource} in the whole cluster")
    rule = f'rules: [{{apiGroups: [""], resources: [{resource}], verbs: [{verb}]}}]'
    if resource != "namespaces" and cluster.may(verb, resource, space):
        return Check(
            "permissions", "optional", f"may {verb} {resource} in namespace {space} only",
            f"{purpose} in other namespaces", f"a ClusterRole and a ClusterRoleBinding with {rule}",
        )  # fmt: skip
    return Check(
        "permissions", state, f"may not {verb} {resource} in namespace {space}", purpose,
        f"a ClusterRole and a ClusterRoleBinding (or a Role) with {rule}",
    )  # fmt: skip


def _pod_security(cluster: kubernetes.Cluster) -> Iterator[Check]:
    """Tell what our own namespace lets pods have; only where we are a pod and may look."""
    if not _in_pod():
        return
    try:
        level = cluster.namespace_labels(cluster.namespace).get("pod-security.kubernetes.io/enforce", "")
    except PodtracerError:
        return
    if level in ("baseline", "restricted"):
        yield Check(
            "pod security", "optional", f"namespace {cluster.namespace} enforces {level}",
            "starting this pod anew with the capabilities that it needs",
            f"kubectl label namespace {cluster.namespace} pod-security.kubernetes.io/enforce=privileged --overwrite",
        )  # fmt: skip
    else:
        yield Check("pod security", "ok", f"namespace {cluster.namespace} enforces {level or 'nothing'}")


def _tools() -> Iterator[Check]:
    needed = [Tool("nsenter", "util-linux", purpose="everything"), registry.find("tcpdump")]
    once = {*_NEEDED_TOOLS, *registry.OTHER_NAMES}
    for tool in (*needed, *(each for each in registry.known() if each.name not in once)):
        path = shutil.which(tool.name, path=execution.search_path())
        if path is None:
            state: State = "missing" if tool.name in _NEEDED_TOOLS else "optional"
            remedy = f"apt-get install {tool.package}" if tool.package else f"install {tool.name}"
            yield Check("tools", state, f"no {tool.name}", tool.purpose, remedy)
        else:
            version = registry.tool_version(path, tool.version) or "no version told"
            yield Check("tools", "ok", f"{tool.name}: {version} ({path})")


def _recordings() -> Check:
    try:
        directory = execution.recordings_directory()
        free = shutil.disk_usage(directory).free
    except (PodtracerError, OSError) as error:
        return Check("recordings", "missing", str(error), "every run: its bytes go to a file", "PODTRACER_RECORDINGS")
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return Check(
            "recordings", "missing", f"{directory} cannot be written ({error.strerror})",
            "every run: its bytes go to a file", "PODTRACER_RECORDINGS=DIRECTORY",
        )  # fmt: skip
    return Check("recordings", "ok", f"{directory}, {free / 1e9:.1f} GB free")


def _dissector() -> Check:
    if packets.compiled:
        return Check("dissector", "ok", "compiled")
    return Check(
        "dissector", "optional", "interpreted", "speed: reading captures takes a hundred times as long",
        "apt-get install gcc python3-dev, then install podtracer-nb again",
    )  # fmt: skip
