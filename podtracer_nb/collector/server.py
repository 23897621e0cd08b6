"""The collector: a gRPC server that writes each capture into a file of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from podtracer_nb.collector import wire
from podtracer_nb.collector.files import Bounds, Folder, Full, SessionFile
from podtracer_nb.collector.metrics import Metrics
from podtracer_nb.collector.trust import ServerTrust
from podtracer_nb.errors import InputError, PrivilegeError

__all__ = ["Collector", "Limits"]

_GRACE = 5.0  # seconds for what is being sent when the collector is told to stop
_REMEMBERED = 10_000  # connections of the original's peers whose next piece goes on with their file


@dataclass(frozen=True)
class Limits:
    """What a collector bears.

    Attributes
    ----------
    session_bytes, total_bytes
        How much of one capture, and of all in the directory, is kept; None: what the disk holds.
    clients
        How many captures come in at the same time; more are told to try again later.
    rotate
        At `total_bytes` the oldest captures that are finished make room for the new ones; else no more are taken in.
    """

    session_bytes: int | None = None
    total_bytes: int | None = None
    clients: int = 256
    rotate: bool = False


class Collector:
    """Takes captures in, until it is stopped.

    Parameters
    ----------
    directory
        Where the captures go.
    address
        Where to listen: `0.0.0.0:51001`; port 0 is any free one.
    trust
        Certificates and token; None lets anybody in, unencrypted, as the original's peers need it.
    limits
        What it bears.
    metrics_port
        Where Prometheus finds its metrics; None: nowhere.

    Raises
    ------
    InputError
        The directory or the address cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Collector(folder, "127.0.0.1:0", None) as collector:
    ...     collector.port > 0
    True
    """

    def __init__(
        self,
        directory: str | Path,
        address: str,
        trust: ServerTrust | None,
        *,
        limits: Limits | None = None,
        metrics_port: int | None = None,
    ) -> None:
        import grpc

        limits = limits or Limits()
        self.folder = Folder(Path(directory), Bounds(limits.session_bytes, limits.total_bytes, limits.rotate))
        self.metrics = Metrics(metrics_port)
        self._trust = trust
        self._open: dict[tuple[str, str], _Open] = {}
        self._lock = threading.Lock()
        pod_data, response = wire.messages()
        self._response = response
        handler = grpc.stream_stream_rpc_method_handler(
            self._export, request_deserializer=pod_data.FromString, response_serializer=response.SerializeToString
        )
        self._server = grpc.server(
            ThreadPoolExecutor(limits.clients, thread_name_prefix="podtracer-collector"),
            maximum_concurrent_rpcs=limits.clients,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", 2 * wire.MESSAGE_BYTES),
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", 1 << 18),
            ],
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: handler}),)
        )
        try:
            if trust is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, trust.credentials())
        except RuntimeError as error:
            raise InputError(f"{address} cannot be listened at: is another collector there?") from error
        self._server.start()

    def stop(self) -> None:
        """Let no more in, give those that are sending a few seconds, and close all files."""
        self._server.stop(_GRACE).wait()
        with self._lock:
            for each in self._open.values():
                each.file.close(complete=not each.session, why="the collector was stopped")
            self._open.clear()

    def wait(self) -> None:
        """Wait until it is stopped."""
        self._server.wait_for_termination()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- one call -----------------------------------------------------------------------------------------------------

    def _export(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        import grpc

        metadata = {str(name): str(value) for name, value in context.invocation_metadata()}
        self.metrics.began()
        outcome = "broken"  # the sender went away in mid-stream
        try:
            if self._trust is not None:
                self._trust.check(metadata, wire.TOKEN)
            yield from self._receive(requests, context, metadata)
            outcome = "complete"
        except PrivilegeError as error:
            outcome = "refused"
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except InputError as error:
            outcome = "refused"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Full as error:
            outcome = "full"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except OSError as error:
            outcome = "failed"
            context.abort(grpc.StatusCode.INTERNAL, f"the collector cannot write: {error.strerror}")
        finally:
            self.metrics.ended(outcome)

    def _receive(self, requests: Iterator[Any], context: Any, metadata: dict[str, str]) -> Iterator[Any]:
        session = metadata.get(wire.SESSION, "")
        peer = context.peer()
        opened: _Open | None = None
        complete = False
        try:
            for pod in requests:
                if opened is None:
                    opened = self._opened(pod.name, session, peer, metadata.get(wire.SUFFIX, ".pcap"))
                    if session:
                        # The sender waits for this before it sends any byte: it goes on where we are.
                        context.send_initial_metadata(((wire.RECEIVED, str(opened.file.size)),))
                elif pod.name != opened.name:
                    raise InputError(f"a stream is one pod's: {opened.name!r}, not {pod.name[:80]!r}")
                else:
                    # The end of the stream alone says nothing: a sender that was killed can look the same to gRPC.
                    complete = not pod.data
                opened.file.add(pod.data)
                self.metrics.received(len(pod.data))
                yield self._response(message=f"Received data for pod {pod.name}")
        finally:
            if opened is not None and session:
                self._conclude(opened, context, complete=complete)
            elif opened is not None:
                # The original's client opens a stream for each piece: the next one goes on with this file.
                opened.file.pause()

    def _opened(self, name: str, session: str, peer: str, suffix: str) -> _Open:
        """Return the open capture of a session; without one, what one connection sends of one name is one capture."""
        key = (session or peer, name)
        with self._lock:
            found = self._open.get(key)
            if found is not None and session:
                raise InputError(f"the session {session} is being sent by another")
            if found is None:
                file = self.folder.open(name, session=session, peer=peer, suffix=suffix)
                found = self._open[key] = _Open(name, session, key, file)
                while len(self._open) > _REMEMBERED:
                    oldest = next(each for each in self._open.values() if not each.session)
                    del self._open[oldest.key]
            return found

    def _conclude(self, opened: _Open, context: Any, *, complete: bool) -> None:
        with self._lock, contextlib.suppress(KeyError):
            del self._open[opened.key]
        opened.file.close(complete=complete, why="" if complete else "the sender went away before the end")
        context.set_trailing_metadata(((wire.BYTES, str(opened.file.size)), (wire.SHA256, opened.file.sha256)))


@dataclass(frozen=True)
class _Open:
    """A capture that is being received."""

    name: str
    session: str
    key: tuple[str, str]
    file: SessionFile
