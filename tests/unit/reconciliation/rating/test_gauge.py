"""Where a gauge stood, and for how long (rating.md sections 2 and 6)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from shared.reconciliation.rating import due
from shared.reconciliation.rating.fraction import Share
from shared.reconciliation.rating.gauge import Segment, Stay, segments, statistic, stays
from shared.reconciliation.rating.model import Level, Measurement, Part
from tests.unit.reconciliation.rating.lines import JUNE, D, at, day, service, step, unit

WHOLE = Share(1, 1)


def level(instant: str, quantity: str, until: str | None = None) -> Level:
    return Level(utc(instant), D(quantity), None if until is None else utc(until))


def utc(text: str) -> datetime:
    """``6-11`` or ``6-11T14:00`` of 2025."""
    of, _, clock = text.partition("T")
    return at(f"{day(of)}T{clock or '00:00'}+00:00")


def stood(*levels: Level, part: Part = JUNE, zone: str = "UTC", **more: Any) -> list[Segment]:
    of = unit("1", **more)
    return segments(levels, of, part, part.start, part.end, WHOLE, zone)


def test_a_level_stands_until_the_next_its_own_end_or_the_last_day() -> None:
    levels = [level("6-20", "7"), level("5-20", "3", until="6-5"), level("6-10", "5", until="6-25"), level("7-1", "9")]
    assert stays(levels, utc("6-1"), utc("7-1")) == [
        Stay(utc("6-1"), utc("6-5"), D(3)),
        Stay(utc("6-10"), utc("6-20"), D(5)),
        Stay(utc("6-20"), utc("7-1"), D(7)),
    ]
    assert stays([level("6-10", "5")], utc("6-1"), utc("6-8")) == []
    assert stays([level("6-10", "5", until="8-1")], utc("6-1"), utc("7-1")) == [Stay(utc("6-10"), utc("7-1"), D(5))]
    beyond = [level("6-10", "5", until="8-1"), level("7-15", "6")]
    assert stays(beyond, utc("6-1"), utc("7-1")) == [Stay(utc("6-10"), utc("7-1"), D(5))]
    assert stays([level("5-10", "5", until="6-1")], utc("6-1"), utc("7-1")) == []


def test_of_two_levels_at_one_instant_the_greater_holds_in_whatever_order_they_are_given() -> None:
    two = [level("6-10", "8"), level("6-10", "5")]
    for given in (two, two[::-1]):
        assert stays(given, utc("6-1"), utc("7-1")) == [Stay(utc("6-10"), utc("7-1"), D(8))]
    equal = [level("6-10", "8"), level("6-10", "8", until="6-20")]
    assert [stay.quantity for stay in stays(equal, utc("6-1"), utc("7-1"))] == [8]


def test_one_level_that_stands_all_the_time_is_one_segment() -> None:
    for since in ("6-1", "5-1"):
        assert stood(level(since, "3")) == [Segment(day("6-1"), day("7-1"), D(3), WHOLE)]
    assert stood(level("6-2", "3")) == [Segment(day("6-2"), day("7-1"), D(3), Share(29, 30))]
    assert stood(level("5-1", "3", until="6-11")) == [Segment(day("6-1"), day("6-11"), D(3), Share(10, 30))]


def test_equal_neighbours_merge_but_not_over_a_gap() -> None:
    assert stood(level("5-31", "8"), level("6-4", "2"), level("6-6", "2"), level("6-11", "4")) == [
        Segment(day("6-1"), day("6-4"), D(8), Share(3, 30)),
        Segment(day("6-4"), day("6-11"), D(2), Share(7, 30)),
        Segment(day("6-11"), day("7-1"), D(4), Share(20, 30)),
    ]
    assert stood(level("6-1", "3"), level("6-6", "3"), level("6-11", "4")) == [
        Segment(day("6-1"), day("6-11"), D(3), Share(10, 30)),
        Segment(day("6-11"), day("7-1"), D(4), Share(20, 30)),
    ]
    assert stood(level("6-1", "3", until="6-6"), level("6-11", "3")) == [
        Segment(day("6-1"), day("6-6"), D(3), Share(5, 30)),
        Segment(day("6-11"), day("7-1"), D(3), Share(20, 30)),
    ]


def test_neighbours_merge_when_the_level_between_them_lasts_no_day() -> None:
    assert stood(level("6-1", "3"), level("6-11T09:00", "9"), level("6-11T17:00", "3"), level("6-21", "4")) == [
        Segment(day("6-1"), day("6-21"), D(3), Share(20, 30)),
        Segment(day("6-21"), day("7-1"), D(4), Share(10, 30)),
    ]
    assert stood(level("6-1", "8"), level("6-4", "3"), level("6-11T09:00", "9"), level("6-11T17:00", "3")) == [
        Segment(day("6-1"), day("6-4"), D(8), Share(3, 30)),
        Segment(day("6-4"), day("7-1"), D(3), Share(27, 30)),
    ]
    assert stood(level("6-1", "3"), level("6-11T09:00", "9"), level("6-11T17:00", "5")) == [
        Segment(day("6-1"), day("6-11"), D(3), Share(10, 30)),
        Segment(day("6-11"), day("7-1"), D(5), Share(20, 30)),
    ]


def test_the_day_of_a_level_is_the_lines_own() -> None:
    """Half past ten in the evening of the 10th in UTC is the 11th in Berlin."""
    found = stood(level("5-1", "3"), level("6-10T22:30", "5"), zone="Europe/Berlin")
    assert [(s.start, s.end) for s in found] == [(day("6-1"), day("6-11")), (day("6-11"), day("7-1"))]


def test_in_seconds_a_level_counts_for_as_long_as_it_stood() -> None:
    day_s = 86_400
    assert stood(level("6-1", "3"), level("6-11T12:00", "5"), level("6-11T18:00", "4"), proration="seconds") == [
        Segment(day("6-1"), day("6-11"), D(3), Share(10 * day_s + day_s // 2, 30 * day_s)),
        Segment(day("6-11"), day("6-11"), D(5), Share(day_s // 4, 30 * day_s)),
        Segment(day("6-11"), day("7-1"), D(4), Share(19 * day_s + day_s // 4, 30 * day_s)),
    ]


def test_a_share_of_days_is_rounded_as_the_terms_say_and_a_whole_one_is_not() -> None:
    down = {"rounding": {"fraction": step(2, "down")}}
    assert [s.share.value for s in stood(level("6-1", "3"), level("6-21", "5"), **down)] == [D("0.66"), D("0.33")]
    assert stood(level("5-1", "2"), level("5-7", "3"), **down)[0].share == WHOLE
    two_days = Part(day("6-1"), day("6-3"), day("6-1"), day("6-3"))
    whole = {"rounding": {"fraction": step(0)}}
    assert [s.share.value for s in stood(level("6-1", "3"), level("6-2", "5"), part=two_days, **whole)] == [1, 1]
    up = {"rounding": {"fraction": step(2)}}
    assert [s.share.value for s in stood(level("6-1", "3"), level("6-21", "5"), **up)] == [D("0.67"), D("0.33")]


@pytest.mark.parametrize(("kind", "quantity"), [("max", 7), ("last", 4), ("first", 3), ("time_weighted", D("4.5"))])
def test_one_quantity_of_a_part(kind: str, quantity: Any) -> None:
    # (3 x 10 + 7 x 10 + 3 x 5 + 4 x 5)/30 = 4.5.
    levels = [level("6-1", "3"), level("6-11", "7"), level("6-21", "3"), level("6-26", "4")]
    assert statistic(levels, kind, JUNE.start, JUNE.end, "UTC") == quantity


def test_a_statistic_of_nothing_is_no_value() -> None:
    for kind in ("max", "last", "first", "time_weighted"):
        assert statistic([], kind, JUNE.start, JUNE.end, "UTC") is None
        assert statistic([level("7-1", "4")], kind, JUNE.start, JUNE.end, "UTC") is None


def test_a_level_reached_in_the_last_second_is_the_quantity_of_that_second() -> None:
    late = [
        Level(at("2025-06-30T23:59:59.125+00:00"), D(2)),
        Level(at("2025-06-30T23:59:59.250+00:00"), D(3)),
        Level(at("2025-06-30T23:59:59.500+00:00"), D(4)),
    ]
    assert statistic(late, "time_weighted", JUNE.start, JUNE.end, "UTC") == 4


def test_time_weighted_quantities_count_hours_on_the_lines_own_clock() -> None:
    """The Berlin week in which the clocks go forward has 601,200 seconds."""
    week = Part(date(2025, 3, 24), date(2025, 3, 31), date(2025, 3, 24), date(2025, 3, 31))
    levels = (Level(at("2025-03-23T23:00:00+00:00"), D(0)), Level(at("2025-03-30T22:00:00+00:00"), D(9)))
    assert statistic(levels, "time_weighted", week.start, week.end, "Europe/Berlin") == 0
    middle = (levels[0], Level(at("2025-03-27T10:30:00+00:00"), D(2)))
    assert statistic(middle, "time_weighted", week.start, week.end, "Europe/Berlin") == 1


def test_a_gauge_that_stood_at_nothing_for_a_while_bills_the_rest() -> None:
    measured = Measurement("gauge", levels=(level("6-1", "3"), level("6-11", "0"), level("6-21", "6")))
    (line,) = due(service(unit("10")), measured, JUNE, True)
    assert (line.amount, line.quantity) == (D("30.00"), 3)
