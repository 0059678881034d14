"""Which days have begun for a tenant. Pure."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from shared.kernel.periods import instant_of, local_date


def due_dates(last: date | None, now: datetime, zone: str) -> list[date]:
    """The local dates that have begun in ``zone`` since ``last``, in order; without one: the date of ``now`` alone.

    None if the clock stands before ``last`` (it was set back): what was recorded is not taken back.
    """
    today = local_date(now, zone)
    if last is None:
        return [today]
    return [last + timedelta(days=n) for n in range(1, (today - last).days + 1)]


def next_midnight(now: datetime, zone: str) -> datetime:
    """The instant at which the next local date begins, after ``now``."""
    return instant_of(local_date(now, zone) + timedelta(days=1), zone)
