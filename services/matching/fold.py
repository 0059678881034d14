"""The consumer ``matching.fold``: records into registers, and what moved into due rows.

Each batch is staged by COPY and merged in one statement a table: the greater rank stays (protocols.md section 7), sums
move by ``+ new - old``, and whatever moved leaves a row in ``matching.due``, in the words of the record that moved it.
The fold never asks what an identifier maps to: a mapping may be folded in another transaction at the same moment, and
neither would see the other. The resolver asks, after both have committed.

Registers of one key always come through one partition, whose mark the transaction has locked; so nothing here waits for
another fold, and what is read is what stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from services.matching import cells
from shared.eventlog.model import Place
from shared.events.record import Draft
from shared.messaging.consumer import BadRecord, Consumer, Handler, Received
from shared.reconciliation.facts import Fact, Slot, Unreadable, extract
from shared.reconciliation.fold import meter_key, names_of

CONSUMER = "matching.fold"
TOPICS = (
    "catalog", "contracts", "feeds", "invoices", "mappings", "settings", "statements", "time-entries", "usage",
    "vendor-bills",
)  # fmt: skip
"""What a verdict is a function of."""


def consumer(handler: Handler | None = None) -> Consumer:
    """The fold as messaging runs it."""
    return Consumer(name=CONSUMER, schema="matching", topics=TOPICS, handler=handler or Fold())


class Fold:
    """Implements :class:`~shared.messaging.consumer.Handler`; keeps nothing outside of the transaction."""

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        """Fold ``batch``. Raises :class:`BadRecord` if one of its records cannot be read."""
        slots: list[tuple[Any, ...]] = []
        others: list[tuple[Any, ...]] = []
        named: list[tuple[Any, ...]] = []
        for record in batch:
            fact = _extract(record)
            if fact is None:
                continue
            cause = cause_of(record.place, record.fields)
            if isinstance(fact, Slot):
                slots.append(_slot_row(fact, record, cause))
            else:
                others.append(cells.row(fact, cause))
                named += [(*key, *name, *record.place, cause) for key, name in names_of(fact)]
        if slots:
            await _merge_slots(tx, slots)
        if others:
            await cells.merge(tx, others)
        if named:
            await _merge_names(tx, named)
        return {}


def cause_of(place: Place, fields: Mapping[str, Any]) -> str:
    """What a due row says of the record that it comes from, as JSON."""
    return orjson.dumps(
        {
            "record": str(place),
            "type": fields["type"],
            "recorded_at": fields["recordedat"],
            "id": fields["id"],
            "correlation": fields.get("correlationid"),
        }
    ).decode()


def _extract(record: Received) -> Fact | None:
    try:
        return extract(record.fields)
    except Unreadable as error:
        raise BadRecord(f"{error}; until it can be read, the record is part of no verdict") from error


# --- usage -------------------------------------------------------------------------------------------------------
_STAGE_SLOTS = """
CREATE TEMPORARY TABLE IF NOT EXISTS stage_slot (
  meter uuid, tenant text, source text, account text, sku text, name text, kind text, unit text,
  account_name text, sku_name text,
  slot uuid, at timestamptz, until timestamptz, value text, rank_at timestamptz, rank_run bigint, rank_content uuid,
  record text, record_type text, topic text, partition smallint, position bigint, cause text) ON COMMIT DELETE ROWS"""
_SLOT_COLUMNS = (
    "meter", "tenant", "source", "account", "sku", "name", "kind", "unit",
    "account_name", "sku_name",
    "slot", "at", "until", "value", "rank_at", "rank_run", "rank_content",
    "record", "record_type", "topic", "partition", "position", "cause",
)  # fmt: skip

# Whether a meter is known is a scalar subquery on purpose: as a join it could be planned as one that reads all meters.
# One due row for a meter and UTC day, however many of its slots moved: that is as fine as any month's edge asks for.
# A slot that an event names may move to another day: then both days moved.
_MERGE_SLOTS = """
WITH best AS MATERIALIZED (
  SELECT DISTINCT ON (s.meter, s.slot) s.* FROM pg_temp.stage_slot s
   ORDER BY s.meter, s.slot, s.rank_at DESC, s.rank_run DESC, s.rank_content DESC),
new_meter AS (
  INSERT INTO matching.meter (meter, tenant, source, account, sku, name, kind, unit)
  SELECT DISTINCT ON (b.meter) b.meter, b.tenant, b.source, b.account, b.sku, b.name, b.kind, b.unit
    FROM best b WHERE (SELECT true FROM matching.meter m WHERE m.meter = b.meter) IS NULL
  RETURNING meter),
moved AS (
  INSERT INTO matching.slot AS o (meter, slot, at, until, value, rank_at, rank_run, rank_content,
                                  record, record_type, topic, partition, position)
  SELECT b.meter, b.slot, b.at, b.until, b.value::numeric, b.rank_at, b.rank_run, b.rank_content,
         b.record, b.record_type, b.topic, b.partition, b.position
    FROM best b
  ON CONFLICT (meter, slot) DO UPDATE SET
    at = excluded.at, until = excluded.until, value = excluded.value, rank_at = excluded.rank_at,
    rank_run = excluded.rank_run, rank_content = excluded.rank_content, record = excluded.record,
    record_type = excluded.record_type, topic = excluded.topic, partition = excluded.partition,
    position = excluded.position
  WHERE (o.rank_at, o.rank_run, o.rank_content) < (excluded.rank_at, excluded.rank_run, excluded.rank_content)
  RETURNING new.meter, new.slot, new.at, new.day, new.value,
            old.at AS old_at, old.day AS old_day, old.value AS old_value),
touched AS MATERIALIZED (
  SELECT b.tenant, b.kind, b.position, b.cause, x.*
    FROM best b
    JOIN moved m USING (meter, slot)
   CROSS JOIN LATERAL (VALUES (m.meter, m.day, m.at, m.value, 1), (m.meter, m.old_day, m.old_at, -m.old_value, -1))
                      AS x(meter, day, at, value, n)
   WHERE x.day IS NOT NULL),
totals AS (
  INSERT INTO matching.total AS t (meter, day, value, n)
  SELECT d.meter, d.day, sum(d.value), sum(d.n) FROM touched d WHERE d.kind = 'counter' GROUP BY 1, 2
  ON CONFLICT (meter, day) DO UPDATE SET value = t.value + excluded.value, n = t.n + excluded.n)
INSERT INTO matching.due (tenant, kind, meter, first_at, last_at, cause)
SELECT t.tenant, 'meter', t.meter, min(t.at), max(t.at), (array_agg(t.cause ORDER BY t.position DESC))[1]::jsonb
  FROM touched t GROUP BY t.tenant, t.meter, t.day
UNION ALL
SELECT b.tenant, 'new_meter', b.meter, NULL, NULL, (array_agg(b.cause ORDER BY b.position DESC))[1]::jsonb
  FROM best b JOIN new_meter USING (meter) GROUP BY b.tenant, b.meter"""


def _slot_row(slot: Slot, record: Received, cause: str) -> tuple[Any, ...]:
    place, rank = record.place, slot.rank
    return (
        _meter_id(meter_key(slot)), slot.tenant, slot.source, slot.account, slot.sku, slot.meter, slot.kind, slot.unit,
        slot.account_name, slot.sku_name,
        _hash(slot.slot), slot.at, slot.until, str(slot.quantity), rank.asserted_at, rank.run, rank.content,
        slot.record_id, slot.record_type, place.topic, place.partition, place.position, cause,
    )  # fmt: skip


@lru_cache(maxsize=100_000)
def _meter_id(key: tuple[str | None, ...]) -> str:
    # The unit may be absent, which is not the same as an empty one.
    return _hash("\x00".join(part if part is not None else "\x01" for part in key))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


async def _merge_slots(tx: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    await tx.execute(_STAGE_SLOTS)
    await tx.copy_records_to_table("stage_slot", schema_name="pg_temp", columns=_SLOT_COLUMNS, records=rows)
    await tx.execute(_MERGE_SLOTS)
    await tx.execute(_MERGE_STAGED_NAMES)


# --- names -------------------------------------------------------------------------------------------------------
# Of a batch the greatest rank, and of equal ones the least name. Only what is over the name that stands is written: a
# conflict would lock and log every row that stays as it is. A vendor that calls an identifier as before moves the rank
# alone, and nothing is due. (By that the name of another partition may be overtaken, which nobody can see from here:
# Resolver.rename looks for it.)
_MERGE_NAMES = """
WITH given AS MATERIALIZED (
  SELECT DISTINCT ON (n.tenant, n.kind, n.source, n.key, n.topic, n.partition) n.*
    FROM ({given}) AS n(tenant, kind, source, key, rank_at, rank_run, name, topic, partition, position, cause)
   WHERE n.name IS NOT NULL
   ORDER BY n.tenant, n.kind, n.source, n.key, n.topic, n.partition,
            n.rank_at DESC, n.rank_run DESC, n.name COLLATE "C"),
over AS MATERIALIZED (
  SELECT n.*, o.name AS before
    FROM given n
    LEFT JOIN LATERAL (
      SELECT o.rank_at, o.rank_run, o.name FROM matching.name o
       WHERE (o.tenant, o.kind, o.source, o.key, o.topic, o.partition)
           = (n.tenant, n.kind, n.source, n.key, n.topic, n.partition) OFFSET 0) o ON true
   WHERE o.name IS NULL OR (o.rank_at, o.rank_run) < (n.rank_at, n.rank_run)
      OR ((o.rank_at, o.rank_run) = (n.rank_at, n.rank_run) AND n.name COLLATE "C" < o.name)),
written AS (
  INSERT INTO matching.name (tenant, kind, source, key, topic, partition, rank_at, rank_run, name, position)
  SELECT v.tenant, v.kind, v.source, v.key, v.topic, v.partition, v.rank_at, v.rank_run, v.name, v.position FROM over v
  ON CONFLICT (tenant, kind, source, key, topic, partition) DO UPDATE SET
    rank_at = excluded.rank_at, rank_run = excluded.rank_run, name = excluded.name, position = excluded.position)
INSERT INTO matching.due (tenant, kind, key, cause)
SELECT v.tenant, 'identifier', ARRAY[v.kind, v.source, v.key], v.cause::jsonb FROM over v
 WHERE v.before IS DISTINCT FROM v.name"""
_MERGE_STAGED_NAMES = _MERGE_NAMES.format(
    given="""
  SELECT s.tenant, 'account', s.source, s.account, s.rank_at, s.rank_run, s.account_name, s.topic, s.partition,
         s.position, s.cause FROM pg_temp.stage_slot s
  UNION ALL
  SELECT s.tenant, 'sku', s.source, s.sku, s.rank_at, s.rank_run, s.sku_name, s.topic, s.partition,
         s.position, s.cause FROM pg_temp.stage_slot s"""
)
_MERGE_GIVEN_NAMES = _MERGE_NAMES.format(
    given="""
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[],
                       $8::text[], $9::smallint[], $10::bigint[], $11::text[])"""
)


async def _merge_names(tx: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Names that other records than usage give."""
    await tx.execute(_MERGE_GIVEN_NAMES, *zip(*rows, strict=True))
