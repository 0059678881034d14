"""The arithmetic of documents: tax and totals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from shared.events.discrepancies import Code
from shared.reconciliation.client_level import draw_client
from shared.reconciliation.inputs import ClientInputs, DocumentFacts, InvoiceLineFacts
from shared.reconciliation.settings import Settings
from shared.reconciliation.verdict import LineState, State, Verdict
from tests.unit.reconciliation.given import CLIENT, INVOICED, MONTH_OVER, OCTOBER, D, only_break, posted, record


def line(number: str, amount: str, pct: str | None = "19", **changes: object) -> InvoiceLineFacts:
    rate = None if pct is None else D(pct)
    return posted("1", amount, amount, line=number, tax_pct=rate, **changes)


LINES = (line("1", "40.35"), line("2", "19.99"))


def document(*lines: InvoiceLineFacts, **changes: object) -> DocumentFacts:
    fact = DocumentFacts(
        source="psa",
        invoice="INV-20931",
        version=1,
        kind="invoice",
        issued_on=date(2026, 10, 31),
        period=OCTOBER,
        currency="EUR",
        corrects=None,
        total=None,
        tax_total=None,
        gross_total=None,
        lines=lines or LINES,
        record=record("invoice.issued.v1", "INV-20931"),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


def drawn(*documents: DocumentFacts, settings: Settings | None = None) -> Verdict:
    inputs = ClientInputs(CLIENT, OCTOBER, MONTH_OVER, (), INVOICED, settings=settings or Settings())
    verdict = draw_client(replace(inputs, documents=documents))
    assert verdict is not None
    return verdict


def test_a_tax_that_is_not_that_of_its_nets() -> None:
    verdict = drawn(document(tax_total=D("12.06")))
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount) == (Code.TAX, "we_owe_client", D("0.60"))
    assert (body.reached, body.standing, verdict.breaks[0].side) == ("client_invoice", "owed", "none")
    assert body.why == "INV-20931: 12.06 of tax printed, 11.46 due (60.34 x 19 %)"
    assert (verdict.lines[0].state, verdict.lines[0].expected, verdict.lines[0].codes) == (
        LineState.BREAK,
        None,
        (Code.TAX,),
    )
    assert only_break(drawn(document(tax_total=D("11.00")))).direction == "client_owes_us"


@pytest.mark.parametrize("stated", ["11.46", "11.47"])
def test_tax_by_document_or_by_line_is_right(stated: str) -> None:
    verdict = drawn(document(tax_total=D(stated)))
    assert (verdict.state, verdict.lines[0].state) == (State.MATCHED, LineState.MATCHED)


def test_a_minor_unit_for_each_rounded_line_is_let_pass() -> None:
    inside = drawn(document(tax_total=D("11.49")))  # 11.47 + 2 x 0.01
    assert (inside.state, inside.lines[0].state) == (State.MATCHED, LineState.EXPLAINED)
    assert inside.lines[0].by == "tax 11.49: tolerance tax"
    assert only_break(drawn(document(tax_total=D("11.50")))).amount == D("0.04")
    strict = Settings(widths=(("tolerance.tax.absolute", Decimal(0)),))
    assert only_break(drawn(document(tax_total=D("11.48")), settings=strict)).amount == D("0.02")


def test_a_discount_may_leave_the_base_as_it_was() -> None:
    lines = (*LINES, line("3", "-5.00", discount=True))
    for stated in ("10.51", "11.46"):
        assert drawn(document(*lines, tax_total=D(stated))).state is State.MATCHED


def test_taxes_of_lines_stand_where_no_total_is_printed() -> None:
    lines = (replace(LINES[0], tax=D("7.67")), replace(LINES[1], tax=D("4.80")))
    assert only_break(drawn(document(*lines))).amount == D("1.00")
    half = (replace(LINES[0], tax=D("7.67")), LINES[1])
    assert draw_client(replace(_inputs(), documents=(document(*half),))) is None


def test_documents_without_tax_or_totals_say_nothing() -> None:
    assert draw_client(replace(_inputs(), documents=(document(),))) is None
    assert draw_client(replace(_inputs(), documents=(document(line("1", "9", None), tax_total=D(1)),))) is None


def _inputs() -> ClientInputs:
    return ClientInputs(CLIENT, OCTOBER, MONTH_OVER, (), INVOICED)


def test_a_total_that_is_not_the_sum_of_its_lines() -> None:
    assert draw_client(replace(_inputs(), documents=(document(total=D("60.34")),))) is None
    inside = drawn(document(total=D("60.36")))
    assert (inside.state, inside.lines[0].state) == (State.MATCHED, LineState.EXPLAINED)
    verdict = drawn(document(total=D("60.37")))
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount) == (Code.ROUNDING, "we_owe_client", D("0.03"))
    assert body.why == "INV-20931: net total of 60.37 printed, its parts come to 60.34"
    assert only_break(drawn(document(total=D("50.34")))).direction == "client_owes_us"


def test_a_gross_total_is_net_and_tax() -> None:
    right = document(total=D("60.34"), tax_total=D("11.46"), gross_total=D("71.80"))
    assert [one.key[0] for one in drawn(right).lines] == ["tax"]
    verdict = drawn(replace(right, gross_total=D("72.80")))
    assert (only_break(verdict).amount, verdict.breaks[0].key) == (D("1.00"), ("*", "psa", "INV-20931", "gross"))
    # A net that is off is told once.
    assert only_break(drawn(replace(right, total=D("61.34"), gross_total=D("72.80")))).amount == D("1.00")


def test_currencies_without_decimals_are_rounded_to_whole_units() -> None:
    lines = tuple(replace(one, currency="JPY", amount=D("1005")) for one in LINES)
    assert drawn(document(*lines, currency="JPY", tax_total=D("384"))).state is State.MATCHED
    assert drawn(document(*lines, currency="JPY", tax_total=D("385"))).breaks


def test_figures_beyond_a_record_are_passed_by() -> None:
    huge = document(line("1", "10000000000000000000"), tax_total=D(1), total=D(1))
    assert draw_client(replace(_inputs(), documents=(huge,))) is None


def test_order_never_matters() -> None:
    documents = [document(tax_total=D("20")), document(invoice="INV-2", total=D("1"), tax_total=D("11.48"))]
    one = drawn(*documents)
    flipped = [replace(each, lines=tuple(reversed(each.lines))) for each in reversed(documents)]
    assert drawn(*flipped) == one
