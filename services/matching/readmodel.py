"""What was found, as one tenant may read it: through the ``_api`` pool, under row-level security."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg

from shared.eventlog.model import Stored
from shared.eventlog.postgres import TenantLog
from shared.runtime.database import tenant_transaction

_DISCREPANCIES = """
SELECT v.stream, v.state, v.version, v.reopened, v.body, coalesce(v.amount, -1) AS size
  FROM matching.verdict v
 WHERE v.tenant = $1 AND ($2 = 'all' OR v.state = $2) AND ($3::text IS NULL OR v.code = $3)
   AND ($4::text IS NULL OR v.client = $4) AND ($5::numeric IS NULL OR v.amount >= $5)
   AND ($6::numeric IS NULL OR (-coalesce(v.amount, -1), v.stream) > (-$6, $7::uuid))
 ORDER BY -coalesce(v.amount, -1), v.stream LIMIT $8"""
_SUMS = """
SELECT (SELECT count(*) FROM matching.verdict v WHERE v.tenant = $1 AND v.state = 'open'),
       count(*) FILTER (WHERE d.state <> 'not_comparable'), count(*) FILTER (WHERE d.state = 'not_comparable')
  FROM matching.drawn d WHERE d.tenant = $1 AND d.level = 'product'"""
_BY_PREFIX = """
SELECT v.stream, v.state, v.version, v.reopened, v.body FROM matching.verdict v
 WHERE v.tenant = $1 AND v.stream BETWEEN $2 AND $3 ORDER BY v.stream LIMIT 2"""
_GROUPS = """
SELECT d.owner, d.month, d.item, d.state, d.expected, d.billed, d.explained, d.explained_by, d.broken, d.currency,
       d.waiting
  FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level IN ('product', 'client') AND ($2::text IS NULL OR d.state = $2)
   AND ($3::text IS NULL OR d.owner = $3) AND ($4::date IS NULL OR d.month = $4)
   AND ($5::text IS NULL OR (d.owner, d.month, d.item) > ($5, $6::date, $7))
 ORDER BY d.owner, d.month, d.item LIMIT $8"""


class Sums(NamedTuple):
    """Over what a list speaks."""

    open: int
    compared_groups: int
    not_comparable: int


class Found:
    """Discrepancies and groups of a tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def discrepancies(
        self,
        tenant: str,
        *,
        state: str,
        code: str | None,
        client: str | None,
        least: Decimal | None,
        after: tuple[Decimal, UUID] | None,
        limit: int,
    ) -> tuple[list[asyncpg.Record], Sums]:
        """A page, the largest amounts first, those without one last."""
        async with tenant_transaction(self._pool, tenant) as connection:
            size, stream = after or (None, None)
            rows = await connection.fetch(_DISCREPANCIES, tenant, state, code, client, least, size, stream, limit)
            return rows, Sums(*await connection.fetchrow(_SUMS, tenant))

    async def discrepancy(self, tenant: str, first: UUID, last: UUID) -> list[asyncpg.Record]:
        """The discrepancies with an id in ``[first, last]``, at most two."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_BY_PREFIX, tenant, first, last)
            return rows

    async def history(self, tenant: str, stream: UUID) -> list[Stored]:
        """The records of a discrepancy, in order."""
        return await TenantLog(self._pool, tenant).stream("discrepancies", stream)

    async def groups(
        self,
        tenant: str,
        *,
        state: str | None,
        client: str | None,
        month: date | None,
        after: tuple[str, date, str] | None,
        limit: int,
    ) -> tuple[list[asyncpg.Record], Sums]:
        """A page of drawn groups, by client, month and product (``*``: the client's level)."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_GROUPS, tenant, state, client, month, *(after or (None, None, None)), limit)
            return rows, Sums(*await connection.fetchrow(_SUMS, tenant))
