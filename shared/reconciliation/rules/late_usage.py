"""LATE_USAGE and RESTATED: the period was closed, and its usage has changed since."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, DiscrepancyBody
from shared.reconciliation import words
from shared.reconciliation.case import Case, step
from shared.reconciliation.inputs import ClosedGroup
from shared.reconciliation.rules.base import Outcome, direction_of, exceeds, until_complete
from shared.reconciliation.verdict import Break


def late_usage(case: Case, left: Decimal | None) -> Outcome | None:
    """Where what is billed is what was due by the old figure, the whole residual is said here. Else the money is the
    other rules', and this break only names the change and what was billed on the old figure."""
    closed = case.closed
    if closed is None or closed.quantity is None or closed.quantity == case.used.value or case.billed is None:
        return None
    tolerance = case.inputs.settings.tolerance("restated", case.currency, case.product.unit)
    within = not exceeds(case.used.value - closed.quantity, closed.quantity, tolerance)
    on_old = closed.currency == case.currency and case.equals(closed.expected)
    if on_old and left:
        if within:
            return Outcome(explained=left, explained_by="tolerance restated", settled=True)
        waits = until_complete(case, left)
        if waits is not None:
            return waits
        found = Break(case.stream, _body(case, closed, left, abs(left)))
        return Outcome((found,), broken=left, settled=True)
    if within or not left:
        return None
    return Outcome((Break(case.stream, _body(case, closed, left, None), "none"),))


def _body(case: Case, closed: ClosedGroup, left: Decimal, amount: Decimal | None) -> DiscrepancyBody:
    # As many records as before: one of them says something else now. More: something came late.
    code = Code.LATE_USAGE if case.records > closed.records else Code.RESTATED
    then, now = words.quantity(closed.quantity or Decimal(0)), words.quantity(case.used.value)
    billed = "nothing" if closed.billed is None else words.price(closed.billed, closed.currency or "")
    at_close = step(
        "at close", f"{then} measured by {closed.records} records", closed.quantity or Decimal(0), (closed.record,), 1
    )
    return case.body(
        code,
        direction_of(left),
        amount=amount,
        quantity=abs(case.used.value - (closed.quantity or Decimal(0))),
        why=f"{now} used, {then} when the period was closed; {billed} was billed on the old figure",
        tolerance=case.inputs.settings.tolerance("restated", case.currency, case.product.unit),
        difference=f"{now} - {then}",
        steps=(at_close,),
    )
