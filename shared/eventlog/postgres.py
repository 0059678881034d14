"""The log in PostgreSQL: readers over all tenants and over one, the appender, the checks at start.

Reads are short keyset pages, each its own transaction: a long snapshot would keep dead rows of the heads and marks
alive and slow every append.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import asyncpg
import orjson

from shared.eventlog.groupcommit import GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupCommit
from shared.eventlog.model import (
    SETTLED_AFTER,
    CutTooRecent,
    Epoch,
    Outcome,
    Place,
    Stored,
    Verdict,
    command_stream,
    first_of_each_id,
)
from shared.events.record import Draft, content_of
from shared.kernel.canonical import canonical
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
# LIMIT 1 keeps the lookups a lookup: a plan that knows nothing of the arrays would join by scanning the log.
_RECORDED_AT = """
SELECT m.topic, m.partition, r.recorded_at
  FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS m(topic, partition, position)
 CROSS JOIN LATERAL (
   SELECT x.recorded_at FROM log.record x
    WHERE x.topic = m.topic AND x.partition = m.partition AND x.position = m.position LIMIT 1) r"""
_TAIL = """
SELECT r.topic, r.partition, r.position, r.tenant, r.recorded_at, r.body
  FROM unnest($2::smallint[], $3::bigint[]) AS m(partition, position)
 CROSS JOIN LATERAL (
   SELECT * FROM log.record x
    WHERE x.topic = $1 AND x.partition = m.partition AND x.position > m.position ORDER BY x.position LIMIT $4) r
 ORDER BY r.recorded_at, r.partition, r.position LIMIT $4"""
_CORRELATED = """
SELECT topic, partition, position, tenant, recorded_at, body FROM log.record
 WHERE topic = $1 AND partition = $2 AND position > $3 AND position <= $4 AND tenant = $5
   AND position($6::bytea IN body) > 0 ORDER BY position"""
_END = 2**62
_WINDOW = 5_000


def _stored(row: Any) -> Stored:
    return Stored(Place(row[0], row[1], row[2]), row[3], row[4], row[5])


async def _at(connection: Any, place: Place) -> Stored | None:
    row = await connection.fetchrow(_AT, *place)
    return None if row is None else _stored(row)


class LogGap(Exception):
    """Positions are not contiguous: the log is damaged, or it was read through a role that does not see all of it."""


class _Reader:
    """What both readers share; they differ in the session, and so in what it sees."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    def _session(self) -> AbstractAsyncContextManager[Any]:
        raise NotImplementedError

    async def page(
        self, topic: str, partition: int, after: int, limit: int, *, upto: int | None = None
    ) -> list[Stored]:
        async with self._session() as connection:
            rows = await connection.fetch(_PAGE, topic, partition, after, _END if upto is None else upto, limit)
        return [_stored(row) for row in rows]

    async def heads(self) -> dict[str, list[int]]:
        heads: dict[str, list[int]] = {}
        async with self._session() as connection:
            for topic, position in await connection.fetch(_HEADS):
                heads.setdefault(topic, []).append(position)
        return heads

    async def by_identity(self, topic: str, identity: UUID) -> Stored | None:
        async with self._session() as connection:
            row = await connection.fetchrow(_BY_IDENTITY, topic, identity)
        return None if row is None else _stored(row)

    async def at(self, place: Place) -> Stored | None:
        async with self._session() as connection:
            return await _at(connection, place)

    async def stream(self, topic: str, stream: UUID) -> list[Stored]:
        async with self._session() as connection:
            return [_stored(row) for row in await connection.fetch(_STREAM, topic, stream)]

    async def correlated(self, tenant: str, correlation_id: str) -> AsyncIterator[Stored]:
        scans = [
            self._correlated_in(topic, partition, head, tenant, correlation_id)
            for topic, heads in (await self.heads()).items()
            for partition, head in enumerate(heads)
            if head
        ]
        async for record in merge(scans):
            yield record

    async def _correlated_in(
        self, topic: str, partition: int, head: int, tenant: str, correlation_id: str
    ) -> AsyncIterator[Stored]:
        needle = canonical({"correlationid": correlation_id})[1:-1]
        for after in range(0, head, _WINDOW):
            async with self._session() as connection:
                rows = await connection.fetch(
                    _CORRELATED, topic, partition, after, min(after + _WINDOW, head), tenant, needle
                )
            for row in rows:
                # The bytes may hold the same words elsewhere; the attribute decides.
                if orjson.loads(row["body"]).get("correlationid") == correlation_id:
                    yield _stored(row)


class PostgresLog(_Reader):
    """Reads every tenant's records; for consumers, on a pool of a ``_work`` role."""

    def _session(self) -> AbstractAsyncContextManager[Any]:
        session: AbstractAsyncContextManager[Any] = self._pool.acquire()
        return session

    async def page(
        self, topic: str, partition: int, after: int, limit: int, *, upto: int | None = None
    ) -> list[Stored]:
        """See :class:`~shared.eventlog.model.LogReader`. Raises :class:`LogGap` if a position is missing."""
        page = await super().page(topic, partition, after, limit, upto=upto)
        for expected, record in enumerate(page, after + 1):
            if record.place.position != expected:
                raise LogGap(f"{topic}/{partition}: expected position {expected}, found {record.place.position}")
        return page

    async def cut_at(self, instant: datetime) -> dict[str, list[int]]:
        """The cut that holds every record recorded at or before ``instant``: closed under causes, because no effect is
        stamped before its cause. Raises :class:`~shared.eventlog.model.CutTooRecent` within the last minute.

        Bisects ``recorded_at`` along all partitions at once: it never decreases along a topic.
        """
        now = await self._pool.fetchval("SELECT clock_timestamp()")
        if instant > now - SETTLED_AFTER:
            raise CutTooRecent(instant)
        high = {(topic, n): head for topic, heads in (await self.heads()).items() for n, head in enumerate(heads)}
        low = dict.fromkeys(high, 0)
        while any(low[key] < high[key] for key in low):
            middle = {key: (low[key] + high[key] + 1) // 2 for key in low if low[key] < high[key]}
            topics, partitions = zip(*middle, strict=True)
            rows = await self._pool.fetch(_RECORDED_AT, topics, partitions, list(middle.values()))
            for topic, partition, recorded_at in rows:
                key = (topic, partition)
                if recorded_at <= instant:
                    low[key] = middle[key]
                else:
                    high[key] = middle[key] - 1
        cut: dict[str, list[int]] = {}
        for (topic, _), position in low.items():
            cut.setdefault(topic, []).append(position)
        return cut


class TenantLog(_Reader):
    """Reads one tenant's records, under row-level security; for request handlers, on a pool of an ``_api`` role."""

    def __init__(self, pool: asyncpg.Pool, tenant: str) -> None:
        super().__init__(pool)
        self._tenant = tenant

    def _session(self) -> AbstractAsyncContextManager[Any]:
        return tenant_transaction(self._pool, self._tenant)

    async def tail(self, topic: str, after: Sequence[int], limit: int) -> tuple[list[Stored], list[int]]:
        """The next records of a topic after a position in each partition, by recorded_at; at most ``limit``.

        Returns them with the positions to go on from. Start from zeros (all of it) or from the head (what comes).
        """
        async with self._session() as connection:
            rows = await connection.fetch(_TAIL, topic, list(range(len(after))), list(after), limit)
        positions = list(after)
        for row in rows:
            positions[row["partition"]] = row["position"]
        return [_stored(row) for row in rows], positions


async def merge(sources: Iterable[AsyncIterator[Stored]]) -> AsyncIterator[Stored]:
    """Records of several sources, each ordered by recorded_at, as one; equal instants by place."""
    heap: list[tuple[datetime, Place, Stored, AsyncIterator[Stored]]] = []

    async def push(source: AsyncIterator[Stored]) -> None:
        async for record in source:
            heapq.heappush(heap, (record.recorded_at, record.place, record, source))
            return

    for source in sources:
        await push(source)
    while heap:
        _, _, record, source = heapq.heappop(heap)
        yield record
        await push(source)


async def epoch(connection: Any) -> Epoch:
    """The current epoch and generation, from a connection or a pool."""
    row = await connection.fetchrow("SELECT epoch, generation FROM log.meta")
    return Epoch(row[0], row[1])


# --- append ---


async def append_in(connection: Any, drafts: Sequence[Draft], floor: datetime | None) -> list[Outcome]:
    """Append inside the caller's transaction, as its last statement before COMMIT; several topics in name order.

    All drafts are of one topic. Facts are independent of each other; the drafts of one stream are one command. An id
    that occurs twice is sent once, and the second answers like a repetition; a command that gives one id to two
    contents is a ``ValueError``. READ COMMITTED only.
    """
    if not drafts:
        return []
    first = first_of_each_id(drafts)
    unique = [drafts[n] for n in first.values()]
    numbers: dict[UUID | None, int] = {}
    commands = [numbers.setdefault(draft.stream, len(numbers)) for draft in unique]
    answers = iter(await _call(connection, unique, commands, floor))
    outcomes: list[Outcome] = []
    for n, draft in enumerate(drafts):
        sent = first[draft.id_hash]
        outcomes.append(next(answers) if sent == n else _repetition(draft, drafts[sent], outcomes[sent]))
    return await _settle_conflicts(drafts, outcomes, lambda place, _tenant: _at(connection, place))


def _repetition(draft: Draft, sent: Draft, answer: Outcome) -> Outcome:
    """What a draft gets whose id an earlier draft of the same call had."""
    if draft.content_hash != sent.content_hash:
        return Outcome(Verdict.CONFLICT, answer.place, None)
    return Outcome(Verdict.DUPLICATE, answer.place, None) if answer.verdict is Verdict.STORED else answer


async def _call(
    connection: Any, drafts: Sequence[Draft], commands: Sequence[int], floor: datetime | None
) -> list[Outcome]:
    topic = drafts[0].topic
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
        Outcome(Verdict(verdict.decode()), None if position is None else Place(topic, partition, position), recorded_at)
        for _, verdict, partition, position, recorded_at in rows
    ]


async def _settle_conflicts(
    drafts: Sequence[Draft], outcomes: list[Outcome], load: Callable[[Place, str], Awaitable[Stored | None]]
) -> list[Outcome]:
    """A conflict whose stored record says the same under the current version of its type is a duplicate: its content
    was hashed before the type had that version (the rare path). Of a command: if that holds for all of its records."""
    conflicts = [n for n, outcome in enumerate(outcomes) if outcome.verdict is Verdict.CONFLICT]
    differ: set[UUID] = set()
    same: list[int] = []
    for n in conflicts:
        draft, place = drafts[n], outcomes[n].place
        stored = None if place is None else await load(place, draft.tenant)
        if stored is not None and content_of(stored.body) == draft.content_hash:
            same.append(n)
        elif draft.stream is not None:
            differ.add(draft.stream)
    for n in same:
        if drafts[n].stream not in differ:
            outcomes[n] = Outcome(Verdict.DUPLICATE, outcomes[n].place, None)
    return outcomes


class _Drafts:
    """One unit of the appender: facts, or one command."""

    __slots__ = ("drafts", "floor", "keys", "records", "size")

    def __init__(self, drafts: Sequence[Draft], floor: datetime | None) -> None:
        self.drafts = drafts
        self.floor = floor
        self.records = len(drafts)
        self.size = sum([len(draft.body) for draft in drafts])
        # Numbers, because a UUID is slow to hash.
        self.keys = [draft.id_hash.int for draft in drafts]
        if drafts[0].stream is not None:
            self.keys.append(drafts[0].stream.int)


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
        if not unit:
            return []
        if unit[0].topic != self._topic:
            raise ValueError(f"this appender writes the topic {self._topic} only")
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
    return _cut(unit) if command_stream(unit) is None and len(unit) > 1 else [unit]


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
