"""The billing parts of a contract line (rating.md section 1).

A line's time is cut twice: into *stretches*, in which it is in service under one way of counting periods, and each
stretch by the boundaries of its periods. Boundaries are reckoned from their number, never walked to, so that a line's
age costs nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from shared.events.contracts import BillingPeriod, Terms
from shared.kernel.periods import Period
from shared.reconciliation.rating.model import Part, Service, Version

_DAY = timedelta(days=1)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
_SHORTEST = 28
"""Days that every month has."""


def parts(service: Service, window: Period) -> tuple[Part, ...]:
    """The billing parts of a line that start in ``window``, in order of time."""
    found: list[Part] = []
    for stretch in _stretches(service):
        if stretch.start < window.end and (stretch.end is None or stretch.end > window.start):
            found.extend(_cut(stretch, window))
    return tuple(found)


def due_on(service: Service, part: Part) -> date:
    """The day from which a part is due: its start where billed in advance, else its (exclusive) end."""
    terms = version_at(service, part.start).terms
    if terms.billing == "advance" or terms.period.unit == "once":
        return part.start
    return part.end


def version_at(service: Service, day: date) -> Version:
    """The version in force on ``day``, or the one that was last in force (the last day of a service may be billed
    though its terms have ended). Raises ``ValueError`` before the first."""
    index = bisect_right(service.versions, day, key=lambda version: version.start) - 1
    if index < 0:
        raise ValueError(f"nothing is agreed on {day}; the line's terms begin on {service.versions[0].start}")
    return service.versions[index]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A time ``[start, end)`` in service under one way of counting periods, which began to be counted at ``origin``."""

    start: date
    end: date | None
    origin: date
    period: BillingPeriod
    trial_end: date | None


def _stretches(service: Service) -> Iterator[_Stretch]:
    """A gap ends a stretch but keeps the count (a line that is taken up again has its old boundaries); another way of
    counting begins anew."""
    if not service.versions:
        return
    first = last = service.versions[0]
    origin = first.start
    for version in service.versions[1:]:
        same_count = version.terms.period == first.terms.period
        if last.end != version.start or not same_count:
            yield _stretch(first, last, version.start, origin)
            first, origin = version, origin if same_count else version.start
        last = version
    yield _stretch(first, last, None, origin)


def _stretch(first: Version, last: Version, following: date | None, origin: date) -> _Stretch:
    end = last.end
    if end is not None and end != following and last.terms.last_day_billed:
        end += _DAY  # the service ends here, and its last day is billed
    return _Stretch(first.start, end, origin, first.terms.period, first.terms.trial_end)


def _cut(stretch: _Stretch, window: Period) -> Iterator[Part]:
    start = stretch.start
    if stretch.trial_end is not None and stretch.trial_end > start:
        start = stretch.trial_end  # a trial moves the start of the charge, never the boundaries
    end = stretch.end
    if end is not None and start >= end:
        return
    if stretch.period.unit == "once":
        if window.contains(start):
            yield Part(start, start + _DAY, start, start + _DAY)
        return
    grid = Grid(stretch.period, stretch.origin)
    number = grid.number(max(start, window.start))
    full_start, full_end = grid.full(number)
    while full_start < window.end and (end is None or full_start < end):
        part = Part(max(start, full_start), full_end if end is None else min(full_end, end), full_start, full_end)
        if part.start < part.end and window.contains(part.start):
            yield part
        number += 1
        full_start, full_end = grid.full(number)


class Grid:
    """The boundaries of a line's periods, numbered: period 0 holds the day on which counting began, or ends with the
    first boundary after it."""

    __slots__ = ("_anchored", "_day", "_days", "_first", "_months", "_zero")

    def __init__(self, period: BillingPeriod, origin: date) -> None:
        self._anchored = period.anchor is not None
        base = period.anchor or origin
        self._days = _DAYS.get(period.unit, 0) * period.count
        self._months = _MONTHS.get(period.unit, 0) * period.count
        self._zero = base
        self._day = period.day or (period.anchor.day if period.anchor is not None else 1)
        self._first = base.year * 12 + base.month - 1
        if self._months and not self._anchored and self._clipped(self._first) < origin:
            self._first += self._months

    def boundary(self, number: int) -> date:
        """Boundary ``number``; 0 is the anchor's (of its month), or the first on or after the day counting began."""
        if self._days:
            return self._zero + timedelta(days=number * self._days)
        return self._clipped(self._first + number * self._months)

    def number(self, day: date) -> int:
        """The number of the period that holds ``day``."""
        if self._days:
            return (day - self._zero).days // self._days
        number = (day.year * 12 + day.month - 1 - self._first) // self._months
        return number if self.boundary(number) <= day else number - 1

    def full(self, number: int) -> tuple[date, date]:
        """Period ``number``, whole. Without an anchor the one before the first boundary is counted back from that
        *date*, clipped and not restored: 30 April is counted back to 30 March though the 31st is wanted."""
        end = self.boundary(number + 1)
        if number < 0 and self._months and not self._anchored:
            months = end.year * 12 + end.month - 1 - self._months
            return _date(months, end.day), end
        return self.boundary(number), end

    def _clipped(self, months: int) -> date:
        return _date(months, self._day)


def _date(months: int, day: int) -> date:
    """A day of a month (numbered from year 0), or that month's last."""
    year, month = divmod(months, 12)
    if day <= _SHORTEST:
        return date(year, month + 1, day)
    return date(year, month + 1, min(day, monthrange(year, month + 1)[1]))


def zone_of(service: Service, terms: Terms) -> str:
    """The zone of a line's dates."""
    return terms.time_zone or service.time_zone
