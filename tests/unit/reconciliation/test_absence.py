"""PHANTOM_LINE, UNBILLED_SERVICE, MISSING_LINE: one side is not there at all."""

from __future__ import annotations

from datetime import timedelta

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation.compare import draw_group
from shared.reconciliation.inputs import InvoiceState, Product, Unmapped
from shared.reconciliation.verdict import State
from tests.unit.reconciliation.given import (
    MID_MONTH,
    OVERDUE,
    D,
    at,
    credit,
    drawn,
    flat_line,
    gauge,
    group,
    only_break,
    posted,
    sides,
    unit_line,
)

USED_7 = (gauge((at(3), "7")),)
GONE = (gauge((at(3, month=9), "7"), (at(20, month=9), "0")),)
LISTED = Product("edr", "Huntress EDR", list_price=D("5.00"), currency="EUR")


def test_nothing_at_all_is_no_verdict() -> None:
    assert draw_group(group()) is None
    assert draw_group(group(used=GONE)) is None
    assert draw_group(group(invoice=())) is None


# --- PHANTOM_LINE ------------------------------------------------------------------------------------------------
def test_phantom_without_contract_or_usage() -> None:
    verdict = drawn(invoice=(posted("3", "10.00"), posted("1", "2.00", line="8")), complete=True)
    assert [(one.key, one.body.amount, one.body.quantity) for one in verdict.breaks] == [
        (("invoice", "psa", "INV-20931", "7"), D("30.00"), D(3)),
        (("invoice", "psa", "INV-20931", "8"), D("2.00"), D(1)),
    ]
    body = verdict.breaks[0].body
    assert (body.code, body.direction, body.reached) == (
        Code.PHANTOM_LINE,
        Direction.WE_OWE_CLIENT,
        Reached.CLIENT_INVOICE,
    )
    assert body.why == "3 billed at 10.00 on INV-20931 line 7, nothing used"


def test_phantom_with_a_unit_priced_contract_and_zero_usage() -> None:
    body = only_break(drawn(lines=(unit_line(),), used=GONE, invoice=(posted("3", "4.20"),), complete=True))
    assert (body.code, body.amount) == (Code.PHANTOM_LINE, D("12.60"))


def test_phantom_waits_for_complete_usage() -> None:
    verdict = drawn(lines=(unit_line(),), used=GONE, invoice=(posted("3", "4.20"),))
    assert (verdict.state, sides(verdict), verdict.explained) == (State.NOT_COMPARABLE, ["usage_complete"], D("12.60"))


def test_phantom_waits_while_an_unmapped_identifier_may_hide_the_usage() -> None:
    hidden = (Unmapped("account", "huntress", "a-9"),)
    verdict = drawn(lines=(unit_line(),), invoice=(posted("3", "4.20"),), complete=True, unmapped=hidden)
    assert (verdict.state, sides(verdict)) == (State.NOT_COMPARABLE, ["mapping"])
    assert verdict.waiting[0].what == "account a-9 of huntress is not mapped"


def test_a_flat_fee_needs_no_usage() -> None:
    assert drawn(lines=(flat_line("150.00"),), invoice=(posted("1", "150.00"),), complete=True).state is State.MATCHED


def test_a_phantom_that_was_credited_is_gone() -> None:
    verdict = drawn(invoice=(posted("3", "10.00"), credit("-30.00")), complete=True)
    assert (verdict.state, verdict.breaks, verdict.billed) == (State.MATCHED, (), D("0.00"))
    beyond = drawn(invoice=(posted("3", "10.00"), credit("-35.00")), complete=True)
    assert (beyond.state, beyond.explained, beyond.explained_by) == (State.MATCHED, D("-5.00"), "credit note")


def test_what_a_credit_leaves_stays_with_the_largest_line() -> None:
    lines = (posted("1", "40.00"), posted("1", "100.00", line="8"), credit("-40.00"))
    body = only_break(drawn(invoice=lines, complete=True))
    assert (body.amount, body.billed.ref if body.billed else None) == (D("100.00"), "INV-20931 line 8")
    less = only_break(
        drawn(invoice=(posted("1", "40.00"), posted("1", "100.00", line="8"), credit("-90.00")), complete=True)
    )
    assert (less.amount, less.quantity) == (D("50.00"), None)
    assert less.why == "1 billed at 100.00 on INV-20931 line 8, nothing used; 50.00 not credited"


def test_an_agreement_that_bills_without_usage() -> None:
    running = drawn(lines=(unit_line("4.20", "3"),), used=GONE, as_of=MID_MONTH)
    assert (running.state, sides(running)) == (State.NOT_COMPARABLE, ["usage_complete", "invoice"])
    over = drawn(lines=(unit_line("4.20", "3"),), used=GONE, complete=True)
    assert over.breaks[0].key == ("agreement", "psa", "C-1042", "3")
    assert (over.breaks[0].body.amount, over.breaks[0].body.reached) == (D("12.60"), Reached.NOWHERE)
    assert drawn(lines=(unit_line("4.20", "0"),), used=GONE, as_of=MID_MONTH).state is State.MATCHED


# --- UNBILLED_SERVICE --------------------------------------------------------------------------------------------
def test_usage_without_contract_or_invoice_line() -> None:
    verdict = drawn(used=USED_7, as_of=MID_MONTH)
    body = only_break(verdict)
    assert (body.code, body.direction, body.reached) == (
        Code.UNBILLED_SERVICE,
        Direction.CLIENT_OWES_US,
        Reached.NOWHERE,
    )
    assert (body.amount, body.currency, body.quantity) == (None, None, D(7))
    assert body.why == "7 used, no contract and no invoice line"
    assert (verdict.expected, verdict.broken, verdict.owed) == (None, 0, True)


def test_unbilled_service_by_list_price() -> None:
    verdict = drawn(used=USED_7, invoice=(), product=LISTED)
    body = only_break(verdict)
    assert (body.amount, body.currency, body.reached) == (D("35.00"), "EUR", Reached.CLIENT_INVOICE)
    assert body.expected is not None
    assert body.expected.ref == "list price"
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("35.00"), D(0), D("-35.00"))


def test_unbilled_and_missing_share_a_stream() -> None:
    unbilled = drawn(used=USED_7, invoice=())
    missing = drawn(lines=(unit_line(),), used=USED_7, invoice=())
    assert unbilled.breaks[0].stream_key == missing.breaks[0].stream_key


# --- MISSING_LINE ------------------------------------------------------------------------------------------------
def test_a_contract_line_that_the_invoice_does_not_bill() -> None:
    verdict = drawn(lines=(unit_line("4.20", "7"),), used=USED_7, invoice=())
    body = only_break(verdict)
    assert (body.code, body.direction, body.reached) == (
        Code.MISSING_LINE,
        Direction.CLIENT_OWES_US,
        Reached.CLIENT_INVOICE,
    )
    assert (body.amount, body.quantity, verdict.broken) == (D("29.40"), D(7), D("-29.40"))
    assert body.why == "7 used, no invoice line; 29.40 is due"


def test_a_flat_line_that_the_invoice_does_not_bill() -> None:
    body = only_break(drawn(lines=(flat_line("150.00"),), invoice=()))
    assert (body.code, body.amount, body.why) == (
        Code.MISSING_LINE,
        D("150.00"),
        "flat 150.00 agreed, no invoice line",
    )


def test_nothing_is_missing_where_nothing_is_due() -> None:
    verdict = drawn(lines=(unit_line(),), used=GONE, invoice=())
    assert (verdict.state, verdict.expected, verdict.waiting) == (State.MATCHED, D("0.00"), ())


# --- no invoice at all ---------------------------------------------------------------------------------------------
def test_from_the_grace_on_a_group_without_any_invoice_is_the_clients_matter() -> None:
    given = {"lines": (unit_line("4.20", "40"),), "used": USED_7}
    assert drawn(**given, as_of=OVERDUE - timedelta(days=1), complete=True).breaks
    overdue = drawn(**given, as_of=OVERDUE, complete=True)
    assert (overdue.state, overdue.breaks, sides(overdue)) == (State.NOT_COMPARABLE, (), ["invoice"])
    assert (overdue.expected, overdue.owed, overdue.next_change) == (D("29.40"), True, None)
    incomplete = drawn(**given, as_of=OVERDUE, invoices=InvoiceState(incomplete=("INV-7: 0 of 2 lines",)))
    assert sides(incomplete) == ["usage_complete", "invoice_lines"]


def test_lines_of_its_own_are_an_invoice_whatever_the_documents_period_is() -> None:
    verdict = drawn(
        lines=(unit_line(),), used=USED_7, invoice=(posted("5", "4.20"),), invoices=InvoiceState(straddling=1)
    )
    assert (only_break(verdict).reached, verdict.owed) == (Reached.CLIENT_INVOICE, False)


def test_a_credit_note_alone_is_no_invoice() -> None:
    given = {"lines": (unit_line("4.20", "7"),), "used": USED_7, "as_of": MID_MONTH}
    verdict = drawn(**given, invoice=(credit("-3.00"),), invoices=InvoiceState())
    assert (verdict.state, sides(verdict)) == (State.MATCHED, ["invoice"])


def test_evidence_names_twenty_records_and_counts_all() -> None:
    lines = tuple(posted("1", "1.00", line=f"{n:03}") for n in range(30))
    verdict = drawn(lines=(unit_line("4.20"),), used=USED_7, invoice=lines, complete=True)
    step = next(step for step in verdict.breaks[0].body.derivation if step.label == "billed")
    assert (len(step.sources), step.records, step.sources[0].id) == (20, 30, "INV-20931/000")
