"""What there is: the pods that can be named, and the tracer pods that this process keeps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from podtracer_nb import execution, targets

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["pods", "tracers"]


def pods(
    namespace: str | None = None,
    *,
    selector: str | None = None,
    all_namespaces: bool = False,
    context: str | None = None,
    kubeconfig: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Return the pods that can be named: the demo's, and a cluster's in one call to its API.

    Parameters
    ----------
    namespace, selector, all_namespaces
        Which, as kubectl has these words.
    context, kubeconfig
        Which cluster; by default what kubectl takes.

    Returns
    -------
    pandas.DataFrame
        A row a pod: `pod`, `namespace`, `node`, `ip`, `phase`, `owner`, `containers`, `services`, `labels` (str;
        several values are separated by commas), `host_network` (bool: it shares its node's network), `interfaces`
        (str; those that Multus attached, or the demo's), `traceable` (bool: tools can run in it from here), `reason`
        (str; why not).

    Raises
    ------
    InputError, TargetNotFound
        A value that cannot be right; no such namespace.
    ClusterError, PrivilegeError
        The cluster's API cannot be asked; it refuses.

    Examples
    --------
    >>> import podtracer_nb
    >>> podtracer_nb.pods("demo").pod.tolist()  # doctest: +SKIP
    ['api', 'client', 'dns', 'web']
    """
    import pandas as pd

    found = targets.pods(
        namespace=namespace,
        selector=selector,
        all_namespaces=all_namespaces,
        context=context,
        kubeconfig=os.fspath(kubeconfig) if kubeconfig is not None else None,
    )
    reasons = targets.untraceable(found)
    text: dict[str, list[str]] = {
        "pod": [each.pod for each in found],
        "namespace": [each.namespace for each in found],
        "node": [each.node for each in found],
        "ip": [",".join(each.ip) for each in found],
        "phase": [each.phase for each in found],
        "owner": [each.owner for each in found],
        "containers": [",".join(each.containers) for each in found],
        "services": [",".join(each.services) for each in found],
        "labels": [",".join(f"{name}={value}" for name, value in each.labels.items()) for each in found],
        "interfaces": [",".join(each.interfaces) for each in found],
        "reason": reasons,
    }
    frame = pd.DataFrame(text, dtype="str")
    frame.insert(9, "host_network", pd.Series([each.host_network for each in found], dtype=bool))
    frame.insert(11, "traceable", pd.Series([not reason for reason in reasons], dtype=bool))
    return frame


def tracers() -> pd.DataFrame:
    """List the tracer pods on other nodes that this process keeps for the next run there.

    Returns
    -------
    pandas.DataFrame
        A row a tracer pod: `node`, `namespace`, `pod`, `image` (str), `since` (datetime64[ns, UTC]), `alive` (bool).

    Raises
    ------
    ClusterError, PrivilegeError
        The cluster's API cannot be asked.

    Examples
    --------
    >>> import podtracer_nb
    >>> len(podtracer_nb.tracers())
    0
    """
    import pandas as pd

    kept = execution.tracers()
    text = {name: [getattr(each, name) for each in kept] for name in ("node", "namespace", "pod", "image")}
    frame = pd.DataFrame(text, dtype="str")
    frame["since"] = pd.to_datetime([each.since for each in kept], unit="s", utc=True).astype("datetime64[ns, UTC]")
    frame["alive"] = pd.Series([each.alive() for each in kept], dtype=bool)
    return frame
