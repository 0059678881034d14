"""No code of its own: a part of several months that is invoiced in instalments, so far to the cent, is not yet
comparable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from shared.kernel.money import money
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.case import Case
from shared.reconciliation.rules.base import Outcome, matched
from shared.reconciliation.verdict import Waiting


def instalment(case: Case, left: Decimal | None) -> Outcome | None:
    """Speaks where the lines bill a shorter period than the part, from its start on, and just that period's share by
    months or by days. The rest waits for the invoices of later months."""
    if not matched(case, left) or left is None or left >= 0 or case.part is None or not case.charges:
        return None
    span = Period(case.service.start, max(charge.line.period.end for charge in case.charges))
    if span.end >= case.service.end or case.service.end <= case.inputs.period.end:
        return None
    if any(charge.line.period.start < span.start for charge in case.charges):
        return None
    if not any(case.equals(share) for share in _shares(case, span)):
        return None
    what = f"{case.billed.ref if case.billed else ''} bills {words.month(span)} of what is due until {case.service.end}"
    until = case.service.end + timedelta(days=case.inputs.settings.invoice_grace_days)
    waits = (Waiting("partial_period", words.clip(what), until),)
    return Outcome(explained=left, explained_by="pending instalments", waiting=waits, settled=True)


def _shares(case: Case, span: Period) -> Iterator[Decimal]:
    due, currency = Fraction(case.expected.amount or 0), case.currency or ""
    paid, months = _months(span), _months(case.service)
    if paid is not None and months:
        yield money(due * paid / months, currency)
    yield money(due * (span.end - span.start).days / (case.service.end - case.service.start).days, currency)


def _months(period: Period) -> int | None:
    """So many whole months; ``None``: not whole ones."""
    start, end = period.start, period.end
    return (end.year - start.year) * 12 + end.month - start.month if start.day == end.day else None
