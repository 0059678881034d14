"""UNBILLED_CLIENT: what can only be said of the whole client (level ``*``): something is due, and no invoice came."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Reached, Side, Span, Step
from shared.reconciliation import words
from shared.reconciliation.case import deadline
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import ClientInputs, GroupTotal
from shared.reconciliation.rules.base import EXACT
from shared.reconciliation.sides import is_overdue, overdue_on
from shared.reconciliation.verdict import FAMILIES, Break, State, Verdict, Waiting
from shared.reconciliation.views import sample

LEVEL = "*"
"""Stands where a product stands in the keys of groups."""
_ZERO = Decimal(0)


def total_of(product: str, verdict: Verdict) -> GroupTotal:
    """What a drawn group contributes to the client's level."""
    return GroupTotal(product, verdict.expected, verdict.currency, verdict.owed, verdict.sources, verdict.records)


@exact
def draw_client(inputs: ClientInputs) -> Verdict | None:
    """The verdict on a client's month as a whole; ``None`` where an invoice answers, or nothing is due."""
    owed = sorted((group for group in inputs.groups if group.owed), key=lambda group: group.product)
    invoices, period, grace = inputs.invoices, inputs.period, inputs.settings.invoice_grace_days
    if invoices.complete or invoices.straddling or not owed:
        return None
    if invoices.incomplete:
        return Verdict(
            State.NOT_COMPARABLE, waiting=tuple(Waiting("invoice_lines", what, None) for what in invoices.incomplete)
        )
    until = overdue_on(period, grace)
    if not is_overdue(inputs.as_of, period, grace):
        waiting = Waiting("invoice", f"no invoice of {words.month(period)} yet", until)
        return Verdict(State.NOT_COMPARABLE, waiting=(waiting,), next_change=until)
    if inputs.opens is not None and period.start < inputs.opens:
        # A month before the books were opened: its invoices were probably never loaded.
        waiting = Waiting("invoice", f"no invoice of {words.month(period)} was loaded", None)
        return Verdict(State.NOT_COMPARABLE, waiting=(waiting,))
    return _unbilled(inputs, owed)


def _unbilled(inputs: ClientInputs, owed: list[GroupTotal]) -> Verdict:
    sums: dict[str, Decimal] = {}
    for group in owed:
        if group.expected is not None and group.currency is not None:
            sums[group.currency] = sums.get(group.currency, _ZERO) + group.expected
    # Amounts of several currencies are not added up: then the break has none, and says them in words.
    currency, amount = next(iter(sums.items())) if len(sums) == 1 else (None, None)
    body = _body(inputs, owed, sums, amount, currency)
    return Verdict(
        State.BREAK,
        breaks=(Break((LEVEL,), body),),
        expected=amount,
        billed=None if amount is None else _ZERO,
        broken=_ZERO if amount is None else -amount,
        currency=currency,
        owed=True,
    )


def _body(
    inputs: ClientInputs,
    owed: list[GroupTotal],
    sums: dict[str, Decimal],
    amount: Decimal | None,
    currency: str | None,
) -> DiscrepancyBody:
    client, period = inputs.client, inputs.period
    unpriced = sum(1 for group in owed if group.expected is None)
    due = " and ".join(f"{code} {words.price(sums[code], code)}" for code in sorted(sums)) or "an unknown amount"
    why = f"{due} is due for {len(owed)} product{'s' if len(owed) > 1 else ''}, and no invoice of {words.month(period)}"
    if unpriced and sums:
        why += f"; {unpriced} more without a price"
    parts = " + ".join(words.price(group.expected, currency) for group in owed if group.expected and currency)
    steps = (
        (
            Step(
                label="expected",
                formula=words.clip(parts, words.SENTENCE),
                result=amount,
                sources=sample(source for group in owed for source in group.sources),
                records=sum(group.records for group in owed),
            ),
            Step(label="billed", formula="no invoice", result=_ZERO),
            Step(label="difference", formula=f"{words.price(amount, currency)} due, nothing billed", result=amount),
        )
        if amount is not None and currency is not None
        else ()
    )
    return DiscrepancyBody(
        code=Code.UNBILLED_CLIENT,
        family=FAMILIES[Code.UNBILLED_CLIENT],
        client=client.id,
        client_name=client.name,
        period=Span(from_=period.start, to=period.end),
        direction=Direction.CLIENT_OWES_US,
        amount=amount,
        currency=currency,
        expected=Side(amount=amount) if amount is not None else None,
        tolerance=EXACT,
        reached=Reached.NOWHERE,
        deadline=deadline(inputs.as_of, period, client.bill_cycle_day),
        why=words.clip(why, words.SENTENCE),
        derivation=steps,
    )
