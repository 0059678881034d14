"""Cumulative rating, late usage, voids: rating.md section 5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from shared.kernel.periods import Period
from shared.reconciliation.rating import Statement, due, rate, rate_original, total
from shared.reconciliation.rating.model import Component
from tests.unit.reconciliation.rating.lines import (
    JUNE,
    D,
    counter,
    day,
    figures,
    flat,
    seats,
    service,
    terms,
    tiers,
    unit,
    used,
    versions,
)

TIERED = service(terms("graduated", price=tiers(("8", "4.00", "9"), ("20", "3.25"), (None, "2.50", "15"))))
A, B = Period(day("6-1"), day("6-16")), Period(day("6-16"), day("7-1"))


def booked(lines: Iterable[Component], ref: str) -> tuple[Component, ...]:
    return tuple(replace(line, booked=ref) for line in lines)


def shown(lines: Iterable[Component]) -> list[tuple[str, D, D]]:
    return [(line.component, D(line.quantity), line.total) for line in lines]


def test_a_statement_bills_what_is_due_less_what_was_billed() -> None:
    a = rate(TIERED, used(("6-5", "6")), JUNE, False, ())
    assert figures(a) == [("tier 1.usage", D("24.00")), ("tier 1.flat", D("9.00"))]
    b = rate(TIERED, used(("6-5", "6"), ("6-20", "9")), JUNE, True, a)
    assert shown(b) == [("tier 1.usage", 2, D("8.00")), ("tier 2.usage", 7, D("22.75"))]
    assert b[0].steps[-1].formula == "32.00 due - 24.00 billed = 8.00"
    late = used(("6-5", "6"), ("6-6", "3"), ("6-20", "9"))
    assert shown(rate(TIERED, late, JUNE, True, a + b)) == [("tier 2.usage", 3, D("9.75"))]


def test_late_units_stand_where_they_belong_when_corrections_are_booked_there() -> None:
    a = booked(rate(TIERED, used(("6-5", "6")), JUNE, False, ()), "INV-A")
    b = booked(rate(TIERED, used(("6-5", "6"), ("6-20", "9")), JUNE, True, a), "INV-B")
    late = used(("6-5", "6"), ("6-6", "3"), ("6-20", "9"))
    lines = rate_original(TIERED, late, JUNE, True, [Statement(B, b, "INV-B"), Statement(A, a, "INV-A")])
    assert [(*line, c.corrects, c.start) for line, c in zip(shown(lines), lines, strict=True)] == [
        ("tier 1.usage", 2, D("8.00"), "INV-A", A.start),
        ("tier 2.usage", 1, D("3.25"), "INV-A", A.start),
        ("tier 1.usage", -2, D("-8.00"), None, B.start),
        ("tier 2.usage", 2, D("6.50"), None, B.start),
    ]
    assert total(lines) == D("9.75")


def test_volume_that_falls_into_another_tier_reverses_what_was_billed() -> None:
    of = service(terms("volume", price=tiers(("30", "2.00"), (None, "1.40")), interim="cumulative"))
    a = booked(rate(of, used(("6-5", "28")), JUNE, False, ()), "INV-A line 1")
    measured = used(("6-5", "28"), ("6-20", "5"))
    b = rate(of, measured, JUNE, True, a)
    assert [(c.quantity, c.unit_price, c.total, c.corrects) for c in b] == [
        (33, D("1.40"), D("46.20"), None),
        (-28, D("2.00"), D("-56.00"), "INV-A line 1"),
    ]
    assert total(b) == D("-9.80")
    original = rate_original(of, measured, JUNE, True, [Statement(A, a, "INV-A"), Statement(B)])
    assert [(c.start, c.total) for c in original] == [(A.start, D("-56.00")), (B.start, D("46.20"))]
    assert [c.corrects for c in original] == ["INV-A line 1", None]


def test_a_maximum_over_two_statements() -> None:
    of = service(unit("5.00", maximum_amount="80"))
    a = rate(of, used(("6-5", "6")), JUNE, False, ())
    b = rate(of, used(("6-5", "6"), ("6-20", "12")), JUNE, True, a)
    assert [(c.amount, c.discounts, c.total) for c in a + b] == [
        (D("30.00"), 0, D("30.00")),
        (D("60.00"), D("10.00"), D("50.00")),
    ]
    late = used(("6-5", "6"), ("6-6", "2"), ("6-20", "12"))
    lines = rate_original(of, late, JUNE, True, [Statement(A, a, "INV-A"), Statement(B, b, "INV-B")])
    assert [(c.quantity, c.amount, c.discounts) for c in lines] == [(2, D("10.00"), 0), (0, 0, D("10.00"))]
    assert total(lines) == 0
    current = rate(of, late, JUNE, True, a + b)
    assert [(c.quantity, c.amount, c.discounts) for c in current] == [(2, D("10.00"), D("10.00"))]


def test_rounding_differences_correct_themselves() -> None:
    of = service(unit("0.004"))
    a = rate(of, counter("601"), JUNE, False, ())
    b = rate(of, counter("601", "602"), JUNE, True, a)
    assert [(c.quantity, c.total) for c in a + b] == [(601, D("2.40")), (602, D("2.41"))]


def test_a_flat_fee_is_billed_once() -> None:
    advance = service(flat("150", billing="advance"))
    first = rate(advance, None, JUNE, False, ())
    assert total(first) == D("150.00")
    assert rate(advance, None, JUNE, True, first) == ()
    assert total(rate(service(flat("150")), None, JUNE, True, ())) == D("150.00")


def test_a_minimum_stands_on_the_last_statement_and_shrinks_with_late_usage() -> None:
    of = service(unit("1", minimum_amount="100"))
    a = rate(of, used(("6-5", "30")), JUNE, False, ())
    b = rate(of, used(("6-5", "30")), JUNE, True, a)
    assert figures(b) == [("minimum", D("70.00"))]
    late = used(("6-5", "30"), ("6-6", "20"))
    lines = rate(of, late, JUNE, True, (*a, *b))
    assert figures(lines) == [("usage", D("20.00")), ("minimum", D("-20.00"))]
    gone = rate(of, used(("6-5", "130")), JUNE, True, (*a, *booked(b, "INV-B")))
    assert [(c.component, c.total, c.corrects) for c in gone] == [
        ("usage", D("100.00"), None),
        ("minimum", D("-70.00"), "INV-B"),
    ]


def test_a_percentage_and_a_cost_match_on_their_rate_alone() -> None:
    cost = service(terms("cost_plus", price={"factor": "1.25"}))
    a = rate(cost, used(("6-5", "80"), kind="cost"), JUNE, False, ())
    (line,) = rate(cost, used(("6-5", "90"), kind="cost"), JUNE, True, a)
    assert (line.quantity, line.total) == (10, D("12.50"))
    fees = service(terms("percentage", price={"rate_pct": "2", "fixed": "0.10"}))
    a = rate(fees, used(("6-5", "100")), JUNE, False, ())
    (line,) = rate(fees, used(("6-5", "100"), ("6-6", "50")), JUNE, True, a)
    assert (line.quantity, line.total) == (50, D("1.10"))


def test_a_voided_statement_was_never_billed_and_a_credit_note_was() -> None:
    a = rate(TIERED, used(("6-5", "6")), JUNE, False, ())
    assert rate(TIERED, used(("6-5", "6")), JUNE, False, ()) == a
    credit = tuple(replace(c, quantity=-c.quantity, amount=-c.amount) for c in a)
    assert figures(rate(TIERED, used(("6-5", "6")), JUNE, False, a + credit)) == figures(a)


def test_a_credit_never_exceeds_what_was_billed() -> None:
    a = rate(TIERED, used(("6-5", "6")), JUNE, False, ())
    lines = rate(TIERED, used(("6-5", "6"), ("6-6", "-50")), JUNE, True, a)
    assert figures(lines) == [("tier 1.usage", D("-24.00"))]


def test_a_price_that_is_amended_late_reprices_what_was_billed() -> None:
    old = service(unit("2.00"))
    a = booked(rate(old, counter("10"), JUNE, True, ()), "INV-A")
    lines = rate(service(unit("1.50")), counter("10"), JUNE, True, a)
    assert [(c.unit_price, c.total, c.corrects) for c in lines] == [
        (D("1.50"), D("15.00"), None),
        (D("2.00"), D("-20.00"), "INV-A"),
    ]
    late = versions(("1-1", unit("2.00")), ("6-11", unit("1.50")))
    both = rate(late, used(("6-5", "4"), ("6-20", "6")), JUNE, True, a)
    assert [(c.unit_price, c.quantity, c.total) for c in both] == [
        (D("2.00"), -6, D("-12.00")),
        (D("1.50"), 6, D("9.00")),
    ]


def test_seats_over_two_statements_add_up_to_the_period() -> None:
    of = service(unit("12.40"))
    a = rate(of, seats(("6-1", "3"), ("6-11", "5"), until=B.start), JUNE, False, ())
    b = rate(of, seats(("6-1", "3"), ("6-11", "5"), ("6-26", "4")), JUNE, True, a)
    assert total(a + b) == D("51.67") == total(due(of, seats(("6-1", "3"), ("6-11", "5"), ("6-26", "4")), JUNE, True))
    original = rate_original(
        of, seats(("6-1", "3"), ("6-11", "5"), ("6-26", "4")), JUNE, True, [Statement(A, a, "INV-A"), Statement(B)]
    )
    assert [c.total for c in original] == [c.total for c in b]


def test_a_period_that_is_over_is_corrected_from_a_later_statement() -> None:
    of = service(unit("1", minimum_amount="100"))
    a = rate(of, used(("6-5", "30")), JUNE, False, ())
    b = rate(of, used(("6-5", "30"), ("6-20", "5")), JUNE, True, a)
    assert figures(b) == [("usage", D("5.00")), ("minimum", D("65.00"))]
    later = Period(JUNE.end, day("8-1"))
    statements = [Statement(A, a, "INV-A"), Statement(B, b, "INV-B"), Statement(later)]
    lines = rate_original(of, used(("6-5", "30"), ("6-6", "1"), ("6-20", "5")), JUNE, True, statements)
    assert [(c.component, c.total, c.corrects) for c in lines] == [
        ("usage", D("1.00"), "INV-A"),
        ("minimum", D("-1.00"), "INV-B"),
    ]


def test_a_commitment_matches_whatever_its_invoice_calls_its_price() -> None:
    of = service(unit("1", minimum_amount="100"))
    billed = tuple(
        replace(line, unit_price=D("70"), quantity=D(1)) if line.category == "commitment" else line
        for line in rate(of, counter("30"), JUNE, True, ())
    )
    assert rate(of, counter("30"), JUNE, True, billed) == ()


def test_lines_by_segment_stay_apart_until_one_of_their_price_was_billed() -> None:
    of = service(unit("30", lines="segment"))
    held = seats(("6-1", "3"), ("6-11", "5"))
    lines = rate(of, held, JUNE, True, ())
    assert lines == due(of, held, JUNE, True)
    assert [line.total for line in lines] == [D("30.00"), D("100.00")]
    (rest,) = rate(of, held, JUNE, True, booked(lines[:1], "A"))
    assert (rest.quantity, rest.total) == (5, D("100.00"))
    assert [step.formula for step in rest.steps if step.label == "usage"] == [
        "3 x 30.00 x 10/30 = 30.00",
        "5 x 30.00 x 20/30 = 100.00",
    ]


def test_a_sub_period_shows_what_was_due_before_it() -> None:
    a = booked(rate(TIERED, used(("6-5", "9")), JUNE, False, ()), "A")
    lines = rate_original(TIERED, used(("6-5", "9"), ("6-20", "9")), JUNE, True, [Statement(A, a, "A"), Statement(B)])
    assert [step.formula for step in lines[-1].steps] == [
        "sum of 2 records = 18",
        "10 x 3.25 = 32.50",
        "32.50 due - 3.25 due before = 29.25",
    ]
