"""One certificate authority, a certificate for each part of the cluster, and the kubeconfig files that hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.layout import API, CERTIFICATES, KUBECONFIG, KUBERNETES_SERVICE, NODES, RUN, Node

AUTHORITY = CERTIFICATES / "ca.crt"
# Signs the tokens of ServiceAccounts.
TOKENS_KEY = CERTIFICATES / "tokens.key"
TOKENS_PUBLIC = CERTIFICATES / "tokens.pub"


def certificate(name: str) -> Path:
    """Return the file of a certificate."""
    return CERTIFICATES / f"{name}.crt"


def key(name: str) -> Path:
    """Return the file of a certificate's private key."""
    return CERTIFICATES / f"{name}.key"


def kubeconfig(name: str) -> Path:
    """Return the file with which `name` talks to the API server."""
    return RUN / f"{name}.kubeconfig"


def _new_key(path: Path) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])
    path.chmod(0o600)


def _new_certificate(name: str, subject: str, addresses: Sequence[str] = (), hosts: Sequence[str] = ()) -> None:
    _new_key(key(name))
    alternatives = [f"IP:{each}" for each in addresses] + [f"DNS:{each}" for each in hosts]
    extensions = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if alternatives:
        extensions.append(f"subjectAltName={','.join(alternatives)}")
    settings = CERTIFICATES / f"{name}.ext"
    settings.write_text("\n".join(extensions) + "\n")
    request = run(["openssl", "req", "-new", "-key", key(name), "-subj", subject]).stdout
    sign: list[str | Path] = [
        "openssl",
        "x509",
        "-req",
        "-days",
        "365",
        "-CA",
        AUTHORITY,
        "-CAkey",
        key("ca"),
        "-CAcreateserial",
    ]
    run([*sign, "-extfile", settings, "-out", certificate(name)], stdin=request)


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write_kubeconfig(path: Path, name: str) -> None:
    # JSON is YAML, and the certificates lie in it: one file that can be copied elsewhere, into a pod for one.
    context = {"cluster": "podtracer", "user": name}
    user = {"client-certificate-data": _inline(certificate(name)), "client-key-data": _inline(key(name))}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "podtracer", "cluster": {"server": API, "certificate-authority-data": _inline(AUTHORITY)}}
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "podtracer", "context": context}],
        "current-context": "podtracer",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1) + "\n")


def make(nodes: Sequence[Node]) -> None:
    """Make all certificates and kubeconfig files anew."""
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    CERTIFICATES.chmod(0o700)
    _new_key(key("ca"))
    authority = ["openssl", "req", "-x509", "-new", "-days", "365", "-subj", "/CN=podtracer-cluster"]
    run([*authority, "-key", key("ca"), "-out", AUTHORITY])
    _new_key(TOKENS_KEY)
    run(["openssl", "ec", "-in", TOKENS_KEY, "-pubout", "-out", TOKENS_PUBLIC])

    here = ["127.0.0.1", *(node.address for node in NODES)]
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    _new_certificate("etcd", "/CN=etcd", ["127.0.0.1"], ["localhost"])
    _new_certificate("kube-apiserver", "/CN=kube-apiserver", [KUBERNETES_SERVICE, *here], ["localhost", *names])
    # The groups are Kubernetes' own: masters may do anything, nodes what the Node authorizer lets a node do.
    _new_certificate("admin", "/O=system:masters/CN=admin")
    _new_certificate("apiserver-to-kubelet", "/O=system:masters/CN=apiserver-to-kubelet")
    for name in ("kube-controller-manager", "kube-scheduler"):
        _new_certificate(name, f"/CN=system:{name}")
        _write_kubeconfig(kubeconfig(name), name)
    for node in nodes:
        _new_certificate(node.name, f"/O=system:nodes/CN=system:node:{node.name}", [node.address], [node.name])
        _write_kubeconfig(kubeconfig(node.name), node.name)
    _write_kubeconfig(KUBECONFIG, "admin")
