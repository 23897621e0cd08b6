"""The grammar of `podtracer read` and `%podtrace read`."""

from __future__ import annotations

import pytest

from podtracer_nb import options
from podtracer_nb.errors import InputError


def test_its_words_are_the_keywords_of_read_pcap_and_to_parquet() -> None:
    words = [
        "read",
        "x.pcap",
        "--count",
        "5",
        "--filter",
        "tcp port 80",
        "--start",
        "2026-01-31 12:00",
        "--sample",
        "10",
    ]
    words += ["--columns", "time, src", "--layers", "tls", "--decap", "--resync", "--to", "out", "--overwrite"]
    request = options.parse(words)
    assert isinstance(request, options.ReadRequest)
    assert (request.path, request.to, request.overwrite) == ("x.pcap", "out", True)
    assert request.keywords() == {
        "count": 5,
        "columns": ("time", "src"),
        "layers": ("tls",),
        "decap": True,
        "resync": True,
        "filter": "tcp port 80",
        "start": "2026-01-31 12:00",
        "stop": None,
        "sample": 10,
        "seed": 0,
    }


@pytest.mark.parametrize(("text", "sample"), [("1", 1), ("10", 10), ("0.1", 0.1), (".25", 0.25)])
def test_a_sample_is_a_whole_number_or_a_fraction(text: str, sample: float) -> None:
    request = options.parse(["read", "x.pcap", "--sample", text])
    assert isinstance(request, options.ReadRequest)
    assert (request.sample, type(request.sample)) == (sample, type(sample))


@pytest.mark.parametrize(
    "words", [["--sample", "0"], ["--sample", "1e3"], ["--overwrite"], ["--to", "out", "-o", "df"], ["--columns", ","]]
)
def test_what_does_not_fit_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError):
        options.parse(["read", "x.pcap", *words])
