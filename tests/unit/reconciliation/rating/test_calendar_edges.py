"""Edges of the calendar: parts at a month's end, years that turn, nothing at all (rating.md sections 1 and 2)."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from shared.kernel.periods import Period
from shared.reconciliation.rating import fraction, parts
from shared.reconciliation.rating.model import Part
from tests.unit.reconciliation.rating.lines import D, day, flat, service, step

YEAR = Period(date(2025, 1, 1), date(2026, 1, 1))


def test_a_first_boundary_before_the_start_moves_by_a_period_and_is_counted_back_clipped() -> None:
    of = service(flat("90", period={"day": 30}), day("1-31"))
    found = parts(of, YEAR)
    assert found[0] == Part(day("1-31"), day("2-28"), day("1-28"), day("2-28"))
    assert found[1] == Part(day("2-28"), day("3-30"), day("2-28"), day("3-30"))
    assert fraction(of, found[0]) == Fraction(28, 31)


def test_a_quarter_whose_boundary_in_the_months_of_its_start_is_past_begins_a_quarter_later() -> None:
    of = service(flat("90", period={"unit": "quarter", "day": 30}), day("5-31"))
    assert parts(of, YEAR)[0] == Part(day("5-31"), day("8-30"), day("5-30"), day("8-30"))


def test_a_one_off_charge_of_a_service_that_ends_as_it_starts_is_nothing() -> None:
    assert parts(service(flat("90", period={"unit": "once"}), day("3-17"), day("3-17")), YEAR) == ()
    assert parts(service(flat("90"), day("3-17"), day("3-17")), YEAR) == ()


def test_days_of_thirty_go_on_over_the_turn_of_the_year() -> None:
    of = service(flat("90", period={"day": 20}, proration="thirty_day"), date(2024, 12, 25))
    (first, *_) = parts(of, Period(date(2024, 12, 1), date(2025, 2, 1)))
    assert first == Part(date(2024, 12, 25), date(2025, 1, 20), date(2024, 12, 20), date(2025, 1, 20))
    assert fraction(of, first) == Fraction(25, 30)


def test_a_share_is_rounded_in_the_mode_that_the_terms_name() -> None:
    part = Part(day("6-1"), day("6-21"), day("6-1"), day("7-1"))
    down = service(flat("90", rounding={"fraction": step(4, "down")}), day("6-1"))
    up = service(flat("90", rounding={"fraction": step(4)}), day("6-1"))
    assert fraction(down, part) == D("0.6666")
    assert fraction(up, part) == D("0.6667")
