"""A part under several versions of its terms, piece by piece (rating.md sections 2 and 3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from shared.events.discrepancies import Source
from shared.reconciliation.rating import due, total
from shared.reconciliation.rating.model import Amount, Measurement, Part
from tests.unit.reconciliation.rating.lines import (
    JUNE,
    D,
    at,
    counter,
    day,
    figures,
    flat,
    seats,
    service,
    step,
    terms,
    tiers,
    unit,
    used,
    versions,
)

MAY = Part(day("5-1"), day("6-1"), day("5-1"), day("6-1"))
HALF = Part(day("6-1"), day("6-16"), day("6-1"), day("7-1"))


def test_shares_counted_in_different_ways_sum_exactly() -> None:
    """15/31 by days, then 15/30 in months of thirty days."""
    of = versions(("5-1", unit("31")), ("5-16", unit("31", proration="thirty_day")))
    (line,) = due(of, seats(("5-1", "2")), MAY, True)
    assert (line.amount, line.quantity) == (D("61.00"), 2)
    (mixed,) = due(of, seats(("5-1", "2"), ("5-16", "4")), MAY, True)
    # 2 x 15/31 + 4 x 15/30 units over 15/31 + 15/30 of a period.
    assert mixed.amount == D("92.00")
    assert mixed.quantity * (15 * 30 + 15 * 31) == 2 * 15 * 30 + 4 * 15 * 31


def test_a_peak_goes_on_over_versions() -> None:
    of = versions(("6-1", unit("1")), ("6-16", unit("2")))
    assert total(due(of, used(("6-5", "5"), ("6-20", "8"), kind="peak"), JUNE, True)) == D("5.00") + D("6.00")
    assert total(due(of, used(("6-5", "5"), ("6-20", "3"), kind="peak"), JUNE, True)) == D("5.00")
    assert total(due(of, used(("6-20", "3"), kind="peak"), JUNE, True)) == D("6.00")


def test_what_was_used_while_a_product_was_excluded_is_not_billed_later() -> None:
    of = versions(("6-1", unit("1")), ("6-11", unit("1", excluded=True)), ("6-21", unit("1")))
    assert total(due(of, used(("6-5", "10"), ("6-15", "20"), ("6-25", "30")), JUNE, True)) == D("40.00")
    gauge = due(versions(("6-1", unit("30")), ("6-11", unit("30", excluded=True))), seats(("6-1", "1")), JUNE, True)
    assert total(gauge) == D("10.00")


def test_a_price_by_unit_may_become_a_flat_fee() -> None:
    of = versions(("6-1", unit("30")), ("6-16", flat("60")))
    found = due(of, seats(("6-1", "2")), JUNE, True)
    assert sorted(figures(found)) == [("flat", D("30.00")), ("usage", D("30.00"))]
    assert total(due(of, used(("6-5", "1"), ("6-20", "7")), JUNE, True)) == D("30.00") + D("30.00")
    back = versions(("6-1", flat("60")), ("6-16", unit("30")))
    assert total(due(back, used(("6-5", "1"), ("6-20", "7")), JUNE, True)) == D("30.00") + D("210.00")
    assert figures(due(service(flat("60")), counter("5"), JUNE, True)) == [("flat", D("60.00"))]


def test_packages_of_a_gauge_are_those_of_its_highest_level_whole() -> None:
    of = terms("package", price={"size": "5", "amount": "6.00"})
    for levels, packages in (
        ((("6-1", "3"), ("6-11", "7"), ("6-21", "2")), 2),
        ((("6-1", "5"),), 1),
        ((("6-1", "0"),), 0),
    ):
        assert total(due(service(of), seats(*levels), JUNE, True)) == D(6) * packages
    assert total(due(service(of), seats(("6-1", "7")), HALF, True)) == D("12.00")
    raised = versions(("6-1", of), ("6-16", terms("package", price={"size": "5", "amount": "8.00"})))
    assert total(due(raised, seats(("6-1", "3"), ("6-20", "7")), JUNE, True)) == D("6.00") + D("8.00")


@pytest.mark.parametrize(
    ("more", "amount"),
    [
        ({}, "5.00"),
        ({"rounding": {"day_price": step(2)}}, "4.95"),
        ({"rounding": {"day_price": step(2, "up")}}, "5.10"),
        ({"rounding": {"day_price": step(2)}, "proration": "thirty_day"}, "4.95"),
        ({"rounding": {"day_price": step(2)}, "proration": "seconds"}, "5.00"),
        ({"rounding": {"unit_price": step(0)}}, "5.00"),
        ({"rounding": {"unit_price": step(0, "up")}}, "5.00"),
        ({"rounding": {"fraction": step(1, "down"), "day_price": step(2)}}, "5.00"),
    ],
)
def test_what_is_rounded_inside_a_line_of_half_a_month(more: dict[str, Any], amount: str) -> None:
    assert total(due(service(unit("10", **more)), seats(("6-1", "1")), HALF, True)) == D(amount)
    assert total(due(service(flat("10", **more)), None, HALF, True)) == D(amount)


def test_the_price_of_a_unit_is_rounded_in_its_own_mode_before_it_is_multiplied() -> None:
    for mode, amount in (("half_up", "51.70"), ("down", "51.60")):
        of = service(unit("10.33", rounding={"unit_price": step(2, mode)}))
        assert total(due(of, seats(("6-1", "10")), HALF, True)) == D(amount)


def test_where_any_part_costs_a_period_changes_inside_it_do_not_count() -> None:
    of = versions(("6-1", unit("10", proration="none")), ("6-16", unit("20", proration="none")))
    assert total(due(of, seats(("6-1", "1")), JUNE, True)) == D("10.00")
    assert total(due(of, used(("6-5", "5"), ("6-20", "5")), JUNE, True)) == D("150.00")
    fees = versions(("6-1", flat("10", proration="none")), ("6-16", flat("20", proration="none")))
    assert total(due(fees, None, JUNE, True)) == D("10.00")
    assert total(due(fees, counter("5"), JUNE, True)) == D("10.00")


def test_the_version_in_force_at_a_parts_start_prices_it() -> None:
    of = versions(("1-1", unit("10")), ("6-1", unit("20")), ("7-1", unit("40")))
    assert total(due(of, seats(("5-1", "1")), JUNE, True)) == D("20.00")
    assert total(due(of, seats(("5-1", "1")), MAY, True)) == D("10.00")


def test_a_minimum_quantity_holds_before_the_first_level_and_after_the_last() -> None:
    of = service(unit("30", minimum_quantity="2"))
    assert total(due(of, seats(("6-11", "5")), JUNE, True)) == D("20.00") + D("100.00")
    assert total(due(of, seats(("7-11", "5")), JUNE, True)) == D("60.00")
    assert total(due(service(unit("30")), seats(("6-11", "5")), JUNE, True)) == D("100.00")


def test_transactions_of_one_instant_are_taken_by_record_and_then_by_value() -> None:
    of = service(terms("percentage", price={"rate_pct": "10", "free_events": 1}))
    noon = at("2025-06-05T12:00:00+00:00")

    def record(id: str) -> tuple[Source, ...]:
        return (Source(type="usage.measured.v1", source="meter", id=id),)

    by_value = [Amount(noon, D(60)), Amount(noon, D(40))]
    by_record = [Amount(noon, D(60), record("a")), Amount(noon, D(40), record("b"))]
    for amounts, paid in ((by_value, "6.00"), (by_record, "4.00")):
        for given in (amounts, amounts[::-1]):
            assert total(due(of, Measurement("counter", amounts=tuple(given)), JUNE, True)) == D(paid)
    (line,) = due(of, Measurement("counter", amounts=tuple(by_value)), JUNE, True)
    assert (line.component, line.unit_price, line.quantity) == ("percentage", D("0.1"), 60)


def test_what_a_level_entered_under_old_terms_is_not_charged_again_under_new() -> None:
    def stepped(first: str, second: str) -> Any:
        return terms("graduated", price=tiers(("4", "0", first), (None, "0", second)))

    of = versions(("6-1", stepped("20", "10")), ("6-16", stepped("30", "15")))
    assert total(due(of, seats(("6-1", "3")), JUNE, True)) == D("20.00")
    assert total(due(of, seats(("6-1", "3"), ("6-20", "7")), JUNE, True)) == D("20.00") + D("15.00")
    assert total(due(of, seats(("6-1", "7"), ("6-10", "2")), JUNE, True)) == D("30.00")


def test_a_period_of_once_is_charged_whole() -> None:
    of = service(flat("90", period={"unit": "once"}), day("6-17"))
    part = Part(day("6-17"), day("6-18"), day("6-17"), day("6-18"))
    assert total(due(of, None, part, True)) == D("90.00")
    assert part.start == date(2025, 6, 17)


def test_usage_comes_before_the_flat_though_the_flat_was_due_first() -> None:
    of = terms("graduated", price=tiers((None, "2", "9")))
    found = due(versions(("6-1", of), ("6-16", of)), used(("6-20", "5")), JUNE, True)
    assert figures(found) == [("tier 1.usage", D("10.00")), ("tier 1.flat", D("9.00"))]


def test_a_line_is_rounded_in_the_mode_of_its_terms() -> None:
    for mode, amount in (("down", "0.01"), ("half_up", "0.02")):
        of = service(unit("0.019", rounding={"line": step(2, mode)}))
        assert total(due(of, counter("1"), JUNE, True)) == D(amount)


def test_a_line_spans_its_part_though_the_gauge_stood_for_less() -> None:
    (line,) = due(service(unit("30")), seats(("6-11", "5")), JUNE, True)
    assert (line.start, line.end, line.quantity) == (JUNE.start, JUNE.end, 5)
    (ended,) = due(service(unit("30")), seats(("6-1", "5"), until=day("6-11")), JUNE, True)
    assert (ended.start, ended.end, ended.category) == (JUNE.start, JUNE.end, "usage")


def test_what_adds_up_is_added_over_versions_and_what_lasts_is_not() -> None:
    (fee,) = due(versions(("6-1", flat("10")), ("6-16", flat("10"))), None, JUNE, True)
    assert (fee.quantity, fee.amount) == (1, D("10.00"))
    (usage,) = due(versions(("6-1", unit("2")), ("6-16", unit("2"))), used(("6-5", "5"), ("6-20", "7")), JUNE, True)
    assert (usage.quantity, usage.amount) == (12, D("24.00"))


def test_a_quantity_whose_shares_round_to_nothing_is_the_last() -> None:
    of = service(unit("10", minimum_amount="1", rounding={"fraction": step(0, "down")}, lines="period"))
    levels = seats(("6-1", "3"), ("6-11", "4"), ("6-21", "5"))
    found = due(of, levels, JUNE, True)
    assert figures(found) == [("minimum", D("1.00"))]


def test_a_gauge_that_was_excluded_at_first_is_billed_from_then_on() -> None:
    of = versions(("6-1", unit("30", excluded=True)), ("6-11", unit("30")))
    assert total(due(of, seats(("6-1", "1")), JUNE, True)) == D("20.00")


def test_terms_that_ended_before_the_part_do_not_say_how_it_is_cut() -> None:
    of = versions(("1-1", unit("10", proration="none")), ("6-1", unit("10")), ("6-16", unit("20")))
    assert total(due(of, seats(("6-1", "1")), JUNE, True)) == D("15.00")


def test_lines_by_segment_begin_with_the_time_before_the_first_level() -> None:
    of = service(unit("30", minimum_quantity="2", lines="segment"))
    found = due(of, seats(("6-11", "5")), JUNE, True)
    assert [(c.start, c.end, c.amount) for c in found] == [
        (day("6-1"), day("6-11"), D("20.00")),
        (day("6-11"), day("7-1"), D("100.00")),
    ]


def test_the_unit_of_a_gauge_is_checked_too() -> None:
    of = service(unit("1", convert={"from_unit": "GiB", "to_unit": "TiB", "divide": "1024"}))
    stored = seats(("6-1", "2048"))
    assert total(due(of, replace(stored, unit="GiB"), JUNE, True)) == D("2.00")
    with pytest.raises(ValueError, match="unit"):
        due(of, replace(stored, unit="users"), JUNE, True)
