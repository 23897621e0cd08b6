"""A user's way to Jupyter: through `kubectl port-forward`, with the token, to a kernel that runs code."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.cluster.fixtures import Notebook

SECONDS = 60


class Jupyter:
    """Jupyter's REST interface and its kernels' channels at an address of this machine."""

    def __init__(self, port: int, token: str | None) -> None:
        self.base = f"127.0.0.1:{port}"
        self.headers = {"Authorization": f"token {token}"} if token is not None else {}

    def status(self, path: str) -> int:
        """Return the HTTP status of a GET, redirects not followed."""
        request = urllib.request.Request(f"http://{self.base}{path}", headers=self.headers)
        opener = urllib.request.build_opener(_Stay)
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON that a request gives."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.base}{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def page(self, path: str) -> str:
        """Return the text of a page."""
        request = urllib.request.Request(f"http://{self.base}{path}", headers=self.headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return str(answer.read().decode())

    def run(self, code: str) -> str:
        """Start a kernel, run code in it, end it; return what it printed, and its error if there was one."""
        kernel = self.ask("POST", "/api/kernels", {"name": "python3"})["id"]
        try:
            return asyncio.run(asyncio.wait_for(self._execute(kernel, code), SECONDS))
        finally:
            self.ask("DELETE", f"/api/kernels/{kernel}")

    async def _execute(self, kernel: str, code: str) -> str:
        address = f"ws://{self.base}/api/kernels/{kernel}/channels"
        channel = await websocket_connect(HTTPRequest(address, headers=self.headers))
        sent = uuid.uuid4().hex
        header = {"msg_id": sent, "msg_type": "execute_request", "username": "", "session": sent, "version": "5.4"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await channel.write_message(json.dumps(message))
        printed = ""
        try:
            while (text := await channel.read_message()) is not None:
                answer = json.loads(text)
                if answer["parent_header"].get("msg_id") != sent:
                    continue
                content = answer["content"]
                if answer["msg_type"] == "stream":
                    printed += content["text"]
                elif answer["msg_type"] == "error":
                    printed += "\n".join(content["traceback"])
                elif answer["msg_type"] == "status" and content["execution_state"] == "idle":
                    return printed
            raise ConnectionError(f"the kernel's channel closed after {printed!r}")
        finally:
            channel.close()
            while await channel.read_message() is not None:
                pass  # until the server has closed too: a socket left open would be reported later, in another test


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@contextmanager
def forwarded(notebook: Notebook) -> Iterator[int]:
    """Run `kubectl port-forward service/podtracer`; give the local port."""
    argv = [
        *(notebook.kubectl.program, "--namespace", notebook.namespace),
        *("port-forward", "--address=127.0.0.1", "service/podtracer", ":8888"),
    ]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=notebook.kubectl.environment
    ) as forward:
        try:
            assert forward.stdout is not None
            line = forward.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+) -> 8888", line)
            assert found, line
            yield int(found[1])
        finally:
            forward.terminate()
