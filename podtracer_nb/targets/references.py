"""The ways to name pods: ``web-0``, ``shop/web-0``, ``web-*``, ``deploy/web``, ``svc/api`` and label selectors.

What comes in here came from a user or a program, and is checked before anything is started: a value that is no
DNS-1123 name (Kubernetes, "Object Names and IDs") can never become an option of a program that runs later.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from podtracer_nb.errors import InputError

__all__ = ["Reference", "Requirement", "check_name", "parse_reference", "parse_selector"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_GLOB = re.compile(r"[a-z0-9*?\[\]][-a-z0-9.*?!\[\]]{0,252}\Z")
_LONGEST_NAME = 253

_KINDS = {
    **dict.fromkeys(("po", "pod", "pods"), "pod"),
    **dict.fromkeys(("deploy", "deployment", "deployments"), "Deployment"),
    **dict.fromkeys(("sts", "statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("ds", "daemonset", "daemonsets"), "DaemonSet"),
    **dict.fromkeys(("rs", "replicaset", "replicasets"), "ReplicaSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
    **dict.fromkeys(("cj", "cronjob", "cronjobs"), "CronJob"),
    **dict.fromkeys(("svc", "service", "services"), "Service"),
}


def check_name(what: str, value: str, *, dots: bool = True) -> str:
    """Return `value` if it is a DNS-1123 name.

    Parameters
    ----------
    what
        What the value is, for the message: "pod", "namespace", "container".
    value
        The name.
    dots
        Whether dots are allowed (a DNS subdomain), as in the names of pods but not of namespaces.

    Raises
    ------
    InputError
        The value is no such name.

    Examples
    --------
    >>> check_name("pod", "web-0")
    'web-0'
    """
    parts = value.split(".") if dots else [value]
    if len(value) > _LONGEST_NAME or not all(_LABEL.match(part) for part in parts):
        option = " and looks like an option" if value.startswith("-") else ""
        option += " (a notebook's variable is written {name})" if value.startswith("$") else ""
        raise InputError(
            f"{value!r} is no {what} name{option}: use lower-case letters, digits, '-'{' and dots' if dots else ''}, "
            "beginning and ending with a letter or digit"
        )
    return value


@dataclass(frozen=True)
class Reference:
    """One way to name pods, parsed: a kind, a name or glob, and the namespace where one was given."""

    text: str
    kind: str
    name: str
    namespace: str | None = None

    @property
    def glob(self) -> bool:
        """Whether the name is a pattern."""
        return any(sign in self.name for sign in "*?[")

    def matches(self, name: str) -> bool:
        """Tell whether `name` is the one meant, or fits the pattern."""
        return fnmatch.fnmatchcase(name, self.name) if self.glob else name == self.name


def parse_reference(text: str) -> Reference:
    """Parse ``name``, ``ns/name``, ``kind/name`` or ``ns/kind/name``, where name may be a glob.

    Raises
    ------
    InputError
        The text is none of these.

    Examples
    --------
    >>> parse_reference("deploy/web").kind
    'Deployment'
    >>> parse_reference("shop/web-*").namespace
    'shop'
    """
    # `deployments.apps/web`, as kubectl prints it: no namespace has a dot in its name.
    parts = [word.split(".")[0] if word.split(".")[0] in _KINDS else word for word in text.split("/")[:-1]]
    parts.append(text.rsplit("/", maxsplit=1)[-1])
    kind, namespace, name = "pod", None, parts[-1]
    match parts[:-1]:
        case []:
            pass
        case [word] if word in _KINDS:
            kind = _KINDS[word]
        case [word]:
            namespace = word
        case [space, word] if word in _KINDS:
            namespace, kind = space, _KINDS[word]
        case _:
            raise InputError(
                f"{text!r} names no pod: write NAME, NAMESPACE/NAME, deploy/NAME, sts/NAME, ds/NAME, job/NAME "
                "or svc/NAME"
            )
    if namespace is not None:
        check_name("namespace", namespace, dots=False)
    reference = Reference(text, kind, name, namespace)
    if not reference.glob:
        check_name("pod" if kind == "pod" else kind, name)
    elif not _GLOB.match(name):
        raise InputError(f"{name!r} fits no pod's name: use lower-case letters, digits, '-', '.', and * ? [..]")
    return reference


@dataclass(frozen=True)
class Requirement:
    """One clause of a label selector.

    `operator` is "in", "notin", "exists" or "absent"; ``a=b`` is "in" with one value, ``a!=b`` "notin".
    """

    key: str
    operator: Literal["in", "notin", "exists", "absent"]
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels fulfil the clause.

        As in Kubernetes, a label that is not there fulfils "notin".
        """
        match self.operator:
            case "in":
                return labels.get(self.key) in self.values
            case "notin":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
            case "absent":
                return self.key not in labels


# Kubernetes, "Labels and Selectors": [prefix/]name, name and value at most 63 of these characters.
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}"
_VALUE = re.compile(rf"({_NAME})?\Z")
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)\Z")
_EQUALITY = re.compile(rf"(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>\S*)\Z")
_EXISTENCE = re.compile(rf"(?P<absent>!\s*)?(?P<key>{_KEY})\Z")


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector as kubectl takes it; all its clauses must be fulfilled.

    Parameters
    ----------
    text
        Clauses joined by commas: ``a=b``, ``a==b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a``, ``!a``.

    Raises
    ------
    InputError
        The text is no selector.

    Examples
    --------
    >>> [clause.operator for clause in parse_selector("app in (web, api),tier!=cache,!canary")]
    ['in', 'notin', 'absent']
    """
    if not text.strip():
        raise InputError("the label selector is empty: write for instance -l app=web")
    # Commas inside parentheses separate values, not clauses.
    return tuple(_parse_clause(clause.strip(), text) for clause in re.split(r",(?![^()]*\))", text))


def _parse_clause(clause: str, whole: str) -> Requirement:
    if found := _SET.match(clause):
        values = frozenset(value.strip() for value in found["values"].split(","))
        requirement = Requirement(found["key"], "in" if found["operator"] == "in" else "notin", values)
    elif found := _EQUALITY.match(clause):
        operator: Literal["in", "notin"] = "notin" if found["operator"] == "!=" else "in"
        requirement = Requirement(found["key"], operator, frozenset({found["value"]}))
    elif found := _EXISTENCE.match(clause):
        requirement = Requirement(found["key"], "absent" if found["absent"] else "exists")
    else:
        raise InputError(
            f"{clause!r} in the selector {whole!r} is no clause: write a=b, a!=b, 'a in (b,c)', 'a notin (b)', a or !a"
        )
    for value in requirement.values:
        if not _VALUE.match(value):
            raise InputError(
                f"{value!r} in the selector {whole!r} is no label value: at most 63 letters, digits, '-', '_' and '.'"
            )
    return requirement
