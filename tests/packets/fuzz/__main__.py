"""`python -m tests.packets.fuzz`: let libFuzzer look for captures that break a promise of the reader.

The interpreted dissector and the reader around it are instrumented, so that inputs which reach something new are kept;
each input is read by both builds, which must agree, and may only warn or refuse (see `test_fuzz.check`): with every
layer, decapsulated and resynchronised, and with filter, times, sample and columns as `test_fuzz.drawn` draws them; and
its DNS answers are put together. What breaks that is written to the directory `found`, and belongs into the corpus once
it is mended.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import sys
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.packets.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long [%(default)s]")
    parser.add_argument("--found", default="found", help="where to leave what breaks a promise [%(default)s]")
    chosen = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["podtracer_nb.packets"]):
        from podtracer_nb.packets import schema
    from tests.packets import engines

    # This one is loaded from its file, past the hook that instruments imports.
    for part in vars(engines.engine("interpreted")).values():
        if inspect.isclass(part):
            for name, function in list(vars(part).items()):
                if inspect.isfunction(function):
                    setattr(part, name, atheris.instrument_func(function))
    from podtracer_nb.packets import bpf
    from tests.packets.test_fuzz import answer, check, drawn

    # Each filter is compiled once for a link type, however many of those turn up.
    bpf.program = functools.cache(bpf.program.__wrapped__)

    everything = list(schema.LAYERS)

    def one(data: bytes) -> None:
        check(data, layers=everything)
        check(data, layers=everything, decap=True, resync=True)
        check(data, **drawn(data))
        answer(data)

    growing = Path(chosen.found, "corpus")
    growing.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={chosen.minutes * 60:.0f}", "-timeout=60", "-max_len=4096", "-print_final_stats=1"]
    options += [f"-artifact_prefix={chosen.found}/"]
    atheris.Setup([sys.argv[0], *options, str(growing), str(CORPUS)], one)
    atheris.Fuzz()  # which ends the process


if __name__ == "__main__":
    main()
