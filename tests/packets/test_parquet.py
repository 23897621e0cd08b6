"""Captures to Parquet and back: the same table, whole parts whatever happens, constant memory."""

from __future__ import annotations

import gzip
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6

from podtracer_nb import packets
from podtracer_nb.packets import parquet
from podtracer_nb.reading import read_parquet
from tests.packets.captures import ETHER, SEEDS, capture, enhanced, header, interface, pcapng, record, section

pytestmark = pytest.mark.usefixtures("engine")

PACKETS = SEEDS["EN10MB"][1]
WHOLE = capture(PACKETS)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare two frames: values, dtypes, index, attrs, and the values of categories, in whatever order."""
    assert found.attrs == expected.attrs
    pd.testing.assert_frame_equal(found, expected, check_index_type="equiv", check_categorical=False)
    for name in expected.columns:
        if isinstance(expected[name].dtype, pd.CategoricalDtype):
            assert set(found[name].cat.categories) == set(expected[name].cat.categories), name
            assert found[name].cat.categories.dtype == expected[name].cat.categories.dtype, name


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let row groups have 7 rows and parts 14."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    monkeypatch.setattr(parquet, "PART", 14)


class Pieces:
    """A stream that gives prepared pieces, and raises those that are errors."""

    def __init__(self, pieces: list[Any]) -> None:
        self._pieces = pieces

    def readinto(self, buffer: memoryview) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        given = min(len(buffer), len(piece))
        buffer[:given] = piece[:given]
        if given < len(piece):
            self._pieces.insert(0, piece[given:])
        return given


# --------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("layers", [[], ["tunnel", "tls", "http", "quic", "transport", "label"]])
def test_what_is_read_back_is_the_frame(tmp_path: Path, small: None, layers: list[str]) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    written = parquet.write(path, tmp_path / "out", layers=layers)
    expected = packets.read(path, layers=layers)
    same(read_parquet(tmp_path / "out"), expected)
    assert (written.packets, written.bytes, written.interrupted) == (len(PACKETS), len(WHOLE), False)
    rows = [len(read_parquet(part)) for part in written.parts]
    assert [part.name for part in written.parts] == [f"part-{n:06}.parquet" for n in range(1, len(rows) + 1)]
    # Wider rows are fewer in a group, so that groups take the same memory.
    assert (rows == [14, 11]) if not layers else (max(rows) < 14)


def test_pandas_own_reader_has_the_values_dtypes_and_attrs(tmp_path: Path, small: None) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    parquet.write(path, tmp_path / "out")
    expected = packets.read(path)
    found = pd.read_parquet(tmp_path / "out")
    assert found.attrs == expected.attrs
    plain = [name for name in expected.columns if not isinstance(expected[name].dtype, pd.CategoricalDtype)]
    pd.testing.assert_frame_equal(found[plain], expected[plain], check_index_type="equiv")
    pd.testing.assert_frame_equal(found.astype(object), expected.astype(object), check_index_type="equiv")
    assert (found["src"] == found["dst"]).tolist() == (expected["src"] == expected["dst"]).tolist()


@pytest.mark.parametrize("name", SEEDS)
def test_every_link_type_comes_back(tmp_path: Path, name: str) -> None:
    linktype, seeds = SEEDS[name]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(seeds, linktype))
    parquet.write(path, tmp_path / "out")
    same(read_parquet(tmp_path / "out"), packets.read(path))


def test_decapsulated_chosen_columns_and_comments_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(
        section() + interface() + enhanced(PACKETS[2], options=[(1, b"a"), (1, b"b")]) + enhanced(PACKETS[3])
    )
    for number, keywords in enumerate([{}, {"decap": True}, {"columns": ["time", "src", "tcp_seq", "comment"]}]):
        parquet.write(path, tmp_path / str(number), **keywords)
        same(read_parquet(tmp_path / str(number)), packets.read(path, **keywords))


def test_a_pcapng_without_comments_has_a_column_for_them(tmp_path: Path) -> None:
    parquet.write(pcapng(PACKETS), tmp_path / "out")
    found = read_parquet(tmp_path / "out")
    assert found.pop("comment").isna().all()
    same(found, packets.read(pcapng(PACKETS)))


def test_a_selection_keeps_numbers(tmp_path: Path, small: None) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    parquet.write(path, tmp_path / "out", sample=2, start="2000-01-01")
    same(read_parquet(tmp_path / "out"), packets.read(path, sample=2, start="2000-01-01"))


def test_several_files_and_compressed_ones_find_their_bytes_again(tmp_path: Path, small: None) -> None:
    paths = [tmp_path / "a.pcap.gz", tmp_path / "b.pcap"]
    paths[0].write_bytes(gzip.compress(capture(PACKETS[:9])))
    paths[1].write_bytes(capture(PACKETS[9:]))
    parquet.write(list(paths), tmp_path / "out")
    found = read_parquet(tmp_path / "out")
    same(found, packets.read(list(paths)))
    shuffled = found.sample(frac=1.0, random_state=1)
    for number in shuffled.index:
        assert packets.raw(*packets.locate(shuffled, number)) == PACKETS[number - 1]


def test_an_empty_capture_is_an_empty_table(tmp_path: Path) -> None:
    written = parquet.write(header(), tmp_path / "out")
    assert (written.packets, written.parts) == (0, ())
    same(read_parquet(tmp_path / "out"), packets.read(header()))


def test_more_addresses_than_rows_come_back_and_the_tables_begin_again(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_RENEW", 20)
    monkeypatch.setattr(parquet, "ROW_GROUP", 3)
    many = [
        PACKETS[2][:26] + bytes([10, 1, *divmod(n, 256)]) + bytes([10, 2, n % 256, n // 256]) + PACKETS[2][34:]
        for n in range(2500)
    ]
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(many))
    parquet.write(path, tmp_path / "out")
    expected = packets.read(path)
    found = read_parquet(tmp_path / "out")
    pd.testing.assert_frame_equal(found.astype(object), expected.astype(object), check_index_type="equiv")
    assert set(found["src"].cat.categories) == set(expected["src"].cat.categories)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_packets_come_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    seeds = [packet for _, group in SEEDS.values() for packet in group]
    chosen = data.draw(st.lists(st.one_of(st.sampled_from(seeds), st.binary(max_size=80)), max_size=20))
    linktype = data.draw(st.sampled_from([1, 101, 113, 276, 0, 9]))
    folder = tmp_path_factory.mktemp("any")
    path = folder / "x.pcap"
    path.write_bytes(capture(chosen, linktype))
    parquet.write(path, folder / "out")
    same(read_parquet(folder / "out"), packets.read(path))
    # And by pandas' own writer.
    frame = packets.read(path)
    frame.to_parquet(folder / "own.parquet")
    same(read_parquet(folder / "own.parquet"), frame)


# -------------------------------------------------------------------------------------------------------- folders


def test_a_folder_that_is_not_empty_is_refused_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    (out / "part-000007.parquet").write_text("of another")
    with pytest.raises(parquet.FolderError, match=r"not empty.*overwrite"):
        parquet.write(WHOLE, out)
    assert sorted(each.name for each in out.iterdir()) == ["mine.txt", "part-000007.parquet"]
    parquet.write(WHOLE, out, overwrite=True)
    assert sorted(each.name for each in out.iterdir()) == ["mine.txt", "part-000000.parquet", "part-000001.parquet"]


def test_what_is_no_capture_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(packets.FormatError):
        parquet.write(b"text" * 99, tmp_path / "out")
    with pytest.raises(ValueError, match="sample"):
        parquet.write(WHOLE, tmp_path / "out", sample=0)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(parquet.FolderError, match="is a file"):
        parquet.write(WHOLE, tmp_path / "file")


def test_progress_tells_packets_and_bytes(tmp_path: Path, small: None) -> None:
    told: list[parquet.Progress] = []
    path = tmp_path / "x.pcap"
    path.write_bytes(WHOLE)
    parquet.write(path, tmp_path / "out", progress=told.append)
    assert [each.packets for each in told] == [7, 14, 21, 25]
    assert {each.total for each in told} == {len(WHOLE)}
    assert told[-1].bytes == len(WHOLE)
    zipped = tmp_path / "x.pcap.gz"
    zipped.write_bytes(gzip.compress(WHOLE))
    told.clear()
    parquet.write(zipped, tmp_path / "zipped", progress=told.append)
    assert {each.total for each in told} == {zipped.stat().st_size}
    assert told[-1].bytes == zipped.stat().st_size


# ------------------------------------------------------------------------------------------------ what goes wrong


def whole_parts(folder: Path) -> pd.DataFrame:
    """Read what is there; nothing else is."""
    assert all(each.name.startswith("part-") and each.suffix == ".parquet" for each in folder.iterdir())
    return read_parquet(folder)


@pytest.mark.parametrize("after", range(0, len(PACKETS), 3))
def test_an_interrupt_keeps_all_that_was_read(tmp_path: Path, small: None, after: int) -> None:
    records = [record(packet, seconds=1_700_000_000 + n, fraction=n) for n, packet in enumerate(PACKETS)]
    source = Pieces([header(), *records[:after], KeyboardInterrupt(), *records[after:]])
    written = parquet.write(source, tmp_path / "out")
    assert (written.interrupted, written.packets) == (True, after)
    found = whole_parts(tmp_path / "out")
    pd.testing.assert_frame_equal(
        found.astype(object), packets.read(WHOLE).head(after).astype(object), check_index_type="equiv"
    )


def test_an_error_of_the_source_keeps_all_that_was_read(tmp_path: Path, small: None) -> None:
    source = Pieces([header(), *[record(packet) for packet in PACKETS[:10]], ConnectionResetError("gone")])
    with pytest.raises(ConnectionResetError):
        parquet.write(source, tmp_path / "out")
    assert len(whole_parts(tmp_path / "out")) == 10


def test_damage_is_told_in_what_comes_back(tmp_path: Path, small: None) -> None:
    with pytest.warns(packets.DamageWarning):
        written = parquet.write(WHOLE[:-1], tmp_path / "out")
    assert (
        written.info["damage"]["reason"]
        == read_parquet(tmp_path / "out").attrs["podtracer"]["capture"]["damage"]["reason"]
    )


LONG = """
    import sys
    from podtracer_nb.packets import parquet
    from tests.packets.captures import SEEDS, header, record

    parquet.ROW_GROUP, parquet.PART = 1000, 2000
    records = b"".join(record(packet) for packet in SEEDS["EN10MB"][1]) * 40

    class Endless:
        left = header()

        def readinto(self, buffer):
            self.left = self.left or records
            given = min(len(buffer), len(self.left))
            buffer[:given] = self.left[:given]
            self.left = self.left[given:]
            return given

    def told(progress):
        print(progress.packets, flush=True)

    parquet.write(Endless(), sys.argv[1], progress=told)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_ended_at_any_moment_it_leaves_whole_parts(tmp_path: Path, ending: signal.Signals) -> None:
    for moment in range(3):
        out = tmp_path / str(moment)
        program = [sys.executable, "-c", textwrap.dedent(LONG), str(out)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(5 + moment):
                process.stdout.readline()
            process.send_signal(ending)
            _, said = process.communicate(timeout=60)
        if ending is signal.SIGINT:
            assert process.returncode == 0, said
            assert len(whole_parts(out)) >= 5000
        named = sorted(out.glob("part-*.parquet"))
        rows = [len(pd.read_parquet(each)) for each in named]
        assert rows[0] == 0 and set(rows[1:-1]) <= {2000}
        assert sum(rows) == len(read_parquet(out))


def test_a_full_disk_is_an_error_and_leaves_whole_parts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    # From the fifth row group on no file may grow beyond 1000 bytes, which fails a write as a full disk does.
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)) if progress.packets == 5000 else None"
    program = "import resource" + textwrap.dedent(LONG).replace("print(progress.packets, flush=True)", full)
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("OSError: [Errno 27] File too large")
    assert "Exception ignored" not in done.stderr
    assert all(each.name.startswith("part-") for each in out.iterdir())
    assert len(read_parquet(out)) in {2000, 4000}


def test_a_source_in_pieces_of_any_size_is_the_same(tmp_path: Path, small: None) -> None:
    chooser = random.Random(3)
    pieces, at = [], 0
    while at < len(WHOLE):
        size = chooser.randint(1, 300)
        pieces.append(WHOLE[at : at + size])
        at += size
    parquet.write(Pieces(pieces), tmp_path / "out")
    same(read_parquet(tmp_path / "out"), packets.read(WHOLE))


MEASURED = """
    import sys
    from podtracer_nb.packets import parquet

    parquet.write(sys.argv[1], sys.argv[2], layers=sys.argv[3:])
    # Not ru_maxrss, which a child inherits from who started it: getrusage(2).
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("layers", [[], list(packets.schema.LAYERS)], ids=["default", "every layer"])
@pytest.mark.parametrize("same_for", [1, 18])
def test_memory_stays_constant_however_many_addresses_and_names_come(
    tmp_path: Path, layers: list[str], same_for: int
) -> None:
    question = IPv6() / UDP(sport=40000, dport=53, chksum=1) / DNS(qd=DNSQR(qname=".".join(["x" * 40] * 4)))
    packet = np.frombuffer(bytes(ETHER / question), np.uint8)
    names = 14 + 40 + 8 + 12 + 1
    path = tmp_path / "x.pcap"
    with path.open("wb") as file:
        file.write(header())
        for start in range(0, 300_000, 50_000):
            numbers = np.arange(start, start + 50_000) // same_for
            records = np.tile(np.frombuffer(record(packet.tobytes()), np.uint8), (50_000, 1))
            key = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
            for at in (2, 8, 14 + 20, 14 + 36):  # both MAC addresses, both addresses
                records[:, 16 + at : 16 + at + 4] = key
            records[:, 16 + names : 16 + names + 4] = key % 25 + ord("a")
            records[:, 16 + names + 4 : 16 + names + 8] = key // 25 + ord("a")
            file.write(records.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURED), str(path), str(tmp_path / "out"), *layers],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) / 1024 <= 200
    found = read_parquet(tmp_path / "out")
    assert len(found) == 300_000
    for column in ("src", "eth_src", "dns_qname"):
        assert found[column].nunique() == -(-300_000 // same_for)
