"""Sends one capture to a collector while it grows, and goes on where it was when the connection comes back."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from podtracer_nb.collector import wire
from podtracer_nb.collector.trust import ClientTrust
from podtracer_nb.errors import ExecutionError

__all__ = ["CHUNK", "Sender", "Sent"]

CHUNK = 1 << 18  # bytes a message: what a client costs the collector is some four of these
_PATIENCE = 60.0  # seconds without any progress after which it is given up
_FIRST_ANSWER = 20.0
_RETRIED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED")


@dataclass(frozen=True)
class Sent:
    """What a collector has.

    Attributes
    ----------
    bytes
        How many bytes were sent.
    sha256
        The collector's digest of them, or empty where it gives none: the original's.
    connections
        How many connections it took.
    """

    bytes: int
    sha256: str
    connections: int


class Sender:
    """Sends one capture.

    Parameters
    ----------
    host, port
        The collector.
    name
        Whose capture it is: `NAMESPACE/POD`.
    trust
        Certificates and token; None: unencrypted, as the original's collector needs it.
    suffix
        The ending of the file's name there.
    patience
        Seconds without progress after which it is given up.
    tell
        Is given a line when the connection has broken, or could not be made, and is tried again.
    """

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        trust: ClientTrust | None = None,
        *,
        suffix: str = ".pcap",
        patience: float = _PATIENCE,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.name, self._trust, self._suffix, self._patience, self._tell = name, trust, suffix, patience, tell
        self.session = secrets.token_hex(16)

    def send(self, chunks: Callable[[int], Iterator[bytes]], sha256: Callable[[], str] | None = None) -> Sent:
        """Send all of a capture, however often the connection breaks.

        Parameters
        ----------
        chunks
            Gives the capture's bytes from a place in it to its end, waiting for more while it grows.
        sha256
            Gives the whole capture's digest at its end, with which the collector's is compared.

        Raises
        ------
        ExecutionError
            The collector refuses, cannot be reached for `patience` seconds, or has other bytes in the end.
        """
        import grpc

        at, connections = 0, 0
        last, pause, told = time.monotonic(), 0.1, False
        while True:
            connections += 1
            call = _Call(self, chunks, at)
            try:
                sent, digest = call.run()
                break
            except grpc.RpcError as error:
                code = error.code().name
                if call.at > at:
                    last, pause, told = time.monotonic(), 0.1, False
                at = call.at
                # The original's collector cannot say what it has: what was sent to it must not be sent again.
                if code not in _RETRIED or call.blind or time.monotonic() - last > self._patience:
                    raise ExecutionError(self._why(code, error.details() or "", call.at)) from error
                if not told:
                    why = self._why(code, error.details() or "", call.at)
                    self._tell(f"{why}; trying again for {self._patience:.0f} s, and keeping all of it here")
                    told = True
                threading.Event().wait(pause)
                pause = min(pause * 2, 5.0)
        if sha256 is not None and digest and digest != sha256():
            raise ExecutionError(
                f"the collector at {self.address} has other bytes than were captured: its file is not to be trusted"
            )
        return Sent(sent, digest, connections)

    def _why(self, code: str, details: str, at: int) -> str:
        words = {
            "UNAVAILABLE": "cannot be reached",
            "UNAUTHENTICATED": "refuses us",
            "INVALID_ARGUMENT": "refuses the capture",
            "RESOURCE_EXHAUSTED": "has no room",
            "UNIMPLEMENTED": "is no collector",
        }.get(code, f"failed ({code})")
        return f"the collector at {self.address} {words}: {' '.join(details.split())[:200]}; {at} bytes were sent"

    def _channel(self) -> Any:
        import grpc

        options = [
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 0),
            ("grpc.max_send_message_length", 2 * wire.MESSAGE_BYTES),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self._trust is None:
            return grpc.insecure_channel(self.address, options=options)
        return self._trust.channel(self.address, options)


class _Call:
    """One connection's part of a capture."""

    def __init__(self, sender: Sender, chunks: Callable[[int], Iterator[bytes]], at: int) -> None:
        self._sender, self._chunks = sender, chunks
        self.at = at
        self.blind = False
        self._resumes = False
        self._answered = threading.Event()
        self._start = 0
        self._ended = False

    def run(self) -> tuple[int, str]:
        """Send to the end; return how many bytes the capture has, and the collector's digest."""
        pod_data, response = wire.messages()
        sender = self._sender
        with sender._channel() as channel:
            export = channel.stream_stream(
                f"/{wire.SERVICE}/{wire.METHOD}",
                request_serializer=pod_data.SerializeToString,
                response_deserializer=response.FromString,
            )
            metadata = [(wire.SESSION, sender.session), (wire.SUFFIX, sender._suffix)]
            if sender._trust is not None:
                metadata += sender._trust.words(wire.TOKEN)
            call = export(self._messages(pod_data), metadata=metadata)
            threading.Thread(target=self._listen, args=(call,), name="podtracer-collector-answer", daemon=True).start()
            try:
                for _ in call:
                    pass
            finally:
                self._ended = True
                self._answered.set()
            trailing = {str(name): str(value) for name, value in call.trailing_metadata() or ()}
            return self.at, trailing.get(wire.SHA256, "")

    def _listen(self, call: Any) -> None:
        """Wait for what the collector has already; the original's says nothing of it."""
        initial = {str(name): str(value) for name, value in call.initial_metadata() or ()}
        if initial.get(wire.RECEIVED, "").isdigit():
            self._resumes, self._start = True, int(initial[wire.RECEIVED])
        self._answered.set()

    def _messages(self, pod_data: Any) -> Iterator[Any]:
        # Nothing but the name, so that the collector can say from where it wants to have the rest.
        yield pod_data(name=self._sender.name, data=b"")
        self._answered.wait(_FIRST_ANSWER)
        self.at = self._start
        self.blind = not self._resumes
        for chunk in self._chunks(self.at):
            if self._ended:
                return
            yield pod_data(name=self._sender.name, data=chunk)
            self.at += len(chunk)
        # That was all: without it the collector takes us for cut short.
        yield pod_data(name=self._sender.name, data=b"")
