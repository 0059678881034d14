"""What the database itself refuses, whatever a service or its owner asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from shared.eventlog.checks import BLOCK, SettingsRefused, check_settings, keep_room
from shared.eventlog.model import Epoch, Verdict
from shared.eventlog.postgres import Appender, LogGap, PostgresLog, append_in, epoch
from shared.events.catalogue import PARTITIONS, WRITERS, setting_stream
from shared.runtime.database import open_pool
from shared.runtime.migrate import logins
from tests.conftest import Database
from tests.integration.eventlog.records import command, fact

TABLES = ("record", "identity", "stream")
REFUSED = asyncpg.InsufficientPrivilegeError


@pytest_asyncio.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.admin)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def filled(database: Database) -> Database:
    """Facts and commands of two tenants."""
    connection = await asyncpg.connect(database.login("ingestion_work"))
    for tenant in ("acme", "zeta"):
        await append_in(connection, [fact(n, tenant=tenant) for n in range(30)], None)
        await append_in(connection, command("a", 0, name="c1", tenant=tenant), None)
    await connection.close()
    return database


async def leaves(admin: asyncpg.Connection) -> list[str]:
    rows = await admin.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relnamespace = 'log'::regnamespace"
        " AND c.relispartition AND c.relkind = 'r'"
    )
    return [row["name"] for row in rows]


def changes(table: str) -> list[str]:
    return [f"UPDATE {table} SET position = position", f"DELETE FROM {table}", f"TRUNCATE {table}"]


# Append-only


async def test_no_login_may_write_any_table_of_the_log(filled: Database, admin: asyncpg.Connection) -> None:
    named_directly = await leaves(admin)
    every = [*(f"log.{table}" for table in (*TABLES, "head", "relay")), *named_directly]
    for login in logins():
        session = await asyncpg.connect(filled.login(login.removeprefix("plumbline_")))
        for table in every:
            for statement in (*changes(table), f"INSERT INTO {table} DEFAULT VALUES"):
                with pytest.raises(REFUSED):
                    await session.execute(statement)
        for leaf in named_directly:
            with pytest.raises(REFUSED):
                await session.execute(f"SELECT FROM {leaf}")
        await session.close()


@pytest.mark.parametrize("role", ["log_owner", "plumbline"])
async def test_not_even_the_owner_changes_a_record(filled: Database, admin: asyncpg.Connection, role: str) -> None:
    """Triggers stand behind the privileges, on each partition too. (A superuser could switch them off; the seals of
    the audit are what shows that.)"""
    await admin.execute(f"SET ROLE {role}")
    for table in ("log.record", "log.record_usage", "log.record_usage_0", "log.identity", "log.stream"):
        for statement in changes(table):
            with pytest.raises(REFUSED, match="append-only"):
                await admin.execute(statement)
    for leaf in await leaves(admin):
        with pytest.raises(REFUSED, match="append-only"):
            await admin.execute(f"TRUNCATE {leaf}")


async def test_only_a_topics_writer_appends_and_relays(filled: Database) -> None:
    for login in ("matching_work", "matching_api", "notification_work"):
        session = await asyncpg.connect(filled.login(login))
        with pytest.raises(REFUSED, match="does not write topic usage"):
            await append_in(session, [fact("forged")], None)
        with pytest.raises(REFUSED, match="does not write topic usage"):
            await session.execute("SELECT log.lease_take('usage', 'me', interval '10 s')")
        with pytest.raises(REFUSED, match="does not write topic usage"):
            await session.execute("SELECT log.relay_move('usage', 1::bigint, '{0}', '{0}', '{1}')")
        await session.close()


async def test_helpers_of_the_owner_are_closed_to_services(database: Database) -> None:
    session = await asyncpg.connect(database.login("ingestion_work"))
    for call in ("log.add_topic('x', 'plumbline_ingestion')", "log.close_leaf('log.head')", "log.must_write('usage')"):
        with pytest.raises(REFUSED):
            await session.execute(f"SELECT {call}")
    await session.close()


async def test_the_tables_of_topics_and_of_the_catalogue_are_one(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch("SELECT topic, writer, partitions FROM log.topic")
    assert {row["topic"]: row["writer"] for row in rows} == {
        t: f"plumbline_{service}" for t, service in WRITERS.items()
    }
    assert {row["partitions"] for row in rows} == {PARTITIONS}
    for table in ("head", "relay"):
        marks = await admin.fetch(f"SELECT topic, partition, position FROM log.{table}")
        assert {(m[0], m[1], m[2]) for m in marks} == {(topic, n, 0) for topic in WRITERS for n in range(PARTITIONS)}


# Tenants apart (log.record is attacked by the catalogue in test_isolation)


@pytest.mark.parametrize("setting", [None, "", "ACME", "acme' OR '1'='1"])
async def test_identities_and_streams_show_under_no_forged_setting(filled: Database, setting: str | None) -> None:
    session = await asyncpg.connect(filled.login("ingestion_api"))
    async with session.transaction():
        if setting is not None:
            await session.execute("SELECT set_config('plumbline.tenant', $1, true)", setting)
        for table in TABLES:
            assert await session.fetchval(f"SELECT count(*) FROM log.{table}") == 0
    await session.close()


async def test_a_tenant_sees_its_own_identities_and_streams_alone(filled: Database) -> None:
    session = await asyncpg.connect(filled.login("ingestion_api"))
    async with session.transaction():
        await session.execute("SELECT set_config('plumbline.tenant', 'acme', true)")
        assert await session.fetchval("SELECT count(*) FROM log.identity") == 31
        streams = await session.fetch("SELECT stream FROM log.stream")
        assert [row["stream"] for row in streams] == [setting_stream("acme", "a")]
        known = fact(1, tenant="zeta").id_hash
        assert await session.fetchval("SELECT count(*) FROM log.identity WHERE id_hash = $1", known) == 0
    assert await session.fetchval("SELECT count(*) FROM log.identity") == 0
    await session.close()


async def test_a_reader_that_does_not_see_every_record_says_so(filled: Database) -> None:
    pool = await open_pool(filled.login("ingestion_api"), name="test")
    partition = fact(1, tenant="zeta").partition
    async with pool.acquire() as session, session.transaction():
        await session.execute("SELECT set_config('plumbline.tenant', 'zeta', true)")

        class OfThisSession:
            def acquire(self) -> Any:
                return _as_it_is(session)

        with pytest.raises(LogGap, match="expected position 1"):
            await PostgresLog(OfThisSession()).page("usage", partition, 0, 100)  # type: ignore[arg-type]
    await pool.close()


class _as_it_is:
    def __init__(self, session: Any) -> None:
        self.session = session

    async def __aenter__(self) -> Any:
        return self.session

    async def __aexit__(self, *_: object) -> None:
        pass


# Room


async def test_records_go_on_from_one_block_into_the_next(database: Database, admin: asyncpg.Connection) -> None:
    await admin.execute("UPDATE log.head SET position = $1 WHERE topic = 'usage'", BLOCK - 2)
    session = await asyncpg.connect(database.login("ingestion_work"))
    outcomes = await append_in(session, [fact(n, account="one") for n in range(3)], None)
    assert [o.place.position for o in outcomes if o.place] == [BLOCK - 1, BLOCK, BLOCK + 1]
    assert await admin.fetchval("SELECT count(*) FROM log.record_usage_1") == 2
    await session.close()


async def test_room_is_made_one_block_ahead_and_closed_like_the_first(
    database: Database, admin: asyncpg.Connection
) -> None:
    await admin.execute("UPDATE log.head SET position = $1 WHERE topic = 'usage' AND partition = 3", 2 * BLOCK + 5)
    session = await asyncpg.connect(database.login("matching_api"))
    assert await session.fetchval("SELECT log.ensure_room()") == 2 * BLOCK - 6
    assert {"log.record_usage_2", "log.record_usage_3"} <= set(await leaves(admin))
    for statement in changes("log.record_usage_3")[2:]:
        with pytest.raises(REFUSED, match="append-only"):
            await admin.execute(statement)
    await admin.execute("SELECT log.ensure_room()")
    assert "log.record_usage_4" not in await leaves(admin)
    await session.close()


async def test_room_is_made_while_others_append_and_read(database: Database, admin: asyncpg.Connection) -> None:
    """ATTACH does not wait for them, nor they for it."""
    await admin.execute("UPDATE log.head SET position = $1 WHERE topic = 'usage' AND partition = 3", 2 * BLOCK + 5)
    writer = await asyncpg.connect(database.login("ingestion_work"))
    other = await asyncpg.connect(database.login("ingestion_work"))
    async with writer.transaction():
        await append_in(writer, [fact(1, account="one")], None)
        await asyncio.wait_for(other.fetchval("SELECT log.ensure_room()"), 5)
    await writer.close()
    await other.close()


async def test_keeping_room_survives_a_database_that_is_away(database: Database) -> None:
    turns: list[float] = []

    class Clock:
        async def sleep(self, seconds: float) -> None:
            turns.append(seconds)
            if len(turns) == 2:
                raise asyncio.CancelledError
            await pool.close()

    pool = await open_pool(database.login("ingestion_work"), name="test")
    with suppress(asyncio.CancelledError):
        await keep_room(pool, Clock())  # type: ignore[arg-type]
    assert len(turns) == 2


# Leases and marks


async def test_a_lease_is_renewed_with_its_token_and_taken_over_with_a_new_one(database: Database) -> None:
    session = await asyncpg.connect(database.login("ingestion_work"))

    async def take(owner: str, seconds: float) -> int | None:
        token: int | None = await session.fetchval(
            "SELECT log.lease_take('usage', $1, $2)", owner, timedelta(seconds=seconds)
        )
        return token

    assert [await take("a", 10), await take("a", 0), await take("b", 10), await take("a", 10)] == [1, 1, 2, None]
    await session.execute("SELECT log.lease_release('usage', 'a')")
    assert await take("a", 10) is None
    await session.execute("SELECT log.lease_release('usage', 'b')")
    assert await take("a", 10) == 3
    await session.close()


async def test_a_mark_moves_forward_from_where_it_is_by_the_holder_alone(database: Database) -> None:
    session = await asyncpg.connect(database.login("ingestion_work"))

    async def move(token: int, partitions: list[int], old: list[int], new: list[int]) -> int:
        moved: int = await session.fetchval(
            "SELECT log.relay_move('usage', $1, $2, $3, $4)", token, partitions, old, new
        )
        return moved

    await session.execute("SELECT log.lease_take('usage', 'a', interval '0 s')")
    assert await move(1, [0, 1], [0, 0], [5, 7]) == 2
    assert await move(1, [0, 1], [0, 7], [9, 9]) == 1
    assert await move(1, [1], [9], [8]) == 0
    await session.execute("SELECT log.lease_take('usage', 'b', interval '10 s')")
    assert await move(1, [0], [5], [6]) == 0
    assert await move(2, [0], [5], [6]) == 1
    marks = await session.fetch(
        "SELECT position FROM log.relay WHERE topic = 'usage' AND partition < 2 ORDER BY partition"
    )
    assert [mark["position"] for mark in marks] == [6, 9]
    await session.close()


# At start


async def test_the_embedded_database_is_accepted_without_advice(database: Database) -> None:
    session = await asyncpg.connect(database.login("matching_work"))
    assert await check_settings(session) == []
    assert await epoch(session) == Epoch(epoch=1, generation=1)
    await session.close()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("synchronous_commit", "off", "synchronous_commit = off"),
        ("synchronous_commit", "local", "synchronous_commit = local"),
        ("default_transaction_isolation", "repeatable read", "default_transaction_isolation = repeatable read"),
    ],
)
async def test_a_session_that_could_lose_a_record_is_refused(
    database: Database, setting: str, value: str, words: str
) -> None:
    session = await asyncpg.connect(database.login("matching_work"), server_settings={setting: value})
    with pytest.raises(SettingsRefused, match=words):
        await check_settings(session)
    await session.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE log.meta SET timeline = 7", "timeline 1, its log was written on timeline 7"),
        ("UPDATE log.meta SET partitions = 6", "6 partitions"),
        (
            "ALTER TABLE log.topic DISABLE TRIGGER ALL; DELETE FROM log.topic WHERE topic = 'usage'",
            "lacks the topics usage",
        ),
    ],
)
async def test_a_log_that_is_not_this_releases_is_refused(admin: asyncpg.Connection, change: str, words: str) -> None:
    await admin.execute(change)
    with pytest.raises(SettingsRefused, match=words):
        await check_settings(admin)


async def test_an_append_survives_the_death_of_its_connection(database: Database, admin: asyncpg.Connection) -> None:
    pool = await open_pool(database.login("ingestion_api"), name="dying", size=2)
    async with Appender(pool, "usage") as usage:
        await usage.append([fact("first")])

        async def kill() -> None:
            for _ in range(20):
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dying'"
                )
                await asyncio.sleep(0.02)

        killing = asyncio.create_task(kill())
        answers = [await usage.append([fact(n)]) for n in range(100)]
        await killing
    assert {answer[0].verdict for answer in answers} <= {Verdict.STORED, Verdict.DUPLICATE}
    assert sum(await admin.fetchval("SELECT array_agg(position) FROM log.head")) == 101
    await pool.close()
