"""OUT_OF_SCOPE: a product is used that the contract excludes, and nothing bills it."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, ZERO, Outcome
from shared.reconciliation.verdict import Break


def out_of_scope(case: Case, left: Decimal | None) -> Outcome | None:
    """Somebody approves it, or it is billed; the amount is by list price, if there is one."""
    if not case.excluded or case.billed is not None or case.used.value <= 0:
        return None
    amount = case.expected.amount
    why = f"{words.quantity(case.used.value)} used of what the contract excludes, no invoice line"
    if amount is not None and case.expected.unit_price is not None and case.currency is not None:
        why += f"; list price {words.price(case.expected.unit_price, case.currency)}"
    body = case.body(
        Code.OUT_OF_SCOPE,
        Direction.CLIENT_OWES_US,
        amount=amount,
        quantity=case.used.value,
        why=why,
        tolerance=EXACT,
        difference=case.expected.formula,
    )
    return Outcome(
        (Break(case.stream, body, "none" if amount is None else "client"),), broken=left or ZERO, settled=True
    )
