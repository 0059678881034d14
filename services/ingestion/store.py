"""The SQL of ingestion: groups of units in, receipts and rejects out."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from services.ingestion.domain.facts import Fact, Rejected, Sender
from shared.eventlog.model import Place, Stored

_ACCEPT = (
    "SELECT outcome, partition, position FROM ingestion.accept"
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ORDER BY ord"
)
_REJECT = (
    "SELECT ingestion.reject($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
)
# Per partition first, from the index's end; row-level security keeps to the tenant.
_LAST = """
SELECT r.topic, r.partition, r.position, r.tenant, r.recorded_at, r.body
  FROM unnest($2::smallint[], $3::bigint[]) AS m(partition, position)
  CROSS JOIN LATERAL (
    SELECT * FROM log.record x WHERE x.topic = $1 AND x.partition = m.partition AND x.position <= m.position
     ORDER BY x.position DESC LIMIT $4) r
 ORDER BY r.recorded_at DESC, r.partition DESC, r.position DESC LIMIT $4"""


class Sealed(NamedTuple):
    """An invalid item as it is kept: its ciphertext, its wrapped key, and which master key wraps that."""

    item: bytes
    wrapped: bytes
    master: str


@dataclass(frozen=True)
class UnitOfFacts:
    """The facts of one batch that have one topic and one source, at most a piece of them; one receipt row."""

    sender: Sender
    batch: str
    digest: UUID
    source: str
    piece: int
    indexes: Sequence[int]
    facts: Sequence[Fact]

    @property
    def records(self) -> int:
        return len(self.facts)

    @cached_property
    def size(self) -> int:
        return sum(len(fact.draft.body) for fact in self.facts)

    @cached_property
    def ids(self) -> frozenset[UUID]:
        return frozenset([fact.draft.id_hash for fact in self.facts])

    @property
    def keys(self) -> Collection[Hashable]:
        return self.ids


@dataclass(frozen=True)
class UnitOfRejects:
    """The invalid items of one batch that count for one source, at most a piece of them; one receipt row."""

    sender: Sender
    batch: str
    digest: UUID
    source: str
    piece: int
    received_at: datetime
    indexes: Sequence[int]
    rejects: Sequence[Rejected]
    sealed: Sequence[Sealed]
    faults: Sequence[bytes]

    @property
    def records(self) -> int:
        return len(self.rejects)

    @cached_property
    def size(self) -> int:
        return sum(len(sealed.item) for sealed in self.sealed)

    @property
    def keys(self) -> Collection[Hashable]:
        return ((self.sender.tenant, self.sender.scope, self.batch, self.source, self.piece),)


Answer = tuple[str, Place | None]
"""One letter (s stored, d duplicate, c conflict, q invalid), and a place unless invalid."""


def _twins(units: Sequence[UnitOfFacts]) -> list[bool] | None:
    """Marks the records whose id an earlier record of their unit has; ``None`` if there is none, as almost always."""
    if all(len(unit.ids) == len(unit.facts) for unit in units):
        return None
    marks: list[bool] = []
    for unit in units:
        seen: set[UUID] = set()
        for fact in unit.facts:
            marks.append(fact.draft.id_hash in seen)
            seen.add(fact.draft.id_hash)
    return marks


async def accept(connection: Any, topic: str, units: Sequence[UnitOfFacts]) -> list[list[Answer]]:
    """Append one group of units of ``topic`` with their receipts, in one transaction of its own.

    Raises ``UniqueViolationError`` on ``receipt_pkey`` if a unit was accepted before.
    """
    drafts = [fact.draft for unit in units for fact in unit.facts]
    rows = await connection.fetch(
        _ACCEPT,
        topic,
        [unit.sender.tenant for unit in units],
        [unit.sender.scope for unit in units],
        [unit.batch for unit in units],
        [unit.source for unit in units],
        [unit.piece for unit in units],
        [unit.digest for unit in units],
        [n for n, unit in enumerate(units, 1) for _ in unit.facts],
        [index for unit in units for index in unit.indexes],
        [draft.partition for draft in drafts],
        [draft.tenant for draft in drafts],
        [draft.id_hash for draft in drafts],
        [draft.content_hash for draft in drafts],
        [draft.body for draft in drafts],
        [draft.stamp_offset for draft in drafts],
        _twins(units),
    )
    answers = iter(rows)
    return [
        [(row[0].decode(), Place(topic, row[1], row[2])) for row in (next(answers) for _ in unit.facts)]
        for unit in units
    ]


async def reject(connection: Any, units: Sequence[UnitOfRejects]) -> None:
    """Keep one group of units of invalid items with their receipts, in one transaction of its own.

    Raises ``UniqueViolationError`` on ``receipt_pkey`` if a unit was kept before.
    """
    rejects = [reject for unit in units for reject in unit.rejects]
    sealed = [sealed for unit in units for sealed in unit.sealed]
    await connection.execute(
        _REJECT,
        [unit.sender.tenant for unit in units],
        [unit.sender.scope for unit in units],
        [unit.batch for unit in units],
        [unit.source for unit in units],
        [unit.piece for unit in units],
        [unit.digest for unit in units],
        [unit.sender.actor for unit in units],
        [unit.sender.correlation_id for unit in units],
        [unit.received_at for unit in units],
        [n for n, unit in enumerate(units, 1) for _ in unit.rejects],
        [index for unit in units for index in unit.indexes],
        [reject.type for reject in rejects],
        [reject.record_id for reject in rejects],
        [faults for unit in units for faults in unit.faults],
        [one.item for one in sealed],
        [one.master for one in sealed],
        [one.wrapped for one in sealed],
        [reject.origin_document for reject in rejects],
        [reject.origin_locator for reject in rejects],
    )


async def last_of(connection: Any, topic: str, count: int) -> tuple[list[Stored], list[int]]:
    """A tenant's last records of a topic, oldest first, and the positions from which to read on. In its transaction."""
    heads = await connection.fetch("SELECT position FROM log.head WHERE topic = $1 ORDER BY partition", topic)
    positions = [head[0] for head in heads]
    rows = await connection.fetch(_LAST, topic, list(range(len(positions))), positions, count)
    stored = [Stored(Place(row[0], row[1], row[2]), row[3], row[4], row[5]) for row in rows]
    return stored[::-1], positions


class ReceiptRow(NamedTuple):
    """One stored receipt, as far as a repeated batch needs it."""

    topic: str
    source: str
    piece: int
    digest: UUID
    indexes: Sequence[int]
    outcomes: str


async def receipts(connection: Any, tenant: str, scope: str, batch: str) -> list[ReceiptRow]:
    """The receipts of a batch, in the transaction of its tenant."""
    rows = await connection.fetch(
        "SELECT topic, source, piece, digest, indexes, outcomes FROM ingestion.receipt"
        " WHERE tenant = $1 AND scope = $2 AND batch = $3",
        tenant,
        scope,
        batch,
    )
    return [ReceiptRow(*row) for row in rows]


async def places(connection: Any, topic: str, ids: Sequence[UUID]) -> dict[UUID, Place]:
    """Where the records with these identities stand, in the transaction of their tenant."""
    rows = await connection.fetch(
        "SELECT id_hash, partition, position FROM log.identity WHERE topic = $1 AND id_hash = ANY($2)", topic, ids
    )
    return {row[0]: Place(topic, row[1], row[2]) for row in rows}


# --- quarantine ---

_ITEM = """
SELECT id, n, kind, source, type, record_id, batch, index, {item}, faults, master, wrapped,
       origin_document, origin_locator, actor, correlation, received_at, first_topic, first_partition, first_position,
       resolved_at, resolved_topic, resolved_partition, resolved_position
  FROM ingestion.quarantine WHERE tenant = $1"""
# A list shows the value at fault; of an item larger than a record it leaves it out, so that a page stays a page.
_SMALL = "CASE WHEN octet_length(item) <= 65536 THEN item END AS item"
_PAGE_OF_ITEMS = {
    state: f"{_ITEM.format(item=_SMALL)} AND n < $2 AND {condition} ORDER BY n DESC LIMIT $3"
    for state, condition in (("open", "resolved_at IS NULL"), ("resolved", "resolved_at IS NOT NULL"), ("all", "true"))
}
_ITEM_BY_ID = f"{_ITEM.format(item='item')} AND id BETWEEN $2 AND $3 LIMIT 2"


async def quarantined(connection: Any, tenant: str, state: str, before: int, limit: int) -> list[Any]:
    """A page of rejects, newest first: those whose number is below ``before``; without large items.

    In the transaction of their tenant.
    """
    rows: list[Any] = await connection.fetch(_PAGE_OF_ITEMS[state], tenant, before, limit)
    return rows


async def reject_by_id(connection: Any, tenant: str, low: UUID, high: UUID) -> list[Any]:
    """At most two rejects whose id lies between ``low`` and ``high``: two mean that a short id is not unique."""
    rows: list[Any] = await connection.fetch(_ITEM_BY_ID, tenant, low, high)
    return rows


async def resolve(connection: Any, tenant: str, item: UUID, place: Place, now: datetime) -> None:
    """Link a reject to the record that its repair stored; the first repair is the one that counts."""
    await connection.execute(
        "UPDATE ingestion.quarantine SET resolved_at = $3, resolved_topic = $4, resolved_partition = $5,"
        " resolved_position = $6 WHERE tenant = $1 AND id = $2 AND resolved_at IS NULL",
        tenant,
        item,
        now,
        *place,
    )


# --- runs of feeds ---


class Run(NamedTuple):
    """One run of a feed, as it was first asked for."""

    run: int
    asserted_at: datetime


class RunTaken(Exception):
    """Another command has the run of this number."""


async def take_run(
    connection: Any, tenant: str, source: str, feed: str, command: str, asserted_at: datetime, wanted: int | None = None
) -> Run:
    """The run that ``command`` has, or gets now: the next number, or the one that the source itself gives.

    In a transaction of the tenant: the feed's row stays locked to its end, so numbers follow the order of commits.
    Raises :class:`RunTaken`.
    """
    key = (tenant, source, feed)
    await connection.execute(
        "INSERT INTO ingestion.feed (tenant, source, feed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", *key
    )
    last = await connection.fetchval(
        "SELECT run FROM ingestion.feed WHERE tenant = $1 AND source = $2 AND feed = $3 FOR UPDATE", *key
    )
    known = await connection.fetchrow(
        "SELECT run, asserted_at FROM ingestion.feed_run"
        " WHERE tenant = $1 AND source = $2 AND feed = $3 AND command = $4",
        *key,
        command,
    )
    if known is not None:
        return Run(*known)
    run = last + 1 if wanted is None else wanted
    taken = await connection.fetchval(
        "INSERT INTO ingestion.feed_run (tenant, source, feed, run, command, asserted_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, source, feed, run) DO NOTHING RETURNING run",
        *key,
        run,
        command,
        asserted_at,
    )
    if taken is None:
        raise RunTaken(f"run {run} of feed {feed!r}")
    await connection.execute(
        "UPDATE ingestion.feed SET run = greatest(run, $4) WHERE tenant = $1 AND source = $2 AND feed = $3", *key, run
    )
    return Run(run, asserted_at)
