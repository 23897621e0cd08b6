"""What is truly on the wire, as tcpdump inside the pods sees it."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from podtracer_nb import demo
from tests.demo.machine_state import inside, see
from tests.machine import needs

pytestmark = [needs("netns", "dnsmasq", "ping", "iproute2", "tcpdump"), pytest.mark.usefixtures("running")]


def test_web_is_asked_over_ipv4_and_ipv6_on_port_80_and_answers() -> None:
    addressed = ["> 10.88.0.10.80:", "> fd00:88::10.80:"]
    see("web", [*addressed, "GET /fast HTTP/1.1", "HTTP/1.1 200 OK", "HTTP/1.1 500", "HTTP/1.1 404"], "-A")


def test_web_asks_the_api_by_name() -> None:
    see("web", ["A? api.demo.svc.cluster.local.", "AAAA fd00:88::11"], "udp", "port", "53")
    see("api", ["GET /orders HTTP/1.1", "HTTP/1.1 200 OK"], "-A", "tcp", "port", "8080")


def test_the_client_asks_dns_for_both_families_and_for_a_name_that_nobody_has() -> None:
    found = ["A? web.demo.svc.cluster.local.", "AAAA? web.demo.svc.cluster.local.", "A 10.88.0.10"]
    missing = ["billing.demo.svc.cluster.local.", "billing.svc.cluster.local.", "NXDomain"]
    see("client", [*found, *missing], "udp", "port", "53")


def test_the_client_pings_now_and_then() -> None:
    see("client", ["ICMP echo reply", "ICMP6, echo reply"], "icmp", "or", "icmp6")


def test_the_bad_link_drops_about_two_percent_and_the_kernels_counter_tells() -> None:
    before = demo.status().link
    answer = inside("client", ["ping", "-q", "-c", "600", "-i", "0.002", "-W", "1", "10.88.0.11"])
    lost = re.search(r"([\d.]+)% packet loss", answer.stdout)
    assert lost is not None, answer.stderr
    # Each way two of a hundred: four are expected of a hundred echoes; none at all of 600 once in 10^10 runs.
    assert 0 < float(lost[1]) < 12
    after = demo.status().link
    assert before is not None and after is not None
    assert after.dropped > before.dropped


def test_the_other_links_lose_nothing() -> None:
    answer = inside("client", ["ping", "-q", "-c", "200", "-i", "0.002", "-W", "1", "fd00:88::10"])
    assert " 0% packet loss" in answer.stdout, answer.stdout + answer.stderr


def test_a_pod_sees_itself_as_a_container_does() -> None:
    everything = ("net", "uts", "ipc", "pid", "mnt")
    assert inside("web", ["hostname"], everything).stdout == "web\n"
    # Its server is process 1; the only others are the program that looks.
    look = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done"
    seen = inside("web", ["sh", "-c", look], everything).stdout
    programs = [line for line in seen.splitlines() if line.strip()]
    assert "http_servers.py web 80" in programs[0]
    assert not any("dnsmasq" in line or "keeper.py" in line for line in programs)
    resolver = inside("web", ["cat", "/etc/resolv.conf"], everything).stdout
    assert "search demo.svc.cluster.local" in resolver and "nameserver 10.88.0.53" in resolver
    assert "web.demo.svc.cluster.local" in inside("web", ["cat", "/etc/hosts"], everything).stdout


def test_the_machine_itself_keeps_its_name_and_its_resolver() -> None:
    assert socket.gethostname() not in ("web", "demo-node")
    assert "demo.svc.cluster.local" not in Path("/etc/resolv.conf").read_text()


def test_the_demo_is_cheap(running: demo.DemoStatus) -> None:
    pids = [running.keeper, *(pod.pid for pod in running.pods)]
    ticks = os.sysconf("SC_CLK_TCK")

    def used() -> tuple[float, float]:
        total = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])  # own and waited-for children's, user and system
        return float(Path("/proc/uptime").read_text().split()[0]), total / ticks

    since, before = used()
    see("client", ["/slow", "/fail"], "-A", "tcp", "port", "80")
    now, after = used()
    assert (after - before) / (now - since) < 0.10  # about 0.02 on an idle core; a busy machine's ticks are coarse
