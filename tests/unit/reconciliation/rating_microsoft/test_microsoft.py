"""Microsoft's roundings, prices that are results, and what its charge types mean (rating.md section 8)."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import RefundRule
from shared.reconciliation.rating import Position, cancel_lines, change_lines
from shared.reconciliation.rating.microsoft import (
    CHARGE_TYPES,
    Consumed,
    billable_cost,
    charge_kind,
    check,
    effective_unit_price,
    effective_unit_prices,
    licence_terms,
    pretax,
)
from shared.reconciliation.rating.model import Component, Part

D = Decimal


@pytest.mark.parametrize(
    ("file", "price", "quantity", "rate", "amount"),
    [
        ("usage", "0.0473", "1217.5", "0.9182", "52.86"),
        ("daily", "0.0473", "1217.5", "0.9182", "52.87"),
        ("licence", "18.37", "7", "0.9182", "118.02"),
        # Down is toward zero: a credit is the exact negative of its charge. Floor is not.
        ("usage", "0.0473", "-1217.5", "0.9182", "-52.86"),
        ("licence", "18.37", "-7", "0.9182", "-118.02"),
        ("daily", "0.0473", "-1217.5", "0.9182", "-52.88"),
        # A price that was printed rounded does not lose a cent.
        ("usage", "1.232970027247956", "73.4", "1", "90.50"),
        ("daily", "1.232970027247956", "73.4", "1", "90.50"),
    ],
)
def test_each_file_rounds_in_its_own_way(file: Any, price: str, quantity: str, rate: str, amount: str) -> None:
    assert pretax(file, D(price), D(quantity), D(rate)) == D(amount)


def test_a_currency_without_decimals_is_a_setting_of_the_file() -> None:
    assert pretax("licence", D("18.37"), D(7), D("151.3"), scale=0) == D(2779 * 7)


def test_daily_rows_may_differ_by_a_cent_each() -> None:
    assert check(D("52.86"), D("52.87")).within
    assert not check(D("52.86"), D("52.88")).within
    assert check(D("52.86"), D("52.88"), rows=2).within
    assert check(D("52.86"), D("52.80")).difference == D("-0.06")


def test_the_effective_unit_price_is_a_cost_divided_by_a_quantity() -> None:
    cost = billable_cost(D("73.4"), D("1.37"), earned_credit_pct=D(10))
    assert cost == D("90.50")
    assert effective_unit_price(cost, D("73.4")) == D("1.232970027247956")
    assert effective_unit_price(D(0), D(0)) == 0
    assert billable_cost(D("73.4"), D("1.37"), D(10), other_adjustments=D("0.51")) == D("89.99")


def test_days_with_and_without_the_earned_credit_are_two_lines() -> None:
    rows = [
        Consumed("M", D(24), D("1.37"), D(15)),
        Consumed("M", D(11), D("1.37")),
        Consumed("M", D(24), D("1.37"), D(15)),
    ]
    prices = effective_unit_prices(rows)
    assert effective_unit_prices(reversed(rows)) == prices
    assert prices == {
        ("M", D("1.37"), D(0)): D("1.37"),
        ("M", D("1.37"), D(15)): effective_unit_price(D("55.89"), D(48)),
    }


@settings(max_examples=200, deadline=None)
@given(
    st.decimals("0.001", "5000", places=6, allow_nan=False),
    st.decimals("0.0001", "500", places=4, allow_nan=False),
    st.sampled_from([D(0), D(15)]),
)
def test_a_printed_price_gives_its_cost_again(quantity: Decimal, price: Decimal, credit: Decimal) -> None:
    cost = billable_cost(quantity, price, credit)
    assert pretax("daily", effective_unit_price(cost, quantity), quantity) == cost


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("New", "first"),
        ("purchase", "first"),
        ("Activation fee", "first"),
        ("Cycle fee", "cycle"),
        ("CycleCharge", "cycle"),
        ("cycle charge", "cycle"),
        ("Renew", "renewal"),
        ("Cycle instance prorate", "change"),
        ("addQuantity", "change"),
        ("removeQuantity", "change"),
        ("Convert", "upgrade"),
        ("Cancel fee", "credit"),
        ("Offset a line item", "adjustment"),
        ("Something new", None),
    ],
)
def test_a_charge_type_has_a_meaning(name: str, kind: str | None) -> None:
    assert charge_kind(name) == kind


def test_every_charge_type_of_the_documentation_is_in_the_table() -> None:
    page = Path(__file__).with_name("charge_types.json")
    named = json.loads(page.read_text())
    assert {name for names in named.values() for name in names} <= set(CHARGE_TYPES)


def test_refund_windows_are_terms() -> None:
    new = licence_terms("new_commerce", D("9.60"))
    assert new.refund == (RefundRule(within=7, credit="unused"), RefundRule(credit="none"))
    assert licence_terms("legacy", D("9.60")).refund == (
        RefundRule(within=30, credit="full"),
        RefundRule(credit="unused"),
    )
    assert licence_terms("legacy", D("9.60")).change == "replace"
    assert licence_terms("one_time", D("9.60"), refund=()).refund == ()
    assert (new.billing, new.proration) == ("advance", "daily")


CYCLE = Part(date(2026, 5, 14), date(2026, 6, 14), date(2026, 5, 14), date(2026, 6, 14))


@pytest.mark.parametrize(("rounding", "amount"), [({}, "21.36"), ({"rounding": {}}, "21.37")])
def test_added_seats_pay_the_rest_of_the_cycle_by_days(rounding: dict[str, Any], amount: str) -> None:
    terms = licence_terms("new_commerce", D("9.60"), **rounding)
    old, new = Position(D(10), D("9.60")), Position(D(13), D("9.60"))
    (line,) = change_lines(terms, "EUR", "UTC", CYCLE, date(2026, 5, 22), old, new)
    assert (line.quantity, line.amount) == (D(3), D(amount))


@pytest.mark.parametrize(
    ("preset", "day", "credit"),
    [
        ("new_commerce", date(2026, 5, 20), "-77.40"),  # 10 x round(9.60 x 25/31)
        ("new_commerce", date(2026, 5, 21), None),  # the eighth day: the seats stay
        ("legacy", date(2026, 6, 12), "-96.00"),
        ("one_time", date(2026, 6, 13), None),
    ],
)
def test_what_a_cancellation_gives_back_depends_on_its_day(preset: Any, day: date, credit: str | None) -> None:
    terms = licence_terms(preset, D("9.60"))
    paid = Component("usage", D("9.60"), D(10), D("96.00"), CYCLE.start, CYCLE.end)
    lines = cancel_lines(terms, "EUR", "UTC", CYCLE, day, CYCLE.start, [paid])
    assert [line.amount for line in lines] == ([] if credit is None else [D(credit)])
