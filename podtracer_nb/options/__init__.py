"""The one grammar: what both `podtracer …` in a shell and `%podtrace …` in a notebook are parsed with.

A click command tree whose commands do nothing but return a request: a frozen dataclass that says what was asked. The
faces (`cli`, `notebook`) carry it out, each in its own way.

    podtracer run TOOL [options] [-- ARGS…]        %podtrace TOOL [options] [-- ARGS…]

Everything after `--` belongs to the tool.
"""

from podtracer_nb.options.completing import Completion, complete
from podtracer_nb.options.grammar import grammar
from podtracer_nb.options.parsing import parse
from podtracer_nb.options.requests import (
    CapturesRequest,
    ChangesRequest,
    CollectRequest,
    DemoRequest,
    DoctorRequest,
    HelpRequest,
    ImpairRequest,
    PodsRequest,
    ReadRequest,
    Request,
    RunRequest,
    ToolsRequest,
    TracersRequest,
    UseRequest,
    VersionRequest,
)
from podtracer_nb.options.values import NAMESPACE_KINDS
from podtracer_nb.options.wording import unattended_words, words

__all__ = [
    "NAMESPACE_KINDS",
    "CapturesRequest",
    "ChangesRequest",
    "CollectRequest",
    "Completion",
    "DemoRequest",
    "DoctorRequest",
    "HelpRequest",
    "ImpairRequest",
    "PodsRequest",
    "ReadRequest",
    "Request",
    "RunRequest",
    "ToolsRequest",
    "TracersRequest",
    "UseRequest",
    "VersionRequest",
    "complete",
    "grammar",
    "parse",
    "unattended_words",
    "words",
]
