"""The order of application: rating.md section 4."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from shared.events.discrepancies import Source
from shared.reconciliation.rating import apply_commitment, due, total
from shared.reconciliation.rating.model import Amount, Component, Level, Measurement, Service, Version
from tests.unit.reconciliation.rating.lines import (
    JUNE,
    D,
    at,
    counter,
    day,
    figures,
    flat,
    parts_of,
    seats,
    service,
    terms,
    tiers,
    unit,
    used,
    versions,
)

FULL = unit(
    "0.50",
    included="200",
    free="40",
    discount_pct="10",
    discount_amount="20.00",
    maximum_amount="450",
    minimum_amount="300",
)


def test_all_steps_above_the_maximum() -> None:
    (line,) = due(service(FULL), counter("1340"), JUNE, True)
    assert (line.quantity, line.amount, line.discounts, line.total) == (1_100, D("550.00"), D("100.00"), D("450.00"))
    shown = [(step.label, step.formula) for step in line.steps]
    assert shown == [
        ("used", "sum of 1 record = 1340"),
        ("billable", "1340 - 200 included - 40 free = 1100"),
        ("usage", "1100 x 0.50 = 550.00"),
        ("discount", "550.00 x 10 % = 55.00"),
        ("discount", "20.00 off"),
        ("maximum", "475.00 - 450.00 left to the maximum = 25.00"),
    ]


def test_all_steps_below_the_minimum() -> None:
    found = due(service(FULL), counter("300"), JUNE, True)
    assert figures(found) == [("usage", D("7.00")), ("minimum", D("293.00"))]
    assert found[1].category == "commitment"
    assert (found[1].amount, found[1].charges, found[1].unit_price) == (0, D("293.00"), None)
    assert found[1].steps[0].formula == "300.00 - 7.00 = 293.00"


def test_a_minimum_waits_for_the_end_and_a_maximum_does_not() -> None:
    assert figures(due(service(FULL), counter("300"), JUNE, False)) == [("usage", D("7.00"))]
    assert total(due(service(FULL), counter("1340"), JUNE, False)) == D("450.00")


def test_a_minimum_is_due_when_nothing_was_used_or_all_was_discounted() -> None:
    assert figures(due(service(unit("1", minimum_amount="300")), counter(), JUNE, True)) == [("minimum", D("300.00"))]
    of = service(unit("1", minimum_amount="300", discount_pct="100"))
    assert total(due(of, counter("500"), JUNE, True)) == D("300.00")


def test_minimum_and_maximum_are_prorated() -> None:
    for more, amount in (({"minimum_amount": "300"}, "150.00"), ({"maximum_amount": "100"}, "50.00")):
        of = service(unit("1", **more), day("6-1"), day("6-16"))
        (part,) = parts_of(of, day("6-1"), day("7-1"))
        assert total(due(of, counter("60"), part, True)) == D(amount)


def test_a_contracts_minimum_over_its_lines() -> None:
    part = parts_of(service(flat("1"), day("5-11")), day("5-1"), day("6-1"))[0]
    lines = tuple(
        Component("usage", D(1), amount, amount, day("5-11"), day("6-1")) for amount in (D("210.00"), D("95.50"))
    )
    found = apply_commitment(D("500.00"), None, lines, Fraction(21, 31), "EUR", True, part)
    assert figures(found) == [("usage", D("210.00")), ("usage", D("95.50")), ("minimum", D("33.21"))]
    assert (found[-1].start, found[-1].end) == (day("5-11"), day("6-1"))
    assert apply_commitment(D("500.00"), None, lines, Fraction(21, 31), "EUR", False, part) == lines


def test_a_maximum_is_walked_in_order_and_never_spread() -> None:
    of = service(terms("graduated", price=tiers(("8", "4.00", "9"), (None, "3.00", "15")), maximum_amount="36"))
    found = due(of, counter("10"), JUNE, True)
    assert [(c.component, c.total) for c in found] == [
        ("tier 1.usage", D("32.00")),
        ("tier 1.flat", D("4.00")),
        ("tier 2.usage", D("0.00")),
        ("tier 2.flat", D("0.00")),
    ]
    assert [c.discounts for c in found] == [0, D("5.00"), D("6.00"), D("15.00")]


def test_a_commitment_of_a_scope_is_left_to_the_caller() -> None:
    of = service(unit("1", minimum_amount="300", maximum_amount="400", scope={"contract": True}))
    assert total(due(of, counter("7"), JUNE, True)) == D("7.00")
    assert total(due(of, counter("500"), JUNE, True)) == D("500.00")


def test_flat_fees_take_discounts_but_a_commitment_only_as_part_of_a_scope() -> None:
    for more in ({"minimum_amount": "300"}, {"maximum_amount": "1"}):
        of = service(flat("100", discount_pct="10", discount_amount="5", **more))
        assert figures(due(of, None, JUNE, True)) == [("flat", D("85.00"))]


def test_several_discounts_each_take_from_what_the_former_left_percentages_first() -> None:
    of = service(
        unit("1", discounts=[{"amount": "10", "name": "coupon"}, {"pct": "50"}, {"pct": "10"}], discount_amount="1")
    )
    (line,) = due(of, counter("100"), JUNE, True)
    assert line.discounts == D("66.00")  # 50, 5, 1, 10
    assert [s.label for s in line.steps[2:]] == ["discount", "discount", "discount", "coupon"]


def test_an_amount_is_split_over_lines_and_never_exceeds_them() -> None:
    of = terms("graduated", price=tiers(("10", "1.00"), (None, "2.00")), discount_amount="10.00")
    found = due(service(of), counter("15"), JUNE, True)
    assert [c.discounts for c in found] == [D("5.00"), D("5.00")]
    assert total(due(service(of), counter("4"), JUNE, True)) == 0
    to_last = of.model_copy(update={"split": "remainder_to_last", "discount_amount": D("0.05")})
    assert [c.discounts for c in due(service(to_last), counter("15"), JUNE, True)] == [D("0.02"), D("0.03")]


def test_each_discount_is_rounded_on_its_line() -> None:
    (line,) = due(service(unit("0.35", discount_pct="10")), counter("1"), JUNE, True)
    assert line.discounts == D("0.04")


@pytest.mark.parametrize(
    ("of", "measured", "discounts"),
    [
        (unit, seats(("5-1", "3")), "6.00"),  # 20 of 30 days
        (unit, used(("6-5", "2"), ("6-15", "1")), "3.00"),  # one of three units
        (flat, None, "2.00"),
    ],
)
def test_a_discount_that_starts_inside_a_period(of: Any, measured: Any, discounts: str) -> None:
    (line,) = due(service(of("30", discounts=[{"pct": "10", "effective_from": "2025-06-11"}])), measured, JUNE, True)
    assert line.discounts == D(discounts)
    ended = of("30", discounts=[{"pct": "10", "effective_from": "2025-01-01", "effective_to": "2025-06-11"}])
    (line,) = due(service(ended), measured, JUNE, True)
    whole = D("3.00") if of is flat else D("9.00")
    assert line.discounts == whole - D(discounts)


def test_a_discount_finds_only_what_the_former_left_on_its_own_days() -> None:
    in_turn = [{"pct": "10", "effective_to": "2025-06-16"}, {"pct": "20", "effective_from": "2025-06-16"}]
    (line,) = due(service(flat("100", discounts=in_turn)), None, JUNE, True)
    assert line.discounts == D("15.00")  # 10 % of 50.00 and 20 % of 50.00
    raised = versions(("1-1", flat("100", discount_pct="10")), ("6-16", flat("100", discount_pct="20")))
    assert total(due(raised, None, JUNE, True)) == D("85.00")
    both = [{"pct": "10", "effective_to": "2025-06-16"}, {"pct": "50"}, {"pct": "20", "effective_from": "2025-06-16"}]
    assert total(due(service(flat("100", discounts=both)), None, JUNE, True)) == D("42.50")  # 22.50 + 20.00
    used_in_turn = used(("6-5", "30"), ("6-20", "70"))
    assert total(due(service(unit("1", discounts=in_turn)), used_in_turn, JUNE, True)) == D("83.00")


def test_one_discount_over_two_versions_is_given_once() -> None:
    of = versions(("1-1", flat("30", discount_amount="5")), ("6-11", flat("60", discount_amount="5")))
    found = due(of, None, JUNE, True)
    assert sum(line.discounts for line in found) == D("5.00")


def test_quantities_are_raised_and_cut_after_included_units() -> None:
    of = service(unit("1", included="10", minimum_quantity="5", maximum_quantity="20"))
    for used_, q in (("0", 5), ("12", 5), ("17", 7), ("99", 20)):
        assert due(of, counter(used_), JUNE, True)[0].quantity == q
    gauge = due(of, seats(("6-1", "0"), ("6-16", "99")), JUNE, True)
    assert total(gauge) == D("12.50")


@pytest.mark.parametrize(
    ("more", "early"),
    [({}, True), ({"interim": "none"}, False), ({"statistic": "last"}, False), ({"statistic": "max"}, True)],
)
def test_what_can_fall_again_waits_for_the_end(more: dict[str, Any], early: bool) -> None:
    of = service(unit("1", **more))
    assert bool(due(of, seats(("6-1", "5")), JUNE, False)) is early
    assert due(of, seats(("6-1", "5")), JUNE, True)


def test_volume_tiers_wait_for_the_end_unless_agreed_otherwise() -> None:
    price = tiers((None, "2.00"))
    assert due(service(terms("volume", price=price)), counter("5"), JUNE, False) == ()
    assert due(service(terms("volume", price=price, interim="cumulative")), counter("5"), JUNE, False)
    advance = service(terms("volume", price=price, billing="advance"))
    assert due(advance, seats(("6-1", "5")), JUNE, False)
    assert due(advance, counter("5"), JUNE, False) == ()  # usage cannot be billed before it happens


def test_what_adds_up_does_not_fall_whatever_statistic_a_gauge_would_have() -> None:
    assert due(service(unit("1", statistic="last")), counter("5"), JUNE, False)


def test_nothing_measured_is_not_zero() -> None:
    assert due(service(unit("1", minimum_quantity="3")), None, JUNE, True) == ()


def named(numbers: range) -> tuple[Source, ...]:
    return tuple(Source(type="usage.metered.v1", source="vendor.sentinel", id=f"evt-{n:02}") for n in numbers)


def test_a_line_names_the_first_twenty_records_that_it_rests_on_and_counts_them_all() -> None:
    amounts = tuple(
        Amount(at("2025-06-05T00:00:00+00:00"), D(1), named(range(n, n + 1)), records=3) for n in range(29, -1, -1)
    )
    (line,) = due(service(unit("1")), Measurement("counter", amounts=amounts), JUNE, True)
    assert (line.sources, line.records) == (named(range(20)), 90)
    levels = tuple(Level(at(f"2025-06-{n:02}T00:00:00+00:00"), D(n), None, named(range(n, n + 1))) for n in (9, 2))
    (line,) = due(service(unit("1")), Measurement("gauge", levels), JUNE, True)
    assert ([source.id for source in line.sources], line.records) == (["evt-02", "evt-09"], 2)
    (line,) = due(service(flat("1")), Measurement("gauge", levels), JUNE, True)
    assert (line.sources, line.records) == ((), 0)


def test_a_line_names_the_record_of_its_terms() -> None:
    (record,) = named(range(1))
    of = Service((Version(flat("1"), day("1-1"), None, record),), "EUR")
    assert due(of, None, JUNE, True)[0].steps[0].sources == (record,)


def test_a_maximum_over_the_lines_of_a_contract() -> None:
    lines = due(service(unit("1")), counter("60"), JUNE, True) + due(service(flat("50")), None, JUNE, True)
    found = apply_commitment(None, D("100"), lines, D(1), "EUR", False, JUNE)
    assert [(c.component, c.total) for c in found] == [("usage", D("60.00")), ("flat", D("40.00"))]
    assert found[1].steps[-1].formula == "50.00 - 40.00 left to the maximum = 10.00"


def test_a_commitment_of_one_version_holds_for_what_lies_in_it() -> None:
    of = versions(("1-1", unit("1", maximum_amount="30")), ("6-16", unit("2", minimum_amount="100")))
    found = due(of, used(("6-2", "40"), ("6-20", "10")), JUNE, True)
    assert [(c.unit_price, c.total) for c in found] == [(1, D("15.00")), (2, D("20.00")), (None, D("30.00"))]
    same = versions(("1-1", unit("1", maximum_amount="30")), ("6-16", unit("1")))
    (line,) = due(same, used(("6-2", "40"), ("6-20", "10")), JUNE, True)
    assert (line.amount, line.discounts) == (D("50.00"), D("25.00"))


def test_usage_at_the_instant_of_a_change_is_priced_by_the_new_version() -> None:
    of = versions(("1-1", unit("1")), ("6-16", unit("2")))
    (line,) = due(of, Measurement("counter", amounts=(Amount(at("2025-06-16T00:00:00+00:00"), D(1)),)), JUNE, True)
    assert line.unit_price == 2


def test_the_same_discount_may_be_given_twice() -> None:
    (line,) = due(service(unit("1", discounts=[{"pct": "10"}, {"pct": "10"}])), counter("100"), JUNE, True)
    assert line.discounts == D("19.00")


def test_quantities_may_be_shares() -> None:
    third = Measurement("counter", amounts=(Amount(at("2025-06-05T00:00:00+00:00"), Fraction(10, 3)),))
    of = service(terms("graduated", price=tiers(("2", "1.00"), (None, "3.00"))))
    assert figures(due(of, third, JUNE, True)) == [("tier 1.usage", D("2.00")), ("tier 2.usage", D("4.00"))]
    package = service(terms("package", price={"size": "3", "amount": "6"}))
    assert total(due(package, third, JUNE, True)) == D("12.00")
    assert total(due(service(unit("1", included="1", minimum_quantity="5")), third, JUNE, True)) == D("5.00")
    gauge = Measurement("gauge", (Level(at("2025-06-01T00:00:00+00:00"), Fraction(1, 3)),))
    assert total(due(service(unit("90")), gauge, JUNE, True)) == D("30.00")


def test_many_transactions_are_shown_as_far_as_a_record_can_hold_them() -> None:
    measured = used(*(("6-5", str(n)) for n in range(1, 41)))
    of = service(terms("percentage", price={"rate_pct": "10", "fixed": "0.1", "free_events": 2, "per_event_max": "3"}))
    (line,) = due(of, measured, JUNE, True)
    (step,) = line.steps
    assert step.formula.startswith("(3 x 10 % + 0.10) + (4 x 10 % + 0.10)")
    assert step.formula.endswith(f" = {line.amount}")
    assert len(step.formula) <= 500


def test_conversion_and_allowances_are_steps_of_their_own() -> None:
    convert = {"from_unit": "byte", "to_unit": "GiB", "divide": "1073741824", "rounding": {"mode": "up", "scale": 0}}
    of = service(unit("2", convert=convert, included="1", minimum_quantity="10"))
    (line,) = due(of, counter("5905580032", unit="byte"), JUNE, True)
    assert [(s.label, s.formula, s.rounding) for s in line.steps] == [
        ("used", "sum of 1 record = 5905580032", None),
        ("converted", "5905580032 / 1073741824 = 6 GiB", "up 0"),
        ("billable", "6 - 1 included = 5, raised to the least of 10", None),
        ("usage", "10 x 2.00 = 20.00", "half_up 2"),
    ]
    (line,) = due(service(unit("2", included="7", minimum_quantity="1")), counter("3"), JUNE, True)
    assert line.steps[1].formula == "3 is within 7 included = 0, raised to the least of 1"
    blocks = due(
        service(terms("package", price={"size": "25", "amount": "6"}, maximum_quantity="26")), counter("90"), JUNE, True
    )
    assert [s.formula for s in blocks[0].steps] == [
        "sum of 1 record = 90",
        "90, cut to the greatest of 26",
        "26 / 25, started = 2",
        "2 x 6.00 = 12.00",
    ]


def test_allowances_of_a_gauge_are_a_step_too() -> None:
    (line,) = due(service(unit("2", included="2")), seats(("6-1", "5")), JUNE, True)
    assert [(s.label, s.formula) for s in line.steps if s.label == "billable"] == [("billable", "5 - 2 included = 3")]
    assert line.amount == D("6.00")
