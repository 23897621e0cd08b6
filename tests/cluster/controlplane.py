"""etcd and Kubernetes' control plane, as `kubeadm` would have them but for their addresses."""

from __future__ import annotations

import socket

from tests.cluster import api, processes
from tests.cluster.certificates import AUTHORITY, TOKENS_KEY, TOKENS_PUBLIC, certificate, key, kubeconfig
from tests.cluster.layout import API_PORT, DATA, ETCD_PORT, NODES, PROGRAMS, SERVICES

_ETCD = f"https://127.0.0.1:{ETCD_PORT}"
_ETCD_PEER = f"https://127.0.0.1:{ETCD_PORT + 1}"


def start_etcd() -> None:
    """Start etcd. It is the whole cluster to whoever reaches it: clients need a certificate, on loopback too."""
    argv: list[str] = ["etcd", "--name=podtracer", f"--data-dir={DATA / 'etcd'}", "--logger=zap"]
    argv += [f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"]
    argv += [f"--listen-peer-urls={_ETCD_PEER}", f"--initial-advertise-peer-urls={_ETCD_PEER}"]
    argv += [f"--initial-cluster=podtracer={_ETCD_PEER}"]
    for prefix in ("", "peer-"):
        argv += [f"--{prefix}cert-file={certificate('etcd')}", f"--{prefix}key-file={key('etcd')}"]
        argv += [f"--{prefix}trusted-ca-file={AUTHORITY}", f"--{prefix}client-cert-auth=true"]
    processes.start("etcd", argv)


def _etcd_listens() -> bool:
    try:
        socket.create_connection(("127.0.0.1", ETCD_PORT), timeout=1).close()
    except OSError:
        return False
    return True


def start_apiserver() -> None:
    """Start the API server and wait until it is ready."""
    processes.wait_for("etcd listens", "etcd", _etcd_listens)
    issuer = "https://kubernetes.default.svc.cluster.local"
    processes.start(
        "kube-apiserver",
        [
            PROGRAMS / "kube-apiserver",
            f"--bind-address={NODES[0].address}",
            f"--advertise-address={NODES[0].address}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={certificate('kube-apiserver')}",
            f"--tls-private-key-file={key('kube-apiserver')}",
            f"--client-ca-file={AUTHORITY}",
            f"--etcd-servers={_ETCD}",
            f"--etcd-cafile={AUTHORITY}",
            f"--etcd-certfile={certificate('etcd')}",
            f"--etcd-keyfile={key('etcd')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer={issuer}",
            f"--service-account-key-file={TOKENS_PUBLIC}",
            f"--service-account-signing-key-file={TOKENS_KEY}",
            f"--kubelet-certificate-authority={AUTHORITY}",
            f"--kubelet-client-certificate={certificate('apiserver-to-kubelet')}",
            f"--kubelet-client-key={key('apiserver-to-kubelet')}",
            "--kubelet-preferred-address-types=InternalIP",
        ],
    )
    processes.wait_for("the API server is ready", "kube-apiserver", lambda: api.get("/readyz") == "ok")


def start_controllers() -> None:
    """Start the controller manager and the scheduler; they serve nothing, so no port of theirs can be taken."""
    processes.start(
        "kube-controller-manager",
        [
            PROGRAMS / "kube-controller-manager",
            f"--kubeconfig={kubeconfig('kube-controller-manager')}",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={TOKENS_KEY}",
            f"--root-ca-file={AUTHORITY}",
            f"--cluster-signing-cert-file={AUTHORITY}",
            f"--cluster-signing-key-file={key('ca')}",
            f"--flex-volume-plugin-dir={DATA / 'volume-plugins'}",
        ],
    )
    processes.start(
        "kube-scheduler",
        [
            PROGRAMS / "kube-scheduler",
            f"--kubeconfig={kubeconfig('kube-scheduler')}",
            "--secure-port=0",
            "--leader-elect=false",
        ],
    )


def wait_for_account() -> None:
    """Wait for the ServiceAccount without which no pod is admitted."""
    processes.wait_for(
        "the default ServiceAccount is there",
        "kube-controller-manager",
        lambda: api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None,
    )


def wait_for_node(name: str) -> None:
    """Wait until a node is Ready, and may be given pods."""

    def ready() -> bool:
        node = api.get(f"/api/v1/nodes/{name}")
        if node is None or node["spec"].get("taints"):
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])

    processes.wait_for(f"{name} is Ready", f"kubelet-{name}", ready)
