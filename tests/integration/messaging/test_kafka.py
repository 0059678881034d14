"""Relay and consumer on a real Kafka: what it loses, repeats or never had, effects equal the log."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from random import Random

import aiokafka.producer.message_accumulator
import aiokafka.producer.producer
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from deploy.local.kafka import Kafka
from shared.events.catalogue import PARTITIONS
from shared.messaging.kafka import KafkaProducer, TopicsUnfit, ensure_topics, topic_name
from shared.messaging.ports import Outgoing, Partition
from shared.messaging.postgres import PostgresRelayMarks
from shared.messaging.relay import Relay
from shared.messaging.runner import Messaging
from shared.runtime.clock import SystemClock
from tests.conftest import free_port
from tests.integration.messaging.support import TOPIC, World, check_kafka, consumer, kafka_content


@asynccontextmanager
async def running(world: World, bootstrap: str) -> AsyncIterator[Messaging]:
    messaging = Messaging(
        service="ingestion", pool=world.pool, bootstrap=bootstrap, cell=world.cell, consumers=[consumer()]
    )
    async with messaging:
        yield messaging


async def joined(messaging: Messaging) -> None:
    async with asyncio.timeout(30):
        while messaging.state()["consumers"][0]["fed_by"] != "kafka":
            await asyncio.sleep(0.02)


def counters(messaging: Messaging) -> dict[str, int]:
    found: dict[str, int] = messaging.state()["consumers"][0]["counters"]
    return found


async def test_records_go_from_the_log_through_kafka_to_effects_and_on(world: World, kafka: Kafka) -> None:
    async with running(world, kafka.bootstrap) as messaging:
        await joined(messaging)
        for written in range(100, 20_100, 100):
            await world.write(100)
            messaging.wake(TOPIC)
            await world.consumed()
            # On a busy machine the log may be quicker than the broker, for a while.
            if written >= 2_000 and counters(messaging)["from_log"] < written:
                break
        await world.relayed()
        await world.relayed(topic="catalog")
        assert messaging.ready
        assert counters(messaging)["from_log"] < written, "Kafka brought some of it"
    await world.check_effects()
    check_kafka(await kafka_content(kafka.bootstrap, world.cell), await world.log())
    check_kafka(await kafka_content(kafka.bootstrap, world.cell, "catalog"), await world.log("catalog"))


async def test_processes_killed_two_at_a_time_lose_and_double_nothing(world: World, kafka: Kafka) -> None:
    random = Random(11)
    arguments = (world.database.login("ingestion_work"), kafka.bootstrap, world.cell)

    async def process() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.messaging.member", *arguments
        )

    async def load() -> None:
        for _ in range(200):
            await world.write(random.randint(1, 60))
            await asyncio.sleep(0.05)

    members = [await process(), await process()]
    loading = asyncio.create_task(load())
    try:
        for kill in range(6):
            await asyncio.sleep(random.uniform(1.0, 2.5))
            victims = members if kill % 3 == 2 else [random.choice(members)]
            for victim in list(victims):
                victim.kill()
                await victim.wait()
                members.remove(victim)
                members.append(await process())
        await loading
        await world.consumed(40)
        await world.relayed(40)
    finally:
        for member in members:
            member.kill()
            await member.wait()
    await world.check_effects()
    check_kafka(await kafka_content(kafka.bootstrap, world.cell), await world.log())


async def test_a_zombie_relay_repeats_and_moves_no_mark(world: World, kafka: Kafka) -> None:
    producer = KafkaProducer(kafka.bootstrap, world.cell, [TOPIC])

    class Paused:
        """Stops before it produces, as a process does that is suspended after it has read."""

        def __init__(self) -> None:
            self.reached, self.go_on = asyncio.Event(), asyncio.Event()

        async def produce(self, partition: Partition, messages: Iterable[Outgoing]) -> None:
            held = list(messages)
            self.reached.set()
            await self.go_on.wait()
            await producer.produce(partition, held)

    def relay(owner: str, broker: Paused | KafkaProducer) -> Relay:
        marks = PostgresRelayMarks(world.pool)
        return Relay(TOPIC, marks, broker, owner=owner, epoch=1, clock=SystemClock(), random=Random(1))

    paused = Paused()
    zombie, successor = relay("zombie", paused), relay("successor", producer)
    await world.write(300)
    asleep = asyncio.create_task(zombie.run())
    await paused.reached.wait()
    await world.admin.execute("UPDATE log.lease SET until = now() - interval '1 s' WHERE topic = $1", TOPIC)
    at_work = asyncio.create_task(successor.run())
    await world.write(300)
    await world.relayed()
    paused.go_on.set()
    async with asyncio.timeout(10):
        while zombie.state()["lease"]:
            await asyncio.sleep(0.02)
    await world.write(300)
    successor.wake()
    await world.relayed()
    for task, stopping in ((asleep, zombie), (at_work, successor)):
        stopping.stop()
        await task
    await producer.close()
    content = await kafka_content(kafka.bootstrap, world.cell)
    check_kafka(content, await world.log())
    assert sum(len(messages) for messages in content.values()) == 1_200, "the zombie did repeat"


async def test_a_broker_that_is_killed_costs_latency_and_no_record(world: World, kafka: Kafka) -> None:
    async with running(world, kafka.bootstrap) as messaging:
        await joined(messaging)
        await world.write(500)
        messaging.wake(TOPIC)
        await asyncio.sleep(0.1)
        kafka.kill()
        try:
            await world.write(500)
            messaging.wake(TOPIC)
            await world.consumed(20)
            assert messaging.ready, "the log feeds it meanwhile"
        finally:
            kafka.start()
        await kafka.ready()
        await world.write(500)
        messaging.wake(TOPIC)
        await world.consumed()
        await world.relayed()
    await world.check_effects()
    check_kafka(await kafka_content(kafka.bootstrap, world.cell), await world.log())


async def test_without_kafka_from_the_start_the_log_feeds_the_consumer(world: World) -> None:
    await world.write(3_000)
    async with running(world, f"127.0.0.1:{free_port()}") as messaging:
        await world.consumed(10)
        await world.write(100)
        await world.consumed(5)
        assert messaging.ready
        state = messaging.state()["consumers"][0]
        assert state["fed_by"] == "log"
        assert state["kafka"] is not None
    await world.check_effects()


async def forge(
    world: World, kafka: Kafka, messaging: Messaging, forged: list[list[tuple[str, bytes | None]]], *, at_least: int
) -> None:
    """Put messages with these headers into each partition until so many were counted as unreadable. (A group that has
    just begun reads from where its topics ended when it asked, so the first ones may be before that.)"""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    topic = topic_name(world.cell, TOPIC)
    async with asyncio.timeout(30):
        while counters(messaging)["unreadable"] < at_least:
            for number in range(PARTITIONS):
                for headers in forged:
                    await producer.send_and_wait(topic, b"\xff", partition=number, headers=headers)
            await asyncio.sleep(0.3)
    await producer.stop()


async def test_headers_of_any_kind_put_straight_into_kafka_are_counted_and_stop_nothing(
    world: World, kafka: Kafka
) -> None:
    forged: list[list[tuple[str, bytes | None]]] = [
        [("pl-epoch", b"\xff"), ("pl-position", b"\xfe")],
        [("pl-epoch", None), ("pl-position", None)],
        [("anything", None), ("else", b"\xff\xfe\x00")],
        [],
    ]
    async with running(world, kafka.bootstrap) as messaging:
        await joined(messaging)
        await world.write(100)
        await forge(world, kafka, messaging, forged, at_least=PARTITIONS * len(forged))
        await world.write(100)
        messaging.wake(TOPIC)
        await world.consumed()
        assert messaging.ready
    assert not await world.letters()
    await world.check_effects()


async def test_a_header_whose_name_is_no_text_holds_up_nothing(
    world: World, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotText(str):
        def encode(self, *_: object) -> bytes:
            return b"\xff\xfe"

    # The compiled builder refuses to write such a name.
    for module in (aiokafka.producer.message_accumulator, aiokafka.producer.producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    async with running(world, kafka.bootstrap) as messaging:
        await joined(messaging)
        await world.write(200)
        messaging.wake(TOPIC)
        await world.consumed()
        await forge(world, kafka, messaging, [[(NotText("name"), b"1")]], at_least=1)
        before = counters(messaging)["from_log"]
        for _ in range(5):
            await world.write(100)
            messaging.wake(TOPIC)
            await world.consumed()
        assert counters(messaging)["from_log"] - before < 500, "Kafka still feeds it"
    await world.check_effects()


async def test_topics_are_made_as_the_log_needs_them(world: World, kafka: Kafka) -> None:
    await ensure_topics(kafka.bootstrap, world.cell, [TOPIC, "catalog"])
    await ensure_topics(kafka.bootstrap, world.cell, [TOPIC, "catalog"])


@pytest.mark.parametrize(
    ("partitions", "settings", "complaint"),
    [
        (6, {}, "has 6 partitions; the log has 12"),
        (12, {"cleanup.policy": "compact"}, "cleanup.policy=compact"),
        (12, {"max.message.bytes": "1000"}, "max.message.bytes=1000"),
    ],
)
async def test_topics_that_would_lose_records_are_refused(
    world: World, kafka: Kafka, partitions: int, settings: dict[str, str], complaint: str
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic_name(world.cell, TOPIC), partitions, 1, topic_configs=settings)])
    await admin.close()
    with pytest.raises(TopicsUnfit, match=complaint):
        await ensure_topics(kafka.bootstrap, world.cell, [TOPIC])
