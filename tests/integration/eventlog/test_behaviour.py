"""The behaviour suite on the log in memory and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from shared.eventlog.memory import MemoryLog
from shared.eventlog.model import Outcome
from shared.eventlog.postgres import Appender, PostgresLog, TenantLog, append_in
from shared.events.record import Draft
from shared.runtime.database import open_pool
from tests.conftest import Database
from tests.integration.eventlog.behaviour import Log, LogBehaviour


class SetClock:
    """A clock that a test sets; it moves a microsecond each time it is read."""

    def __init__(self) -> None:
        self.present = datetime(2026, 6, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.present += timedelta(microseconds=1)
        return self.present

    def monotonic(self) -> float:
        return self.present.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.present += timedelta(seconds=seconds)


@dataclass
class InMemory(Log):
    clock: SetClock
    memory: MemoryLog

    def only(self, tenant: str) -> MemoryLog:
        return self.memory.only(tenant)

    def now(self) -> datetime:
        return self.clock.now()

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[Any]:
        yield _MemoryTransaction(self.memory)

    async def age(self, by: timedelta) -> None:
        self.clock.present += by


@dataclass
class _MemoryTransaction:
    memory: MemoryLog

    async def append_in(self, drafts: Sequence[Draft], floor: datetime | None) -> list[Outcome]:
        return self.memory.append_in(drafts, floor)


class TestMemory(LogBehaviour):
    @pytest.fixture
    def log(self) -> Log:
        clock = SetClock()
        memory = MemoryLog(clock)
        return InMemory(usage=memory, settings=memory, reader=memory, clock=clock, memory=memory)


@dataclass
class InPostgres(Log):
    admin: str
    api: asyncpg.Pool
    matching: asyncpg.Pool

    def only(self, tenant: str) -> TenantLog:
        return TenantLog(self.api, tenant)

    def now(self) -> datetime:
        return datetime.now(UTC)

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[Any]:
        async with self.matching.acquire() as connection, connection.transaction():
            yield _PostgresTransaction(connection)

    async def age(self, by: timedelta) -> None:
        connection = await asyncpg.connect(self.admin)
        # The administrator alone can: a superuser may switch triggers off.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE log.record SET recorded_at = recorded_at - $1::interval", by)
        await connection.close()


@dataclass
class _PostgresTransaction:
    connection: Any

    async def append_in(self, drafts: Sequence[Draft], floor: datetime | None) -> list[Outcome]:
        return await append_in(self.connection, drafts, floor)


class TestPostgres(LogBehaviour):
    @pytest_asyncio.fixture
    async def log(self, database: Database) -> AsyncIterator[Log]:
        api = await open_pool(database.login("ingestion_api"), name="test")
        work = await open_pool(database.login("ingestion_work"), name="test")
        matching = await open_pool(database.login("matching_work"), name="test")
        async with Appender(api, "usage") as usage, Appender(api, "settings") as settings:
            yield InPostgres(
                usage=usage,
                settings=settings,
                reader=PostgresLog(work),
                admin=database.admin,
                api=api,
                matching=matching,
            )
        for pool in (api, work, matching):
            await pool.close()
