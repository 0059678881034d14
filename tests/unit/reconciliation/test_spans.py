"""Of which spans usage is measured, and which months it concerns."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.events.contracts import (
    BillingPeriod,
    Discount,
    Labour,
    PercentagePrice,
    PrepaidBlock,
    Terms,
    UnitPrice,
)
from shared.kernel.periods import Period, month_of
from shared.reconciliation.chains import chains
from shared.reconciliation.inputs import LineVersion
from shared.reconciliation.spans import entry_span, homes, hull, needed, wants_events
from tests.unit.reconciliation.given import CLIENT, OCTOBER, D, unit_line

UNIT = UnitPrice(kind="unit", unit_amount=D("4.20"))
NOVEMBER, SEPTEMBER = month_of(date(2026, 11, 1)), month_of(date(2026, 9, 1))


def line(terms: Terms | None, since: date = date(2026, 1, 1), **changes: object) -> LineVersion:
    return replace(unit_line(), terms=terms, effective_from=since, **changes)  # type: ignore[arg-type]


def day(number: int, month: int = 10) -> date:
    return date(2026, month, number)


def test_a_plain_line_needs_the_month_alone() -> None:
    assert needed((), CLIENT, OCTOBER) == needed((unit_line(),), CLIENT, OCTOBER) == (OCTOBER,)


def test_a_price_that_changes_and_a_dated_discount_cut_the_month() -> None:
    dated = Terms(price=UNIT, discounts=(Discount(pct=D(10), effective_from=day(20), effective_to=day(25)),))
    lines = (unit_line(), line(dated, day(11)))
    assert needed(lines, CLIENT, OCTOBER) == (
        Period(day(1), day(11)),
        OCTOBER,
        Period(day(11), day(20)),
        Period(day(20), day(25)),
        Period(day(25), day(1, 11)),
    )
    assert hull(needed(lines, CLIENT, OCTOBER)) == OCTOBER


def test_terms_that_go_on_unchanged_cut_nothing() -> None:
    lines = (unit_line("4.20", "30"), unit_line("4.20", "35", effective_from=day(20)))
    assert needed(lines, CLIENT, OCTOBER) == (OCTOBER,)
    (chain,) = chains(lines, "UTC")
    assert len(chain.service.versions) == 1
    assert chain.last_at(day(1), day(1, 11)).recurring == lines[1].recurring
    assert chain.last_at(day(1), day(20)).recurring == lines[0].recurring


def test_a_quarter_is_measured_where_it_starts() -> None:
    quarterly = line(Terms(price=UNIT, period=BillingPeriod(unit="quarter", anchor=day(1, 1))))
    assert needed((quarterly,), CLIENT, OCTOBER) == (OCTOBER, Period(day(1), date(2027, 1, 1)))
    assert needed((quarterly,), CLIENT, NOVEMBER) == (NOVEMBER,)


def test_a_cycle_of_the_15th() -> None:
    cycle = line(Terms(price=UNIT, period=BillingPeriod(day=15)))
    assert needed((cycle,), CLIENT, OCTOBER) == (OCTOBER, Period(day(15), day(15, 11)))


def test_usage_concerns_its_month_and_the_month_in_which_its_part_starts() -> None:
    quarterly = line(Terms(price=UNIT, period=BillingPeriod(unit="quarter", anchor=day(1, 1))))
    november = Period(day(20, 11), day(21, 11))
    assert homes((), CLIENT, november) == (NOVEMBER,)
    assert homes((quarterly,), CLIENT, november) == (OCTOBER, NOVEMBER)
    cycle = line(Terms(price=UNIT, period=BillingPeriod(day=15)))
    assert homes((cycle,), CLIENT, Period(day(14), day(15))) == (SEPTEMBER, OCTOBER)
    assert homes((cycle,), CLIENT, Period(day(15), day(16))) == (OCTOBER,)
    yearly = line(Terms(price=UNIT, period=BillingPeriod(unit="year", anchor=day(1, 3))))
    assert homes((yearly,), CLIENT, Period(date(2027, 2, 28), date(2027, 3, 1)))[0] == month_of(day(1, 3))


def test_what_is_asked_for_and_what_is_marked_agree() -> None:
    """A day marks every month whose spans hold it."""
    terms = [BillingPeriod(day=31), BillingPeriod(unit="week"), BillingPeriod(count=5), BillingPeriod(unit="once")]
    lines = tuple(
        line(Terms(price=UNIT, period=one), day(7, 1 + n), line=str(n), effective_to=day(9, 12 - n))
        for n, one in enumerate(terms)
    )
    for number in range(1, 13):
        month = month_of(day(1, number))
        for span in needed(lines, CLIENT, month):
            for one in (span.start, date.fromordinal(span.end.toordinal() - 1)):
                assert month in homes(lines, CLIENT, Period(one, date.fromordinal(one.toordinal() + 1)))


def test_events_are_wanted_by_percentages_alone() -> None:
    assert not wants_events((unit_line(), line(None)))
    assert wants_events((unit_line(), line(Terms(price=PercentagePrice(kind="percentage", rate_pct=D(2))))))


def test_entries_reach_back_to_the_start_of_a_block() -> None:
    block = PrepaidBlock(block="A", start=day(15, 6), end=day(1, 12), hours=D(20))
    lines = (line(Terms(price=UNIT, labour=Labour(blocks=(block,)))),)
    assert entry_span(lines, CLIENT, OCTOBER) == Period(day(15, 6), day(1, 11))
    assert entry_span((unit_line(),), CLIENT, OCTOBER) == OCTOBER
    marked = homes(lines, CLIENT, Period(day(20, 9), day(21, 9)))
    assert marked == (SEPTEMBER, OCTOBER, NOVEMBER)
    assert homes(lines, CLIENT, Period(day(1, 12), day(2, 12))) == (month_of(day(1, 12)),)


def test_a_line_that_ends_or_sells_something_else_is_cut() -> None:
    moved = (
        replace(unit_line(), product="edr"),
        replace(unit_line(), product="mdr", effective_from=day(10)),
        replace(unit_line(), product="mdr", terms=None, effective_from=day(20)),
        unit_line(line="4", effective_from=day(5), effective_to=day(5)),
    )
    found = chains(reversed(moved), "UTC")
    assert [(chain.product, chain.holdings[0].start, chain.holdings[-1].end) for chain in found] == [
        ("edr", date(2026, 1, 1), day(10)),
        ("mdr", day(10), day(20)),
    ]


def test_the_days_after_the_last_line_of_a_product_are_measured_too() -> None:
    ended = (unit_line(), line(None, day(15)))
    rest = Period(day(15), day(1, 11))
    assert needed(ended, CLIENT, OCTOBER) == (Period(day(1), day(15)), OCTOBER, rest)
    assert needed(ended, CLIENT, NOVEMBER) == (NOVEMBER,)
    renewed = (*ended, unit_line(line="4", effective_from=day(15)))
    assert rest in needed(renewed, CLIENT, OCTOBER)
    other = (*ended, unit_line(line="4"))
    assert rest not in needed(other, CLIENT, OCTOBER)
