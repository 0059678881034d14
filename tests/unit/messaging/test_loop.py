"""What the consumer's loop does with one thing going wrong at a time, over simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from shared.eventlog.memory import MemoryLog
from shared.events.record import Draft
from shared.messaging import loop as loop_module
from shared.messaging.consumer import BadRecord, Consumer, Received
from shared.messaging.loop import ConsumerLoop
from shared.messaging.ports import Message, Partition
from tests.unit.messaging.world import BEGIN, EPOCH, TOPIC, Faults, MemoryStore, SimulatedClock, SimulatedLoop, fact


class Bench:
    """One partition of the log, one consumer, no faults but those that a test makes."""

    def __init__(self, handle: Callable[[Sequence[Received]], None] = lambda batch: None) -> None:
        faults = Faults(Random(1))
        faults.storm = False
        self.clock = SimulatedClock()
        self.log = MemoryLog(self.clock)
        self.store = MemoryStore(self.log, faults)
        self.handed: list[int] = []
        self.assigned: set[Partition] | None = set(self.store.marks)
        self._handle = handle
        consumer = Consumer(
            name="matching.bench", schema="matching", topics=(TOPIC,), handler=self, batch_records_max=100
        )
        self.loop = ConsumerLoop(
            consumer, self.store, epoch=EPOCH, clock=self.clock, random=Random(2), assigned=lambda: self.assigned
        )
        self.partition = Partition(TOPIC, fact(0, time=BEGIN).partition)

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        self.handed.append(len(batch))
        self._handle(batch)
        tx.applied += batch
        return {}

    async def write(self, count: int, quantity: Callable[[int], str] = lambda n: "1") -> list[Message]:
        """Append, and return the messages that a relay would make of it."""
        first = (await self.log.heads())[TOPIC][self.partition.number]
        await self.log.append(
            [fact(n, time=self.clock.now(), quantity=quantity(n)) for n in range(first, first + count)]
        )
        records = await self.log.page(TOPIC, self.partition.number, first, count)
        return [Message(self.partition, r.place.position, EPOCH, r.body) for r in records]

    @property
    def applied(self) -> list[str]:
        return self.store.effects[self.partition.number]

    @property
    def mark(self) -> int:
        return self.store.marks[self.partition]


def simulated(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(test())  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


def refuse_666(batch: Sequence[Received]) -> None:
    if any(record.fields["data"]["quantity"] == "666" for record in batch):
        raise BadRecord("quantity 666 cannot be")


@simulated
async def test_a_batch_is_one_transaction() -> None:
    bench = Bench()
    assert await bench.loop.deliver(await bench.write(80))
    assert bench.handed == [80]
    assert bench.mark == 80


@simulated
async def test_a_repeated_batch_changes_nothing() -> None:
    bench = Bench()
    messages = await bench.write(10)
    await bench.loop.deliver(messages)
    await bench.loop.deliver(messages)
    assert bench.applied == [f"e{n}" for n in range(10)]
    assert bench.loop.counters.repeated == 10


@simulated
async def test_a_jump_is_filled_from_the_log_in_place() -> None:
    bench = Bench()
    messages = await bench.write(20)
    await bench.loop.deliver([messages[19], messages[4], messages[5]])
    assert bench.applied == [f"e{n}" for n in range(20)]
    assert bench.loop.counters.from_log == 17


@simulated
async def test_poison_in_the_middle_takes_nothing_with_it() -> None:
    bench = Bench(refuse_666)
    await bench.loop.deliver(await bench.write(100, lambda n: "666" if n == 57 else "1"))
    assert bench.applied == [f"e{n}" for n in range(100) if n != 57]
    [letter] = bench.store.letters.values()
    assert (letter.place.position, letter.reason, letter.attempts) == (58, "refused", 2)
    assert letter.detail == "BadRecord: quantity 666 cannot be"
    assert len(bench.handed) < 40, "found by halving, not one by one"


@simulated
async def test_any_error_of_a_handler_about_a_record_is_its_dead_letter() -> None:
    def stumble(batch: Sequence[Received]) -> None:
        for record in batch:
            record.fields["data"]["no such field" if record.place.position == 3 else "quantity"]

    bench = Bench(stumble)
    await bench.loop.deliver(await bench.write(5))
    assert bench.mark == 5
    assert [letter.detail for letter in bench.store.letters.values()] == ["KeyError: 'no such field'"]


@simulated
async def test_an_infrastructure_fault_is_waited_out_and_buries_nothing() -> None:
    calls = 0

    def flaky(batch: Sequence[Received]) -> None:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise ConnectionError("the database is away")

    bench = Bench(flaky)
    assert await bench.loop.deliver(await bench.write(50))
    assert len(bench.applied) == 50
    assert not bench.store.letters


@simulated
async def test_a_long_fault_leaves_the_batch_to_the_log_without_losing_the_place() -> None:
    away = True

    def gone(batch: Sequence[Received]) -> None:
        if away:
            raise ConnectionError("the database is away")

    bench = Bench(gone)
    running = asyncio.create_task(bench.loop.run())
    assert not await bench.loop.deliver(await bench.write(50))
    assert bench.clock.monotonic() < 60
    away = False
    await asyncio.sleep(15)
    assert len(bench.applied) == 50
    bench.loop.stop()
    await running


@simulated
async def test_many_dead_letters_stop_the_consumer_and_it_says_so() -> None:
    bench = Bench(refuse_666)
    running = asyncio.create_task(bench.loop.run())
    await bench.loop.deliver(await bench.write(300, lambda n: "666" if n % 2 else "1"))
    assert bench.loop.stopped_because == "100 records became dead letters within a minute"
    assert not bench.loop.ready
    assert bench.loop.state()["stopped"] == bench.loop.stopped_because
    await running
    assert bench.mark < 300, "what follows waits for a person"


@simulated
async def test_a_few_dead_letters_among_few_records_stop_nothing() -> None:
    bench = Bench(refuse_666)
    await bench.loop.deliver(await bench.write(5, lambda n: "666" if n == 2 else "1"))
    assert bench.loop.stopped_because is None
    assert bench.mark == 5


@simulated
async def test_damaged_bytes_of_a_message_are_read_from_the_log_instead() -> None:
    bench = Bench()
    messages = await bench.write(3)
    await bench.loop.deliver([messages[0], messages[1]._replace(body=b"\xff\x00"), messages[2]])
    assert bench.applied == ["e0", "e1", "e2"]
    assert not bench.store.letters


@simulated
async def test_a_record_without_any_message_is_read_from_the_log_after_two_seconds() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.loop.run())
    await bench.loop.deliver(await bench.write(1))
    await bench.write(1)
    await asyncio.sleep(1.5)
    assert bench.mark == 1, "Kafka is given two seconds"
    await asyncio.sleep(2.5)
    assert bench.mark == 2
    bench.loop.stop()
    await running


@simulated
async def test_without_kafka_from_the_start_the_log_is_followed_at_once() -> None:
    bench = Bench()
    bench.assigned = None
    running = asyncio.create_task(bench.loop.run())
    await asyncio.sleep(1)
    await bench.write(1)
    await asyncio.sleep(0.5)
    assert bench.mark == 1
    bench.loop.stop()
    await running


@simulated
async def test_another_members_partition_is_left_alone_unless_nobody_moves_it() -> None:
    bench = Bench()
    bench.assigned = set()
    running = asyncio.create_task(bench.loop.run())
    await bench.write(1)
    await asyncio.sleep(8)
    assert bench.mark == 0
    await asyncio.sleep(5)
    assert bench.mark == 1
    bench.loop.stop()
    await running


def test_a_long_jump_is_fed_from_the_log_while_kafka_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "JUMP_MAX", 150)

    @simulated
    async def scenario() -> None:
        bench = Bench()
        running = asyncio.create_task(bench.loop.run())
        await asyncio.sleep(0.1)
        messages = await bench.write(1_000)
        assert await bench.loop.deliver(messages[-10:])
        assert bench.mark == 0, "not in Kafka's way"
        await asyncio.sleep(1)
        assert bench.mark == 1_000
        assert max(bench.handed) <= 100
        bench.loop.stop()
        await running

    scenario()
