"""The demo's four pods as pods of a cluster, with the demo's own programs, so that its notebook has what it asks for.

They have the names that the notebook uses, run on one node, and resolve names at a server of their own: the tests'
cluster has none, and single addresses only, IPv4's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.cluster.fixtures import Kubectl, free_namespace, wait_for

NAMESPACE = "demo"
ZONE = f"{NAMESPACE}.svc.cluster.local"
INSIDE = "/opt/podtracer/lib/python3.11/site-packages/podtracer_nb/demo/inside"
PYTHON = "/opt/podtracer/bin/python"
# dnsmasq reads what is put into a hostsdir when it is put there: dnsmasq(8).
DNS = (
    "mkdir /tmp/hosts && exec dnsmasq --keep-in-foreground --user=root --conf-file=/dev/null --pid-file= --no-resolv "
    "--no-hosts --local=/#/ --local-ttl=5 --hostsdir=/tmp/hosts"
)


def pod(image: str, node: str, name: str, command: list[str], resolver: str | None) -> dict[str, Any]:
    """Return one pod's manifest."""
    dns = {"nameservers": [resolver], "searches": [ZONE, "svc.cluster.local", "cluster.local"],
           "options": [{"name": "ndots", "value": "5"}, {"name": "timeout", "value": "1"}]}  # fmt: skip
    container = {
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command,
        # Ports below 1024, and ping.
        "securityContext": {"runAsUser": 0, "capabilities": {"add": ["NET_RAW"]}},
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "dnsPolicy": "None" if resolver else "Default",
            **({"dnsConfig": dns} if resolver else {}),
        },
    }


@contextmanager
def demo_pods(kubectl: Kubectl, image: str, node: str) -> Iterator[None]:
    """Have the demo's pods on a node, and its client answered."""
    where = ("--namespace", NAMESPACE)

    def make(*pods: dict[str, Any]) -> None:
        kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(pods))
        for each in pods:
            kubectl(*where, "wait", "--for=condition=Ready", f"pod/{each['metadata']['name']}", "--timeout=60s")

    def address(name: str) -> str:
        return str(kubectl.json(*where, "get", "pod", name)["status"]["podIP"])

    with free_namespace(kubectl, NAMESPACE):
        kubectl("create", "namespace", NAMESPACE)
        make(pod(image, node, "dns", ["sh", "-c", DNS], None))
        resolver = address("dns")
        servers = [PYTHON, "-I", "-S", f"{INSIDE}/http_servers.py"]
        make(
            pod(image, node, "api", [*servers, "api", "8080", "--delay-ms", "30"], resolver),
            pod(image, node, "web", [*servers, "web", "80"], resolver),
        )
        names = "".join(f"{address(name)} {name}.{ZONE}\n" for name in ("api", "web")) + f"{resolver} dns.{ZONE}\n"
        kubectl(*where, "exec", "dns", "--", "sh", "-c", f"printf '{names}' > /tmp/hosts/pods")
        make(pod(image, node, "client", [PYTHON, "-I", "-S", f"{INSIDE}/client.py", "/usr/bin/ping", "4"], resolver))
        wait_for("the client is answered", lambda: "ready" in kubectl(*where, "logs", "client"))
        yield
