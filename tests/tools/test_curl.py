"""curl against servers of the test's own: each transfer a row, with how long each phase took."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.tools.known.curl import TRANSFERS
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.tools import servers
from tests.tools.way import CLIENT, SERVER, Way, listening

HTTP, HTTPS = 8081, 8443
BASE = f"http://{SERVER}:{HTTP}"


@pytest.fixture(scope="module")
def web(ways: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    certificate = tmp_path_factory.mktemp("tls") / "both.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=web", "-days", "1", "-keyout", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    certificate.write_text(made.stdout)
    with (
        ways.server.running(sys.executable, servers.__file__, "http", str(HTTP)),
        ways.server.running(sys.executable, servers.__file__, "https", str(HTTPS), str(certificate)),
    ):
        listening(ways.server, HTTP)
        listening(ways.server, HTTPS)
        yield ways


def curl(ways: Way, *words: str) -> pd.DataFrame:
    return podtracer_nb.run("curl", words, pid=ways.client.pid)


@needs("netns", "iproute2", "curl", "openssl")
class TestAgainstAServer:
    def test_a_transfer_is_a_row_with_its_phases(self, web: Way) -> None:
        frame = curl(web, f"{BASE}/?wait=0.2&size=100000")
        (row,) = frame.to_dict("records")
        assert (row["http_code"], row["exitcode"], row["size_download"]) == (200, 0, 100_000)
        assert (row["remote_ip"], row["remote_port"], row["local_ip"]) == (SERVER, HTTP, CLIENT)
        assert row["url"] == f"{BASE}/?wait=0.2&size=100000"
        assert 200 <= row["server"] < 2000  # the server waited so long, ms
        assert pd.isna(row["tls"]) and 0 < row["tcp"] < 1000
        phases = sum(row[name] for name in ("dns", "tcp", "server", "transfer"))
        assert phases == pytest.approx(1000 * row["time_total"], abs=20)
        assert frame.attrs["podtracer"]["units"]["server"] == "ms"
        assert frame.attrs["podtracer"]["notes"] == [] and frame.attrs["podtracer"]["bytes"] < 10_000

    def test_several_urls_are_several_rows_and_one_may_fail(self, web: Way) -> None:
        frame = curl(web, f"{BASE}/", f"http://{SERVER}:1/", f"{BASE}/missing")
        assert frame.http_code.tolist() == [200, 0, 404] and frame.exitcode.tolist() == [0, 7, 0]
        assert "Couldn't connect" in frame.errormsg[1] and pd.isna(frame.tcp[1]) and pd.isna(frame.remote_ip[1])

    def test_tls_has_a_phase_and_an_untrusted_certificate_an_error(self, web: Way) -> None:
        frame = curl(web, "-k", f"https://{SERVER}:{HTTPS}/")
        assert frame.http_code.tolist() == [200] and frame.tls[0] > 0 and frame.ssl_verify_result[0] != 0
        frame = curl(web, f"https://{SERVER}:{HTTPS}/")
        assert frame.exitcode.tolist() == [60]
        assert any("curl ended with exit status 60" in note for note in frame.attrs["podtracer"]["notes"])

    def test_redirections_are_followed_where_that_is_asked(self, web: Way) -> None:
        frame = curl(web, "-L", f"{BASE}/moved", "--next", f"{BASE}/moved")
        assert frame.http_code.tolist() == [200, 302] and frame.num_redirects.tolist() == [1, 0]
        assert frame.url_effective[0] == f"{BASE}/"

    def test_a_body_that_is_wanted_stays_and_is_this_machine_s(self, web: Way, tmp_path: Path) -> None:
        body = tmp_path / "body"
        frame = curl(web, "-so", str(body), f"{BASE}/?size=7")
        assert body.read_bytes() == b"x" * 7 and frame.size_download.tolist() == [7]
        assert frame.attrs["podtracer"]["notes"] == [f"{body} is on the machine that runs curl, not in the target"]

    def test_lines_of_one_s_own_are_lines(self, web: Way) -> None:
        assert curl(web, "-s", "-o", "/dev/null", "-w", "%{http_code}\n", f"{BASE}/").line.tolist() == ["200"]
        assert curl(web, "-s", "-o", "-", f"{BASE}/?size=3").line.tolist() == ["xxx"]
        assert curl(web, "--version").line[0].startswith("curl ")

    def test_a_body_beside_the_table_is_no_part_of_it(self, web: Way) -> None:
        # -O names the one, the other goes to standard output.
        frame = curl(web, "-o", "/dev/null", f"{BASE}/", f"{BASE}/?size=3000")
        assert frame.size_download.tolist() == [6, 3000]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["-O", "http://x/y"], "what -O writes is on the machine that runs curl, in its working directory"),
        (["-T", "up.bin", "http://x/"], "up.bin is read on the machine that runs curl"),
        (["-D", "head.txt", "http://x/"], "head.txt is on the machine that runs curl"),
        (["--output=z.bin", "http://x/"], "z.bin is on the machine that runs curl"),
    ],
)
def test_files_are_this_machine_s(words: list[str], note: str) -> None:
    (said,) = find("curl").command(tuple(words), Options(), False).notes
    assert said.startswith(note)


def read(text: str) -> pd.DataFrame:
    parse = find("curl").command(("x",), Options(), False).parse
    assert parse is not None
    (table, rows), *_ = parse(Text(("x",), text)).tables
    return table.frame(rows)


def test_an_older_and_a_newer_curl() -> None:
    # 7.70 had neither url nor exitcode; 8.x tells more.
    older = {"url_effective": "http://x/", "http_code": 200, "time_namelookup": 0.001, "time_connect": 0.002,
             "time_pretransfer": 0.002, "time_starttransfer": 0.012, "time_total": 0.02}  # fmt: skip
    frame = read(f"\npodtracer {json.dumps(older)}\n")
    assert frame.url.tolist() == ["http://x/"] and frame.exitcode.isna().all()
    assert (frame.dns[0], frame.tcp[0], frame.server[0], frame.transfer[0]) == (1.0, 1.0, 10.0, 8.0)
    newer = {**older, "url": "http://x", "exitcode": 0, "conn_id": 3, "time_queue": 0.0001, "certs": ""}
    frame = read(f"\npodtracer {json.dumps(newer)}\n")
    assert frame.conn_id.tolist() == [3] and frame.time_queue.tolist() == [0.0001] and "certs" not in frame
    assert list(frame.columns)[: len(TRANSFERS.columns)] == [each.name for each in TRANSFERS.columns]


@pytest.mark.parametrize("text", ["\npodtracer \n", "<html>", "\npodtracer {'a': 1}\n"])
def test_a_curl_before_7_70_is_no_table(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)
