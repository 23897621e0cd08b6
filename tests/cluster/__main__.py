"""`python -m tests.cluster VERB`: bring the tests' Kubernetes up and down, see what it does, load an image."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import bare, build, elsewhere, images, processes, teardown
from tests.cluster.commands import say
from tests.cluster.layout import KUBECONFIG, RUN, ClusterError, cache


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time change the cluster; a second one waits."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _as_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a node makes namespaces, mounts and control groups: run this as root")


def _up(arguments: argparse.Namespace) -> int:
    if (given := elsewhere.given()) is not None:
        say(f"KUBECONFIG names a cluster that answers: {given}; nothing to start")
        return 0
    _as_root()
    with _alone():
        if elsewhere.kind_works():
            elsewhere.kind_up()
        else:
            bare.up(arguments.nodes)
    print(f"export KUBECONFIG={KUBECONFIG}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    _as_root()
    with _alone():
        elsewhere.kind_down()
        left = teardown.down()
    for line in left:
        print(f"left over: {line}")
    say(f"{len(left)} left over" if left else "down, nothing left over")
    return 1 if left else 0


def _status(arguments: argparse.Namespace) -> int:
    print(f"cache       {cache()} ({'complete' if build.is_built() else 'not complete'})")
    print(f"kubeconfig  {KUBECONFIG if KUBECONFIG.exists() else '-'}")
    for name in processes.names():
        print(f"{name:28}{processes.pid(name) or 'not running'}")
    up = bare.is_up()
    for name, what in bare.nodes_up().items():
        print(f"{name:28}{what}")
    left = [] if RUN.exists() else teardown.leftovers()
    for line in left:
        print(f"left over: {line}")
    print("up" if up else "down" if not RUN.exists() else "broken: down and up make it whole")
    return 0 if up else 1


def _build(arguments: argparse.Namespace) -> int:
    build.everything()
    return 0


def _load(arguments: argparse.Namespace) -> int:
    _as_root()
    load = elsewhere.kind_load if elsewhere.is_kind() else images.load
    for name in load(arguments.archive.resolve(strict=True)):
        print(name)
    return 0


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    up = verbs.add_parser("up", help="bring it up, and wait until its nodes are Ready")
    up.add_argument("--nodes", type=int, choices=(1, 2), default=2, help="node-a has containerd, node-b CRI-O")
    up.set_defaults(call=_up)
    verbs.add_parser("down", help="take it down, and check that nothing is left").set_defaults(call=_down)
    verbs.add_parser("status", help="say what runs").set_defaults(call=_status)
    verbs.add_parser("build", help="compile what is not in the cache yet").set_defaults(call=_build)
    load = verbs.add_parser("load", help="load a docker-archive or oci-archive into the nodes' runtimes")
    load.add_argument("archive", type=Path)
    load.set_defaults(call=_load)
    arguments = parser.parse_args()
    try:
        return int(arguments.call(arguments))
    except (ClusterError, OSError, json.JSONDecodeError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
