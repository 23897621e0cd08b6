"""Asks a container runtime, over its socket, where a container's process is: the Container Runtime Interface.

Speaks CRI v1, and v1alpha2 to a runtime that knows no better; the two are the same on the wire. Of each message only
the fields that are used are described here (k8s.io/cri-api, api.proto); Protocol Buffers skips the others.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podtracer_nb.errors import PrivilegeError, RuntimeUnavailable, TargetGone

__all__ = ["Located", "Runtime", "locate", "sockets", "version"]

#: Where runtimes listen, below ``/run`` or ``/var`` of the node.
_SOCKETS = {
    "containerd": ("run/containerd/containerd.sock", "run/k3s/containerd/containerd.sock", "run/k0s/containerd.sock",
                   "var/snap/microk8s/common/run/containerd.sock"),
    "cri-o": ("run/crio/crio.sock",),
    "docker": ("run/cri-dockerd.sock",),
}  # fmt: skip
_PACKAGES = ("runtime.v1", "runtime.v1alpha2")
_SECONDS = 3.0

_STRING, _BOOL, _INT32, _MESSAGE = 9, 8, 5, 11  # google.protobuf.FieldDescriptorProto.Type
_MESSAGES: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "VersionRequest": (("version", 1, _STRING),),
    "VersionResponse": (("version", 1, _STRING), ("runtime_name", 2, _STRING), ("runtime_version", 3, _STRING),
                        ("runtime_api_version", 4, _STRING)),
    "ContainerStatusRequest": (("container_id", 1, _STRING), ("verbose", 2, _BOOL)),
    "ContainerStatus": (("id", 1, _STRING), ("state", 3, _INT32)),
    "ContainerStatusResponse": (("status", 1, "ContainerStatus"), ("info", 2, "map")),
    "PodSandboxStatusRequest": (("pod_sandbox_id", 1, _STRING), ("verbose", 2, _BOOL)),
    "PodSandboxStatus": (("id", 1, _STRING), ("state", 3, _INT32)),
    "PodSandboxStatusResponse": (("status", 1, "PodSandboxStatus"), ("info", 2, "map")),
}  # fmt: skip


@dataclass(frozen=True)
class Runtime:
    """What a runtime says of itself."""

    socket: Path
    name: str
    version: str
    api: str


@dataclass(frozen=True)
class Located:
    """Where a container is: its process as the node counts, and its pod's network namespace as the node sees it."""

    pid: int
    sandbox: str
    network: str


def sockets(runtime: str = "") -> tuple[Path, ...]:
    """Return the runtime sockets that there are here, the likeliest first.

    Parameters
    ----------
    runtime
        The runtime's name as in a container's id (``containerd``, ``cri-o``, ``docker``): its own sockets only.

    Notes
    -----
    ``PODTRACER_RUNTIME_SOCKET`` (a path, or a ``unix://`` address as kubelet and crictl have it) names the only one.
    Otherwise the places where runtimes listen are tried, below ``$PODTRACER_HOST_ROOT`` (``/host``) and ``/``.

    Examples
    --------
    >>> isinstance(sockets(), tuple)
    True
    """
    if chosen := os.environ.get("PODTRACER_RUNTIME_SOCKET"):
        return (Path(chosen.removeprefix("unix://")),)
    roots = [Path(os.environ.get("PODTRACER_HOST_ROOT") or "/host"), Path("/")]
    places = _SOCKETS.get(runtime) or tuple(place for each in _SOCKETS.values() for place in each)
    found = [root / place for root in roots for place in places if _is_socket(root / place)]
    # One socket can be there twice, as by a link from /var/run, or where the host's root is our own.
    return tuple({path.resolve(): path for path in reversed(found)}.values())[::-1]


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:  # absent, or in a directory that we may not look into
        return False


def version(socket: Path) -> Runtime:
    """Ask a runtime who it is.

    Raises
    ------
    RuntimeUnavailable, PrivilegeError
        It does not answer; we may not ask.
    """
    answer = _call(socket, "Version", "VersionRequest", "VersionResponse", version="v1")
    return Runtime(socket, answer.runtime_name, answer.runtime_version, answer.runtime_api_version)


def locate(socket: Path, container: str) -> Located:
    """Ask a runtime for a container's process and its pod's network namespace.

    Raises
    ------
    TargetGone
        The runtime knows no such container, or it runs no longer.
    RuntimeUnavailable, PrivilegeError
        The runtime does not answer in time, or not in a shape that is known; we may not ask.
    """
    info = _info(_status(socket, "Container", container_id=container))
    pid = _whole(info.get("pid"))
    if pid <= 0:
        raise TargetGone(f"the runtime has no process of container {container[:12]}: it has ended")
    sandbox = str(info.get("sandboxID") or "")
    networks = []
    if sandbox:
        with contextlib.suppress(TargetGone):  # between two calls; the container's own answer stands
            networks.append(_network(_info(_status(socket, "PodSandbox", pod_sandbox_id=sandbox))))
    networks.append(_network(info))
    return Located(pid, sandbox, next((path for path in networks if path), ""))


def _status(socket: Path, what: str, **request: str) -> Any:
    return _call(socket, f"{what}Status", f"{what}StatusRequest", f"{what}StatusResponse", verbose=True, **request)


def _info(answer: Any) -> dict[str, Any]:
    """Return what a verbose status carries: JSON under "info"; old runtimes put the words there one by one."""
    words = dict(answer.info)
    try:
        nested = json.loads(words.get("info") or "{}")
    except ValueError:
        nested = {}
    return {**words, **(nested if isinstance(nested, dict) else {})}


def _network(info: dict[str, Any]) -> str:
    """Return the network namespace's path in an OCI runtime specification; empty where there is none.

    One with an empty path, or under ``/proc``, says nothing that the process itself does not say.
    """
    specification = info.get("runtimeSpec")
    linux = specification.get("linux") if isinstance(specification, dict) else None
    for each in (linux.get("namespaces") if isinstance(linux, dict) else None) or ():
        path = str(each.get("path") or "")
        if each.get("type") == "network" and path.startswith("/") and not path.startswith("/proc/"):
            return path
    return ""


def _whole(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0


def _call(socket: Path, method: str, request: str, response: str, **fields: object) -> Any:
    """Call one method, in the newest version of the interface that the runtime has."""
    import grpc

    types = _types()
    with grpc.insecure_channel(f"unix:{socket.resolve()}", options=[("grpc.enable_retries", 0)]) as channel:
        for package in _PACKAGES:
            call = channel.unary_unary(
                f"/{package}.RuntimeService/{method}",
                request_serializer=types[request].SerializeToString,
                response_deserializer=types[response].FromString,
            )
            try:
                return call(types[request](**fields), timeout=_SECONDS)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED and package != _PACKAGES[-1]:
                    continue
                raise _explained(socket, error) from error
    raise RuntimeUnavailable(f"the runtime behind {socket} speaks no CRI")  # unreachable: the last version raised


def _explained(socket: Path, error: Any) -> Exception:
    import grpc

    code, detail = error.code(), " ".join(str(error.details()).split())
    if code is grpc.StatusCode.NOT_FOUND:
        return TargetGone(f"the runtime behind {socket} knows no such container: list the pods again")
    if code is grpc.StatusCode.PERMISSION_DENIED or "Permission denied" in detail:
        return PrivilegeError(
            f"{socket} may not be opened: run as root, or leave the runtime out (processes are found without it)"
        )
    lines = (
        (code is grpc.StatusCode.DEADLINE_EXCEEDED,
         f"the runtime behind {socket} did not answer in {_SECONDS:.0f} s: is it hung?"),
        (code is grpc.StatusCode.UNIMPLEMENTED,
         f"what listens at {socket} speaks no CRI, neither v1 nor v1alpha2"),
        ("Connection refused" in detail, f"nobody listens at {socket}: is the runtime running?"),
        ("No such file" in detail, f"there is no runtime at {socket}: is it another one's node?"),
        (True, f"the runtime behind {socket} cannot be asked ({detail[:200]}): is it running?"),
    )  # fmt: skip
    return RuntimeUnavailable(next(line for fits, line in lines if fits))


@functools.cache
def _types() -> dict[str, Any]:
    """Return the message classes, made from the table above."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="podtracer/cri.proto", package="podtracer.cri", syntax="proto3")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for member, number, kind in members:
            field: Any = message.field.add(name=member, number=number, label=1)
            if isinstance(kind, int):
                field.type = kind
                continue
            field.type = _MESSAGE
            if kind == "map":
                entry = message.nested_type.add(name="InfoEntry")
                entry.options.map_entry = True
                for word, at in (("key", 1), ("value", 2)):
                    part: Any = entry.field.add(name=word, number=at, label=1)
                    part.type = _STRING
                field.label = 3
                field.type_name = f".podtracer.cri.{name}.InfoEntry"
            else:
                field.type_name = f".podtracer.cri.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return dict(_classes(pool, message_factory))


def _classes(pool: Any, factory: Any) -> Iterator[tuple[str, Any]]:
    for name in _MESSAGES:
        yield name, factory.GetMessageClass(pool.FindMessageTypeByName(f"podtracer.cri.{name}"))
