"""The relay and the consumer as they are, in a simulated world: whatever it does to them, effects equal the fold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import cache
from random import Random
from typing import Any

import orjson
import pytest

from shared.eventlog.memory import MemoryLog
from shared.events.catalogue import PARTITIONS
from shared.events.record import Draft
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import read_position
from shared.messaging.loop import ConsumerLoop
from shared.messaging.ports import Message, Partition
from shared.messaging.relay import Relay
from tests.unit.messaging.world import (
    EPOCH,
    TOPIC,
    Faults,
    MemoryBroker,
    MemoryRelayMarks,
    MemoryStore,
    Recorder,
    SimulatedClock,
    SimulatedLoop,
    fact,
)

RECORDS = 800
STORM_S = 60.0
SEEDS = range(5)


class Simulation:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.faults = Faults(Random(self.random.random()))
        self.clock = SimulatedClock()
        self.log = MemoryLog(self.clock)
        self.broker = MemoryBroker(self.faults)
        self.relay_marks = MemoryRelayMarks(self.log, self.clock, self.faults)
        self.store = MemoryStore(self.log, self.faults)
        self.consumer = Consumer(
            name="matching.simulated",
            schema="matching",
            topics=(TOPIC,),
            handler=Recorder(self.faults),
            batch_records_max=50,
        )
        self.bad: set[bytes] = set()
        self.starts = 0
        self.halts: list[str] = []

    async def run(self) -> None:
        processes = [asyncio.create_task(self._keep_alive(self._relay)) for _ in range(2)]
        processes += [asyncio.create_task(self._keep_alive(self._member)) for _ in range(2)]
        await self._write(range(RECORDS))
        await asyncio.sleep(STORM_S)
        self.faults.storm = False
        await self._write(range(RECORDS, RECORDS + 50))
        await self._settle()
        for process in processes:
            process.cancel()
        await asyncio.gather(*processes, return_exceptions=True)

    async def _write(self, numbers: range) -> None:
        for n in numbers:
            bad = self.random.random() < 0.01
            draft = fact(n, time=self.clock.now(), account=f"a{n % 40}", quantity="666" if bad else "1")
            if not bad and self.random.random() < 0.005:
                draft = _newer(draft)
            await self.log.append([draft])
            if self.random.random() < 0.1:
                await asyncio.sleep(self.random.uniform(0, 0.5))

    async def _settle(self) -> None:
        """Without faults, and without another message from Kafka, everything arrives all the same."""
        deadline = self.clock.monotonic() + 120
        while not (await self._at_heads()):
            assert self.clock.monotonic() < deadline, "it did not catch up"
            await asyncio.sleep(1)

    async def _at_heads(self) -> bool:
        heads = (await self.log.heads())[TOPIC]
        consumed = [self.store.marks[Partition(TOPIC, n)] for n in range(PARTITIONS)]
        return consumed == heads and self.relay_marks.marks[TOPIC] == heads

    async def _keep_alive(self, process: Callable[[Random], Coroutine[Any, Any, None]]) -> None:
        """Run a process, kill it at a random instant while the storm lasts, start it again."""
        while True:
            self.starts += 1
            task = asyncio.create_task(process(Random(self.random.random())))
            try:
                while not task.done() and not self.faults.chance(0.08):
                    await asyncio.wait([task], timeout=self.random.uniform(0.01, 1.0))
                if task.done():
                    task.result()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(self.random.uniform(0.1, 3.0))

    async def _relay(self, random: Random) -> None:
        owner = f"relay-{self.starts}"
        await Relay(
            TOPIC, self.relay_marks, self.broker, owner=owner, epoch=EPOCH, clock=self.clock, random=random
        ).run()

    async def _member(self, random: Random) -> None:
        """One member of the group: both are handed every partition, as in the middle of a rebalance."""
        loop = ConsumerLoop(
            self.consumer,
            self.store,
            epoch=EPOCH,
            clock=self.clock,
            random=random,
            assigned=lambda: self.store.marks.keys(),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            group.create_task(self._feed(loop, random))

    async def _feed(self, loop: ConsumerLoop, random: Random) -> None:
        """Deliver what the broker has from anywhere on, with losses, repetitions, disorder and forgeries."""
        offsets = {Partition(TOPIC, n): 0 for n in range(PARTITIONS)}
        for partition in offsets:
            offsets[partition] = random.randint(0, len(self.broker.partitions[partition]))
        while self.faults.storm:
            batch: list[Message] = []
            for partition, offset in offsets.items():
                end = len(self.broker.partitions[partition])
                batch += [self.broker.message(partition, n) for n in range(offset, min(end, offset + 20))]
                offsets[partition] = min(end, offset + 20)
                if self.faults.chance(0.02):
                    offsets[partition] = random.randint(0, end)
            await loop.deliver(self._mangled(batch, random), unreadable=int(self.faults.chance(0.1)))
            await asyncio.sleep(0.02)
            if loop.stopped_because:
                self.halts.append(loop.stopped_because)
                return

    def _mangled(self, batch: list[Message], random: Random) -> list[Message]:
        kept = [message for message in batch if not self.faults.chance(0.05)]
        kept += [message for message in kept if self.faults.chance(0.1)]
        if self.faults.chance(0.3):
            random.shuffle(kept)
        old = random.choice(kept).body if kept else b""
        forged = [m._replace(epoch=EPOCH - 1, body=old) for m in kept if self.faults.chance(0.05)]
        forged += [m._replace(position=m.position + 10_000, body=old) for m in kept if self.faults.chance(0.02)]
        return kept + forged


def _newer(draft: Draft) -> Draft:
    """The same record, of a version that this release does not know."""
    body = draft.body.replace(b"usage.metered.v1", b"usage.metered.v9")
    return Draft(
        draft.topic, draft.partition, draft.tenant, draft.id_hash, draft.content_hash, body, draft.stamp_offset
    )


@cache
def simulate(seed: int) -> Simulation:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:

        async def main() -> Simulation:
            simulation = Simulation(seed)
            await simulation.run()
            return simulation

        return runner.run(main())


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_equal_the_fold_whatever_the_world_does(seed: int) -> None:
    simulation = simulate(seed)
    log = simulation.log._topics[TOPIC].partitions
    assert not simulation.halts
    assert simulation.starts > 20, "nothing was killed"
    assert any(outgoing for outgoing in simulation.broker.partitions.values())
    for number, records in enumerate(log):
        good, bad = [], []
        for record in records:
            fields = orjson.loads(record.body)
            fine = fields["data"]["quantity"] != "666" and fields["type"] == "usage.metered.v1"
            if fine:
                good.append(fields["id"])
            else:
                bad.append(record.place.position)
        assert simulation.store.effects[number] == good, "each good record once, in order"
        assert sorted(p.position for p in simulation.store.letters if p.partition == number) == bad
    effects = sum(len(positions) for positions in simulation.store.effects.values())
    appended = sum(len(records) for records in simulation.log._topics["catalog"].partitions)
    assert appended == effects, "what the consumer appends commits with its mark"


@pytest.mark.parametrize("seed", SEEDS)
def test_kafka_holds_the_log_first_occurrences_in_order_whichever_relay_was_killed(seed: int) -> None:
    simulation = simulate(seed)
    for number, records in enumerate(simulation.log._topics[TOPIC].partitions):
        produced: dict[int, bytes] = {}
        for outgoing in simulation.broker.partitions[Partition(TOPIC, number)]:
            place = read_position(outgoing.headers)
            assert place is not None
            assert produced.setdefault(place[1], outgoing.body) == outgoing.body, "a position never has two contents"
        assert list(produced) == list(range(1, len(records) + 1)), "first occurrences in order, none missing"
        assert list(produced.values()) == [record.body for record in records]


def test_the_same_seed_is_the_same_world() -> None:
    first, second = simulate(SEEDS[0]), simulate.__wrapped__(SEEDS[0])
    assert first.starts == second.starts
    assert [len(p) for p in first.broker.partitions.values()] == [len(p) for p in second.broker.partitions.values()]
