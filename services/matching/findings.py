"""What was found, as a tenant sees it: reads under row-level security, a bounded number of queries each."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from shared.runtime.database import tenant_transaction

TOPIC = "discrepancies"

_COLUMNS = "v.stream, v.state, v.version, v.reopened, v.body"
# The braces below hold names of columns written above.
_LIST = f"""
SELECT {_COLUMNS}, coalesce(v.amount, -1) AS sorted
  FROM matching.verdict v
 WHERE v.tenant = $1 AND ($2::text IS NULL OR v.state = $2) AND ($3::text IS NULL OR v.code = $3)
   AND ($4::text IS NULL OR v.client = $4) AND ($5::numeric IS NULL OR v.amount >= $5)
   AND ($6::numeric IS NULL OR coalesce(v.amount, -1) < $6 OR (coalesce(v.amount, -1) = $6 AND v.stream > $7))
 ORDER BY sorted DESC, v.stream LIMIT $8"""  # noqa: S608
_BY_PREFIX = f"""
SELECT {_COLUMNS} FROM matching.verdict v
 WHERE v.tenant = $1 AND v.stream BETWEEN $2 AND $3 ORDER BY v.stream LIMIT 2"""  # noqa: S608
_COUNTS = """
SELECT (SELECT count(*) FROM matching.verdict WHERE tenant = $1 AND state = 'open') AS open,
       (SELECT count(*) FROM matching.drawn WHERE tenant = $1 AND state <> 'not_comparable') AS compared_groups,
       (SELECT count(*) FROM matching.drawn WHERE tenant = $1 AND state = 'not_comparable') AS not_comparable"""
_HISTORY = """
SELECT s.version, r.topic, r.partition, r.position, r.recorded_at, r.body
  FROM log.stream s JOIN log.record r USING (topic, partition, position)
 WHERE s.topic = 'discrepancies' AND s.stream = $1 ORDER BY s.version DESC LIMIT 100"""
_GROUPS = """
SELECT * FROM matching.drawn
 WHERE tenant = $1 AND ($2::text IS NULL OR state = $2)
   AND ($3::text IS NULL OR (owner = $3 AND level IN ('product', 'client')))
   AND ($4::date IS NULL OR month = $4)
   AND ($5::text IS NULL OR (level, owner, month, item) > ($5, $6, $7, $8))
 ORDER BY level, owner, month, item LIMIT $9"""


class Filters(NamedTuple):
    """Of a list of discrepancies; None: any."""

    state: str | None = None
    code: str | None = None
    client: str | None = None
    min_amount: Decimal | None = None


class Ambiguous(LookupError):
    """A short id that more than one discrepancy bears."""


class Findings:
    """Discrepancies and drawn groups of one tenant at a time, on a pool of the ``_api`` role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(
        self, tenant: str, filters: Filters, after: tuple[Decimal, UUID] | None, limit: int
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Discrepancies, the largest amounts first, after ``after`` (amount, id); and over how much they were found."""
        amount, stream = after or (None, None)
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_LIST, tenant, *filters, amount, stream, limit)
            counts = await connection.fetchrow(_COUNTS, tenant)
        return [dict(row) for row in rows], dict(counts)

    async def one(self, tenant: str, prefix: str) -> dict[str, Any] | None:
        """A discrepancy by its id or the first digits of it, with its history and its basis; None if there is none.

        Raises :class:`Ambiguous`.
        """
        low, high = UUID(hex=prefix.ljust(32, "0")), UUID(hex=prefix.ljust(32, "f"))
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_BY_PREFIX, tenant, low, high)
            if len(rows) > 1:
                raise Ambiguous(prefix)
            if not rows:
                return None
            history = await connection.fetch(_HISTORY, rows[0]["stream"])
        return {**rows[0], "history": [_step(row) for row in reversed(history)]}

    async def groups(
        self,
        tenant: str,
        filters: tuple[str | None, str | None, Any],
        after: tuple[str, str, Any, str] | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Drawn groups by (state, client, first day of the month), in order of (level, owner, month, item)."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_GROUPS, tenant, *filters, *(after or (None, None, None, None)), limit)
        return [dict(row) for row in rows]


def _step(row: Any) -> dict[str, Any]:
    record = orjson.loads(row["body"])
    return {
        "version": row["version"],
        "type": record["type"],
        "place": f"{row['topic']}/{row['partition']}/{row['position']}",
        "recorded_at": record["recordedat"],
        "amount": record["data"]["body"].get("amount"),
        "basis": record["data"]["basis"],
    }
