"""Local dates, whole months and the instants at which they begin."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.periods import Period, bounds, instant_of, local_date, month_of, months, zone

days = st.dates(date(1990, 1, 1), date(2100, 1, 1))
zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "America/Havana",
        "Pacific/Apia",
    ]
)


@given(days)
def test_a_day_lies_in_its_month_alone(day: date) -> None:
    month = month_of(day)
    assert month.contains(day)
    assert month.start.day == month.end.day == 1
    assert month_of(month.end) != month
    assert month_of(month.end - timedelta(days=1)) == month


@given(days, st.integers(0, 800))
def test_months_follow_each_other_without_a_gap(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    found = list(months(first, last))
    assert found[0].contains(first)
    assert found[-1].contains(last)
    assert all(one.end == other.start for one, other in itertools.pairwise(found))


@given(days, days)
def test_a_period_is_read_as_it_is_written(one: date, other: date) -> None:
    period = Period(min(one, other), max(one, other))
    assert Period.parse(str(period)) == period


def test_a_period_is_half_open() -> None:
    period = Period(date(2026, 9, 1), date(2026, 10, 1))
    assert period.contains(date(2026, 9, 30))
    assert not period.contains(date(2026, 10, 1))


@given(days, zones)
def test_a_day_begins_at_its_first_instant(day: date, tz: str) -> None:
    if tz == "Pacific/Apia" and day == date(2011, 12, 30):
        return  # the day that Samoa skipped
    instant = instant_of(day, tz)
    assert local_date(instant, tz) == day
    assert local_date(instant - timedelta(seconds=1), tz) < day


@given(days, zones)
def test_days_begin_in_order_and_last_about_a_day(day: date, tz: str) -> None:
    length = instant_of(day + timedelta(days=1), tz) - instant_of(day, tz)
    skipped = tz == "Pacific/Apia" and date(2011, 12, 29) <= day <= date(2011, 12, 30)
    assert skipped or timedelta(hours=22) <= length <= timedelta(hours=26)


def test_a_midnight_that_was_skipped_is_the_next_instant_that_bears_the_date() -> None:
    # Sao Paulo put its clocks forward at midnight until 2018.
    assert instant_of(date(2018, 11, 4), "America/Sao_Paulo") == datetime(2018, 11, 4, 3, tzinfo=UTC)


def test_a_midnight_that_came_twice_is_the_earlier_one() -> None:
    # Havana puts its clocks back at 01:00, so midnight to one o'clock comes twice.
    assert instant_of(date(2026, 11, 1), "America/Havana") == datetime(2026, 11, 1, 4, tzinfo=UTC)


def test_a_month_with_a_change_of_clocks_has_its_true_bounds() -> None:
    start, end = bounds(month_of(date(2026, 3, 15)), "Europe/Berlin")
    assert start == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert end == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        zone("Mars/Olympus")
