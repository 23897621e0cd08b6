"""Images without a registry: made here from a few files, and loaded into both runtimes as they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster import build, processes
from tests.cluster.commands import run
from tests.cluster.layout import DATA, NODES, RUN, ClusterError

BUSYBOX = "localhost/podtracer/busybox:test"
PAUSE = "localhost/podtracer/pause:test"

# [driver@root+run root]: containers-storage(5)'s way to name a store other than the machine's own.
CRIO_STORE = f"[overlay@{DATA / 'node-b' / 'containers'}+{RUN / 'crio' / 'containers'}]"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a root file system: a folder."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    return entry, b""


def file(name: str, content: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a root file system: a file."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    return entry, content


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a root file system: a symbolic link."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    return entry, b""


def write_archive(
    path: Path,
    name: str,
    root: Iterable[tuple[tarfile.TarInfo, bytes]],
    command: Sequence[str],
    entrypoint: bool = False,
) -> None:
    """Write a docker-archive: one image, `name`, of one layer that holds `root`.

    An entry's `pax_headers` go into the layer: `SCHILY.xattr.security.capability` gives a file its capabilities, and
    comes through both runtimes' loading (bytes of it that are no UTF-8 as `surrogateescape` decodes them).
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry, content in root:
            tar.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Entrypoint" if entrypoint else "Cmd": list(command),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests.cluster"}],
    }
    described = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(path, "w") as tar:
        for entry, content in (
            file(f"{digest}.tar", layer.getvalue()),
            file(config_name, described),
            file("manifest.json", json.dumps(manifest).encode()),
        ):
            tar.addfile(entry, io.BytesIO(content))


def _busybox_root() -> list[tuple[tarfile.TarInfo, bytes]]:
    program = Path("/bin/busybox").resolve()
    applets = [name for name in run([program, "--list-full"]).stdout.split() if Path(name).name != "busybox"]
    folders = ["bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "root", "var", "var/www"]
    return [
        *(folder(name) for name in folders),
        folder("tmp", 0o1777),
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        file("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
        file("bin/busybox", program.read_bytes(), 0o755),
        *(link(name, "/bin/busybox") for name in applets),
    ]


def make_own() -> list[Path]:
    """Write the archives that every cluster has: busybox for the tests' pods, pause for the runtimes."""
    busybox, pause = DATA / "images" / "busybox.tar", DATA / "images" / "pause.tar"
    busybox.parent.mkdir(parents=True, exist_ok=True)
    write_archive(busybox, BUSYBOX, _busybox_root(), ["/bin/sh"])
    write_archive(pause, PAUSE, [file("pause", build.pause().read_bytes(), 0o755)], ["/pause"], entrypoint=True)
    return [busybox, pause]


def _members(archive: Path) -> list[tuple[str, str]]:
    """Return what is in an archive: skopeo's word for each image, and the image's name."""
    with tarfile.open(archive) as tar:  # compressed or not
        names = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        if "manifest.json" in names:
            content = tar.extractfile(names["manifest.json"])
            assert content is not None
            tags = [tag for image in json.load(content) for tag in image.get("RepoTags") or []]
            return [(f"docker-archive:{archive}:{tag}", tag) for tag in tags]
        if "index.json" in names:
            content = tar.extractfile(names["index.json"])
            assert content is not None
            annotations = [image.get("annotations", {}) for image in json.load(content)["manifests"]]
            return [
                (f"oci-archive:{archive}:{each['org.opencontainers.image.ref.name']}", full)
                for each in annotations
                if (full := each.get("io.containerd.image.name") or each.get("org.opencontainers.image.ref.name"))
            ]
    raise ClusterError(f"{archive} is neither a docker-archive nor an oci-archive")


def load_containerd(archive: Path) -> None:
    """Load every image of an archive into node-a's containerd."""
    ctr: list[str | Path] = ["ctr", "--address", NODES[0].socket, "--namespace", "k8s.io", "images", "import"]
    with archive.open("rb") as start:
        compressed = start.read(2) == b"\x1f\x8b"  # RFC 1952; ctr reads plain archives only
    if not compressed:
        run([*ctr, archive])
        return
    with tempfile.NamedTemporaryFile(dir=RUN, suffix=".tar") as plain:
        with gzip.open(archive) as packed:
            shutil.copyfileobj(packed, plain)
        plain.flush()
        run([*ctr, plain.name])


def load_crio(archive: Path) -> None:
    """Load every image of an archive into node-b's CRI-O, which reads its store anew each time it is asked."""
    members = _members(archive)
    if not members:
        raise ClusterError(f"{archive} has no image with a name")
    # Neither the machine's nor the caller's settings have a part in it.
    settings = {"CONTAINERS_STORAGE_CONF": str(RUN / "crio" / "storage.conf")}
    for source, name in members:
        target = f"containers-storage:{CRIO_STORE}{name}"
        skopeo: list[str | Path] = ["skopeo", "--insecure-policy", "--tmpdir", RUN / "crio"]
        run([*skopeo, "copy", "--quiet", source, target], environment=settings)


def load(archive: Path) -> list[str]:
    """Load every image of a docker-archive or oci-archive into the nodes that run; return the images' names."""
    running = [node.runtime for node in NODES if processes.pid(node.runtime) is not None]
    if not running:
        raise ClusterError("no node of ours runs here: python -m tests.cluster up")
    try:
        found = names(archive)
    except tarfile.TarError as error:
        raise ClusterError(f"{archive} is no tar archive: {str(error).splitlines()[0]}") from error
    for runtime in running:
        (load_containerd if runtime == "containerd" else load_crio)(archive)
    return found


def names(archive: Path) -> list[str]:
    """Return the names of the images in an archive."""
    return [name for _, name in _members(archive)]
