"""A cluster's pods: found through the Kubernetes API with the official client, each as a `Target`.

The client reads kubeconfig files and a pod's service account, refreshes tokens, knows proxies and certificate
authorities. Its answers are taken as JSON: building the client's model objects for 200 pods would take longer than the
API server needs to send them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podtracer_nb.errors import ClusterError, InputError, PrivilegeError
from podtracer_nb.targets.pod import target_of
from podtracer_nb.targets.target import Target

__all__ = ["Cluster"]

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 15.0


class Cluster:
    """A connection to a cluster's API; made by `kubeconfig.connect`.

    Attributes
    ----------
    namespace
        The namespace of names that carry none, as kubectl has it.
    name
        The kubeconfig's context, or ``in-cluster``.
    host
        The API server's address.
    """

    def __init__(self, api: Any, namespace: str, name: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self.host = str(api.configuration.host)

    def pod(self, namespace: str, name: str) -> Target | None:
        """Return one pod, or None where there is no such; one call."""
        found = self._get(f"/api/v1/namespaces/{namespace}/pods/{name}", ("get", "pods", namespace))
        return None if found is None else self._target(found)

    def pods(self, namespace: str | None = None, selector: str | None = None, name: str | None = None) -> list[Target]:
        """Return a namespace's pods, or all of them, ordered by namespace and name; one call however many there are."""
        where = f"/namespaces/{namespace}" if namespace else ""
        query = [("labelSelector", selector)] if selector else []
        query += [("fieldSelector", f"metadata.name={name}")] if name else []
        # Served from the API server's own cache (resourceVersion 0): etcd is not asked for a list of everything.
        listed = self._get(f"/api/v1{where}/pods", ("list", "pods", namespace), [*query, ("resourceVersion", "0")])
        return sorted(map(self._target, _items(listed)), key=lambda pod: (pod.namespace, pod.pod))

    def services(self, namespace: str | None = None) -> dict[tuple[str, str], dict[str, str]]:
        """Return each service's selector, by (namespace, name); one call."""
        where = f"/namespaces/{namespace}" if namespace else ""
        listed = self._get(f"/api/v1{where}/services", ("list", "services", namespace))
        return {
            (each["metadata"]["namespace"], each["metadata"]["name"]): each["spec"].get("selector") or {}
            for each in _items(listed)
        }

    def with_services(self, pods: list[Target], namespace: str | None) -> list[Target]:
        """Return the pods, each with the names of the services that send traffic to it."""
        selectors = self.services(namespace)
        return [
            replace(
                pod,
                services=tuple(
                    name
                    for (space, name), selector in selectors.items()
                    if selector and space == pod.namespace and selector.items() <= dict(pod.labels).items()
                ),
            )
            for pod in pods
        ]

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces."""
        listed = self._get("/api/v1/namespaces", ("list", "namespaces", None))
        return sorted(each["metadata"]["name"] for each in _items(listed))

    def namespace_labels(self, namespace: str) -> dict[str, str]:
        """Return a namespace's labels; none where there is no such namespace."""
        found = self._get(f"/api/v1/namespaces/{namespace}", ("get", "namespaces", None))
        return dict((found or {}).get("metadata", {}).get("labels") or {})

    def may(self, verb: str, resource: str, namespace: str | None = None, subresource: str = "") -> bool:
        """Ask the API whether we may do something (SelfSubjectAccessReview)."""
        attributes = {"verb": verb, "resource": resource, "namespace": namespace or "", "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._request("POST", path, ("create", "selfsubjectaccessreviews", None), body=review)
        return bool(answer and answer.get("status", {}).get("allowed"))

    def version(self) -> str:
        """Return the API server's version, such as ``v1.34.4``."""
        return str((self._get("/version", ("get", "/version", None)) or {}).get("gitVersion", ""))

    def credentials(self) -> tuple[dict[str, str], Any]:
        """Return the headers that say who we are, as they are now, and the TLS context; for other ways than HTTP."""
        headers = dict(self._api.param_serialize("GET", "/api", auth_settings=["BearerToken"])[2])
        words = self._api.rest_client.pool_manager.connection_pool_kw
        context = words.get("ssl_context")
        if context is None and self.host.startswith("https"):
            import ssl

            settings = self._api.configuration
            context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
            if not settings.verify_ssl:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return headers, context

    def create(self, path: str, resource: str, namespace: str, body: object) -> dict[str, Any]:
        """Create an object of the API below `path` and return it as it is there."""
        answer = self._request("POST", path, ("create", resource, namespace), body=body)
        if answer is None:
            raise ClusterError(f"there is no namespace {namespace}, or its {resource} are not known: make it first")
        return answer

    def patch(self, path: str, resource: str, namespace: str, body: object) -> dict[str, Any] | None:
        """Change an object of the API by a strategic merge patch and return it, or None where it is not there."""
        kind = "application/strategic-merge-patch+json"
        return self._request("PATCH", path, ("patch", resource, namespace), body=body, kind=kind)

    def read(self, path: str, resource: str, namespace: str, selector: str | None = None) -> dict[str, Any] | None:
        """Return an object or a list of the API, or None where it is not there."""
        query = [("labelSelector", selector)] if selector else None
        return self._get(path, ("list" if selector else "get", resource, namespace), query)

    def delete(self, path: str, resource: str, namespace: str) -> None:
        """Delete an object of the API and what it owns; one that is gone already is no error."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "gracePeriodSeconds": 5}
        self._request("DELETE", path, ("delete", resource, namespace), body=body)

    def _target(self, pod: Mapping[str, Any]) -> Target:
        return target_of(pod, self)

    def _get(
        self, path: str, what: tuple[str, str, str | None], query: list[tuple[str, str]] | None = None
    ) -> dict[str, Any] | None:
        return self._request("GET", path, what, query=query)

    def _request(
        self,
        method: str,
        path: str,
        what: tuple[str, str, str | None],
        *,
        query: list[tuple[str, str]] | None = None,
        body: object = None,
        kind: str = "application/json",
    ) -> dict[str, Any] | None:
        """Return the answer, or None for 404."""
        response = self._send(method, path, what, query=query, body=body, kind=kind)
        try:
            data = response.read()
        except Exception as error:
            raise self._unreachable(error) from error
        if response.status == 404:  # noqa: PLR2004  HTTP's own numbers
            return None
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        # Each answer has its kind, but for the server's version.
        if not isinstance(answer, dict) or not {"kind", "gitVersion"} & answer.keys():
            raise ClusterError(
                f"what answers at {self.host} is no Kubernetes API: look at the kubeconfig's server, or at the proxy"
            )
        return answer

    def _send(
        self,
        method: str,
        path: str,
        what: tuple[str, str, str | None],
        *,
        query: list[tuple[str, str]] | None = None,
        body: object = None,
        kind: str = "application/json",
    ) -> Any:
        import urllib3

        headers = {"Accept": "application/json", **({"Content-Type": kind} if body else {})}
        try:
            words = self._api.param_serialize(
                method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            timeout = (_CONNECT_SECONDS, _READ_SECONDS)
            try:
                response = self._api.call_api(*words, _request_timeout=timeout)
            except urllib3.exceptions.ProtocolError:  # the server closed a kept connection just as it was used
                response = self._api.call_api(*words, _request_timeout=timeout)
        except Exception as error:
            raise self._unreachable(error) from error
        if response.status >= 400 and response.status != 404:  # noqa: PLR2004
            raise self._refused(response, what)
        return response

    def _unreachable(self, error: Exception) -> Exception:
        """Return what to tell of an error below HTTP: urllib3's, the client's own, or a credential plugin's."""
        import ssl

        import urllib3
        from kubernetes.config import ConfigException

        cause = getattr(error, "reason", None) or error
        refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
        if isinstance(cause, urllib3.exceptions.TimeoutError) and not refused:
            return ClusterError(
                f"the Kubernetes API at {self.host} did not answer in time: is it up, and is the way to it open?"
            )
        if isinstance(error, ConfigException):
            return PrivilegeError(f"no credentials for the Kubernetes API ({_flat(error)}): log in again")
        detail = re.sub(r"<[^>]*>|HTTPSConnection(Pool)?\([^)]*\)", "", _flat(cause)).strip(" :,")
        if isinstance(cause, (urllib3.exceptions.SSLError, ssl.SSLError)):
            return ClusterError(
                f"no TLS connection to the Kubernetes API at {self.host} ({detail[:200]}): look at the certificates "
                "that the kubeconfig names, its cluster's authority and its user's own"
            )
        # What a header or an address may not hold: the text quotes it, and it may be a token.
        if isinstance(error, ValueError):
            return InputError(
                f"the kubeconfig's server or credentials for {self.host} hold what a request cannot carry: "
                "is the token broken over lines?"
            )
        if isinstance(error, (urllib3.exceptions.HTTPError, OSError)) or hasattr(error, "status"):
            return ClusterError(f"the Kubernetes API at {self.host} cannot be reached ({detail[:200]}): is it up?")
        return error

    def _refused(self, response: Any, what: tuple[str, str, str | None]) -> Exception:
        try:
            message = str(json.loads(response.read()).get("message", ""))
        except (ValueError, AttributeError, OSError):
            message = ""
        verb, resource, namespace = what
        if response.status == 401:  # noqa: PLR2004
            return PrivilegeError(
                f"the Kubernetes API at {self.host} does not know us (401): the token has expired or is another "
                "cluster's: log in again"
            )
        if response.status == 403 and "PodSecurity" in message:  # noqa: PLR2004
            return PrivilegeError(
                f"namespace {namespace}'s PodSecurity level forbids what was to be made there ({_flat(message)[:300]})"
            )
        if response.status == 403:  # noqa: PLR2004
            who = re.search(r'User "([^"]+)"', message)
            where = f"in namespace {namespace}" if namespace else "in the whole cluster"
            kind = "Role" if namespace else "ClusterRole"
            return PrivilegeError(
                f"{who[1] if who else 'we'} may not {verb} {resource} {where}: "
                f"a {kind} has to allow {verb} on {resource}, and a binding give it"
            )
        return ClusterError(
            f"the Kubernetes API at {self.host} answers {response.status} ({_flat(message)[:200] or 'nothing else'}): "
            "try again, or look at the API server"
        )


def _items(listed: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return list((listed or {}).get("items") or ())


def _flat(error: object) -> str:
    return " ".join(str(error).split())
