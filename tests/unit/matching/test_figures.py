"""The small pure parts of matching."""

from __future__ import annotations

from datetime import date

import orjson
import pytest

from services.matching.compare import wait_ms
from services.matching.expand import Found
from services.matching.inputs import _whole_days
from shared.kernel.periods import bounds, month_of


@pytest.mark.parametrize(
    ("rows", "wait"), [(0, 100), (500, 100), (501, 200), (10_000, 3_200), (50_000, 10_000), (10**9, 10_000)]
)
def test_a_group_waits_longer_the_more_it_reads_and_never_longer_than_ten_seconds(rows: int, wait: int) -> None:
    assert wait_ms(rows) == wait


def test_a_month_in_utc_is_whole_days() -> None:
    start, end = bounds(month_of(date(2026, 10, 1)), "UTC")
    assert _whole_days(start, end) == (date(2026, 10, 1), date(2026, 11, 1))


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Europe/Berlin", date(2026, 10, 1), date(2026, 10, 31)),
        ("America/New_York", date(2026, 10, 2), date(2026, 11, 1)),
    ],
)
def test_the_edges_of_a_month_in_another_zone_lie_outside(zone: str, first: date, last: date) -> None:
    assert _whole_days(*bounds(month_of(date(2026, 10, 1)), zone)) == (first, last)


def test_of_several_causes_the_one_that_was_recorded_last_is_kept() -> None:
    causes = [
        orjson.dumps({"recorded_at": f"2026-10-0{day}T00:00:00.000000Z", "record": "usage/0/1"}).decode()
        for day in (2, 3, 1)
    ]
    found = Found()
    for cause in causes:
        found.group("t", "c", date(2026, 10, 1), "p", cause)
    assert list(found.keys.values()) == [causes[1]]
