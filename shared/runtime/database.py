"""Connections to PostgreSQL: the pools of a service and the transaction of a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
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


async def open_pool(url: str, *, name: str, size: int = 8) -> asyncpg.Pool:
    """A pool of at most ``size`` connections that carries ``name`` as application_name and the session bounds."""
    return await asyncpg.create_pool(
        url, min_size=1, max_size=size, command_timeout=30, server_settings={**SESSION, "application_name": name}
    )


@asynccontextmanager
async def tenant_transaction(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[Any]:
    """A transaction that sees one tenant: row-level security reads the setting, which ends with the transaction."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('plumbline.tenant', $1, true)", tenant)
        yield connection
