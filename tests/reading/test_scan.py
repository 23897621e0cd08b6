"""Captures and Parquet as a Dask DataFrame: the same columns, the same answers, a partition at a time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import CaptureError, InputError, PackageMissing
from podtracer_nb.packets import parquet
from tests.machine import needs
from tests.packets.captures import SEEDS, capture

PACKETS = SEEDS["EN10MB"][1]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"ring.pcap{number}" for number in range(3)]
    for number, file in enumerate(found):
        file.write_bytes(capture(PACKETS[number * 8 : number * 8 + 8]))
    return found


@pytest.fixture
def folder(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parquet, "ROW_GROUP", 5)
    monkeypatch.setattr(parquet, "PART", 10)
    podtracer_nb.to_parquet(list(files), tmp_path / "out", progress=False)
    return tmp_path / "out"


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in ("a", "a_port", "b", "b_port", "proto") if name in frame.columns]
    texts = frame.astype({name: "str" for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)})
    return texts.sort_values(columns).reset_index(drop=True) if columns else texts


def test_a_pattern_a_list_and_a_folder_have_the_columns_and_rows_of_the_frame(files: list[Path], folder: Path) -> None:
    whole = podtracer_nb.read_pcap(list(files))
    for source in (str(files[0].with_name("ring.pcap*")), list(files), folder):
        scanned = podtracer_nb.scan(source)
        assert list(scanned.columns) == list(whole.columns)
        assert scanned.npartitions == 3
        found = scanned.compute()
        kinds = {name: str(dtype) for name, dtype in whole.dtypes.items()}
        assert {name: str(dtype) for name, dtype in found.dtypes.items()} == kinds
        pd.testing.assert_frame_equal(
            found.reset_index(drop=True).drop(columns="offset").astype(object),
            whole.reset_index(drop=True).drop(columns="offset").astype(object),
        )


def test_its_answers_are_those_of_the_frame(files: list[Path], folder: Path) -> None:
    whole = podtracer_nb.read_pcap(list(files))
    scanned = podtracer_nb.scan(folder)
    pd.testing.assert_frame_equal(
        plain(scanned.podtrace.conversations()), plain(whole.podtrace.conversations()), check_names=False
    )
    for every in ("1s", "7s"):
        pd.testing.assert_frame_equal(scanned.podtrace.rate(every), whole.podtrace.rate(every), check_freq=False)
    assert [each["capture"]["packets"] for each in scanned.podtrace.meta()]


def test_packets_are_at_hand_after_filtering(files: list[Path], folder: Path) -> None:
    scanned = podtracer_nb.scan(folder)
    kept = scanned[scanned["length"] > 60]
    whole = podtracer_nb.read_pcap(list(files))
    for number in (int(whole.index[whole["length"] > 60][0]), int(whole.index[whole["length"] > 60][-1])):
        assert kept.podtrace.raw(number) == PACKETS[number - 1]
        assert bytes(kept.podtrace.packet(number)) == PACKETS[number - 1]
    with pytest.raises(InputError, match="no frame 999"):
        kept.podtrace.raw(999)
    each = podtracer_nb.scan(list(files))
    with pytest.raises(InputError, match="several captures"):
        each.podtrace.raw(1)
    assert each.podtrace.raw(1, path=str(files[2])) == PACKETS[16]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_that_are_other_processes_need_nothing_but_the_files(files: list[Path]) -> None:
    scanned = podtracer_nb.scan(list(files), columns=["length", "src"])
    found = scanned.compute(scheduler="processes", num_workers=2)
    assert found["length"].tolist() == [len(packet) for packet in PACKETS[:24]]


@needs("tcpdump")
def test_packets_are_chosen_as_they_are_by_read_pcap(files: list[Path]) -> None:
    whole = podtracer_nb.read_pcap(list(files), filter="udp", sample=2)
    scanned = podtracer_nb.scan(list(files), filter="udp", columns=["time", "proto"])
    assert list(scanned.columns) == ["time", "proto"]
    assert len(scanned) >= len(whole) > 0
    assert set(scanned["proto"].compute()) == {"UDP"}


def test_what_cannot_be_scanned_is_one_line(files: list[Path], folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("text" * 50)
    (tmp_path / "nothing").mkdir()
    for source, error, keywords in (
        (tmp_path / "none.pcap", InputError, {}),
        (str(tmp_path / "none*"), InputError, {}),
        ([], InputError, {}),
        (7, InputError, {}),
        (tmp_path / "nothing", InputError, {}),
        ([folder, files[0]], InputError, {}),
        (folder, InputError, {"filter": "tcp"}),
        (folder, InputError, {"columns": ["nope"]}),
        (files[0], InputError, {"columns": ["nope"]}),
        (files[0], InputError, {"sample": 0}),
        (text, CaptureError, {}),
    ):
        with pytest.raises(error) as caught:
            podtracer_nb.scan(source, **keywords)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named_with_its_extra(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    with pytest.raises(PackageMissing, match=r"podtracer-nb\[large\]"):
        podtracer_nb.scan(list(files))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PackageMissing, match=r"podtracer-nb\[large\]"):
        podtracer_nb.to_parquet(files[0], "out")
