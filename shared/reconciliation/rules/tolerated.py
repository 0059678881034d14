"""What is left within the tolerances is explained, and by which of them."""

from __future__ import annotations

from decimal import Decimal

from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import ZERO, Outcome, exceeds, quantity_tolerance


def tolerated(case: Case, left: Decimal | None) -> Outcome | None:
    """Names the tolerance that absorbed the rest: the last rule, so that no amount is left without a word."""
    if not left or case.currency is None:
        return None
    names, rest = [], left
    difference, billable = case.quantity_difference, case.expected.quantity
    if difference and billable is not None and not exceeds(difference, billable, quantity_tolerance(case)):
        names.append("tolerance quantity")
        worth = case.worth(difference) or ZERO
        rest -= worth if difference > 0 else -worth
    if abs(rest) > case.rounding:
        names.append("tolerance unit_price")
    elif rest:
        names.append("rounding")
    return Outcome(explained=left, explained_by=" and ".join(names))
