"""Invariant I9, for any schema: no ``_api`` role reads or writes another tenant's row, whatever it asks and sets.

:func:`violations` looks at every table with a column ``tenant``, puts a row of each of two tenants into it (on a
throw-away database: it drops what would refuse an invented row) and then attacks it from every ``_api`` role. Roles
are judged by what happens, not by what is granted.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.runtime.migrate import SERVICES
from tests.conftest import Database

MINE, OTHER = "tenant-a", "tenant-b"
_FORGED = (None, "", OTHER.upper(), f"{OTHER}' OR '1'='1", f"{OTHER}\x01", "%", "*")
"""Settings under which nothing may be seen; ``None``: none at all."""

_TABLES = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, c.relispartition AS leaf,
       c.relrowsecurity AND c.relforcerowsecurity AS closed,
       EXISTS (SELECT 1 FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped) AS tenant
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') ORDER BY c.relispartition, c.relname"""
_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, t.typtype::text AS kind, a.atttypid AS oid
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
   AND a.attgenerated = '' AND a.attidentity <> 'a'
 ORDER BY a.attnum"""
_CHECKS = """
SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('c', 'f') AND conislocal"""
_OPEN_VIEWS = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('v', 'm') AND has_table_privilege($2, c.oid, 'SELECT')
   AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)"""

# One value of each type; %d differs by row, so that unique keys hold.
_VALUES: dict[str, str] = {
    "text": "'x%d'",
    "character varying": "'x%d'",
    "character": "'x'",
    "name": "'x%d'",
    '"char"': "'x'",
    "uuid": "gen_random_uuid()",
    "bytea": "'\\x0%d'",
    "smallint": "%d",
    "integer": "%d",
    "bigint": "%d",
    "numeric": "%d",
    "double precision": "%d",
    "boolean": "false",
    "date": "date '2026-01-01' + %d",
    "timestamp with time zone": "timestamptz '2026-01-01' + %d * interval '1 day'",
    "interval": "%d * interval '1 s'",
    "jsonb": "'{}'",
    "json": "'{}'",
}


@dataclass(frozen=True)
class _Table:
    schema: str
    name: str
    partitioned: bool

    def __str__(self) -> str:
        return f'"{self.schema}"."{self.name}"'


async def violations(database: Database, schema: str) -> list[str]:
    """Everything in ``schema`` that is open to another tenant, in words; empty is what it has to be."""
    admin = await asyncpg.connect(database.admin)
    found: list[str] = []
    try:
        rows = [row for row in await admin.fetch(_TABLES, schema) if row["tenant"]]
        found += [
            f"{schema}.{row['name']}: row security is not enabled and forced" for row in rows if not row["closed"]
        ]
        tables = [_Table(schema, row["name"], row["kind"] == "p") for row in rows if not row["leaf"]]
        leaves = [_Table(schema, row["name"], False) for row in rows if row["leaf"]]
        for table in tables:
            await _populate(admin, table)
        for service in SERVICES:
            role = f"{service}_api"
            for view in await admin.fetch(_OPEN_VIEWS, schema, f"plumbline_{role}"):
                found.append(f"{role} reads {schema}.{view['relname']}, which runs as its owner")
            session = await asyncpg.connect(database.login(role))
            try:
                for table in tables:
                    found += [f"{role} on {table}: {what}" for what in await _attack(session, admin, table)]
                for leaf in leaves:
                    found += [f"{role} on {leaf}: {what}" for what in await _attack_leaf(session, leaf)]
            finally:
                await session.close()
    finally:
        await admin.close()
    return found


async def _populate(admin: asyncpg.Connection, table: _Table) -> None:
    """A row of each tenant."""
    for constraint in await admin.fetch(_CHECKS, str(table)):
        await admin.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{constraint["conname"]}"')
    if table.partitioned:
        await admin.execute(f'CREATE TABLE "{table.schema}"."{table.name}_attacked" PARTITION OF {table} DEFAULT')
    columns = await admin.fetch(_COLUMNS, str(table))
    names = ", ".join(f'"{column["name"]}"' for column in columns)
    for n, tenant in enumerate((MINE, OTHER), 1):
        values = [f"'{tenant}'" if column["name"] == "tenant" else await _value(admin, column, n) for column in columns]
        async with admin.transaction():
            # Foreign keys to other rooms and triggers: an invented row need not please them.
            await admin.execute("SET LOCAL session_replication_role = replica")
            await admin.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(values)})")


async def _value(admin: asyncpg.Connection, column: Any, n: int) -> str:
    if column["type"].endswith("[]"):
        return "'{}'"
    if column["kind"] == "e":
        label = await admin.fetchval("SELECT enumlabel FROM pg_enum WHERE enumtypid = $1 LIMIT 1", column["oid"])
        return f"'{label}'"
    value = _VALUES[column["type"]]
    return value % n if "%d" in value else value


@asynccontextmanager
async def _as(session: asyncpg.Connection, setting: str | None) -> AsyncIterator[None]:
    """A transaction under a tenant's setting; whatever it did is undone."""
    transaction = session.transaction()
    await transaction.start()
    try:
        if setting is not None:
            await session.execute("SELECT set_config('plumbline.tenant', $1, true)", setting)
        yield
    finally:
        await transaction.rollback()


async def _tenants(session: asyncpg.Connection, query: str) -> set[str]:
    """The tenants that a query tells of; a refusal tells of none."""
    try:
        async with session.transaction():
            return {row[0] for row in await session.fetch(query)}
    except asyncpg.InsufficientPrivilegeError:
        return set()


async def _attack(session: asyncpg.Connection, admin: asyncpg.Connection, table: _Table) -> list[str]:
    found: list[str] = []
    # A new session has no setting; after a transaction that had one it is '', which is another case.
    for setting in _FORGED:
        async with _as(session, setting):
            if seen := await _tenants(session, f"SELECT tenant FROM {table}"):
                found.append(f"reads {sorted(seen)} with the setting {setting!r}")
    async with _as(session, MINE):
        for query in (
            f"SELECT tenant FROM {table}",
            f"SELECT tenant FROM {table} WHERE tenant = '{OTHER}' OR true",
            f"SELECT t.tenant FROM {table} t JOIN {table} o ON o.tenant <> t.tenant",
            f"DELETE FROM {table} RETURNING tenant",
        ):
            if OTHER in await _tenants(session, query):
                found.append(f"reaches {OTHER} as {MINE} by {query}")
    found += await _attack_by_writing(session, admin, table)
    return found


async def _attack_by_writing(session: asyncpg.Connection, admin: asyncpg.Connection, table: _Table) -> list[str]:
    """Rows put under another tenant's name, moved there, changed or taken away.

    Statements without WHERE and RETURNING need no right to read, and meet the policies of writing alone.
    """
    columns = await admin.fetch(_COLUMNS, str(table))
    names = ", ".join(f'"{column["name"]}"' for column in columns)
    new = {column["name"]: await _value(admin, column, 3) for column in columns} | {"tenant": f"'{OTHER}'"}
    reaching = [f'UPDATE {table} SET "{name}" = {value}' for name, value in new.items() if name != "tenant"]
    reaching.append(f"DELETE FROM {table}")
    moving = [
        f"INSERT INTO {table} ({names}) VALUES ({', '.join(new.values())})",
        f"INSERT INTO {table} (tenant) VALUES ('{OTHER}')",
        f"UPDATE {table} SET tenant = '{OTHER}'",
        f"TRUNCATE {table}",
    ]
    found: list[str] = []
    for setting, own_rows in ((None, 0), ("", 0), (MINE, 1)):
        for attempt in (*reaching, *moving):
            async with _as(session, setting):
                if await _rows_changed(session, attempt) > (own_rows if attempt in reaching else 0):
                    found.append(f"with the setting {setting!r} succeeds with {attempt}")
    return found


async def _rows_changed(session: asyncpg.Connection, statement: str) -> float:
    try:
        async with session.transaction():
            status = await session.execute(statement)
    except asyncpg.InsufficientPrivilegeError:  # also what a policy's refusal of a row is
        return 0
    except asyncpg.IntegrityConstraintViolationError:
        # The rows passed the policy and fell over something else: they would have been written.
        return math.inf
    return math.inf if status.startswith("TRUNCATE") else int(status.rsplit(" ", 1)[1])


async def _attack_leaf(session: asyncpg.Connection, leaf: _Table) -> list[str]:
    """A policy on the parent does not hold for a partition named directly: it must be refused altogether."""
    found: list[str] = []
    async with _as(session, MINE):
        for statement in _leaf_statements(leaf):
            try:
                async with session.transaction():
                    await session.execute(statement)
                found.append(f"is let in by {statement}")
            except asyncpg.InsufficientPrivilegeError:
                pass
    return found


def _leaf_statements(leaf: _Table) -> Sequence[str]:
    return (
        f"SELECT FROM {leaf} LIMIT 1",
        f"UPDATE {leaf} SET tenant = tenant",
        f"DELETE FROM {leaf}",
        f"TRUNCATE {leaf}",
    )
