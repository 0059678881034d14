"""The calendar: one ``calendar.advanced`` for each day of each tenant, at its local midnight (protocols.md section 11).

The id of a day is ``calendar/<zone>/<date>``, so two processes cannot double it. Which day was last is asked of the log
once, at start; after an outage the missing days are appended in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import islice

import asyncpg
import structlog

from services.ingestion.domain.days import due_dates, next_midnight
from services.ingestion.handlers.decide import SOURCE
from shared.access.directory import Tenant, every_tenant
from shared.eventlog.model import LogWriter
from shared.events.catalogue import CATALOGUE
from shared.events.feeds import CalendarAdvanced
from shared.events.record import Assertion, Context, Draft, draft_fact
from shared.kernel.identity import id_hash
from shared.kernel.periods import instant_of, local_date
from shared.runtime.clock import Clock

_TYPE = CATALOGUE["calendar.advanced.v1"]
_ACTOR = "service:ingestion"
_LOOK_S = 30.0
"""At least so often: tenants are made by other processes too."""
_BACKOFF_S = 1.0
_AT_ONCE = 400
"""Days in one append, and ids in one question: a little more than a year."""

logger = structlog.get_logger(__name__)


def _id(zone: str, day: date) -> str:
    return f"calendar/{zone}/{day.isoformat()}"


def _day(tenant: str, zone: str, day: date) -> Draft:
    midnight = instant_of(day, zone)
    return draft_fact(
        _TYPE,
        tenant=tenant,
        source=SOURCE,
        record_id=_id(zone, day),
        time=midnight,
        data=CalendarAdvanced(zone=zone, date=day),
        assertion=Assertion(midnight),
        context=Context(_ACTOR),
    )


async def begin(writer: LogWriter, tenant: Tenant, now: datetime) -> None:
    """Append the day that it is for a new tenant."""
    await advance(writer, tenant, due_dates(None, now, tenant.time_zone))


async def advance(writer: LogWriter, tenant: Tenant, days: Sequence[date]) -> None:
    """Append days, in order."""
    for chunk in _chunks(days):
        await writer.append([_day(tenant.tenant, tenant.time_zone, day) for day in chunk])


def _chunks(days: Sequence[date]) -> Iterator[list[date]]:
    rest = iter(days)
    while chunk := list(islice(rest, _AT_ONCE)):
        yield chunk


class Calendar:
    """Runs for all tenants of the cell, on the ``_work`` pool."""

    def __init__(self, pool: asyncpg.Pool, writer: LogWriter, clock: Clock) -> None:
        self._pool = pool
        self._writer = writer
        self._clock = clock
        self._last: dict[str, date] = {}
        self.fault: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pause_s = await self.turn()
                self.fault = None
            except Exception as error:
                # Whatever it was, the day is appended as soon as it is over.
                self.fault = f"{type(error).__name__}: {error}"
                logger.warning("calendar waits", fault=self.fault)
                pause_s = _BACKOFF_S
            await self._clock.sleep(pause_s)

    async def turn(self) -> float:
        """Append every day that has begun; the seconds until the next look."""
        now = self._clock.now()
        pause_s = _LOOK_S
        async for tenant in every_tenant(self._pool):
            last = self._last.get(tenant.tenant) or await self._last_of(tenant, now)
            days = due_dates(last, now, tenant.time_zone)
            if days:
                await advance(self._writer, tenant, days)
                last = days[-1]
                logger.info("calendar advanced", tenant=tenant.tenant, date=last.isoformat(), days=len(days))
            assert last is not None
            self._last[tenant.tenant] = last
            pause_s = min(pause_s, (next_midnight(now, tenant.time_zone) - now).total_seconds())
        return max(pause_s, 0.001)

    async def _last_of(self, tenant: Tenant, now: datetime) -> date | None:
        """The last day that the log has of a tenant; asked backwards, as far as the tenant exists."""
        day = local_date(now, tenant.time_zone) + timedelta(days=1)
        oldest = local_date(tenant.created_at, tenant.time_zone) - timedelta(days=1)
        while day >= oldest:
            candidates = [day - timedelta(days=n) for n in range(_AT_ONCE)]
            ids = {id_hash(tenant.tenant, SOURCE, _id(tenant.time_zone, each)): each for each in candidates}
            found = await self._pool.fetch(
                "SELECT id_hash FROM log.identity WHERE topic = $1 AND id_hash = ANY($2)", _TYPE.topic, list(ids)
            )
            if found:
                return max(ids[row[0]] for row in found)
            day -= timedelta(days=_AT_ONCE)
        return None
