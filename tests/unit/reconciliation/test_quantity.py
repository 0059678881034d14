"""QTY_UNDER and QTY_OVER: golden cases by hand."""

from __future__ import annotations

from dataclasses import replace

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation.inputs import FeedSpan, InvoiceState, Settings
from shared.reconciliation.verdict import State
from tests.unit.reconciliation.given import (
    MID_MONTH,
    D,
    at,
    counter,
    drawn,
    flat_line,
    gauge,
    only_break,
    posted,
    sides,
    unit_line,
)

USED_53 = (gauge((at(1), "40"), (at(9), "53"), (at(20), "41")),)


def test_under_on_the_invoice() -> None:
    verdict = drawn(lines=(unit_line("4.20"),), used=USED_53, invoice=(posted("40", "4.20"),))
    body = only_break(verdict)
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("222.60"), D("168.00"), D("-54.60"))
    assert (body.code, body.direction, body.reached) == (
        Code.QTY_UNDER,
        Direction.CLIENT_OWES_US,
        Reached.CLIENT_INVOICE,
    )
    assert (body.quantity, body.amount, body.currency) == (D(13), D("54.60"), "EUR")
    assert body.why == "53 used, 40 billed at 4.20"
    assert body.contract_ref == "C-1042 line 3"
    assert body.billed is not None
    assert body.billed.ref == "INV-20931 line 7"
    assert [(step.label, step.result) for step in body.derivation] == [
        ("used", D(53)),
        ("expected", D("222.60")),
        ("billed", D("168.00")),
        ("difference", D("54.60")),
    ]
    assert [source.id for source in body.derivation[0].sources] == ["a-1/1009T1200"]
    assert verdict.waiting == ()


def test_under_against_the_agreement_is_said_while_the_month_runs() -> None:
    verdict = drawn(lines=(unit_line("4.20", "40"),), used=USED_53, as_of=MID_MONTH)
    body = only_break(verdict)
    assert (body.code, body.reached, body.amount) == (Code.QTY_UNDER, Reached.NOWHERE, D("54.60"))
    assert body.why == "53 used, 40 set to be billed at 4.20"
    assert body.deadline is not None
    assert body.deadline.isoformat() == "2026-11-01"
    assert sides(verdict) == ["invoice"]
    assert verdict.state is State.BREAK


def test_the_stream_is_the_same_when_the_invoice_takes_over() -> None:
    running = drawn(lines=(unit_line("4.20", "40"),), used=USED_53, as_of=MID_MONTH)
    closed = drawn(lines=(unit_line("4.20", "40"),), used=USED_53, invoice=(posted("40", "4.20"),))
    over = drawn(lines=(unit_line(),), used=USED_53, invoice=(posted("60", "4.20"),), complete=True)
    assert running.breaks[0].stream_key == closed.breaks[0].stream_key == over.breaks[0].stream_key
    assert running.breaks[0].stream_key == ("QTY", "northwind", "2026-10-01/2026-11-01", "edr")


def test_over_on_the_invoice_waits_for_complete_usage() -> None:
    waiting = drawn(lines=(unit_line(),), used=USED_53, invoice=(posted("60", "4.20"),))
    assert (waiting.state, waiting.breaks, sides(waiting)) == (State.NOT_COMPARABLE, (), ["usage_complete"])
    assert (waiting.explained, waiting.explained_by) == (D("29.40"), "pending usage")
    assert waiting.waiting[0].what == "huntress has not declared October 2026 complete"

    body = only_break(drawn(lines=(unit_line(),), used=USED_53, invoice=(posted("60", "4.20"),), complete=True))
    assert (body.code, body.direction, body.amount, body.quantity) == (
        Code.QTY_OVER,
        Direction.WE_OWE_CLIENT,
        D("29.40"),
        D(7),
    )


def test_over_against_the_agreement() -> None:
    body = only_break(drawn(lines=(unit_line("4.20", "60"),), used=USED_53, complete=True))
    assert (body.code, body.amount, body.reached) == (Code.QTY_OVER, D("29.40"), Reached.NOWHERE)


def test_a_feed_without_any_source_is_never_complete() -> None:
    verdict = drawn(lines=(unit_line(),), used=USED_53, invoice=(posted("60", "4.20"),), feed_sources=())
    assert sides(verdict) == ["usage_complete"]


def test_each_source_must_be_complete_and_pieces_may_add_up() -> None:
    given = {"lines": (unit_line(),), "used": USED_53, "invoice": (posted("60", "4.20"),)}
    pieces = (
        FeedSpan("huntress", at(14), at(2, month=11)),
        FeedSpan("huntress", at(28, month=9), at(14)),
        FeedSpan("huntress", at(3), at(5)),
    )
    assert only_break(drawn(**given, feeds=pieces)).code is Code.QTY_OVER
    assert drawn(**given, feeds=pieces, feed_sources=("huntress", "pax8")).breaks == ()
    hole = (replace(pieces[0], covers_from=at(15)), pieces[1])
    assert drawn(**given, feeds=hole).breaks == ()


def test_included_units_come_off_before_the_comparison() -> None:
    verdict = drawn(lines=(unit_line("4.20", included="5"),), used=USED_53, invoice=(posted("40", "4.20"),))
    body = only_break(verdict)
    assert (body.quantity, body.amount) == (D(8), D("33.60"))
    assert body.why == "53 used, 5 included, 40 billed at 4.20"
    assert body.derivation[1].formula == "53 - 5 included = 48; 48 x 4.20 = 201.60"


def test_usage_within_the_included_units_is_not_billable() -> None:
    within = drawn(lines=(unit_line(included="60"),), used=USED_53, invoice=())
    assert (within.state, within.expected, within.billed) == (State.MATCHED, D(0), D(0))
    over = drawn(lines=(unit_line(included="60"),), used=USED_53, invoice=(posted("10", "4.20"),), complete=True)
    assert (only_break(over).code, only_break(over).amount) == (Code.QTY_OVER, D("42.00"))


def test_equal_sides_match_and_the_running_month_says_that_its_invoice_is_to_come() -> None:
    verdict = drawn(lines=(unit_line("4.20", "53"),), used=USED_53, as_of=MID_MONTH)
    assert (verdict.state, verdict.breaks, verdict.explained) == (State.MATCHED, (), 0)
    assert [(w.side, str(w.until)) for w in verdict.waiting] == [("invoice", "2026-11-06")]
    assert str(verdict.next_change) == "2026-11-06"


def test_a_quantity_tolerance_absorbs_only_when_both_widths_are_not_exceeded() -> None:
    given = {"lines": (unit_line(),), "used": USED_53, "invoice": (posted("51", "4.20"),)}
    absorbed_by_absolute = drawn(**given, settings=Settings(quantity_absolute=D(2)))
    assert (absorbed_by_absolute.state, absorbed_by_absolute.explained) == (State.MATCHED, D("-8.40"))
    assert absorbed_by_absolute.explained_by == "tolerance quantity"
    absorbed_by_relative = drawn(**given, settings=Settings(quantity_relative_pct=D(4)))  # 4 % of 53 = 2.12
    assert absorbed_by_relative.state is State.MATCHED
    exceeded = only_break(drawn(**given, settings=Settings(quantity_absolute=D("1.9"), quantity_relative_pct=D(3))))
    assert exceeded.tolerance is not None
    assert (exceeded.tolerance.name, exceeded.tolerance.absolute, exceeded.tolerance.relative_pct) == (
        "quantity",
        D("1.9"),
        D(3),
    )


def test_counters_and_accounts_add_up_and_shares_count() -> None:
    used = (counter("100.5"), counter("41", account="a-2", share=D("0.5")))
    verdict = drawn(lines=(unit_line("0.10"),), used=used, invoice=(posted("100", "0.10"),))
    assert only_break(verdict).quantity == D(21)
    assert only_break(verdict).derivation[0].formula == "sum of 6 records of 2 meters: 121"


def test_units_that_are_worth_nothing_are_no_break() -> None:
    verdict = drawn(lines=(unit_line("0.001"),), used=(counter("103"),), invoice=(posted("100", "0.001"),))
    assert (verdict.state, verdict.explained) == (State.MATCHED, 0)
    assert drawn(lines=(unit_line("0"),), used=USED_53, invoice=(posted("40", "0"),)).state is State.MATCHED


def test_without_a_contract_the_invoices_own_price_holds() -> None:
    body = only_break(drawn(used=USED_53, invoice=(posted("40", "3.00"),)))
    assert (body.code, body.amount, body.contract_ref) == (Code.QTY_UNDER, D("39.00"), None)


def test_a_credit_note_lowers_what_is_billed() -> None:
    lines = (posted("53", "4.20"), posted("-3", "4.20", line="1", invoice="CN-1", kind="credit_note"))
    body = only_break(drawn(lines=(unit_line(),), used=USED_53, invoice=lines))
    assert (body.code, body.amount, body.quantity) == (Code.QTY_UNDER, D("12.60"), D(3))
    assert body.billed is not None
    assert body.billed.ref == "CN-1 line 1 and 1 more"


def test_yen_have_no_decimals() -> None:
    line = unit_line("105.5", currency="JPY")
    body = only_break(drawn(lines=(line,), used=USED_53, invoice=(posted("40", "105.5", "4220", currency="JPY"),)))
    assert (body.amount, body.currency) == (D(1372), "JPY")  # 13 x 105.5 = 1371.5, half up
    assert body.derivation[-1].rounding == "half_up 0"


def test_an_incomplete_invoice_leaves_the_agreement_as_the_billed_side() -> None:
    verdict = drawn(
        lines=(unit_line("4.20", "40"),),
        used=USED_53,
        invoices=InvoiceState(incomplete=("INV-7: 3 of 12 lines",)),
    )
    assert only_break(verdict).reached is Reached.NOWHERE
    assert [(w.side, w.what) for w in verdict.waiting] == [("invoice_lines", "INV-7: 3 of 12 lines")]


def test_a_later_incomplete_version_does_not_stop_the_last_complete_one() -> None:
    verdict = drawn(
        lines=(unit_line(),),
        used=USED_53,
        invoice=(posted("40", "4.20"),),
        invoices=InvoiceState(complete=1, incomplete=("INV-20931: 1 of 2 lines",)),
    )
    assert (only_break(verdict).reached, sides(verdict)) == (Reached.CLIENT_INVOICE, ["invoice_lines"])


def test_what_the_lines_of_a_second_invoice_could_still_bill_waits_for_them() -> None:
    wait = ("MB: 0 of 1 lines",)
    invoices = InvoiceState(complete=1, incomplete=wait, coming=wait)
    for given in (
        {"lines": (unit_line(),), "invoice": (posted("40", "4.20"),)},
        {"lines": (unit_line(),), "invoice": ()},
        {"invoice": ()},
    ):
        assert drawn(used=USED_53, **given).breaks
        verdict = drawn(used=USED_53, **given, invoices=invoices)
        assert (verdict.state, verdict.breaks, verdict.broken) == (State.NOT_COMPARABLE, (), D(0))
        assert [(w.side, w.what) for w in verdict.waiting] == [("invoice_lines", wait[0])]


def test_what_the_lines_of_a_credit_note_could_still_give_back_waits_for_them() -> None:
    wait = ("CN-1: 0 of 1 lines",)
    given = {"lines": (unit_line(),), "used": USED_53, "invoice": (posted("60", "4.20"),), "complete": True}
    assert drawn(**given).breaks
    verdict = drawn(**given, invoices=InvoiceState(complete=1, incomplete=wait, crediting=wait))
    assert (verdict.breaks, verdict.explained, sides(verdict)) == ((), D("29.40"), ["invoice_lines"])


def test_a_quantity_and_a_price_come_apart_and_each_gets_its_part() -> None:
    verdict = drawn(lines=(unit_line("4.20"),), used=USED_53, invoice=(posted("40", "5.00"),))
    assert [(one.body.code, one.body.direction, one.body.amount) for one in verdict.breaks] == [
        (Code.PRICE_MISMATCH, Direction.WE_OWE_CLIENT, D("32.00")),
        (Code.QTY_UNDER, Direction.CLIENT_OWES_US, D("54.60")),
    ]
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("222.60"), D("200.00"), D("-22.60"))


def test_a_flat_price_does_not_look_at_usage() -> None:
    assert drawn(lines=(flat_line("150.00"),), used=USED_53, invoice=(posted("1", "150.00"),)).state is State.MATCHED


def test_a_level_from_before_the_month_needs_a_witness() -> None:
    """Either the meter is observed in the month, or its source is complete from there to the month's start."""
    given = {"lines": (unit_line("4.20", "40"),), "as_of": MID_MONTH}
    carried = (gauge((at(20, month=9), "53")),)
    alone = drawn(**given, used=carried)
    assert (alone.state, alone.breaks) == (State.NOT_COMPARABLE, ())
    assert "usage_complete" in sides(alone)
    observed = drawn(**given, used=(gauge((at(20, month=9), "53"), (at(3), "41")),))
    assert only_break(observed).quantity == D(13)
    complete = drawn(**given, used=carried, feeds=(FeedSpan("huntress", at(20, month=9), at(1, 0)),))
    assert only_break(complete).quantity == D(13)
    of_another = drawn(**given, used=carried, feeds=(FeedSpan("pax8", at(20, month=9), at(1, 0)),))
    assert of_another.breaks == ()
