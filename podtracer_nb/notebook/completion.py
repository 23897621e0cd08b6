"""Tab completion of `%podtrace`, wherever it stands in the line: options, commands, pods, namespaces, containers."""

from __future__ import annotations

import contextlib
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from podtracer_nb import options
from podtracer_nb.errors import PodtracerError, PrivilegeError

if TYPE_CHECKING:
    from podtracer_nb.notebook.magics import PodtraceMagics
    from podtracer_nb.targets import Target

__all__ = ["IDENTIFIER", "KnownPods", "PodtraceMatcher"]

IDENTIFIER = "podtracer_nb.podtrace"
"""What IPython knows the matcher by."""

_MAGIC = re.compile(r"(?:^|[\s=(])%%?podtrace[ \t]+(?P<rest>.*)$")
_OWNERS = {"Deployment": "deploy", "StatefulSet": "sts", "DaemonSet": "ds", "Job": "job"}
_POD, _NAMESPACE, _CONTAINER = ("--pod", "--from", "--to"), ("-n", "--namespace"), ("-c", "--container")


class KnownPods:
    """The pods that can be named, remembered for some seconds.

    Asking a cluster may take long, and a keystroke must not wait for it: the question runs in a thread of its own,
    and what comes too late serves the next keystroke.

    Parameters
    ----------
    lifetime
        How long an answer is good, in seconds.
    patience
        How long a keystroke waits for one, in seconds.
    where
        Says which cluster: the `context` and `kubeconfig` of the sticky defaults.
    """

    def __init__(
        self,
        lifetime: float = 5.0,
        patience: float = 1.0,
        where: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._where = where
        self._lifetime = lifetime
        self._patience = patience
        self._lock = threading.Lock()
        self._pods: tuple[Target, ...] = ()
        self._asked: float | None = None
        self._question: threading.Thread | None = None

    def get(self) -> tuple[Target, ...]:
        """Return the pods of every namespace, as far as they are known in time."""
        with self._lock:
            fresh = self._asked is not None and time.monotonic() - self._asked < self._lifetime
            if not fresh and (self._question is None or not self._question.is_alive()):
                self._question = threading.Thread(target=self._ask, name="podtracer-pods", daemon=True)
                self._question.start()
            question = self._question
        if not fresh and question is not None:
            question.join(self._patience)
        with self._lock:
            return self._pods

    def _ask(self) -> None:
        from podtracer_nb import targets  # not needed until a Tab

        words = self._where()
        cluster: Any = {name: words[name] for name in ("context", "kubeconfig") if name in words}
        pods: tuple[Target, ...] = ()
        # Completion is no place for errors: running the line tells them.
        with contextlib.suppress(PodtracerError, OSError):
            try:
                pods = targets.pods(all_namespaces=True, **cluster)
            except PrivilegeError:  # whoever may not list them all may list those of one namespace
                space: Any = words.get("namespace")
                pods = targets.pods(space, **cluster)
        with self._lock:
            self._pods, self._asked = pods, time.monotonic()


class PodtraceMatcher:
    """Completes the words of `%podtrace`.

    Parameters
    ----------
    magics
        The magics, whose sticky defaults count as if they stood in the line.
    pods
        The pods that can be named.
    """

    def __init__(self, magics: PodtraceMagics, pods: KnownPods | None = None) -> None:
        self._magics = magics
        self._pods = pods or KnownPods(where=lambda: _defaults(magics))

        # IPython tells matchers apart by attributes of the function, which a bound method cannot be given.
        @context_matcher(identifier=IDENTIFIER, priority=100)  # type: ignore[untyped-decorator]
        def matcher(context: CompletionContext) -> SimpleMatcherResult:
            return self.match(context.text_until_cursor)

        self.matcher = matcher

    def match(self, text: str) -> SimpleMatcherResult:
        """Return the completions for a line that ends at the cursor."""
        found = _MAGIC.search(text)
        if not found:
            return {"completions": []}
        words, incomplete = _words(found["rest"])
        if words is None:
            return {"completions": []}
        fragment = incomplete
        if "--" not in words and incomplete.startswith("--") and "=" in incomplete:
            option, _, fragment = incomplete.partition("=")
            words = [*words, option]
        texts = self._texts(words, fragment)
        if not texts and words[:1] != ["read"]:
            # A value of the tool's or of ours that we cannot know: Python's own words would be no help.
            return {"completions": [], "suppress": True}
        result: SimpleMatcherResult = {
            "completions": [SimpleCompletion(text=text, type=kind) for text, kind in texts],
            "matched_fragment": fragment,
            "ordered": True,
            "suppress": True,
        }
        if words[:1] == ["read"] and not incomplete.startswith("-"):
            result["do_not_suppress"] = {"IPCompleter.file_matcher"}
        return result

    def _texts(self, words: Sequence[str], fragment: str) -> list[tuple[str, str]]:
        previous = words[-1] if words and "--" not in words else ""
        for option, names in ((_POD, self._pod_names), (_NAMESPACE, self._namespaces), (_CONTAINER, self._containers)):
            if previous in option:
                return [(name, option[-1].strip("-")) for name in names(words) if name.startswith(fragment)]
        return [(each.text, each.kind) for each in options.complete(words, fragment, magic=True)]

    def _pod_names(self, words: Sequence[str]) -> list[str]:
        namespace = self._given(words, _NAMESPACE, "namespace")
        short = [pod for pod in self._pods.get() if namespace in (None, pod.namespace)]
        names = [pod.pod for pod in short]
        names += [f"{pod.namespace}/{pod.pod}" for pod in self._pods.get()]
        for pod in short:
            kind, _, owner = pod.owner.partition("/")
            names += [f"{_OWNERS[kind]}/{owner}"] if kind in _OWNERS else []
            names += [f"svc/{service}" for service in pod.services]
        return list(dict.fromkeys(names))

    def _namespaces(self, _: Sequence[str]) -> list[str]:
        return sorted({pod.namespace for pod in self._pods.get() if pod.namespace})

    def _containers(self, words: Sequence[str]) -> list[str]:
        namespace = self._given(words, _NAMESPACE, "namespace")
        named = self._given(words, _POD, "pod")
        return sorted(
            {
                container
                for pod in self._pods.get()
                if namespace in (None, pod.namespace) and named in (None, pod.pod, f"{pod.namespace}/{pod.pod}")
                for container in pod.containers
            }
        )

    def _given(self, words: Sequence[str], option: tuple[str, ...], default: str) -> str | None:
        """Return an option's value in the line, or the sticky one."""
        for position, word in enumerate(words):
            name, equals, value = word.partition("=")
            if name in option and equals:
                return value
            if word in option and position + 1 < len(words):
                return words[position + 1]
        sticky = _defaults(self._magics).get(default)
        if isinstance(sticky, tuple):
            return str(sticky[0]) if len(sticky) == 1 else None
        return None if sticky is None else str(sticky)


def _defaults(magics: PodtraceMagics) -> Mapping[str, object]:
    return magics.defaults


def _words(text: str) -> tuple[list[str] | None, str]:
    """Return the whole words of an unfinished line and its last, unfinished one; no words inside an open quote."""
    cut = len(text) - len(re.search(r"\S*$", text)[0])  # type: ignore[index]  # \S* matches everywhere
    try:
        return shlex.split(text[:cut]), text[cut:]
    except ValueError:
        return None, ""
