"""Just enough of a client of the API server: a request with the administrator's certificate."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from tests.cluster.certificates import AUTHORITY, certificate, key
from tests.cluster.layout import API_PORT, NODES, ClusterError


def request(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Return the status and the answer's JSON (or text); OSError when nobody listens."""
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    context.load_cert_chain(certificate("admin"), key("admin"))
    connection = http.client.HTTPSConnection(NODES[0].address, API_PORT, context=context, timeout=10)
    try:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind, "Accept": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def get(path: str) -> Any:
    """Return what is at `path`, None if there is nothing, or nobody to ask."""
    try:
        status, answer = request("GET", path)
    except (OSError, http.client.HTTPException):
        return None
    return answer if status == http.HTTPStatus.OK else None


def create(path: str, body: dict[str, Any]) -> None:
    """Create an object; one that is there already is well."""
    status, answer = request("POST", path, body)
    if status not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.CONFLICT):
        raise ClusterError(f"{body['kind']} {body['metadata']['name']} was refused: {answer}")
