"""What the answer looks like: cells that no spreadsheet runs, a page that escapes everything, what was assumed."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from pathlib import Path

import pytest

from services.cli.faults import Fault
from services.cli.output import Output
from services.cli.reconcile import as_json, page, tables
from services.cli.reconcile.answer import Answer
from services.cli.reconcile.assumed import Identifier, Known, mappings, said
from services.cli.reconcile.run import Options, asked
from services.cli.reconcile.work import work

CONTRACTS = "contract,line,client,product,effective from,currency,price model,price\n"
INVOICES = "invoice,client,issued on,period from,period to,currency,line,product,quantity,unit price,amount\n"
USAGE = "account,account name,sku,kind,quantity,at\n"


def answer(folder: Path, *, contracts: str = "", usage: str = "", invoices: str = "", **more: object) -> Answer:
    files = {"contracts": CONTRACTS + contracts, "usage": USAGE + usage, "invoices": INVOICES + invoices}
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    inputs = {kind: ([str(folder / f"{kind}.csv")], None) for kind in files}
    given = {"period": "2026-10", "as_of": None, "zone": "UTC", "partial": False, "settings": [], "out": None}
    options = Options(**{"inputs": inputs, **given, "exit_code": False, **more})  # type: ignore[arg-type]
    return work(asked(options), Output(quiet=True), folder)


EVIL = '=HYPERLINK("http://x"),<script>alert(1)</script>'


def evil(folder: Path) -> Answer:
    cells = io.StringIO()
    csv.writer(cells).writerow(["C-1", "1", EVIL, "@edr", "2026-01-01", "EUR", "flat", "100"])
    invoices = 'INV-1,"=x",2026-11-01,2026-10-01,2026-11-01,EUR,1,-p,1,9,9\n'
    return answer(folder, contracts=cells.getvalue(), invoices=invoices, as_of="2026-12-01")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1.50", "-1.50"),
        ("-p", "'-p"),
        ("@a", "'@a"),
        ("a=b", "a=b"),
        (None, ""),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(cell: str | None, written: str) -> None:
    assert tables.harmless(cell) == written


def test_no_table_holds_a_formula(tmp_path: Path) -> None:
    found = evil(tmp_path)
    for text in (tables.lines(found), tables.discrepancies(found)):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert any(EVIL in cell for cell in cells)
        assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-[^\d]", cell)]


def test_the_page_holds_no_element_of_the_data_and_fetches_nothing(tmp_path: Path) -> None:
    html = page.report(evil(tmp_path))
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert not re.search(r"""\b(src|href)=|url\(|@import""", html)


def test_nothing_to_compare_is_said_and_is_not_clean(tmp_path: Path) -> None:
    found = answer(tmp_path, usage="a,A,s,gauge,5,2026-10-01\n")
    assert found.compared == 0
    assert "not the same as clean" in page.report(found)
    assert json.loads(as_json.written(as_json.document(found)))["compared_lines"] == 0


def test_every_line_stands_in_the_json_with_its_arithmetic(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        contracts="C-1,1,acme,edr,2026-01-01,EUR,unit,4.20\n",
        usage="acme,Acme,edr,gauge,10,2026-10-01\n",
        invoices="INV-1,acme,2026-11-01,2026-10-01,2026-11-01,EUR,1,edr,8,4.20,33.60\n",
    )
    (statement,) = json.loads(as_json.written(as_json.document(found)))["statements"]
    (line,) = statement["groups"][0]["lines"]
    assert (line["state"], line["expected"], line["billed"], line["broken"]) == ("break", "42", "33.6", "-8.4")
    assert line["steps"]
    assert statement["totals"][0]["residual"] == "0"


def test_an_id_comes_before_a_name_and_what_resembles_two_is_left_alone() -> None:
    clients = Known({"acme": "Acme Ltd", "a-2": "Twin", "a-3": "Twin"})
    found = [
        Identifier("account", "huntress", "acme", "Somebody else"),
        Identifier("account", "huntress", "org-9", "ACME  ltd"),
        Identifier("account", "huntress", "org-5", "Twin"),
        Identifier("account", "huntress", "org-7", "Acme"),
    ]
    taken = mappings(found, {("account", "huntress", "org-7")}, clients, Known({}))
    assert [(one.key, one.target, one.why) for one in taken] == [
        ("acme", "acme", "same id"),
        ("org-9", "acme", "same name"),
    ]
    assert said(taken) == [
        "1 account of huntress is taken for the client of the same id: acme",
        "1 account of huntress is taken for the client of the same name: org-9 = acme",
    ]


def test_the_only_source_that_mappings_name_is_the_one_of_usage(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("kind,source,key,target\naccount,huntress,org-1,acme\nsku,huntress,s-1,edr\n")
    inputs = {"usage": ([str(tmp_path / "usage.csv")], None), "mappings": ([str(tmp_path / "m.csv")], None)}
    (tmp_path / "usage.csv").write_text(USAGE + "org-1,Acme,s-1,gauge,5,2026-10-01\n")
    options = Options(inputs, "2026-10", None, "UTC", False, [], None, False)
    found = work(asked(options), Output(quiet=True), tmp_path)
    assert "usage.csv is read as huntress's, the only source that the mappings name" in found.assumed
    assert [body.code for body in found.discrepancies] == ["UNBILLED_SERVICE"]


def test_the_day_after_the_period_is_the_day_of_the_comparison_unless_said(tmp_path: Path) -> None:
    contract = "C-1,1,acme,edr,2026-01-01,EUR,flat,100\n"
    assert answer(tmp_path, contracts=contract).as_of == date(2026, 11, 1)
    assert not answer(tmp_path, contracts=contract).discrepancies
    late = answer(tmp_path, contracts=contract, as_of="2026-11-20")
    assert [body.code for body in late.discrepancies] == ["UNBILLED_CLIENT"]


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"period": "October"}, "--period"),
        ({"period": "2026-13"}, "--period"),
        ({"as_of": "soon"}, "--as-of"),
        ({"zone": "Mars"}, "--zone"),
        ({"settings": ["tolerance.nothing=1"]}, "--set"),
        ({"settings": ["invoice.grace_days=x"]}, "--set"),
    ],
)
def test_a_wrong_option_is_named_with_its_fix(tmp_path: Path, more: dict[str, object], where: str) -> None:
    with pytest.raises(Fault) as caught:
        answer(tmp_path, **more)
    assert caught.value.where == where
    assert caught.value.fix


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"PK\x03\x04 \x00\x01,\n", "workbook"), (b"a,b\n1,2\n", "rename"), (b"", "header")],
)
def test_a_file_that_is_no_table_is_refused_with_its_fix(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    options = Options({"contracts": ([str(tmp_path / "c.csv")], None)}, "2026-10", None, "UTC", False, [], None, False)
    with pytest.raises(Fault) as caught:
        work(asked(options), Output(quiet=True), tmp_path)
    assert what in (caught.value.fix or "")
