"""The resolver: raw due rows to the groups that they touch, and dates that have come.

Rows are claimed with SKIP LOCKED, so any number of resolvers may run, in one process or several. What one leaves to
later (a mapping with thousands of meters) it puts back as further raw rows, so that no transaction grows with a tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg
import orjson

from services.matching.expand import Due, Found, Key, expand
from services.matching.fold import cause_of
from shared.eventlog.model import Place

CLAIM_ROWS_MAX = 500
DEFECTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
    asyncpg.DataError, asyncpg.IntegrityConstraintViolationError,
)  # fmt: skip
"""What is our own fault: raised again for ever, unlike what a connection or a lock raises."""

_CLAIM = """
DELETE FROM matching.due WHERE id IN (
  SELECT d.id FROM matching.due d ORDER BY d.id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING tenant, kind, meter, key, first_at, last_at, cause"""
_BEHIND = """
WITH first AS (
  DELETE FROM matching.due WHERE id IN (SELECT d.id FROM matching.due d ORDER BY d.id LIMIT 1 FOR UPDATE SKIP LOCKED)
  RETURNING tenant, kind, meter, key, first_at, last_at, cause)
INSERT INTO matching.due (tenant, kind, meter, key, first_at, last_at, cause) SELECT * FROM first"""
# In the order of the key: two resolvers that met in another order would wait for each other.
_ENSURE = """
INSERT INTO matching.compare_key (tenant, level, owner, month, item)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[])
    ON CONFLICT DO NOTHING"""
_MARK = """
INSERT INTO matching.due_key (tenant, level, owner, month, item, ready_at, cause)
SELECT k.tenant, k.level, k.owner, k.month, k.item, clock_timestamp() + k.wait_ms * interval '1 ms', n.cause
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::jsonb[])
       AS n(tenant, level, owner, month, item, cause)
  JOIN matching.compare_key k USING (tenant, level, owner, month, item)"""
_WAKE = """
WITH due AS (
  SELECT w.*, c.cause FROM matching.calendar c
   CROSS JOIN LATERAL (SELECT * FROM matching.wake w WHERE w.tenant = c.tenant AND w.on_date <= c.as_of
                        LIMIT $1 FOR UPDATE SKIP LOCKED) w
   LIMIT $1)
DELETE FROM matching.wake w USING due d
 WHERE (w.tenant, w.level, w.owner, w.month, w.item) = (d.tenant, d.level, d.owner, d.month, d.item)
RETURNING w.tenant, w.level, w.owner, w.month, w.item, d.cause"""
# An identifier that is shown by another name than the one that now has the greatest rank. Any number of partitions may
# name it, and none sees what another is about to commit; so this looks at what stands. What is due already is left.
_RENAME = """
SELECT d.tenant, d.level, d.owner, d.month, d.item, n.topic, n.partition, n.position, r.body
  FROM matching.drawn d
 CROSS JOIN LATERAL (
   SELECT a.* FROM matching.name a
    WHERE (a.tenant, a.kind, a.source, a.key) = (d.tenant, d.level, d.owner, d.item)
    ORDER BY a.rank_at DESC, a.rank_run DESC, a.name LIMIT 1) n
  JOIN log.record r ON (r.topic, r.partition, r.position) = (n.topic, n.partition, n.position)
 WHERE d.level IN ('account', 'sku') AND d.state = 'break' AND n.name IS DISTINCT FROM d.name
   AND NOT EXISTS (SELECT FROM matching.due_key k
                    WHERE (k.tenant, k.level, k.owner, k.month, k.item) = (d.tenant, d.level, d.owner, d.month, d.item))
 LIMIT $1"""


class Resolver:
    """Turns due rows into due groups, one bounded transaction a step."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._claim = CLAIM_ROWS_MAX

    async def step(self) -> int:
        """Resolve one claim of raw rows; how many there were.

        After a defect the next claim is half as large; a row that raises alone goes behind all others, which go on.
        """
        try:
            count = await self._resolve(self._claim)
        except DEFECTS:
            if self._claim == 1:
                await self._pool.execute(_BEHIND)
            self._claim = max(1, self._claim // 2)
            raise
        self._claim = min(2 * self._claim, CLAIM_ROWS_MAX)
        return count

    async def _resolve(self, limit: int) -> int:
        async with self._pool.acquire() as tx, tx.transaction():
            rows = await tx.fetch(_CLAIM, limit)
            if rows:
                dues = [
                    Due(tenant, kind, meter, tuple(key or ()), first, last, cause)
                    for tenant, kind, meter, key, first, last, cause in rows
                ]
                found = await expand(tx, dues)
                await _put_back(tx, found)
                await mark(tx, found.keys)
        return len(rows)

    async def wake(self) -> int:
        """Groups whose date the calendar has reached; how many there were.

        A level, not an edge: a draw that commits its date after the calendar has passed it is found by the next look.
        """
        async with self._pool.acquire() as tx, tx.transaction():
            keys = {Key(*row[:5]): row[5] for row in await tx.fetch(_WAKE, CLAIM_ROWS_MAX)}
            found = Found(keys)
            for key, cause in keys.items():
                if key.level in ("account", "sku"):
                    # An exclusion has ended: the identifier hides usage again.
                    found.later(key.tenant, "mapping", None, (key.level, key.owner, key.item), cause)
            await _put_back(tx, found)
            await mark(tx, found.keys)
        return len(keys)

    async def rename(self) -> int:
        """Open identifiers whose name is another than the one shown; how many there were."""
        async with self._pool.acquire() as tx, tx.transaction():
            keys = {
                Key(*key): cause_of(Place(topic, partition, position), orjson.loads(body))
                for *key, topic, partition, position, body in await tx.fetch(_RENAME, CLAIM_ROWS_MAX)
            }
            await mark(tx, keys)
        return len(keys)


async def mark(tx: Any, keys: Mapping[Key, str]) -> None:
    """Make groups due, with the cause of each. A month's level above its groups always has a row: draws lock it."""
    if not keys:
        return
    ordered = sorted(keys)
    await tx.execute(_ENSURE, *zip(*sorted({*ordered, *_levels_above(ordered)}), strict=True))
    await tx.execute(_MARK, *zip(*ordered, strict=True), [keys[key] for key in ordered])


def _levels_above(keys: Iterable[Key]) -> Iterable[Key]:
    return (Key(key.tenant, "client", key.owner, key.month, "*") for key in keys if key.level == "product")


async def _put_back(tx: Any, found: Found) -> None:
    if found.raw:
        rows = [(*row[:3], list(row[3]), cause) for row, cause in found.raw.items()]
        await tx.copy_records_to_table(
            "due", schema_name="matching", columns=("tenant", "kind", "meter", "key", "cause"), records=rows
        )
