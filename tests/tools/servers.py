"""Servers for tests, each run as a program of its own inside a namespace: `servers.py http|https PORT [CERTIFICATE]`.

HTTP answers after `?wait=SECONDS` with `?size=BYTES` of body, or goes elsewhere for `/moved`.
"""

from __future__ import annotations

import http.server
import ssl
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        words = dict(urllib.parse.parse_qsl(asked.query))
        time.sleep(float(words.get("wait", 0)))
        body = b"x" * int(words.get("size", 6))
        self.send_response({"/moved": 302, "/missing": 404}.get(asked.path, 200))
        if asked.path == "/moved":
            self.send_header("Location", "/")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    server = Server(("0.0.0.0", int(sys.argv[2])), Handler)
    if sys.argv[1] == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
