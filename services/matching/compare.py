"""Compare: one unit of due groups, drawn from one snapshot; only the difference to the last verdict becomes records.

A unit is a client's month (whichever of its groups are due), or some identifiers of one kind. Two connections, because
the basis must be one snapshot and the append cannot run in REPEATABLE READ (protocols.md section 9):

A  locks the unit and takes its due rows away; B's snapshot begins after that, and so holds whatever made them due;
A  then writes what differs and appends last. Whoever dies in between leaves A rolled back and the rows due again.

A client's month is locked as a whole (the row of the level above its groups): a stream may move from one group to
another, as an invoice line does whose product is corrected, and only draws in sequence agree whose it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from services.matching.expand import SHARED, Key, cause_order
from services.matching.inputs import (
    Month,
    Reading,
    read_feeds,
    read_hiding,
    read_identifiers,
    read_month,
    read_snapshot,
)
from services.matching.resolver import DEFECTS
from services.matching.store import PENDING, Drawn, rests_on_absence, write
from shared.reconciliation.compare import draw_group
from shared.reconciliation.stale import draw_feed
from shared.reconciliation.unmapped import draw_unmapped
from shared.reconciliation.verdict import Verdict

UNIT_GROUPS_MAX = 50
"""Groups of one client's month, or identifiers, drawn in one transaction."""
WAIT_MS_MIN, WAIT_MS_MAX, WAIT_MS_PER_ROW = 100, 10_000, 0.2
"""How long a change of a group waits for others: 20 times what it takes to draw it, at some 10 microseconds a row, so
that a group of many rows cannot eat a core. By rows and not by a clock: on a busy machine every draw takes long."""
_IN_THREAD = 100
"""So many groups and contract lines are drawn beside the event loop, which has heartbeats to send."""
AWAKE_S = 2.0
"""Between two signs of life of a transaction that waits for a draw; less than it may idle."""
_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)

# --- claiming ---------------------------------------------------------------------------------------------------------
# LATERAL, so that a key is looked up for each due row whatever the statistics say, and only what is returned is locked.
_CLAIM = """
SELECT k.tenant, k.level, k.owner, k.month, k.item
  FROM (SELECT d.tenant, CASE d.level WHEN 'product' THEN 'client' ELSE d.level END AS level, d.owner, d.month,
               CASE d.level WHEN 'product' THEN '*' ELSE d.item END AS item, min(d.ready_at) AS first
          FROM (SELECT * FROM matching.due_key WHERE ready_at < statement_timestamp() - $1::interval
                 ORDER BY ready_at LIMIT $2) d
         GROUP BY 1, 2, 3, 4, 5 ORDER BY first) u
 CROSS JOIN LATERAL (
   SELECT * FROM matching.compare_key c
    WHERE (c.tenant, c.level, c.owner, c.month, c.item) = (u.tenant, u.level, u.owner, u.month, u.item)
      FOR UPDATE SKIP LOCKED) k
 LIMIT 1"""
_LOOK_FIRST, _LOOK_AT_MOST = 32, 500
_CLAIM_MORE = """
SELECT k.tenant, k.level, k.owner, k.month, k.item
  FROM (SELECT DISTINCT d.owner, d.month, d.item FROM (
          SELECT * FROM matching.due_key d
           WHERE d.tenant = $1 AND d.level = $2 AND d.ready_at < statement_timestamp() - $3::interval LIMIT $4) d) u
 CROSS JOIN LATERAL (
   SELECT * FROM matching.compare_key c
    WHERE (c.tenant, c.level, c.owner, c.month, c.item) = ($1, $2, u.owner, u.month, u.item)
      FOR UPDATE SKIP LOCKED) k"""
_TAKE_MONTH = """
DELETE FROM matching.due_key k
 WHERE k.tenant = $1 AND k.level IN ('product', 'client') AND k.owner = $2 AND k.month = $3 AND (k.level, k.item) IN (
   SELECT d.level, d.item FROM matching.due_key d
    WHERE d.tenant = $1 AND d.level IN ('product', 'client') AND d.owner = $2 AND d.month = $3
      AND d.ready_at < statement_timestamp() - $4::interval
    GROUP BY d.level, d.item ORDER BY min(d.ready_at) LIMIT $5)
RETURNING k.tenant, k.level, k.owner, k.month, k.item, k.cause, (
  SELECT c.wait_ms FROM matching.compare_key c
   WHERE (c.tenant, c.level, c.owner, c.month, c.item) = (k.tenant, k.level, k.owner, k.month, k.item))"""
_TAKE_IDENTIFIERS = """
DELETE FROM matching.due_key k
 USING unnest($3::text[], $4::text[]) AS i(owner, item)
 WHERE k.tenant = $1 AND k.level = $2 AND k.owner = i.owner AND k.item = i.item
RETURNING k.tenant, k.level, k.owner, k.month, k.item, k.cause, (
  SELECT c.wait_ms FROM matching.compare_key c
   WHERE (c.tenant, c.level, c.owner, c.month, c.item) = (k.tenant, k.level, k.owner, k.month, k.item))"""
_PUT_OFF = """
UPDATE matching.due_key SET ready_at = clock_timestamp() + $5
 WHERE tenant = $1 AND level = ANY ($2) AND owner = $3 AND month = $4 AND ($6::text IS NULL OR item = $6)"""


class Comparer:
    """Draws due groups, one unit a step. Any number of them may run, in one process or several."""

    def __init__(self, pool: Any, appended: Callable[[], None] = lambda: None) -> None:
        self._pool = pool
        self._appended = appended

    async def step(self, patience: timedelta = timedelta()) -> int:
        """Draw one unit; how many groups were drawn, 0 if nothing is due. ``patience``: wait so much longer than the
        groups' own wait, for whatever else is about to come."""
        async with self._pool.acquire() as a:
            unit: Key | None = None
            try:
                async with a.transaction():
                    unit, causes, waits_ms = await _claim(a, patience)
                    if unit is None:
                        return 0
                    if not causes:
                        return 1
                    drawn = await _awake(a, self.draw(unit, causes))
                    await _pace(a, drawn, waits_ms)
                    appended = await write(a, drawn)
            except DEFECTS as error:
                # This unit must not keep the others from being drawn.
                if unit is None:
                    raise
                _log.exception("group cannot be drawn", unit=unit._asdict(), error=repr(error))
                await _put_off(a, unit)
                raise CannotDraw(unit, error) from error
        if appended:
            self._appended()
        return max(1, len(drawn.verdicts))

    async def draw(self, unit: Key, causes: Mapping[Key, str]) -> Drawn:
        """The verdicts of a unit's due groups, read from one snapshot. Nothing is written."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            b = Reading(connection)
            snapshot = await read_snapshot(b, unit.tenant)
            if snapshot.incomplete:
                return Drawn(unit, snapshot, causes, {}, 0)
            if unit.level == "feed":
                missed = await read_feeds(b, snapshot, list(causes))
                silent = {key: None if one is None else draw_feed(one) for key, one in missed.items()}
                return Drawn(unit, snapshot, causes, silent, b.rows)
            if unit.level != "client":
                found = await read_identifiers(b, snapshot, unit.level, list(causes))
                verdicts = {key: None if inputs is None else draw_unmapped(inputs) for key, inputs in found.items()}
                names = {key: inputs.name for key, inputs in found.items() if inputs is not None}
                return Drawn(unit, snapshot, causes, verdicts, b.rows, names=names)
            level = unit in causes
            wanted = [key.item for key in causes if key.level == "product"]
            month = await read_month(b, snapshot, unit.owner, unit.month, wanted, level=level)
            verdicts = await _draw_groups(connection, unit, month, month.items)
            absent = [key.item for key, verdict in verdicts.items() if verdict and rests_on_absence(verdict)]
            if absent:
                await read_hiding(b, month, absent)
                hidden = [item for item in absent if any(one in month.hiding for one in month.members(item))]
                verdicts |= await _draw_groups(connection, unit, month, hidden)
        return Drawn(unit, snapshot, _by_group(causes, month), verdicts, b.rows, month)


def _by_group(causes: Mapping[Key, str], month: Month) -> dict[Key, str]:
    """The cause of each group: of its products' the one that was recorded last."""
    found = dict(causes)
    for key, cause in causes.items():
        group = key._replace(item=month.members(key.item)[0])
        if key.level == "product" and (group not in found or cause_order(found[group]) < cause_order(cause)):
            found[group] = cause
    return found


class CannotDraw(Exception):
    """A unit that raises; it was put off, and the others go on."""

    def __init__(self, unit: Key, error: Exception) -> None:
        super().__init__(f"{unit}: {error!r}")
        self.unit = unit


async def _claim(a: Any, patience: timedelta) -> tuple[Key | None, dict[Key, str], dict[Key, int]]:
    """Lock a unit and take its due rows away; each group with the cause that was recorded last, and how long it waits
    as things stand."""
    # The first rows nearly always name a free unit; all of them may be one that another comparer has.
    row = await a.fetchrow(_CLAIM, patience, _LOOK_FIRST) or await a.fetchrow(_CLAIM, patience, _LOOK_AT_MOST)
    if row is None:
        return None, {}, {}
    unit = Key(*row)
    if unit.level == "client":
        rows = await a.fetch(_TAKE_MONTH, unit.tenant, unit.owner, unit.month, patience, UNIT_GROUPS_MAX)
    else:
        more = await a.fetch(_CLAIM_MORE, unit.tenant, unit.level, patience, UNIT_GROUPS_MAX - 1)
        keys = {unit, *(Key(*row) for row in more)}
        owners, items = [key.owner for key in keys], [key.item for key in keys]
        rows = await a.fetch(_TAKE_IDENTIFIERS, unit.tenant, unit.level, owners, items)
    # While the resolver reads what only draws know, none is under way.
    await a.execute(SHARED, unit.tenant)
    causes: dict[Key, str] = {}
    waits_ms: dict[Key, int] = {}
    for *columns, cause, waits in rows:
        key = Key(*columns)
        waits_ms[key] = waits
        if key not in causes or cause_order(causes[key]) < cause_order(cause):
            causes[key] = cause
    return unit, causes, waits_ms


async def _put_off(a: Any, unit: Key) -> None:
    levels = ["product", "client"] if unit.level == "client" else [unit.level]
    item = None if unit.level == "client" else unit.item
    await a.execute(_PUT_OFF, unit.tenant, levels, unit.owner, unit.month, PENDING, item)


# --- drawing ----------------------------------------------------------------------------------------------------------
async def _draw_groups(b: Any, unit: Key, month: Month, items: Sequence[str]) -> dict[Key, Verdict | None]:
    if len(items) + len(month.lines) < _IN_THREAD:
        return _draw_all(unit, month, items)
    return await _awake(b, asyncio.to_thread(_draw_all, unit, month, items))


async def _awake(connection: Any, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of ``work``; meanwhile the connection's transaction does not count as idle."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=AWAKE_S))[0]:
            await connection.fetchval("SELECT 1")
        return task.result()
    finally:
        task.cancel()


def _draw_all(unit: Key, month: Month, items: Sequence[str]) -> dict[Key, Verdict | None]:
    verdicts: dict[Key, Verdict | None] = {}
    for item in items:
        inputs = month.group(item)
        key = unit._replace(level="product", item=item)
        verdicts[key] = None if inputs is None else draw_group(inputs)
    return verdicts


# --- pace -------------------------------------------------------------------------------------------------------------
_PACE = """
UPDATE matching.compare_key k SET wait_ms = $6
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[]) AS u(tenant, level, owner, month, item)
 WHERE (k.tenant, k.level, k.owner, k.month, k.item) = (u.tenant, u.level, u.owner, u.month, u.item)"""


def wait_ms(rows: float) -> int:
    """How long a group waits after a change: by powers of two, so that the row is seldom written.

    >>> wait_ms(30), wait_ms(800), wait_ms(1_000_000)
    (100, 200, 10000)
    """
    wait = WAIT_MS_MIN
    while wait < min(WAIT_MS_PER_ROW * rows, WAIT_MS_MAX):
        wait *= 2
    return min(wait, WAIT_MS_MAX)


async def _pace(a: Any, drawn: Drawn, waits_ms: Mapping[Key, int]) -> None:
    """Before the write, whose append must be the last statement."""
    # The names that identifiers are compared with are read once and used for each of them.
    groups = 1 if drawn.month is None else max(1, len(drawn.verdicts))
    wait = wait_ms(drawn.rows / groups)
    others = [key for key, waits in waits_ms.items() if waits != wait]
    if others:
        await a.execute(_PACE, *zip(*others, strict=True), wait)
