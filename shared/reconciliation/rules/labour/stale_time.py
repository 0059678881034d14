"""STALE_TIME: billable time that lies about: not approved, or not invoiced, for longer than the tenant allows."""

from __future__ import annotations

from shared.events.discrepancies import Code, Direction, Reached, Standing, Tolerance
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.inputs import TimeEntry
from shared.reconciliation.rules.labour.base import ZERO, LabourCase, LabourLine, entry_names, worked
from shared.reconciliation.verdict import Break


def stale_time(case: LabourCase, line: LabourLine) -> Break | None:
    """By contract line and part. The amount is what its unapproved hours would add to what is due, so the break belongs
    to no residual. What is approved and not billed is TIME_UNBILLED once the month is invoiced, UNBILLED_CLIENT without
    any invoice, and not late before it is due: only where none of these speaks is it stale."""
    before = case.stale_before()
    if before is None:
        return None
    old = [one for one in line.entries if one.billable and one.worked_on < before]
    waiting = [one for one in old if not one.approved]
    open_ones = [one for one in old if one.approved and one.invoice is None] if case.overlooked else []
    stale = sorted([*waiting, *open_ones], key=lambda one: (one.worked_on, one.source, one.entry))
    if not stale:
        return None
    amount = line.would if waiting and line.would > 0 and len(waiting) == len(_unapproved(line)) else None
    days = case.frame["settings"].time_stale_days
    parts = [
        f"{words.quantity(worked(of))} h not {what}"
        for of, what in ((waiting, "approved"), (open_ones, "invoiced"))
        if of
    ]
    quantity = worked(stale)
    return Break(
        line.break_key,
        body(
            case.frame,
            Code.STALE_TIME,
            Direction.CLIENT_OWES_US,
            reached=Reached.NOWHERE,
            product=line.product,
            amount=amount,
            currency=line.currency if amount is not None else None,
            quantity=quantity,
            tolerance=Tolerance(name="stale_days", absolute=words.field(ZERO + days), relative_pct=ZERO),
            kind=Standing.AT_RISK if amount is not None else None,
            why=f"{' and '.join(parts)} for more than {days} days, since {stale[0].worked_on}: {entry_names(stale)}",
            contract_ref=line.ref,
            steps=(step("stale", " and ".join(parts), quantity, [one.record for one in stale]),),
        ),
        "none",
    )


def _unapproved(line: LabourLine) -> list[TimeEntry]:
    return [one for one in line.entries if one.billable and not one.approved]
