"""From what was measured to what is billable: rating.md section 4, steps 2 to 4."""

from __future__ import annotations

from typing import NamedTuple

from shared.events.contracts import Terms
from shared.kernel.canonical import decimal_text
from shared.kernel.money import round_to
from shared.reconciliation.rating.fraction import WHOLE, Share
from shared.reconciliation.rating.model import ZERO, Number
from shared.reconciliation.rating.numbers import minus, share, times


class Allowances(NamedTuple):
    """Units of the part at hand: whole, or prorated where the terms say so."""

    included: Number
    free: Number
    minimum: Number | None
    maximum: Number | None


class Billable(NamedTuple):
    """How the billable ``quantity`` came about."""

    measured: Number
    converted: Number
    """In the priced unit, rounded."""
    left: Number
    """Less included and free units, not below 0."""
    quantity: Number
    """Raised to the least, cut to the greatest billable quantity."""


def allowances(terms: Terms, part: Share) -> Allowances:
    """The allowances of a part that is ``part`` of its full period."""
    given = Allowances(terms.included, terms.free, terms.minimum_quantity, terms.maximum_quantity)
    if part == WHOLE or not terms.prorate_allowances:
        return given
    return Allowances(*(None if units is None else share(units, *part) for units in given))  # type: ignore[arg-type]


def billable(terms: Terms, given: Allowances, measured: Number, unit: str | None) -> Billable:
    """The billable quantity of a cumulative (or a gauge's) ``measured`` quantity.

    ``unit`` is what was measured; raises ``ValueError`` where the terms convert from another.
    """
    converted = _convert(terms, measured, unit)
    if terms.price.kind == "cost_plus":  # money may be a credit; units that came back are none
        return Billable(measured, converted, converted, converted)
    left = converted
    if given.included or given.free:
        left = minus(minus(converted, given.included), given.free)
    if left < 0:
        left = ZERO
    quantity = left
    if given.minimum is not None and quantity < given.minimum:
        quantity = given.minimum
    if given.maximum is not None and quantity > given.maximum:
        quantity = given.maximum
    return Billable(measured, converted, left, quantity)


def _convert(terms: Terms, value: Number, unit: str | None) -> Number:
    rule, step = terms.convert, terms.rounding.quantity
    if rule is not None and unit != rule.to_unit:
        if unit is not None and unit != rule.from_unit:
            raise ValueError(
                f"was measured in {unit}, and the terms convert from {rule.from_unit} to {rule.to_unit}; "
                "agree terms for the unit that is measured"
            )
        if rule.multiply is not None:
            value = times(value, rule.multiply)
        if rule.divide is not None:
            value = share(value, 1, rule.divide)
        step = rule.rounding or step
    return value if step is None else round_to(value, step.scale, step.mode)


def converts(terms: Terms) -> str:
    """The conversion in words: ``/ 1073741824``."""
    rule = terms.convert
    if rule is None:
        return ""
    if rule.multiply is not None:
        return f"x {decimal_text(rule.multiply)}"
    return f"/ {decimal_text(rule.divide)}" if rule.divide is not None else ""
