"""EXPIRED_AGREEMENT: used or billed after the contract's end, and no other line in force."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, Outcome, direction_of, hidden, until_complete
from shared.reconciliation.verdict import Break


def expired_agreement(case: Case, left: Decimal | None) -> Outcome | None:
    """What the last terms would have asked is due; where it is billed too, the break has no amount: renew it."""
    if not case.over or case.currency is None:
        return None
    difference = left or Decimal(0)
    if case.billed is not None and abs(difference) <= case.rounding:
        explained = "rounding" if difference else None
        found = Break(case.stream, _body(case, Decimal(0), None), "none")
        return Outcome((found,), explained=difference, explained_by=explained, settled=True)
    if not difference:
        return Outcome(settled=True)
    waits = until_complete(case, difference)
    if waits is not None:
        return waits
    missing = () if case.flat or case.used.value > 0 else hidden(case)
    if missing and difference > 0:
        return Outcome(explained=difference, explained_by="pending usage", waiting=missing, settled=True)
    return Outcome((Break(case.stream, _body(case, difference, abs(difference))),), broken=difference, settled=True)


def _body(case: Case, difference: Decimal, amount: Decimal | None) -> DiscrepancyBody:
    used = words.quantity(case.used.value)
    billed = words.price(case.billed.amount, case.currency or "") if case.billed else "nothing"
    due = words.price(case.expected.amount or Decimal(0), case.currency or "")
    since = case.service.start
    return case.body(
        Code.EXPIRED_AGREEMENT,
        Direction.CLIENT_OWES_US if not difference else direction_of(difference),
        amount=amount,
        quantity=max(case.used.value, Decimal(0)),
        why=f"{case.contract_ref} has ended; {used} used and {billed} billed from {since} on",
        tolerance=EXACT,
        difference=f"{billed} billed, {due} due by its last terms",
    )
