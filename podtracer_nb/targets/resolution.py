"""From what the user typed to targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podtracer_nb.errors import InputError, TargetError, TargetNotFound
from podtracer_nb.targets.local import DemoPod, netns_target, process_target, read_demo
from podtracer_nb.targets.nearest import not_found
from podtracer_nb.targets.references import Reference, Requirement, check_name, parse_reference, parse_selector
from podtracer_nb.targets.target import Target

__all__ = ["pods", "resolve"]

_NO_PODS = "no pods run here: start the demo's with `podtracer demo up`, or use --pid or --netns"


def pods(namespace: str | None = None, selector: str | None = None, all_namespaces: bool = False) -> tuple[Target, ...]:
    """List pods.

    Parameters
    ----------
    namespace
        Only this namespace's; None stands for all of them.
    selector
        Only those whose labels fulfil it, in kubectl's words.
    all_namespaces
        Those of all namespaces; not together with `namespace`.

    Returns
    -------
    tuple of Target
        Ordered by namespace and name; empty where there are none.

    Raises
    ------
    InputError
        A namespace or selector that cannot be right.
    TargetNotFound
        There is no such namespace, while there are others.

    Examples
    --------
    >>> isinstance(pods(), tuple)
    True
    """
    _check_namespace(namespace, all_namespaces)
    clauses = parse_selector(selector) if selector is not None else ()
    known = _demo_pods()
    if known:
        _check_known(namespace, known)
    return tuple(pod.target() for pod in known if _fits(pod, namespace, clauses))


def resolve(
    *,
    pods: str | Sequence[str] = (),
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    pid: int | None = None,
    netns: str | None = None,
) -> tuple[Target, ...]:
    """Find what the user named.

    Parameters
    ----------
    pods
        Each a name, ``ns/name``, a glob ``web-*``, ``deploy/web``, ``sts/db``, ``ds/x`` or ``svc/api``. Where no
        namespace is given, a plain name means the pod of that name in whatever namespace, if it is unique.
    selector
        Label selector in kubectl's words.
    namespace
        Where to look for names without one.
    all_namespaces
        Look in all, and take every pod that fits.
    container
        Which container's process to use; the first where None.
    pid
        A process of this machine.
    netns
        A network namespace: a name under ``/run/netns``, or a file's path.

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
        if container is not None or namespace is not None or all_namespaces:
            raise InputError("-n, -A and -c belong to pods: leave them out with --pid and --netns")
        return (process_target(pid),) if pid is not None else (netns_target(str(netns)),)
    references = [parse_reference(text) for text in named]
    clauses = parse_selector(selector) if selector is not None else ()
    known = _demo_pods()
    if not known:
        what = f"pod {named[0]}" if named else f"pod with labels {selector}"
        raise TargetNotFound(f"no {what}; {_NO_PODS}")
    _check_known(namespace, known)
    found: dict[tuple[str, str], DemoPod] = {}
    for reference in references:
        for pod in _referenced(reference, known, namespace, clauses, all_namespaces):
            found.setdefault((pod.namespace, pod.name), pod)
    if not references:
        found = {(pod.namespace, pod.name): pod for pod in known if _fits(pod, namespace, clauses)}
        if not found:
            where = f" in namespace {namespace}" if namespace else ""
            raise TargetNotFound(f"no pod{where} has labels {selector}; `podtracer pods` shows the labels there are")
    return tuple(_with_container(pod, container) for pod in found.values())


def _demo_pods() -> tuple[DemoPod, ...]:
    state = read_demo()
    return tuple(sorted(state.pods, key=lambda pod: (pod.namespace, pod.name))) if state else ()


def _check_namespace(namespace: str | None, all_namespaces: bool) -> None:
    if namespace is not None:
        check_name("namespace", namespace, dots=False)
        if all_namespaces:
            raise InputError("-n and -A exclude each other: one namespace, or all")


def _check_known(namespace: str | None, known: Iterable[DemoPod]) -> None:
    spaces = {pod.namespace for pod in known}
    if namespace is not None and namespace not in spaces:
        raise not_found("namespace", namespace, spaces)


def _fits(pod: DemoPod, namespace: str | None, clauses: Iterable[Requirement]) -> bool:
    return namespace in (None, pod.namespace) and all(clause.matches(pod.labels) for clause in clauses)


def _names(pod: DemoPod, kind: str) -> tuple[str, ...]:
    """Return the names that a reference of a kind can mean this pod by."""
    if kind == "pod":
        return (pod.name,)
    if kind == "Service":
        return pod.services
    owner, _, name = pod.owner.partition("/")
    return (name,) if owner == kind else ()


def _referenced(
    reference: Reference,
    known: Sequence[DemoPod],
    namespace: str | None,
    clauses: Iterable[Requirement],
    all_namespaces: bool,
) -> list[DemoPod]:
    space = reference.namespace or namespace
    _check_known(space, known)
    there = [pod for pod in known if _fits(pod, space, ())]
    named = [pod for pod in there if any(reference.matches(name) for name in _names(pod, reference.kind))]
    what = reference.kind if reference.kind == "pod" else reference.kind.lower()
    if not named:
        names = [name for pod in there for name in _names(pod, reference.kind)]
        elsewhere = sorted(
            {pod.namespace for pod in known for name in _names(pod, reference.kind) if reference.matches(name)}
        )
        if elsewhere:
            raise TargetNotFound(
                f"no {what} {reference.name} in namespace {space}; namespace {' and '.join(elsewhere)} has it: use -n",
                tuple(f"{one}/{reference.name}" for one in elsewhere),
            )
        raise not_found(what, reference.name, names, where=f"in namespace {space}" if space else "")
    spaces = sorted({pod.namespace for pod in named})
    if len(spaces) > 1 and not (all_namespaces or reference.glob):
        raise TargetError(
            f"{what} {reference.name} is in namespaces {' and '.join(spaces)}: "
            f"give -n {spaces[0]}, {spaces[0]}/{reference.text}, or -A for all"
        )
    fitting = [pod for pod in named if _fits(pod, space, clauses)]
    if not fitting:
        raise TargetNotFound(
            f"{what} {reference.name} has not the labels of the selector; `podtracer pods` shows the labels"
        )
    return fitting


def _with_container(pod: DemoPod, container: str | None) -> Target:
    names = [one.name for one in pod.containers]
    if container is not None and container not in names:
        raise not_found("container", container, names, where=f"in pod {pod.namespace}/{pod.name}")
    return pod.target(container)
