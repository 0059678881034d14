"""What was found, as one tenant may read it: through the ``_api`` pool, under row-level security."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import asyncpg
import orjson

from shared.eventlog.model import Stored
from shared.eventlog.postgres import TenantLog
from shared.events.catalogue import statement_stream
from shared.kernel.periods import month_of
from shared.reconciliation.statement import Statement, read_group
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
SELECT d.owner, d.month, d.item, d.state, d.expected, d.billed, d.explained, d.explained_by, d.pending, d.broken,
       d.currency, d.waiting
  FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level IN ('product', 'client') AND ($2::text IS NULL OR d.state = $2)
   AND ($3::text IS NULL OR d.owner = $3) AND ($4::date IS NULL OR d.month = $4)
   AND ($5::text IS NULL OR (d.owner, d.month, d.item) > ($5, $6::date, $7))
 ORDER BY d.owner, d.month, d.item LIMIT $8"""

# --- statements ------------------------------------------------------------------------------------------------------
# A client's month: its lines by state, and whether it is closed. Everything is clean only where something was compared.
_BOARD = """
SELECT * FROM (
  SELECT d.owner, count(*) FILTER (WHERE d.level = 'product') AS groups, sum(d.lines_matched)::bigint AS matched,
         sum(d.lines_explained)::bigint AS explained, sum(d.lines_pending)::bigint AS pending,
         sum(d.lines_broken)::bigint AS broken, c.record, c.digest, c.closed_at,
         CASE WHEN sum(d.lines_broken) > 0 THEN 'break'
              WHEN sum(d.lines_pending) > 0 OR bool_or(d.state = 'not_comparable') THEN 'pending'
              WHEN sum(d.lines_matched + d.lines_explained) = 0 THEN 'nothing_compared' ELSE 'settled' END AS state
    FROM matching.drawn d
    LEFT JOIN matching.closing c ON (c.tenant, c.month, c.owner) = (d.tenant, d.month, d.owner)
   WHERE d.tenant = $1 AND d.month = $2 AND d.level IN ('product', 'client') AND ($3::text IS NULL OR d.owner = $3)
     AND ($4::text IS NULL OR d.owner > $4)
   GROUP BY d.owner, c.record, c.digest, c.closed_at) b
 WHERE $5::text IS NULL OR b.state = $5 OR ($5 = 'closed' AND b.record IS NOT NULL)
 ORDER BY b.owner LIMIT $6"""
_TOTALS = """
SELECT s.owner, s.currency, sum(s.expected) AS expected, sum(s.billed) AS billed, sum(s.cost) AS cost,
       sum(s.explained) AS explained, sum(s.pending) AS pending, sum(s.broken) AS broken
  FROM matching.subtotal s WHERE s.tenant = $1 AND s.month = $2 AND s.owner = ANY ($3)
 GROUP BY s.owner, s.currency ORDER BY s.owner, s.currency"""
_SIDES = """
SELECT d.owner, w.one ->> 'side' AS side, max(w.one ->> 'until') AS until, count(*) AS groups
  FROM matching.drawn d CROSS JOIN LATERAL jsonb_array_elements(d.waiting) AS w(one)
 WHERE d.tenant = $1 AND d.month = $2 AND d.owner = ANY ($3) AND d.level IN ('product', 'client')
 GROUP BY 1, 2 ORDER BY 1, 2"""
_STATEMENT_LINES = """
SELECT d.item, l.n, CASE WHEN $8 THEN l.line ELSE l.line - 'steps' END AS line
  FROM matching.drawn d CROSS JOIN LATERAL jsonb_array_elements(d.lines) WITH ORDINALITY AS l(line, n)
 WHERE d.tenant = $1 AND d.owner = $2 AND d.month = $3 AND d.level IN ('product', 'client')
   AND ($4::text IS NULL OR CASE $4 WHEN 'break' THEN d.lines_broken WHEN 'pending' THEN d.lines_pending
                                    WHEN 'explained' THEN d.lines_explained ELSE d.lines_matched END > 0)
   AND ($4::text IS NULL OR l.line ->> 'state' = $4) AND ($5::text IS NULL OR l.line ->> 'product' = $5)
   AND ($6::text IS NULL OR (d.item, l.n) > ($6, $7::bigint))
 ORDER BY d.item, l.n LIMIT $9"""
_GROUP_LINES = """
SELECT d.item, d.lines, d.vendor FROM matching.drawn d
 WHERE d.tenant = $1 AND d.owner = $2 AND d.month = $3 AND d.level IN ('product', 'client')"""
_CLOSING = "SELECT drawn FROM matching.closing WHERE tenant = $1 AND owner = $2 AND month = $3"

# --- sums ------------------------------------------------------------------------------------------------------------
_BY = {
    "client": "coalesce(v.client, '')",
    "code": "v.code",
    "direction": "v.body ->> 'direction'",
    "standing": "coalesce(v.body ->> 'standing', '')",
}
# Directions are never netted, currencies never added. What has no amount is counted.
_MONEY = """
SELECT * FROM (
  SELECT {by} COLLATE "C" AS value, (v.body ->> 'direction') COLLATE "C" AS direction,
         coalesce(v.currency, '') COLLATE "C" AS currency, count(*) AS n,
         count(*) FILTER (WHERE v.amount IS NULL) AS unknown,
         coalesce(sum(v.amount) FILTER (WHERE v.body ->> 'standing' = 'owed'), 0) AS owed,
         coalesce(sum(v.amount) FILTER (WHERE v.body ->> 'standing' = 'at_risk'), 0) AS at_risk,
         coalesce(sum(v.amount) FILTER (WHERE v.body ->> 'standing' = 'lost'), 0) AS lost,
         coalesce(sum(v.amount) FILTER (WHERE v.body ->> 'standing' IS NULL), 0) AS unplaced
    FROM matching.verdict v
   WHERE v.tenant = $1 AND v.state = 'open' AND ($2::text IS NULL OR v.client = $2)
     AND ($3::text IS NULL OR v.body -> 'period' ->> 'from' = $3)
   GROUP BY 1, 2, 3) m
 WHERE $4::text IS NULL OR (m.value, m.direction, m.currency) > ($4, $5, $6)
 ORDER BY m.value, m.direction, m.currency LIMIT $7"""

# --- restatements ----------------------------------------------------------------------------------------------------
# What a closed group came to then, and comes to now: where it differs, or a verdict says that it was late.
_RESTATED = """
SELECT g.owner, g.month, g.item, c.closed_at, g.record, g.currency, g.expected, g.billed, g.quantity,
       d.currency AS now_currency, d.expected AS now_expected, d.billed AS now_billed, d.measured AS now_quantity,
       v.codes, v.streams
  FROM matching.closed_group g
  JOIN matching.closing c ON (c.tenant, c.month, c.owner) = (g.tenant, g.month, g.owner)
  LEFT JOIN matching.drawn d
    ON (d.tenant, d.level, d.owner, d.month, d.item) = (g.tenant, 'product', g.owner, g.month, g.item)
  LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT x.code) AS codes, array_agg(x.stream ORDER BY x.stream) AS streams
      FROM matching.verdict x
     WHERE (x.tenant, x.level, x.owner, x.month, x.item) = (g.tenant, 'product', g.owner, g.month, g.item)
       AND x.state = 'open' AND x.code IN ('LATE_USAGE', 'RESTATED')) v ON true
 WHERE g.tenant = $1 AND ($2::date IS NULL OR g.month = $2) AND ($3::text IS NULL OR g.owner = $3)
   AND (v.codes IS NOT NULL
        OR (d.currency, d.expected, d.billed, d.measured)
           IS DISTINCT FROM (g.currency, g.expected, g.billed, g.quantity))
   AND ($4::date IS NULL OR (g.month, g.owner, g.item) > ($4, $5, $6))
 ORDER BY g.month, g.owner, g.item LIMIT $7"""


class Sums(NamedTuple):
    """Over what a list speaks."""

    open: int
    compared_groups: int
    not_comparable: int


class Board(NamedTuple):
    """A client's statement of one month, in one row."""

    row: asyncpg.Record
    totals: list[asyncpg.Record]
    """By currency."""
    sides: list[asyncpg.Record]
    """What its groups wait for."""


class Found:
    """Discrepancies, groups and statements of a tenant."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @property
    def pool(self) -> asyncpg.Pool:
        """The ``_api`` pool, for the vault."""
        return self._pool

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

    # --- statements --------------------------------------------------------------------------------------------------
    async def board(
        self, tenant: str, month: date, *, client: str | None, state: str | None, after: str | None, limit: int
    ) -> list[Board]:
        """A page of clients' statements of one month, by client."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_BOARD, tenant, month, client, after, state, limit)
            owners = [row["owner"] for row in rows]
            totals = _grouped(await connection.fetch(_TOTALS, tenant, month, owners))
            sides = _grouped(await connection.fetch(_SIDES, tenant, month, owners))
        return [Board(row, totals.get(row["owner"], []), sides.get(row["owner"], [])) for row in rows]

    async def statement_lines(
        self,
        tenant: str,
        client: str,
        month: date,
        *,
        state: str | None,
        product: str | None,
        steps: bool,
        after: tuple[str, int] | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """A page of a statement's lines, by group and key."""
        async with tenant_transaction(self._pool, tenant) as connection:
            item, n = after or (None, None)
            rows: list[asyncpg.Record] = await connection.fetch(
                _STATEMENT_LINES, tenant, client, month, state, product, item, n, steps, limit
            )
        return rows

    async def live(self, tenant: str, client: str, month: date) -> Statement:
        """A client's statement as it stands, whole."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_GROUP_LINES, tenant, client, month)
        groups = (
            read_group({"item": item, "lines": orjson.loads(lines), "vendor": orjson.loads(vendor)})
            for item, lines, vendor in rows
        )
        kept = sorted((group for group in groups if group.lines), key=lambda group: group.item)
        return Statement(client, month_of(month), tuple(kept))

    async def statement_records(self, tenant: str, client: str, month: date) -> tuple[list[Stored], str | None]:
        """The records of a client's period, in order, and the id of the one that was drawn when it was closed last."""
        stream = statement_stream(tenant, client, str(month_of(month)))
        records = await TenantLog(self._pool, tenant).stream("statements", stream)
        async with tenant_transaction(self._pool, tenant) as connection:
            return records, await connection.fetchval(_CLOSING, tenant, client, month)

    async def money(
        self,
        tenant: str,
        by: str,
        *,
        client: str | None,
        month: date | None,
        after: tuple[str, str, str] | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """A page of what the open discrepancies come to, by ``by``, direction and currency."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                _MONEY.format(by=_BY[by]),
                tenant,
                client,
                None if month is None else month.isoformat(),
                *(after or (None, None, None)),
                limit,
            )
        return rows

    async def restatements(
        self,
        tenant: str,
        *,
        month: date | None,
        client: str | None,
        after: tuple[date, str, str] | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """A page of closed groups that no longer come to what they came to, by month, client and group."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(
                _RESTATED, tenant, month, client, *(after or (None, None, None)), limit
            )
        return rows


def _grouped(rows: list[asyncpg.Record]) -> dict[str, list[asyncpg.Record]]:
    found: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        found.setdefault(row["owner"], []).append(row)
    return found
