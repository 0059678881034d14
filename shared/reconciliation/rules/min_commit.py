"""MIN_COMMIT: billed by use alone, below the least amount or quantity that was agreed."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, Outcome, matched
from shared.reconciliation.verdict import Break


def min_commit(case: Case, left: Decimal | None) -> Outcome | None:
    """Speaks where what is billed is, to the cent, what would be due without the commitment."""
    terms = case.terms
    if terms is None or left is None or left >= 0 or case.currency is None:
        return None
    if (terms.minimum_amount is None and terms.minimum_quantity is None) or not matched(case, left):
        return None
    without = case.under(minimum_amount=None, minimum_quantity=None)
    if not case.equals(without):
        return None
    due = words.price(case.expected.amount or Decimal(0), case.currency)
    billed = words.price(case.billed.amount if case.billed else Decimal(0), case.currency)
    body = case.body(
        Code.MIN_COMMIT,
        Direction.CLIENT_OWES_US,
        amount=-left,
        quantity=None,
        why=f"{billed} billed for {words.quantity(case.used.value)} used, {due} due by the agreed minimum",
        tolerance=EXACT,
        difference=f"{due} - {billed}",
    )
    return Outcome((Break(case.stream, body),), broken=left, settled=True)
