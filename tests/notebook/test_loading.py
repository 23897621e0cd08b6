"""`%load_ext podtracer_nb`: quiet, quick, and gone again with `%unload_ext`."""

from __future__ import annotations

import re
import subprocess
import sys

from podtracer_nb import notebook

BUDGET_SECONDS = 0.3


def registered(shell) -> tuple[bool, bool, int]:
    magics = shell.magics_manager.magics
    matchers = [
        each for each in shell.Completer.custom_matchers if "podtracer" in getattr(each, "matcher_identifier", "")
    ]
    return "podtrace" in magics["line"], "podtrace" in magics["cell"], len(matchers)


def test_it_loads_silently_unloads_and_loads_again(shell, capfd):
    notebook.unload(shell)
    shell.run_line_magic("load_ext", "podtracer_nb")
    assert registered(shell) == (True, True, 1)
    shell.run_line_magic("reload_ext", "podtracer_nb")
    assert registered(shell) == (True, True, 1)
    shell.run_line_magic("unload_ext", "podtracer_nb")
    assert registered(shell) == (False, False, 0)
    assert capfd.readouterr() == ("", "")


def test_unloading_leaves_the_matchers_of_others(shell):
    def other(_):
        return {"completions": []}

    shell.Completer.custom_matchers.append(other)
    notebook.unload(shell)
    assert shell.Completer.custom_matchers == [other]


def test_loading_costs_little_beyond_what_ipython_has_loaded():
    """Counted by the interpreter itself, and pandas' own import left out."""
    code = """if True:
        import sys, time
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell()
        start = time.perf_counter()
        shell.run_line_magic("load_ext", "podtracer_nb")
        print(time.perf_counter() - start, "pandas" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    seconds, with_pandas = done.stdout.split()
    pandas = re.search(r"\|\s*(\d+) \|\s+pandas$", done.stderr, re.MULTILINE)
    own = float(seconds) - (int(pandas[1]) / 1e6 if pandas and with_pandas == "True" else 0.0)
    assert own < BUDGET_SECONDS
