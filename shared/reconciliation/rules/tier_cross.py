"""TIER_CROSS: the right quantity at the price of another tier."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from shared.events.contracts import GraduatedPrice, VolumePrice
from shared.events.discrepancies import Code
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import (
    Outcome,
    direction_of,
    exceeds,
    matched,
    price_tolerance,
    quantity_tolerance,
    whole_residual,
)
from shared.reconciliation.verdict import Break


def tier_cross(case: Case, left: Decimal | None) -> Outcome | None:
    """Speaks where the billed quantity is right and the amount is, to the cent, what a single other tier, or the other
    way to read the tiers, would give."""
    terms, difference = case.terms, case.quantity_difference
    if terms is None or not isinstance(terms.price, GraduatedPrice | VolumePrice) or difference is None:
        return None
    due = case.expected.quantity or Decimal(0)
    if not matched(case, left) or left is None or exceeds(difference, due, quantity_tolerance(case)):
        return None
    found = next((text for text, amount in _candidates(case, terms.price) if case.equals(amount)), None)
    if found is None or case.billed is None or case.currency is None:
        return None
    billed = words.price(case.billed.amount, case.currency)
    agreed = words.price(case.expected.amount or Decimal(0), case.currency)
    body = case.body(
        Code.TIER_CROSS,
        direction_of(left),
        amount=abs(left),
        quantity=None,
        why=f"{words.quantity(case.billed.quantity)} billed {found} = {billed}, {agreed} due",
        tolerance=price_tolerance(case),
        difference=f"{billed} billed, {agreed} due",
    )
    return whole_residual(case, Break(case.stream, body), left)


def _candidates(case: Case, price: GraduatedPrice | VolumePrice) -> Iterator[tuple[str, Decimal | None]]:
    assert case.billed is not None
    assert case.currency is not None
    units, currency = Fraction(case.billed.quantity), case.currency
    for number, tier in enumerate(price.tiers, 1):
        text = f"at {words.price(tier.unit_amount, currency)} of tier {number}"
        usage = units * Fraction(tier.unit_amount)
        yield text, money(usage, currency)
        if tier.flat_amount:
            yield text, money(usage + Fraction(tier.flat_amount), currency)
    if isinstance(price, GraduatedPrice):
        yield "by volume", case.under(price=VolumePrice(kind="volume", tiers=price.tiers))
    else:
        yield "tier by tier", case.under(price=GraduatedPrice(kind="graduated", tiers=price.tiers))
