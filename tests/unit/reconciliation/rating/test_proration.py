"""Shares of a period, gauges and prices that change inside it: rating.md sections 2 and 6."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest

from shared.kernel.periods import instant_of
from shared.reconciliation.rating import due, fraction, total
from shared.reconciliation.rating.model import Level, Measurement
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
    step,
    terms,
    tiers,
    unit,
    used,
    versions,
)

SEATS = seats(("6-1", "3"), ("6-11", "5"), ("6-26", "4"))


@pytest.mark.parametrize(
    ("more", "amount"),
    [
        ({}, "75.00"),
        ({"proration": "thirty_day"}, "77.50"),
        ({"proration": "none"}, "155.00"),
        ({"last_day_billed": True}, "80.00"),
        ({"prorate_first": False}, "101.09"),  # 15 of the 23 days that are left of May
        ({"prorate_last": False}, "101.09"),  # 15 of the 23 days that are gone
        ({"prorate_first": False, "prorate_last": False}, "155.00"),
    ],
)
def test_fifteen_days_of_may(more: dict[str, Any], amount: str) -> None:
    of = service(flat("155.00", **more), day("5-9"), day("5-24"))
    (part,) = parts_of(of, day("5-1"), day("6-1"))
    (line,) = due(of, None, part, True)
    assert line.amount == D(amount)


def test_the_week_in_which_berlin_puts_its_clocks_forward() -> None:
    of = service(
        flat("7", period={"unit": "week"}, proration="seconds", time_zone="Europe/Berlin"), day("3-24"), day("3-30")
    )
    (part,) = parts_of(of, day("3-1"), day("4-1"))
    assert fraction(of, part) == Fraction(6 * 86_400, 601_200)


@pytest.mark.parametrize(("start", "end", "days"), [("5-30", "5-31", 0), ("5-31", "6-1", 1), ("2-15", "3-1", 16)])
def test_in_months_of_thirty_days_the_31st_adds_nothing_and_the_end_of_february_is_the_30th(
    start: str, end: str, days: int
) -> None:
    of = service(flat("30", proration="thirty_day"), day(start), day(end))
    (part,) = parts_of(of, day("1-1"), day("12-1"))
    assert fraction(of, part) == Fraction(days, 30)


def test_seats_that_come_and_go() -> None:
    (line,) = due(service(unit("12.40")), SEATS, JUNE, True)
    assert line.amount == D("51.67")
    assert line.quantity == Fraction(125, 30)
    assert (line.start, line.end) == (day("6-1"), day("7-1"))


def test_the_arithmetic_can_be_followed_on_paper() -> None:
    (line,) = due(service(unit("4.20")), seats(("6-1", "40"), ("6-11", "60")), JUNE, True)
    shown = {step.label: (step.formula, step.result) for step in line.steps}
    assert shown["usage"] == ("40 x 4.20 x 10/30 + 60 x 4.20 x 20/30 = 224.00", D("224.00"))
    assert shown["2025-06-01 to 2025-06-11"] == ("40 x 4.20 x 10/30", D("56.00"))
    assert shown["2025-06-11 to 2025-07-01"] == ("60 x 4.20 x 20/30", D("168.00"))
    assert {step.rounding for step in line.steps if step.label == "usage"} == {"half_up 2"}


def test_what_segments_show_sums_to_the_line() -> None:
    (line,) = due(service(unit("12.40")), SEATS, JUNE, True)
    shown = [step.result for step in line.steps if " to " in step.label]
    assert shown == [D("12.40"), D("31.00"), D("8.27")]
    assert sum(shown) == line.amount


@pytest.mark.parametrize(
    ("statistic", "quantity", "amount"),
    [
        ("max", D(5), "62.00"),
        ("last", D(4), "49.60"),
        ("first", D(3), "37.20"),
        ("time_weighted", Fraction(125, 30), "51.67"),
    ],
)
def test_one_quantity_of_a_gauge(statistic: str, quantity: D, amount: str) -> None:
    (line,) = due(service(unit("12.40", statistic=statistic)), SEATS, JUNE, True)
    assert (line.quantity, line.amount) == (quantity, D(amount))


@pytest.mark.parametrize(
    ("more", "used_"),
    [
        ({"statistic": "time_weighted"}, "(3 x 10 + 5 x 15 + 4 x 5) / 30 days = 4.166667"),
        ({"statistic": "max"}, "highest level = 5"),
        ({"proration": "none"}, "highest level = 5"),
        ({"statistic": "last"}, "last level = 4"),
    ],
)
def test_how_one_quantity_came_about(more: dict[str, Any], used_: str) -> None:
    (line,) = due(service(unit("12.40", **more)), SEATS, JUNE, True)
    assert line.steps[0].formula == used_


def test_one_quantity_is_priced_for_the_share_of_the_part() -> None:
    of = service(unit("12.40", statistic="max"), day("6-1"), day("6-16"))
    (part,) = parts_of(of, day("6-1"), day("7-1"))
    assert total(due(of, SEATS, part, True)) == D("31.00")


def test_time_weighted_units_are_not_prorated_ones_in_tiers() -> None:
    priced = {"price": tiers(("4", "6.00"), (None, "4.50"))}
    measured = seats(("6-1", "3"), ("6-13", "7"), ("6-25", "2"))
    assert total(due(service(terms("graduated", **priced)), measured, JUNE, True)) == D("24.60")
    weighted = due(service(terms("graduated", **priced, statistic="time_weighted")), measured, JUNE, True)
    assert total(weighted) == D("25.80")  # 4.4 units: 24.00 + 1.80


def test_where_any_part_costs_a_period_the_start_counts_in_advance_and_the_highest_in_arrears() -> None:
    assert total(due(service(unit("10", proration="none")), SEATS, JUNE, True)) == D("50.00")
    assert total(due(service(unit("10", proration="none", billing="advance")), SEATS, JUNE, True)) == D("30.00")
    changed = versions(("1-1", flat("10", proration="none")), ("6-20", flat("99", proration="none")))
    assert figures(due(changed, None, JUNE, True)) == [("flat", D("10.00"))]


def test_levels_before_and_after_the_part_do_not_count() -> None:
    measured = seats(("4-1", "9"), ("5-20", "3"), ("6-11", "5"), ("6-26", "4"), ("7-1", "100"))
    assert total(due(service(unit("12.40")), measured, JUNE, True)) == D("51.67")


def test_a_level_belongs_to_the_day_on_which_it_was_reached_and_the_last_of_a_day_holds() -> None:
    levels = (
        Level(at("2025-05-01T00:00:00+00:00"), D(3)),
        Level(at("2025-06-11T09:00:00+00:00"), D(8)),
        Level(at("2025-06-11T15:00:00+00:00"), D(5)),
        Level(at("2025-06-26T23:59:59+00:00"), D(4)),
    )
    assert total(due(service(unit("12.40")), Measurement("gauge", levels), JUNE, True)) == D("51.67")
    by_seconds = due(service(unit("12.40", proration="seconds")), Measurement("gauge", levels), JUNE, True)
    assert total(by_seconds) != D("51.67")


def test_a_level_that_did_not_last_the_day_enters_no_tier() -> None:
    levels = (Level(at("2025-06-11T09:00:00+00:00"), D(8)), Level(at("2025-06-11T15:00:00+00:00"), D(5)))
    of = terms("graduated", price=tiers(("5", "0", "1"), (None, "0", "10")))
    assert figures(due(service(of), Measurement("gauge", levels), JUNE, True)) == [("tier 1.flat", D("1.00"))]


def test_a_gauge_has_no_value_where_none_was_seen() -> None:
    (line,) = due(service(unit("30")), seats(("6-11", "5")), JUNE, True)
    assert (line.amount, line.quantity) == (D("100.00"), 5)
    (line,) = due(service(unit("30")), seats(("6-1", "5"), until=day("6-16")), JUNE, False)
    assert line.amount == D("75.00")


def test_the_least_quantity_holds_as_long_as_the_line_is_in_service() -> None:
    of = service(unit("30", minimum_quantity="2"))
    assert total(due(of, seats(("6-11", "5")), JUNE, True)) == D("120.00")
    assert total(due(of, Measurement("gauge"), JUNE, True)) == D("60.00")
    assert total(due(of, counter(), JUNE, True)) == D("60.00")


def test_allowances_are_whole_in_a_part_unless_they_are_prorated() -> None:
    for prorate, amount in ((False, "95.00"), (True, "97.50")):
        of = service(unit("1", included="5", prorate_allowances=prorate), day("6-1"), day("6-16"))
        (part,) = parts_of(of, day("6-1"), day("7-1"))
        assert total(due(of, counter("100"), part, True)) == D(amount)


def test_counters_packages_and_flats_of_tiers_are_never_prorated() -> None:
    start, end = day("6-1"), day("6-16")
    for of, measured, amount in (
        (unit("2"), counter("10"), "20.00"),
        (terms("package", price={"size": "5", "amount": "6"}), counter("6"), "12.00"),
        (terms("package", price={"size": "5", "amount": "6"}), seats(("6-1", "6"), ("6-9", "2")), "12.00"),
        (terms("graduated", price=tiers((None, "0", "20"))), seats(("6-1", "6")), "20.00"),
    ):
        line = service(of, start, end)
        (part,) = parts_of(line, day("6-1"), day("7-1"))
        assert total(due(line, measured, part, True)) == D(amount)


def test_a_line_a_segment_rounds_each() -> None:
    of = service(unit("0.10", lines="segment"))
    found = due(of, seats(("6-1", "1"), ("6-5", "2"), ("6-9", "1")), JUNE, True)
    assert [(c.start, c.end, c.quantity, c.amount) for c in found] == [
        (day("6-1"), day("6-5"), 1, D("0.01")),
        (day("6-5"), day("6-9"), 2, D("0.03")),
        (day("6-9"), day("7-1"), 1, D("0.07")),
    ]


@pytest.mark.parametrize(
    ("rounding", "amount", "formula"),
    [
        ({}, "118.71", "5 x 32.00 x 23/31 = 118.71"),
        ({"unit_price": step(2)}, "118.70", "5 x 23.74 (32.00 x 23/31) = 118.70"),
        ({"day_price": step(2)}, "118.45", "5 x 1.03 (32.00 / 31) x 23 = 118.45"),
        ({"unit_price": step(2), "day_price": step(2)}, "118.45", None),
        ({"fraction": step(3)}, "118.72", "5 x 32.00 x 0.742 = 118.72"),
        ({"line": step(0)}, "119", "5 x 32.00 x 23/31 = 119.00"),
    ],
)
def test_the_order_of_rounding_inside_a_line(rounding: dict[str, Any], amount: str, formula: str | None) -> None:
    of = service(unit("32.00", rounding=rounding), day("5-9"))
    (part,) = parts_of(of, day("5-1"), day("6-1"))
    (line,) = due(of, seats(("5-1", "5")), part, True)
    assert line.amount == D(amount)
    assert formula is None or [s.formula for s in line.steps if s.label == "usage"] == [formula]


def test_a_line_over_the_whole_period_is_price_times_quantity() -> None:
    of = service(unit("32.00", rounding={"unit_price": step(1), "day_price": step(2)}))
    assert total(due(of, seats(("5-1", "5")), JUNE, True)) == D("160.00")


def test_prices_that_change_cut_a_gauge_and_a_flat_fee() -> None:
    for kind, measured in ((unit, seats(("5-1", "3"))), (flat, None)):
        of = versions(("1-1", kind("30")), ("6-11", kind("60")))
        found = due(of, measured, JUNE, True)
        times = 3 if measured else 1
        assert [(c.unit_price, c.quantity, c.amount) for c in found] == [
            (30, times, 10 * times),
            (60, times, 40 * times),
        ]


def test_a_counters_tiers_go_on_filling_when_the_price_changes() -> None:
    one = terms("graduated", price=tiers(("100", "0.10"), (None, "0.06")))
    two = terms("graduated", price=tiers(("100", "0.12"), (None, "0.07")))
    of = versions(("1-1", one), ("6-11", two))
    found = due(of, used(("6-2", "50"), ("6-10", "30"), ("6-11", "40"), ("6-20", "30")), JUNE, True)
    assert [(c.component, c.unit_price, c.quantity, c.amount) for c in found] == [
        ("tier 1.usage", D("0.10"), 80, D("8.00")),
        ("tier 1.usage", D("0.12"), 20, D("2.40")),
        ("tier 2.usage", D("0.07"), 50, D("3.50")),
    ]
    assert total(found) == D("13.90")
    assert [step.formula for step in found[0].steps] == ["sum up to 2025-06-11 = 80", "80 x 0.10 = 8.00"]
    assert [step.formula for step in found[1].steps] == ["sum of 4 records = 150", "(100 - 80 before) x 0.12 = 2.40"]
    assert [step.formula for step in found[2].steps] == ["sum of 4 records = 150", "50 x 0.07 = 3.50"]


def test_what_an_earlier_version_counted_is_shown_as_taken_away() -> None:
    one, two = (terms("package", price={"size": "25", "amount": amount}) for amount in ("6", "7"))
    found = due(versions(("1-1", one), ("6-16", two)), used(("6-5", "30"), ("6-20", "30")), JUNE, True)
    assert [step.formula for step in found[1].steps] == [
        "sum of 2 records = 60",
        "60 / 25, started = 3",
        "(3 - 2 before) x 7.00 = 7.00",
    ]


def test_flats_are_charged_once_when_the_price_changes() -> None:
    tiered = {"price": tiers(("8", "0", "9"), (None, "0", "15"))}
    of = versions(("1-1", terms("graduated", **tiered)), ("6-11", terms("graduated", **tiered)))
    for measured in (used(("6-2", "5"), ("6-12", "5")), seats(("6-1", "5"), ("6-12", "10"))):
        assert figures(due(of, measured, JUNE, True)) == [("tier 1.flat", D("9.00")), ("tier 2.flat", D("15.00"))]


def test_an_allowance_of_transactions_goes_on_when_the_price_changes() -> None:
    old = terms("percentage", price={"rate_pct": "1", "free_events": 2})
    new = terms("percentage", price={"rate_pct": "2", "free_events": 2})
    found = due(versions(("1-1", old), ("6-11", new)), used(("6-2", "9"), ("6-12", "9"), ("6-13", "50")), JUNE, True)
    assert figures(found) == [("percentage", D("1.00"))]


@pytest.mark.parametrize(
    ("convert", "quantities", "amount"),
    [
        ({"divide": "1073741824", "rounding": step(0, "up")}, [str(12 * 1_073_741_824 // 10 + 1)] * 3, "4.00"),
        ({"divide": "1073741824"}, ["5905580032"], "5.50"),
        ({"divide": "1073741824", "rounding": step(0, "down")}, ["5905580032"], "5.00"),
        ({"multiply": "0.5"}, ["3"], "1.50"),
        ({"divide": "3"}, ["1"], "0.33"),
    ],
)
def test_units_are_converted_on_the_cumulative_quantity(
    convert: dict[str, Any], quantities: list[str], amount: str
) -> None:
    of = service(unit("1", convert={"from_unit": "byte", "to_unit": "GiB", **convert}))
    assert total(due(of, counter(*quantities, unit="byte"), JUNE, True)) == D(amount)


def test_a_unit_is_checked_and_never_guessed() -> None:
    of = service(unit("1", convert={"from_unit": "byte", "to_unit": "GiB", "divide": "1073741824"}))
    assert total(due(of, counter("7", unit="GiB"), JUNE, True)) == D("7.00")
    with pytest.raises(ValueError, match="was measured in kB"):
        due(of, counter("7", unit="kB"), JUNE, True)


def test_a_peak_is_its_highest_mark() -> None:
    (line,) = due(service(unit("2")), used(("6-2", "50"), ("6-3", "70"), ("6-9", "20"), kind="peak"), JUNE, True)
    assert (line.quantity, line.amount) == (70, D("140.00"))


def test_a_rounded_quantity() -> None:
    of = service(unit("1", rounding={"quantity": step(0, "up")}))
    assert total(due(of, counter("1.2", "1.2", "1.2"), JUNE, True)) == D("4.00")


def test_a_change_at_a_local_midnight_is_told_by_instants() -> None:
    zone = "America/Los_Angeles"
    of = service(unit("30", time_zone=zone))
    levels = (Level(instant_of(date(2025, 6, 1), zone), D(1)), Level(instant_of(day("6-16"), zone), D(2)))
    assert total(due(of, Measurement("gauge", levels), JUNE, True)) == D("45.00")
    earlier = (levels[0], Level(levels[1].at - timedelta(seconds=1), D(2)))
    assert total(due(of, Measurement("gauge", earlier), JUNE, True)) == D("46.00")
