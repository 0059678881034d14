"""Work stays in proportion to what is asked for, although plans are made while the tables are all but empty."""

from __future__ import annotations

import asyncpg
import pytest

from shared.eventlog.postgres import PostgresLog, TenantLog, append_in
from shared.events.catalogue import PARTITIONS
from shared.runtime.database import open_pool
from tests.conftest import Database
from tests.integration.eventlog.records import command, derived, fact


async def rows_read(admin: asyncpg.Connection, tables: str) -> int:
    """Rows that scans of any kind have read from the tables whose names begin so, committed sessions only."""
    await admin.execute("SELECT pg_stat_clear_snapshot()")
    return int(
        await admin.fetchval(
            "SELECT coalesce(sum(s.seq_tup_read + coalesce(i.read, 0)), 0) FROM pg_stat_all_tables s"
            " LEFT JOIN LATERAL (SELECT sum(greatest(x.idx_tup_read, x.idx_tup_fetch)) AS read"
            " FROM pg_stat_all_indexes x WHERE x.relid = s.relid) i ON true"
            " WHERE s.schemaname = 'log' AND s.relname LIKE $1 || '%'",
            tables,
        )
    )


async def settled(session: asyncpg.Connection) -> None:
    await session.execute("SELECT pg_stat_force_next_flush()")


@pytest.fixture
def login(database: Database) -> str:
    return database.login("ingestion_work")


async def test_an_append_reads_no_more_of_a_long_log_than_of_a_short_one(database: Database, login: str) -> None:
    pool = await open_pool(login, name="test", size=1)
    admin = await asyncpg.connect(database.admin)
    async with pool.acquire() as session:
        await append_in(session, [fact(f"first-{n}") for n in range(60)], None)
        await admin.execute("ANALYZE log.record, log.identity, log.stream")
        for group in range(40):
            await append_in(session, [fact(f"{group}-{n}") for n in range(50)], None)
            for n in range(2):
                await append_in(session, command(f"key-{group}-{n}", 0, name=f"{group}-{n}"), None)
        await settled(session)
    # Every identity is looked up once, and none is found.
    assert await rows_read(admin, "identity_") <= 60
    assert await rows_read(admin, "stream_") <= 60
    await admin.close()
    await pool.close()


async def test_pages_read_each_record_once(database: Database, login: str) -> None:
    pool = await open_pool(login, name="test", size=1)
    admin = await asyncpg.connect(database.admin)
    log = PostgresLog(pool)
    partition = fact(0, account="one").partition
    async with pool.acquire() as session:
        await append_in(session, [fact(f"first-{n}", account="one") for n in range(60)], None)
    await admin.execute("ANALYZE log.record")
    for _ in range(10):
        await log.page("usage", partition, 0, 10)
    async with pool.acquire() as session:
        await append_in(session, [fact(n, account="one") for n in range(3_000)], None)
        await settled(session)
    before = await rows_read(admin, "record_")
    for after in range(0, 3_060, 100):
        await log.page("usage", partition, after, 100)
    async with pool.acquire() as session:
        await settled(session)
    assert await rows_read(admin, "record_") - before <= 3_060 + 31
    await admin.close()
    await pool.close()


async def test_a_small_tenants_tail_does_not_read_the_others_records(database: Database, login: str) -> None:
    work = await open_pool(login, name="test", size=1)
    api = await open_pool(database.login("ingestion_api"), name="test", size=1)
    admin = await asyncpg.connect(database.admin)
    async with work.acquire() as session:
        for n in range(4):
            drafts = [fact(f"{n}-{m}", tenant="large") for m in range(1_000)]
            await append_in(session, [*drafts, fact(n, tenant="small")], None)
        await settled(session)
    await admin.execute("ANALYZE log.record")
    before = await rows_read(admin, "record_")
    records, _ = await TenantLog(api, "small").tail("usage", [0] * PARTITIONS, 50)
    async with api.acquire() as session:
        await settled(session)
    assert len(records) == 4
    assert await rows_read(admin, "record_") - before <= 50
    await admin.close()
    for pool in (work, api):
        await pool.close()


async def test_a_stream_is_read_by_its_own_records(database: Database) -> None:
    pool = await open_pool(database.login("matching_work"), name="test", size=1)
    admin = await asyncpg.connect(database.admin)
    async with pool.acquire() as session:
        for version in range(3):
            await append_in(session, [derived(f"client-{n}", version) for n in range(500)], None)
        await settled(session)
    before = await rows_read(admin, "record_")
    stream = derived("client-7", 0).stream
    assert stream is not None
    assert len(await PostgresLog(pool).stream("discrepancies", stream)) == 3
    async with pool.acquire() as session:
        await settled(session)
    assert await rows_read(admin, "record_") - before <= 10
    await admin.close()
    await pool.close()
