"""Tenants and keys, as the administrator makes, lists and revokes them, by the functions of schema ``access``."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from shared.access.tokens import NewToken, mac_of, new_token

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Tenant:
    """One MSP. ``time_zone`` sets its calendar days."""

    tenant: str
    name: str
    time_zone: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret. ``source`` is ``None`` for an operator's key, which may act for any source."""

    prefix: str
    source: str | None
    ending: str
    created_at: datetime
    revoked_at: datetime | None


async def add_tenant(pool: Any, tenant: str, name: str, time_zone: str) -> bool:
    """Make a tenant; False if there is one by this name already (which stays as it is)."""
    return bool(await pool.fetchval("SELECT access.add_tenant($1, $2, $3)", tenant, name, time_zone))


async def find_tenant(pool: Any, tenant: str) -> Tenant | None:
    row = await pool.fetchrow("SELECT * FROM access.find_tenant($1)", tenant)
    return Tenant(**row) if row else None


async def tenants(pool: Any, after: str = "", limit: int = _PAGE) -> list[Tenant]:
    """A page of tenants by name, after ``after``."""
    return [Tenant(**row) for row in await pool.fetch("SELECT * FROM access.tenants($1, $2)", after, limit)]


async def every_tenant(pool: Any) -> AsyncIterator[Tenant]:
    """All tenants, page by page."""
    after = ""
    while page := await tenants(pool, after):
        for tenant in page:
            yield tenant
        after = page[-1].tenant


async def add_key(
    pool: Any,
    pepper: bytes,
    tenant: str,
    source: str | None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> NewToken:
    """Make a key and return its token, which nobody can read again. Raises ``LookupError`` for an unknown tenant."""
    token = new_token(random_bytes)
    try:
        await pool.execute(
            "SELECT access.add_key($1, $2, $3, $4, $5)",
            tenant,
            source,
            token.prefix,
            mac_of(pepper, token.token),
            token.ending,
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise LookupError(tenant) from error
    return token


async def keys(pool: Any, tenant: str) -> list[Key]:
    """A tenant's keys, oldest first, the revoked ones too."""
    return [Key(**row) for row in await pool.fetch("SELECT * FROM access.keys($1)", tenant)]


async def revoke_key(pool: Any, tenant: str, prefix: str) -> datetime | None:
    """Revoke a key for good; when it was revoked first, or ``None`` if the tenant has no such key."""
    revoked_at: datetime | None = await pool.fetchval("SELECT access.revoke_key($1, $2)", tenant, prefix)
    return revoked_at
