"""What the tests of matching share: records into the real log, the service driven by hand, the oracle, and replays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import orjson

from services.matching.compare import Comparer
from services.matching.expand import NO_MONTH, Key
from services.matching.fold import TOPICS, consumer
from services.matching.inputs import Reading, read_hiding, read_month, read_snapshot
from services.matching.resolver import Resolver
from shared.eventlog.postgres import append_in
from shared.events.catalogue import CATALOGUE, PARTITIONS
from shared.events.record import Draft, content_of
from shared.kernel.canonical import canonical, decimal_text
from shared.kernel.identity import id_hash, partition_of
from shared.kernel.periods import month_of
from shared.messaging.loop import ConsumerLoop
from shared.messaging.postgres import PostgresStore
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.inputs import ClientInputs, FeedSpan, GroupInputs
from shared.reconciliation.statement import group_lines
from shared.reconciliation.verdict import Verdict, body_bytes
from shared.reconciliation.world import Feed, Group, World
from shared.runtime.clock import SystemClock
from shared.runtime.database import BY_KEY, open_pool
from tests.conftest import Database
from tests.unit.reconciliation.book import Book

AT_ONCE = timedelta(hours=-1)
"""Patience of a test that does not want to wait for what else may come."""
_BEHIND = """
SELECT count(*) FROM matching.consumed c JOIN log.head h USING (topic, partition) WHERE c.position < h.position"""
_BURIED = "buried by a test"
# Sums that differ from the sum of their slots.
_TOTALS = """
SELECT t.meter, t.day, t.value, t.n, s.value, s.n
  FROM (SELECT * FROM matching.total WHERE n <> 0 OR value <> 0) t
  FULL JOIN (SELECT o.meter, o.day, sum(o.value) AS value, count(*) AS n
               FROM matching.slot o JOIN matching.meter m USING (meter) WHERE m.kind = 'counter' GROUP BY 1, 2) s
    USING (meter, day)
 WHERE (t.value, t.n) IS DISTINCT FROM (s.value, s.n)"""
_STAMP = b'"recordedat":"'


class Numbered(Book):
    """A book whose facts never share an id, whatever is written twice."""

    def _fact(self, name: str, source: str, record_id: str, data: Any, **rank: Any) -> dict[str, Any]:
        return super()._fact(name, source, f"{record_id}#{len(self.records)}", data, **rank)


def draft_of(record: dict[str, Any]) -> Draft:
    """A decoded record, ready for the log again."""
    record_type = CATALOGUE[record["type"]]
    body = canonical(record)
    stream = UUID(hex=record["stream"]) if "stream" in record else None
    key = stream.hex if stream else record_type.key(record["source"], record_type.model(**record["data"]))  # type: ignore[misc]
    content = content_of(body)
    assert content is not None
    return Draft(
        topic=record_type.topic,
        partition=partition_of(record["tenant"], key, PARTITIONS),
        tenant=record["tenant"],
        id_hash=id_hash(record["tenant"], record["source"], record["id"]),
        content_hash=content,
        body=body,
        stamp_offset=body.rindex(_STAMP) + len(_STAMP) + 1,
        stream=stream,
        expected=record["streamversion"] - 1 if stream else None,
    )


async def append(pool: asyncpg.Pool, records: Iterable[dict[str, Any]]) -> None:
    """Records into the log, each in a transaction of its own, in this order (``pool``: ingestion's)."""
    for record in records:
        async with pool.acquire() as connection, connection.transaction():
            await append_in(connection, [draft_of(record)], None)


@dataclass
class Matching:
    """The service without its server: every part can be driven by hand."""

    pool: asyncpg.Pool
    keyed: asyncpg.Pool
    """The pool of resolvers and comparers."""
    ingestion: asyncpg.Pool
    closing: asyncpg.Pool
    """Writes what matching itself decides."""
    admin: asyncpg.Connection
    resolver: Resolver
    comparer: Comparer

    def loop(self, handler: Any = None) -> ConsumerLoop:
        """A member of the fold's group that is fed by the log alone."""
        made = consumer(handler) if handler else consumer()
        return ConsumerLoop(made, PostgresStore(self.pool, made), epoch=1, clock=SystemClock(), random=Random(0))

    async def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Records into the log, each by the service that writes its topic."""
        for record in records:
            await append(self.closing if record["type"].startswith("statement.") else self.ingestion, [record])

    async def feed(self, records: Iterable[dict[str, Any]]) -> None:
        await self.append(records)
        await self.fold()

    async def fold(self) -> None:
        """Fold everything that the log holds. Nothing may be refused."""
        loop = self.loop()
        folding = asyncio.create_task(loop.run())
        async with asyncio.timeout(30):
            while await self.admin.fetchval(_BEHIND):
                await asyncio.sleep(0.005)
        loop.stop()
        await folding
        refused = await self.admin.fetch("SELECT * FROM matching.dead_letter WHERE detail <> $1", _BURIED)
        assert not refused, refused

    async def settle(self) -> None:
        """Resolve and draw until nothing is due."""
        resolver = self.resolver
        while (
            await resolver.step()
            or await resolver.wake()
            or await resolver.rename()
            or await self.comparer.step(AT_ONCE)
        ):
            pass

    @asynccontextmanager
    async def questions(self) -> AsyncIterator[list[str]]:
        """The statements that the comparer sends meanwhile."""
        sent: list[str] = []
        pool = self.comparer._pool
        self.comparer._pool = _Listening(pool, sent)
        yield sent
        self.comparer._pool = pool

    async def bury(self, place: tuple[str, int, int], tenant: str) -> None:
        """Open a dead letter."""
        await self.admin.execute(
            "INSERT INTO matching.dead_letter (consumer, topic, partition, position, tenant, reason, detail)"
            " VALUES ('matching.fold', $1, $2, $3, $4, 'refused', $5)",
            *place,
            tenant,
            _BURIED,
        )

    async def run(self, records: Iterable[dict[str, Any]]) -> None:
        await self.feed(records)
        await self.settle()

    # --- what is there ---------------------------------------------------------------------------------------------
    async def records(self, *topics: str) -> list[dict[str, Any]]:
        """The log's records with their places, in the order in which they were recorded."""
        rows = await self.admin.fetch(
            "SELECT topic, partition, position, body FROM log.record WHERE topic = ANY ($1)"
            " ORDER BY recorded_at, topic, partition, position",
            list(topics or TOPICS),
        )
        return [
            orjson.loads(body) | {"place": (topic, partition, position)} for topic, partition, position, body in rows
        ]

    async def verdicts(self, tenant: str) -> list[asyncpg.Record]:
        return await self.admin.fetch("SELECT * FROM matching.verdict WHERE tenant = $1 ORDER BY key", tenant)

    async def stream(self, tenant: str, code: str) -> list[tuple[str, int]]:
        """(type, version) of every record of the one discrepancy that now bears this code."""
        rows = [row for row in await self.verdicts(tenant) if row["code"] == code]
        assert len(rows) == 1, [row["key"] for row in rows]
        return [
            (record["type"].split(".")[1], record["streamversion"])
            for record in await self.records("discrepancies")
            if record["stream"] == rows[0]["stream"].hex
        ]

    # --- what should be there ----------------------------------------------------------------------------------------
    async def check(self, tenant: str) -> None:
        """The tables say what the oracle says of the whole log; and nothing is left that would be due."""
        for table in ("due", "due_key"):
            assert not await self.admin.fetch(f"SELECT * FROM matching.{table}")
        assert not await self.admin.fetch(_TOTALS)
        world = World().fold(await self.records())
        await self._check_groups(tenant, world.verdicts(tenant))
        rows = {tuple(orjson.loads(row["key"])): row for row in await self.verdicts(tenant)}
        expected = world.draw_all(tenant)
        shown = {key: row["body"] for key, row in rows.items() if row["state"] == "open"}
        assert shown.keys() == expected.keys()
        for key, body in expected.items():
            assert canonical(orjson.loads(shown[key])) == body_bytes(body), key

    async def check_inputs(self, tenant: str) -> int:
        """Every group and every client's level is a function of the same inputs as the oracle's; how many groups."""
        world = World().fold(await self.records())
        groups = world.groups(tenant)
        months = {(group.client, group.period) for group in groups}
        for client, period in sorted(months):
            wanted = {one.product for one in groups if (one.client, one.period) == (client, period)}
            async with self.keyed.acquire() as connection, connection.transaction(isolation="repeatable_read"):
                b = Reading(connection)
                snapshot = await read_snapshot(b, tenant)
                month = await read_month(b, snapshot, client, period.start, sorted(wanted), level=True)
                await read_hiding(b, month, sorted(wanted))
                alone = await read_month(b, snapshot, client, period.start, [], level=True)
            there = {item: month.group(item) for item in month.items}
            assert {item for item, inputs in there.items() if inputs} == wanted, (client, period)
            for item in wanted:
                inputs = world.inputs(tenant, Group(client, period, item))
                assert _comparable(there[item], inputs.feeds) == _comparable(inputs, inputs.feeds), (
                    client,
                    period,
                    item,
                )
            level = world._of(tenant).client_inputs(client, period, ())
            for one in (month, alone):
                assert canonical_order(one.level(())) == canonical_order(level), (client, period)
        return len(groups)

    async def _check_groups(self, tenant: str, expected: Mapping[Any, Verdict]) -> None:
        rows = await self.admin.fetch("SELECT * FROM matching.drawn WHERE tenant = $1", tenant)
        drawn = {Key(*(row[name] for name in Key._fields)): row for row in rows}
        wanted = {_key(tenant, group): verdict for group, verdict in expected.items()}
        assert drawn.keys() == wanted.keys()
        for key, verdict in wanted.items():
            row = drawn[key]
            for name in ("state", "expected", "billed", "explained_by", "broken", "currency", "owed"):
                assert row[name] == getattr(verdict, name), (key, name)
            assert row["explained"] + row["pending"] == verdict.explained, key
            waiting = [(one["side"], one["what"], one["until"]) for one in orjson.loads(row["waiting"])]
            assert waiting == [(w.side, w.what, w.until and str(w.until)) for w in verdict.waiting], key
            if key.level in ("product", "client"):
                said = group_lines(key.item, verdict, month_of(key.month)).document()
                for name in ("lines", "vendor"):
                    assert canonical(orjson.loads(row[name])) == canonical(said[name]), (key, name)

    async def replay(self, tenant: str) -> int:
        """Every derived record is what its basis gives, byte for byte; the versions of a stream have no gap. Returns
        how many records were drawn again."""
        facts = await self.records()
        keys = {row["stream"].hex: tuple(orjson.loads(row["key"])) for row in await self.verdicts(tenant)}
        derived = [record for record in await self.records("discrepancies") if record["tenant"] == tenant]
        versions: dict[str, int] = {}
        for record in derived:
            stream, basis = record["stream"], record["data"]["basis"]
            versions[stream] = versions.get(stream, 0) + 1
            assert record["streamversion"] == versions[stream]
            cut, excluded = basis["cut"], set(basis.get("excluded", ()))
            known = [
                fact
                for fact in facts
                if fact["place"][2] <= cut[fact["place"][0]][fact["place"][1]]
                and "/".join(map(str, fact["place"])) not in excluded
            ]
            assert all(fact["recordedat"] <= record["recordedat"] for fact in known)
            breaks = World().fold(known).draw_all(tenant)
            if record["type"] == "discrepancy.cleared.v1":
                assert keys[stream] not in breaks
            else:
                assert body_bytes(breaks[keys[stream]]) == canonical(record["data"]["body"])
        return len(derived)


def _comparable(inputs: GroupInputs | None, feeds: tuple[FeedSpan, ...]) -> GroupInputs:
    """Inputs in one order; of the spans of feeds the service reads only those that may matter."""
    assert inputs is not None
    assert set(inputs.feeds) <= set(feeds)
    return canonical_order(replace(inputs, feeds=()))


_Inputs = TypeVar("_Inputs", GroupInputs, ClientInputs)


def text_of(value: Any) -> str:
    """What a value says; a sum that comes back to nothing may be 0 or 0.0."""
    return re.sub(r"Decimal\('([^']+)'\)", lambda one: decimal_text(Decimal(one[1])), repr(value))


def canonical_order(inputs: _Inputs) -> _Inputs:
    """Inputs with every collection in one order."""
    return replace(
        inputs,
        **{
            one.name: tuple(sorted(value, key=text_of))
            for one in fields(inputs)
            for value in [getattr(inputs, one.name)]
            if isinstance(value, tuple)
        },
    )


class _Listening:
    """A pool that notes what is asked through it."""

    def __init__(self, pool: Any, sent: list[str]) -> None:
        self._pool = pool
        self._sent = sent

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            with connection.query_logger(lambda query: self._sent.append(query.query)):
                yield connection


def _key(tenant: str, group: Any) -> Key:
    if isinstance(group, Group):
        level = "client" if group.product == LEVEL else "product"
        return Key(tenant, level, group.client, group.period.start, group.product)
    if isinstance(group, Feed):
        return Key(tenant, "feed", group.source, NO_MONTH, group.feed)
    return Key(tenant, group.kind, group.source, NO_MONTH, group.key)


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Matching]:
    pool = await open_pool(database.login("matching_work"), name="matching", size=6)
    keyed = await open_pool(database.login("matching_work"), name="matching", size=16, settings=BY_KEY)
    ingestion = await open_pool(database.login("ingestion_work"), name="ingestion", size=2)
    closing = await open_pool(database.login("matching_work"), name="closing", size=1)
    admin = await asyncpg.connect(database.admin)
    try:
        yield Matching(pool, keyed, ingestion, closing, admin, Resolver(keyed), Comparer(keyed))
    finally:
        await admin.close()
        await closing.close()
        await ingestion.close()
        await keyed.close()
        await pool.close()
