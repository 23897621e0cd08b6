"""What may be typed for a pod, and what may not: nothing that is no DNS-1123 name gets any further."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podtracer_nb.errors import InputError
from podtracer_nb.targets.references import check_name, parse_reference, parse_selector


@pytest.mark.parametrize(
    ("text", "kind", "namespace", "name"),
    [
        ("web-0", "pod", None, "web-0"),
        ("web.example-1", "pod", None, "web.example-1"),
        ("shop/web-0", "pod", "shop", "web-0"),
        ("pod/web-0", "pod", None, "web-0"),
        ("deploy/web", "Deployment", None, "web"),
        ("deployments/web", "Deployment", None, "web"),
        ("sts/db", "StatefulSet", None, "db"),
        ("ds/agent", "DaemonSet", None, "agent"),
        ("svc/api", "Service", None, "api"),
        ("shop/svc/api", "Service", "shop", "api"),
        ("web-*", "pod", None, "web-*"),
        ("shop/web-[0-3]", "pod", "shop", "web-[0-3]"),
    ],
)
def test_a_reference_says_kind_namespace_and_name(text: str, kind: str, namespace: str | None, name: str) -> None:
    reference = parse_reference(text)
    assert (reference.kind, reference.namespace, reference.name) == (kind, namespace, name)


@pytest.mark.parametrize(
    "text",
    ["", "-", "--help", "-z", "-z*", "Web", "web_0", "web 0", "web;id", "../x", "a/b/c/d", "x/", "/x", "-n/web",
     "web\n", "web\0", "wéb", "a" * 254, "--*", "svc/-x", "web-"],
)  # fmt: skip
def test_what_is_no_name_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_reference(text)
    assert "\n" not in str(refused.value)


def test_an_option_in_place_of_a_pod_is_named_as_such() -> None:
    with pytest.raises(InputError, match="looks like an option"):
        parse_reference("--help")


@given(st.text(max_size=40))
def test_whatever_passes_for_a_name_cannot_be_taken_for_an_option_or_a_path(text: str) -> None:
    try:
        check_name("pod", text)
    except InputError:
        return
    assert text.isascii() and text[0].isalnum() and "/" not in text and not any(sign.isspace() for sign in text)


LABELS = [{}, {"app": "web"}, {"app": "web", "tier": "front"}, {"app": "api", "example.com/team": "a"}]


@pytest.mark.parametrize(
    ("selector", "fulfilled"),
    [
        ("app=web", [False, True, True, False]),
        ("app==web", [False, True, True, False]),
        ("app!=web", [True, False, False, True]),  # a label that is not there is not web
        ("app in (web,api)", [False, True, True, True]),
        ("app in ( web , api ),tier", [False, False, True, False]),
        ("app notin (web)", [True, False, False, True]),
        ("app", [False, True, True, True]),
        ("!app", [True, False, False, False]),
        ("! app", [True, False, False, False]),
        ("example.com/team=a", [False, False, False, True]),
        ("app=web,tier!=front", [False, True, False, False]),
        ("app=", [False, False, False, False]),
    ],
)
def test_a_selector_chooses_as_kubectl_does(selector: str, fulfilled: list[bool]) -> None:
    clauses = parse_selector(selector)
    assert [all(clause.matches(labels) for clause in clauses) for labels in LABELS] == fulfilled


@pytest.mark.parametrize(
    "text", ["", " ", ",", "a,,b", "a=b c", "--all", "-l", "a in b", "a in (b", "=b", "a=$(id)", "a=-x"]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_selector(text)
