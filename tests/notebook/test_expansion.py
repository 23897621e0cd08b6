"""How a magic's line becomes words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podtracer_nb.errors import InputError
from podtracer_nb.notebook.expansion import expand, split

NAMES = {
    "pod": "web-0",
    "port": 80,
    "spaced": "a b 'c'",
    "ports": [80, 443],
    "by": {"name": "x"},
    "path": Path("/a/b.pcap"),
}


def test_one_layer_of_quotes_comes_off():
    assert split('tcpdump -a "-i eth0 -c 100" --pod web', {}) == ["tcpdump", "-a", "-i eth0 -c 100", "--pod", "web"]


def test_a_value_with_spaces_and_quotes_stays_one_word():
    assert split("grep -- {spaced}", NAMES) == ["grep", "--", "a b 'c'"]


def test_inside_the_one_string_of_a_a_value_stays_one_word_too():
    [*_, arguments] = split('x -a "-w {spaced} port {port}"', NAMES)
    assert shlex.split(arguments) == ["-w", "a b 'c'", "port", "80"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{pod}", "web-0"),
        ("tcp port {port}", "tcp port 80"),
        ("{path.name}", "b.pcap"),
        ("{ports[0]}-{ports[-1]}", "80-443"),
        ("{by[name]}", "x"),
        ("{{pod}}", "{pod}"),
        ("{{{pod}}}", "{web-0}"),
        ('{"pod":{port}}', '{"pod":80}'),
    ],
)
def test_names_attributes_and_keys_expand_as_in_an_f_string(text, expected):
    assert expand(text, NAMES) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": [1, {}]}}',
        "ip[6:2] & 0x1fff = 0 and {1 + 1}",
        "${HOME} ${pod}",
        "{}",
        "{ pod }",
        "a{1,3}b",
        "{print $1}",
        "{pod!r} {port:04d}",
    ],
)
def test_other_braces_stay_as_they_are(text):
    assert expand(text, NAMES) == text


_TEXT = st.text(st.characters(exclude_characters="{}", codec="utf-8"))
_JSON = st.recursive(st.none() | st.integers() | _TEXT, lambda each: st.lists(each) | st.dictionaries(_TEXT, each))


@settings(database=None)
@given(_JSON)
def test_no_json_is_ever_damaged_whatever_is_defined(value):
    text = json.dumps(value, ensure_ascii=False)
    assert expand(text, _Everything()) == text


class _Everything(dict):
    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return "expanded"


@pytest.mark.parametrize("line", ["x {nothing}", "x -- {nothing.at.all}", "x -a '{nothing}'"])
def test_an_undefined_name_is_one_line_that_says_how_to_keep_the_braces(line):
    with pytest.raises(InputError, match=r"no variable 'nothing' here; define it, or write \{\{nothing") as error:
        split(line, NAMES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{ports[9]}", "{by[other]}", "{pod.other}", "{port[0]}"])
def test_a_name_without_that_part_is_one_line(text):
    with pytest.raises(InputError, match="look at"):
        expand(text, NAMES)


def test_an_open_quote_is_one_line():
    with pytest.raises(InputError, match="no closing quotation"):
        split("tcpdump --pod 'web", {})


@pytest.mark.parametrize("value", ["--help", "-A", "--"])
def test_a_value_never_becomes_an_option_of_ours(value):
    with pytest.raises(InputError, match="read as an option"):
        split("tcpdump --pod {name} -- -c 1", {"name": value})


def test_after_the_dashes_a_value_may_be_what_it_likes():
    assert split("ls -- {flag}", {"flag": "-l"}) == ["ls", "--", "-l"]


def test_a_nul_character_is_refused_before_anything_starts():
    with pytest.raises(InputError, match="NUL"):
        expand("{x}", {"x": "a\0b"})


def test_attributes_of_any_object_can_be_read():
    assert expand("{pod.ip}", {"pod": SimpleNamespace(ip="10.0.0.1")}) == "10.0.0.1"
