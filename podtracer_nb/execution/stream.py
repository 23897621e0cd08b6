"""A program's standard streams in a pod of the cluster, through the API server: exec over a WebSocket.

The frames are read directly. The official client's own loop over them reads one at a time into text, keeps a copy of
all of it, and can lose the tail; read as frames the stream is as fast as kubectl's.
Source: Kubernetes' remotecommand protocol, v5.channel.k8s.io (a channel's number before each message).
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from podtracer_nb.errors import ClusterError, PrivilegeError

if TYPE_CHECKING:
    import ssl

__all__ = ["STDERR", "STDOUT", "Access", "ExecStream"]

STDIN, STDOUT, STDERR, STATUS, _CLOSE = 0, 1, 2, 3, 255
_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
_CONNECT_SECONDS = 10.0
_PING_SECONDS = 15.0
_SILENT_SECONDS = 60.0


class Access(Protocol):
    """The way to a cluster's API."""

    @property
    def host(self) -> str: ...
    def credentials(self) -> tuple[dict[str, str], ssl.SSLContext | None]:
        """Return the headers that say who we are, and how TLS is spoken."""


class ExecStream:
    """One program started in a container; its output as it comes.

    Parameters
    ----------
    access
        The cluster.
    namespace, pod, container
        Where.
    argv
        The program and its words.

    Raises
    ------
    ClusterError, PrivilegeError
        The API server or the node's kubelet cannot be reached; it may not be.
    """

    def __init__(self, access: Access, namespace: str, pod: str, container: str, argv: Sequence[str]) -> None:
        import websocket

        headers, tls = access.credentials()
        query = [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in argv]
        address = "ws" + access.host.rstrip("/").removeprefix("http")
        url = f"{address}/api/v1/namespaces/{namespace}/pods/{pod}/exec?{urllib.parse.urlencode(query)}"
        self._what = f"pod {namespace}/{pod}"
        self._status = ""
        self._sending = threading.Lock()
        self._closed = threading.Event()
        try:
            self._socket: Any = websocket.create_connection(
                url,
                timeout=_CONNECT_SECONDS,
                subprotocols=_PROTOCOLS,
                header=[f"{name}: {value}" for name, value in headers.items()],
                sslopt={"context": tls} if tls is not None else {},
                suppress_origin=True,
                enable_multithread=True,
                skip_utf8_validation=True,
            )
        except websocket.WebSocketBadStatusException as error:
            raise self._refused(error) from error
        except (websocket.WebSocketException, OSError) as error:
            raise ClusterError(f"{self._what} cannot be reached through {access.host} ({error}): is it up?") from error
        self._socket.settimeout(_SILENT_SECONDS)
        threading.Thread(target=self._ping, name="podtracer-ping", daemon=True).start()

    def _refused(self, error: Any) -> Exception:
        try:
            message = str(json.loads(error.resp_body or b"{}").get("message", ""))
        except ValueError:
            message = ""
        if error.status_code in (401, 403):
            return PrivilegeError(
                f"we may not run programs in {self._what}: a Role there has to allow create and get on pods/exec"
            )
        return ClusterError(f"{self._what} cannot be entered ({message[:200] or error}): is it running?")

    def send(self, data: bytes) -> None:
        """Write to the program's standard input."""
        self._frame(bytes([STDIN]) + data)

    def end_input(self) -> None:
        """Close the program's standard input, where the server knows how to (v5)."""
        if self._socket.subprotocol == _PROTOCOLS[0]:
            self._frame(bytes([_CLOSE, STDIN]))

    def _frame(self, data: bytes) -> None:
        import websocket

        try:
            with self._sending:
                self._socket.send_binary(data)
        except (websocket.WebSocketException, OSError) as error:
            raise ClusterError(f"the connection to {self._what} broke ({error})") from error

    def messages(self) -> Iterator[tuple[int, memoryview]]:
        """Give (channel, data) of standard output and error until the program's end.

        Raises
        ------
        ClusterError
            The connection broke, or has been silent, pings and all, for a minute.
        """
        import websocket
        from websocket import ABNF

        while True:
            try:
                code, frame = self._socket.recv_data_frame(True)
            except (websocket.WebSocketException, OSError, ValueError) as error:
                raise ClusterError(f"the connection to {self._what} broke ({error or type(error).__name__})") from error
            if code == ABNF.OPCODE_CLOSE:
                return
            if code not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
                continue
            data = memoryview(frame.data)
            if data[0] == STATUS:
                self._status = bytes(data[1:]).decode("utf-8", errors="replace")
            elif len(data) > 1:
                yield data[0], data[1:]

    @property
    def failure(self) -> str:
        """What the server said of the program's end; empty where it ended well or nothing was said."""
        try:
            status = json.loads(self._status or "{}")
        except ValueError:
            return self._status
        return "" if status.get("status") in (None, "Success") else str(status.get("message", ""))

    def _ping(self) -> None:
        """Keep proxies and kubelets from cutting a connection that is silent."""
        import websocket

        while not self._closed.wait(_PING_SECONDS):
            try:
                with self._sending:
                    self._socket.ping()
            except (websocket.WebSocketException, OSError):
                return

    def abort(self) -> None:
        """End the connection at once, from any thread: whoever reads from it sees that it broke."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.abort()

    def close(self) -> None:
        """End the connection; the program sees the end of its input."""
        import websocket

        self._closed.set()
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._socket.close(timeout=0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
