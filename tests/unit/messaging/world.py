"""A world in memory for the relay and the consumer, driven by a seed: simulated time, a broker that loses, repeats and
reorders, a database that fails before and after it has committed, processes that die at any await."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from shared.eventlog.memory import MemoryLog
from shared.eventlog.model import Place, Stored, Verdict
from shared.events.catalog import ProductRecorded
from shared.events.catalogue import CATALOGUE, PARTITIONS
from shared.events.record import Assertion, Context, Draft, draft_fact
from shared.messaging.consumer import BadRecord, Received
from shared.messaging.kafka import read_position
from shared.messaging.ports import (
    DeadLetter,
    Gap,
    Marks,
    Message,
    News,
    Outgoing,
    Partition,
    Standing,
    VersionMoved,
)
from shared.messaging.postgres import blames_record

TOPIC = "usage"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = 3


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not self._ready and timers:
            self._now = max(self._now, timers[0]._when)
        super()._run_once()


class SimulatedClock:
    """The loop's time as a clock."""

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Fault(OSError):
    """Something between us and the world broke."""


class Faults:
    """Latency, and failures with some probability while the storm lasts."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.storm = True

    async def pass_through(self, latency_s: float = 0.002, failure: float = 0.02) -> None:
        await asyncio.sleep(self.random.uniform(0, 2 * latency_s))
        if self.storm and self.random.random() < failure:
            raise Fault("the connection broke")

    def chance(self, probability: float) -> bool:
        return self.storm and self.random.random() < probability


class MemoryBroker:
    """Partitions of messages, written at least once and in any state after a failure."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.partitions: dict[Partition, list[Outgoing]] = defaultdict(list)

    async def produce(self, partition: Partition, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            if self._faults.chance(0.002):
                # A pause longer than a lease: the process wakes as a zombie and goes on with what it held.
                await asyncio.sleep(15)
            await self._faults.pass_through(0.0002, 0.004)
            self.partitions[partition].append(message)
        await self._faults.pass_through()

    def message(self, partition: Partition, offset: int) -> Message:
        outgoing = self.partitions[partition][offset]
        place = read_position(outgoing.headers)
        assert place is not None
        return Message(partition, place[1], place[0], outgoing.body)


class MemoryRelayMarks:
    """Leases by simulated time, marks moved by compare-and-set."""

    def __init__(self, log: MemoryLog, clock: SimulatedClock, faults: Faults) -> None:
        self._log = log
        self._clock = clock
        self._faults = faults
        self._leases: dict[str, tuple[str, int, float]] = {}
        self.marks: dict[str, list[int]] = defaultdict(lambda: [0] * PARTITIONS)

    async def take_lease(self, topic: str, owner: str, seconds: float) -> int | None:
        await self._faults.pass_through()
        holder, token, until = self._leases.get(topic, ("", 0, -1.0))
        now = self._clock.monotonic()
        if holder != owner:
            if until > now:
                return None
            token += 1
        self._leases[topic] = (owner, token, now + seconds)
        return token

    async def release_lease(self, topic: str, owner: str) -> None:
        holder, token, _ = self._leases.get(topic, ("", 0, 0.0))
        if holder == owner:
            self._leases[topic] = ("", token, -1.0)

    async def news(self, topic: str) -> list[News]:
        await self._faults.pass_through()
        heads = (await self._log.heads())[topic]
        return [News(n, mark, heads[n]) for n, mark in enumerate(self.marks[topic]) if heads[n] > mark]

    async def with_news(self, topics: Sequence[str]) -> list[str]:
        return [topic for topic in topics if await self.news(topic)]

    async def pages(
        self, topic: str, news: Sequence[News], records_max: int, bytes_max: int
    ) -> dict[int, list[Stored]]:
        await self._faults.pass_through()
        return {n: await self._log.page(topic, n, mark, records_max, upto=head) for n, mark, head in news}

    async def move(self, topic: str, token: int, moves: Mapping[int, tuple[int, int]]) -> int:
        await self._faults.pass_through()
        moved = 0
        if self._leases[topic][1] == token:
            for partition, (old, new) in moves.items():
                if self.marks[topic][partition] == old:
                    self.marks[topic][partition] = new
                    moved += 1
        # The answer may be lost although the marks have moved.
        await self._faults.pass_through()
        return moved


class MemoryStore:
    """What a consumer keeps: marks, dead letters and effects; a transaction commits whole or not at all."""

    def __init__(self, log: MemoryLog, faults: Faults) -> None:
        self.log = log
        self.faults = faults
        self.marks = {Partition(TOPIC, number): 0 for number in range(PARTITIONS)}
        self.effects: dict[int, list[str]] = defaultdict(list)
        self.letters: dict[Place, DeadLetter] = {}
        self.locks: dict[Partition, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def transaction(self, partitions: Sequence[Partition]) -> AsyncIterator[MemoryTransaction]:
        await self.faults.pass_through()
        held = [self.locks[partition] for partition in partitions]
        taken: list[asyncio.Lock] = []
        try:
            for lock in held:
                await lock.acquire()
                taken.append(lock)
            heads = (await self.log.heads())[TOPIC]
            tx = MemoryTransaction(self, {p: Marks(self.marks[p], heads[p.number]) for p in partitions})
            yield tx
            await self.faults.pass_through()
            tx.commit()
            # COMMIT is done, and its answer may be lost, or the process with it.
            await self.faults.pass_through(failure=0.05)
        finally:
            for lock in taken:
                lock.release()

    async def standing(self) -> list[Standing]:
        await self.faults.pass_through()
        heads = (await self.log.heads())[TOPIC]
        return [Standing(p, mark, heads[p.number], None) for p, mark in self.marks.items()]

    async def open_dead_letters(self) -> int:
        return len(self.letters)

    def blames_record(self, error: Exception) -> bool:
        return blames_record(error)


class MemoryTransaction:
    """Buffers everything until it commits."""

    def __init__(self, store: MemoryStore, marks: Mapping[Partition, Marks]) -> None:
        self._store = store
        self.marks = marks
        self.handle = self
        self.applied: list[Received] = []
        self._advanced: dict[Partition, int] = {}
        self._letters: list[DeadLetter] = []
        self._drafts: dict[str, list[Draft]] = {}

    async def page(self, partition: Partition, after: int, upto: int) -> list[bytes]:
        await self._store.faults.pass_through()
        page = await self._store.log.page(partition.topic, partition.number, after, upto - after, upto=upto)
        if len(page) != upto - after:
            raise Gap(str(partition))
        return [stored.body for stored in page]

    async def blocked(self, streams: Collection[UUID]) -> set[UUID]:
        return {letter.stream for letter in self._store.letters.values() if letter.stream in streams} - {None}  # type: ignore[return-value]

    async def advance(self, marks: Mapping[Partition, int]) -> None:
        await self._store.faults.pass_through()
        self._advanced.update(marks)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        await self._store.faults.pass_through()
        self._letters += letters

    async def append(self, drafts: Mapping[str, Sequence[Draft]], floor: datetime) -> None:
        await self._store.faults.pass_through()
        if self._store.faults.chance(0.01):
            raise VersionMoved("another process was faster")
        for topic, records in drafts.items():
            self._drafts.setdefault(topic, []).extend(records)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        applied, drafts = list(self.applied), dict(self._drafts)
        try:
            yield
        except BaseException:
            self.applied, self._drafts = applied, drafts
            raise

    def commit(self) -> None:
        """No await in here: all of it or nothing."""
        store = self._store
        store.marks.update(self._advanced)
        for record in self.applied:
            store.effects[record.place.partition].append(record.fields["id"])
        for letter in self._letters:
            assert letter.place not in store.letters, "a record was buried twice"
            store.letters[letter.place] = letter
        for records in self._drafts.values():
            for outcome in store.log.append_in(records, None):
                assert outcome.verdict is Verdict.STORED, "an effect was appended twice"


def fact(n: int, *, time: datetime, account: str = "acct", source: str = "vendor", quantity: str = "1") -> Draft:
    """The n-th usage record."""
    record_type = CATALOGUE["usage.metered.v1"]
    data = record_type.model(account=account, sku="BKP", kind="counter", quantity=quantity, event=f"e{n}")
    return draft_fact(
        record_type,
        tenant="tenant",
        source=source,
        record_id=f"e{n}",
        time=time,
        data=data,
        assertion=Assertion(time),
        context=Context("service:ingestion"),
    )


def effect_of(record: Received) -> Draft:
    """What the handler of the simulation appends: one record per cause, with the cause's place as its id."""
    return draft_fact(
        CATALOGUE["product.recorded.v1"],
        tenant=record.tenant,
        source="simulation",
        record_id=str(record.place),
        time=BEGIN,
        data=ProductRecorded(product=str(record.place), name="effect"),
        assertion=Assertion(BEGIN),
        context=Context("service:simulation"),
    )


class Recorder:
    """A handler whose effects are the ids of the records; it refuses what is marked as bad."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        await self._faults.pass_through(0.005)
        for record in batch:
            if record.fields["data"]["quantity"] == "666":
                raise BadRecord("quantity 666 cannot be")
            tx.applied.append(record)
        return {"catalog": [effect_of(record) for record in batch]}
