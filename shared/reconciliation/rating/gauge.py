"""A gauge within a part: the levels at which it stood and for how long, or one statistic of them (rating.md section 6).

Where days are counted a level belongs to the day on which it was reached, whole, and the last of a day holds; only
``seconds`` sees hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from shared.events.contracts import Terms
from shared.kernel.money import round_to
from shared.kernel.periods import instant_of, local_date
from shared.reconciliation.rating.fraction import Share, elapsed, length, reference
from shared.reconciliation.rating.model import ZERO, Level, Number, Part
from shared.reconciliation.rating.numbers import plus, share, times


class Segment(NamedTuple):
    """A gauge stands at ``quantity`` (as measured) in ``[start, end)``, a ``share`` of the full period."""

    start: date
    end: date
    quantity: Number
    share: Share


class Stay(NamedTuple):
    """A gauge stands at ``quantity`` between two instants."""

    start: datetime
    end: datetime
    quantity: Number


def segments(
    levels: Sequence[Level], terms: Terms, part: Part, start: date, end: date, whole: Share, time_zone: str
) -> list[Segment]:
    """The levels in ``[start, end)`` of ``part``, equal neighbours merged. ``whole`` is the share of all of it."""
    if len(levels) == 1 and levels[0].until is None and levels[0].at <= instant_of(start, time_zone):
        return [Segment(start, end, levels[0].quantity, whole)]
    merged = _merged(stays(levels, instant_of(start, time_zone), instant_of(end, time_zone)))
    cut = _by_seconds if terms.proration == "seconds" else _by_days
    full = length(terms, *reference(terms, part), time_zone)
    step = terms.rounding.fraction
    found = []
    for from_, to, quantity, counted in cut(merged, terms, time_zone):
        portion = Share(counted, full) if counted != full else Share(1, 1)
        if step is not None and portion.denominator != 1:
            portion = Share(round_to(portion.value, step.scale, step.mode), 1)
        found.append(Segment(from_, to, quantity, portion))
    return found


def statistic(levels: Sequence[Level], kind: str, start: date, end: date, time_zone: str) -> Number | None:
    """One quantity for ``[start, end)``: ``max``, ``last``, ``first`` or ``time_weighted``. ``None``: no value."""
    found = stays(levels, instant_of(start, time_zone), instant_of(end, time_zone))
    return _STATISTICS[kind](found) if found else None


def stays(levels: Sequence[Level], start: datetime, end: datetime) -> list[Stay]:
    """Each level from its instant (or ``start``) to the next one's, its own ``until``, or ``end``."""
    ordered = sorted(levels, key=_at)
    found = []
    for index, level in enumerate(ordered):
        to = ordered[index + 1].at if index + 1 < len(ordered) else end
        to = min(to, end) if level.until is None else min(to, end, level.until)
        from_ = max(level.at, start)
        if from_ < to:
            found.append(Stay(from_, to, level.quantity))
    return found


def _at(level: Level) -> tuple[datetime, Number]:
    return level.at, level.quantity


def _merged(found: list[Stay]) -> list[Stay]:
    merged: list[Stay] = []
    for stay in found:
        if merged and merged[-1].quantity == stay.quantity and merged[-1].end == stay.start:
            merged[-1] = merged[-1]._replace(end=stay.end)
        else:
            merged.append(stay)
    return merged


_Counted = list[tuple[date, date, Number, int]]


def _by_days(found: list[Stay], terms: Terms, time_zone: str) -> _Counted:
    counted: _Counted = []
    for stay in found:
        start, end = local_date(stay.start, time_zone), local_date(stay.end, time_zone)
        if start < end:  # else another level of the same day holds
            counted.append((start, end, stay.quantity, length(terms, start, end, time_zone)))
    return _joined(counted)


def _by_seconds(found: list[Stay], terms: Terms, time_zone: str) -> _Counted:
    return [
        (local_date(s.start, time_zone), local_date(s.end, time_zone), s.quantity, elapsed(s.start, s.end))
        for s in found
    ]


def _joined(counted: _Counted) -> _Counted:
    """Neighbours that became equal when a level between them did not last a day."""
    joined: _Counted = []
    for start, end, quantity, days in counted:
        if joined and joined[-1][1] == start and joined[-1][2] == quantity:
            joined[-1] = (joined[-1][0], end, quantity, joined[-1][3] + days)
        else:
            joined.append((start, end, quantity, days))
    return joined


def _time_weighted(found: list[Stay]) -> Number:
    total: Number = ZERO
    seconds = 0
    for stay in found:
        lasted = elapsed(stay.start, stay.end)
        total = plus(total, times(stay.quantity, Decimal(lasted)))
        seconds += lasted
    return share(total, 1, seconds) if seconds else found[-1].quantity


_STATISTICS: dict[str, Callable[[list[Stay]], Number]] = {
    "max": lambda found: max(stay.quantity for stay in found),
    "last": lambda found: found[-1].quantity,
    "first": lambda found: found[0].quantity,
    "time_weighted": _time_weighted,
}
