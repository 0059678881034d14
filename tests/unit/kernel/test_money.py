"""Rounding, splitting and printing of amounts."""

from __future__ import annotations

from decimal import Context
from decimal import Decimal as D
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.money import (
    CURRENCIES,
    Mode,
    Order,
    Split,
    amount_text,
    exponent,
    money,
    round_to,
    split,
    split_largest_remainder,
)

WIDE = Context(prec=100)
amounts = st.decimals(-(10**12), 10**12, places=6)
modes = st.sampled_from(["half_up", "half_even", "down", "up", "floor", "ceiling"])


@pytest.mark.parametrize(
    ("mode", "charge", "credit"),
    [
        ("half_up", "2.35", "-2.35"),
        ("half_even", "2.34", "-2.34"),
        ("down", "2.34", "-2.34"),
        ("up", "2.35", "-2.35"),
        ("floor", "2.34", "-2.35"),
        ("ceiling", "2.35", "-2.34"),
    ],
)
def test_a_tie_in_each_mode(mode: Mode, charge: str, credit: str) -> None:
    assert round_to(D("2.345"), 2, mode) == D(charge)
    assert round_to(D("-2.345"), 2, mode) == D(credit)


@given(amounts, st.integers(0, 6), st.sampled_from(["half_up", "half_even", "down", "up"]))
def test_the_credit_of_a_charge_is_its_exact_negative(value: D, scale: int, mode: Mode) -> None:
    assert round_to(-value, scale, mode) == -round_to(value, scale, mode)


@pytest.mark.parametrize(
    ("value", "mode", "expected"),
    [
        ("2.345", "half_up", "2.35"),
        ("-2.345", "half_up", "-2.35"),
        ("2.345", "half_even", "2.34"),
        ("2.341", "up", "2.35"),
        ("-2.341", "up", "-2.35"),
        ("2.349", "down", "2.34"),
        ("-2.341", "floor", "-2.35"),
        ("-2.349", "ceiling", "-2.34"),
    ],
)
def test_each_mode_rounds_as_it_is_named(value: str, mode: Mode, expected: str) -> None:
    assert round_to(D(value), 2, mode) == D(expected)


def test_a_directed_mode_does_not_lose_a_cent_to_a_factor_that_was_printed_rounded() -> None:
    assert round_to(D("29.9999999999"), 2, "down") == D("30.00")
    assert round_to(D("30.0000000001"), 2, "up") == D("30.00")
    assert round_to(D("73.4") * D("1.232970027247956"), 2, "floor") == D("90.50")
    assert round_to(D("0.9999999999"), 9, "down") == D("0.999999999")  # at 9 decimals there is nothing to guard


def test_a_fraction_is_rounded_from_its_exact_value() -> None:
    assert round_to(Fraction(1, 3), 4) == D("0.3333")
    assert round_to(Fraction(2, 3), 2, "down") == D("0.66")


@pytest.mark.parametrize(("currency", "places"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XXX", 2)])
def test_an_amount_has_its_currencys_decimals(currency: str, places: int) -> None:
    assert exponent(currency) == places
    assert money(D("1.23456"), currency) == round_to(D("1.23456"), places)


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        ("56", "EUR", "56.00"),
        ("56", "JPY", "56"),
        ("0.0000008", "USD", "0.0000008"),
        ("1E+3", "EUR", "1000.00"),
        ("12345678901234567890.123456789123456789", "EUR", "12345678901234567890.123456789123456789"),
    ],
)
def test_an_amount_is_printed_with_its_currencys_decimals_and_never_cut(value: str, currency: str, text: str) -> None:
    assert amount_text(D(value), currency) == text


@given(amounts, st.integers(0, 6), modes)
def test_rounding_moves_by_less_than_a_unit_and_is_stable(value: D, scale: int, mode: Mode) -> None:
    rounded = round_to(value, scale, mode)
    assert abs(rounded - value) < D(1).scaleb(-scale)
    assert round_to(rounded, scale, mode) == rounded


@given(
    st.integers(-(10**37), 10**37),
    st.lists(st.decimals(0, 1_000, places=3), min_size=1, max_size=12),
    st.integers(0, 4),
)
def test_parts_sum_to_the_total_each_within_a_unit_of_its_share(units: int, weights: list[D], scale: int) -> None:
    total = D(units).scaleb(-scale, WIDE)
    parts = split_largest_remainder(total, weights, scale)
    assert sum(map(Fraction, parts)) == Fraction(total)
    whole = sum(weights) or D(len(weights))
    shares = weights if sum(weights) else [D(1)] * len(weights)
    for part, share in zip(parts, shares, strict=True):
        assert abs(Fraction(part) - Fraction(total) * Fraction(share) / Fraction(whole)) < Fraction(D(1).scaleb(-scale))


def test_the_odd_cent_goes_to_the_largest_fraction_and_ties_to_the_earlier() -> None:
    assert split_largest_remainder(D("1.00"), [D(1), D(1), D(1)], 2) == [D("0.34"), D("0.33"), D("0.33")]
    assert split_largest_remainder(D("0.05"), [D(1), D(3)], 2) == [D("0.01"), D("0.04")]
    assert split_largest_remainder(D("-1.00"), [D(0), D(0)], 2) == [D("-0.50"), D("-0.50")]
    assert split_largest_remainder(D("1.00"), [], 2) == []
    assert split_largest_remainder(D("10.00"), [D(10), D(20), D(5)], 2) == [D("2.86"), D("5.71"), D("1.43")]


def test_a_source_may_give_the_whole_rest_to_its_last_line_in_its_own_order() -> None:
    weights = [D(10), D(20), D(5)]
    assert split(D("10.00"), weights, 2) == [D("2.86"), D("5.71"), D("1.43")]
    assert split(D("10.00"), weights, 2, "remainder_to_last") == [D("2.85"), D("5.71"), D("1.44")]
    assert split(D("10.00"), weights, 2, "remainder_to_last", "largest_first") == [D("2.85"), D("5.71"), D("1.44")]
    assert split(D("10.00"), [D(5), D(20), D(10)], 2, "remainder_to_last") == [D("1.42"), D("5.71"), D("2.87")]
    assert split(D("10.00"), [D(5), D(20), D(10)], 2, "remainder_to_last", "largest_first")[0] == D("1.44")
    assert split(D("1.00"), [D(1), D(1), D(1)], 2, "largest_remainder", "largest_first")[0] == D("0.34")
    assert split(D("-10.00"), weights, 2, "remainder_to_last") == [D("-2.85"), D("-5.71"), D("-1.44")]
    assert split(D("1.00"), [D(0), D(0), D(0)], 2, "remainder_to_last") == [D("0.33"), D("0.33"), D("0.34")]
    assert split(D("1.00"), [], 2, "remainder_to_last") == []


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.decimals(0, 1_000, places=3), min_size=1, max_size=8),
    st.sampled_from(["largest_remainder", "remainder_to_last"]),
    st.sampled_from(["line", "largest_first"]),
)
def test_however_a_source_splits_the_parts_sum_to_the_total(
    units: int, weights: list[D], how: Split, order: Order
) -> None:
    total = D(units).scaleb(-2)
    assert sum(split(total, weights, 2, how, order)) == total


def test_the_currencies_of_iso_4217_are_known() -> None:
    assert {"EUR", "USD", "GBP", "JPY", "KWD", "CLF"} <= CURRENCIES
    assert not {"XXX", "XAU", "XTS", "DEM", "EUX"} & CURRENCIES
    assert {exponent(currency) for currency in CURRENCIES} == {0, 2, 3, 4}
