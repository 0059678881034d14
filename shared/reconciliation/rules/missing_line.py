"""MISSING_LINE: agreed, and the client is invoiced, but no line of the invoice bills it."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, ZERO, Outcome
from shared.reconciliation.verdict import Break


def missing_line(case: Case, left: Decimal | None) -> Outcome | None:
    """What is due is a lower bound while usage still comes, so it is said at once."""
    if not case.lines or case.over or case.billed is not None:
        return None
    amount, currency = case.expected.amount, case.currency
    if amount is None or currency is None or amount <= 0:
        return Outcome(settled=True)
    due = words.price(amount, currency)
    why = f"flat {due} agreed, no invoice line" if case.flat else f"{_used(case)}, no invoice line; {due} is due"
    if case.part is not None and not case.part.whole:
        why += f" for {case.service.start} to {case.service.end}"
    body = case.body(
        Code.MISSING_LINE,
        Direction.CLIENT_OWES_US,
        amount=amount,
        quantity=case.expected.quantity,
        why=why,
        tolerance=EXACT,
        difference=f"{due} due, nothing billed",
    )
    return Outcome((Break(case.stream, body),), broken=left or ZERO, settled=True)


def _used(case: Case) -> str:
    included = case.lines[0].terms.included
    return f"{words.quantity(case.used.value)} used" + (f", {words.quantity(included)} included" if included else "")
