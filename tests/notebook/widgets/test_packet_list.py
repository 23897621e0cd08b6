"""What Python code says to a packet list, and what a front end asks of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import podtracer_nb
from podtracer_nb.errors import InputError
from tests.benchmarks import capture

PACKETS = 3000


@pytest.fixture(scope="module")
def df(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("captures") / "traffic.pcap"
    capture.write(path, PACKETS)
    return podtracer_nb.read_pcap(path)


class FrontEnd:
    """Asks as the browser does, and keeps what was answered."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.said: list[tuple[dict[str, Any], list[bytes]]] = []
        widget.send = lambda content, buffers=None: self.said.append((content, buffers or []))

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        fields.setdefault("generation", self.widget._state["generation"])
        self.widget._receive(self.widget, {"kind": kind, "view": "v", "seq": 1, **fields}, [])
        return self.said[-1][0]


def test_the_rows_the_query_and_the_order_are_set_and_read(df):
    shown = df.podtrace.browse(query="proto == 'TCP'", sort="-length", columns=["frame", "length"])
    assert (shown.df.proto == "TCP").all() and shown.df.length.is_monotonic_decreasing
    shown.query = ""
    shown.sort = ""
    assert shown.df.equals(df) and shown.selected.empty
    with pytest.raises(InputError, match="no column 'dprt'"):
        shown.query = "dprt == 1"
    assert shown.query == ""
    with pytest.raises(InputError, match="no column 'nothing' to show"):
        shown.columns = ["nothing"]
    with pytest.raises(InputError, match="not list"):
        podtracer_nb.browse([1, 2])  # type: ignore[arg-type]


def test_a_page_has_its_rows_only_and_stays_small(df):
    front = FrontEnd(df.podtrace.browse())
    page = front.ask("page", first=2900, count=10_000)
    assert page["columns"]["frame"] == [str(n) for n in range(2901, 3001)]
    assert len(page["marks"]) == 100
    assert len(str(front.ask("page", first=0, count=10_000))) < 100_000
    assert front.ask("page", first=10_000, count=200)["columns"]["frame"] == []


def test_a_row_that_is_selected_is_selected_in_python_and_stays_so_in_another_order(df):
    shown = df.podtrace.browse()
    front, called = FrontEnd(shown), []
    shown.on_select(called.append)
    front.ask("select", row=5, anchor=3)
    assert shown.selected.index.tolist() == [4, 5, 6]
    assert [each.index.tolist() for each in called] == [[4, 5, 6]]
    shown.sort = "-frame"
    assert shown.selected.index.tolist() == [6]
    assert shown._selection["row"] == PACKETS - 6
    shown.query = "frame < 3"
    assert shown.selected.empty


def test_a_question_about_rows_that_have_changed_is_refused(df):
    shown = df.podtrace.browse()
    front = FrontEnd(shown)
    before = shown._state["generation"]
    shown.sort = "-length"
    assert front.ask("select", row=1, generation=before)["message"] == "the list has changed meanwhile: try again"
    assert front.ask("quick", row=-5, column="src", how="equal")["kind"] == "error"


def test_a_quick_filter_narrows_what_is_shown(df):
    shown = df.podtrace.browse(query="proto == 'TCP'")
    FrontEnd(shown).ask("quick", row=0, column="dport", how="equal")
    port = int(shown.df.dport.iloc[0])
    assert shown.query == f"(proto == 'TCP') and dport == {port}"
    refused = FrontEnd(shown).ask("quick", row=0, column="info", how="equal")
    assert "no column of the frame" in refused["message"]


def test_a_capture_that_is_gone_is_told_and_the_list_goes_on(df, tmp_path: Path):
    path = tmp_path / "gone.pcap"
    capture.write(path, 10)
    shown = podtracer_nb.read_pcap(path).podtrace.browse()
    path.unlink()
    front = FrontEnd(shown)
    assert "cannot be read" in front.ask("select", row=0, anchor=0, details=True)["message"]
    assert front.ask("page", first=0, count=200)["kind"] == "page"


def test_an_error_of_ours_goes_to_the_list_and_to_the_kernel(df):
    front = FrontEnd(df.podtrace.browse())
    with pytest.raises(KeyError):
        front.ask("page")
    assert front.said[-1][0]["kind"] == "failed"


def test_retransmissions_are_looked_for_once_and_told(df):
    shown = pd.concat([df, df.iloc[:500]]).podtrace.browse()
    front = FrontEnd(shown)
    assert front.ask("examine", block=0)["next"] is None
    assert shown._state["examined"] is True
    page = front.ask("page", first=PACKETS, count=200)
    assert shown._marks.index("repeated") in page["marks"]


def test_pages_that_are_asked_for_while_the_rows_change_belong_to_one_generation(df):
    shown = df.podtrace.browse()
    front = FrontEnd(shown)
    done = threading.Event()
    failures: list[str] = []

    def change() -> None:
        for number in range(60):
            shown.query = f"length > {number}"
            shown.sort = "-length" if number % 2 else "frame"
        done.set()

    def read() -> None:
        while not done.is_set():
            answer = front.widget._page({"first": 0, "count": 50})[0]
            lengths = {len(texts) for texts in answer["columns"].values()} | {len(answer["marks"])}
            if len(lengths) != 1:
                failures.append(str(lengths))

    threads = [threading.Thread(target=each) for each in (change, read, read)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert failures == [] and done.is_set()


def test_without_a_front_end_it_is_a_table_and_text_and_says_what_it_left_out(df):
    data, _ = df.podtrace.browse(sort="-length")._repr_mimebundle_()
    assert data["text/plain"].startswith("3,000 packets, by length, largest first; the first 10 of them")
    assert len(data["text/plain"].splitlines()) == 12
    assert data["text/html"].count("<tr") == 26 and len(data["text/html"]) < 30_000
    assert "application/vnd.jupyter.widget-view+json" in data
    assert repr(df.podtrace.browse()) == "3,000 packets"


def test_what_a_packet_says_is_never_markup():
    evil = pd.DataFrame({"line": ["<script>alert(1)</script>"], "n": [1]})
    data, _ = podtracer_nb.browse(evil)._repr_mimebundle_()
    assert "<script>" not in data["text/html"] and "&lt;script&gt;" in data["text/html"]
    wide = pd.DataFrame({f"column {n}": ["x" * 500] * 30 for n in range(40)})
    assert len(podtracer_nb.browse(wide)._repr_mimebundle_()[0]["text/html"]) < 40_000


@pytest.mark.parametrize("made", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame({"a": [1, None]})])
def test_any_frame_can_be_listed(made):
    shown = podtracer_nb.browse(made)
    front = FrontEnd(shown)
    assert front.ask("page", first=0, count=200)["kind"] == "page"
    assert shown._repr_mimebundle_()[0]["text/html"]
    if len(made):
        assert front.ask("select", row=0, anchor=0, details=True)["nodes"] is None
        assert "column src" in front.ask("stream", row=0)["message"]


def test_names_are_a_dict_or_pods(df):
    address = str(df.src.iloc[0])
    pods = pd.DataFrame({"ip": [f"{address},fd00::7", None], "pod": ["web-0", "pending"]})
    for names in ({address: "web-0"}, pods):
        front = FrontEnd(df.podtrace.browse(names=names))
        assert front.ask("page", first=0, count=1)["columns"]["src"] == ["web-0"]
        front.ask("names", on=False)
        assert front.ask("page", first=0, count=1)["columns"]["src"] == [address]
    with pytest.raises(InputError, match="columns ip and pod"):
        df.podtrace.browse(names=pods[["pod"]])


def test_its_files_are_plain_and_ask_nothing_of_a_network():
    folder = Path(podtracer_nb.notebook.widgets.__file__).parent
    for path in [*folder.glob("*.js"), *folder.glob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text and "https://" not in text and "import(" not in text and "url(" not in text, path
