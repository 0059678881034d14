"""The verdict on one group: its sides, then the rules in their order of precedence."""

from __future__ import annotations

from decimal import Decimal

from shared.reconciliation.case import Case
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs
from shared.reconciliation.rules import PRECEDENCE
from shared.reconciliation.rules.base import ZERO, Outcome
from shared.reconciliation.sides import case_of, invoice_waits, next_change
from shared.reconciliation.verdict import State, Verdict


@exact
def draw_group(inputs: GroupInputs) -> Verdict | None:
    """What holds between what one client used, was agreed and was billed of one product in one month.

    ``None``: there is nothing to compare. Pure: the same facts, in any order, give the same verdict byte for byte.
    """
    case = case_of(inputs)
    return _verdict(case) if isinstance(case, Case) else case


def _verdict(case: Case) -> Verdict:
    expected, billed = case.expected.amount, case.billed.amount if case.billed else ZERO
    outcomes: list[Outcome] = []
    left: Decimal | None = None if expected is None else billed - expected
    for rule in PRECEDENCE:
        outcome = rule(case, left)
        if outcome is None:
            continue
        outcomes.append(outcome)
        if left is not None:
            left -= outcome.broken + outcome.explained
        if outcome.settled:
            break
    breaks = tuple(sorted((one for outcome in outcomes for one in outcome.breaks), key=lambda one: one.stream_key))
    pending = tuple(wait for outcome in outcomes for wait in outcome.waiting)
    return Verdict(
        State.BREAK if breaks else State.NOT_COMPARABLE if pending else State.MATCHED,
        breaks=breaks,
        waiting=(*pending, *invoice_waits(case.inputs)),
        expected=expected,
        billed=billed,
        explained=sum((outcome.explained for outcome in outcomes), ZERO),
        explained_by=" and ".join(outcome.explained_by for outcome in outcomes if outcome.explained_by) or None,
        broken=sum((outcome.broken for outcome in outcomes), ZERO),
        currency=case.currency,
        next_change=next_change(case.inputs),
        owed=case.owed,
    )
