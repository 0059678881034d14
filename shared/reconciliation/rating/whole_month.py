"""What is due for a contract line over a whole month (rating.md sections 0, 3 and 4).

Each price model is one function from terms and quantity to components; a component carries its arithmetic, so showing
it never computes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.events.contracts import FlatPrice, Terms, UnitPrice
from shared.kernel.money import exponent, money
from shared.reconciliation.words import price, quantity


@dataclass(frozen=True, slots=True)
class Component:
    """One part of what is due."""

    component: str
    """``flat`` or ``usage``."""
    unit_price: Decimal
    quantity: Decimal | None
    """Billable units; ``None`` for a flat amount."""
    amount: Decimal
    """Rounded to the currency's minor unit."""
    formula: str
    """The arithmetic, such as ``53 - 5 included = 48; 48 x 4.20``."""
    rounding: str | None


def due(terms: Terms, currency: str, measured: Decimal) -> tuple[Component, ...]:
    """Everything due for a whole month. ``measured`` is what the terms' meter shows (ignored by a flat price)."""
    if isinstance(terms.price, FlatPrice):
        return (_flat(terms.price, currency),)
    assert isinstance(terms.price, UnitPrice)
    return (_unit(terms.price, terms.included, currency, measured),)


def rounding(currency: str) -> str:
    """How amounts of a currency are rounded, in words."""
    return f"half_up {exponent(currency)}"


def _flat(terms: FlatPrice, currency: str) -> Component:
    return Component(
        "flat",
        terms.amount,
        None,
        money(terms.amount, currency),
        f"flat {price(terms.amount, currency)}",
        rounding(currency),
    )


def _unit(terms: UnitPrice, included: Decimal, currency: str, measured: Decimal) -> Component:
    units = _beyond(included, measured)
    formula = f"{quantity(units)} x {price(terms.unit_amount, currency)}"
    if measured < included:
        formula = f"{quantity(measured)} is within {quantity(included)} included; {formula}"
    elif included:
        formula = f"{quantity(measured)} - {quantity(included)} included = {quantity(units)}; {formula}"
    amount = money(units * terms.unit_amount, currency)
    return Component("usage", terms.unit_amount, units, amount, formula, rounding(currency))


def _beyond(included: Decimal, measured: Decimal) -> Decimal:
    """Included units come off before pricing, and never below zero."""
    return max(measured - included, Decimal(0))
