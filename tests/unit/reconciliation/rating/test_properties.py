"""What must hold for any terms, grid and order of arrival (rating.md section 11)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import Terms
from shared.events.discrepancies import Source
from shared.kernel.periods import Period, bounds, instant_of
from shared.reconciliation.rating import Statement, due, fraction, parts, rate, rate_original, total, zone_of
from shared.reconciliation.rating.fraction import share_of
from shared.reconciliation.rating.model import Amount, Component, Level, Measurement, Part, Service, Version
from tests.unit.reconciliation.rating.lines import JUNE, D, flat

EXAMPLES = settings(max_examples=200, deadline=None)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Havana"])
DAYS = st.dates(date(2016, 1, 1), date(2030, 12, 31))
cents = st.integers(0, 2_000).map(lambda n: str(D(n) / 100))
few = st.integers(0, 60).map(str)


@st.composite
def periods(draw: st.DrawFn) -> dict[str, Any]:
    unit = draw(st.sampled_from(["day", "week", "month", "quarter", "year"]))
    period: dict[str, Any] = {"unit": unit, "count": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        period["anchor"] = draw(DAYS)
    if unit not in ("day", "week") and draw(st.booleans()):
        period["day"] = draw(st.integers(1, 31))
    return period


@st.composite
def grids(draw: st.DrawFn) -> Service:
    period = draw(periods())
    kinds = ["daily", "seconds"] + ([] if period["unit"] in ("day", "week") else ["thirty_day"])
    of = flat("90", period=period, proration=draw(st.sampled_from(kinds)), time_zone=draw(ZONES))
    start = draw(DAYS)
    days = draw(st.integers(1, 1_000))
    return Service((Version(of, start, draw(st.sampled_from([None, start + timedelta(days=days)]))),), "EUR")


@EXAMPLES
@given(grids(), st.integers(-40, 500), st.integers(1, 400))
def test_parts_follow_each_other_within_their_periods_and_windows_find_each_once(
    of: Service, offset: int, length: int
) -> None:
    start = of.versions[0].start + timedelta(days=offset)
    window = Period(start, start + timedelta(days=length))
    found = parts(of, window)
    end = of.versions[0].end
    for part in found:
        assert part.full_start <= part.start < part.end <= part.full_end
        assert window.contains(part.start)
        assert part.start >= of.versions[0].start
        assert end is None or part.end <= end
    assert all(one.end == other.start == one.full_end == other.full_start for one, other in itertools.pairwise(found))
    middle = start + timedelta(days=length // 2 or 1)
    assert parts(of, Period(start, middle)) + parts(of, Period(middle, window.end)) == found


@EXAMPLES
@given(grids())
def test_the_parts_of_a_line_cover_all_of_its_service(of: Service) -> None:
    first = of.versions[0].start
    end = of.versions[0].end or first + timedelta(days=700)
    ended = replace(of, versions=(replace(of.versions[0], end=end),))
    found = parts(ended, Period(first, end))
    assert found[0].start == first
    assert found[-1].end == end
    assert sum((part.end - part.start).days for part in found) == (end - first).days


@EXAMPLES
@given(grids(), st.lists(st.integers(0, 1_200), max_size=5))
def test_the_pieces_of_a_period_sum_to_the_whole(of: Service, offsets: list[int]) -> None:
    terms = of.versions[0].terms
    started = replace(of, versions=(replace(of.versions[0], end=None),))
    part = parts(started, Period(of.versions[0].start, of.versions[0].start + timedelta(days=1)))[0]
    whole = Part(part.full_start, part.full_end, part.full_start, part.full_end)
    days = (whole.end - whole.start).days
    cuts = sorted({whole.start, whole.end, *(whole.start + timedelta(days=n % days) for n in offsets)})
    shares = [share_of(terms, whole, a, b, zone_of(of, terms)) for a, b in itertools.pairwise(cuts)]
    assert sum(Fraction(share.value) for share in shares) == 1
    assert Fraction(fraction(of, part)) <= 1


@st.composite
def prices(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["unit", "graduated", "volume", "package", "percentage", "cost_plus"]))
    if kind == "unit":
        return {"kind": kind, "unit_amount": draw(cents)}
    if kind == "package":
        return {"kind": kind, "size": draw(st.sampled_from(["1", "2.5", "10"])), "amount": draw(cents)}
    if kind == "cost_plus":
        return {"kind": kind, "factor": draw(st.sampled_from(["1", "1.25", "1.137"]))}
    if kind == "percentage":
        maybe = {"free_events": draw(st.none() | st.integers(0, 4)), "free_amount": draw(st.none() | few)}
        bounds_ = {"per_event_min": draw(st.none() | st.just("1")), "per_event_max": draw(st.none() | st.just("2.5"))}
        return {"kind": kind, "rate_pct": draw(st.sampled_from(["2.5", "0.7"])), "fixed": draw(cents)} | maybe | bounds_
    ends = sorted(draw(st.sets(st.integers(1, 50), max_size=3)))
    tiers = [
        {
            "up_to": None if end is None else str(end),
            "unit_amount": draw(cents),
            "flat_amount": draw(st.sampled_from(["0", "5", "7.77"])),
            "size": draw(st.sampled_from([None, None, "5"])),
        }
        for end in [*ends, None]
    ]
    return {"kind": kind, "tiers": tiers}


@st.composite
def agreed(draw: st.DrawFn, price: dict[str, Any] | None = None) -> Terms:
    more: dict[str, Any] = {
        "included": draw(st.sampled_from(["0", "0", "3.5"])),
        "free": draw(st.sampled_from(["0", "0", "2"])),
        "minimum_quantity": draw(st.sampled_from([None, None, "4"])),
        "maximum_quantity": draw(st.sampled_from([None, None, "40"])),
        "discount_pct": draw(st.sampled_from([None, None, "12.5"])),
        "discount_amount": draw(st.sampled_from([None, None, "9.99"])),
        "minimum_amount": draw(st.sampled_from([None, None, "50"])),
        "maximum_amount": draw(st.sampled_from([None, None, "80"])),
        "interim": draw(st.sampled_from([None, "cumulative"])),
        "proration": draw(st.sampled_from(["daily", "daily", "thirty_day", "seconds", "none"])),
        "statistic": draw(st.sampled_from(["prorated", "prorated", "max", "last", "first", "time_weighted"])),
        "prorate_allowances": draw(st.booleans()),
        "rounding": draw(st.sampled_from([{}, {"unit_price": {"scale": 2}}, {"day_price": {"scale": 3}}])),
        "lines": draw(st.sampled_from(["period", "period", "segment"])),
    }
    if draw(st.booleans()):
        more["discounts"] = [{"pct": "10", "effective_from": draw(st.dates(date(2025, 5, 25), date(2025, 7, 3)))}]
    return Terms.model_validate({"price": price or draw(prices()), **more})


@st.composite
def services(draw: st.DrawFn) -> Service:
    """One or two versions; a percentage is amended to a percentage, so that one measure fits both."""
    first = draw(agreed())
    kind = first.price.kind
    versions = [Version(first, date(2025, 1, 1))]
    if draw(st.booleans()):
        second = draw(agreed().filter(lambda t: (t.price.kind == "percentage") == (kind == "percentage")))
        change = draw(st.dates(date(2025, 6, 1), date(2025, 6, 30)))
        versions = [replace(versions[0], end=change), Version(second, change)]
    return Service(tuple(versions), "EUR", draw(ZONES))


def source(number: int) -> Source:
    return Source(type="usage.metered.v1", source="vendor.sentinel", id=f"evt-{number:03}")


@st.composite
def records(draw: st.DrawFn, of: Service) -> list[Amount]:
    start, end = bounds(Period(JUNE.start, JUNE.end), of.time_zone)
    seconds = int((end - start).total_seconds())
    drawn = draw(st.lists(st.tuples(st.integers(0, seconds - 1), st.integers(0, 400)), max_size=12))
    return [
        Amount(start + timedelta(seconds=second), D(tenths) / 10, (source(number),))
        for number, (second, tenths) in enumerate(drawn)
    ]


@st.composite
def levels(draw: st.DrawFn, of: Service) -> list[Level]:
    """Levels at distinct instants; the first may stand from before."""
    start, end = bounds(Period(JUNE.start, JUNE.end), of.time_zone)
    seconds = int((end - start).total_seconds())
    instants = draw(st.sets(st.integers(-90_000, seconds - 1), max_size=8))
    return [
        Level(start + timedelta(seconds=second), D(draw(st.integers(0, 60))), None, (source(number),))
        for number, second in enumerate(sorted(instants))
    ]


def is_percentage(of: Service) -> bool:
    return any(version.terms.price.kind == "percentage" for version in of.versions)


@st.composite
def rated(draw: st.DrawFn) -> tuple[Service, Measurement]:
    of = draw(services())
    kind = draw(st.sampled_from(["counter", "gauge"]))
    if kind == "gauge" and not is_percentage(of):
        return of, Measurement("gauge", levels=tuple(draw(levels(of))))
    return of, Measurement("counter", amounts=tuple(draw(records(of))))


@EXAMPLES
@given(rated(), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_records_does_not_matter(given_: tuple[Service, Measurement], random: Any, final: bool) -> None:
    of, measured = given_
    shuffled_amounts, shuffled_levels = list(measured.amounts), list(measured.levels)
    random.shuffle(shuffled_amounts)
    random.shuffle(shuffled_levels)
    shuffled = replace(measured, amounts=tuple(shuffled_amounts), levels=tuple(shuffled_levels))
    assert due(of, measured, JUNE, final) == due(of, shuffled, JUNE, final)


@EXAMPLES
@given(rated(), st.booleans())
def test_a_line_is_amount_less_discounts_plus_charges_and_says_how(
    given_: tuple[Service, Measurement], final: bool
) -> None:
    of, measured = given_
    lines = due(of, measured, JUNE, final)
    for line in lines:
        assert line.amount or line.discounts or line.charges
        assert all(isinstance(money, Decimal) for money in (line.amount, line.discounts, line.charges))
        assert all(money == money.quantize(D("0.01")) for money in (line.amount, line.discounts, line.charges))
        assert line.steps
        assert all(0 < len(step.formula) <= 500 for step in line.steps)
        assert line.steps[-1].formula.count("=") <= 1
    assert [replace(line, steps=()) for line in lines] == list(due(of, measured, JUNE, final, explain=False))
    assert total(lines) >= 0


def upto(measured: Measurement, seen: set[int], end: date, of: Service) -> Measurement:
    """What is known so far: of all records, those seen, up to the end of a sub-period."""
    limit = instant_of(end, of.time_zone)
    amounts = tuple(a for n, a in enumerate(measured.amounts) if n in seen and a.at < limit)
    marks = tuple(level._replace(until=limit) for level in measured.levels if level.at < limit)
    return replace(measured, amounts=amounts, levels=marks if end < JUNE.end else measured.levels)


def booked(lines: tuple[Component, ...], ref: str) -> tuple[Component, ...]:
    return tuple(replace(line, booked=ref) for line in lines)


@EXAMPLES
@given(rated(), st.data())
def test_late_usage_in_any_interleaving_ends_the_same(given_: tuple[Service, Measurement], data: st.DataObject) -> None:
    of, measured = given_
    ends = [*data.draw(st.lists(st.dates(date(2025, 6, 2), date(2025, 6, 30)), max_size=3)), JUNE.end, JUNE.end]
    billed: tuple[Component, ...] = ()
    for number, end in enumerate(sorted(ends)):
        everything = number == len(ends) - 1
        known = set(range(12)) if everything else data.draw(st.sets(st.integers(0, 11)))
        now = rate(of, upto(measured, known, end, of), JUNE, end == JUNE.end, billed)
        billed += booked(now, f"INV-{number}")
    assert total(billed) == total(due(of, measured, JUNE, True))
    assert rate(of, measured, JUNE, True, billed) == ()


@EXAMPLES
@given(rated(), st.data())
def test_booking_on_the_original_sub_period_gives_the_same_total(
    given_: tuple[Service, Measurement], data: st.DataObject
) -> None:
    of, measured = given_
    cuts = sorted(data.draw(st.sets(st.dates(date(2025, 6, 2), date(2025, 6, 30)), max_size=3)))
    spans = [Period(a, b) for a, b in itertools.pairwise([JUNE.start, *cuts, JUNE.end])]
    statements: list[Statement] = []
    billed: tuple[Component, ...] = ()
    for number, span in enumerate(spans):
        known = data.draw(st.sets(st.integers(0, 11)))
        now = rate(of, upto(measured, known, span.end, of), JUNE, span.end == JUNE.end, billed)
        now = booked(now, f"INV-{number}")
        statements.append(Statement(span, now, f"INV-{number}"))
        billed += now
    current = rate(of, measured, JUNE, True, billed)
    original = rate_original(of, measured, JUNE, True, statements)
    assert total(current) == total(original)
    for line in original:
        assert line.start == spans[-1].start or line.corrects is not None
    after = [
        statement._replace(lines=(*statement.lines, *(c for c in original if c.start == statement.period.start)))
        for statement in statements
    ]
    assert rate_original(of, measured, JUNE, True, after) == ()


@EXAMPLES
@given(agreed({"kind": "unit", "unit_amount": "12.40"}), st.integers(1, 29), levels(Service((), "EUR")))
def test_a_change_to_the_same_terms_changes_nothing(terms: Terms, after: int, held: list[Level]) -> None:
    change = JUNE.start + timedelta(days=after)
    one = Service((Version(terms, date(2025, 1, 1)),), "EUR")
    two = Service((Version(terms, date(2025, 1, 1), change), Version(terms, change)), "EUR")
    if terms.lines == "period" and terms.rounding.unit_price is None and terms.rounding.day_price is None:
        measured = Measurement("gauge", levels=tuple(held))
        assert [(c.component, c.unit_price, c.quantity, c.total) for c in due(one, measured, JUNE, True)] == [
            (c.component, c.unit_price, c.quantity, c.total) for c in due(two, measured, JUNE, True)
        ]
