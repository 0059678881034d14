"""TIME_UNBILLED: approved, billable time that the month's invoice does not bill."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Code, Direction, Reached
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.rules.base import exceeds
from shared.reconciliation.rules.labour.base import ZERO, LabourCase, LabourLine
from shared.reconciliation.verdict import Break


def time_unbilled(case: LabourCase, line: LabourLine) -> Break | None:
    """By contract line and part, beyond a quarter of an hour; its amount is part of billed less expected."""
    short = case.unbilled_hours(line)
    tolerance = case.frame["settings"].tolerance("time", unit="h")
    if not case.invoiced or not short or not exceeds(short, line.hours, tolerance):
        return None
    amount = _amount(case, line, short)
    if line.amount is not None and not amount:
        return None
    answer = case.answer(line)
    entries = [one for one in line.entries if one.billable and one.approved]
    billed = f"{words.quantity(answer.hours)} h" if answer.hours or not answer.amount else "an amount without hours"
    why = f"{words.quantity(line.hours)} h are approved and billable, {billed} billed"
    if amount is not None and line.currency is not None:
        why += f": {line.currency} {words.price(amount, line.currency)}"
    return Break(
        line.break_key,
        body(
            case.frame,
            Code.TIME_UNBILLED,
            Direction.CLIENT_OWES_US,
            reached=Reached.CLIENT_INVOICE,
            product=line.product,
            amount=amount,
            currency=line.currency,
            quantity=short,
            expected=line.side,
            billed=answer.side,
            tolerance=tolerance,
            why=why,
            contract_ref=line.ref,
            steps=(
                step("approved", f"{words.quantity(line.hours)} h", line.hours, [one.record for one in entries]),
                step("billed", billed, answer.hours, answer.records),
                *([step("difference", f"{words.quantity(short)} h", amount)] if amount is not None else []),
            ),
        ),
    )


def _amount(case: LabourCase, line: LabourLine, short: Decimal) -> Decimal | None:
    """What the missing hours come to: the whole difference where what is billed has one of the agreed rates on
    average, else the hours at the average rate (the rest is the price's)."""
    if line.amount is None or line.currency is None:
        return None
    answer = case.answer(line)
    elsewhere = case.elsewhere.get(line.key)
    left = line.amount - answer.amount + (elsewhere.amount if elsewhere else ZERO)
    if left <= 0:
        return ZERO
    rates = line.rates()
    if answer.hours == 0 or not rates:
        return left
    each = Fraction(answer.amount) / Fraction(answer.hours)
    width = Fraction(case.frame["settings"].tolerance("unit_price", currency=line.currency).absolute)
    if rates[0] - width <= each <= rates[-1] + width:
        return left
    return min(money(Fraction(line.amount) * Fraction(short) / Fraction(line.hours), line.currency), left)
