"""PRICE_MISMATCH: billed at another price than agreed (or, of flat prices, another amount)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Code
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rating.model import Number
from shared.reconciliation.rules.base import Outcome, direction_of, exceeds, price_tolerance
from shared.reconciliation.verdict import Break


def price_mismatch(case: Case, left: Decimal | None) -> Outcome | None:
    """The amount is what the quantity part leaves of the residual: the billed units at the wrong price."""
    if not case.lines or case.billed is None or not left or case.currency is None:
        return None
    billed, agreed = _prices(case)
    if billed is None or agreed is None:
        return None
    tolerance = price_tolerance(case)
    if not exceeds(Fraction(billed) - Fraction(agreed), agreed, tolerance):
        return None
    shown = billed if case.amounts_only else case.billed.shown_price
    figures = f"{words.price(shown or billed, case.currency)} billed, {words.price(agreed, case.currency)} agreed"
    units = words.quantity(case.billed.quantity)
    body = case.body(
        Code.PRICE_MISMATCH,
        direction_of(left),
        amount=abs(left),
        quantity=None,
        why=figures if case.amounts_only else f"{figures}, for {units} units",
        tolerance=tolerance,
        difference=f"{figures}; less the part of the quantity" if case.quantity_difference else figures,
    )
    return Outcome((Break(case.stream, body),), broken=left)


def _prices(case: Case) -> tuple[Number | None, Number | None]:
    """(billed, agreed) price of one unit; of flat prices the amounts."""
    assert case.billed is not None
    if case.amounts_only:
        return case.billed.amount, case.expected.amount
    agreed = case.expected.unit_price
    if agreed is None and case.billed.quantity:
        amount = case.amount_at(case.billed.quantity)
        agreed = None if amount is None else Fraction(amount) / Fraction(case.billed.quantity)
    return case.billed.unit_price, agreed
