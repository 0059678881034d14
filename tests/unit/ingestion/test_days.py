from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from services.ingestion.domain.days import due_dates, next_midnight

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_new_tenants_calendar_begins_with_today() -> None:
    assert due_dates(None, at("2026-09-01T00:00:00+02:00"), BERLIN) == [date(2026, 9, 1)]


def test_the_day_begins_at_local_midnight() -> None:
    assert due_dates(date(2026, 8, 31), at("2026-08-31T23:59:59.999999+02:00"), BERLIN) == []
    assert due_dates(date(2026, 8, 31), at("2026-09-01T00:00:00+02:00"), BERLIN) == [date(2026, 9, 1)]


def test_after_an_outage_each_day_comes_in_order() -> None:
    assert due_dates(date(2026, 2, 26), at("2026-03-02T12:00:00Z"), "UTC") == [
        date(2026, 2, 27),
        date(2026, 2, 28),
        date(2026, 3, 1),
        date(2026, 3, 2),
    ]


def test_a_clock_that_was_set_back_takes_no_day_back() -> None:
    assert due_dates(date(2026, 9, 5), at("2026-09-01T12:00:00Z"), "UTC") == []


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-03-28T23:30:00+01:00", BERLIN, "2026-03-29T00:00:00+01:00"),
        ("2026-03-29T12:00:00+02:00", BERLIN, "2026-03-30T00:00:00+02:00"),
        ("2026-10-25T00:00:00+02:00", BERLIN, "2026-10-26T00:00:00+01:00"),
        # Midnight did not exist there on that date: the day began at one.
        ("2018-11-03T12:00:00-03:00", "America/Sao_Paulo", "2018-11-04T01:00:00-02:00"),
    ],
)
def test_the_next_midnight_is_the_zones_own(now: str, zone: str, expected: str) -> None:
    midnight = next_midnight(at(now), zone)
    assert midnight == at(expected)
    day = due_dates(None, at(now), zone)[0]
    assert due_dates(day, midnight - timedelta(microseconds=1), zone) == []
    assert due_dates(day, midnight, zone) == [day + timedelta(days=1)]
