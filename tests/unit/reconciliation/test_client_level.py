"""UNBILLED_CLIENT: what can only be said of the whole client."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation.client_level import draw_client
from shared.reconciliation.inputs import ClientInputs, GroupTotal, InvoiceState
from shared.reconciliation.verdict import State
from tests.unit.reconciliation.given import CLIENT, MID_MONTH, OCTOBER, OVERDUE, D, only_break, sides

EDR, HELPDESK = GroupTotal("edr", D("222.60"), "EUR", True), GroupTotal("helpdesk", D("150.00"), "EUR", True)
INPUTS = ClientInputs(CLIENT, OCTOBER, OVERDUE, (HELPDESK, EDR), InvoiceState())


def test_no_invoice_after_the_grace() -> None:
    verdict = draw_client(INPUTS)
    assert verdict is not None
    body = only_break(verdict)
    assert (body.code, body.direction, body.reached) == (
        Code.UNBILLED_CLIENT,
        Direction.CLIENT_OWES_US,
        Reached.NOWHERE,
    )
    assert (body.amount, body.currency, body.product) == (D("372.60"), "EUR", None)
    assert body.why == "EUR 372.60 is due for 2 products, and no invoice of October 2026"
    assert body.derivation[0].formula == "222.60 + 150.00"
    assert verdict.breaks[0].stream_key == ("UNBILLED", "northwind", "2026-10-01/2026-11-01", "*")
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("372.60"), D(0), D("-372.60"))


def test_it_waits_until_the_grace_is_over() -> None:
    verdict = draw_client(replace(INPUTS, as_of=date(2026, 11, 5)))
    assert verdict is not None
    assert (verdict.state, sides(verdict), verdict.next_change) == (State.NOT_COMPARABLE, ["invoice"], OVERDUE)
    assert draw_client(replace(INPUTS, as_of=MID_MONTH)) == draw_client(replace(INPUTS, as_of=None))


def test_an_invoice_answers_and_one_of_another_span_too() -> None:
    assert draw_client(replace(INPUTS, invoices=InvoiceState(complete=1))) is None
    assert draw_client(replace(INPUTS, invoices=InvoiceState(straddling=1))) is None


def test_an_incomplete_invoice_is_waited_for() -> None:
    verdict = draw_client(replace(INPUTS, invoices=InvoiceState(incomplete=("INV-7: 3 of 12 lines",))))
    assert verdict is not None
    assert (verdict.state, verdict.breaks, sides(verdict)) == (State.NOT_COMPARABLE, (), ["invoice_lines"])


def test_nothing_owed_is_nothing_unbilled() -> None:
    assert draw_client(replace(INPUTS, groups=(replace(EDR, owed=False),))) is None
    assert draw_client(replace(INPUTS, groups=())) is None


def test_a_month_before_the_books_were_opened_is_no_claim() -> None:
    verdict = draw_client(replace(INPUTS, opens=date(2026, 11, 1)))
    assert verdict is not None
    assert (verdict.state, sides(verdict)) == (State.NOT_COMPARABLE, ["invoice"])
    opened = draw_client(replace(INPUTS, opens=date(2026, 10, 1)))
    assert opened is not None
    assert opened.breaks


def test_amounts_of_two_currencies_are_not_added_up() -> None:
    verdict = draw_client(replace(INPUTS, groups=(EDR, replace(HELPDESK, currency="USD"))))
    assert verdict is not None
    body = only_break(verdict)
    assert (body.amount, body.currency, verdict.expected) == (None, None, None)
    assert body.why == "EUR 222.60 and USD 150.00 is due for 2 products, and no invoice of October 2026"


def test_products_without_a_price_are_counted() -> None:
    verdict = draw_client(replace(INPUTS, groups=(EDR, GroupTotal("voice", None, None, True))))
    assert verdict is not None
    assert only_break(verdict).amount == D("222.60")
    assert only_break(verdict).why.endswith("no invoice of October 2026; 1 more without a price")
