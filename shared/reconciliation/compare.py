"""The verdict on one group: its sides, then the rules in their order of precedence."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody
from shared.reconciliation.case import Case
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs
from shared.reconciliation.rules import PRECEDENCE
from shared.reconciliation.rules.base import ZERO, Outcome
from shared.reconciliation.sides import case_of, invoice_waits, next_change
from shared.reconciliation.verdict import State, Verdict, Waiting


@exact
def draw_group(inputs: GroupInputs) -> Verdict | None:
    """What holds between what one client used, was agreed and was billed of one product in one month.

    ``None``: there is nothing to compare. Pure: the same facts, in any order, give the same verdict byte for byte.
    """
    case = case_of(inputs)
    return _verdict(case) if isinstance(case, Case) else case


def _awaiting(case: Case, outcome: Outcome) -> Outcome:
    """The outcome of a rule; explained as pending where lines that are still to come could answer it."""
    coming = {what for one in outcome.breaks for what in _could_answer(case, one.body)}
    if not coming:
        return outcome
    return replace(
        outcome,
        breaks=(),
        broken=ZERO,
        explained=outcome.explained + outcome.broken,
        explained_by="pending invoice lines",
        waiting=(*outcome.waiting, *(Waiting("invoice_lines", what, None) for what in sorted(coming))),
    )


def _could_answer(case: Case, body: DiscrepancyBody) -> tuple[str, ...]:
    """Documents nothing of which counts yet, and whose lines could answer a break."""
    invoices = case.inputs.invoices
    if case.mode == "agreement" and case.lines:
        return ()  # what an agreement is set to bill no invoice changes
    if body.direction is Direction.WE_OWE_CLIENT:
        return invoices.crediting
    if body.code is Code.PRICE_MISMATCH and not case.amounts_only:
        return ()  # no other line makes the price of this one right
    return invoices.coming


def _verdict(case: Case) -> Verdict:
    expected, billed = case.expected.amount, case.billed.amount if case.billed else ZERO
    outcomes: list[Outcome] = []
    left: Decimal | None = None if expected is None else billed - expected
    for rule in PRECEDENCE:
        outcome = rule(case, left)
        if outcome is None:
            continue
        outcome = _awaiting(case, outcome)
        outcomes.append(outcome)
        if left is not None:
            left -= outcome.broken + outcome.explained
        if outcome.settled:
            break
    breaks = tuple(sorted((one for outcome in outcomes for one in outcome.breaks), key=lambda one: one.stream_key))
    pending = dict.fromkeys(wait for outcome in outcomes for wait in outcome.waiting)
    return Verdict(
        State.BREAK if breaks else State.NOT_COMPARABLE if pending else State.MATCHED,
        breaks=breaks,
        waiting=tuple(pending | dict.fromkeys(invoice_waits(case.inputs))),
        expected=expected,
        billed=billed,
        explained=sum((outcome.explained for outcome in outcomes), ZERO),
        explained_by=" and ".join(outcome.explained_by for outcome in outcomes if outcome.explained_by) or None,
        broken=sum((outcome.broken for outcome in outcomes), ZERO),
        currency=case.currency,
        next_change=next_change(case.inputs),
        owed=case.owed,
        sources=case.due_sources,
        records=case.due_records,
    )
