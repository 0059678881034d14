"""PHANTOM_LINE: billed, but nothing was used and no flat fee was agreed."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from shared.events.discrepancies import Code, Direction, Side
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import EXACT, ZERO, Outcome, hidden
from shared.reconciliation.verdict import Break


class _Charge(NamedTuple):
    """One line that charges something."""

    amount: Decimal
    key: tuple[str, ...]
    quantity: Decimal
    unit_price: Decimal
    ref: str


def phantom_line(case: Case, left: Decimal | None) -> Outcome | None:
    """Rests on absence, so it waits for complete usage and for identifiers that nobody has mapped."""
    if case.billed is None or case.flat or case.over or case.used.value > 0 or left is None:
        return None
    if case.lines and (case.expected.amount or left <= 0):
        return None  # a least amount is due at zero use: what is billed has something to answer
    if left <= 0:
        # Credited in full, or beyond: what a credit pays back besides is not this month's usage.
        return Outcome(explained=left, explained_by="credit note" if left else None, settled=True)
    waits = case.usage_gaps + hidden(case)
    if waits:
        return Outcome(explained=left, explained_by="pending usage", waiting=waits, settled=True)
    breaks, rest = [], left
    for charge in _charges(case):
        amount = min(charge.amount, rest)
        if amount > 0:
            rest -= amount
            breaks.append(_break(case, charge, amount))
    breaks.sort(key=lambda one: one.key)
    return Outcome(tuple(breaks), broken=left, settled=True)


def _charges(case: Case) -> list[_Charge]:
    """Largest first: what credits leave of the charges is what they most likely meant to leave."""
    if case.mode == "invoice":
        charges = [
            _Charge(one.amount, case.key_of(one), one.quantity, one.line.unit_price, one.ref) for one in case.charges
        ]
    else:
        charges = [
            _Charge(
                case.billed.amount if case.billed and line is case.lines[0] else ZERO,
                ("agreement", line.source, line.contract, line.line, *case.stream[4:]),
                line.recurring.quantity if line.recurring else ZERO,
                line.recurring.unit_price if line.recurring else ZERO,
                f"{line.ref}, recurring",
            )
            for line in case.lines
        ]
    return sorted(charges, key=lambda charge: (-charge.amount, charge.key))


def _break(case: Case, charge: _Charge, amount: Decimal) -> Break:
    whole = amount == charge.amount
    quantity, currency = words.quantity(charge.quantity), case.currency or ""
    billed = f"{quantity} billed at {words.price(charge.unit_price, currency)}"
    why = f"{billed} on {charge.ref}, nothing used" + (
        "" if whole else f"; {words.price(amount, currency)} not credited"
    )
    body = case.body(
        Code.PHANTOM_LINE,
        Direction.WE_OWE_CLIENT,
        amount=amount,
        quantity=abs(charge.quantity) if whole else None,
        why=why,
        tolerance=EXACT,
        difference=f"{billed}, 0 used" + ("" if whole else ", less what was credited"),
        billed=Side(
            quantity=charge.quantity, unit_price=charge.unit_price, amount=charge.amount, ref=words.clip(charge.ref)
        ),
    )
    return Break(charge.key, body)
