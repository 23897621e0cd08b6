"""deploy/README.md's own lines, where they need no cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from podtracer_nb.collector import ClientTrust, Sender, collected
from tests.house.checkout import blocks
from tests.machine import needs


@needs("openssl")
def test_the_collector_and_those_who_send_trust_the_certificates_that_openssl_made(tmp_path: Path) -> None:
    (block,) = [each for each in blocks("deploy/README.md", "sh") if "openssl" in each]
    lines = [line for line in block.splitlines() if not line.startswith(("kubectl", "podtracer"))]
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    name = "podtracer-collector.podtracer-collector"
    words = ["--dir", "captures", "--port", "0", "--address", "127.0.0.1", "--client-ca", "ca.crt",
             "--token-file", "token", "--tls-cert", f"{name}.crt", "--tls-key", f"{name}.key"]  # fmt: skip
    command = [sys.executable, "-m", "podtracer_nb.cli", "collect", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        said = program.stderr.readline()
        try:
            port = int(said.split("port ", 1)[1].split(",")[0])
            own = [str(tmp_path / each) for each in ("ca.crt", "sender.crt", "sender.key", "token")]
            sent = Sender("127.0.0.1", port, "shop/web", ClientTrust(*own, name)).send(lambda at: iter([b"12345"[at:]]))
        finally:
            program.terminate()
            program.wait(30)
    assert sent.bytes == 5
    assert list(collected(tmp_path / "captures").captures.state) == ["complete"]
