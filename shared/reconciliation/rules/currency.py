"""CURRENCY: contract and invoice are in two currencies, and the invoice's rate does not bring them together."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import (
    EXACT,
    ZERO,
    Outcome,
    direction_of,
    matched,
    rounding_tolerance,
    whole_residual,
)
from shared.reconciliation.verdict import Break


def currency(case: Case, left: Decimal | None) -> Outcome | None:
    """Without a rate no amount can be said (the direction is as if one unit were worth the other); with one, what was
    billed in the contract's figures without being exchanged is said here, anything else by the other rules."""
    exchange = case.exchange
    if exchange is None or case.billed is None or exchange.agreed is None:
        return None
    figures = f"{words.price(case.billed.amount, exchange.billed_in[:3])} {exchange.billed_in} billed, "
    figures += f"{words.price(exchange.agreed, exchange.agreed_in)} {exchange.agreed_in} agreed"
    if exchange.rate is None:
        body = case.body(
            Code.CURRENCY,
            direction_of(case.billed.amount - exchange.agreed),
            amount=None,
            quantity=None,
            why=f"{figures}; the invoice names no exchange rate",
            tolerance=EXACT,
            difference=figures,
        )
        return Outcome((Break(case.stream, body),), broken=ZERO, settled=True)
    if not matched(case, left) or left is None or not case.equals(exchange.agreed):
        return None
    body = case.body(
        Code.CURRENCY,
        direction_of(left),
        amount=abs(left),
        quantity=None,
        why=f"{figures}; at the invoice's rate of {words.quantity(exchange.rate)} it is "
        f"{words.price(case.expected.amount or ZERO, exchange.billed_in)} {exchange.billed_in}",
        tolerance=rounding_tolerance(case),
        difference=f"{figures}, x {words.quantity(exchange.rate)}",
    )
    return whole_residual(case, Break(case.stream, body), left)
