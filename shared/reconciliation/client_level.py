"""What can only be said of the whole client (level ``*``): something is due and no invoice came, commitments over
several groups, and the arithmetic of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Reached, Side, Source, Step
from shared.reconciliation import words
from shared.reconciliation.bodies import DIGITS, body, sayable, step
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import ClientInputs, GroupTotal
from shared.reconciliation.rules.base import EXACT
from shared.reconciliation.rules.client.base import LEVEL as LEVEL
from shared.reconciliation.rules.client.base import LevelOutcome, frame_of
from shared.reconciliation.rules.client.min_commit import Commitment, commitments, min_commit
from shared.reconciliation.rules.client.rounding import rounding
from shared.reconciliation.rules.client.tax import tax
from shared.reconciliation.sides import is_overdue, overdue_on
from shared.reconciliation.verdict import Break, State, StatementLine, Verdict, Waiting

_ZERO = Decimal(0)


def total_of(product: str, verdict: Verdict) -> GroupTotal:
    """What a drawn group contributes to the client's level."""
    return GroupTotal(
        product, verdict.expected, verdict.currency, verdict.owed, verdict.sources, verdict.records, verdict.scope
    )


@exact
def draw_client(inputs: ClientInputs) -> Verdict | None:
    """The verdict on a client's month as a whole; ``None`` where there is nothing to say of it.

    Its lines are those of commitments and documents. UNBILLED_CLIENT has none: its amount is that of the groups' own
    lines, and of the commitments' true-ups.
    """
    committed = commitments(inputs)
    outcomes = [min_commit(inputs, committed), tax(inputs), rounding(inputs)]
    unbilled = _unbilled_client(inputs, committed)
    if unbilled is None and not any(one.lines for one in outcomes):
        return None
    return _verdict(inputs, unbilled, outcomes)


def _verdict(inputs: ClientInputs, unbilled: Verdict | None, outcomes: Sequence[LevelOutcome]) -> Verdict:
    lines = tuple(sorted((line for one in outcomes for line in one.lines), key=lambda line: line.key))
    breaks = [one for outcome in outcomes for one in outcome.breaks]
    waiting = [one for outcome in outcomes for one in outcome.waiting]
    drawn = _sums(lines, breaks) if unbilled is None else _together(unbilled, _sums(lines, breaks), breaks)
    breaks = sorted([*(unbilled.breaks if unbilled else ()), *breaks], key=lambda one: one.stream_key)
    waits = tuple(dict.fromkeys([*(unbilled.waiting if unbilled else ()), *waiting]))
    dates = [one for one in (drawn.next_change, *(wait.until for wait in waits)) if one is not None]
    return replace(
        drawn,
        state=State.BREAK if breaks else State.NOT_COMPARABLE if waits else State.MATCHED,
        breaks=tuple(breaks),
        waiting=waits,
        lines=lines,
        next_change=min((day for day in dates if inputs.as_of is None or day > inputs.as_of), default=None),
    )


def _together(unbilled: Verdict, sums: Verdict, breaks: Sequence[Break]) -> Verdict:
    """What no invoice answers, and what a document (a credit note, say) is wrong by besides."""
    if not any(one.side == "client" and one.body.amount for one in breaks):
        return unbilled
    if unbilled.expected is None or sums.expected is None or unbilled.currency != sums.currency:
        return replace(unbilled, expected=None, billed=None, explained=_ZERO, broken=_ZERO, currency=None)
    return replace(
        unbilled,
        expected=unbilled.expected + sums.expected,
        billed=(unbilled.billed or _ZERO) + (sums.billed or _ZERO),
        explained=unbilled.explained + sums.explained,
        broken=unbilled.broken + sums.broken,
    )


def _sums(lines: Sequence[StatementLine], breaks: Sequence[Break]) -> Verdict:
    """A verdict with the sums of the lines that have amounts, if they are in one currency."""
    known = [one for one in lines if one.expected is not None and one.billed is not None]
    currencies = {one.currency for one in known}
    if len(currencies) != 1:
        return Verdict(State.MATCHED)
    return Verdict(
        State.MATCHED,
        breaks=tuple(breaks),
        expected=sum((one.expected or _ZERO for one in known), _ZERO),
        billed=sum((one.billed or _ZERO for one in known), _ZERO),
        explained=sum((one.explained + one.pending for one in known), _ZERO),
        broken=sum((one.broken for one in known), _ZERO),
        currency=currencies.pop(),
    )


# --- UNBILLED_CLIENT -----------------------------------------------------------------------------------------------
def _unbilled_client(inputs: ClientInputs, committed: Sequence[Commitment]) -> Verdict | None:
    """UNBILLED_CLIENT, or what it waits for; ``None`` where an invoice answers, or nothing is due."""
    owed = sorted((group for group in inputs.groups if group.owed), key=lambda group: group.product)
    owed += _true_ups(committed)
    invoices, period, grace = inputs.invoices, inputs.period, inputs.settings.invoice_grace_days
    posted = any(line.kind == "invoice" for line in inputs.commitment_lines)
    if invoices.complete or invoices.straddling or posted or not owed:
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


def _true_ups(committed: Sequence[Commitment]) -> list[GroupTotal]:
    """What commitments add to what is due (what they take off too, so that no more is claimed than is due)."""
    return [
        GroupTotal(one.chain.product, one.amount, one.chain.currency, True, _records(one), len(one.chain.holdings))
        for one in committed
        if one.amount
    ]


def _records(one: Commitment) -> tuple[Source, ...]:
    return tuple(held.version.record for held in one.chain.holdings)


def _unbilled(inputs: ClientInputs, owed: list[GroupTotal]) -> Verdict | None:
    sums: dict[str, Decimal] = {}
    for group in owed:
        if group.expected is not None and group.currency is not None:
            sums[group.currency] = sums.get(group.currency, _ZERO) + group.expected
    # Amounts of several currencies are not added up: then the break has none, and says them in words.
    currency, amount = next(iter(sums.items())) if len(sums) == 1 else (None, None)
    if not sayable(amount):
        return Verdict(State.NOT_COMPARABLE, waiting=(DIGITS,), owed=True)
    if amount is not None and amount < 0:
        return None  # a commitment takes off more than is due
    return Verdict(
        State.BREAK,
        breaks=(Break((LEVEL,), _body(inputs, owed, sums, amount, currency)),),
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
    period = inputs.period
    unpriced = sum(1 for group in owed if group.expected is None)
    due = " and ".join(f"{code} {words.price(sums[code], code)}" for code in sorted(sums)) or "an unknown amount"
    why = f"{due} is due for {len(owed)} product{'s' if len(owed) > 1 else ''}, and no invoice of {words.month(period)}"
    if unpriced and sums:
        why += f"; {unpriced} more without a price"
    parts = " + ".join(words.price(group.expected, currency) for group in owed if group.expected and currency)
    steps: tuple[Step, ...] = ()
    if amount is not None and currency is not None:
        expected = step("expected", parts, amount, [source for group in owed for source in group.sources])
        steps = (
            expected.model_copy(update={"records": sum(group.records for group in owed)}),
            step("billed", "no invoice", _ZERO),
            step("difference", f"{words.price(amount, currency)} due, nothing billed", amount),
        )
    return body(
        frame_of(inputs),
        Code.UNBILLED_CLIENT,
        Direction.CLIENT_OWES_US,
        reached=Reached.NOWHERE,
        amount=amount,
        currency=currency,
        expected=Side(amount=amount) if amount is not None else None,
        tolerance=EXACT,
        why=why,
        steps=steps,
    )
