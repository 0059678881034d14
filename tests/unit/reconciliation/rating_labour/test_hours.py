"""One time entry's hours and its rate, at their edges (rating.md section 7, 1-2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from fractions import Fraction
from typing import Any

import pytest

from shared.events.contracts import Labour, RateRow, Terms, UnitPrice, WorkTypeRule
from shared.reconciliation.rating.hours import Entry, billable_minutes, figure, plain, rate_of, worked_minutes
from tests.unit.reconciliation.rating.lines import step

DAY = date(2026, 6, 3)
NINE = datetime(2026, 6, 3, 9, tzinfo=UTC)


def rate(entry: Entry, *rows: RateRow, tenant: tuple[RateRow, ...] = (), more: Any = None, **rules: Any) -> D | None:
    of = Terms(price=UnitPrice(kind="unit", unit_amount=D(120)), labour=Labour(rates=rows, **rules), **(more or {}))
    found = rate_of(of, "EUR", entry, tenant)
    return None if found is None else D(found.value)


def entry(day: date = DAY, **more: Any) -> Entry:
    return Entry("T-1", day, D(60), **more)


def lasted(time: timedelta) -> Any:
    return worked_minutes(Entry("T-1", DAY, start=NINE, end=NINE + time))


def test_time_between_instants_is_exact_over_days_and_under_seconds() -> None:
    assert lasted(timedelta(hours=49)) == 49 * 60
    assert lasted(timedelta(seconds=90)) == D("1.5")
    assert lasted(timedelta(milliseconds=1500)) == D("0.025")
    assert lasted(timedelta(0)) == 0


def test_a_break_counts_within_the_work_alone() -> None:
    hour = timedelta(hours=1)
    work = Entry(
        "T-1",
        DAY,
        start=NINE,
        end=NINE + 4 * hour,
        breaks=((NINE - hour, NINE + hour), (NINE + 3 * hour, NINE + 9 * hour)),
    )
    assert worked_minutes(work) == 120
    assert worked_minutes(Entry("T-1", DAY, D(30), start=NINE, end=NINE + 4 * hour)) == 30  # as entered


def test_an_entry_without_minutes_needs_both_ends() -> None:
    for half in ({"start": NINE}, {"end": NINE}):
        with pytest.raises(ValueError, match="neither minutes nor start and end"):
            Entry("T-1", DAY, **half)


@pytest.mark.parametrize(("minutes", "mode", "billable"), [("74", "down", 60), ("60", "down", 60), ("61", "up", 75)])
def test_an_increment_without_a_minimum(minutes: str, mode: Any, billable: int) -> None:
    assert billable_minutes(D(minutes), Labour(increment_minutes=D(15), increment_mode=mode)) == billable


def test_without_rules_what_was_worked_is_billable() -> None:
    assert billable_minutes(D("7.5"), Labour()) == D("7.5")
    assert billable_minutes(D(7), Labour(minimum_minutes=D(7), maximum_minutes=D(7))) == 7


def test_a_rate_holds_from_its_first_day_up_to_its_last_exclusive() -> None:
    rows = (
        RateRow(role="engineer", rate=D(100), effective_to=date(2026, 6, 3)),
        RateRow(role="engineer", rate=D(110), effective_from=date(2026, 6, 10)),
    )
    days = (date(2026, 6, 2), date(2026, 6, 3), date(2026, 6, 9), date(2026, 6, 10))
    assert [rate(entry(day, role="engineer"), *rows) for day in days] == [100, 120, 120, 110]


def test_of_several_rates_in_force_the_one_that_began_last_holds() -> None:
    rows = (
        RateRow(role="engineer", rate=D(130)),
        RateRow(role="engineer", rate=D(90), effective_from=date(2026, 5, 1)),
        RateRow(role="engineer", rate=D(110), effective_from=date(2026, 4, 1)),
    )
    assert rate(entry(role="engineer"), *rows) == rate(entry(role="engineer"), *rows[::-1]) == 90


def test_the_contracts_own_rate_holds_before_its_price_and_the_tenants() -> None:
    tenant = (RateRow(role="engineer", rate=D(90)), RateRow(rate=D(80)))
    assert rate(entry(role="engineer"), rate=D(70), tenant=tenant) == 70
    assert rate(entry(role="engineer"), tenant=tenant) == 120
    assert rate(entry(role="engineer"), RateRow(rate=D(60)), rate=D(70), tenant=tenant) == 60


def test_each_factor_holds_by_itself_and_the_largest_of_several() -> None:
    factors = {"out_of_hours_factor": D("1.5"), "weekend_factor": D(2), "holiday_factor": D(3)}
    for when, expected in (
        ((), 120),
        (("out_of_hours",), 180),
        (("weekend",), 240),
        (("holiday",), 360),
        (("holiday", "weekend", "out_of_hours"), 360),
    ):
        assert rate(entry(when=frozenset(when)), **factors) == expected
    assert rate(entry(when=frozenset(("weekend",))), weekend_factor=D("0.5")) == 60


def test_the_rate_of_an_hour_is_rounded_in_the_mode_of_the_terms() -> None:
    rules = {"work_types": (WorkTypeRule(work_type="onsite", effect="multiply", value=D("1.2349")),)}
    for mode, expected in (("half_up", "148.19"), ("down", "148.18")):
        more = {"rounding": {"unit_price": step(2, mode)}}
        assert rate(entry(work_type="onsite"), more=more, **rules) == D(expected)


def test_a_work_type_changes_no_other_and_factors_come_after_it() -> None:
    rules = {"work_types": (WorkTypeRule(work_type="onsite", effect="add", value=D(30)),), "weekend_factor": D(2)}
    assert rate(entry(work_type="remote"), **rules) == 120
    assert rate(entry(work_type="onsite", when=frozenset(("weekend",))), **rules) == 300


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, 5), "0.2"),
        ((1, 8), "0.125"),
        ((-3, 4), "-0.75"),
        ((40, 1), "40"),
        ((7, 20), "0.35"),
        ((1, 25), "0.04"),
        ((0, 1), "0"),
    ],
)
def test_a_quotient_that_has_a_last_digit_is_a_plain_figure(value: tuple[int, int], text: str) -> None:
    assert str(plain(Fraction(*value))) == text
    assert plain(Fraction(1, 3)) == Fraction(1, 3)
    assert plain(Fraction(1, 6)) == Fraction(1, 6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (D("100"), "100"),
        (D("1.50"), "1.5"),
        (D("2.00"), "2"),
        (D("0.00"), "0"),
        (D("1E+2"), "100"),
        (Fraction(2, 3), "0.666667"),
    ],
)
def test_a_figure_has_no_needless_zeros(value: Any, text: str) -> None:
    assert figure(value) == text
