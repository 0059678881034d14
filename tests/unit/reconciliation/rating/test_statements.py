"""What belongs to which statement, when corrections are booked where they belong (rating.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from shared.events.discrepancies import Source
from shared.kernel.periods import Period, instant_of
from shared.reconciliation.rating import Statement, rate, rate_original, total
from shared.reconciliation.rating.billed import difference
from shared.reconciliation.rating.model import Amount, Component, Measurement, Service
from tests.unit.reconciliation.rating.lines import JUNE, D, day, seats, service, terms, tiers, unit, used

A, B, C = Period(day("6-1"), day("6-11")), Period(day("6-11"), day("6-21")), Period(day("6-21"), day("7-1"))
NONE_BILLED = (Statement(A, (), "INV-A"), Statement(B, (), "INV-B"), Statement(C))
STEPPED = service(terms("volume", price=tiers(("10", "2.00"), ("30", "1.80"), (None, "1.40")), interim="cumulative"))


def original(
    of: Service, measured: Measurement, statements: Sequence[Statement] = NONE_BILLED, final: bool = True
) -> list[tuple[str, D, D, str | None]]:
    """First day, quantity, total, and the statement corrected."""
    lines = rate_original(of, measured, JUNE, final, statements)
    return [(f"{c.start:%-m-%-d}", D(c.quantity), c.total, c.corrects) for c in lines]


def test_usage_at_the_instant_at_which_a_sub_period_begins_belongs_to_it() -> None:
    midnight = instant_of(day("6-11"), "UTC")
    last = midnight - timedelta(microseconds=1)
    measured = Measurement("counter", amounts=(Amount(last, D(1)), Amount(midnight, D(2))))
    assert original(service(unit("5")), measured) == [
        ("6-1", D(1), D("5.00"), "INV-A"),
        ("6-11", D(2), D("10.00"), "INV-B"),
    ]


def test_a_gauge_is_billed_on_each_sub_period_for_as_long_as_it_stood_there() -> None:
    of = service(unit("30"))
    found = original(of, seats(("6-1", "3"), ("6-16", "6")))
    assert [(start, money) for start, _, money, _ in found] == [
        ("6-1", D("30.00")),
        ("6-11", D("45.00")),
        ("6-21", D("60.00")),
    ]
    ended = original(of, seats(("6-1", "3"), until=day("6-6")))
    assert [(start, money) for start, _, money, _ in ended] == [("6-1", D("15.00"))]


def test_a_line_stands_on_its_sub_period_within_the_part_and_says_how() -> None:
    longer = (Statement(Period(day("5-20"), day("6-11")), (), "INV-A"), Statement(Period(day("6-11"), day("7-15"))))
    measured = used(("6-5", "1"), ("6-20", "2"))
    first, second = rate_original(service(unit("5")), measured, JUNE, True, longer)
    assert (first.start, first.end, second.start, second.end) == (day("6-1"), day("6-11"), day("6-11"), day("7-1"))
    assert first.steps
    assert not rate_original(service(unit("5")), measured, JUNE, True, longer, explain=False)[0].steps


def test_a_minimum_stands_on_the_last_statement_once_the_part_is_over() -> None:
    of, measured = service(unit("1", minimum_amount="100")), used(("6-5", "30"), ("6-15", "20"))
    usage = [("6-1", D(30), D("30.00"), "INV-A"), ("6-11", D(20), D("20.00"), "INV-B")]
    assert original(of, measured) == [*usage, ("6-21", D(0), D("50.00"), None)]
    assert original(of, measured, final=False) == usage
    # Of a part that is over, the sub-period that reached its end is over too, whoever is billed now.
    after = (*NONE_BILLED[:2], Statement(C, (), "INV-C"), Statement(Period(day("7-1"), day("7-11"))))
    assert original(of, measured, after) == [*usage, ("6-21", D(0), D("50.00"), "INV-C")]


def test_a_price_that_is_left_behind_is_reversed_where_its_lines_stand() -> None:
    a = tuple(replace(c, booked="A-1") for c in rate(STEPPED, used(("6-5", "5")), JUNE, False, ()))
    measured = used(("6-5", "5"), ("6-15", "15"), ("6-25", "20"))
    assert original(STEPPED, measured) == [("6-21", D(40), D("56.00"), None)]
    billed = (Statement(A, a, "INV-A"), *NONE_BILLED[1:])
    assert original(STEPPED, measured, billed) == [
        ("6-1", D(-5), D("-10.00"), "A-1"),
        ("6-21", D(40), D("56.00"), None),
    ]


def line(component: str, price: str, quantity: str, **more: object) -> Component:
    made = Component(component, D(price), D(quantity), D(price) * D(quantity), JUNE.start, JUNE.end)
    return replace(made, **more)  # type: ignore[arg-type]


def test_reversals_come_by_component_and_price_whatever_the_order_of_what_was_billed() -> None:
    billed = [line("usage", "2.00", "3"), line("flat", "9.00", "1"), line("usage", "1.40", "5")]
    for given in (billed, billed[::-1]):
        found = difference((), given, "EUR")
        assert [(c.component, c.unit_price, c.quantity) for c in found] == [
            ("flat", D("9.00"), -1),
            ("usage", D("1.40"), -5),
            ("usage", D("2.00"), -3),
        ]


def test_what_was_billed_without_a_price_is_reversed_before_what_had_one() -> None:
    unpriced = replace(line("usage", "2.00", "4"), unit_price=None)
    for given in ([line("usage", "2.00", "3"), unpriced], [unpriced, line("usage", "2.00", "3")]):
        assert [(c.unit_price, c.total) for c in difference((), given, "EUR")] == [(None, -8), (D("2.00"), -6)]


def test_a_reversal_negates_every_figure_and_shows_it() -> None:
    booked = line(
        "usage", "2.00", "3", discounts=D("1.50"), charges=D("0.25"), booked="A-1", flags=("beyond_last_tier",)
    )
    (back,) = difference((), [booked], "EUR")
    assert (back.quantity, back.amount, back.discounts, back.charges) == (-3, D("-6.00"), D("-1.50"), D("-0.25"))
    assert (back.corrects, back.booked, back.flags) == ("A-1", None, ())
    (step,) = back.steps
    assert (step.label, step.result) == ("reversed", D("-4.75"))


def test_what_was_billed_in_pieces_is_taken_away_as_one() -> None:
    early = line("usage", "2.00", "3", discounts=D(1), charges=D(2), booked="A-1", end=day("6-11"))
    late = line("usage", "2.00", "4", discounts=D(3), charges=D(5), booked="B-1", start=day("6-11"))
    for billed in ((early, late), (late, early)):
        (back,) = difference((), billed, "EUR")
        assert (back.quantity, back.amount, back.discounts, back.charges) == (-7, D("-14.00"), D(-4), D(-7))
        assert (back.start, back.end, back.corrects) == (JUNE.start, JUNE.end, "B-1")
    (more,) = difference([line("usage", "2.00", "9", discounts=D(4), charges=D(9))], (early, late), "EUR")
    assert (more.quantity, more.amount, more.discounts, more.charges) == (2, D("4.00"), 0, D(2))
    assert (more.corrects, more.booked) == (None, None)


def test_a_line_whose_money_alone_moves_is_kept_and_one_that_moves_nothing_is_not() -> None:
    now = line("usage", "2.00", "3")
    assert difference([now], [now], "EUR") == ()
    (discount,) = difference([replace(now, discounts=D(1))], [now], "EUR")
    assert (discount.quantity, discount.amount, discount.total) == (0, 0, -1)
    (charge,) = difference([replace(now, charges=D(1))], [now], "EUR")
    assert (charge.quantity, charge.amount, charge.total) == (0, 0, 1)


def test_totals_over_all_sub_periods_are_those_of_one_statement() -> None:
    measured = used(("6-5", "5"), ("6-15", "15"), ("6-25", "20"))
    lines = rate_original(STEPPED, measured, JUNE, True, NONE_BILLED)
    assert total(lines) == total(rate(STEPPED, measured, JUNE, True, ()))


def test_a_sub_period_names_no_record_of_a_level_that_begins_with_the_next() -> None:
    held = seats(("6-1", "3"), ("6-11", "6"))
    named = [Source(type="seats.observed.v1", source="vendor", id=id) for id in ("a", "b")]
    levels = tuple(level._replace(sources=(of,)) for level, of in zip(held.levels, named, strict=True))
    lines = rate_original(service(unit("30")), replace(held, levels=levels), JUNE, True, NONE_BILLED)
    assert [[source.id for source in line.sources] for line in lines] == [["a"], ["a", "b"], ["a", "b"]]
