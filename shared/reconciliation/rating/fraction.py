"""What share of a period a piece of it is (rating.md section 2)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from shared.events.contracts import Terms
from shared.kernel.money import round_to
from shared.kernel.periods import instant_of
from shared.reconciliation.rating.model import Number, Part
from shared.reconciliation.rating.numbers import share

DAY_SECONDS = 86_400


class Share(NamedTuple):
    """``numerator / denominator`` of a full period as it was counted: 10/30, not 1/3. It is divided last of all."""

    numerator: Number | int
    denominator: int

    @property
    def value(self) -> Number:
        return share(Decimal(1), self.numerator, self.denominator)


WHOLE = Share(1, 1)


def share_of(terms: Terms, part: Part, start: date, end: date, time_zone: str) -> Share:
    """The share of the full period of ``part`` that ``[start, end)`` within the part costs."""
    from_, to = reference(terms, part)
    if (start, end) == (from_, to):
        return WHOLE
    counted = Share(length(terms, start, end, time_zone), length(terms, from_, to, time_zone))
    step = terms.rounding.fraction
    return counted if step is None else Share(round_to(counted.value, step.scale, step.mode), 1)


def reference(terms: Terms, part: Part) -> tuple[date, date]:
    """The span that costs a whole period: the full one, less an end that the terms bill as if nothing were missing."""
    whatever = terms.proration == "none" or terms.period.unit == "once"
    start = part.full_start if terms.prorate_first and not whatever else part.start
    end = part.full_end if terms.prorate_last and not whatever else part.end
    return start, end


def length(terms: Terms, start: date, end: date, time_zone: str) -> int:
    """The length of ``[start, end)`` as the terms count: calendar days, days of 30-day months, or elapsed seconds."""
    if terms.proration == "thirty_day":
        return _thirty(end) - _thirty(start)
    if terms.proration == "seconds":
        return elapsed(instant_of(start, time_zone), instant_of(end, time_zone))
    return (end - start).days


def elapsed(start: datetime, end: datetime) -> int:
    """Whole seconds between two instants."""
    gone = end - start
    return gone.days * DAY_SECONDS + gone.seconds


def _thirty(day: date) -> int:
    """A day's number where each month has 30: the 31st adds nothing after the 30th, so the parts of a period sum."""
    return 360 * day.year + 30 * day.month + min(day.day, 30)
