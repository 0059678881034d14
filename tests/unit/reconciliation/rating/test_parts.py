"""Billing parts: rating.md section 1."""

from __future__ import annotations

import itertools
from datetime import date
from fractions import Fraction
from typing import Any

import pytest

from shared.events.contracts import BillingPeriod
from shared.kernel.periods import Period
from shared.reconciliation.rating import due, due_on, fraction, parts, version_at
from shared.reconciliation.rating.model import Part, Service, Version
from tests.unit.reconciliation.rating.lines import D, day, flat, parts_of, service, step, versions

YEAR = Period(date(2025, 1, 1), date(2026, 1, 1))


def billed(period: dict[str, Any], start: date, end: date | None = None, **more: Any) -> Service:
    return service(flat("90", period=period, **more), start, end)


def spans(of: Service, window: Period = YEAR) -> list[tuple[date, date]]:
    return [(part.start, part.end) for part in parts(of, window)]


def test_the_quarter_of_day_20() -> None:
    of = billed(
        {"unit": "quarter", "day": 20},
        day("3-5"),
        day("7-1"),
        billing="advance",
        rounding={"fraction": step(9)},
    )
    found = parts(of, YEAR)
    assert found == (
        Part(day("3-5"), day("3-20"), date(2024, 12, 20), day("3-20")),
        Part(day("3-20"), day("6-20"), day("3-20"), day("6-20")),
        Part(day("6-20"), day("7-1"), day("6-20"), day("9-20")),
    )
    assert [fraction(of, part) for part in found] == [D("0.166666667"), 1, D("0.119565217")]
    assert sum(fraction(of, part) for part in found) == D("1.286231884")
    assert [due_on(of, part) for part in found] == [day("3-5"), day("3-20"), day("6-20")]


def test_a_month_unless_said_otherwise_begins_on_the_first() -> None:
    of = billed({}, day("9-10"))
    first, second, *_ = parts(of, YEAR)
    assert first == Part(day("9-10"), day("10-1"), day("9-1"), day("10-1"))
    assert second == Part(day("10-1"), day("11-1"), day("10-1"), day("11-1"))
    assert due_on(of, first) == day("10-1")


def test_day_31_is_clipped_and_comes_back_and_a_leading_part_is_counted_back_from_the_clipped_date() -> None:
    found = parts_of(billed({"day": 31}, day("4-9")), day("4-1"), day("8-1"))
    assert found[0] == Part(day("4-9"), day("4-30"), day("3-30"), day("4-30"))
    assert fraction(billed({"day": 31}, day("4-9")), found[0]) == Fraction(21, 31)
    assert all(part.whole for part in found[1:])
    assert [part.end for part in found] == [day("4-30"), day("5-31"), day("6-30"), day("7-31"), day("8-31")]


def test_an_anchored_grid_has_its_own_period_around_a_leading_part() -> None:
    of = billed({"anchor": date(2024, 1, 31)}, day("4-9"))
    assert parts(of, YEAR)[0] == Part(day("4-9"), day("4-30"), day("3-31"), day("4-30"))


def test_an_anchor_and_a_day() -> None:
    of = billed({"unit": "quarter", "anchor": date(2020, 2, 10), "day": 15}, day("1-1"), day("6-1"))
    assert spans(of) == [(day("1-1"), day("2-15")), (day("2-15"), day("5-15")), (day("5-15"), day("6-1"))]


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (date(2025, 3, 5), date(2025, 3, 20)),
        (date(2025, 3, 20), date(2026, 3, 20)),
        (date(2025, 3, 21), date(2026, 3, 20)),
    ],
)
def test_a_yearly_service_has_the_month_of_its_first_boundary(start: date, first: date) -> None:
    assert parts(billed({"unit": "year", "day": 20}, start), YEAR)[0].end == first


def test_days_and_weeks_count_from_the_start_or_the_anchor() -> None:
    assert spans(billed({"unit": "week", "count": 2}, day("6-3"), day("7-1"))) == [
        (day("6-3"), day("6-17")),
        (day("6-17"), day("7-1")),
    ]
    mondays = parts(billed({"unit": "week", "anchor": date(2030, 1, 7)}, day("6-4"), day("6-20")), YEAR)
    assert [(part.start, part.full_start, part.full_end) for part in mondays] == [
        (day("6-4"), day("6-2"), day("6-9")),
        (day("6-9"), day("6-9"), day("6-16")),
        (day("6-16"), day("6-16"), day("6-23")),
    ]


def test_an_end_inside_the_leading_part_cuts_it() -> None:
    (part,) = parts(billed({"day": 20}, day("3-5"), day("3-12")), YEAR)
    assert part == Part(day("3-5"), day("3-12"), day("2-20"), day("3-20"))


def test_the_last_day_may_be_billed() -> None:
    of = billed({}, day("3-1"), day("3-31"), last_day_billed=True)
    assert spans(of) == [(day("3-1"), day("4-1"))]
    amended = Service(
        (
            Version(flat("1", last_day_billed=True), day("3-1"), day("3-10")),
            Version(flat("2", last_day_billed=True), day("3-10"), day("3-20")),
        ),
        "EUR",
    )
    assert spans(amended) == [(day("3-1"), day("3-21"))]
    assert version_at(amended, day("3-20")) == amended.versions[1]


def test_a_one_off_charge_is_due_whole_at_its_date() -> None:
    of = billed({"unit": "once"}, day("3-17"), None)
    (part,) = parts(of, YEAR)
    assert part.whole
    assert due_on(of, part) == day("3-17")
    assert due(of, None, part, True)[0].amount == D("90.00")
    assert parts(of, Period(day("3-18"), day("6-1"))) == ()


def test_a_trial_moves_the_start_of_the_charge_and_not_the_boundaries() -> None:
    of = billed({"day": 20}, day("3-5"), None, trial_end=day("4-4"))
    assert parts(of, YEAR)[0] == Part(day("4-4"), day("4-20"), day("3-20"), day("4-20"))
    assert parts(billed({}, day("3-5"), day("4-1"), trial_end=day("4-4")), YEAR) == ()


def test_a_line_that_is_taken_up_again_keeps_its_boundaries() -> None:
    of = Service(
        (
            Version(flat("9", period={"unit": "quarter", "day": 20}), day("1-20"), day("3-1")),
            Version(flat("9", period={"unit": "quarter", "day": 20}), day("5-5"), None),
        ),
        "EUR",
    )
    found = parts(of, YEAR)
    assert found[0] == Part(day("1-20"), day("3-1"), day("1-20"), day("4-20"))
    assert found[1] == Part(day("5-5"), day("7-20"), day("4-20"), day("7-20"))


def test_another_way_of_counting_ends_a_period_and_begins_anew() -> None:
    of = versions(("1-1", flat("10")), ("3-15", flat("120", period={"unit": "year", "day": 15})))
    assert spans(of)[2:] == [(day("3-1"), day("3-15")), (day("3-15"), date(2026, 3, 15))]


def test_the_last_day_is_that_of_the_service_not_of_a_way_of_counting() -> None:
    monthly, yearly = flat("10", last_day_billed=True), flat("120", period={"unit": "year", "day": 15})
    assert spans(versions(("3-1", monthly), ("3-15", yearly)))[:2] == [
        (day("3-1"), day("3-15")),
        (day("3-15"), date(2026, 3, 15)),
    ]


def test_a_start_on_a_boundary_has_no_leading_part() -> None:
    of = billed({"unit": "quarter", "day": 31}, day("1-31"))
    assert [part.whole for part in parts(of, YEAR)] == [True] * 4


def test_a_change_of_price_cuts_no_period() -> None:
    assert spans(versions(("1-1", flat("10")), ("3-15", flat("12")), end=day("4-1")))[2:] == [(day("3-1"), day("4-1"))]


def test_parts_are_taken_by_their_start_and_windows_that_meet_share_none() -> None:
    of = billed({"day": 20}, date(1998, 3, 5))
    cuts = [day("1-1"), day("2-20"), day("2-21"), day("7-7"), date(2026, 1, 1)]
    apart = [part for one, other in itertools.pairwise(cuts) for part in parts(of, Period(one, other))]
    assert tuple(apart) == parts(of, YEAR)
    assert len(apart) == 12


def test_the_age_of_a_line_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.reconciliation.rating import grid

    made = []
    true = grid.Grid.boundary
    monkeypatch.setattr(grid.Grid, "boundary", lambda self, number: made.append(number) or true(self, number))
    for unit in ("day", "month"):
        assert parts(billed({"unit": unit}, date(1971, 1, 1)), Period(day("6-1"), day("6-2")))
    assert len(made) < 20


def test_terms_that_have_not_begun_are_an_error() -> None:
    with pytest.raises(ValueError, match="nothing is agreed on"):
        version_at(billed({}, day("3-1")), day("2-1"))


def test_count_takes_several_units() -> None:
    assert BillingPeriod(unit="month", count=3).count == 3
    assert spans(billed({"count": 6}, day("2-1"), date(2026, 2, 1))) == [
        (day("2-1"), day("8-1")),
        (day("8-1"), date(2026, 2, 1)),
    ]
