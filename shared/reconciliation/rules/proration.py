"""PRORATION: a part of a period (or a change inside one) is billed as if it were another number of days."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Code, Tolerance
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import Outcome, direction_of, matched, whole_residual
from shared.reconciliation.verdict import Break


def proration(case: Case, left: Decimal | None) -> Outcome | None:
    """Speaks where what is billed is, to the cent, the whole period, another number of days, or another way to count
    them. One day's price is let pass."""
    if not matched(case, left) or left is None or case.part is None or case.terms is None or case.currency is None:
        return None
    found = next((words_ for words_, amount in _candidates(case) if case.equals(amount)), None)
    if found is None:
        return None
    tolerance = _tolerance(case)
    if abs(left) <= tolerance.absolute:
        return Outcome(explained=left, explained_by="tolerance proration", settled=True)
    due = words.price(case.expected.amount or Decimal(0), case.currency)
    billed = words.price(case.billed.amount if case.billed else Decimal(0), case.currency)
    body = case.body(
        Code.PRORATION,
        direction_of(left),
        amount=abs(left),
        quantity=None,
        why=f"{billed} billed {found}, {due} due for {_stood(case)}",
        tolerance=tolerance,
        difference=f"{billed} billed, {due} due",
    )
    return whole_residual(case, Break(case.stream, body), left)


def _stood(case: Case) -> str:
    """The days of the part; of a whole one, the units whose days they are."""
    if _days(case) == _full_days(case) and case.expected.quantity is not None:
        return f"{words.quantity(case.expected.quantity)} units by the days that they stood"
    return f"{_days(case)} of {_full_days(case)} days"


def _days(case: Case) -> int:
    return (case.service.end - case.service.start).days


def _full_days(case: Case) -> int:
    assert case.part is not None
    return (case.part.full_end - case.part.full_start).days


def _candidates(case: Case) -> Iterator[tuple[str, Decimal | None]]:
    """What might have been billed instead, and how it would have come about."""
    assert case.terms is not None
    whole = case.under(proration="none")
    if whole is None or whole == 0:
        return
    if case.prorated:
        yield "for the whole period", whole
        yield "for the whole period at its last level", case.under(proration="none", statistic="last")
        for other in ("daily", "thirty_day"):
            if other != case.terms.proration and case.terms.period.unit in ("month", "quarter", "year"):
                yield f"by {other.replace('_', ' ')}", case.under(proration=other)
    days = _billed_days(case, whole)
    if days is not None:
        yield (
            f"for {days} of {_full_days(case)} days",
            money(Fraction(whole) * days / _full_days(case), case.currency or ""),
        )


def _billed_days(case: Case, whole: Decimal) -> int | None:
    """The number of days that was billed, where the part is no whole period or the invoice's line says another one."""
    assert case.billed is not None
    assert case.part is not None
    said = {(charge.line.period.end - charge.line.period.start).days for charge in case.charges}
    days = round(Fraction(case.billed.amount) * _full_days(case) / Fraction(whole))
    if not 0 < days <= _full_days(case):
        return None
    return days if not case.part.whole or days in said - {_days(case)} else None


def _tolerance(case: Case) -> Tolerance:
    """One day's price, or the width that is set, whichever is more."""
    set_width = case.inputs.settings.tolerance("proration", case.currency)
    whole = case.under(proration="none") or Decimal(0)
    day = money(Fraction(whole) / _full_days(case), case.currency or "")
    return Tolerance(name="proration", absolute=max(day, set_width.absolute), relative_pct=set_width.relative_pct)
