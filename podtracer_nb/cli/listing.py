"""What there is here: the pods, the tools, this version, and what `podtracer doctor` finds."""

from __future__ import annotations

from podtracer_nb import options
from podtracer_nb.cli.saying import FAILED, say

__all__ = ["doctor", "pods", "tools", "version"]


def pods(request: options.PodsRequest) -> None:
    """Print the pods that can be named; where there are none, say what shows some."""
    from podtracer_nb import tools

    listed = tools.pods(**request.keywords())
    if listed.empty and request.selector is not None:
        say(f"no pods with labels {request.selector} here; --show-labels shows what labels pods have")
    elif listed.empty:
        from podtracer_nb.targets.kubeconfig import not_there

        say(f"no pods here; -A looks in all namespaces, `podtracer demo up` starts the demo's{not_there()}")
    else:
        hidden = [] if request.show_labels else ["labels"]
        print(listed.drop(columns=hidden).to_string(index=False))


def tools() -> None:
    """Print the tools whose results become tables."""
    from podtracer_nb.tools import list_tools

    print(list_tools().drop(columns=["path", "gives"]).to_string(index=False, na_rep="-"))


def version() -> None:
    """Print the version, and which build of the dissector is in use."""
    from importlib.metadata import version as version_of

    from podtracer_nb import packets

    build = "compiled" if packets.compiled else "interpreted: slow; install a C compiler and podtracer-nb again"
    print(f"podtracer {version_of('podtracer-nb')} (dissector {build})")


def doctor(request: options.DoctorRequest) -> int:
    """Print each finding as it is made; the exit status tells whether anything is missing."""
    from podtracer_nb.tools.diagnosis import checks

    missing = 0
    for each in checks(**request.keywords()):
        mark = {"ok": "ok      ", "missing": "MISSING ", "optional": "limited "}[each.state]
        print(f"{mark} {each.subject}: {each.finding}")
        if each.state != "ok":
            print(f"{' ' * 9} prevents: {each.prevents}")
            print(f"{' ' * 9} mended by: {each.remedy}", flush=True)
        missing += each.state == "missing"
    return FAILED if missing else 0
