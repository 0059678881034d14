"""DUPLICATE: the same charge stands twice in one service period, beyond what is due."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Side
from shared.reconciliation import words
from shared.reconciliation.case import Case, Charge
from shared.reconciliation.rules.base import EXACT, ZERO, Outcome, until_complete
from shared.reconciliation.verdict import Break


def duplicate(case: Case, left: Decimal | None) -> Outcome | None:
    """Each repetition that is billed too much is a break of its own; of equal lines the first is the one that counts.

    Of what is billed without any contract or usage every repetition is one."""
    if case.billed is None or left is None or left <= 0 or case.mode != "invoice":
        return None
    breaks, taken = [], ZERO
    charges = []
    for charge, original in _repeated(case):
        if taken + charge.amount <= left:
            taken += charge.amount
            charges.append(charge)
            breaks.append(_break(case, charge, original))
    if not breaks:
        return None
    waits = until_complete(case, taken) if case.lines or case.used.value > 0 else None
    if waits is not None:
        return replace(waits, settled=False, taken=tuple(charges))
    breaks.sort(key=lambda one: one.key)
    return Outcome(tuple(breaks), broken=taken, taken=tuple(charges))


def _repeated(case: Case) -> list[tuple[Charge, Charge]]:
    """(the repetition, the one that it repeats), in order of the invoices' dates."""
    alike: dict[tuple[object, ...], list[Charge]] = defaultdict(list)
    for charge in case.charges:
        line = charge.line
        if line.kind == "invoice" and charge.amount > 0 and not line.discount:
            figures = (line.source, line.contract, line.contract_line, line.product, line.period)
            alike[*figures, charge.quantity, line.unit_price, charge.amount].append(charge)
    found = []
    for charges in alike.values():
        charges.sort(key=lambda one: (one.line.issued_on, one.key))
        found += [(charge, charges[0]) for charge in charges[1:]]
    return sorted(found, key=lambda pair: (pair[0].line.issued_on, pair[0].key))


def _break(case: Case, charge: Charge, original: Charge) -> Break:
    line = charge.line
    charged = f"{words.quantity(charge.quantity)} billed at {words.price(line.unit_price, line.currency)}"
    body = case.body(
        Code.DUPLICATE,
        Direction.WE_OWE_CLIENT,
        amount=charge.amount,
        quantity=abs(charge.quantity),
        why=f"{charged} on {charge.ref} and again what {original.ref} bills already",
        tolerance=EXACT,
        difference=f"{charge.ref} repeats {original.ref}: {words.price(charge.amount, line.currency)}",
        billed=Side(
            quantity=charge.quantity, unit_price=line.unit_price, amount=charge.amount, ref=words.clip(charge.ref)
        ),
    )
    return Break(case.key_of(charge), body)
