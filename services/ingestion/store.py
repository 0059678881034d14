"""The SQL of ingestion: groups of units in, receipts and rejects out."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from services.ingestion.domain.facts import Fact, Rejected, Sender
from shared.eventlog.model import Place

_ACCEPT = (
    "SELECT outcome, partition, position FROM ingestion.accept"
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ORDER BY ord"
)
_REJECT = (
    "SELECT ingestion.reject($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
)


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
