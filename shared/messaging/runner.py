"""Everything that one service runs of messaging: the relays of the topics that it writes, and its consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from random import Random, SystemRandom
from typing import Any, Self

import asyncpg
import structlog

from shared.eventlog.postgres import epoch
from shared.events.catalogue import WRITERS
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import KafkaFeed, KafkaProducer
from shared.messaging.loop import ConsumerLoop
from shared.messaging.postgres import PostgresRelayMarks, PostgresStore
from shared.messaging.relay import Relay, Watch
from shared.runtime.clock import Clock, SystemClock

STOP_S = 5.0
"""How long batches and turns in hand may take to end; cutting one short loses nothing, it is done again."""

_log = structlog.get_logger(__name__)


class Messaging:
    """The relays and consumers of ``service``, in this process and event loop. Use it as an async context manager.

    ``pool`` is one of the service's ``_work`` role. Neither a broker that is away nor one that never comes stops it:
    consumers are fed from the log, and relays catch up later.
    """

    def __init__(
        self,
        *,
        service: str,
        pool: asyncpg.Pool,
        bootstrap: str,
        cell: str,
        consumers: Sequence[Consumer] = (),
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._service = service
        self._pool = pool
        self._bootstrap = bootstrap
        self._cell = cell
        self._consumers = consumers
        self._clock = clock or SystemClock()
        self._random = random or SystemRandom()
        self._producer: KafkaProducer | None = None
        self._relays: dict[str, Relay] = {}
        self._watch: Watch | None = None
        self._loops: list[tuple[ConsumerLoop, KafkaFeed]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._crashed: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start; needs the database, not the broker."""
        current = (await epoch(self._pool)).epoch
        topics = sorted(topic for topic, writer in WRITERS.items() if writer == self._service)
        self._producer = KafkaProducer(self._bootstrap, self._cell, topics)
        if topics:
            self._spawn("connection", self._producer.connect())
        marks = PostgresRelayMarks(self._pool)
        owner = f"{self._service}-{self._random.getrandbits(64):016x}"
        for topic in topics:
            self._relays[topic] = Relay(
                topic, marks, self._producer, owner=owner, epoch=current, clock=self._clock, random=self._random
            )
            self._spawn(f"relay {topic}", self._relays[topic].run())
        if self._relays:
            self._watch = Watch(self._relays, marks, random=self._random)
            self._spawn("watch", self._watch.run())
        for consumer in self._consumers:
            loop, feed = self._pair(consumer, current)
            self._loops.append((loop, feed))
            self._spawn(f"consumer {consumer.name}", _consume(loop, feed))

    def _pair(self, consumer: Consumer, current: int) -> tuple[ConsumerLoop, KafkaFeed]:
        # Each needs the other: the feed hands its messages to the loop, and the loop asks the feed what is assigned.
        loop = ConsumerLoop(
            consumer,
            PostgresStore(self._pool, consumer),
            epoch=current,
            clock=self._clock,
            random=self._random,
            assigned=lambda: feed.assigned(),
            appended=self.wake,
        )
        feed = KafkaFeed(
            self._bootstrap,
            self._cell,
            consumer.name,
            consumer.topics,
            loop.deliver,
            clock=self._clock,
            random=self._random,
        )
        return loop, feed

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(self._guard(name, work), name=name))

    async def _guard(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._crashed[name] = repr(error)
            _log.exception("messaging task ended", task=name)

    async def stop(self) -> None:
        """Finish what is in hand, give the leases back, leave the groups, disconnect."""
        for loop, feed in self._loops:
            feed.stop()
            loop.stop()
        if self._watch is not None:
            self._watch.stop()
        for relay in self._relays.values():
            relay.stop()
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if self._producer is not None:
            await self._producer.close()

    def wake(self, topic: str) -> None:
        """Something was appended to ``topic`` in this process: its relay looks at once."""
        relay = self._relays.get(topic)
        if relay is not None:
            relay.wake()

    def waker(self, topic: str) -> Callable[[], None]:
        """``wake`` for one topic, as an ``Appender`` takes it: ``Appender(pool, t, on_append=messaging.waker(t))``."""
        return partial(self.wake, topic)

    @property
    def topics(self) -> Collection[str]:
        """The topics that are relayed here."""
        return self._relays.keys()

    @property
    def ready(self) -> bool:
        """Whether every consumer follows the log and no relay has stopped. A broker that is away is no reason: the log
        is the outbox, and feeds the consumers meanwhile."""
        return (
            not self._crashed
            and all(loop.ready for loop, _ in self._loops)
            and all(relay.stopped_because is None for relay in self._relays.values())
        )

    def state(self) -> dict[str, Any]:
        """For ``/health/ready``: JSON values only."""
        return {
            "ready": self.ready,
            "relays": [relay.state() for relay in self._relays.values()],
            "consumers": [{**loop.state(), "kafka": feed.fault} for loop, feed in self._loops],
            "crashed": self._crashed,
        }


async def _consume(loop: ConsumerLoop, feed: KafkaFeed) -> None:
    """Both halves of a consumer, until it stops: by itself (dead letters), or told to."""
    feeding = asyncio.create_task(feed.run())
    try:
        await loop.run()
    finally:
        feed.stop()
        await feeding
