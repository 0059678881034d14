"""What is due for one contract line over a whole month."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.events.contracts import FlatPrice, Terms, UnitPrice
from shared.reconciliation.rating.whole_month import due

D = Decimal


@pytest.mark.parametrize(
    ("price", "included", "measured", "units", "amount", "formula"),
    [
        ("4.20", "0", "53", "53", "222.60", "53 x 4.20"),
        ("4.20", "5", "53", "48", "201.60", "53 - 5 included = 48; 48 x 4.20"),
        ("4.20", "60", "53", "0", "0.00", "53 is within 60 included; 0 x 4.20"),
        ("0.333", "0", "1.5", "1.5", "0.50", "1.5 x 0.333"),
        ("0.005", "0", "1", "1", "0.01", "1 x 0.005"),  # a tie goes up
        ("4.20", "0", "-3", "0", "0.00", "-3 is within 0 included; 0 x 4.20"),
    ],
)
def test_a_unit_price(price: str, included: str, measured: str, units: str, amount: str, formula: str) -> None:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D(price)), included=D(included))
    (component,) = due(terms, "EUR", D(measured))
    assert (component.component, component.quantity, component.amount) == ("usage", D(units), D(amount))
    assert (component.formula, component.rounding) == (formula, "half_up 2")


def test_a_flat_price_is_whole_whatever_was_used() -> None:
    (component,) = due(Terms(price=FlatPrice(kind="flat", amount=D("150"))), "EUR", D(99))
    assert (component.component, component.quantity, component.amount) == ("flat", None, D("150.00"))
    assert component.formula == "flat 150.00"


def test_amounts_have_their_currencys_decimals() -> None:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D("1.2345")))
    assert due(terms, "JPY", D(3))[0].amount == D(4)
    assert due(terms, "KWD", D(3))[0].amount == D("3.704")
    assert due(terms, "KWD", D(3))[0].rounding == "half_up 3"
