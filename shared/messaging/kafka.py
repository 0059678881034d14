"""The edge to Kafka: topics, an idempotent producer for the relays, FastStream's batch subscriber for the consumers.

Kafka carries copies of what the log has. So nothing here needs to be exact: what cannot be read is counted and left to
the log, offsets are hints, and a broker that is away costs latency.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CorruptRecordException, TopicAlreadyExistsError, for_code
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage

from shared.events.catalogue import PARTITIONS
from shared.messaging.pause import Backoff, pause
from shared.messaging.ports import Message, Outgoing, Partition
from shared.runtime.clock import Clock

BATCH_BYTES_MAX = 128 * 1024
"""Kafka's ``max.message.bytes`` bounds a whole batch of messages; a record of 64 KiB with its headers fits twice."""
TOPIC_SETTINGS = {
    # Never compacted: a compacted log has holes, and loses what was corrected.
    "cleanup.policy": "delete",
    "retention.ms": str(7 * 24 * 3600 * 1000),
    "retention.bytes": str(1024**3),
    "max.message.bytes": str(BATCH_BYTES_MAX),
}
REPLICAS_MAX = 3
PRODUCE_TIMEOUT_S = 30.0
"""aiokafka itself would try for ever; a new connection says what is wrong, and makes topics that somebody deleted."""
CLOSE_TIMEOUT_S = 2.0
BATCH_RECORDS_MAX = 2_000
BATCH_WAIT_MS = 10
"""The subscriber waits so long for messages, and as long again after an empty poll."""
SESSION_MS = 10_000
ACK_EVERY_S = 1.0
_REQUEST_MS = 10_000

_log = structlog.get_logger(__name__)
# FastStream says what it does at INFO and warns that it makes no topics; its errors are worth a line.
_faststream_log = logging.getLogger("plumbline.faststream")
_faststream_log.setLevel(logging.ERROR)
# aiokafka tells of every attempt while a broker is away or young, ten times a second. The relay says it once, and
# state() says whether a consumer has joined its group.
logging.getLogger("aiokafka.producer.sender").setLevel(logging.ERROR)
logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)


class TopicsUnfit(Exception):
    """A topic is not as the log needs it; the message says which, what differs and what to do."""


# --- topics ---


def topic_name(cell: str, topic: str) -> str:
    """A topic's name in Kafka."""
    return f"{cell}.{topic}"


async def ensure_topics(bootstrap: str, cell: str, topics: Collection[str]) -> None:
    """Make the topics that are missing and check all of them. Raises :class:`TopicsUnfit`, or a KafkaError."""
    names = sorted(topic_name(cell, topic) for topic in topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        brokers = len((await admin.describe_cluster())["brokers"])
        await _create(admin, names, replicas=min(brokers, REPLICAS_MAX))
        await _verify(admin, names)
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, names: Sequence[str], replicas: int) -> None:
    # Created first and described afterwards: on a cluster that makes topics by itself, asking would make them wrongly.
    answer = await admin.create_topics([NewTopic(name, PARTITIONS, replicas, None, TOPIC_SETTINGS) for name in names])
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {name}: {rest[0] if rest else error.description}")


async def _verify(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    for topic in await _described(admin, names):
        count = len(topic["partitions"])
        if count != PARTITIONS:
            raise TopicsUnfit(
                f"Kafka topic {topic['topic']} has {count} partitions; the log has {PARTITIONS}, and both must have the"
                " same number. Delete the topic (what it held is in the log), or choose another PLUMBLINE_CELL"
            )
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for _code, _message, _kind, name, entries in response.resources:
            settings = {entry[0]: entry[1] for entry in entries}
            if settings.get("cleanup.policy", "delete") != "delete":
                raise TopicsUnfit(
                    f"Kafka topic {name} has cleanup.policy={settings['cleanup.policy']}; set it to delete"
                )
            if int(settings.get("max.message.bytes", BATCH_BYTES_MAX)) < BATCH_BYTES_MAX:
                raise TopicsUnfit(
                    f"Kafka topic {name} has max.message.bytes={settings['max.message.bytes']}; set {BATCH_BYTES_MAX}"
                )


async def _described(admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[dict[str, Any]]:
    """Metadata of the topics; a topic just made may take a moment to be known."""
    for _ in range(50):
        topics: list[dict[str, Any]] = await admin.describe_topics(list(names))
        if all(topic["error_code"] == 0 and topic["partitions"] for topic in topics):
            return topics
        await asyncio.sleep(0.1)
    raise TopicsUnfit(f"Kafka does not know all of {', '.join(names)} five seconds after they were made")


# --- producing ---


class KafkaProducer:
    """Implements :class:`~shared.messaging.ports.Broker`: batches of whole records, acks=all, idempotent.

    Connects, and makes the topics, at the first use; after any failure it begins again with a new connection: an
    idempotent producer that failed once has lost count of its sequence.
    """

    def __init__(self, bootstrap: str, cell: str, topics: Collection[str]) -> None:
        self._bootstrap = bootstrap
        self._cell = cell
        self._topics = topics
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def produce(self, partition: Partition, messages: Iterable[Outgoing]) -> None:
        """See :class:`~shared.messaging.ports.Broker`."""
        producer = await self._connected()
        try:
            async with asyncio.timeout(PRODUCE_TIMEOUT_S):
                await self._send(producer, partition, messages)
        except TimeoutError:
            await self._discard(producer)
            raise TimeoutError(f"Kafka acknowledged nothing within {PRODUCE_TIMEOUT_S:.0f} s") from None
        except BaseException:
            await self._discard(producer)
            raise

    async def _send(self, producer: AIOKafkaProducer, partition: Partition, messages: Iterable[Outgoing]) -> None:
        # One batch after the other: were two under way, the second could be written although the first had failed.
        name = topic_name(self._cell, partition.topic)
        batch = producer.create_batch()
        for timestamp_ms, headers, body in messages:
            if batch.append(key=None, value=body, timestamp=timestamp_ms, headers=headers) is None:
                await (await producer.send_batch(batch, name, partition=partition.number))
                batch = producer.create_batch()
                batch.append(key=None, value=body, timestamp=timestamp_ms, headers=headers)
        await (await producer.send_batch(batch, name, partition=partition.number))

    async def connect(self) -> None:
        """Connect ahead of the first record, which would wait for it; if there is no broker, that record does."""
        try:
            await self._connected()
        except Exception as error:
            _log.warning("no connection to Kafka yet", bootstrap=self._bootstrap, cause=repr(error))

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                await ensure_topics(self._bootstrap, self._cell, self._topics)
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=BATCH_BYTES_MAX,
                    max_request_size=4 * 1024 * 1024,
                    request_timeout_ms=_REQUEST_MS,
                )
                try:
                    await producer.start()
                except BaseException:
                    await _close(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
            await _close(producer)

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._discard(self._producer)


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.stop()
    except Exception as error:
        _log.info("producer closed hard", cause=repr(error))
        # stop() waits for what is under way, for ever if the broker is away, and there is no public way to give it up.
        await producer._sender.close()
        await producer.client.close()


# --- consuming ---


class _Batch(NamedTuple):
    """A batch of Kafka's messages, as far as their headers could be read."""

    messages: list[Message]
    unreadable: int
    raw: KafkaAckableMessage


Fetched = dict[TopicPartition, list[ConsumerRecord[Any, Any]]]
Deliver = Callable[[Sequence[Message], int], Awaitable[bool]]


def read_position(headers: Iterable[tuple[str, bytes | None]]) -> tuple[int, int] | None:
    """Epoch and position of a message, ``None`` if its headers do not say them. Other headers may hold anything."""
    epoch = position = None
    for name, value in headers:
        if name == "pl-position":
            position = value
        elif name == "pl-epoch":
            epoch = value
    if epoch is None or position is None or not (epoch.isdigit() and position.isdigit()):
        return None
    if len(epoch) > 9 or len(position) > 18:
        return None
    return int(epoch), int(position)


class KafkaFeed(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of a consumer's group: hands batches of messages to ``deliver``, and acknowledges what that committed.

    A new group begins at the end of its topics: what was before is read from the log.
    """

    def __init__(
        self,
        bootstrap: str,
        cell: str,
        consumer: str,
        topics: Sequence[str],
        deliver: Deliver,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._bootstrap = bootstrap
        self._cell = cell
        self._group = f"{cell}.{consumer}"
        self._topics = topics
        self._deliver = deliver
        self._clock = clock
        self._random = random
        self._partitions: dict[tuple[str, int], Partition] = {
            (topic_name(cell, topic), number): Partition(topic, number)
            for topic in topics
            for number in range(PARTITIONS)
        }
        self._broker: KafkaBroker | None = None
        self._subscriber: Any = None
        self._assigned: set[Partition] | None = None
        self._acknowledged_at = 0.0
        self._ending = asyncio.Event()
        self.fault: str | None = None

    def assigned(self) -> Collection[Partition] | None:
        """The partitions that the group gave to this member; ``None`` until it has joined."""
        return self._assigned

    async def run(self) -> None:
        """Connect, again and again while there is no broker, then consume until stopped."""
        backoff = Backoff(self._random)
        while not self._ending.is_set():
            try:
                await self._start()
                self.fault = None
                await self._ending.wait()
            except Exception as error:
                self.fault = f"{type(error).__name__}: {error}"
                _log.warning("consumer waits for Kafka", group=self._group, fault=self.fault)
                await self._disconnect()
                await pause(self._ending, backoff.next_s())
        await self._disconnect()

    def stop(self) -> None:
        """Leave the group and return from :meth:`run`; the batch in hand is finished first."""
        self._ending.set()

    async def _start(self) -> None:
        await ensure_topics(self._bootstrap, self._cell, self._topics)
        self._broker = KafkaBroker(
            self._bootstrap,
            client_id=self._group,
            consumer_only=True,
            apply_types=False,
            logger=_faststream_log,
        )
        self._subscriber = self._broker.subscriber(
            *(topic_name(self._cell, topic) for topic in self._topics),
            group_id=self._group,
            batch=True,
            max_records=BATCH_RECORDS_MAX,
            batch_timeout_ms=BATCH_WAIT_MS,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="latest",
            session_timeout_ms=SESSION_MS,
            listener=self,
            parser=self._parse,
            decoder=self._decode,
            no_reply=True,
        )
        self._subscriber(self._take)
        await self._broker.start()
        consumer = self._subscriber.consumer
        consumer.getmany = partial(self._fetch, consumer, consumer.getmany)

    async def _fetch(
        self, consumer: AIOKafkaConsumer, getmany: Callable[..., Awaitable[Fetched]], *partitions: Any, **bounds: Any
    ) -> Fetched:
        """``getmany`` that cannot get stuck: a message which the client fails to unpack (a header whose *name* is no
        text, a checksum that does not hold) would be fetched and fail again for ever, and hold up all partitions.

        Which one it is cannot be told, so everything that was fetched is passed over; the log has those records.
        """
        try:
            return await getmany(*partitions, **bounds)
        except (ValueError, CorruptRecordException) as error:
            _log.warning("messages passed over", group=self._group, cause=repr(error))
            await consumer.seek_to_end()
            await self._deliver((), 1)
            return {}

    async def _disconnect(self) -> None:
        broker, self._broker, self._assigned = self._broker, None, None
        if broker is not None:
            try:
                await broker.stop()
            except Exception as error:
                _log.info("left the group hard", group=self._group, cause=repr(error))

    async def _parse(self, raw: tuple[ConsumerRecord[Any, Any], ...]) -> KafkaAckableMessage:
        # The stock parser decodes every header, and skips the whole batch, acknowledged, at the first that is no text.
        return KafkaAckableMessage(body=b"", raw_message=raw, consumer=self._subscriber.consumer)

    async def _decode(self, message: KafkaAckableMessage) -> _Batch:
        messages = []
        unreadable = 0
        for raw in message.raw_message:
            partition = self._partitions.get((raw.topic, raw.partition))
            place = read_position(raw.headers)
            if partition is None or place is None or raw.value is None:
                unreadable += 1
            else:
                messages.append(Message(partition, place[1], place[0], raw.value))
        return _Batch(messages, unreadable, message)

    async def _take(self, batch: _Batch) -> None:
        if not await self._deliver(batch.messages, batch.unreadable):
            return
        now = self._clock.monotonic()
        if now - self._acknowledged_at >= ACK_EVERY_S:
            self._acknowledged_at = now
            try:
                await batch.raw.ack()
            except Exception as error:
                # The group has been given out anew, or the broker is away; the marks know better anyway.
                _log.info("not acknowledged", group=self._group, cause=repr(error))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """See aiokafka. Nothing to hand over: the marks fence whoever is still at work."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """See aiokafka."""
        self._assigned = {self._partitions[tp.topic, tp.partition] for tp in assigned if tuple(tp) in self._partitions}
