"""Half-open calendar periods in a client's own time zone. A local day counts one, however many hours it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """``[start, end)`` in local dates."""

    start: date
    end: date

    def contains(self, day: date) -> bool:
        return self.start <= day < self.end

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    @classmethod
    def parse(cls, text: str) -> Period:
        """The inverse of ``str``; raises ``ValueError`` for anything else."""
        start, _, end = text.partition("/")
        return cls(date.fromisoformat(start), date.fromisoformat(end))


def month_of(day: date) -> Period:
    """The whole calendar month that holds ``day``."""
    start = day.replace(day=1)
    return Period(start, (start + timedelta(days=32)).replace(day=1))


def months(first: date, last: date) -> Iterator[Period]:
    """Every calendar month from the one that holds ``first`` to the one that holds ``last``, both included."""
    month = month_of(first)
    while month.start <= last:
        yield month
        month = month_of(month.end)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name; raises ``ZoneInfoNotFoundError`` for an unknown one."""
    return ZoneInfo(name)


@lru_cache(maxsize=65_536)
def instant_of(day: date, tz: str) -> datetime:
    """The first existing instant of a local date, in UTC (a skipped midnight: the next instant; a doubled one: the
    earlier)."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone(tz))
    instant = local.astimezone(UTC)
    if instant.astimezone(zone(tz)).date() == day:
        return instant
    # Midnight was skipped: search the first instant that bears this date (gaps are whole minutes, below a day).
    low, high = instant - timedelta(days=1), instant + timedelta(days=1)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone(tz)).date() < day:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def local_date(instant: datetime, tz: str) -> date:
    """The local date of an instant."""
    return instant.astimezone(zone(tz)).date()


def bounds(period: Period, tz: str) -> tuple[datetime, datetime]:
    """The two instants of a period."""
    return instant_of(period.start, tz), instant_of(period.end, tz)
