"""Who may send, and to whom: mutual TLS and a token, from files as Kubernetes mounts them; or, on demand, nothing."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from podtracer_nb.errors import InputError, PrivilegeError

__all__ = ["ClientTrust", "ServerTrust"]

_ENVIRONMENT = "PODTRACER_COLLECTOR_"


def _content(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"the {what} {path} cannot be read ({error.strerror})") from error


def _token(path: str) -> str:
    text = _content(path, "token file").decode("utf-8", errors="replace").strip()
    if not text or not text.isprintable() or not text.isascii():
        raise InputError(f"the token file {path} has no token: one line of letters and digits")
    return text


@dataclass(frozen=True)
class ServerTrust:
    """What a collector shows and asks for.

    Attributes
    ----------
    certificate, key
        Files of its own certificate chain and key, PEM.
    client_ca
        File of the authorities whose clients it lets in, PEM.
    token_file
        File of the token that clients have to say, or None: their certificate is enough.
    """

    certificate: str
    key: str
    client_ca: str
    token_file: str | None = None

    def credentials(self) -> Any:
        """Return gRPC's credentials for a port.

        Raises
        ------
        InputError
            A file cannot be read, or is no certificate.
        """
        import grpc

        pair = (_content(self.key, "key"), _content(self.certificate, "certificate"))
        return grpc.ssl_server_credentials(
            [pair], root_certificates=_content(self.client_ca, "authorities of clients"), require_client_auth=True
        )

    def check(self, metadata: Mapping[str, str], header: str) -> None:
        """Refuse a call without the token.

        Raises
        ------
        PrivilegeError
            It has none, or a wrong one.
        """
        if self.token_file is None:
            return
        # Read each time: Kubernetes changes a mounted secret in place.
        wanted = f"Bearer {_token(self.token_file)}"
        if not hmac.compare_digest(metadata.get(header, "").encode(), wanted.encode()):
            raise PrivilegeError("the token is missing or wrong")


@dataclass(frozen=True)
class ClientTrust:
    """What a sender shows and asks for; the same words as environment variables, PODTRACER_COLLECTOR_CA and so on.

    Attributes
    ----------
    ca
        File of the authorities that the collector's certificate has to be of, PEM.
    certificate, key
        Files of its own certificate and key, PEM.
    token_file
        File of the token.
    server_name
        The name in the collector's certificate, where it is not the one that is dialled.
    """

    ca: str
    certificate: str
    key: str
    token_file: str | None = None
    server_name: str | None = None

    @classmethod
    def from_environment(cls) -> ClientTrust | None:
        """Return what the environment says, or None where it says nothing: then nothing is encrypted.

        Raises
        ------
        InputError
            It says something, but not all that is needed.
        """
        given = {
            each.name: value for each in fields(cls) if (value := os.environ.get(_ENVIRONMENT + each.name.upper()))
        }
        if not given:
            return None
        missing = [name for name in ("ca", "certificate", "key") if name not in given]
        if missing:
            raise InputError(
                f"{_ENVIRONMENT}{missing[0].upper()} is not set, but others of {_ENVIRONMENT}* are: set it too"
            )
        return cls(**given)

    def channel(self, address: str, options: Any) -> Any:
        """Return an encrypted channel to the collector."""
        import grpc

        credentials = grpc.ssl_channel_credentials(
            _content(self.ca, "authorities"), _content(self.key, "key"), _content(self.certificate, "certificate")
        )
        named = [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []
        return grpc.secure_channel(address, credentials, options=[*options, *named])

    def words(self, header: str) -> list[tuple[str, str]]:
        """Return the metadata that says the token."""
        return [(header, f"Bearer {_token(self.token_file)}")] if self.token_file else []
