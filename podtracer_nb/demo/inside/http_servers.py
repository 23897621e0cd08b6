"""The demo's two HTTP/1.1 servers, each on IPv4 and IPv6: `http_servers.py web|api PORT [--delay-ms N]`.

`web` has fast, slow and failing paths, and one that asks the API. `api` answers with a list of orders; its delay stands
in for a slow link where the kernel cannot delay packets itself.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API_PORT = 8080
API_SECONDS = 3.0
# Several segments long, so that a lost one is seen as a gap, a duplicate acknowledgement and a retransmission.
ORDERS = [{"order": number, "item": f"item-{number % 17}", "state": "shipped"} for number in range(120)]


class Handler(BaseHTTPRequestHandler):
    """Answer one connection's requests with JSON."""

    protocol_version = "HTTP/1.1"
    server_version = "podtracer-demo"
    sys_version = ""
    disable_nagle_algorithm = True
    delay = 0.0  # seconds

    def do_GET(self) -> None:
        """Answer by path."""
        status, body = self.page(self.path.partition("?")[0])
        content = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def page(self, path: str) -> tuple[int, object]:
        """Return the status and the body for `path`."""
        return 404, {"error": f"no {path} here"}

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: what happened is on the wire."""


class Web(Handler):
    """The front: some pages are fast, some slow, one always fails, one needs the API."""

    def page(self, path: str) -> tuple[int, object]:
        """Answer by path."""
        if path == "/fail":
            return 500, {"error": "this path always fails"}
        if path == "/api":
            return self.ask_api()
        if path == "/slow":
            time.sleep(random.uniform(0.25, 0.5))  # noqa: S311 (a delay, not a secret)
        elif path not in ("/", "/fast"):
            return super().page(path)
        return 200, {"pod": socket.gethostname(), "path": path}

    def ask_api(self) -> tuple[int, object]:
        """Pass the API's answer on, or say that it had none."""
        api = http.client.HTTPConnection("api", API_PORT, timeout=API_SECONDS)
        try:
            api.request("GET", "/orders")
            answer = api.getresponse()
            return answer.status, {"pod": socket.gethostname(), "orders": json.loads(answer.read())}
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 502, {"error": f"the API did not answer: {error}"}
        finally:
            api.close()


class Api(Handler):
    """The orders, after a delay."""

    def page(self, path: str) -> tuple[int, object]:
        """Answer with the orders."""
        time.sleep(self.delay * random.uniform(0.8, 1.2))  # noqa: S311 (a delay, not a secret)
        return (200, ORDERS) if path == "/orders" else super().page(path)


class Server(ThreadingHTTPServer):
    """One socket for both address families (`::` with IPV6_V6ONLY off, ipv6(7))."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind to every address of both families."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a connection that was reset end quietly; report anything else."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # wider than ours


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=["web", "api"])
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    Handler.delay = arguments.delay_ms / 1000
    handler = {"web": Web, "api": Api}[arguments.server]
    Server(("::", arguments.port), handler).serve_forever()
