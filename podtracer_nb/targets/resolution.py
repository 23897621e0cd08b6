"""From what the user typed to targets.

Pods are the demo's, while it runs, and a cluster's, where one is set up. With both, the demo answers to its own
namespace only; ``--context`` and ``--kubeconfig`` always mean the cluster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from podtracer_nb.errors import InputError, PrivilegeError, TargetError, TargetNotFound
from podtracer_nb.targets import kubeconfig as kubeconfigs
from podtracer_nb.targets.kubernetes import Cluster
from podtracer_nb.targets.linux import need_linux
from podtracer_nb.targets.local import netns_target, process_target, read_demo
from podtracer_nb.targets.nearest import not_found
from podtracer_nb.targets.references import Reference, Requirement, check_name, parse_reference, parse_selector
from podtracer_nb.targets.target import Target

__all__ = ["pods", "resolve"]

_NO_PODS = "no pods run here: give --kubeconfig FILE for a cluster's, or start the demo's with `podtracer demo up`"


def pods(
    namespace: str | None = None,
    selector: str | None = None,
    all_namespaces: bool = False,
    *,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> tuple[Target, ...]:
    """List pods.

    Parameters
    ----------
    namespace
        Only this namespace's. None stands for all of the demo's, and for a cluster's default namespace.
    selector
        Only those whose labels fulfil it, in kubectl's words.
    all_namespaces
        Those of all namespaces; not together with `namespace`.
    context, kubeconfig
        Which cluster: a context of the kubeconfig, and the file.

    Returns
    -------
    tuple of Target
        Ordered by namespace and name; empty where there are none.

    Raises
    ------
    InputError
        A namespace, selector, context or kubeconfig that cannot be right.
    TargetNotFound
        There is no such namespace, while there are others.
    ClusterError, PrivilegeError
        The cluster's API cannot be asked; it refuses.

    Examples
    --------
    >>> from podtracer_nb import targets
    >>> isinstance(targets.pods("demo"), tuple)  # doctest: +SKIP
    True
    """
    _check_namespace(namespace, all_namespaces)
    clauses = parse_selector(selector) if selector is not None else ()
    directory = _Directory.open(context, kubeconfig)
    found = [
        pod
        for space in directory.spaces(namespace, all_namespaces)
        for pod in directory.known(space, selector, services=True)
        if _fits(pod, space, clauses)
    ]
    if not found and namespace is not None:
        directory.check_namespace(namespace)
    return tuple(found)


def resolve(
    *,
    pods: str | Sequence[str] = (),
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | None = None,
    context: str | None = None,
    kubeconfig: str | None = None,
) -> tuple[Target, ...]:
    """Find what the user named.

    Parameters
    ----------
    pods
        Each a name, ``ns/name``, a glob ``web-*``, ``deploy/web``, ``sts/db``, ``ds/x``, ``job/x`` or ``svc/api``.
        Where no namespace is given: a cluster's default one, as kubectl has it; of the demo's, the pod of that name
        in whatever namespace, if it is unique.
    selector
        Label selector in kubectl's words.
    namespace
        Where to look for names without one.
    all_namespaces
        Look in all, and take every pod that fits.
    container
        Which container's process to use; the pod's default one where None.
    pid
        A process of this machine.
    netns
        A network namespace: a name under ``/run/netns``, or a file's path.
    context, kubeconfig
        Which cluster: a context of the kubeconfig, and the file.

    Returns
    -------
    tuple of Target
        At least one; each pod once, in the order in which they were named.

    Raises
    ------
    InputError
        Nothing, or two kinds of target, were given; or a value that cannot be right.
    TargetNotFound
        No such target; `nearest` has the names closest to it.
    TargetError
        A name that several namespaces have.
    ClusterError, PrivilegeError
        The cluster's API cannot be asked; it refuses.

    Examples
    --------
    >>> import os
    >>> resolve(pid=os.getpid())[0].source
    'pid'
    """
    named = (pods,) if isinstance(pods, str) else tuple(pods)
    given = [bool(named) or selector is not None, pid is not None, netns is not None]
    if not any(given):
        raise InputError("no target: give --pod NAME, -l SELECTOR, --pid PID or --netns NAME")
    if sum(given) > 1:
        raise InputError("several kinds of target: give pods or a selector, or --pid, or --netns")
    _check_namespace(namespace, all_namespaces)
    if container is not None:
        check_name("container", container, dots=False)
    if pid is not None or netns is not None:
        if any((container, namespace, all_namespaces, context, kubeconfig)):
            raise InputError("-n, -A, -c, --context and --kubeconfig belong to pods, not to --pid and --netns")
        need_linux("entering a namespace of this machine")
        return (process_target(pid),) if pid is not None else (netns_target(str(netns)),)
    references = [parse_reference(text) for text in named]
    clauses = parse_selector(selector) if selector is not None else ()
    directory = _Directory.open(context, kubeconfig)
    if directory.empty:
        what = f"pod {named[0]}" if named else f"pod with labels {selector}"
        raise TargetNotFound(f"no {what}; {_NO_PODS}{kubeconfigs.not_there()}")
    found: dict[tuple[str, str, str], Target] = {}
    for reference in references:
        for pod in _referenced(reference, directory, namespace, clauses, all_namespaces):
            found.setdefault((pod.source, pod.namespace, pod.pod), pod)
    if not references:
        for pod in _selected(directory, namespace, selector, clauses, all_namespaces=all_namespaces):
            found[pod.source, pod.namespace, pod.pod] = pod
    return tuple(_with_container(pod, container) for pod in found.values())


@dataclass(frozen=True)
class _Directory:
    """Where pods are looked up: the demo's in its state file, a cluster's through its API."""

    demo: tuple[Target, ...]
    cluster: Cluster | None

    @classmethod
    def open(cls, context: str | None, kubeconfig: str | None) -> _Directory:
        """Return what there is here."""
        asked = context is not None or kubeconfig is not None
        state = None if asked else read_demo()
        demo = [pod.target() for pod in state.pods] if state else []
        cluster = kubeconfigs.connect(context, kubeconfig) if asked or kubeconfigs.configured() else None
        return cls(tuple(sorted(demo, key=lambda pod: (pod.namespace, pod.pod))), cluster)

    @property
    def empty(self) -> bool:
        return not self.demo and self.cluster is None

    @property
    def demo_spaces(self) -> set[str]:
        return {pod.namespace for pod in self.demo}

    def of_demo(self, space: str | None) -> bool:
        """Tell whether a namespace's pods are the demo's."""
        return self.cluster is None or space in self.demo_spaces

    def spaces(self, namespace: str | None, all_namespaces: bool) -> list[str | None]:
        """Return the namespaces to look in; None stands for all."""
        if namespace is not None or all_namespaces or self.cluster is None:
            return [namespace]
        return [self.cluster.namespace]

    def known(self, space: str | None, selector: str | None = None, *, services: bool = False) -> list[Target]:
        """Return the pods of one namespace, or of all."""
        demo = [pod for pod in self.demo if space in (None, pod.namespace)]
        if self.cluster is None or self.of_demo(space):
            if demo or space is None or not self.demo:
                return demo
            raise not_found("namespace", space, self.demo_spaces)
        pods = self.cluster.pods(space, selector)
        if services and pods:
            with contextlib.suppress(PrivilegeError):  # a column less, where services may not be listed
                pods = self.cluster.with_services(pods, space)
        return [*demo, *pods]

    def check_namespace(self, namespace: str) -> None:
        """Refuse a namespace that does not exist, as far as we may know that."""
        if self.cluster is None or self.of_demo(namespace):
            return
        try:
            known = self.cluster.namespaces()
        except PrivilegeError:
            return
        if namespace not in known:
            raise not_found("namespace", namespace, [*known, *self.demo_spaces])

    def elsewhere(self, reference: Reference) -> list[str]:
        """Return the namespaces that have what a reference names."""
        pods = list(self.demo)
        if self.cluster is not None and reference.kind == "pod" and not reference.glob:
            with contextlib.suppress(PrivilegeError):  # no leave to look everywhere: then no hint
                pods += self.cluster.pods(name=reference.name)
        return sorted({p.namespace for p in pods for each in _names(p, reference.kind) if reference.matches(each)})


def _check_namespace(namespace: str | None, all_namespaces: bool) -> None:
    if namespace is not None:
        check_name("namespace", namespace, dots=False)
        if all_namespaces:
            raise InputError("-n and -A exclude each other: one namespace, or all")


def _fits(pod: Target, namespace: str | None, clauses: Iterable[Requirement]) -> bool:
    return namespace in (None, pod.namespace) and all(clause.matches(pod.labels) for clause in clauses)


def _names(pod: Target, kind: str) -> tuple[str, ...]:
    """Return the names that a reference of a kind can mean this pod by."""
    if kind == "pod":
        return (pod.pod,)
    if kind == "Service":
        return pod.services
    owner, _, name = pod.owner.partition("/")
    if kind == "CronJob" and owner == "Job":
        return (name.rpartition("-")[0],)  # the CronJob controller names its Jobs after itself and the minute
    if kind == "ReplicaSet" and owner == "Deployment":
        return (f"{name}-{pod.labels.get('pod-template-hash', '')}",)
    return (name,) if owner == kind else ()


def _selected(
    directory: _Directory,
    namespace: str | None,
    selector: str | None,
    clauses: Sequence[Requirement],
    *,
    all_namespaces: bool,
) -> list[Target]:
    """Return the pods that a selector alone names."""
    spaces = directory.spaces(namespace, all_namespaces)
    found = [pod for space in spaces for pod in directory.known(space, selector) if _fits(pod, space, clauses)]
    if not found:
        if namespace is not None:
            directory.check_namespace(namespace)
        where = f" in namespace {namespace}" if namespace else ""
        raise TargetNotFound(
            f"no pod{where} has labels {selector}; `podtracer pods --show-labels` shows those there are"
        )
    return [pod for pod in found if not _finished(pod)] or found


def _referenced(
    reference: Reference,
    directory: _Directory,
    namespace: str | None,
    clauses: Sequence[Requirement],
    all_namespaces: bool,
) -> list[Target]:
    (space,) = directory.spaces(reference.namespace or namespace, all_namespaces)
    # Owners and services are known by their pods: one without any is not told from one that does not exist.
    what = reference.kind if reference.kind == "pod" else f"pod of {reference.kind.lower()}"
    if reference.kind == "pod" and not reference.glob and space is not None and not directory.of_demo(space):
        assert directory.cluster is not None  # noqa: S101  of_demo says so
        one = directory.cluster.pod(space, reference.name)
        there, named = ([one], [one]) if one else (directory.known(space), [])
    else:
        there = directory.known(space, services=reference.kind == "Service")
        named = [pod for pod in there if any(reference.matches(name) for name in _names(pod, reference.kind))]
    if not named:
        raise _no_such(reference, what, there, directory, space)
    spaces = sorted({pod.namespace for pod in named})
    if len(spaces) > 1 and not (all_namespaces or reference.glob):
        raise TargetError(
            f"{what} {reference.name} is in namespaces {' and '.join(spaces)}: "
            f"give -n {spaces[0]}, {spaces[0]}/{reference.text}, or -A for all"
        )
    fitting = [pod for pod in named if _fits(pod, space, clauses)]
    if not fitting:
        raise TargetNotFound(
            f"{what} {reference.name} has not the labels of the selector; `podtracer pods --show-labels` shows them"
        )
    return _alive(fitting, reference)


def _alive(pods: list[Target], reference: Reference) -> list[Target]:
    """Leave out pods that have finished, where a reference means many: a Deployment's evicted ones stay listed."""
    if reference.kind == "pod" and not reference.glob:
        return pods
    return [pod for pod in pods if not _finished(pod)] or pods


def _finished(pod: Target) -> bool:
    """Tell whether a pod has finished; one that is being deleted may have, though its phase says Terminating."""
    return pod.phase in ("Succeeded", "Failed") or pod.untraceable.startswith("has finished")


def _no_such(
    reference: Reference, what: str, there: Iterable[Target], directory: _Directory, space: str | None
) -> TargetNotFound:
    elsewhere = [other for other in directory.elsewhere(reference) if other != space]
    if elsewhere:
        return TargetNotFound(
            f"no {what} {reference.name} in namespace {space}; namespace {' and '.join(elsewhere)} has it: use -n",
            tuple(f"{one}/{reference.name}" for one in elsewhere),
        )
    names = [name for pod in there for name in _names(pod, reference.kind)]
    if not names and space is not None:
        directory.check_namespace(space)
    kinds = "" if reference.kind == "pod" else f"no {reference.kind.lower()} has pods there"
    return not_found(
        what, reference.name, filter(None, names), where=f"in namespace {space}" if space else "", empty=kinds
    )


def _with_container(pod: Target, container: str | None) -> Target:
    if container is None:
        return pod
    if container not in pod.containers:
        raise not_found("container", container, pod.containers, where=f"in pod {pod.namespace}/{pod.pod}")
    if pod.source == "demo":
        return _demo_container(pod, container)
    return replace(pod, container=container)


def _demo_container(pod: Target, container: str) -> Target:
    state = read_demo()
    held = next((each for each in (state.pods if state else ()) if each.uid == pod.uid), None)
    return held.target(container) if held else pod
