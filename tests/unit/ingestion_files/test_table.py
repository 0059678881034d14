from __future__ import annotations

import io

import pytest

from services.ingestion.domain.table import BadTable, Table, TableRow


def rows(text: str) -> list[TableRow]:
    return list(Table(io.StringIO(text, newline=""), ",").rows())


def test_rows_are_numbered_as_a_spreadsheet_numbers_them() -> None:
    found = rows('a,b\r\n1,"x\r\ny"\r\n\r\n2,z\r\n')
    assert [(row.number, row.cells) for row in found] == [(2, ["1", "x\r\ny"]), (4, ["2", "z"])]


def test_a_ragged_row_is_said_of_that_row_alone() -> None:
    found = rows("a,b\n1\n1,2\n1,2,3\n")
    assert [bool(row.reason) for row in found] == [True, False, True]
    assert "3 cells where the header has 2" in found[2].reason


def test_a_stray_quote_spoils_its_row_alone() -> None:
    found = rows('a,b\n"x"y,2\n3,4\n')
    assert found[0].reason
    assert found[1].cells == ["3", "4"]


def test_a_nul_spoils_its_row_alone() -> None:
    found = rows("a,b\n1,x\x00y\n3,4\n")
    assert "NUL" in found[0].reason
    assert not found[1].reason


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ('a,b\n1,"open\n2,x\n', "row 2 opens a quote"),
        ('a,b\n1,"' + "x" * 140_000 + "\n2,x\n", "row 2 holds a cell of more than"),
        ("a,b\n" + "x" * 300_000, "line 2 has 300,000 characters"),
        (",".join("c" * 1_001), "1,001 columns"),
    ],
)
def test_what_spoils_everything_behind_it_refuses_the_file(text: str, why: str) -> None:
    with pytest.raises(BadTable) as refused:
        rows(text)
    assert why in refused.value.reason
    assert refused.value.fix
