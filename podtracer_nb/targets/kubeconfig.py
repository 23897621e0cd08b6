"""The way to a cluster: kubeconfig files, their contexts and credentials, or a pod's own service account."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

from podtracer_nb.errors import InputError, PodtracerError, PrivilegeError
from podtracer_nb.targets.kubernetes import Cluster
from podtracer_nb.targets.nearest import not_found

__all__ = ["configured", "connect", "node_name", "not_there"]

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_connections: dict[tuple[object, ...], Cluster] = {}
_connecting = threading.Lock()


def node_name() -> str:
    """Return the node that we are on as Kubernetes calls it (`PODTRACER_NODE_NAME`); empty where we do not know."""
    return os.environ.get("PODTRACER_NODE_NAME", "")


def _kubeconfigs(given: str | None) -> tuple[Path, ...]:
    """Return the kubeconfig files that there are, where kubectl looks for them."""
    if given is not None:
        return (Path(given).expanduser(),)
    listed = os.environ.get("KUBECONFIG") or "~/.kube/config"
    paths = (Path(each).expanduser() for each in listed.split(os.pathsep) if each)
    return tuple(path for path in paths if path.is_file())


def not_there() -> str:
    """Say that KUBECONFIG names what is no file, where it does; empty where there is nothing to say."""
    listed = [each for each in (os.environ.get("KUBECONFIG") or "").split(os.pathsep) if each]
    missing = [each for each in listed if not Path(each).expanduser().is_file()]
    return f" (KUBECONFIG names {' and '.join(missing)}, which is no file)" if missing else ""


def configured() -> bool:
    """Tell whether a cluster is set up here: a kubeconfig file, or the service account of a pod."""
    return bool(_kubeconfigs(None)) or _in_cluster()


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_SERVICE_ACCOUNT / "token").exists()


def connect(context: str | None = None, kubeconfig: str | None = None) -> Cluster:
    """Return the connection to a cluster; the same one as long as nothing changed in its configuration.

    Parameters
    ----------
    context
        A context of the kubeconfig; its current one where None.
    kubeconfig
        The file; where None, what kubectl would take: ``$KUBECONFIG``, ``~/.kube/config``, a pod's service account.

    Raises
    ------
    InputError
        No such file or context, or not one that can be read.
    """
    files = _kubeconfigs(kubeconfig)
    stamps = tuple((path, path.stat().st_mtime_ns if path.is_file() else 0) for path in files)
    with _connecting:
        key = (context, stamps)
        if key not in _connections:
            _connections[key] = _connected(context, kubeconfig, files)
        return _connections[key]


def _connected(context: str | None, kubeconfig: str | None, files: tuple[Path, ...]) -> Cluster:
    import ssl

    import yaml
    from kubernetes import client, config
    from urllib3.util import Retry

    settings = client.Configuration()
    settings.retries = Retry(total=0)  # an error is told, not waited out
    try:
        if kubeconfig is not None and not files[0].is_file():
            there = "is no file" if files[0].exists() else "does not exist"
            raise InputError(f"the kubeconfig {kubeconfig} {there}: name another with --kubeconfig")
        if files:
            return _from_files(settings, context, files)
        if _in_cluster():
            if context is not None:
                raise InputError(f"no context {context}: there is no kubeconfig file here, only the pod's own account")
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            own = _SERVICE_ACCOUNT / "namespace"
            name, namespace = "in-cluster", own.read_text(encoding="utf-8").strip() if own.exists() else "default"
            return Cluster(client.ApiClient(settings), namespace, name)
        raise InputError(f"no cluster is set up here{not_there()}: give --kubeconfig FILE, or set KUBECONFIG")
    except PodtracerError:
        raise
    except config.ConfigException as error:
        raise InputError(f"the kubeconfig cannot be used ({_flat(error)}): mend it, or name another") from error
    except ssl.SSLError as error:
        raise InputError(f"the kubeconfig's certificates cannot be used ({_flat(error)}): mend them") from error
    except (yaml.YAMLError, OSError) as error:
        raise InputError(f"the kubeconfig cannot be read ({_flat(error)}): name another with --kubeconfig") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:  # YAML, and something else
        named = " and ".join(map(str, files))
        raise InputError(
            f"{named} is no kubeconfig, or asks for what the client does not know (a retired auth-provider?): "
            "name another with --kubeconfig"
        ) from error


def _from_files(settings: Any, context: str | None, files: tuple[Path, ...]) -> Cluster:
    """Connect by kubeconfig files.

    The client writes the certificates and keys of a kubeconfig into files, to be removed when the program ends, and a
    program that is killed does not get to that. So they go into a folder that is gone before anything is sent; by then
    they are in memory.
    """
    from kubernetes import client, config
    from kubernetes.config import kube_config

    listed = os.pathsep.join(map(str, files))
    contexts, active = config.list_kube_config_contexts(listed)  # type: ignore[no-untyped-call]
    names = [each["name"] for each in contexts]
    if context is not None and context not in names:
        raise not_found("context", context, names, where="in the kubeconfig")
    chosen = next((each for each in contexts if each["name"] == context), active)
    # The client tells of a credential plugin that failed in the log only, and goes on as nobody.
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        with tempfile.TemporaryDirectory(prefix="podtracer-") as folder:
            try:
                config.load_kube_config(  # type: ignore[no-untyped-call]
                    listed, context=context, client_configuration=settings, persist_config=False, temp_file_path=folder
                )
                if not re.match(r"https?://[^/]", settings.host):
                    raise InputError(
                        f"the kubeconfig's server {settings.host!r} is no address: it begins with https://"
                    )
                api = client.ApiClient(settings)
                _take_certificates(api, settings)
            finally:
                # It remembers what it wrote, and would give the same files again.
                written: dict[str, str] = getattr(kube_config, "_temp_files", {})
                for content in [key for key, path in written.items() if path.startswith(folder)]:
                    del written[content]
    finally:
        logging.getLogger().removeHandler(complaints)
    if complaints.said:
        raise PrivilegeError(
            f"the kubeconfig's credential plugin gave none ({_flat(complaints.said[0])[:200]}): "
            "install it, or log in again"
        )
    return Cluster(api, (chosen.get("context") or {}).get("namespace") or "default", str(chosen.get("name", "")))


def _take_certificates(api: Any, settings: Any) -> None:
    """Give the client's connections the certificates as they are now, in place of the files' names."""
    import ssl

    tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)
    words = api.rest_client.pool_manager.connection_pool_kw
    for name in ("ca_certs", "cert_file", "key_file"):
        words.pop(name, None)
    words["ssl_context"] = tls


class _Complaints(logging.Handler):
    """Collects what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.said.append(record.getMessage())


def _flat(error: object) -> str:
    return " ".join(str(error).split())
