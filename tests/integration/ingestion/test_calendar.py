"""Days of the calendar: one each, in order, whoever appends them and however long nobody did."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from services.ingestion.calendar import Calendar
from shared.eventlog.postgres import Appender
from shared.runtime.database import open_pool
from tests.integration.ingestion.conftest import House, Ingestion, ShiftedClock

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(house: House) -> AsyncIterator[list[Calendar]]:
    """Two calendars that know nothing of each other, as after a start of two processes."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(house.database.login("ingestion_work"), name="test-work")
        stack.push_async_callback(pool.close)
        writers = [await stack.enter_async_context(Appender(pool, "feeds")) for _ in range(2)]
        yield [Calendar(pool, writer, house.clock) for writer in writers]


def at(clock: ShiftedClock, text: str) -> None:
    clock.fixed = datetime.fromisoformat(text).astimezone(UTC)


async def days(ingestion: Ingestion) -> list[str]:
    rows = await ingestion.of("log.record", "body", "partition, position")
    return [json.loads(body)["data"]["date"] for (body,) in rows]


async def test_each_local_midnight_is_appended_once_by_two_replicas(
    ingestion: Ingestion, replicas: list[Calendar]
) -> None:
    at(ingestion.clock, "2026-12-01T12:00:00+01:00")
    await asyncio.gather(*(calendar.turn() for calendar in replicas))
    at(ingestion.clock, "2026-12-01T23:59:59+01:00")
    assert 0 < await replicas[0].turn() <= 1
    assert await days(ingestion) == ["2026-12-01"]
    at(ingestion.clock, "2026-12-02T00:00:00+01:00")
    await asyncio.gather(*(calendar.turn() for calendar in replicas))
    assert await days(ingestion) == ["2026-12-01", "2026-12-02"]
    [row, _] = await ingestion.of("log.record", "topic, convert_from(body, 'UTF8')::jsonb AS body", "position")
    body = json.loads(row["body"])
    assert (row["topic"], body["id"]) == ("feeds", "calendar/Europe/Berlin/2026-12-01")
    assert (body["time"], body["source"], body["actor"]) == (
        "2026-11-30T23:00:00Z", "plumbline.ingestion", "service:ingestion",
    )  # fmt: skip


async def test_after_an_outage_the_missing_days_follow_in_order(ingestion: Ingestion, replicas: list[Calendar]) -> None:
    at(ingestion.clock, "2026-12-05T12:00:00+01:00")
    await replicas[0].turn()
    at(ingestion.clock, "2028-01-03T12:00:00+01:00")
    # The second one starts anew: it asks the log how far the first one got.
    await asyncio.gather(*(calendar.turn() for calendar in replicas))
    found = await days(ingestion)
    assert found == sorted(set(found))
    assert (found[0], found[1], found[-1], len(found)) == ("2026-12-05", "2026-12-06", "2028-01-03", 395)


async def test_a_clock_set_back_takes_nothing_back(ingestion: Ingestion, replicas: list[Calendar]) -> None:
    at(ingestion.clock, "2026-12-05T12:00:00+01:00")
    await replicas[0].turn()
    at(ingestion.clock, "2026-12-04T12:00:00+01:00")
    for calendar in replicas:
        await calendar.turn()
    assert await days(ingestion) == ["2026-12-05"]


async def test_a_calendar_goes_on_when_the_database_is_back(ingestion: Ingestion, replicas: list[Calendar]) -> None:
    waits: list[float] = []

    class Waiting(ShiftedClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                raise asyncio.CancelledError

    class Away:
        def __init__(self) -> None:
            self.calls = 0

        async def fetch(self, *args: object) -> list[asyncpg.Record]:
            self.calls += 1
            if self.calls == 1:
                raise ConnectionRefusedError
            rows: list[asyncpg.Record] = await ingestion.parts.pool.fetch(*args)
            return rows

    clock = Waiting()
    calendar = Calendar(Away(), ingestion.parts.writers["feeds"], clock)  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await calendar.run()
    assert calendar.fault is None
    assert waits[0] == 1.0
    assert len(await days(ingestion)) == 1
