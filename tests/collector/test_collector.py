"""The collector as a process: whole captures from many senders, ours and the original's, whatever breaks."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import podtracer_nb
from podtracer_nb.collector import ClientTrust, Sender, wire
from podtracer_nb.errors import CaptureError, ExecutionError
from tests.machine import needs
from tests.targets.namespaces import until

MIB = 1 << 20


def capture(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces(data: bytes, size: int = 1 << 18) -> Callable[[int], Iterator[bytes]]:
    def chunks(at: int) -> Iterator[bytes]:
        for start in range(at, len(data), size):
            yield data[start : start + size]

    return chunks


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def received(folder: Path) -> list[bytes]:
    return [Path(path).read_bytes() for path in podtracer_nb.collected(folder).captures.path]


def states(folder: Path) -> list[str]:
    return podtracer_nb.collected(folder).captures.state.tolist()


def test_a_capture_arrives_whole_and_is_verified(collector, tmp_path: Path) -> None:
    running = collector("--insecure", "--dir", tmp_path / "in")
    data = capture(5 * MIB + 17)
    sent = Sender("127.0.0.1", running.port, "shop/web").send(pieces(data), lambda: digest(data))
    assert (sent.bytes, sent.sha256, sent.connections) == (len(data), digest(data), 1)
    assert received(tmp_path / "in") == [data]
    row = podtracer_nb.collected(tmp_path / "in").captures.iloc[0]
    assert (row["name"], row["state"], row["bytes"], row["sha256"]) == ("shop/web", "complete", len(data), digest(data))


def test_pods_of_one_name_are_never_mixed(collector, tmp_path: Path) -> None:
    running = collector("--insecure", "--dir", tmp_path / "in")
    captures = [capture(MIB, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: Sender("127.0.0.1", running.port, "web").send(pieces(data, 10_000)), captures))
    assert sorted(received(tmp_path / "in")) == sorted(captures)
    assert list(podtracer_nb.collected(tmp_path / "in"))[:3] == ["web", "web #2", "web #3"]


def test_a_connection_that_is_cut_goes_on_where_it_was(collector, cut, tmp_path: Path) -> None:
    running = collector("--insecure", "--dir", tmp_path / "in")
    relay = cut(running.port, 1_500_000, 700_000)
    data = capture(4 * MIB)
    sent = Sender("127.0.0.1", relay.port, "web").send(pieces(data), lambda: digest(data))
    assert (sent.sha256, sent.connections) == (digest(data), 3)
    assert received(tmp_path / "in") == [data]
    assert states(tmp_path / "in") == ["complete"]


def test_a_collector_that_is_killed_and_started_again_has_it_whole(collector, tmp_path: Path) -> None:
    running = collector("--insecure", "--dir", tmp_path / "in")
    data = capture(3 * MIB)
    killed = threading.Event()

    def chunks(at: int) -> Iterator[bytes]:
        for start in range(at, len(data), 1 << 18):
            if start >= MIB and not killed.is_set():
                until(lambda: any(len(each) >= 1 << 19 for each in received(tmp_path / "in")))
                running.end(kill=True)
                killed.set()
                running.start(running.port)
            yield data[start : start + (1 << 18)]

    sent = Sender("127.0.0.1", running.port, "web").send(chunks, lambda: digest(data))
    assert sent.connections > 1
    assert received(tmp_path / "in") == [data]


def test_a_sender_that_is_killed_leaves_what_came_and_says_so(collector, tmp_path: Path) -> None:
    running = collector("--insecure", "--dir", tmp_path / "in")
    program = (
        "import sys, time\nfrom podtracer_nb.collector import Sender\n"
        "def chunks(at):\n    yield b'x' * 100_000\n    print('sent', flush=True)\n    time.sleep(600)\n"
        f"Sender('127.0.0.1', {running.port}, 'web').send(chunks)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None and sender.stdout.readline() == b"sent\n"
        until(lambda: received(tmp_path / "in") == [b"x" * 100_000])
        sender.send_signal(signal.SIGKILL)
    until(lambda: states(tmp_path / "in") == ["incomplete"])
    assert received(tmp_path / "in") == [b"x" * 100_000]


class TestTheOriginalsPeers:
    """They do what snoopy-operator's endpoint/server and the original's streamer do: see `collector.wire`."""

    def client(self, port: int, name: str, data: list[bytes]) -> list[str]:
        """Open a stream for each piece, on one connection, as the original's Streamer.Write does."""
        pod_data, response = wire.messages()
        answers = []
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            export = channel.stream_stream(
                "/protobuf.DataEndpoint/ExportPodData",
                request_serializer=pod_data.SerializeToString,
                response_deserializer=response.FromString,
            )
            for piece in data:
                answers += [each.message for each in export(iter([pod_data(name=name, data=piece)]))]
        return answers

    def test_its_pieces_make_one_capture_a_connection(self, collector, tmp_path: Path) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in")
        assert self.client(running.port, "podtest", [b"one", b"two"]) == ["Received data for pod podtest"] * 2
        self.client(running.port, "podtest", [b"three"])
        assert received(tmp_path / "in") == [b"onetwo", b"three"], "both called podtest, and not mixed"
        assert states(tmp_path / "in") == ["complete"] * 2

    def test_its_server_takes_what_we_send(self) -> None:
        kept = bytearray()
        pod_data, response = wire.messages()

        def export(requests: Any, context: Any) -> Any:
            for pod in requests:
                yield response(message="Received data for pod " + pod.name)
                kept.extend(pod.data)

        handler = grpc.stream_stream_rpc_method_handler(
            export, request_deserializer=pod_data.FromString, response_serializer=response.SerializeToString
        )
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("protobuf.DataEndpoint", {"ExportPodData": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        data = capture(2 * MIB)
        sent = Sender("127.0.0.1", port, "shop/web").send(pieces(data), lambda: digest(data))
        server.stop(None).wait()
        assert (bytes(kept), sent.sha256) == (data, "")


class TestTrust:
    def started(self, collector, authority, tmp_path: Path) -> tuple[Any, ClientTrust]:
        certificate, key = authority.pair("server")
        token = tmp_path / "token"
        token.write_text("let-me-in\n", encoding="ascii")
        running = collector(
            "--dir", tmp_path / "in", "--tls-cert", certificate, "--tls-key", key, "--client-ca", authority.path,
            "--token-file", token,
        )  # fmt: skip
        own, secret = authority.pair("client")
        trust = ClientTrust(str(authority.path), str(own), str(secret), str(token), server_name="collector.test")
        return running, trust

    def send(self, running: Any, trust: ClientTrust | None, patience: float = 60) -> None:
        Sender("127.0.0.1", running.port, "shop/web", trust, patience=patience).send(pieces(b"hello"))

    def test_who_has_certificate_and_token_may_send(self, collector, authority, tmp_path: Path) -> None:
        running, trust = self.started(collector, authority, tmp_path)
        self.send(running, trust)
        assert received(tmp_path / "in") == [b"hello"]

    def test_a_wrong_token_is_refused_at_once_and_in_one_line(self, collector, authority, tmp_path: Path) -> None:
        running, trust = self.started(collector, authority, tmp_path)
        wrong = tmp_path / "wrong"
        wrong.write_text("guess", encoding="ascii")
        with pytest.raises(ExecutionError, match="refuses us: the token is missing or wrong"):
            self.send(running, ClientTrust(trust.ca, trust.certificate, trust.key, str(wrong), trust.server_name))
        with pytest.raises(ExecutionError, match="refuses us"):
            self.send(running, ClientTrust(trust.ca, trust.certificate, trust.key, None, trust.server_name))
        assert received(tmp_path / "in") == []

    def test_a_certificate_of_another_authority_is_refused(self, collector, authority, tmp_path: Path) -> None:
        running, trust = self.started(collector, authority, tmp_path)
        (tmp_path / "other").mkdir()
        own, secret = type(authority)(tmp_path / "other", "other").pair("client")
        stranger = ClientTrust(trust.ca, str(own), str(secret), trust.token_file, trust.server_name)
        with pytest.raises(ExecutionError, match="cannot be reached"):
            self.send(running, stranger, patience=0.5)

    def test_without_encryption_nothing_is_taken(self, collector, authority, tmp_path: Path) -> None:
        running, _ = self.started(collector, authority, tmp_path)
        with pytest.raises(ExecutionError, match="cannot be reached"):
            self.send(running, None, patience=0.5)

    def test_it_is_on_unless_it_is_refused(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "podtracer_nb.cli", "collect", "--dir", tmp_path],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "--tls-cert is missing; --insecure lets anybody in" in done.stderr


class TestBadInput:
    @pytest.mark.parametrize("name", ["../etc/passwd", "shop/../../x", "", "/etc/passwd", "a/b/c", "x\n", "a" * 600])
    def test_a_name_that_is_none_is_refused(self, collector, tmp_path: Path, name: str) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in")
        with pytest.raises(ExecutionError, match="no pod's name"):
            Sender("127.0.0.1", running.port, name).send(pieces(b"x"))
        assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == []

    def test_what_is_no_message_ends_that_stream_only(self, collector, tmp_path: Path) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in")
        with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            export = channel.stream_stream(f"/{wire.SERVICE}/{wire.METHOD}")
            with pytest.raises(grpc.RpcError):
                list(export(iter([b"\xff\xff\xff"])))
        Sender("127.0.0.1", running.port, "web").send(pieces(b"fine"))
        assert received(tmp_path / "in") == [b"fine"]

    def test_a_session_of_another_pod_is_not_gone_on_with(self, collector, tmp_path: Path) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in")
        one, other = (Sender("127.0.0.1", running.port, name) for name in ("web", "api"))
        one.send(pieces(b"x"))
        other.session = one.session
        with pytest.raises(ExecutionError, match="a capture of another pod"):
            other.send(pieces(b"y"))

    def test_nobody_there_is_one_line_after_the_patience(self) -> None:
        with pytest.raises(ExecutionError, match="cannot be reached"):
            Sender("127.0.0.1", 9, "web", patience=0.3).send(pieces(b"x"))

    def test_a_directory_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(CaptureError, match="no directory of a collector"):
            podtracer_nb.collected(tmp_path / "nowhere")


class TestLimits:
    def test_a_capture_beyond_its_limit_is_refused_and_what_came_is_kept(self, collector, tmp_path: Path) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in", "--max-bytes", "1MiB")
        with pytest.raises(ExecutionError, match="has no room: a capture may have 1048576 bytes"):
            Sender("127.0.0.1", running.port, "web").send(pieces(capture(2 * MIB)))
        assert received(tmp_path / "in") == [capture(2 * MIB)[:MIB]]
        assert states(tmp_path / "in") == ["incomplete"]

    def test_the_oldest_make_room_where_that_is_asked_for(self, collector, tmp_path: Path) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in", "--max-total", "2MiB", "--rotate")
        captures = [capture(MIB, seed) for seed in range(4)]
        for data in captures:
            Sender("127.0.0.1", running.port, "web").send(pieces(data))
        assert received(tmp_path / "in") == captures[2:]

    @needs("netns")
    @pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own is root's to mount")
    def test_a_full_disk_is_told_and_what_had_room_is_kept(self, collector, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
        try:
            running = collector("--insecure", "--dir", small)
            with pytest.raises(ExecutionError, match="disk is full"):
                Sender("127.0.0.1", running.port, "web").send(pieces(capture(2 * MIB), 100_000))
            [kept] = received(small)
            assert kept == capture(2 * MIB)[: len(kept)]
            assert len(kept) >= 800_000
            running.end()
        finally:
            subprocess.run(["umount", small], check=True)

    def test_metrics_tell_what_came(self, collector, tmp_path: Path, unused_port: int) -> None:
        running = collector("--insecure", "--dir", tmp_path / "in", "--metrics-port", unused_port)
        Sender("127.0.0.1", running.port, "web").send(pieces(b"x" * 1000))
        with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert "podtracer_collector_bytes_total 1000.0" in text
        assert 'podtracer_collector_streams_total{outcome="complete"} 1.0' in text


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@needs("netns", "tcpdump", "ping")
def test_the_original_command_line_sends_a_capture_that_collected_gives_as_a_frame(collector, tmp_path: Path) -> None:
    from tests.targets.namespaces import holder

    running = collector("--insecure", "--dir", tmp_path / "in")
    with holder("net") as inside:
        words = ["run", "tcpdump", "-a", "-i lo -U -c 4 -w -", "--pid", str(inside.pid)]
        words += ["-t", "2m", "-d", "127.0.0.1", "-p", str(running.port)]
        with subprocess.Popen(
            [sys.executable, "-m", "podtracer_nb.cli", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sender:
            podtracer_nb.run("ping", ["-c", "20", "-i", "0.2", "127.0.0.1"], pid=inside.pid, timer=15)
            out, said = sender.communicate(timeout=60)
    assert (sender.returncode, out) == (0, ""), said
    assert "sent to 127.0.0.1" in said and "unencrypted, verified" in said
    found = podtracer_nb.collected(tmp_path / "in")
    [name] = found
    assert found[name].proto.tolist() == ["ICMP"] * 4


@needs("netns", "tcpdump", "ping")
def test_a_collector_that_is_not_there_is_told_of_and_waited_for(collector, tmp_path: Path) -> None:
    from tests.targets.namespaces import holder

    running = collector("--insecure", "--dir", tmp_path / "in")
    running.end()
    with holder("net") as inside:
        words = ["run", "tcpdump", "-a", "-i lo -U -c 4 -w -", "--pid", str(inside.pid)]
        words += ["-t", "2m", "-d", "127.0.0.1", "-p", str(running.port)]
        with subprocess.Popen(
            [sys.executable, "-m", "podtracer_nb.cli", *words], stderr=subprocess.PIPE, text=True
        ) as sender:
            assert sender.stderr is not None
            first = next(line for line in sender.stderr if "collector" in line)
            assert f"127.0.0.1:{running.port} cannot be reached" in first and "trying again" in first
            running.start(running.port)
            podtracer_nb.run("ping", ["-c", "20", "-i", "0.2", "127.0.0.1"], pid=inside.pid, timer=15)
            _, said = sender.communicate(timeout=60)
    assert sender.returncode == 0 and "verified" in said and "trying again" not in said
    assert len(received(tmp_path / "in")) == 1
