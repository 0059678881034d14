"""From meters to one quantity."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.kernel.periods import bounds
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import Measured, Observation
from shared.reconciliation.measure import Take, levels, mean_level, measure, shows_usage
from tests.unit.reconciliation.given import OCTOBER, D, at, counter, gauge, record


def value(*meters: Measured) -> Decimal:
    return measure(meters, OCTOBER, "UTC").value


def test_a_gauge_counts_by_its_highest_level_in_the_month() -> None:
    assert value(gauge((at(1), "3"), (at(11), "5"), (at(26), "4"))) == 5


def test_a_level_holds_from_an_earlier_month_until_the_next_observation() -> None:
    assert value(gauge((at(20, month=9), "8"))) == 8
    assert value(gauge((at(20, month=9), "8"), (at(1, 0), "5"))) == 5
    assert value(gauge((at(20, month=9), "8"), (at(1, 0, minute=1), "5"))) == 8
    assert value(gauge((at(1, 0, month=11), "8"))) == 0


def test_gauges_add_up_at_each_instant_and_not_peak_by_peak() -> None:
    one = gauge((at(1), "5"), (at(10), "1"))
    two = gauge((at(1), "2"), (at(20), "7"), account="a-2")
    assert value(one, two) == 8  # 5+2, 1+2, 1+7


def test_a_seat_that_moves_between_accounts_is_never_counted_twice() -> None:
    one = gauge((at(1), "5"), (at(10), "0"))
    two = gauge((at(10), "5"), account="a-2")
    assert value(one, two) == value(two, one) == 5


def test_a_bucket_holds_only_inside() -> None:
    meter = gauge((at(1), "5"), (at(10), "9"))
    buckets = tuple(replace(seen, until=seen.at + timedelta(days=1)) for seen in meter.observations)
    other = gauge((at(3), "100"), account="a-2")
    assert value(replace(meter, observations=buckets[:1]), other) == 100
    assert value(replace(meter, observations=buckets), other) == 109


def test_the_evidence_of_a_gauge_is_what_stood_at_its_peak() -> None:
    used = measure([gauge((at(1), "5"), (at(10), "9")), gauge((at(2), "1"), account="a-2")], OCTOBER, "UTC")
    assert [source.id for source in used.sources] == ["a-1/1010T1200", "a-2/1002T1200"]
    assert (used.records, used.formula) == (2, "highest level of 3 observations: 10 on 2026-10-10")


def test_counters_and_peaks_add_up_over_meters_each_with_its_share() -> None:
    assert value(counter("10"), counter("5", share=D("0.4"))) == D("12.0")
    assert value(counter("7", kind="peak"), counter("5", kind="peak", account="a-2")) == 12


def test_a_gauge_below_zero_counts_nothing() -> None:
    assert value(gauge((at(1), "-5"))) == 0


# --- levels and their mean -------------------------------------------------------------------------------------------
def stood(*meters: Measured, take: Take = Take()) -> list[tuple[int, Decimal]]:
    return [(one.at.day, D(one.quantity)) for one in levels(meters, *bounds(OCTOBER, "UTC"), take)]


def test_gauges_together_change_when_one_of_them_does() -> None:
    one, two = gauge((at(1, 0), "5"), (at(10), "1")), gauge((at(5), "2"), (at(10), "6"), account="a-2")
    assert stood(one, two) == stood(two, one) == [(1, D(5)), (5, D(7)), (10, D(7))]
    assert stood(one, two, take=Take(D(4), D(2))) == [(1, D(1)), (5, D(2)), (10, D(2))]


def test_a_bucket_that_is_over_leaves_nothing_standing() -> None:
    meter = gauge((at(5), "4"))
    bucket = replace(meter, observations=(replace(meter.observations[0], until=at(7)),))
    assert stood(bucket) == [(5, D(4)), (7, D(0))]


def test_the_mean_level_counts_days_by_what_stood_at_their_end() -> None:
    def mean(*meters: Measured) -> tuple[Decimal, str]:
        told = mean_level(levels(meters, *bounds(OCTOBER, "UTC")), OCTOBER, "UTC")
        return told.value, told.formula

    assert mean(gauge((at(1, 0), "3"), (at(11, 9), "9"), (at(11), "5"))) == (
        D("4.354839"),
        "mean level of 31 days: (3 x 10 + 5 x 21) / 31 = 4.354839",
    )
    assert mean(gauge((at(20, month=9), "3"))) == (D(3), "level of 3")
    assert mean(gauge((at(17), "3"))) == (D(3), "level of 3 from 2026-10-17 on")


INSTANTS = st.datetimes(datetime(2026, 9, 20), datetime(2026, 11, 10)).map(lambda t: t.replace(tzinfo=at(1).tzinfo))


@st.composite
def _gauges(draw: st.DrawFn) -> list[Measured]:
    meters = []
    for number in range(draw(st.integers(1, 3))):
        instants = sorted(draw(st.lists(INSTANTS, max_size=6, unique=True)))
        observations = []
        for n, instant in enumerate(instants):
            until = (
                instant + draw(st.timedeltas(timedelta(hours=1), timedelta(days=9))) if draw(st.booleans()) else None
            )
            level = D(draw(st.integers(0, 9)))
            observations.append(Observation(instant, level, record("usage.metered.v1", f"{number}/{n}"), until))
        share = D(draw(st.sampled_from(["1", "0.5"])))
        meter = gauge(account=f"a-{number}", share=share)
        meters.append(replace(meter, observations=tuple(draw(st.permutations(observations)))))
    return meters


@exact
def _highest_by_probing(meters: list[Measured]) -> Decimal:
    """The same by brute force: look at every instant at which anything may change."""
    start, end = bounds(OCTOBER, "UTC")
    edges = {start, end}
    for meter in meters:
        for seen in meter.observations:
            edges |= {seen.at} | ({seen.until} if seen.until else set())
    inside = sorted(edge for edge in edges if start <= edge <= end)
    return max(sum((_level(meter, one) for meter in meters), D(0)) for one, _ in pairwise(inside))


def _level(meter: Measured, instant: datetime) -> Decimal:
    past = [seen for seen in meter.observations if seen.at <= instant]
    if not past:
        return D(0)
    last = max(past, key=lambda seen: seen.at)
    return D(0) if last.until is not None and last.until <= instant else last.quantity * meter.share


@settings(max_examples=300, deadline=None)
@given(_gauges())
def test_the_sweep_agrees_with_looking_at_every_instant(meters: list[Measured]) -> None:
    assert value(*meters) == _highest_by_probing(meters)
    start, end = bounds(OCTOBER, "UTC")
    if len(meters) == 1:
        assert shows_usage(meters[0], start, end) is (_highest_by_probing(meters) > 0)
