"""UNBILLED_SERVICE: used, but neither agreed nor billed."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, ZERO, Outcome
from shared.reconciliation.verdict import Break


def unbilled_service(case: Case, left: Decimal | None) -> Outcome | None:
    """Usage seen is a lower bound, so it is said at once; the amount is by list price, if there is one."""
    if case.lines or case.billed is not None:
        return None
    amount = case.expected.amount
    if case.used.value <= 0 or amount == 0:
        return Outcome(settled=True)
    used = words.quantity(case.used.value)
    why, difference = f"{used} used, no contract and no invoice line", case.expected.formula
    if case.expected.unit_price is not None and case.currency is not None:
        why += f"; list price {words.price(case.expected.unit_price, case.currency)}"
    body = case.body(
        Code.UNBILLED_SERVICE,
        Direction.CLIENT_OWES_US,
        amount=amount,
        quantity=case.used.value,
        why=why,
        tolerance=EXACT,
        difference=difference,
    )
    return Outcome((Break(case.stream, body),), broken=left or ZERO, settled=True)
