"""Changes and cancellations inside a period billed in advance: rating.md section 2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.events.contracts import Terms
from shared.reconciliation.rating import Position, cancel_lines, change_lines, due, refund, total
from tests.unit.reconciliation.rating.lines import JUNE, D, day, flat, seats, service, step, unit

PRICE = D("12.40")
THREE, FIVE = Position(D(3), PRICE), Position(D(5), PRICE)


def changed(old: Position, new: Position, on: str = "6-11", splits: tuple[str, ...] = (), **more: Any) -> list[D]:
    of = unit("12.40", billing="advance", **more)
    lines = change_lines(of, "EUR", "UTC", JUNE, day(on), old, new, [day(split) for split in splits])
    return [line.amount for line in lines]


def test_three_seats_become_five() -> None:
    assert changed(THREE, FIVE) == [D("16.53")]
    assert changed(THREE, FIVE, change="remaining") == [D("-24.80"), D("41.33")]
    assert changed(THREE, FIVE, change="remaining", rounding={"unit_price": step(2)}) == [D("-24.81"), D("41.35")]
    assert changed(THREE, FIVE, change="replace") == [D("-37.20"), D("12.40"), D("41.33")]
    assert changed(THREE, FIVE, change="replace", splits=("6-6",)) == [D("-37.20"), D("6.20"), D("6.20"), D("41.33")]


def test_a_change_is_what_the_whole_period_gains() -> None:
    of = service(unit("12.40", billing="advance"))
    before = total(due(of, seats(("6-1", "3")), JUNE, False))
    after = total(due(of, seats(("6-1", "3"), ("6-11", "5")), JUNE, False))
    assert [after - before] == changed(THREE, FIVE)


def test_a_price_may_change_with_or_without_the_quantity() -> None:
    assert changed(THREE, Position(D(3), D("15.40"))) == [D("6.00")]
    assert changed(THREE, Position(D(5), D("15.00"))) == [D("-24.80"), D("50.00")]


def test_what_changes_nothing_is_no_line() -> None:
    assert changed(THREE, THREE) == []
    assert changed(THREE, FIVE, proration="none") == []
    assert changed(THREE, FIVE, on="7-1") == []
    assert changed(THREE, FIVE, on="6-1") == [D("24.80")]


def cancelled(of: Terms, on: str, since: str = "1-1", seats_: str = "5") -> list[tuple[D, D]]:
    lines = due(service(of), seats(("6-1", seats_)), JUNE, False)
    lines = tuple(replace(line, booked="INV-6") for line in lines)
    back = cancel_lines(of, "EUR", "UTC", JUNE, day(on), day(since), lines)
    assert {line.corrects for line in back} <= {"INV-6"}
    return [(line.quantity, line.total) for line in back]


@pytest.mark.parametrize(
    ("more", "on", "back"),
    [
        ({}, "6-21", [(-5, D("-20.67"))]),
        ({"refund": [{"credit": "full"}]}, "6-21", [(-5, D("-62.00"))]),
        ({"refund": [{"credit": "none"}]}, "6-21", []),
        ({"last_day_billed": True}, "6-20", [(-5, D("-20.67"))]),
        ({"last_day_billed": True}, "6-30", []),
        ({}, "6-1", [(-5, D("-62.00"))]),
        ({}, "5-20", [(-5, D("-62.00"))]),  # before the period began
        ({}, "7-1", []),
        ({"proration": "none"}, "6-21", []),
        ({"discount_pct": "10"}, "6-21", [(-5, D("-18.60"))]),
    ],
)
def test_cancelling_five_seats(more: dict[str, Any], on: str, back: list[tuple[D, D]]) -> None:
    assert cancelled(unit("12.40", billing="advance", **more), on) == back


def test_a_flat_fee_comes_back_by_days() -> None:
    of = flat("30", billing="advance")
    lines = due(service(of), None, JUNE, False)
    (back,) = cancel_lines(of, "EUR", "UTC", JUNE, day("6-21"), day("1-1"), lines)
    assert (back.component, back.category, back.amount) == ("flat", "flat", D("-10.00"))


@pytest.mark.parametrize(
    ("days", "credit"),
    [(0, "unused"), (6, "unused"), (7, "none"), (100, "none")],
)
def test_the_first_rule_within_whose_days_the_cancellation_lies(days: int, credit: str) -> None:
    of = unit("1", refund=[{"within": 7, "credit": "unused"}, {"credit": "none"}])
    assert refund(of, day("6-1").replace(day=1 + min(days, 27)), day("6-1")) == credit


def test_without_a_rule_the_unused_rest_comes_back_and_where_none_matches_nothing() -> None:
    assert refund(unit("1"), day("6-1"), day("1-1")) == "unused"
    assert refund(unit("1", refund=[{"within": 30, "credit": "full"}]), day("6-1"), day("1-1")) == "none"
