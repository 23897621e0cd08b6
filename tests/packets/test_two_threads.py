"""Two threads make the same table as one, in all its values, categories and warnings, wherever a block may end."""

from __future__ import annotations

import inspect
import random
import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podtracer_nb import packets
from podtracer_nb.packets import schema, two_threads, walk
from tests.packets import engines
from tests.packets.captures import LAYERED, SEEDS, capture, enhanced, interface, pcapng, record, section
from tests.packets.test_fuzz import FORMATS, OPTIONS

ALL = [packet for _, chosen in SEEDS.values() for packet in chosen]
BLOCKS = (100, 333, 1000, 4096)
CAPTURES = {
    **{name: capture(chosen, linktype) for name, (linktype, chosen) in SEEDS.items()},
    **{name: data for name, data in FORMATS.items() if name != "gzip"},
    "layers": capture(LAYERED.values()),
    "big-endian, nanoseconds": capture(SEEDS["EN10MB"][1], order=">", unit=1),
    "several interfaces, the second told late": section()
    + interface()
    + b"".join(map(enhanced, ALL[:20]))
    + interface(options=[(2, b"eth1")])
    + b"".join(enhanced(packet, which=at % 2, options=[(1, b"seen")] * (at % 3)) for at, packet in enumerate(ALL)),
}

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module")
def compiled() -> None:
    """Two threads are for the compiled build: the other holds Python's lock."""
    engines.engine("compiled")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a way to have two threads work on small captures, in blocks of some bytes, so many before both stop."""

    def blocks(size: int, count: int = 5, alone: int = 3) -> None:
        monkeypatch.setattr(two_threads, "_BLOCK", size)
        monkeypatch.setattr(two_threads, "_BLOCKS", count)
        monkeypatch.setattr(walk, "_WORTH_TWO_THREADS", 0)
        monkeypatch.setattr(walk, "_ROWS_TO_EXPECT_FROM", alone)

    return blocks


def outcome(source: bytes | Path, threads: int, **options: Any) -> tuple[pd.DataFrame | str, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frame: pd.DataFrame | str = packets.read(source, threads=threads, **options)
        except packets.FormatError as error:
            frame = str(error)
    return frame, [str(warning.message) for warning in caught]


def check(source: bytes | Path, **options: Any) -> pd.DataFrame | None:
    """Read by one thread and by two, which must agree; return what they agree on."""
    one, said = outcome(source, 1, **options)
    two, said_by_two = outcome(source, 2, **options)
    assert said_by_two == said
    if isinstance(one, str):
        assert two == one
        return None
    assert isinstance(two, pd.DataFrame)
    pd.testing.assert_frame_equal(two, one)
    assert two.attrs == one.attrs
    return one


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("name", CAPTURES)
def test_every_capture_is_the_same(name: str, size: int, small: Callable[..., None], tmp_path: Path) -> None:
    data = CAPTURES[name]
    small(size)
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    for options in ({}, *OPTIONS, {"count": 11}):
        check(data, **options)
        check(path, **options)


def test_two_threads_are_what_read_it(small: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    half = two_threads._Half.run
    monkeypatch.setattr(two_threads._Half, "run", lambda self: (half(self), turns.append(self.dissector.done)))
    small(1000, count=1000)
    frame = check(capture(ALL * 20))
    assert frame is not None
    assert len(turns) > 1
    assert sum(turns) > 20
    before = threading.active_count()
    check(capture(ALL * 20))
    assert threading.active_count() == before


@given(drawn=st.data())
@settings(
    deadline=None, database=None, max_examples=150, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_damaged_captures_are_the_same(drawn: st.DataObject, small: Callable[..., None], tmp_path: Path) -> None:
    name = drawn.draw(st.sampled_from(sorted(CAPTURES)))
    small(drawn.draw(st.sampled_from(BLOCKS)), alone=drawn.draw(st.sampled_from([1, 3, 20])))
    whole = CAPTURES[name]
    chooser = random.Random(drawn.draw(st.integers(0, 1 << 32)))
    changed = bytearray(whole * 2 if name == "pcapng of every block" else whole)
    for _ in range(chooser.choice((0, 1, 1, 3, 10, 50))):
        changed[chooser.randrange(len(changed))] = chooser.choice((0, 0xFF, chooser.randrange(256)))
    if chooser.random() < 0.3:
        at = chooser.randrange(len(changed))
        changed[at : at + 100] = bytes(100)
    damaged = bytes(changed[: chooser.choice((len(changed), chooser.randrange(len(changed))))])
    path = tmp_path / "x.pcap"
    path.write_bytes(damaged)
    for options in ({}, {"resync": True, "layers": list(schema.LAYERS)}):
        check(damaged, **options)
        check(path, **options)


def raw_ip(source: int, protocol: int = 17) -> bytes:
    return struct.pack("!BBHHHBBHII", 0x45, 0, 20, 0, 0, 64, protocol, 0, source, 0x0A000001)


@pytest.mark.parametrize(
    ("numbers", "protocols"),
    [(range(70_000), [17]), ([n * 7919 % 60_000 for n in range(80_000)], range(256)), (range(31_000), range(119))],
    ids=["every address once", "addresses and protocols again and again", "nearly too many"],
)
def test_more_addresses_than_narrow_codes_number(
    numbers: list[int], protocols: list[int], small: Callable[..., None]
) -> None:
    small(5000, count=50, alone=100)
    data = b"".join(record(raw_ip(number, protocols[number % len(protocols)])) for number in numbers)
    frame = check(capture([], 101) + data)
    assert frame is not None
    assert frame["src"].nunique() == len(set(numbers))


def test_several_files_are_one_capture(small: Callable[..., None], tmp_path: Path) -> None:
    small(500)
    paths = [tmp_path / name for name in ("a.pcap", "b.pcap", "c.pcap")]
    for path, data in zip(paths, (capture(ALL * 3), pcapng(ALL[:30])[:-5], capture(ALL[::-1])), strict=True):
        path.write_bytes(data)
    one, _ = outcome([*paths, capture(ALL)], 1)  # type: ignore[arg-type]
    two, _ = outcome([*paths, capture(ALL)], 2)  # type: ignore[arg-type]
    assert isinstance(one, pd.DataFrame)
    assert isinstance(two, pd.DataFrame)
    pd.testing.assert_frame_equal(two, one)
    assert two.attrs == one.attrs


def test_an_interrupt_loses_nothing(small: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    small(2000, count=10)
    data = capture(ALL * 50)
    expected = packets.read(data, threads=1)
    both = two_threads._both

    def interrupted(halves: list[Any], turns: Any) -> BaseException | None:
        both(halves, turns)
        return KeyboardInterrupt()

    monkeypatch.setattr(two_threads, "_both", interrupted)
    with packets.Reader(data, threads=2) as capture_reader:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                capture_reader.read_all()
            so_far = capture_reader.frame()
            assert 0 < len(so_far) < len(expected)
            pd.testing.assert_frame_equal(so_far.astype(object), expected.head(len(so_far)).astype(object))
        monkeypatch.setattr(two_threads, "_both", both)
        pd.testing.assert_frame_equal(capture_reader.read_all().frame(), expected)


@pytest.mark.parametrize("which", [0, 1])
def test_a_block_that_one_of_them_gives_up_is_read_alone(
    which: int, small: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small(2000, count=20, alone=20)
    data = capture([], 101) + b"".join(record(raw_ip(number)) for number in range(8000))
    expected = packets.read(data, threads=1)
    made: list[Any] = []
    new = two_threads._Half

    def half(*arguments: Any) -> Any:
        made.append(new(*arguments))
        if len(made) % 2 == which:
            made[-1]._make_room = lambda: False
        return made[-1]

    monkeypatch.setattr(two_threads, "_Half", half)
    pd.testing.assert_frame_equal(packets.read(data, threads=2), expected)
    assert len(made) > 2


def test_a_cut_packet_among_whole_ones_is_noticed_by_either(small: Callable[..., None], tmp_path: Path) -> None:
    small(2000, count=20, alone=20)
    for at in (30, 61, 4000):
        whole = [record(raw_ip(number)) for number in range(4001)]
        whole[at] = record(raw_ip(at), keep=19)
        path = tmp_path / "x.pcap"
        path.write_bytes(capture([], 101) + b"".join(whole))
        frame = check(path)
        assert frame is not None
        assert frame.index[frame["caplen"] != frame["length"]].tolist() == [at + 1]


def test_an_error_while_two_put_it_together_loses_nothing(
    small: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small(2000, count=20)
    data = capture(ALL * 50)
    recode = two_threads.ColumnMemory.recode
    with packets.Reader(data, threads=2) as capture_reader, monkeypatch.context() as broken:
        broken.setattr(two_threads.ColumnMemory, "recode", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            capture_reader.read_all()
        broken.setattr(two_threads.ColumnMemory, "recode", recode)
        frame = capture_reader.read_all().frame()
    pd.testing.assert_frame_equal(frame.astype(object), packets.read(data, threads=1).astype(object))


def test_a_file_that_two_cannot_read_is_read_alone(small: Callable[..., None], tmp_path: Path) -> None:
    small(500)
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(ALL))
    with path.open("ab") as unreadable, packets.Reader(path, threads=2) as capture_reader:
        capture_reader._input.descriptor = unreadable.fileno()
        pd.testing.assert_frame_equal(capture_reader.read_all().frame(), packets.read(path, threads=1))


def test_no_interrupt_comes_between_a_file_and_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(ALL))
    with packets.Reader(path) as capture_reader:
        capture_reader.begin()
        # A function of Python's could be interrupted after the bytes were read, and they would be gone.
        assert inspect.isbuiltin(capture_reader._input.readinto)
