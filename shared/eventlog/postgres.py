"""The log in PostgreSQL: readers over all tenants and over one, the appender, the checks at start.

Reads are short keyset pages, each its own transaction: a long snapshot would keep dead rows of the heads and marks
alive and slow every append.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Self
from uuid import UUID

import asyncpg

from shared.eventlog.groupcommit import GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupCommit
from shared.eventlog.model import Epoch, Outcome, Place, Stored, Verdict
from shared.events.record import Draft, content_of
from shared.runtime.clock import Clock
from shared.runtime.database import tenant_transaction

_APPEND = """
SELECT ord, outcome, r_partition, r_position, r_recorded_at
  FROM log.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ORDER BY ord"""
_PAGE = """
SELECT topic, partition, position, tenant, recorded_at, body FROM log.record
 WHERE topic = $1 AND partition = $2 AND position > $3 AND position <= $4 ORDER BY position LIMIT $5"""
_AT = """
SELECT topic, partition, position, tenant, recorded_at, body FROM log.record
 WHERE topic = $1 AND partition = $2 AND position = $3"""
_BY_IDENTITY = """
SELECT r.topic, r.partition, r.position, r.tenant, r.recorded_at, r.body
  FROM log.identity e JOIN log.record r USING (topic, partition, position)
 WHERE e.topic = $1 AND e.id_hash = $2 AND r.topic = $1"""
_STREAM = """
SELECT r.topic, r.partition, r.position, r.tenant, r.recorded_at, r.body
  FROM log.stream s JOIN log.record r USING (topic, partition, position)
 WHERE s.topic = $1 AND s.stream = $2 AND r.topic = $1 ORDER BY s.version"""
# One statement, one snapshot; partitions are numbered from 0 without a gap.
_HEADS = "SELECT topic, position FROM log.head ORDER BY topic, partition"
_END = 2**62


def _stored(row: Any) -> Stored:
    return Stored(Place(row[0], row[1], row[2]), row[3], row[4], row[5])


async def _page(connection: Any, topic: str, partition: int, after: int, limit: int, upto: int | None) -> list[Stored]:
    rows = await connection.fetch(_PAGE, topic, partition, after, _END if upto is None else upto, limit)
    return [_stored(row) for row in rows]


async def _at(connection: Any, place: Place) -> Stored | None:
    row = await connection.fetchrow(_AT, *place)
    return None if row is None else _stored(row)


async def _by_identity(connection: Any, topic: str, identity: UUID) -> Stored | None:
    row = await connection.fetchrow(_BY_IDENTITY, topic, identity)
    return None if row is None else _stored(row)


async def _stream(connection: Any, topic: str, stream: UUID) -> list[Stored]:
    return [_stored(row) for row in await connection.fetch(_STREAM, topic, stream)]


async def _heads(connection: Any) -> dict[str, list[int]]:
    heads: dict[str, list[int]] = {}
    for topic, position in await connection.fetch(_HEADS):
        heads.setdefault(topic, []).append(position)
    return heads


class LogGap(Exception):
    """Positions are not contiguous: the log is damaged, or it was read through a role that does not see all of it."""


class PostgresLog:
    """Reads every tenant's records; for consumers, on a pool of a ``_work`` role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(
        self, topic: str, partition: int, after: int, limit: int, *, upto: int | None = None
    ) -> list[Stored]:
        """See :class:`~shared.eventlog.model.LogReader`. Raises :class:`LogGap` if a position is missing."""
        page = await _page(self._pool, topic, partition, after, limit, upto)
        for expected, record in enumerate(page, after + 1):
            if record.place.position != expected:
                raise LogGap(f"{topic}/{partition}: expected position {expected}, found {record.place.position}")
        return page

    async def heads(self) -> dict[str, list[int]]:
        return await _heads(self._pool)

    async def by_identity(self, topic: str, identity: UUID) -> Stored | None:
        return await _by_identity(self._pool, topic, identity)

    async def at(self, place: Place) -> Stored | None:
        return await _at(self._pool, place)

    async def stream(self, topic: str, stream: UUID) -> list[Stored]:
        return await _stream(self._pool, topic, stream)


async def epoch(connection: Any) -> Epoch:
    """The current epoch and generation, from a connection or a pool."""
    row = await connection.fetchrow("SELECT epoch, generation FROM log.meta")
    return Epoch(row[0], row[1])


# --- append ---


async def append_in(connection: Any, drafts: Sequence[Draft], floor: datetime | None) -> list[Outcome]:
    """Append inside the caller's transaction, as its last statement before COMMIT; several topics in name order.

    All drafts are of one topic. Facts are independent of each other; the drafts of one stream are one command. An id
    that occurs twice is sent once, and the second answers like a repetition. READ COMMITTED only.
    """
    if not drafts:
        return []
    first: dict[UUID, int] = {}
    unique = [draft for n, draft in enumerate(drafts) if first.setdefault(draft.id_hash, n) == n]
    streams: dict[UUID | None, int] = {}
    commands = [streams.setdefault(draft.stream, len(streams)) for draft in unique]
    answers = await _call(connection, unique, commands, floor)
    by_id = {draft.id_hash: (draft, answer) for draft, answer in zip(unique, answers, strict=True)}
    outcomes = [
        by_id[draft.id_hash][1] if first[draft.id_hash] == n else _repeated(draft, *by_id[draft.id_hash])
        for n, draft in enumerate(drafts)
    ]
    return await _settle_conflicts(drafts, outcomes, lambda place, _tenant: _at(connection, place))


def _repeated(draft: Draft, sent: Draft, answer: Outcome) -> Outcome:
    if answer.verdict is not Verdict.STORED:
        return answer
    same = draft.content_hash == sent.content_hash
    return Outcome(Verdict.DUPLICATE if same else Verdict.CONFLICT, answer.place, None)


async def _call(
    connection: Any, drafts: Sequence[Draft], commands: Sequence[int], floor: datetime | None
) -> list[Outcome]:
    topic = drafts[0].topic
    if any(draft.topic != topic for draft in drafts):
        raise ValueError("the drafts of one append belong to one topic")
    rows = await connection.fetch(
        _APPEND,
        topic,
        floor,
        commands,
        [draft.partition for draft in drafts],
        [draft.tenant for draft in drafts],
        [draft.id_hash for draft in drafts],
        [draft.content_hash for draft in drafts],
        [draft.body for draft in drafts],
        [draft.stamp_offset for draft in drafts],
        [draft.stream for draft in drafts],
        [draft.expected for draft in drafts],
    )
    return [
        Outcome(Verdict(row[1].decode()), None if row[3] is None else Place(topic, row[2], row[3]), row[4])
        for row in rows
    ]


async def _settle_conflicts(
    drafts: Sequence[Draft], outcomes: list[Outcome], load: Callable[[Place, str], Awaitable[Stored | None]]
) -> list[Outcome]:
    """A conflict whose stored record says the same under the current version of its type is a duplicate (the rare path:
    the content was hashed before the type had that version)."""
    for n, (draft, outcome) in enumerate(zip(drafts, outcomes, strict=True)):
        if outcome.verdict is Verdict.CONFLICT and outcome.place is not None:
            stored = await load(outcome.place, draft.tenant)
            if stored is not None and content_of(stored.body) == draft.content_hash:
                outcomes[n] = Outcome(Verdict.DUPLICATE, outcome.place, None)
    return outcomes


@dataclass(frozen=True)
class _Drafts:
    """One unit of the appender: facts, or one command."""

    drafts: Sequence[Draft]
    floor: datetime | None

    @property
    def records(self) -> int:
        return len(self.drafts)

    @cached_property
    def size(self) -> int:
        return sum(len(draft.body) for draft in self.drafts)

    @cached_property
    def keys(self) -> Collection[Hashable]:
        return {key for draft in self.drafts for key in (draft.id_hash, draft.stream) if key is not None}


class Appender:
    """Appends to one topic by group commit; one per process and topic. Use it as an async context manager.

    ``on_append`` is called after each commit that stored something: it wakes the relay of the same process.
    Works on a pool of an ``_api`` or of a ``_work`` role.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        topic: str,
        *,
        on_append: Callable[[], None] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._pool = pool
        self._topic = topic
        self._on_append = on_append
        self._commits: GroupCommit[_Drafts, list[Outcome]] = GroupCommit(
            self._execute, name=topic, clock=clock, rng=rng
        )

    async def __aenter__(self) -> Self:
        await self._commits.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._commits.__aexit__(*details)

    async def append(self, unit: Sequence[Draft], *, floor: datetime | None = None) -> list[Outcome]:
        """See :class:`~shared.eventlog.model.LogWriter`.

        Facts may be more than a group holds: they are cut into pieces. A command is never cut; one that no group can
        hold is a ``ValueError``. Raises :class:`~shared.eventlog.groupcommit.LogUnavailable` when the outcome stays
        unknown, and whatever PostgreSQL says of this unit alone.
        """
        if any(draft.topic != self._topic for draft in unit):
            raise ValueError(f"this appender writes {self._topic} only")
        pieces = await self._commits.commit([_Drafts(piece, floor) for piece in _pieces(unit)])
        return await _settle_conflicts(unit, [outcome for piece in pieces for outcome in piece], self._load)

    async def _execute(self, group: Sequence[_Drafts]) -> list[list[Outcome]]:
        drafts = [draft for unit in group for draft in unit.drafts]
        commands = [n for n, unit in enumerate(group) for _ in unit.drafts]
        floor = max((unit.floor for unit in group if unit.floor is not None), default=None)
        outcomes = await _call(self._pool, drafts, commands, floor)
        if self._on_append is not None and any(outcome.verdict is Verdict.STORED for outcome in outcomes):
            self._on_append()
        answers = iter(outcomes)
        return [[next(answers) for _ in unit.drafts] for unit in group]

    async def _load(self, place: Place, tenant: str) -> Stored | None:
        async with tenant_transaction(self._pool, tenant) as connection:
            return await _at(connection, place)


def _pieces(unit: Sequence[Draft]) -> Iterable[Sequence[Draft]]:
    """A command as it is; facts cut to a group's bounds and so that no piece holds an id twice."""
    if any(draft.stream is not None for draft in unit):
        if len({draft.stream for draft in unit}) > 1:
            raise ValueError("the drafts of a command belong to one stream")
        return [unit] if unit else []
    return _cut(unit)


def _cut(facts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    piece: list[Draft] = []
    ids: set[UUID] = set()
    size = 0
    for draft in facts:
        if draft.id_hash in ids or len(piece) == GROUP_RECORDS_MAX or size + len(draft.body) > GROUP_BYTES_MAX:
            yield piece
            piece, ids, size = [], set(), 0
        piece.append(draft)
        ids.add(draft.id_hash)
        size += len(draft.body)
    if piece:
        yield piece
