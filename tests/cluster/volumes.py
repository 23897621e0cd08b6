"""Volumes for claims: folders of this machine, which both nodes see alike, made beforehand.

They are retained, not recycled: Kubernetes' own recycler is deprecated, and was seen to leave volumes stuck.
"""

from __future__ import annotations

import http.client
import shutil
from pathlib import Path
from typing import Any

from tests.cluster import api
from tests.cluster.layout import VOLUMES, ClusterError

COUNT = 32
_PATH = "/api/v1/persistentvolumes"


def make() -> None:
    """Make a default StorageClass, and volumes that any claim of up to 1 GiB may have."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    storage: dict[str, Any] = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": default},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }
    api.create("/apis/storage.k8s.io/v1/storageclasses", storage)
    for number in range(COUNT):
        folder = VOLUMES / f"volume-{number}"
        _empty(folder)
        spec: dict[str, Any] = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "storageClassName": "standard",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder), "type": "Directory"},
        }
        metadata = {"name": folder.name}
        api.create(_PATH, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec})


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # for a container of any user


def free() -> list[str]:
    """Empty the volumes whose claims are gone, and let others claim them; return their names."""
    freed = []
    for volume in (api.get(_PATH) or {}).get("items", []):
        name, path = volume["metadata"]["name"], volume["spec"].get("hostPath", {}).get("path", "")
        if volume["status"].get("phase") not in ("Released", "Failed") or Path(path).parent != VOLUMES:
            continue
        _empty(Path(path))
        status, answer = api.request("PATCH", f"{_PATH}/{name}", {"spec": {"claimRef": None}})
        if status != http.client.OK:
            raise ClusterError(f"{name} cannot be freed: {answer}")
        freed.append(name)
    return freed
