"""What the tests of messaging share: an effect that shows repetitions, a writer, and a look into Kafka."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.eventlog.model import Stored
from shared.eventlog.postgres import PostgresLog, append_in
from shared.events.catalogue import PARTITIONS
from shared.events.record import Draft
from shared.messaging.consumer import BadRecord, Consumer, Received
from shared.messaging.kafka import read_position, topic_name
from shared.messaging.loop import ConsumerLoop
from shared.messaging.ports import Message, Partition
from shared.messaging.postgres import PostgresStore
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from tests.conftest import Database
from tests.unit.messaging.world import effect_of, fact

TOPIC = "usage"
NAME = "ingestion.test"


class Recorder:
    """Inserts the place and id of each record into a table without any key: a repetition would show. Appends a record
    for each. Refuses quantity 666; the database refuses 999."""

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        if any(record.fields["data"].get("quantity") == "666" for record in batch):
            raise BadRecord("quantity 666 cannot be")
        await tx.executemany(
            "INSERT INTO ingestion.test_effect (topic, partition, position, id, quantity) VALUES ($1, $2, $3, $4, $5)",
            [(*record.place, record.fields["id"], record.fields["data"].get("quantity")) for record in batch],
        )
        return {"catalog": [effect_of(record) for record in batch]}


def consumer(topics: tuple[str, ...] = (TOPIC,), *, ordered: bool = False, batch_records_max: int = 2_000) -> Consumer:
    return Consumer(
        name=NAME,
        schema="ingestion",
        topics=topics,
        handler=Recorder(),
        ordered=ordered,
        batch_records_max=batch_records_max,
    )


@dataclass
class World:
    """A database with the test's consumer, its pool, and a cell of its own in Kafka."""

    database: Database
    pool: asyncpg.Pool
    admin: asyncpg.Connection
    cell: str
    written: int = 0

    async def write(self, count: int, quantity: Callable[[int], str] = lambda n: "1", accounts: int = 40) -> None:
        """Append ``count`` facts in one transaction."""
        numbers = range(self.written, self.written + count)
        now = datetime.now(UTC)
        await self.append([fact(n, time=now, account=f"a{n % accounts}", quantity=quantity(n)) for n in numbers])
        self.written += count

    async def append(self, drafts: Sequence[Draft]) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await append_in(connection, drafts, None)

    async def log(self, topic: str = TOPIC) -> list[Stored]:
        log = PostgresLog(self.pool)
        pages = [await log.page(topic, number, 0, 1_000_000) for number in range(PARTITIONS)]
        return [stored for page in pages for stored in page]

    async def messages(self, topic: str = TOPIC, epoch: int = 1) -> list[Message]:
        """What a relay would make of the log."""
        return [
            Message(Partition(topic, stored.place.partition), stored.place.position, epoch, stored.body)
            for stored in await self.log(topic)
        ]

    async def effects(self) -> list[tuple[int, int]]:
        """(partition, position) of each effect, in the order in which they were made."""
        rows = await self.admin.fetch("SELECT partition, position FROM ingestion.test_effect ORDER BY n")
        return [(row[0], row[1]) for row in rows]

    async def letters(self) -> list[asyncpg.Record]:
        return await self.admin.fetch("SELECT * FROM ingestion.dead_letter ORDER BY partition, position")

    async def behind(self) -> int:
        behind: int = await self.admin.fetchval(
            "SELECT sum(h.position - c.position)::bigint FROM ingestion.consumed c"
            " JOIN log.head h USING (topic, partition) WHERE c.consumer = $1",
            NAME,
        )
        return behind

    async def not_relayed(self, topic: str = TOPIC) -> int:
        behind: int = await self.admin.fetchval(
            "SELECT sum(h.position - r.position)::bigint FROM log.relay r JOIN log.head h USING (topic, partition)"
            " WHERE topic = $1",
            topic,
        )
        return behind

    async def consumed(self, timeout_s: float = 30) -> None:
        await eventually(self.behind, timeout_s)

    async def relayed(self, timeout_s: float = 30, *, topic: str = TOPIC) -> None:
        await eventually(partial(self.not_relayed, topic), timeout_s)

    def loop(self, declared: Consumer, pool: asyncpg.Pool | None = None, seed: int = 1) -> ConsumerLoop:
        store = PostgresStore(pool or self.pool, declared)
        return ConsumerLoop(declared, store, epoch=1, clock=SystemClock(), random=Random(seed))

    async def check_effects(self) -> None:
        """Each record of the log once, in order within its partition, and one appended record for each."""
        effects = await self.effects()
        by_partition: dict[int, list[int]] = defaultdict(list)
        for partition, position in effects:
            by_partition[partition].append(position)
        buried = {(letter["partition"], letter["position"]) for letter in await self.letters()}
        expected: dict[int, list[int]] = defaultdict(list)
        for stored in await self.log():
            if (stored.place.partition, stored.place.position) not in buried:
                expected[stored.place.partition].append(stored.place.position)
        assert by_partition == expected
        assert len(await self.log("catalog")) == len(effects)


async def eventually(count: Callable[[], Any], timeout_s: float) -> None:
    """Wait until ``count`` answers 0."""
    async with asyncio.timeout(timeout_s):
        while await count():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def make_world(database: Database, cell: str) -> AsyncIterator[World]:
    admin = await asyncpg.connect(database.admin)
    await admin.execute(
        "CREATE SCHEMA IF NOT EXISTS ingestion;"
        " CREATE TABLE ingestion.test_effect (n bigint GENERATED ALWAYS AS IDENTITY, topic text, partition smallint,"
        "   position bigint, id text, quantity text CHECK (quantity <> '999'));"
        " GRANT INSERT ON ingestion.test_effect TO plumbline_ingestion_work;"
    )
    await admin.execute("SELECT messaging.add_consumer('ingestion', $1, $2)", NAME, [TOPIC])
    pool = await open_pool(database.login("ingestion_work"), name="test", size=12)
    try:
        yield World(database, pool, admin, cell)
    finally:
        await pool.close()
        await admin.close()


async def kafka_content(bootstrap: str, cell: str, topic: str = TOPIC) -> dict[int, list[tuple[int, bytes]]]:
    """Everything that Kafka holds of a topic: (position, value) in the order of its offsets, per partition."""
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await reader.start()
    try:
        partitions = [TopicPartition(topic_name(cell, topic), number) for number in range(PARTITIONS)]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        content: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for partition, end in ends.items():
            while await reader.position(partition) < end:
                for message in (await reader.getmany(partition, timeout_ms=1_000)).get(partition, ()):
                    place = read_position(message.headers)
                    if place is not None:
                        content[partition.partition].append((place[1], message.value))
        return content
    finally:
        await reader.stop()


def check_kafka(content: dict[int, list[tuple[int, bytes]]], log: Sequence[Stored]) -> None:
    """The set of distinct (position, bytes) is the log's, and first occurrences are in order."""
    expected: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for stored in log:
        expected[stored.place.partition].append((stored.place.position, stored.body))
    for number in range(PARTITIONS):
        first = list(dict.fromkeys(content[number]))
        assert [position for position, _ in first] == [position for position, _ in expected[number]]
        assert first == expected[number]
