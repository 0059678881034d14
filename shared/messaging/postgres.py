"""Marks, dead letters, leases and relay marks in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.eventlog.model import Place, Stored, Verdict
from shared.eventlog.postgres import append_in
from shared.events.record import Draft
from shared.messaging.consumer import BadRecord, Consumer
from shared.messaging.ports import DeadLetter, Gap, Marks, News, Partition, Standing, VersionMoved

_DETAIL_MAX = 2_000

# The ORDER BY is the order in which the rows are locked: every member locks in the same one.
_LOCK = """
SELECT c.topic, c.partition, c.position, h.position
  FROM {schema}.consumed c
  JOIN unnest($2::text[], $3::smallint[]) AS k(topic, partition) USING (topic, partition)
  JOIN log.head h USING (topic, partition)
 WHERE c.consumer = $1
 ORDER BY c.topic, c.partition
   FOR UPDATE OF c"""
_ADVANCE = """
UPDATE {schema}.consumed c SET position = m.position
  FROM unnest($2::text[], $3::smallint[], $4::bigint[]) AS m(topic, partition, position)
 WHERE c.consumer = $1 AND c.topic = m.topic AND c.partition = m.partition"""
# FOR SHARE: a replay of a stream's dead letters, which locks them, comes wholly before this batch or wholly after it.
_BLOCKED = """
SELECT d.stream FROM {schema}.dead_letter d
 WHERE d.consumer = $1 AND d.state = 'open' AND d.stream = ANY ($2::uuid[])
   FOR SHARE"""
_BURY = """
INSERT INTO {schema}.dead_letter (consumer, topic, partition, position, tenant, stream, reason, detail, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""
_STANDING = """
SELECT c.topic, c.partition, c.position, h.position, w.recorded_at
  FROM {schema}.consumed c
  JOIN log.head h USING (topic, partition)
  LEFT JOIN LATERAL (
    SELECT r.recorded_at FROM log.record r
     WHERE r.topic = c.topic AND r.partition = c.partition AND r.position = c.position + 1) w ON c.position < h.position
 WHERE c.consumer = $1 AND c.topic = ANY ($2::text[])
 ORDER BY c.topic, c.partition"""
_OPEN = "SELECT count(*) FROM {schema}.dead_letter d WHERE d.consumer = $1 AND d.state = 'open'"
_BODIES = """
SELECT r.body FROM log.record r
 WHERE r.topic = $1 AND r.partition = $2 AND r.position > $3 AND r.position <= $4
 ORDER BY r.position"""


def blames_record(error: BaseException) -> bool:
    """Whether an error is about the records at hand rather than about the infrastructure.

    Of PostgreSQL's errors only data (22) and integrity (23) are; the others, and whatever breaks on the way to it, may
    pass. Anything else that a handler raises is its record's fault: it would be raised again for ever.
    """
    if isinstance(error, (BadRecord, ValueError)):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(("22", "23"))
    return not isinstance(
        error, (OSError, TimeoutError, VersionMoved, Gap, asyncpg.InterfaceError, asyncpg.InternalClientError)
    )


class PostgresStore:
    """Implements :class:`~shared.messaging.ports.Store` on a pool of the service's ``_work`` role."""

    def __init__(self, pool: asyncpg.Pool, consumer: Consumer) -> None:
        self._pool = pool
        self._consumer = consumer
        self._lock = _LOCK.format(schema=consumer.schema)
        self._standing = _STANDING.format(schema=consumer.schema)
        self._open = _OPEN.format(schema=consumer.schema)

    @asynccontextmanager
    async def transaction(self, partitions: Sequence[Partition]) -> AsyncIterator[PostgresTransaction]:
        """See :class:`~shared.messaging.ports.Store`. Raises LookupError for a partition without a mark."""
        topics, numbers = [p.topic for p in partitions], [p.number for p in partitions]
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(self._lock, self._consumer.name, topics, numbers)
            marks = {Partition(topic, number): Marks(mark, head) for topic, number, mark, head in rows}
            if len(marks) != len(partitions):
                lacking = sorted(set(partitions) - marks.keys())[0]
                raise LookupError(
                    f"{self._consumer.schema}.consumed has no mark of {self._consumer.name} for {lacking.topic}/"
                    f"{lacking.number}: its migration must call messaging.add_consumer with this topic"
                )
            yield PostgresTransaction(connection, self._consumer, marks)

    async def standing(self) -> list[Standing]:
        rows = await self._pool.fetch(self._standing, self._consumer.name, list(self._consumer.topics))
        return [Standing(Partition(topic, number), mark, head, since) for topic, number, mark, head, since in rows]

    async def open_dead_letters(self) -> int:
        return int(await self._pool.fetchval(self._open, self._consumer.name))

    def blames_record(self, error: Exception) -> bool:
        return blames_record(error)


class PostgresTransaction:
    """Implements :class:`~shared.messaging.ports.Transaction` on a connection inside a transaction."""

    def __init__(self, connection: Any, consumer: Consumer, marks: Mapping[Partition, Marks]) -> None:
        self.handle = connection
        self.marks = marks
        self._consumer = consumer

    async def page(self, partition: Partition, after: int, upto: int) -> list[bytes]:
        rows = await self.handle.fetch(_BODIES, partition.topic, partition.number, after, upto)
        if len(rows) != upto - after:
            raise Gap(f"{partition.topic}/{partition.number}: {len(rows)} records in ({after}, {upto}]")
        return [row[0] for row in rows]

    async def blocked(self, streams: Collection[UUID]) -> set[UUID]:
        if not streams:
            return set()
        sql = _BLOCKED.format(schema=self._consumer.schema)
        return {row[0] for row in await self.handle.fetch(sql, self._consumer.name, list(streams))}

    async def advance(self, marks: Mapping[Partition, int]) -> None:
        await self.handle.execute(
            _ADVANCE.format(schema=self._consumer.schema),
            self._consumer.name,
            [partition.topic for partition in marks],
            [partition.number for partition in marks],
            list(marks.values()),
        )

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        await self.handle.executemany(
            _BURY.format(schema=self._consumer.schema),
            [
                (self._consumer.name, *letter.place, _text(letter.tenant), letter.stream, letter.reason,
                 _text(letter.detail)[:_DETAIL_MAX], letter.attempts)
                for letter in letters
            ],
        )  # fmt: skip

    async def append(self, drafts: Mapping[str, Sequence[Draft]], floor: datetime) -> None:
        for topic in sorted(drafts):
            for draft, outcome in zip(drafts[topic], await append_in(self.handle, drafts[topic], floor), strict=True):
                if outcome.verdict is Verdict.VERSION_MOVED:
                    raise VersionMoved(f"stream {draft.stream} is no longer at version {draft.expected}")
                if outcome.verdict is Verdict.CONFLICT:
                    raise BadRecord(f"the log holds another record under the id of an effect, at {outcome.place}")

    def savepoint(self) -> AbstractAsyncContextManager[Any]:
        savepoint: AbstractAsyncContextManager[Any] = self.handle.transaction()
        return savepoint


def _text(value: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return value.replace("\x00", "\N{SYMBOL FOR NULL}")


_NEWS = """
SELECT h.partition, r.position, h.position
  FROM log.head h JOIN log.relay r USING (topic, partition)
 WHERE h.topic = $1 AND h.position > r.position
 ORDER BY h.partition"""
_WITH_NEWS = """
SELECT DISTINCT h.topic
  FROM log.head h JOIN log.relay r USING (topic, partition)
 WHERE h.topic = ANY ($1::text[]) AND h.position > r.position"""
# The sum runs over the bytes before a record: the first one of a partition is always read.
_PAGES = """
SELECT m.partition, r.position, r.tenant, r.recorded_at, r.body
  FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS m(partition, mark, head)
  CROSS JOIN LATERAL (
    SELECT p.*, sum(octet_length(p.body)) OVER preceding AS before
      FROM (SELECT l.position, l.tenant, l.recorded_at, l.body FROM log.record l
             WHERE l.topic = $1 AND l.partition = m.partition AND l.position > m.mark AND l.position <= m.head
             ORDER BY l.position LIMIT $5) p
    WINDOW preceding AS (ORDER BY p.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) r
 WHERE coalesce(r.before, 0) < $6
 ORDER BY m.partition, r.position"""


class PostgresRelayMarks:
    """Implements :class:`~shared.messaging.ports.RelayMarks` on a pool of the service's ``_work`` role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def take_lease(self, topic: str, owner: str, seconds: float) -> int | None:
        token: int | None = await self._pool.fetchval(
            "SELECT log.lease_take($1, $2, $3)", topic, owner, timedelta(seconds=seconds)
        )
        return token

    async def release_lease(self, topic: str, owner: str) -> None:
        await self._pool.execute("SELECT log.lease_release($1, $2)", topic, owner)

    async def news(self, topic: str) -> list[News]:
        return [News(*row) for row in await self._pool.fetch(_NEWS, topic)]

    async def with_news(self, topics: Sequence[str]) -> list[str]:
        return [row[0] for row in await self._pool.fetch(_WITH_NEWS, topics)]

    async def pages(
        self, topic: str, news: Sequence[News], records_max: int, bytes_max: int
    ) -> dict[int, list[Stored]]:
        partitions, marks, heads = zip(*news, strict=True)
        rows = await self._pool.fetch(_PAGES, topic, partitions, marks, heads, records_max, bytes_max)
        pages: dict[int, list[Stored]] = {}
        for partition, position, tenant, recorded_at, body in rows:
            stored = Stored(Place(topic, partition, position), tenant, recorded_at, body)
            pages.setdefault(partition, []).append(stored)
        return pages

    async def move(self, topic: str, token: int, moves: Mapping[int, tuple[int, int]]) -> int:
        old, new = zip(*moves.values(), strict=True)
        moved = await self._pool.fetchval(
            "SELECT log.relay_move($1, $2, $3, $4, $5)", topic, token, list(moves), old, new
        )
        return int(moved)
