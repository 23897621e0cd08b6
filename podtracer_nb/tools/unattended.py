"""Runs that nobody waits for: Jobs on the targets' nodes, or a CronJob that makes them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podtracer_nb import execution, targets
from podtracer_nb.errors import InputError, PodtracerError, TargetError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Made", "made", "manifests", "table"]

_LOOK_SECONDS = 5.0  # in all, until a Job's pod has a node: the controller and the scheduler need one or two


@dataclass(frozen=True)
class Made:
    """One Job or CronJob, made or to be made.

    Attributes
    ----------
    manifest
        The whole of it.
    pods
        ``NAMESPACE/POD`` of each target; empty for a CronJob, which looks for them when it runs.
    node
        Where it runs; empty for a CronJob.
    output
        Where its output goes, in words.
    waits
        What a Job that was made waits for, where its pod had no node within some seconds.
    error
        Why it will never have a pod; then the Job was deleted again.
    """

    manifest: dict[str, Any]
    pods: tuple[str, ...]
    node: str
    output: str
    waits: str = ""
    error: PodtracerError | None = None

    @property
    def kind(self) -> str:
        """`job` or `cronjob`."""
        return str(self.manifest["kind"]).lower()

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def state(self) -> str:
        """Whether all is well with it, for people."""
        return f"refused: {self.error}" if self.error else f"waits: {self.waits}" if self.waits else "made"

    def lines(self) -> list[str]:
        """Return what there is to say: what was made, and how it is looked at and deleted."""
        if self.error:
            return [f"no job on {self.node} for {', '.join(self.pods)}: {self.error}"]
        kubectl = f"kubectl -n {self.namespace}"
        if self.kind == "cronjob":
            first = f"cronjob {self.name} in {self.namespace}: {self.manifest['spec']['schedule']}"
            see = f"{kubectl} get jobs -l app.kubernetes.io/name=podtracer-run"
        else:
            first = f"job {self.name} in {self.namespace} on {self.node}: {', '.join(self.pods)}"
            see = f"{kubectl} logs -f job/{self.name}"
        return [first, *([f"  waits:  {self.waits}"] if self.waits else []), f"  output: {self.output}",
                f"  see:    {see}", f"  delete: {kubectl} delete {self.kind} {self.name}"]  # fmt: skip


def made(
    tool: str,
    words: Sequence[str],
    *,
    pod: Sequence[str] = (),
    selector: str | None = None,
    namespace: str | None = None,
    all_namespaces: bool = False,
    container: str | None = None,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
    timer: float | None = None,
    file: str | None = None,
    destination: str | None = None,
    secret: str | None = None,
    schedule: str | None = None,
    dry_run: bool = False,
    image: str | None = None,
    tracer_namespace: str | None = None,
) -> list[Made]:
    """Make a Job on each node of the targets, or one CronJob; of Jobs, look for some seconds what becomes of them.

    Parameters
    ----------
    tool
        The program.
    words
        `run TOOL …` without what says which pods, and where the output goes; the tool's own words behind ``--``.
    pod, selector, namespace, all_namespaces, container, context, kubeconfig, image, tracer_namespace
        As in `run`. A CronJob looks for them each time.
    timer
        Seconds that the run may last.
    file
        ``pvc://CLAIM/PATH`` or ``s3://BUCKET/PREFIX``; None: the Job's log, or the collector.
    destination
        A collector's host.
    secret
        The Secret with the bucket's or the collector's credentials, in the Jobs' namespace.
    schedule
        When, in cron's words (crontab(5)); None: now.
    dry_run
        Make nothing.

    Raises
    ------
    InputError
        A value that cannot be right.
    TargetError
        No such pod; one of them is in no cluster.
    ClusterError, PrivilegeError
        The API cannot be asked; we may not make Jobs, or not CronJobs, there; PodSecurity or a quota forbids the pod of
        every Job, and so none is left. Where it forbids that of some, they have the `error`, and the others run.
    """
    given = os.fspath(kubeconfig) if kubeconfig is not None else None
    cluster = targets.connect(context, given)
    where = tracer_namespace or os.environ.get("PODTRACER_POD_NAMESPACE") or "podtracer"
    of_image = image or execution.image_of(cluster, where)
    there, sent = _destination(file, destination, secret)
    ours, theirs = _divided(words)
    together = not {"--max-total", "--count-total"}.isdisjoint(ours)
    if schedule is not None:
        _check_schedule(schedule)
        _check_total(together, "the Jobs of a schedule")
        which = _which(pod, selector, namespace or cluster.namespace, all_namespaces, container)
        output = [*(["-f", file] if file is not None else []), *(["--secret", secret] if secret is not None else [])]
        again = ["--job", "--image", of_image, "--tracer-namespace", where]
        line = (*ours, *which, *output, *again, *theirs)
        manifest = execution.cron_job_manifest(tool, line, schedule=schedule, namespace=where, image=of_image)
        found = [Made(manifest, (), "", sent)]
    else:
        chosen = targets.resolve(
            pods=tuple(pod),
            selector=selector,
            namespace=namespace,
            all_namespaces=all_namespaces,
            container=container,
            context=context,
            kubeconfig=given,
        )
        found = []
        by_node = _by_node(chosen)
        _check_total(together and len(by_node) > 1, f"the Jobs of {len(by_node)} nodes")
        for node, pods in by_node.items():
            which = [word for each in pods for word in ("--pod", each)]
            which += ["-c", container] if container is not None else []
            output = ["-f", _file_there(file)] if file is not None else []
            manifest = execution.job_manifest(
                tool,
                (*ours, *which, *output, "--via", "here", *theirs),
                node=node,
                namespace=where,
                image=of_image,
                timer=timer,
                destination=there,
            )
            found.append(Made(manifest, tuple(pods), node, sent))
    return found if dry_run else _in_the_cluster(cluster, found)


def _in_the_cluster(cluster: Any, asked: Sequence[Made]) -> list[Made]:
    """Make all of them, then look at each; those whose pod may never be are deleted, as tracers are."""
    there: list[tuple[Made, dict[str, Any]]] = []
    found = []
    try:
        for each in asked:
            there.append((each, cluster.create(_path(each), f"{each.kind}s", each.namespace, each.manifest)))
        until = time.monotonic() + _LOOK_SECONDS
        for each, job in there:
            seen = execution.outlook(cluster, job, until) if each.kind == "job" else ""
            if isinstance(seen, PodtracerError):
                found.append(replace(each, error=_deleted(cluster, each, seen)))
            else:
                found.append(replace(each, waits=seen))
    except BaseException:
        for each in asked:  # the last one may be there, though nobody has heard of it
            with contextlib.suppress(PodtracerError):
                cluster.delete(_path(each, each.name), f"{each.kind}s", each.namespace)
        raise
    for each in found:
        if each.error and all(one.error for one in found):
            raise each.error
    return found


def _deleted(cluster: Any, each: Made, why: PodtracerError) -> PodtracerError:
    """Delete a Job that nothing can come of, and return why, with that."""
    try:
        cluster.delete(_path(each, each.name), "jobs", each.namespace)
    except PodtracerError as error:
        return type(why)(f"{why}; the job stays, too: {error}")
    return type(why)(f"{why}; the job is deleted again")


def _path(each: Made, *name: str) -> str:
    return "/".join([f"/apis/batch/v1/namespaces/{each.namespace}/{each.kind}s", *name])


def table(found: Sequence[Made]) -> pd.DataFrame:
    """Return a row a Job: `kind`, `name`, `namespace`, `node`, `pods`, `output`, `state` (str)."""
    import pandas as pd

    rows = [
        (each.kind, each.name, each.namespace, each.node, ",".join(each.pods), each.output, each.state)
        for each in found
    ]
    return pd.DataFrame(rows, columns=["kind", "name", "namespace", "node", "pods", "output", "state"])


def manifests(found: Sequence[Made], form: str) -> str:
    """Return the manifests as text that `kubectl create -f -` reads: `yaml` or `json`."""
    import json

    import yaml

    every = [json.loads(json.dumps(each.manifest)) for each in found]  # YAML would refer to what stands there twice
    if form == "json":
        whole = every[0] if len(every) == 1 else {"apiVersion": "v1", "kind": "List", "items": every}
        return json.dumps(whole, indent=2)
    return "---\n".join(yaml.safe_dump(each, sort_keys=False) for each in every).rstrip("\n")


def _check_total(together: bool, which: str) -> None:
    if together:
        raise InputError(
            f"{which} do not count together, so --max-total and --count-total would hold for each: give limits of each "
            "target (--count, --max-bytes)"
        )


def _by_node(chosen: Sequence[targets.Target]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in chosen:
        if each.source != "kubernetes":
            raise InputError(f"--job is for pods of a cluster, and {each.label} is on this machine: leave --job out")
        if each.untraceable:
            raise TargetError(f"pod {each.label} {each.untraceable}")
        found.setdefault(each.node, []).append(each.label)
    return found


def _divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    at = list(words).index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at:])


def _which(
    pod: Sequence[str], selector: str | None, namespace: str, all_namespaces: bool, container: str | None
) -> list[str]:
    if not pod and selector is None and not all_namespaces:
        raise InputError("no pod named: give --pod POD, -l SELECTOR or -A")
    found = [word for each in pod for word in ("--pod", each)]
    found += ["-l", selector] if selector is not None else []
    found += ["-A"] if all_namespaces else ["-n", namespace]
    return [*found, *(["-c", container] if container is not None else [])]


def _check_schedule(schedule: str) -> None:
    """Refuse what is no schedule before the API server says so at more length."""
    names = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
    if schedule not in names and len(schedule.split()) != 5:  # noqa: PLR2004  minute, hour, day, month, day of the week
        raise InputError(f"{schedule!r} is no schedule: write five fields as cron has them, '*/15 * * * *', or @hourly")


def _destination(file: str | None, host: str | None, secret: str | None) -> tuple[execution.Destination, str]:
    """Return what a Job's pod needs for its output, and where that goes in words."""
    if host is not None:
        return execution.Destination(trust=secret), f"collector {host}"
    if file is None:
        return execution.Destination(), "its log"
    parts = urlsplit(file)
    if not parts.netloc or parts.query or parts.fragment or ".." in parts.path.split("/"):
        raise InputError(f"-f {file} names no place: write pvc://CLAIM/PATH or s3://BUCKET/PREFIX")
    if parts.scheme == "pvc":
        return execution.Destination(claim=parts.netloc), f"claim {parts.netloc}, folder {parts.path or '/'}"
    return execution.Destination(variables=secret), file


def _file_there(file: str) -> str:
    parts = urlsplit(file)
    return f"{execution.MOUNTED}/{parts.path.strip('/')}".rstrip("/") + "/" if parts.scheme == "pvc" else file
