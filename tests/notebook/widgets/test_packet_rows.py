"""Which rows are shown: query texts, orders, and the clauses of a cell's menu."""

from __future__ import annotations

import pandas as pd
import pytest

from podtracer_nb.errors import InputError
from podtracer_nb.notebook.widgets.packet_rows import Rows, clause, conversation_clause, signature


def frame() -> pd.DataFrame:
    hosts = pd.CategoricalDtype(["10.0.0.10", "10.0.0.9", "fd00::1"])
    return pd.DataFrame(
        {
            "time": pd.to_datetime([3, 1, None, 2], unit="s", utc=True),
            "src": pd.Categorical(["10.0.0.10", "10.0.0.9", None, "fd00::1"], dtype=hosts),
            "dst": pd.Categorical(["10.0.0.9", "10.0.0.10", None, "10.0.0.9"], dtype=hosts),
            "proto": pd.Categorical(["TCP", "TCP", "ARP", "UDP"]),
            "sport": pd.array([40000, 80, None, 53], "UInt16"),
            "dport": pd.array([80, 40000, None, 5353], "UInt16"),
            "dns_response": pd.array([None, None, None, True], "boolean"),
            "odd name": [1.5, 2.5, float("nan"), 0.5],
        },
        index=pd.RangeIndex(1, 5, name="frame"),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("dport == 80", [0]),
        ("dport != 80", [1, 3]),
        ("proto == 'TCP' and sport > 100", [0]),
        ("dport.isna()", [2]),
        ("`odd name` > 1", [0, 1]),
        ("dns_response", [3]),
        ("src in @wanted", [1]),
        ("frame <= 2", [0, 1]),
        ("src.str.startswith('fd00')", [3]),
        ("time > '1970-01-01 00:00:01Z'", [0, 3]),
    ],
)
def test_a_query_chooses_rows_and_what_is_not_there_is_not_chosen(query, found):
    assert Rows(frame()).show(query, "", {"wanted": ["10.0.0.9"]}).at(0, 9).tolist() == found


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("dprt == 80", "there is no column 'dprt': 'dport'?"),
        ("dport ==", "cannot be read as a query"),
        ("dport = 80", ""),
        ("sport", "true or false"),
        ("'x", ""),
        ("time > '1970-01-01 00:00:01'", "with its zone"),
        ("src.nonsense()", ""),
        ("(", ""),
        ("__import__('os').getcwd()", ""),
    ],
)
def test_a_query_that_is_wrong_is_one_line(query, words):
    before = frame()
    with pytest.raises(InputError) as raised:
        Rows(before).show(query, "")
    assert words in str(raised.value) and "\n" not in str(raised.value) and str(raised.value)
    assert list(before.columns) == list(frame().columns), "an assignment in the query is none"


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("src", [1, 0, 3, 2]),  # 9 before 10: as numbers; what has none comes last, either way
        ("-src", [3, 0, 1, 2]),
        ("time", [1, 3, 0, 2]),
        ("-time", [0, 3, 1, 2]),
        ("sport", [3, 1, 0, 2]),
        ("-sport", [0, 1, 3, 2]),
        ("odd name", [3, 0, 1, 2]),
        ("-frame", [3, 2, 1, 0]),
        ("-dns_response", [3, 0, 1, 2]),
    ],
)
def test_rows_are_ordered_as_their_values_are(sort, found):
    assert Rows(frame()).show("", sort).at(0, 9).tolist() == found


def test_a_query_and_an_order_go_together_and_tell_where_a_row_is():
    shown = Rows(frame()).show("proto == 'TCP'", "src")
    assert shown.at(0, 9).tolist() == [1, 0]
    assert (shown.row_of(0), shown.row_of(3), len(shown)) == (1, None, 2)


def test_there_is_no_order_by_what_is_not_there():
    with pytest.raises(InputError, match="no column 'sprt'"):
        Rows(frame()).show("", "sprt")


@pytest.mark.parametrize("name", ["time", "src", "proto", "sport", "dns_response", "odd name", "frame"])
@pytest.mark.parametrize("position", [0, 2, 3])
def test_the_clause_of_a_cell_finds_that_cell(name, position):
    made = frame()
    equal = Rows(made).show(clause(made, position, name, equal=True), "").at(0, 9).tolist()
    unequal = Rows(made).show(clause(made, position, name, equal=False), "").at(0, 9).tolist()
    assert position in equal and position not in unequal


def test_a_conversation_has_both_directions():
    made = frame()
    assert Rows(made).show(conversation_clause(made, 0), "").at(0, 9).tolist() == [0, 1]
    with pytest.raises(InputError, match="no addresses"):
        conversation_clause(made, 2)


def test_what_was_changed_is_noticed_and_what_was_not_is_not():
    made = frame()
    before = signature(made)
    assert signature(made.copy(deep=False)) == before
    kept = made.copy(deep=False)
    made.loc[1, "dport"] = 81
    assert signature(made) != before and kept.dport.iloc[0] == 80
    before = signature(made)
    made["more"] = 1
    assert signature(made) != before
