"""A collector as a process, certificates, and peers of every kind."""

from __future__ import annotations

import datetime
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Running:
    """`podtracer collect` as a process."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.start()

    def start(self, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "podtracer_nb.cli",
                "collect",
                "--address",
                "127.0.0.1",
                "--port",
                str(port),
                *self.words,
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"collecting on port (\d+)", self.said)
        assert found, self.said + self.process.stderr.read()
        self.port = int(found[1])

    def end(self, *, kill: bool = False) -> int:
        self.process.kill() if kill else self.process.terminate()
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def collector() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*words: object) -> Running:
        started.append(Running([str(word) for word in words]))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate(timeout=20)


class Authority:
    """A certificate authority of the tests' own, that makes pairs of certificate and key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self._name, self._key, authority=True))

    def pair(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return certificate, secret

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool = False) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("collector.test")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


class Cut:
    """A TCP relay to a port, which cuts its first connections after so many bytes each."""

    def __init__(self, port: int, *after: int) -> None:
        import socket
        import threading

        self._target, self._after = port, list(after)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        import socket
        import threading

        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            limit = self._after[self.connections] if self.connections < len(self._after) else None
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._relay, args=(client, server, limit), daemon=True).start()

    @staticmethod
    def _relay(client, server, limit) -> None:
        passed = 0
        with client, server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    try:
                        data = source.recv(1 << 16)
                    except OSError:
                        return
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
                    passed += len(data) if source is client else 0
                if limit is not None and passed > limit:
                    return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def cut() -> Iterator[Callable[..., Cut]]:
    made: list[Cut] = []

    def make(port: int, *after: int) -> Cut:
        made.append(Cut(port, *after))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PODTRACER_COLLECTOR_"):
            monkeypatch.delenv(name)
