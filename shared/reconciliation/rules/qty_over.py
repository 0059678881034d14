"""QTY_OVER: more units are billed than were used beyond what is included."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import ZERO, Outcome, exceeds, quantity_tolerance
from shared.reconciliation.rules.quantity import quantity_break


def qty_over(case: Case, left: Decimal | None) -> Outcome | None:
    """Rests on the absence of more usage, so it waits until the period's usage is complete."""
    difference, billable = case.quantity_difference, case.expected.quantity
    if difference is None or billable is None or difference <= 0:
        return None
    if not exceeds(difference, billable, quantity_tolerance(case)):
        return None
    worth = case.worth(difference)
    if worth == 0:
        return None
    if case.usage_gaps:
        return Outcome(explained=worth or ZERO, explained_by="pending usage", waiting=case.usage_gaps)
    return quantity_break(case, Code.QTY_OVER, difference)
