"""The guard of directed roundings, and the modes that need none (rating.md section 0)."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from shared.kernel.money import Mode, amount_text, money, round_to


@pytest.mark.parametrize(
    ("value", "mode", "expected"),
    [
        ("2.3449999999999", "half_up", "2.34"),  # by the guard it would be a tie, and 2.35
        ("2.3450000000001", "half_even", "2.35"),  # by the guard it would be a tie, and 2.34
    ],
)
def test_a_half_is_judged_on_the_value_itself(value: str, mode: Mode, expected: str) -> None:
    assert round_to(D(value), 2, mode) == D(expected)


def test_the_guard_itself_rounds_half_up() -> None:
    assert round_to(D("2.3400000005"), 2, "up") == D("2.35")
    assert round_to(D("2.3400000004"), 2, "up") == D("2.34")
    assert round_to(D("-2.3400000005"), 2, "floor") == D("-2.35")


def test_an_amount_is_rounded_in_the_mode_asked_for() -> None:
    assert money(D("2.341"), "EUR", "up") == D("2.35")
    assert money(D("2.9"), "JPY", "down") == D(2)
    assert money(D("2.345"), "EUR") == D("2.35")


def test_the_text_of_nothing_and_of_a_credit() -> None:
    assert amount_text(D("-0.5"), "EUR") == "-0.50"
    assert amount_text(D(0), "KWD") == "0.000"
