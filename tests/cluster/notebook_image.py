"""Builds the image of deploy/image/Dockerfile for the test cluster: `python -m tests.cluster.notebook_image build`.

buildah builds it, as root and without a daemon, and nothing is pulled: debootstrap makes a base of this machine's
Debian mirrors, which gets the very name that the Dockerfile builds from. How this machine reaches its mirrors and
package index (apt's and pip's settings, certificates) is mounted into the build's steps and stays out of the image.
The archive is named after all that goes into it and is made once; a change of our own Python makes the last layers only.
"""

from __future__ import annotations

import argparse
import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = Path("deploy/image/Dockerfile")
REPOSITORY = "localhost/podtracer/podtracer-nb"
RELEASE = "bookworm"
#: Debian packages that this needs: continuous integration installs them.
PACKAGES = ("buildah", "debootstrap", "ca-certificates")

#: What the Dockerfile copies: patterns below the checkout, less what was compiled on this machine.
_CONTEXT = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "podtracer_nb/**/*",
    "notebooks/*.ipynb",
    "deploy/image/*",
)
_COMPILED = {".so", ".c", ".pyc"}
#: Every file gets this time: buildah's cache looks at times, and a clone's are those of the clone.
_TIME = 1_700_000_000
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Where a build step sees them: not in their own place, where Debian's ca-certificates, if installed, writes its own.
_CERTIFICATES_THERE = "/mnt/certificates.crt"


def context_files(root: Path = ROOT) -> list[Path]:
    """Return the files that the build is given, relative to the checkout, sorted."""
    found = {path.relative_to(root) for pattern in _CONTEXT for path in root.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.suffix not in _COMPILED and "__pycache__" not in path.parts)


def key(root: Path = ROOT) -> str:
    """Return what the image's tag and the archive's name are made of: a digest of all that goes into the build."""
    digest = hashlib.sha256()
    for path in context_files(root):
        content = (root / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def reference(root: Path = ROOT) -> str:
    """Return the image's name, as a pod names it."""
    return f"{REPOSITORY}:{key(root)}"


def cache() -> Path:
    """Return the directory that keeps what was built."""
    if chosen := os.environ.get("PODTRACER_CLUSTER_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podtracer-cluster"


def archive(root: Path = ROOT) -> Path:
    """Return where the image's archive is, or will be."""
    return cache() / "images" / f"podtracer-nb-{key(root)}.tar"


def build(root: Path = ROOT) -> Path:
    """Build the image unless its archive is there, and return the archive's path.

    Raises
    ------
    RuntimeError
        This machine lacks what the build needs.
    subprocess.CalledProcessError
        A step failed; its output went to standard error.
    """
    with _alone():
        with tempfile.TemporaryDirectory(prefix="podtracer-image-") as name:
            # A copy, since others may change the checkout meanwhile: the key is that of what was built.
            context = Path(name, "context")
            _copy(root, context)
            result = archive(context)
            if result.exists():
                return result
            _refuse_what_cannot_work()
            buildah = Buildah(cache() / "buildah")
            base = re.findall(r"^FROM (debian:\S+)", (context / DOCKERFILE).read_text(encoding="utf-8"), re.M)[0]
            buildah.base(base)
            buildah.image(context, reference(context), _machine_settings(Path(name, "settings")))
            result.parent.mkdir(parents=True, exist_ok=True)
            fresh = result.with_suffix(f".{os.getpid()}")
            try:
                buildah.run("push", "--quiet", reference(context), f"docker-archive:{fresh}:{reference(context)}")
                fresh.replace(result)
            finally:
                fresh.unlink(missing_ok=True)
            buildah.forget_older(reference(context))
            for older in result.parent.glob("podtracer-nb-*.tar"):
                if older != result:
                    older.unlink()
            return result


class Buildah:
    """buildah with storage of its own below a directory: this machine's own images are left alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.storage = [f"--root={directory / 'storage'}", "--runroot=/run/podtracer-image"]
        self.driver = "overlay"
        if subprocess.run(self._argv("images"), capture_output=True, check=False).returncode != 0:
            self.driver = "vfs"  # whole copies: where the cache is itself on an overlay

    def _argv(self, *words: str) -> list[str]:
        return ["buildah", *self.storage, f"--storage-driver={self.driver}", *words]

    def run(self, *words: str) -> str:
        """Run buildah and return what it printed, its talk going to standard error."""
        return subprocess.run(self._argv(*words), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def base(self, name: str) -> None:
        """Have an image `name` of a minimal Debian, without a registry."""
        local = f"localhost/{name}"
        if self.run("images", "--quiet", "--filter", f"reference={local}"):
            return
        mirror = next(line.split()[1] for line in _debian_sources() if f" {RELEASE} " in line)
        with tempfile.TemporaryDirectory(prefix="podtracer-debian-", dir=self.directory) as tree:
            log = self.directory / "debootstrap.log"
            with log.open("w", encoding="utf-8") as output:
                done = subprocess.run(
                    ["debootstrap", "--variant=minbase", RELEASE, tree, mirror],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            if done.returncode != 0:
                tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
                raise RuntimeError(f"debootstrap failed with status {done.returncode}; {log} ends with\n{tail}")
            _slim(Path(tree))
            container = self.run("from", "scratch")
            try:
                self.run("add", "--quiet", container, tree, "/")
                self.run(
                    "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container
                )
                self.run("config", "--cmd", "bash", container)
                self.run("commit", "--quiet", container, local)
            finally:
                self.run("rm", container)

    def image(self, context: Path, name: str, settings: list[str]) -> None:
        """Build the Dockerfile of `context` as `name`, layer by layer, each kept for the next build."""
        argv = self._argv(
            "build",
            "--layers",
            "--isolation=chroot",
            "--network=host",
            "--pull-never",
            "--format=docker",
            f"--file={context / DOCKERFILE}",
            f"--ignorefile={context / DOCKERFILE}.dockerignore",
            *(f"--volume={mount}" for mount in settings),
            f"--tag={name}",
            str(context),
        )
        subprocess.run(argv, stdout=sys.stderr, check=True)

    def forget_older(self, name: str) -> None:
        """Take their names from older images of ours, and remove what no name and no newer image needs."""
        tagged = self.run("images", "--format={{.Name}}:{{.Tag}}", "--filter", f"reference={REPOSITORY}")
        for older in set(tagged.splitlines()) - {name, ""}:
            self.run("rmi", older)


def _slim(tree: Path) -> None:
    """Take from a debootstrapped tree what Debian's slim images leave out, and this machine's mirror."""
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (tree / name).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (tree / "etc/apt/sources.list").write_text("", encoding="utf-8")
    (tree / "etc/hostname").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").unlink(missing_ok=True)


def _machine_settings(directory: Path) -> list[str]:
    """Return the mounts, SOURCE:TARGET:ro, by which a build step reaches what this machine reaches."""
    directory.mkdir()
    (directory / "sources.list").write_text("".join(f"{line}\n" for line in _debian_sources()), encoding="utf-8")
    (directory / "apt").mkdir()
    # One file of our own in place of the machine's many: some of those tell a package manager to keep everything.
    dump = _output("apt-config", "dump")
    wanted = [line for line in dump.splitlines() if re.match(r"Acquire::(http|https|Check|Retries)\b", line)]
    if _CERTIFICATES.exists():
        wanted.append(f'Acquire::https::CaInfo "{_CERTIFICATES_THERE}";')
    (directory / "apt/99machine").write_text("".join(f"{line}\n" for line in dict.fromkeys(wanted)), encoding="utf-8")
    mounts = [(directory / "sources.list", "/etc/apt/sources.list"), (directory / "apt", "/etc/apt/apt.conf.d")]
    (directory / "pip.conf").write_text(_pip_settings(), encoding="utf-8")
    mounts.append((directory / "pip.conf", "/etc/pip.conf"))
    if Path("/etc/apt/auth.conf.d").is_dir():
        mounts.append((Path("/etc/apt/auth.conf.d"), "/etc/apt/auth.conf.d"))
    if _CERTIFICATES.exists():
        mounts.append((_CERTIFICATES, _CERTIFICATES_THERE))
    return [f"{source}:{target}:ro" for source, target in mounts]


def _debian_sources() -> list[str]:
    """Return this machine's sources of Debian, one line a suite, others' left out."""
    lines = _output(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages"
    ).splitlines()
    suites: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        words = line.split()
        if words[3:] == ["Debian"] and words[1].startswith(RELEASE):
            suites.setdefault((words[0], words[1]), []).append(words[2])
    if not any(suite == RELEASE for _, suite in suites):
        raise RuntimeError(f"this machine's apt knows no Debian {RELEASE}: run apt-get update on such a machine")
    return [f"deb {uri} {suite} {' '.join(dict.fromkeys(parts))}" for (uri, suite), parts in suites.items()]


def _pip_settings() -> str:
    """Return this machine's settings of pip, PIP_* variables included, as one pip.conf."""
    settings = configparser.ConfigParser(interpolation=None)
    files = [Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"]
    settings.read([*files, *filter(None, [os.environ.get("PIP_CONFIG_FILE")])], encoding="utf-8")
    if not settings.has_section("global"):
        settings.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            settings.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    for local in ("find-links", "cache-dir", "target", "prefix", "root", "user", "require-virtualenv", "log"):
        settings.remove_option("global", local)  # directories of this machine, which the build does not see
    if _CERTIFICATES.exists():
        settings.set("global", "cert", _CERTIFICATES_THERE)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        settings.write(file)
        file.seek(0)
        return file.read()


def _copy(root: Path, context: Path) -> None:
    for path in context_files(root):
        target = context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / path).read_bytes())
        target.chmod(0o755 if os.access(root / path, os.X_OK) else 0o644)
        os.utime(target, (_TIME, _TIME))
    for directory, _, _ in os.walk(context, topdown=False):
        Path(directory).chmod(0o755)
        os.utime(directory, (_TIME, _TIME))


def _refuse_what_cannot_work() -> None:
    if os.geteuid() != 0:
        raise RuntimeError("buildah and debootstrap make device files and change roots: run this as root")
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name, path=search) is None]
    if missing:
        raise RuntimeError(f"no {' and no '.join(missing)}: apt-get install {' '.join(missing)}")


def _output(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another build of this machine to end: the second finds what the first has made."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "notebook-image.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.notebook_image", description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    ways.add_parser("build", help="build it if need be; print the archive's path")
    ways.add_parser("name", help="print the image's name, as a pod names it")
    asked = parser.parse_args(arguments)
    try:
        print(build() if asked.way == "build" else reference())
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"notebook_image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
