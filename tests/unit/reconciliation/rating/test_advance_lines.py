"""The lines of a change and of a cancellation, field by field (rating.md section 2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from shared.events.discrepancies import Source
from shared.reconciliation.rating import Position, cancel_lines, change_lines
from shared.reconciliation.rating.model import Arithmetic, Component, Part
from tests.unit.reconciliation.rating.lines import JUNE, D, day, flat, step, unit

PRICE = D("12.40")
THREE, FIVE = Position(D(3), PRICE), Position(D(5), PRICE)
RECORD = Source(type="usage.measured.v1", source="meter", id="r1")


def changes(on: str, old: Position, new: Position, splits: tuple[str, ...] = (), **more: Any) -> list[Any]:
    of = unit("12.40", billing="advance", **more)
    lines = change_lines(of, "EUR", "UTC", JUNE, day(on), old, new, [day(split) for split in splits])
    return [(f"{c.start:%-m-%-d}", f"{c.end:%-m-%-d}", c.unit_price, c.quantity, c.amount) for c in lines]


def test_a_replaced_line_comes_back_whole_and_is_billed_again_by_segment() -> None:
    assert changes("6-11", THREE, FIVE, ("6-21",), change="replace") == [
        ("6-1", "7-1", PRICE, -3, D("-37.20")),
        ("6-1", "6-11", PRICE, 3, D("12.40")),
        ("6-11", "6-21", PRICE, 5, D("20.67")),
        ("6-21", "7-1", PRICE, 5, D("20.67")),
    ]


def test_cuts_at_the_edges_of_a_part_or_beyond_them_cut_nothing() -> None:
    whole = [("6-1", "7-1", PRICE, -3, D("-37.20")), ("6-1", "7-1", PRICE, 5, D("62.00"))]
    assert changes("6-1", THREE, FIVE, ("5-20", "6-1", "7-1", "7-9"), change="replace") == whole


def test_a_change_before_a_part_is_none_of_it_and_one_on_its_last_day_is() -> None:
    assert changes("5-31", THREE, FIVE) == []
    assert changes("6-30", THREE, FIVE) == [("6-30", "7-1", PRICE, 2, D("0.83"))]


def test_a_difference_shows_what_differs() -> None:
    assert changes("6-11", FIVE, THREE) == [("6-11", "7-1", PRICE, -2, D("-16.53"))]
    dearer = Position(D(3), D("15.40"))
    assert changes("6-11", THREE, dearer) == [("6-11", "7-1", D("3.00"), 3, D("6.00"))]


def test_an_upgrade_is_the_old_product_back_and_the_new_one_charged() -> None:
    old, new = Position(D(3), PRICE, "usage"), Position(D(2), D("30.00"), "flat")
    lines = change_lines(unit("1", change="remaining"), "EUR", "UTC", JUNE, day("6-16"), old, new)
    assert [(c.component, c.category, c.amount) for c in lines] == [
        ("usage", "usage", D("-18.60")),
        ("flat", "flat", D("30.00")),
    ]
    assert all(line.steps for line in lines)


def test_seconds_are_those_of_the_lines_zone() -> None:
    """Of the Berlin week in which the clocks go forward the last day has 23 hours of 167."""
    week = Part(date(2025, 3, 24), date(2025, 3, 31), date(2025, 3, 24), date(2025, 3, 31))
    of = unit("167", proration="seconds")
    for zone, amount in (("Europe/Berlin", "23.00"), ("UTC", "23.86")):
        (line,) = change_lines(of, "EUR", zone, week, date(2025, 3, 30), Position(D(0), D(167)), Position(D(1), D(167)))
        assert line.amount == D(amount)
        paid = Component("usage", D(167), D(1), D("167.00"), week.start, week.end)
        (back,) = cancel_lines(of, "EUR", zone, week, date(2025, 3, 30), week.start, [paid])
        assert back.amount == -D(amount)


def booked(component: str = "usage", price: D | None = PRICE, quantity: str = "5", **more: Any) -> Component:
    amount = D("62.00")
    line = Component(
        component, price, D(quantity), amount, JUNE.start, JUNE.end, sources=(RECORD,), booked="INV-6 line 1"
    )
    return replace(line, **more)


def back(line: Component, on: str = "6-21", **more: Any) -> tuple[Component, ...]:
    return cancel_lines(unit("12.40", billing="advance", **more), "EUR", "UTC", JUNE, day(on), day("1-1"), [line])


def test_a_full_refund_negates_every_figure() -> None:
    line = booked(discounts=D("6.20"), charges=D("1.00"))
    (found,) = back(line, refund=[{"credit": "full"}])
    assert (found.quantity, found.amount, found.discounts, found.charges) == (-5, D("-62.00"), D("-6.20"), D("-1.00"))
    assert (found.start, found.end, found.unit_price) == (JUNE.start, JUNE.end, PRICE)
    assert (found.corrects, found.booked) == ("INV-6 line 1", None)
    assert [(s.label, s.result) for s in found.steps] == [("refund", D("-56.80"))]


def test_an_unused_rest_takes_its_share_of_the_discount_and_no_charge() -> None:
    (found,) = back(booked(discounts=D("6.20"), charges=D("1.00")))
    assert (found.quantity, found.amount, found.discounts, found.charges) == (-5, D("-20.67"), D("-2.07"), 0)
    assert (found.start, found.end, found.sources) == (day("6-21"), JUNE.end, (RECORD,))
    assert (found.corrects, found.booked) == ("INV-6 line 1", None)
    (cut,) = back(booked(discounts=D("6.20")), rounding={"discount": step(1, "down")})
    assert cut.discounts == D("-2.0")


def test_a_line_without_a_single_price_comes_back_by_its_amount() -> None:
    (found,) = back(booked(price=None))
    assert (found.quantity, found.amount, found.unit_price) == (-5, D("-20.67"), None)
    assert (found.start, found.end) == (day("6-21"), JUNE.end)
    (down,) = back(booked(price=None), rounding={"line": step(1, "down")})
    assert down.amount == D("-20.6")


def test_a_line_of_a_charge_alone_gives_nothing_back() -> None:
    minimum = booked("minimum", None, "0", amount=D(0), charges=D("50.00"))
    assert back(minimum) == ()


def test_a_line_that_was_wholly_discounted_gives_back_nothing_in_sum() -> None:
    (found,) = back(booked(discounts=D("62.00")))
    assert (found.amount, found.discounts, found.total) == (D("-20.67"), D("-20.67"), 0)


def test_a_cancellation_in_the_days_of_a_window_gives_back_what_its_rule_says() -> None:
    rules = [{"within": 7, "credit": "full"}, {"within": 30, "credit": "unused"}]
    of = flat("30", billing="advance", refund=rules)
    line = Component("flat", D(30), D(1), D("30.00"), JUNE.start, JUNE.end)
    amounts = [
        [c.amount for c in cancel_lines(of, "EUR", "UTC", JUNE, day("6-21"), since, [line])]
        for since in (day("6-15"), day("6-14"), day("5-23"), day("5-22"))
    ]
    assert amounts == [[D("-30.00")], [D("-10.00")], [D("-10.00")], []]


def test_a_change_on_the_day_after_a_part_changes_nothing_however_it_is_booked() -> None:
    for how in ("delta", "remaining", "replace"):
        assert changes("7-1", THREE, FIVE, change=how) == []


def test_the_line_of_a_change_is_rounded_in_the_mode_of_the_terms() -> None:
    assert changes("6-11", THREE, FIVE, rounding={"line": step(2, "up")})[0][4] == D("16.54")


def test_what_comes_back_is_reckoned_as_the_line_was() -> None:
    (found,) = back(booked(), rounding={"unit_price": step(2)})
    assert found.amount == D("-20.65")  # 5 x 4.13, not a third of 62.00


def test_a_line_without_a_single_price_brings_back_no_charge_and_no_old_arithmetic() -> None:
    old = Arithmetic("amount", "5 x 12.40 = 62.00", D("62.00"))
    (found,) = back(booked(price=None, charges=D("1.00"), steps=(old,)))
    assert (found.charges, found.booked, found.steps) == (0, None, ())
    assert back(booked(price=None, amount=D(0), discounts=D("5.00"))) == ()
