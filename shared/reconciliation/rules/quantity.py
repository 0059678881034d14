"""What QTY_UNDER and QTY_OVER share: a difference in units, at the price that holds."""

from __future__ import annotations

from shared.events.discrepancies import Code
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rating.model import Number
from shared.reconciliation.rules.base import ZERO, Outcome, direction_of, quantity_tolerance
from shared.reconciliation.verdict import Break


def quantity_break(case: Case, code: Code, difference: Number) -> Outcome | None:
    """The break of ``difference`` units (billed less billable). Units that are worth nothing are none of our business:
    ``None``."""
    units = -difference if difference < 0 else difference
    worth = case.worth(difference)
    if worth == 0:
        return None
    price = _price(case)
    body = case.body(
        code,
        direction_of(difference),
        amount=worth,
        quantity=units,
        why=_why(case, price),
        tolerance=quantity_tolerance(case),
        difference=f"{words.quantity(units)} x {price}" if price else words.quantity(units),
    )
    signed = ZERO if worth is None else (-worth if difference < 0 else worth)
    return Outcome((Break(case.stream, body),), broken=signed)


def _price(case: Case) -> str | None:
    if case.expected.unit_price is None or case.currency is None:
        return None
    return words.price(case.expected.unit_price, case.currency)


def _why(case: Case, price: str | None) -> str:
    used, billed = words.quantity(case.used.value), case.billed
    included = case.lines[0].terms.included if case.lines else ZERO
    parts = [f"{used} used"] + ([f"{words.quantity(included)} included"] if included else [])
    said = "billed" if case.mode == "invoice" else "set to be billed"
    parts.append(f"{words.quantity(billed.quantity if billed else ZERO)} {said}" + (f" at {price}" if price else ""))
    return ", ".join(parts)
