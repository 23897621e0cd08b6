"""dig against a DNS server that the test has set up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podtracer_nb
from podtracer_nb.tools.registry import find
from podtracer_nb.tools.table import Parsed, Text, Unreadable
from podtracer_nb.tools.tool import Options
from tests.machine import needs
from tests.tools.way import SERVER, Way, listening

TEXT = 'v=spf1: a #b;c (d "e" \\x'
DNS = (
    "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--local=/#/",
    "--user=root", "--local-ttl=77", "--host-record=web.demo,10.2.0.2,fd02::2", f"--txt-record=t.demo,{TEXT}",
    "--srv-host=_http._tcp.web.demo,web.demo,80", "--cname=alias.demo,web.demo", f"--listen-address={SERVER}",
    "--bind-interfaces",
)  # fmt: skip


@pytest.fixture(scope="module")
def dns(ways: Way) -> Iterator[Way]:
    with ways.server.running(*DNS):
        listening(ways.server, 53, "udp")
        yield ways


def dig(ways: Way, *words: str) -> pd.DataFrame:
    return podtracer_nb.run("dig", [f"@{SERVER}", *words], pid=ways.client.pid)


@needs("netns", "iproute2", "dig", "dnsmasq")
class TestAgainstAServer:
    def test_each_record_is_a_row(self, dns: Way) -> None:
        frame = dig(dns, "alias.demo", "A")
        assert frame.drop(columns="query").to_dict("list") == {
            "section": ["answer"] * 2,
            "name": ["alias.demo.", "web.demo."],
            "ttl": [77, 77],
            "class": ["IN"] * 2,
            "type": ["CNAME", "A"],
            "data": ["web.demo.", "10.2.0.2"],
        }
        facts = frame.attrs["podtracer"]["facts"]
        assert (facts["rcode"], facts["server"], facts["name"], facts["type"]) == (
            "NOERROR", f"{SERVER}#53", "alias.demo.", "A",
        )  # fmt: skip
        assert "qr" in facts["flags"].split() and facts["edns"].startswith("version: 0") and facts["query_time"] >= 0
        assert facts["size"] > 12 and facts["protocol"] == "UDP"

    def test_text_with_all_that_a_zone_file_would_take_for_something_else(self, dns: Way) -> None:
        for more in ((), ("+multiline",)):
            frame = dig(dns, *more, "t.demo", "TXT")
            (data,) = frame.data
            assert data == '"' + TEXT.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def test_several_questions_are_several_messages(self, dns: Way) -> None:
        frame = dig(dns, "web.demo", "AAAA", "nosuch.demo", "A", "_http._tcp.web.demo", "SRV")
        assert frame[frame.section == "answer"].data.tolist() == ["fd02::2", "0 0 80 web.demo."]
        assert set(frame[frame.section == "additional"].data) == {"10.2.0.2", "fd02::2"}
        queries = frame.podtrace.table("queries")
        assert queries.rcode.tolist() == ["NOERROR", "NXDOMAIN", "NOERROR"]
        assert queries.type.tolist() == ["AAAA", "A", "SRV"]
        assert frame["query"].unique().tolist() == [1, 3]
        assert frame.attrs["podtracer"]["facts"] == {"queries": 3, "rcodes": ["NOERROR", "NXDOMAIN", "NOERROR"]}

    def test_a_name_that_nobody_has_is_an_empty_table_and_a_fact(self, dns: Way) -> None:
        frame = dig(dns, "nosuch.demo")
        assert frame.empty and frame.attrs["podtracer"]["facts"]["rcode"] == "NXDOMAIN"

    def test_short_and_its_server(self, dns: Way) -> None:
        assert dig(dns, "+short", "alias.demo").data.tolist() == ["web.demo.", "10.2.0.2"]
        frame = dig(dns, "+short", "+identify", "web.demo")
        assert frame.data.tolist() == ["10.2.0.2"] and frame.attrs["podtracer"]["facts"]["server"] == SERVER

    def test_answers_alone_units_and_the_way_back(self, dns: Way) -> None:
        frame = dig(dns, "+noall", "+answer", "+ttlunits", "alias.demo")
        assert frame.ttl.tolist() == [77, 77] and frame.section.isna().all()
        assert dig(dns, "-x", SERVER).data.tolist() == ["web.demo."]

    def test_over_tcp(self, dns: Way) -> None:
        assert dig(dns, "+tcp", "web.demo").attrs["podtracer"]["facts"]["protocol"] == "TCP"

    def test_nobody_answers(self, dns: Way) -> None:
        frame = podtracer_nb.run("dig", ["@10.1.0.1", "+tries=1", "+time=1", "web.demo"], pid=dns.client.pid)
        assert frame.empty and frame.attrs["podtracer"]["exit_code"] == 9
        assert any("no servers could be reached" in note for note in frame.attrs["podtracer"]["notes"])

    def test_its_own_yaml_and_the_other_programs_are_lines(self, dns: Way) -> None:
        assert "status: NOERROR" in "\n".join(dig(dns, "+yaml", "web.demo").line)
        frame = podtracer_nb.run("nslookup", ["web.demo", SERVER], pid=dns.client.pid)
        assert frame.line.str.contains("10.2.0.2").any()


def parsed(text: str, *arguments: str) -> Parsed:
    parse = find("dig").command(arguments, Options(), False).parse
    assert parse is not None
    return parse(Text(arguments, text))


# BIND 9.11: no protocol after the server; a cookie, an extended error, an SOA over several lines, a key, a transfer.
OLDER = """
; <<>> DiG 9.11.5 <<>> +multiline example.org SOA
;; global options: +cmd
;; Got answer:
;; WARNING: recursion requested but not available
;; ->>HEADER<<- opcode: QUERY, status: SERVFAIL, id: 4660
;; flags: qr rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags: do; udp: 4096
; COOKIE: 0123456789abcdef (good)
; EDE: 22 (No Reachable Authority)
;; QUESTION SECTION:
;example.org.\t\tIN SOA

;; ANSWER SECTION:
example.org.\t\t1h IN SOA ns.example.org. root.example.org. (
\t\t\t\t2024010101 ; serial
\t\t\t\t7200       ; refresh (2 hours)
\t\t\t\t3600       ; retry (1 hour)
\t\t\t\t1209600    ; expire (2 weeks)
\t\t\t\t3600       ; minimum (1 hour)
\t\t\t\t)
example.org.\t\t1d2h3m4s IN TYPE65280 \\# 4 0A000001

;; Query time: 12 msec
;; SERVER: 192.0.2.53#53(192.0.2.53)
;; WHEN: Tue Nov 14 22:13:20 UTC 2023
;; MSG SIZE  rcvd: 120

"""
TRACE = """; <<>> DiG 9.20.0 <<>> +trace example.org
;; global options: +cmd
.\t\t\t518400\tIN\tNS\ta.root-servers.net.
;; Received 239 bytes from 192.0.2.53#53(192.0.2.53) in 4 ms

org.\t\t\t172800\tIN\tNS\ta0.org.afilias-nst.info.
;; Received 450 bytes from 198.41.0.4#53(a.root-servers.net) in 20 ms

"""


def test_an_older_version_with_records_over_several_lines() -> None:
    found = parsed(OLDER, "+multiline", "example.org", "SOA")
    table, rows = found.tables[0]
    frame = table.frame(rows)
    assert frame.data.tolist() == [
        "ns.example.org. root.example.org. 2024010101 7200 3600 1209600 3600", "\\# 4 0A000001",
    ]  # fmt: skip
    assert frame.ttl.tolist() == [3600, 86400 + 2 * 3600 + 3 * 60 + 4]
    assert found.facts["options"] == "COOKIE: 0123456789abcdef (good); EDE: 22 (No Reachable Authority)"
    assert (found.facts["rcode"], found.facts["server"], found.facts["query_time"]) == ("SERVFAIL", "192.0.2.53#53", 12)
    assert found.facts["edns"] == "version: 0, flags: do; udp: 4096" and "protocol" not in found.facts


def test_a_trace_is_a_message_a_step() -> None:
    (answers, rows), (queries, messages) = parsed(TRACE, "+trace", "example.org").tables
    assert answers.frame(rows)["query"].tolist() == [1, 2]
    assert queries.frame(messages).server.tolist() == ["192.0.2.53#53", "198.41.0.4#53"]
    assert queries.frame(messages)["size"].tolist() == [239, 450]


@pytest.mark.parametrize("text", ["web.demo has address 10.0.0.1\n", "something else\n"])
def test_a_changed_form_is_no_table(text: str) -> None:
    with pytest.raises(Unreadable):
        parsed(text)


@settings(deadline=None, database=None, max_examples=100, derandomize=True)
@given(st.sampled_from([OLDER, TRACE]), st.text(st.characters(codec="utf-8"), max_size=30), st.floats(0, 1),
       st.integers(0, 60))  # fmt: skip
def test_whatever_stands_there_it_is_a_table_or_unreadable(text: str, junk: str, where: float, length: int) -> None:
    at = int(where * len(text))
    try:
        for table, rows in parsed(text[:at] + junk + text[at + length :]).tables:
            table.frame(rows)
    except Unreadable:
        pass


def test_the_names_of_programs_are_known_by_their_file() -> None:
    assert find("host").package == "bind9-host" and find("nslookup").prepare is None and os.sep not in find("dig").name
