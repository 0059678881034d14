"""Statements, sums and previews on the command line: what is asked, what is shown, and the exit status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.cli.frame import Frame
from tests.unit.cli.test_frame import Answers, answering, run

EURO = {
    "currency": "EUR", "expected": "4268", "billed": "4182.03", "cost": "2100", "explained": "-21.67",
    "pending": "-38", "broken": "-26.3", "residual": "0",
}  # fmt: skip
COUNTS = {"groups": 9, "lines": 47, "compared": 46, "matched": 41, "explained": 3, "pending": 1, "broken": 2}
HEAD = {
    "client": "northwind-dental",
    "state": "break",
    "totals": [EURO],
    "counts": COUNTS,
    "waiting": [{"side": "invoice_lines", "until": "2026-10-05", "groups": 1}],
    "closed": None,
}
LINE = {
    "key": ["contract", "psa", "C-1042", "3", "2026-09-01"], "product": "edr", "group": "edr", "state": "break",
    "currency": "EUR", "expected": "224", "billed": "168", "broken": "-56", "contract_ref": "C-1042 line 3",
    "codes": ["QTY_UNDER"],
}  # fmt: skip


def page(head: dict[str, Any] = HEAD, *lines: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"data": list(lines), "meta": {"period": "2026-09", "statement": head, "next": None, **meta}}


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_statement_is_an_equation_and_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = answering(monkeypatch, page(HEAD, LINE))
    assert run(monkeypatch, "statement", "show", "northwind-dental", "2026-09", "--state", "break") == 0
    said = lines_of(capsys)
    assert said[0] == (
        "EUR  expected 4268.00  explained −21.67  pending −38.00  breaks −26.30"
        "  billed 4182.03  residual 0.00 ✓  vendors 2100.00"
    )
    assert said[1] == "47 lines: 41 matched, 3 explained, 1 pending, 2 breaks"
    assert said[2] == "◷ waits for invoice lines by 2026-10-05"
    assert said[4].split() == [
        "edr",
        "C-1042",
        "line",
        "3",
        "224.00",
        "168.00",
        "−56.00",
        "EUR",
        "✗",
        "break",
        "QTY_UNDER",
    ]
    assert api.asked[0][0] == "/v1/statements/northwind-dental/2026-09"
    assert api.asked[0][1]["state"] == "break"


@pytest.mark.parametrize(
    ("counts", "state", "status"),
    [
        ({}, "break", 7),
        ({"pending": 0, "compared": 47}, "break", 1),
        ({"pending": 0, "compared": 47, "broken": 0}, "settled", 0),
        ({"pending": 0, "compared": 47, "broken": 0}, "pending", 7),
        (dict.fromkeys(COUNTS, 0), "nothing_compared", 7),
    ],
)
def test_the_exit_status_is_7_while_a_side_is_missing(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], state: str, status: int
) -> None:
    answering(monkeypatch, page(HEAD | {"counts": COUNTS | counts, "state": state}, note="nothing"))
    assert run(monkeypatch, "statement", "show", "northwind-dental", "2026-09", "--exit-code") == status
    assert run(monkeypatch, "statement", "show", "northwind-dental", "2026-09") == 0


def test_over_nothing_it_says_that_nothing_was_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = HEAD | {
        "totals": [],
        "waiting": [],
        "counts": dict.fromkeys(COUNTS, 0),
        "state": "nothing_compared",
    }
    answering(monkeypatch, page(nothing, note="nothing has been compared yet"))
    assert run(monkeypatch, "statement", "show", "aster", "2026-09") == 0
    assert lines_of(capsys) == ["nothing has been compared yet"]
    answering(monkeypatch, {"data": [], "meta": {"note": "nothing has been compared yet", "next": None}})
    assert run(monkeypatch, "statement", "list", "2026-09") == 0
    assert lines_of(capsys) == ["nothing has been compared yet"]


def test_the_board_has_a_row_for_each_client_and_currency(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = {"record": "r", "digest": "d", "at": "2026-10-06T08:00:00Z"}
    rows = [HEAD | {"totals": [EURO, EURO | {"currency": "USD", "cost": None}], "closed": closed}]
    answering(monkeypatch, {"data": rows, "meta": {"next": None}})
    assert run(monkeypatch, "statement", "list", "2026-09") == 0
    said = lines_of(capsys)
    assert [line.split()[0] for line in said[1:]] == ["northwind-dental"] * 2
    assert "46/47" in said[1]
    assert "2026-10-06" in said[1]
    assert run(monkeypatch, "statement", "list", "2026-09", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"] == rows


def test_a_difference_shows_both_figures_and_exits_1_if_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after = LINE | {"expected": "252", "broken": "-84"}
    change = {"kind": "changed", "group": "edr", "key": LINE["key"], "fields": ["expected", "broken"], "by": "-28",
              "before": LINE, "after": after}  # fmt: skip
    against = {"record": "0123456789ab", "why": "closed", "recorded_at": "2026-10-06T08:00:00Z", "digest": "d"}
    answer = {"data": [change], "meta": {"against": against, "now": {}, "changed": 1, "next": None}}
    api = answering(monkeypatch, answer)
    assert run(monkeypatch, "statement", "diff", "northwind-dental", "2026-09", "--exit-code") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[:7] == ["changed", "edr", "C-1042", "line", "3", "224.00", "252.00"]
    assert "1 lines differ from record 01234567 of 2026-10-06 08:00:00 UTC" in said.err
    assert api.asked[0][1]["against"] == "closed"


def test_closing_asks_first_and_sends_its_reason_under_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Answers({"data": {"outcome": "stored", "record": "r-1", "digest": "d", "totals": [EURO], "groups": 9}})
    monkeypatch.setattr(Frame, "api", lambda _self, _service: api)
    close = ("statement", "close", "northwind-dental", "2026-09", "--reason", "known")
    assert run(monkeypatch, *close) == 2
    assert not api.asked
    assert run(monkeypatch, *close, "--yes") == 0
    [(path, options)] = api.asked
    assert (path, options["json"]) == ("/v1/statements/northwind-dental/2026-09/close", {"reason": "known"})
    assert options["headers"]["Idempotency-Key"]
    assert lines_of(capsys)[0] == "northwind-dental, 2026-09: closed: stored, record r-1"


def test_the_ledger_shows_what_was_billed_on_the_old_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    then = {"expected": "222.6", "billed": "168", "quantity": "53", "currency": "EUR"}
    row = {
        "client": "northwind", "period": {"from": "2026-09-01", "to": "2026-10-01"}, "group": "edr",
        "closed_at": "2026-10-06T08:00:00Z", "record": "r", "closed": then, "now": then | {"expected": "252"},
        "moved": "29.4", "codes": ["LATE_USAGE"], "discrepancies": [],
    }  # fmt: skip
    answering(monkeypatch, {"data": [row], "meta": {"next": None}})
    assert run(monkeypatch, "statement", "restatements", "--period", "2026-09") == 0
    assert lines_of(capsys)[1].split() == [
        "northwind", "2026-09", "edr", "222.60", "168.00", "252.00", "29.40", "EUR", "LATE_USAGE", "2026-10-06",
    ]  # fmt: skip


# --- previews and sums -----------------------------------------------------------------------------------------------
EFFECT = {
    "sentence": "Confirming account acronis 8841 = cobalt back-bills EUR 64.00 over 1 month (1 closed), opens 1.",
    "periods": [
        {
            "client": "cobalt", "period": {"from": "2026-09-01", "to": "2026-10-01"}, "closed": True,
            "detected": [{"code": "QTY_UNDER", "product": "edr", "direction": "client_owes_us", "amount": "64",
                          "currency": "EUR", "why": "10 used, 8 billed"}],
            "changed": [], "cleared": [],
        }
    ],
    "identifiers": [
        {"detected": [], "changed": [], "cleared": [{"code": "UNMAPPED_CLIENT", "vendor_source": "acronis",
         "account": "8841", "direction": "client_owes_us", "why": "nobody mapped it"}]}
    ],
    "left": 0,
}  # fmt: skip


def test_a_preview_is_a_sentence_and_a_row_for_each_discrepancy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = answering(monkeypatch, {"data": EFFECT})
    assert run(monkeypatch, "mappings", "preview", "account", "acronis", "8841", "cobalt") == 0
    said = lines_of(capsys)
    assert said[0] == EFFECT["sentence"]
    assert said[2].split()[:6] == ["cobalt", "2026-09", "(closed)", "opens", "QTY_UNDER", "edr"]
    assert said[3].split()[:4] == ["(acronis", "8841)", "clears", "UNMAPPED_CLIENT"]
    wanted = {"kind": "account", "source": "acronis", "key": "8841"}
    assert api.asked == [("/v1/mappings/preview", {"json": wanted | {"targets": [{"id": "cobalt"}]}})]
    assert run(monkeypatch, "mappings", "preview", "account", "acronis", "8841", "--withdraw") == 0
    assert api.asked[1][1]["json"] == wanted | {"withdraw": True}
    assert run(monkeypatch, "mappings", "preview", "account", "acronis", "8841", "--exclude", "test") == 0
    assert api.asked[2][1]["json"] == wanted | {"excluded": {"reason": "test"}}
    assert run(monkeypatch, "mappings", "preview", "account", "acronis", "8841") == 2


def test_a_preview_that_stopped_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answering(monkeypatch, {"data": EFFECT | {"left": 1200}})
    assert run(monkeypatch, "mappings", "preview", "account", "acronis", "8841", "cobalt") == 0
    assert "1,200 groups were not looked at" in capsys.readouterr().err


def test_sums_have_a_column_for_each_kind_of_money(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "client": "cobalt", "direction": "client_owes_us", "currency": "EUR", "owed": "56", "at_risk": "0", "lost": "8",
        "unplaced": "0", "count": 3, "without_amount": 1,
    }  # fmt: skip
    api = answering(monkeypatch, {"data": [row], "meta": {"by": "client", "next": None}})
    assert run(monkeypatch, "discrepancies", "sums", "--by", "client") == 0
    said = lines_of(capsys)
    assert said[0].split()[0] == "CLIENT"
    assert said[1].split() == ["cobalt", "▲", "client", "owes", "us", "EUR", "56.00", "0.00", "8.00", "0.00", "3", "1"]
    assert api.asked[0][1]["by"] == "client"
