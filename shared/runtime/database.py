"""Connections to PostgreSQL: the pools of a service and the transaction of a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

# Bounds from protocols.md section 6: whoever holds a lock and goes silent loses it, so that another can take over.
SESSION: dict[str, str] = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "30s",
    "client_connection_check_interval": "1s",
    "search_path": "pg_catalog",
    # Plans are made while tables are small and kept while they grow; where an index serves, it is right for both.
    "enable_seqscan": "off",
}


BY_KEY: dict[str, str] = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_material": "off"}
"""For pools whose every question is a walk along keys: a join that reads a whole table is then never planned, not even
while the table is small."""


async def open_pool(url: str, *, name: str, size: int = 8, settings: Mapping[str, str] | None = None) -> asyncpg.Pool:
    """A pool of at most ``size`` connections that carries ``name`` as application_name, the session bounds and further
    settings of PostgreSQL."""
    server_settings = {**SESSION, **(settings or {}), "application_name": name}
    return await asyncpg.create_pool(
        url, min_size=1, max_size=size, command_timeout=30, server_settings=server_settings, reset=_as_it_is
    )


async def _as_it_is(connection: Any) -> None:
    """What a returned connection needs besides the end of its transaction: nothing. Whatever is set, locked or listened
    to here is bound to a transaction, and asking for a reset every time costs as much as a small question."""


@asynccontextmanager
async def tenant_transaction(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[Any]:
    """A transaction that sees one tenant: row-level security reads the setting, which ends with the transaction."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('plumbline.tenant', $1, true)", tenant)
        yield connection
