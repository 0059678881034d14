"""QTY_UNDER: fewer units are billed than were used beyond what is included."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import ZERO, Outcome, exceeds, quantity_tolerance
from shared.reconciliation.rules.quantity import quantity_break


def qty_under(case: Case, left: Decimal | None) -> Outcome | None:
    """What was seen is a lower bound of what was used, so this is said at once, in the running month too."""
    difference, billable = case.quantity_difference, case.expected.quantity
    if difference is None or billable is None or difference >= 0:
        return None
    if not exceeds(difference, billable, quantity_tolerance(case)):
        return None
    if case.usage_gaps and _may_fall(case):
        worth = case.worth(difference) or ZERO
        return Outcome(explained=-worth, explained_by="pending usage", waiting=case.usage_gaps)
    return quantity_break(case, Code.QTY_UNDER, difference)


def _may_fall(case: Case) -> bool:
    """Whether more usage can make less due: the price of all units, or one level for the whole part."""
    terms = case.terms
    return terms is not None and (terms.price.kind == "volume" or terms.statistic in ("last", "time_weighted"))
